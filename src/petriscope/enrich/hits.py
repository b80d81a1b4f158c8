"""What a motif's occurrences look like: their matrix beside the motif's, their positions round the
bin centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.motifs import Motif, consensus_of
from petriscope.enrich.scan import Occurrences, best_scores, find_occurrences


class HitComparison(NamedTuple):
    """A motif beside the letters it was found on: does the whole motif carry the enrichment, or a
    part of it?"""

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
    """(L, 4) counts of the letters under the occurrences of a motif of ``length``, reverse strand
    turned round."""
    places = occurrences.start[:, None] + np.arange(length)
    letters = sequences[occurrences.sequence[:, None], places].astype(np.int64)
    letters = np.where(occurrences.strand[:, None] < 0, 3 - letters[:, ::-1], letters)
    return np.stack([(letters == code).sum(axis=0) for code in range(4)], axis=1)


def compare_hits(
    sequences: np.ndarray, motif: Motif, best_per_sequence: bool = True
) -> HitComparison:
    """Letters at the motif's occurrences in a feature's top sequences (N, L) against the motif,
    without de-novo search.

    ``best_per_sequence`` counts each sequence's best placement alone (the first of equals), so that
    repeats do not dominate.
    """
    found = find_occurrences(sequences, motif)
    return compare_occurrences(
        sequences, best_of_each(found) if best_per_sequence else found, motif
    )


def best_of_each(found: Occurrences) -> Occurrences:
    """The best placement in each sequence, the first of equals."""
    if not len(found.start):
        return found
    order = np.lexsort((-found.score, found.sequence))
    first = order[np.unique(found.sequence[order], return_index=True)[1]]
    return Occurrences(*(part[first] for part in found))


def compare_occurrences(sequences: np.ndarray, found: Occurrences, motif: Motif) -> HitComparison:
    """Letters under given placements in ``sequences`` (N, L) beside the motif's."""
    length = len(motif.matrix)
    if not len(found.start):
        empty = np.full((length, 4), 0.25)
        return HitComparison(
            empty, 0, "N" * length, np.zeros(length), motif.information(), float("nan")
        )
    counts = hit_matrix(sequences, found, length)
    seen = Motif("", "", counts / counts.sum(axis=1, keepdims=True), 0.0)
    correlation = float(np.corrcoef(seen.matrix.ravel(), motif.matrix.ravel())[0, 1])
    return HitComparison(
        seen.matrix,
        len(found.start),
        consensus_of(seen.matrix),
        seen.information(),
        motif.information(),
        correlation,
    )


class FeatureHits(NamedTuple):
    """Occurrences of each feature's best motifs in its strongest bins."""

    hits: pd.DataFrame
    """feature, motif (index), sequence (row), offset (bp from the sequence's left end), strand,
    score, length."""
    comparisons: pd.DataFrame
    """feature, motif, n, sequences, consensus, information, motif_information (bits in all),
    correlation."""


def feature_hits(
    sequences: np.ndarray, motifs: Sequence[Motif], wanted: pd.DataFrame
) -> FeatureHits:
    """Find the motifs each feature asks for in the bins it asks for.

    ``sequences`` (n, L) uint8 codes of the universe; ``wanted``: columns feature, motif (index),
    rows (int array of the feature's strongest bins). Each motif is searched once over all bins
    asked for.
    """
    hits, comparisons = [], []
    for index, group in wanted.groupby("motif", sort=True):
        motif = motifs[int(index)]  # type: ignore[call-overload]
        asked = np.unique(np.concatenate(group.rows.tolist()))
        found = find_occurrences(np.ascontiguousarray(sequences[asked]), motif)
        for row in group.itertuples():
            inside = np.isin(found.sequence, np.searchsorted(asked, row.rows))
            mine = Occurrences(*(part[inside] for part in found))
            hits.append(
                pd.DataFrame(
                    {
                        "feature": row.feature,
                        "motif": index,
                        "sequence": asked[mine.sequence],
                        "offset": mine.start,
                        "strand": np.where(mine.strand > 0, "+", "-"),
                        "score": mine.score,
                        "length": len(motif.matrix),
                    }
                )
            )
            at = best_of_each(mine)
            seen = compare_occurrences(sequences, at._replace(sequence=asked[at.sequence]), motif)
            comparisons.append(
                {
                    "feature": row.feature,
                    "motif": index,
                    "n": seen.n,
                    "sequences": len(row.rows),
                    "consensus": seen.consensus,
                    "information": float(seen.information.sum()),
                    "motif_information": float(seen.motif_information.sum()),
                    "correlation": seen.correlation,
                }
            )
    columns = ["feature", "motif", "sequence", "offset", "strand", "score", "length"]
    frame = pd.concat(hits, ignore_index=True) if hits else pd.DataFrame(columns=columns)
    compared = [
        "feature",
        "motif",
        "n",
        "sequences",
        "consensus",
        "information",
        "motif_information",
        "correlation",
    ]
    return FeatureHits(frame, pd.DataFrame(comparisons, columns=compared))


def position_histogram(
    sequences: np.ndarray, motif: Motif, width: int = 10, is_target: np.ndarray | None = None
) -> pd.DataFrame:
    """Occurrences by the distance of the motif's middle to the sequence's centre: offset (bp, left
    edge), densities.

    Densities are occurrences per sequence and bp; with ``is_target`` (N,) there is one column for
    targets and one for the rest.
    """
    found = find_occurrences(sequences, motif)
    centre = sequences.shape[1] / 2
    offset = found.start + len(motif.matrix) / 2 - centre
    steps = int(np.ceil(centre / width))
    edges = np.arange(-steps, steps + 1) * width
    groups = {"density": np.ones(len(sequences), dtype=bool)}
    if is_target is not None:
        groups = {
            "target": np.asarray(is_target, dtype=bool),
            "background": ~np.asarray(is_target, dtype=bool),
        }
    frame = pd.DataFrame({"offset": edges[:-1]})
    for name, flags in groups.items():
        count, _ = np.histogram(offset[flags[found.sequence]], edges)
        frame[name] = count / max(int(flags.sum()), 1) / width
    return frame


def rank_sequences(sequences: np.ndarray, motif: Motif, top: int) -> np.ndarray:
    """Rows of the ``top`` sequences by best placement score, best first; equals keep their
    order."""
    return np.argsort(-best_scores(sequences, motif), kind="stable")[:top]
