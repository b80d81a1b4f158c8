"""A control takes one source of information from the inputs (shuffled or absent DNA, absent
accessibility, exchanged motif vectors), or puts another model in, and follows the trained
autoencoders through the rest of the pipeline to contrast statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from petriscope.contrast.design import Design
from petriscope.contrast.effects import auroc
from petriscope.errors import UserError
from petriscope.parallel import in_processes
from petriscope.sae.coder import SAE
from petriscope.sae.codes import StatisticsAccumulator
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.inputs import WindowInputs, harvest_window
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.masking import fold_masks

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


def branch_statistics(
    model: ChromatinModel,
    inputs: WindowInputs,
    windows: np.ndarray,
    autoencoders: Mapping[int, SAE],
    *,
    folds: int | None = None,
    what: str = "branch",
) -> dict[int, Moments]:
    """Sums per (window, biosample, latent) of each layer with an autoencoder, streamed: no store is
    written.

    ``windows`` (W,) rows of ``inputs``; ``folds`` as in `harvest`. On unchanged inputs the sums
    equal those of the stages activations and codes: the stream passes float16 on its way, as it
    does through the store.
    """
    masks = None if folds is None else fold_masks(inputs.bins, folds)
    samples = len(inputs.motif_activity)
    biosample = np.repeat(np.arange(samples), inputs.bins)

    def one(window: int) -> list[Moments]:
        with torch.inference_mode():
            hidden = harvest_window(model, inputs, int(window), list(autoencoders), masks)
            found = []
            for layer, sae in autoencoders.items():
                rows = hidden[layer].reshape(-1, sae.d).half().float().cpu().numpy()
                sums = StatisticsAccumulator(1, samples, sae.m)
                sums.add(sae.encode(rows), np.zeros(len(rows), int), biosample)
                found.append(sums.result())
        return found

    pieces = zip(*in_processes(one, windows, what, unit="window"))
    return {
        layer: Moments(*map(np.concatenate, zip(*of_layer)))
        for layer, of_layer in zip(autoencoders, pieces)
    }


class Followed(NamedTuple):
    """Features chosen on other windows, and the sign of their difference there."""

    features: np.ndarray
    """(k,)"""
    sign: np.ndarray
    """(k,) +1 where higher in vivo, -1 where higher in vitro."""


def followed(features: pd.DataFrame, most: int) -> dict[int, Followed]:
    """Per layer the strongest context features (columns layer, feature, alive, context, rank,
    direction), at most ``most``; the strongest alive ones where a layer has no context feature."""
    found = {}
    for layer, frame in features[features.alive].groupby("layer"):
        chosen = frame[frame.context] if frame.context.any() else frame
        chosen = chosen.sort_values("rank").head(most)
        sign = np.where(chosen.direction == "in_vivo", 1, -1)
        found[int(str(layer))] = Followed(chosen.feature.to_numpy(), sign)
    return found


def followed_auroc(statistics: Moments, chosen: Followed, design: Design) -> float:
    """Mean AUROC of mean activations per (window, biosample), in vivo against in vitro in the
    direction chosen, over lineages with both contexts and over features: .5 is chance. The features
    were chosen on other windows."""
    means = statistics.block_means()[:, :, chosen.features]
    found = []
    for lineage in design.strata:
        if design.why_untestable(lineage, "locus"):
            continue
        vitro, vivo = design.sides(lineage)
        area = auroc(
            means[:, vivo].reshape(-1, means.shape[2]), means[:, vitro].reshape(-1, means.shape[2])
        )
        found.append(np.where(chosen.sign > 0, area, 1 - area))
    return float(np.mean(found)) if found else float("nan")


def agreement(features: pd.DataFrame, reference: pd.DataFrame, column: str) -> pd.DataFrame:
    """How a branch's score follows the reference's, per layer: columns layer, z_correlation,
    same_sign.

    Both are feature tables with layer, feature, alive and ``column``; the correlation is over
    features alive in both, ``same_sign`` the share of the reference's hundred strongest ones whose
    score keeps its sign.
    """
    merged = reference.merge(features, on=["layer", "feature"], suffixes=("", "_branch"))
    rows = []
    for layer, frame in merged.groupby("layer"):
        both = frame[
            frame.alive
            & frame.alive_branch
            & frame[column].notna()
            & frame[f"{column}_branch"].notna()
        ]
        a, b = both[column].to_numpy(float), both[f"{column}_branch"].to_numpy(float)
        usable = len(both) > 2 and a.std() > 0 and b.std() > 0
        strongest = np.argsort(-np.abs(a), kind="stable")[:100]
        rows.append(
            {
                "layer": layer,
                "z_correlation": float(np.corrcoef(a, b)[0, 1]) if usable else np.nan,
                "same_sign": float((np.sign(a) == np.sign(b))[strongest].mean())
                if len(both)
                else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=["layer", "z_correlation", "same_sign"])
