"""What the expression data themselves show of a regulon: where known targets do not move in the
cells, no model can be blamed for not moving them.

Per target, each gene of the knocked-down cells against control cells by Welch's t of
log(1 + counts / depth · scale), and Benjamini-Hochberg over genes within the target. A regulon is
shown where its genes move more than 1,000 sets matched on detection and in-degree, and more than
they do when labels are permuted between the cells within batch. The first alone would not do: genes
of one programme move together by chance, as genes of a matched set do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.contrast.inference import TTest, t_test
from petriscope.contrast.results import adjust
from petriscope.studies.cells.matching import matched_genes, share_as_large
from petriscope.studies.cells.perturbation import Cohort, group_sums
from petriscope.studies.cells.regulons import LEAST_GENES, Regulon


def log_normalized(counts: sp.csr_matrix, depth: np.ndarray, scale: float) -> sp.csr_matrix:
    """log(1 + counts / depth · scale), counts (n, G) and depth (n,)."""
    rates = sp.diags(scale / np.maximum(depth, 1)) @ counts
    rates = sp.csr_matrix(rates, dtype=np.float64)
    rates.data = np.log1p(rates.data)
    return rates


class Moved(NamedTuple):
    """Expression of knocked-down cells against controls; arrays (P, G)."""

    targets: tuple[str, ...]
    difference: np.ndarray
    """mean log expression, target minus control"""
    t: np.ndarray
    """Welch"""
    q: np.ndarray
    """Benjamini-Hochberg over genes, target by target"""


def moved_genes(expression: sp.csr_matrix, who: Cohort) -> Moved:
    """Every target and gene in one pass over the cells (`scipy.stats.ttest_ind`, unequal
    variances)."""
    sums = group_sums(expression, who.group, np.ones((expression.shape[0], 1)))
    n = sums.cells[:, None].astype(np.float64)
    mean = sums.y / np.maximum(n, 1)
    square = np.maximum(sums.yy - n * mean**2, 0)
    part = square / np.maximum(n - 1, 1) / np.maximum(n, 1)
    error = part[1:] + part[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = part[1:] ** 2 / (n[1:] - 1) + part[0] ** 2 / (n[0] - 1)
        df = error**2 / spread
    difference = mean[1:] - mean[0]
    test: TTest = t_test(difference, np.sqrt(error), df)
    q = np.stack([adjust(row, "bh") for row in test.p]) if len(test.p) else test.p
    return Moved(who.targets, difference, test.t, q)


@dataclass(frozen=True)
class Ceiling:
    """What the data show, over TFs."""

    tfs: int
    shown: int
    """regulons that move more than matched sets do, q below alpha over TFs"""
    nominal: int
    own_measured: int
    """targets whose own gene is measured"""
    own_falls: int
    """of these, fall themselves (q below alpha)"""


def ceiling_table(
    moved: Moved,
    regulons: Sequence[Regulon],
    axes: np.ndarray,
    usable: np.ndarray,
    *,
    expression: sp.csr_matrix,
    who: Cohort,
    draws: int,
    alpha: float,
    seed: int,
) -> pd.DataFrame:
    """A row per TF with a regulon: columns target, genes, moved (known targets with q below alpha),
    size (mean |t|, the median t over all genes taken off: the others rise when one falls), null
    (of matched sets), p_sets, p_labels, p (the larger: both must hold), q over TFs, own_t and own_q
    of the TF's own gene. expression: (n, G), of which ``moved`` is.
    """
    place = {name: row for row, name in enumerate(moved.targets)}
    pool, rows = np.flatnonzero(usable), []
    for number, mine in enumerate(regulons):
        if mine.name not in place:
            continue
        row = place[mine.name]
        t = moved.t[row]
        known = usable & np.isfinite(t)
        genes = mine.genes[known[mine.genes]]
        rest = np.setdiff1d(pool[known[pool]], [mine.tf])
        if len(genes) < LEAST_GENES or len(rest) < 2 * len(genes):
            continue
        size = np.abs(t - np.median(t[rest]))
        sets = matched_genes(genes, axes, rest, draws, seed + number)
        value, null = float(size[genes].mean()), size[sets].mean(1)
        own = mine.tf >= 0
        p_sets = share_as_large(null, value)
        used = np.flatnonzero((who.group == 0) | (who.group == row + 1))
        drawn = permuted_size(
            expression[used][:, genes].toarray(),
            who.group[used] > 0,
            who.batch[used],
            draws,
            seed + number,
        )
        p_labels = share_as_large(drawn, value)
        rows.append(
            {"target": mine.name, "genes": len(genes)}
            | {"moved": int((moved.q[row, genes] < alpha).sum())}
            | {"size": value, "null": float(null.mean())}
            | {"p_sets": p_sets, "p_labels": p_labels, "p": max(p_sets, p_labels)}
            | {"own_t": float(t[mine.tf]) if own else np.nan}
            | {"own_q": float(moved.q[row, mine.tf]) if own else np.nan}
        )
    names = ["target", "genes", "moved", "size", "null", "p_sets", "p_labels", "p"]
    names += ["own_t", "own_q"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(q=adjust(table.p.to_numpy(np.float64), "bh"))


def permuted_size(
    y: np.ndarray, target: np.ndarray, batch: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """(draws,) mean |Welch t| over the columns of ``y`` (n, k), the labels ``target`` (bool, n)
    permuted within batches."""
    rng = np.random.default_rng(seed)
    label = np.tile(target, (draws, 1))
    for one in np.unique(batch):
        mine = np.flatnonzero(batch == one)
        label[:, mine] = rng.permuted(label[:, mine], axis=1)
    n1 = float(target.sum())
    n0 = len(target) - n1
    weight, centered = label.astype(np.float64), y - y.mean(0)
    total, square = centered.sum(0), (centered**2).sum(0)
    sum1, square1 = weight @ centered, weight @ centered**2
    mean1, mean0 = sum1 / n1, (total - sum1) / n0
    part1 = (square1 - n1 * mean1**2) / (n1 - 1) / n1
    part0 = (square - square1 - n0 * mean0**2) / (n0 - 1) / n0
    error = np.sqrt(np.maximum(part1 + part0, 0))
    t = np.divide(mean1 - mean0, error, out=np.zeros_like(error), where=error > 0)
    return np.asarray(np.abs(t).mean(1))


def ceiling(table: pd.DataFrame, alpha: float) -> Ceiling:
    """Count over TFs."""
    falls = (table.own_t < 0) & (table.own_q < alpha)
    return Ceiling(
        len(table),
        int((table.q < alpha).sum()),
        int((table.p < alpha).sum()),
        int(table.own_t.notna().sum()),
        int(falls.sum()),
    )
