"""A dependency map says which bases a feature's activation depends on: every base is substituted,
and the change of the feature is read at every other base.

The map as published (`published_map`) is shifted by one token, since latents keep `<cls>` and
tokens do not; a repeated token reads its first occurrence. The corrected one (`Effects`) goes
through the token table and reads all features from one set of 3 L + 1 forward passes, which are
batched by token count, never padded, and stop at the dictionary's layer.

The token that holds the substituted base changes its identity, so what happens on it (`own`) is
tokenization. Only what lies beyond it speaks of context (`by_distance`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.studies.dna.model.nucleotide import SequenceBatch
from petriscope.studies.dna.model.tokens import (
    Form,
    TokenTable,
    TokenTables,
    expand,
    tokenize,
    tokenize_all,
)

LETTERS = "ACGT"
TOKENS_AT_ONCE = 8192
"""Tokens of one forward pass."""


class Coder(Protocol):
    """What makes latents (..., m) of hidden states (..., d): a dictionary."""

    def encode_dense(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Reader:
    """What reads latents from DNA: a model up to one layer, and the dictionary there."""

    model: Any
    """a `NucleotideTransformer`"""
    coder: Coder
    layer: int
    form: Form

    def latents(self, tables: TokenTables, features: np.ndarray | None = None) -> list[np.ndarray]:
        """Latents (T, F) float32 of every sequence, `<cls>` first; of the named features alone
        where some are named."""
        found: list[np.ndarray] = [np.zeros(0, np.float32)] * (len(tables.offsets) - 1)
        for rows, stream in streams(self.model, self.layer, tables):
            codes = self.coder.encode_dense(stream)
            if features is not None:
                codes = codes[..., torch.from_numpy(features).to(codes.device)]
            for row, values in zip(rows.tolist(), codes.float().cpu().numpy(), strict=True):
                found[row] = values
        return found


def batches(tables: TokenTables, at_once: int = TOKENS_AT_ONCE) -> Iterator[np.ndarray]:
    """Rows of sequences with one token count, at most ``at_once`` tokens together."""
    counts = np.diff(tables.offsets)
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        step = max(1, at_once // max(1, count))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


@torch.inference_mode()
def streams(model: Any, layer: int, tables: TokenTables) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Rows of sequences and their residual streams (B, T, d) after ``layer``: batched by token
    count, no padding, no block above the layer."""
    device = next(model.parameters()).device
    for rows in batches(tables):
        ids = torch.from_numpy(np.stack([tables.of(int(row)).ids for row in rows])).to(device)
        batch = SequenceBatch(ids, torch.ones_like(ids, dtype=torch.bool))
        yield rows, model.streams(batch, (layer,))[layer]


def substituted(sequence: str, bases: Iterable[int]) -> list[str]:
    """The sequence with each of ``bases`` (positions) replaced by the three other letters, in the
    order of ACGT. Raises `UserError` where one is no A, C, G or T: it has no three others."""
    found = []
    for at in bases:
        if sequence[at] not in LETTERS:
            what = f"base {at + 1:,} is {sequence[at]!r}, which has no three substitutions"
            raise UserError(what, field="sequence", remedy="Map a stretch of A, C, G and T.")
        found += [
            sequence[:at] + letter + sequence[at + 1 :]
            for letter in LETTERS
            if letter != sequence[at]
        ]
    return found


@dataclass(frozen=True)
class Effects:
    """What each of some substitutions does to features at every token of one sequence.

    A substitution of A, C, G or T by another of them leaves the tokens where they are, N or not, so
    one token table serves all.
    """

    table: TokenTable
    """without `<cls>`: T tokens"""
    bases: np.ndarray
    """(P,) substituted positions, bp"""
    before: np.ndarray
    """(F, T) float32 latents of the sequence itself"""
    delta: np.ndarray
    """(F, P, 3, T) float32 signed changes; the 3 in ACGT order without the reference base"""

    @property
    def own(self) -> np.ndarray:
        """(P,) the token that holds each substituted base."""
        return np.searchsorted(self.table.start, self.bases, side="right") - 1

    def signed(self) -> np.ndarray:
        """(F, P, 3, L) float32 changes at every base."""
        return np.repeat(self.delta, self.table.width, axis=-1)

    def map(self) -> np.ndarray:
        """(F, P, L) float32 mean size of the change over the three substitutions: substituted base,
        affected base."""
        return np.repeat(np.abs(self.delta).mean(2), self.table.width, axis=-1)

    def own_block(self) -> np.ndarray:
        """(P, L) bool: the affected base lies on the substituted base's own token (6 × 6 blocks of
        six-mers)."""
        token = np.repeat(np.arange(len(self.table.width)), self.table.width)
        return self.own[:, None] == token[None, :]

    def by_distance(self, scale: np.ndarray | None = None) -> np.ndarray:
        """(F, T) float64 sums of |change| over substitutions, by distance in tokens from the own
        token (0: tokenization), in units of ``scale`` (F,), each feature's standard deviation.

        Sums over tokens, not bases: a token of six bases has one activation.
        """
        size = np.abs(self.delta).sum(2, dtype=np.float64)
        tokens = size.shape[-1]
        distance = np.abs(np.arange(tokens)[None, :] - self.own[:, None])
        one_hot = np.zeros((distance.size, tokens))
        one_hot[np.arange(distance.size), distance.ravel()] = 1
        sums = size.reshape(len(size), -1) @ one_hot
        return sums if scale is None else sums / scale[:, None]


def effects(
    reader: Reader,
    sequence: str,
    *,
    bases: np.ndarray | None = None,
    features: np.ndarray | None = None,
) -> Effects:
    """The corrected map of one sequence: all features from one set of 3 P + 1 forward passes.

    bases: (P,) substituted positions (None: every base). features: indices of latents (None: all).
    """
    sequence = sequence.upper()
    bases = np.arange(len(sequence)) if bases is None else np.asarray(bases, np.int64)
    tables = tokenize_all([sequence, *substituted(sequence, bases.tolist())], reader.form)
    latents = np.stack(reader.latents(tables, features))[:, 1:]  # without <cls>
    before = latents[0]
    delta = (latents[1:] - before).reshape(len(bases), 3, *before.shape)
    table = TokenTable(*(column[1:] for column in tables.of(0)))
    return Effects(table, bases, before.T.copy(), np.ascontiguousarray(np.moveaxis(delta, -1, 0)))


def published_map(
    reader: Reader,
    sequence: str,
    features: Sequence[int] | np.ndarray,
    *,
    shifted: bool = True,
    first_of_repeats: bool = True,
    baseline_again: bool = True,
) -> np.ndarray:
    """Dependency maps (F, L, L) as published, float64; each of its defects is an option.

    shifted: latents keep `<cls>`, tokens do not, so every token reads the latent of the one before
    it and the last token's latent is lost. first_of_repeats: a repeated token reads the latent of
    its first occurrence. baseline_again: the unchanged sequence is run again at each base (4 L
    forward passes instead of 3 L + 1; the numbers are the same). Without all three the map is the
    corrected one.

    The original does this for one feature at a time. Source: HSG `depend/featurewise.py:31-112`.
    """
    sequence = sequence.upper()
    chosen = np.asarray(features, np.int64)
    maps = np.zeros((len(chosen), len(sequence), len(sequence)))

    def at_bases(sequences: list[str]) -> list[np.ndarray]:
        tables = tokenize_all(sequences, reader.form)
        return [
            _published_bases(text, tables.of(row), latents, shifted, first_of_repeats)
            for row, (text, latents) in enumerate(
                zip(sequences, reader.latents(tables, chosen), strict=True)
            )
        ]

    (baseline,) = at_bases([sequence])
    for at, reference in enumerate(sequence):
        others = [
            sequence[:at] + letter + sequence[at + 1 :] for letter in LETTERS if letter != reference
        ]
        changed = at_bases([sequence, *others] if baseline_again else others)
        if baseline_again:
            baseline, *changed = changed
        maps[:, at] = np.mean([np.abs(one - baseline) for one in changed], axis=0).T
    return maps


def _published_bases(
    text: str, table: TokenTable, latents: np.ndarray, shifted: bool, first_of_repeats: bool
) -> np.ndarray:
    """Latents (L, F) at bases, as `convert_basis` of the original assigns them."""
    start, width = table.start[1:], table.width[1:]
    values = latents[:-1] if shifted else latents[1:]
    if first_of_repeats:
        words = [text[a : a + w] for a, w in zip(start.tolist(), width.tolist(), strict=True)]
        first: dict[str, int] = {}
        values = values[[first.setdefault(word, number) for number, word in enumerate(words)]]
    return expand(values.astype(np.float64), width)


def published_shares(
    reader: Reader, sequences: Sequence[str], features: np.ndarray
) -> tuple[float, float]:
    """Of the maps as published: the share of their mass on the substituted token, and on the token
    after it, where the shift puts what happens on the substituted one."""
    own = following = total = 0.0
    for sequence in sequences:
        maps = published_map(reader, sequence, features, baseline_again=False)
        width = tokenize(sequence, reader.form).width[1:]
        token = np.repeat(np.arange(len(width)), width)
        step = token[None, :] - token[:, None]
        total += maps.sum()
        own += maps[:, step == 0].sum()
        following += maps[:, step == 1].sum()
    return (float(own / total), float(following / total)) if total > 0 else (0.0, 0.0)


REDUCTIONS = ("diagonal", "principal", "fiedler", "embedding_1", "embedding_3")
"""Vectors (L,) that a map is reduced to."""


class Reduced(NamedTuple):
    """A map's reductions."""

    values: np.ndarray
    """(5, L) in the order of `REDUCTIONS`"""
    eigengap: np.ndarray
    """(5,) distance of the eigenvalues used from the nearest other one, as a share of the largest
    |eigenvalue|: near 0 the vector is arbitrary; infinite for the diagonal, which uses none"""


def published_reductions(matrix: np.ndarray) -> Reduced:
    """Reductions of a map (L, L) as published.

    The map is not symmetric, yet methods for symmetric matrices read it: `eigh` sees only the lower
    triangle. Source: HSG `depend/reduce.py:40-140`, without the min-max scaling, which is display.
    """
    values, vectors = np.linalg.eig(matrix)
    most = int(np.argmax(np.abs(values)))
    principal = np.abs(vectors[:, most].real)
    gap = _gap(values, np.array([most]))
    return _reduced(matrix, principal, gap, fixed=False)


def reductions(matrix: np.ndarray) -> Reduced:
    """The same of the symmetrized map (A + Aᵀ) / 2, with the sign such that the largest entry is
    positive."""
    symmetric = (matrix + matrix.T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    most = int(np.argmax(np.abs(values)))
    principal = _signed(vectors[:, most])
    return _reduced(symmetric, principal, _gap(values, np.array([most])), fixed=True)


def _reduced(matrix: np.ndarray, principal: np.ndarray, gap: float, fixed: bool) -> Reduced:
    """The five vectors, those of the Laplacians by `eigh` of whatever is given."""
    degree = matrix.sum(1)
    root = np.divide(1.0, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    plain = np.linalg.eigh(np.diag(degree) - matrix)
    scaled = np.linalg.eigh(np.eye(len(matrix)) - root[:, None] * matrix * root[None, :])
    fiedler, embedding = plain.eigenvectors[:, 1], scaled.eigenvectors[:, 1]
    if fixed:
        fiedler, embedding = _signed(fiedler), _signed(embedding)
    three = np.linalg.norm(scaled.eigenvectors[:, 1:4], axis=1)
    gaps = [
        np.inf,
        gap,
        _gap(plain.eigenvalues, np.array([1])),
        _gap(scaled.eigenvalues, np.array([1])),
        _gap(scaled.eigenvalues, np.arange(1, min(4, len(matrix)))),
    ]
    return Reduced(
        np.stack([np.diag(matrix), principal, fiedler, embedding, three]), np.array(gaps)
    )


def _signed(vector: np.ndarray) -> np.ndarray:
    """The vector with its largest entry positive; of equal ones (up to rounding) the first
    decides."""
    size = np.abs(vector)
    first = int(np.argmax(size >= size.max() * (1 - 1e-9)))
    return -vector if vector[first] < 0 else vector


def _gap(values: np.ndarray, used: np.ndarray) -> float:
    """Distance of the eigenvalues ``used`` from the others, as a share of the largest."""
    others = np.delete(values, used)
    if not len(others):
        return float("inf")
    nearest = np.abs(values[used][:, None] - others[None, :]).min()
    return float(nearest / max(np.abs(values).max(), np.finfo(float).tiny))


def scaled(vector: np.ndarray) -> np.ndarray:
    """The vector from 0 to 1 for display, zeros where it is constant. Source: HSG
    `depend/reduce.py:5-17`."""
    low, high = vector.min(), vector.max()
    return np.zeros_like(vector) if high == low else (vector - low) / (high - low)


def reduction_table(one: Effects, features: np.ndarray) -> pd.DataFrame:
    """Columns feature, form (published: of the map as it is; corrected), reduction, eigengap, base,
    value of one sequence's maps; ``features``: the latents, in their order."""
    rows = []
    for latent, matrix in zip(features, one.map().astype(np.float64), strict=False):
        for form, found in (
            ("published", published_reductions(matrix)),
            ("corrected", reductions(matrix)),
        ):
            for name, vector, gap in zip(REDUCTIONS, found.values, found.eigengap, strict=True):
                table = {"feature": latent, "form": form, "reduction": name, "eigengap": gap}
                rows.append(pd.DataFrame({**table, "base": one.bases, "value": vector}))
    return pd.concat(rows, ignore_index=True)


def map_arrays(
    maps: Sequence[Effects], sequences: Sequence[str], ids: Sequence[str], features: np.ndarray
) -> dict[str, Any]:
    """What maps.npz holds; maps of shorter sequences are padded with NaN."""
    longest = max(map(len, sequences))
    found = np.full((len(maps), len(features), longest, longest), np.nan, np.float32)
    blocks = np.zeros((len(maps), longest, longest), bool)
    for row, one in enumerate(maps):
        size = len(one.bases)
        found[row, :, :size, :size], blocks[row, :size, :size] = one.map(), one.own_block()
    return {
        "maps": found,
        "own_block": blocks,
        "features": features,
        "ids": np.array(ids),
        "sequences": np.array(sequences),
    }
