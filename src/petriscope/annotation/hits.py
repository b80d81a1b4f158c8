"""What a motif's occurrences look like: their matrix beside the motif's, their positions round the bin centre."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.annotation.motifs import Motif, consensus_of
from petriscope.annotation.scan import Occurrences, best_scores, find_occurrences


class HitComparison(NamedTuple):
    """A motif beside the letters it was found on: does the whole motif carry the enrichment, or a part of it?"""

    matrix: np.ndarray
    """(L, 4) letter frequencies over the occurrences, in the motif's orientation."""
    n: int
    """Occurrences."""
    consensus: str
    information: np.ndarray
    """(L,) bits per position at the occurrences."""
    motif_information: np.ndarray
    """(L,) bits per position of the motif."""
    correlation: float
    """Pearson correlation of the two matrices over all L x 4 entries; NaN without occurrences."""


def hit_matrix(sequences: np.ndarray, occurrences: Occurrences, length: int) -> np.ndarray:
    """(L, 4) counts of the letters under the occurrences of a motif of ``length``, reverse strand turned round."""
    places = occurrences.start[:, None] + np.arange(length)
    letters = sequences[occurrences.sequence[:, None], places].astype(np.int64)
    letters = np.where(occurrences.strand[:, None] < 0, 3 - letters[:, ::-1], letters)
    return np.stack([(letters == code).sum(axis=0) for code in range(4)], axis=1)


def compare_hits(sequences: np.ndarray, motif: Motif, best_per_sequence: bool = True) -> HitComparison:
    """Letters at the motif's occurrences in a feature's top sequences (N, L) against the motif, without de-novo search.

    ``best_per_sequence`` counts each sequence's best placement alone (the first of equals), so that repeats do not
    dominate.
    """
    found = find_occurrences(sequences, motif)
    if best_per_sequence and len(found.start):
        order = np.lexsort((-found.score, found.sequence))
        first = order[np.unique(found.sequence[order], return_index=True)[1]]
        found = Occurrences(*(part[first] for part in found))
    length = len(motif.matrix)
    counts = hit_matrix(sequences, found, length)
    if not len(found.start):
        empty = np.full((length, 4), 0.25)
        return HitComparison(empty, 0, "N" * length, np.zeros(length), motif.information(), float("nan"))
    seen = Motif("", "", counts / counts.sum(axis=1, keepdims=True), 0.0)
    correlation = float(np.corrcoef(seen.matrix.ravel(), motif.matrix.ravel())[0, 1])
    return HitComparison(
        seen.matrix, len(found.start), consensus_of(seen.matrix), seen.information(), motif.information(), correlation
    )


def position_histogram(
    sequences: np.ndarray, motif: Motif, width: int = 10, is_target: np.ndarray | None = None
) -> pd.DataFrame:
    """Occurrences by the distance of the motif's middle to the sequence's centre: offset (bp, left edge), densities.

    Densities are occurrences per sequence and bp; with ``is_target`` (N,) there is one column for targets and one for
    the rest.
    """
    found = find_occurrences(sequences, motif)
    centre = sequences.shape[1] / 2
    offset = found.start + len(motif.matrix) / 2 - centre
    steps = int(np.ceil(centre / width))
    edges = np.arange(-steps, steps + 1) * width
    groups = {"density": np.ones(len(sequences), dtype=bool)}
    if is_target is not None:
        groups = {"target": np.asarray(is_target, dtype=bool), "background": ~np.asarray(is_target, dtype=bool)}
    frame = pd.DataFrame({"offset": edges[:-1]})
    for name, flags in groups.items():
        count, _ = np.histogram(offset[flags[found.sequence]], edges)
        frame[name] = count / max(int(flags.sum()), 1) / width
    return frame


def rank_sequences(sequences: np.ndarray, motif: Motif, top: int) -> np.ndarray:
    """Rows of the ``top`` sequences by best placement score, best first; equals keep their order."""
    return np.argsort(-best_scores(sequences, motif), kind="stable")[:top]
