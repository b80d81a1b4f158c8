"""Evidence beside a motif's p: its hits in a feature's bins, its specificity to a lineage, logos
and positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.enrich.hits import compare_hits, position_histogram
from petriscope.enrich.motifs import Motif
from petriscope.enrich.similarity import family_of, motif_similarity
from petriscope.enrich.specificity import feature_specificity

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
    """A motif beside the letters at its hits, and where its hits lie round the bin's centre.

    ``sequences`` (n, L); ``foreground`` rows of a group; ``weights`` (n,) of its matched
    background, from which ``most`` rows are drawn. Logos: source (motif, hits), position, A, C, G,
    T, n, correlation. Positions: offset of the class's left edge from the centre (bp), target,
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
