"""A motif's occurrences are described: their letters, their positions, their specificity to a
lineage, and which motifs are too alike to tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.enrich.features import feature_specificity
from petriscope.enrich.motifs import Motif, consensus_of, reverse_complement
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
    """Occurrences by the distance of the motif's middle to the sequence's center: offset (bp, left
    edge), densities.

    Densities are occurrences per sequence and bp; with ``is_target`` (N,) there is one column for
    targets and one for the rest.
    """
    found = find_occurrences(sequences, motif)
    center = sequences.shape[1] / 2
    offset = found.start + len(motif.matrix) / 2 - center
    steps = int(np.ceil(center / width))
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


FAMILY = 0.85
"""Correlation above which two motifs count as one family in labels and reports."""


def motif_similarity(motifs: Sequence[Motif], others: Sequence[Motif] | None = None) -> np.ndarray:
    """(M, K) highest Pearson correlation of two matrices over all shifts and both orientations.

    HOMER's measure (compareMotifs.pl; monaLisa's motifSimilarity): base frequencies of the aligned
    matrices, positions that one motif does not reach filled with 0.25, at least one position
    shared. Written with sums over the overlap: a filled position adds nothing to the covariance,
    since 0.25 is the mean of every row.
    """
    others = motifs if others is None else others
    longest = max(len(motif.matrix) for motif in [*motifs, *others])
    second = [_centered(motif) for motif in others]
    norms = np.array([np.linalg.norm(matrix) for matrix in second])
    padded = np.zeros((len(second), 3 * longest, 4))
    for k, matrix in enumerate(second):
        padded[k, longest : longest + len(matrix)] = matrix
    result = np.full((len(motifs), len(second)), -1.0)
    for i, motif in enumerate(motifs):
        forward = _centered(motif)
        for matrix in (forward, reverse_complement(forward)):
            width = len(matrix)
            views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
            product = np.einsum("ksbw,wb->ks", views, matrix)
            shared = np.arange(views.shape[1])[None, :] + width > longest
            shared = shared & (
                np.arange(views.shape[1])[None, :]
                < longest + np.array([len(m) for m in second])[:, None]
            )
            best = np.where(shared, product, -np.inf).max(axis=1)
            result[i] = np.maximum(result[i], best / (norms * np.linalg.norm(matrix)))
    return result


def family_of(
    index: int, motifs: Sequence[Motif], similarity: np.ndarray, least: float = FAMILY
) -> list[str]:
    """Factors whose motif is at least ``least`` alike to motif ``index``, most alike first, itself
    among them."""
    order = np.argsort(-similarity[index], kind="stable")
    return list(dict.fromkeys(motifs[j].factor for j in order if similarity[index, j] >= least))


def _centered(motif: Motif) -> np.ndarray:
    """(L, 4) frequencies less 0.25, rows made to sum to one."""
    return motif.matrix / motif.matrix.sum(axis=1, keepdims=True) - 0.25


STEP = 10
"""bp: width of a class of positions."""


def best_motifs(table: pd.DataFrame, most: int, max_q: float) -> pd.DataFrame:
    """The ``most`` best motifs of each group that pass, one per name; ``table`` has columns group,
    rank, name, q."""
    passing = (
        table[table.q <= max_q]
        .sort_values(["group", "rank"], kind="stable")
        .drop_duplicates(["group", "name"])
    )
    return passing.groupby("group", sort=False).head(most)


def lineage_specificity(
    firing: Mapping[str, sparse.csr_matrix],
    own: Sequence[str],
    classes: Strata,
    hits: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    """Each motif's log2 odds where a feature fires in its own lineage less the mean over where it
    fires in the others.

    ``firing``: lineage → (F, n) bool; ``own`` (F,) lineages; ``hits`` (n, M) bool. Columns: row,
    name, specificity, specificity_low, specificity_high (95 %); nothing where only one lineage
    exists.
    """
    if len(firing) < 2 or not len(own):
        return pd.DataFrame(
            columns=["row", "name", "specificity", "specificity_low", "specificity_high"]
        )
    counts = {
        lineage: MatchedBackground(matrix, classes).counts(hits)
        for lineage, matrix in firing.items()
    }
    found = feature_specificity(counts, own)
    f, m = np.indices(found.difference.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "row": f,
            "name": np.asarray(names, dtype=object)[m],
            "specificity": found.difference.ravel(),
            "specificity_low": found.low.ravel(),
            "specificity_high": found.high.ravel(),
        }
    )


def families(motifs: Sequence[Motif]) -> dict[str, str]:
    """Name of each motif → the factors whose matrices are too alike to tell apart,
    comma-separated."""
    alike = motif_similarity(motifs)
    return {motif.name: ", ".join(family_of(i, motifs, alike)) for i, motif in enumerate(motifs)}


def logos_and_positions(
    sequences: np.ndarray,
    motif: Motif,
    foreground: np.ndarray,
    weights: np.ndarray,
    most: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A motif beside the letters at its hits, and where its hits lie round the bin's center.

    ``sequences`` (n, L); ``foreground`` rows of a group; ``weights`` (n,) of its matched
    background, from which ``most`` rows are drawn. Logos: source (motif, hits), position, A, C, G,
    T, n, correlation. Positions: offset of the class's left edge from the center (bp), target,
    background (hits per sequence and bp).
    """
    seen = compare_hits(np.ascontiguousarray(sequences[foreground]), motif)
    logos = []
    for source, matrix in (("motif", motif.matrix), ("hits", seen.matrix)):
        frame = pd.DataFrame(matrix, columns=list("ACGT"))
        frame.insert(0, "position", np.arange(1, len(matrix) + 1))
        frame.insert(0, "source", source)
        logos.append(frame.assign(n=seen.n, correlation=seen.correlation))
    pool = np.flatnonzero(weights > 0)
    drawn = rng.choice(
        pool, size=min(most, len(pool)), replace=False, p=weights[pool] / weights[pool].sum()
    )
    rows = np.concatenate([foreground, drawn])
    is_target = np.arange(len(rows)) < len(foreground)
    positions = position_histogram(np.ascontiguousarray(sequences[rows]), motif, STEP, is_target)
    return pd.concat(logos, ignore_index=True), positions
