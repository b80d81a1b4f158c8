"""Inputs that lack one source of information: shuffled or absent DNA, absent accessibility,
exchanged motif vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.studies.chromatin.inputs import WindowInputs

UNKNOWN = 4
"""Code of N, which the model reads as no base at all."""

DNA, ATAC, MOTIF = ("real", "shuffled", "zero"), ("real", "zero"), ("real", "averaged", "swapped")


class InputVariant(NamedTuple):
    """What the model is given of each of its three inputs."""

    dna: str = "real"
    """real | shuffled (same dinucleotides, window by window) | zero (all N)."""
    atac: str = "real"
    """real | zero."""
    motif: str = "real"
    """real | averaged over all biosamples | swapped between the contexts of a lineage."""

    @property
    def name(self) -> str:
        """What differs from the real inputs, in words."""
        parts = [
            f"{field} {value}"
            for field, value in zip(("DNA", "ATAC", "motif"), self)
            if value != "real"
        ]
        return ", ".join(parts) or "real"


VARIANTS = (
    InputVariant(),
    InputVariant(motif="averaged"),
    InputVariant(motif="swapped"),
    *(
        InputVariant(dna=dna, atac=atac)
        for atac in ATAC
        for dna in DNA
        if (dna, atac) != ("real", "real")
    ),
)
"""The real inputs, both motif controls, and DNA x ATAC."""


def vary(
    inputs: WindowInputs, windows: np.ndarray, variant: InputVariant, design: Design, seed: int
) -> WindowInputs:
    """The inputs of ``windows`` (rows of ``inputs``) under ``variant``, renumbered from 0; the data
    are copied."""
    for value, allowed in zip(variant, (DNA, ATAC, MOTIF)):
        if value not in allowed:
            raise UserError(
                f"is {value!r}", field="input variant", remedy=f"Use one of: {', '.join(allowed)}."
            )
    sequence = np.array(inputs.sequence[windows])
    if variant.dna == "shuffled":
        sequence = np.stack(
            [dinucleotide_shuffle(row, seed + int(w)) for row, w in zip(sequence, windows)]
        )
    elif variant.dna == "zero":
        sequence = np.full_like(sequence, UNKNOWN)
    signal = np.array(inputs.signal[windows])
    if variant.atac == "zero":
        signal = np.zeros_like(signal)
    motif = inputs.motif_activity
    if variant.motif == "averaged":
        motif = np.broadcast_to(motif.mean(0), motif.shape)
    elif variant.motif == "swapped":
        motif = motif[swapped_contexts(design)]
    return WindowInputs(sequence, signal, np.ascontiguousarray(motif), inputs.crop)


def swapped_contexts(design: Design) -> np.ndarray:
    """(S,) for each biosample the row of one of the other context of its lineage, in turn; itself
    where there is none."""
    rows = np.arange(len(design.units))
    for lineage in design.strata:
        vitro, vivo = design.sides(lineage)
        if len(vitro) and len(vivo):
            rows[vitro] = vivo[np.arange(len(vitro)) % len(vivo)]
            rows[vivo] = vitro[np.arange(len(vivo)) % len(vitro)]
    return rows


def dinucleotide_shuffle(codes: np.ndarray, seed: int) -> np.ndarray:
    """A random sequence with exactly the dinucleotide counts of ``codes`` (L,), first and last
    letter kept.

    Altschul & Erikson (Mol. Biol. Evol. 2, 526, 1985): a uniform Eulerian path of the multigraph of
    dinucleotides. The last edges out of the letters are drawn until they lead to the final letter,
    all others are shuffled. N (code 4) counts as a letter of its own.
    """
    codes = np.asarray(codes)
    if len(codes) < 3:
        return codes.copy()
    rng = np.random.default_rng(seed)
    letters, walk = np.unique(codes, return_inverse=True)
    final = int(walk[-1])
    successors = [walk[1:][walk[:-1] == letter] for letter in range(len(letters))]
    last = _last_edges(successors, final, rng)
    for letter, edges in enumerate(successors):
        if letter == final:
            successors[letter] = rng.permutation(edges)
        elif len(edges):
            place = rng.choice(np.flatnonzero(edges == last[letter]))
            successors[letter] = np.append(rng.permutation(np.delete(edges, place)), last[letter])
    queues = [edges.tolist() for edges in successors]
    used = [0] * len(queues)
    path = [int(walk[0])]
    for _ in range(len(codes) - 1):
        letter = path[-1]
        path.append(queues[letter][used[letter]])
        used[letter] += 1
    return letters[np.asarray(path)].astype(codes.dtype)


def _last_edges(successors: list[np.ndarray], final: int, rng: np.random.Generator) -> list[int]:
    """For each letter but the final one a last edge, drawn until every used letter leads to the
    final one by them."""
    used = [letter for letter, edges in enumerate(successors) if len(edges) and letter != final]
    while True:
        last = [int(rng.choice(edges)) if len(edges) else final for edges in successors]
        if all(_reaches(letter, last, final) for letter in used):
            return last


def _reaches(letter: int, last: list[int], final: int) -> bool:
    for _ in range(len(last)):
        if letter == final:
            return True
        letter = last[letter]
    return letter == final
