"""A concept is a yes or no for every token; the benchmark asks how well the best single unit of a
dictionary tells it, and whether that is better than a baseline's best unit.

For each concept the unit and its threshold are chosen on train rows, by F1, and another unit by
AUROC; both are read on test rows, with an interval by bootstrap over blocks. All units and all
concepts are scored at once: the activations of a unit are sorted once, and the counts of every
threshold are cumulative sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

Values: TypeAlias = Any
"""Activations (n, m): a CSR matrix of positive values (zero: silent), or a dense array."""


class Scores(NamedTuple):
    """Every unit on every concept, on the rows given; all (m, C)."""

    f1: np.ndarray
    """the best F1 over thresholds"""
    threshold: np.ndarray
    """rows with an activation of at least this are called; NaN for a silent unit"""
    auroc: np.ndarray
    """ties count half; .5 for a silent unit"""


class _Sorted(NamedTuple):
    """Entries by unit, then by falling value."""

    row: np.ndarray
    value: np.ndarray
    begin: np.ndarray
    """(m + 1,) entries of unit f are begin[f] to begin[f + 1]"""
    n: int
    """rows; those without an entry hold 0, below every entry"""


def _entries(values: Values) -> _Sorted:
    columns = sp.csc_matrix(values)
    unit = np.repeat(np.arange(values.shape[1]), np.diff(columns.indptr))
    order = np.lexsort((-columns.data, unit))
    begin = columns.indptr.astype(np.int64)
    row = columns.indices[order].astype(np.int64)
    return _Sorted(row, columns.data[order], begin, values.shape[0])


def score(values: Values, concepts: np.ndarray) -> Scores:
    """F1 at the best threshold, and AUROC, of every unit on every concept.

    Parameters
    ----------
    values : csr_matrix or ndarray of shape (n, m)
        Activations. What a CSR matrix does not hold is 0 and below all it holds.
    concepts : ndarray of shape (n, C), bool

    Source: the F1 of calling all rows from a threshold on, as `sklearn.metrics.f1_score`; AUROC by
    midranks, as `sklearn.metrics.roc_auc_score`.
    """
    if not sp.issparse(values):
        return _score_dense(np.asarray(values), concepts)
    row, value, begin, n = _entries(values)
    m, size = len(begin) - 1, np.diff(begin)
    fires = np.flatnonzero(size)
    starts = begin[:-1][fires]
    unit = np.repeat(np.arange(m), size)
    place = np.arange(len(row)) - begin[unit] + 1
    last = np.ones(len(row), bool)  # of its ties: a threshold takes all of them
    last[:-1] = (unit[1:] != unit[:-1]) | (value[1:] != value[:-1])
    ends = np.flatnonzero(last)
    f1 = np.zeros((m, concepts.shape[1]))
    threshold, auroc = np.full_like(f1, np.nan), np.full_like(f1, 0.5)
    if not len(row):
        return Scores(f1, threshold, auroc)
    end_of_unit = np.searchsorted(ends, begin[1:][fires])
    begin_of_unit = np.concatenate([[0], end_of_unit[:-1]])
    for c in range(concepts.shape[1]):
        yes = concepts[:, c]
        positives = int(yes.sum())
        hit = yes[row]
        total = np.cumsum(hit)
        base = np.concatenate([[0], total])[starts]
        at = total[ends] - np.repeat(base, np.diff(np.append(begin_of_unit, len(ends))))
        called = place[ends]
        found = 2 * at / (called + positives)
        best = np.maximum.reduceat(found, begin_of_unit)
        of_unit = np.repeat(np.arange(len(fires)), np.diff(np.append(begin_of_unit, len(ends))))
        first = np.full(len(fires), len(ends))
        top = np.flatnonzero(found == best[of_unit])
        np.minimum.at(first, of_unit[top], top)
        f1[fires, c], threshold[fires, c] = best, value[ends[first]]
        if 0 < positives < n:
            auroc[fires, c] = _auroc(at, called, begin_of_unit, of_unit, positives, n)
    return Scores(f1, threshold, auroc)


def _score_dense(values: np.ndarray, concepts: np.ndarray) -> Scores:
    """The same of a dense array. The best threshold lies at a row of the concept, so only those are
    looked at: the j-th of them, of P, at rank r has F1 2 j / (r + P)."""
    (n, m), n_concepts = values.shape, concepts.shape[1]
    concept, row = np.nonzero(concepts.T)
    size = np.bincount(concept, minlength=n_concepts)
    held = np.flatnonzero(size)
    begin = (np.cumsum(size) - size)[held]
    place = np.arange(len(row)) - np.repeat(begin, size[held]) + 1
    f1 = np.zeros((m, n_concepts))
    threshold = np.full_like(f1, np.nan)
    middle = np.empty((n, m))
    for unit in range(m):
        order = np.argsort(-values[:, unit], kind="stable")
        ordered = values[order, unit]
        edge = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
        of_edge = np.repeat(np.arange(len(edge)), np.diff(edge, prepend=0))
        rank = np.empty(n, np.int64)
        rank[order] = edge[of_edge]  # rows at least as large, ties included
        middle[order, unit] = (edge + np.append(0, edge[:-1]) + 1)[of_edge] / 2
        at = np.sort(concept * (n + 1) + rank[row]) % (n + 1)
        found = 2 * place / (at + size[concept])
        best = np.maximum.reduceat(found, begin)
        f1[unit, held] = best
        top = np.flatnonzero(found == np.repeat(best, size[held]))
        first = top[np.unique(concept[top], return_index=True)[1]]
        threshold[unit, held] = ordered[at[first] - 1]
    others = n - size
    both = (size > 0) & (others > 0)
    above = middle.T @ concepts  # sums of ranks from the top
    area = 1 - (above - size * (size + 1) / 2) / np.maximum(size * others, 1)
    return Scores(f1, threshold, np.where(both, area, 0.5))


def _auroc(
    hits: np.ndarray,
    called: np.ndarray,
    begin: np.ndarray,
    of_unit: np.ndarray,
    positives: int,
    n: int,
) -> np.ndarray:
    """Area under the steps of each unit by the trapezoid rule; the last step goes to all rows."""
    negatives = n - positives
    fresh = np.zeros(len(hits), bool)
    fresh[begin] = True
    before_hits = np.where(fresh, 0, np.roll(hits, 1))
    false = called - hits
    before_false = np.where(fresh, 0, np.roll(false, 1))
    area = (false - before_false) * (hits + before_hits) / 2
    total = np.bincount(of_unit, area, minlength=len(begin))
    ends = np.append(begin[1:], len(hits)) - 1
    total += (negatives - false[ends]) * (hits[ends] + positives) / 2
    return np.asarray(total / (positives * negatives))


class Best(NamedTuple):
    """The best units of one dictionary on each of C concepts: chosen on train rows, read on test
    rows. Arrays with a leading axis hold the estimate and then each bootstrap sample."""

    unit: np.ndarray
    """(C,) by F1"""
    threshold: np.ndarray
    """(C,)"""
    train_f1: np.ndarray
    """(C,)"""
    f1: np.ndarray
    """(1 + R, C) on test rows"""
    unit_auroc: np.ndarray
    """(C,) by AUROC"""
    auroc: np.ndarray
    """(1 + R, C) on test rows, of ``unit_auroc``; a unit chosen for AUROC below ½ is turned
    around"""


def best_units(
    values: Values,
    concepts: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    block: np.ndarray,
    weights: np.ndarray,
) -> Best:
    """Choose on ``train`` (n,) bool, read on ``test`` (n,) bool.

    Parameters
    ----------
    block : ndarray of shape (n,)
        Block of each row, int from 0.
    weights : ndarray of shape (1 + R, B)
        How often each block is taken; the first row takes each test block once
        (`petriscope.enrich.correlation.block_weights`). The same for what is compared in pairs.
    """
    on_train = score(values[train], concepts[train])
    by_f1, by_area = on_train.f1.argmax(0), np.abs(on_train.auroc - 0.5).argmax(0)
    columns = sp.csc_matrix(values[test]) if sp.issparse(values) else np.asarray(values[test])
    return _read(on_train, by_f1, by_area, columns, concepts[test], block[test], weights)


def own_columns(
    values: np.ndarray,
    concepts: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    block: np.ndarray,
    weights: np.ndarray,
) -> Best:
    """The same where each concept has a score of its own: ``values`` (n, C), column c for concept
    c."""
    parts = [
        score(values[train, c, None], concepts[train, c, None]) for c in range(values.shape[1])
    ]
    rows = [
        np.concatenate([getattr(part, name) for part in parts], axis=1) for name in Scores._fields
    ]
    on_train = Scores(*(np.repeat(row, values.shape[1], axis=0) for row in rows))
    own = np.arange(values.shape[1])
    return _read(on_train, own, own, values[test], concepts[test], block[test], weights)


def _read(
    on_train: Scores,
    by_f1: np.ndarray,
    by_area: np.ndarray,
    columns: Values,
    yes: np.ndarray,
    block: np.ndarray,
    weights: np.ndarray,
) -> Best:
    """Read on test rows the units that train rows chose."""
    every = np.arange(yes.shape[1])
    threshold = on_train.threshold[by_f1, every]
    turned = on_train.auroc[by_area, every] < 0.5
    f1 = np.zeros((len(weights), len(every)))
    auroc = np.full_like(f1, 0.5)
    for c in every:
        called = _column(columns, by_f1[c]) >= threshold[c]
        f1[:, c] = weighted_f1(called, yes[:, c], block, weights)
        other = _column(columns, by_area[c])
        auroc[:, c] = weighted_auroc(-other if turned[c] else other, yes[:, c], block, weights)
    return Best(by_f1, threshold, on_train.f1[by_f1, every], f1, by_area, auroc)


def _column(values: Values, unit: int) -> np.ndarray:
    if sp.issparse(values):
        return np.asarray(values[:, [unit]].toarray()).ravel()
    return np.asarray(values[:, unit])


def weighted_f1(
    called: np.ndarray, yes: np.ndarray, block: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R,) F1 of ``called`` (n,) bool against ``yes`` (n,) bool with blocks taken ``weights``
    (R, B) times; 0 where nothing is called and nothing is there."""
    size = weights.shape[1]
    counts = [np.bincount(block[rows], minlength=size) for rows in (called & yes, called, yes)]
    hits, calls, positives = (weights @ count for count in counts)
    total = calls + positives
    return np.asarray(np.divide(2 * hits, total, out=np.zeros(len(weights)), where=total > 0))


def weighted_auroc(
    values: np.ndarray, yes: np.ndarray, block: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R,) AUROC of ``values`` (n,) with blocks taken ``weights`` (R, B) times; ½ where a sample
    lacks positives or negatives.

    The wins of positives of one block over negatives of another are counted once, (B, B); a sample
    weighs them.
    """
    n_blocks = weights.shape[1]
    level = np.unique(values, return_inverse=True)[1]
    n_levels = int(level.max(initial=0)) + 1
    no = ~yes
    present = np.unique(block)
    wins = np.zeros((n_blocks, n_blocks))
    positive = np.argsort(block[yes], kind="stable")
    level_of, block_of = level[yes][positive], block[yes][positive]
    edges = np.flatnonzero(np.diff(block_of, prepend=-1))
    for other in present if len(edges) else ():
        count = np.bincount(level[no & (block == other)], minlength=n_levels)
        below = np.cumsum(count) - count / 2
        wins[block_of[edges], other] = np.add.reduceat(below[level_of], edges)
    above = ((weights @ wins) * weights).sum(1)
    size = weights.shape[1]
    pairs = (weights @ np.bincount(block[yes], minlength=size)) * (
        weights @ np.bincount(block[no], minlength=size)
    )
    return np.asarray(np.divide(above, pairs, out=np.full(len(weights), 0.5), where=pairs > 0))


def lookup_scores(
    category: np.ndarray, concepts: np.ndarray, fold: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """(n, C) share of each concept among the train rows of a row's category, shrunk towards its
    overall share by one row: the baseline that reads nothing but the category.

    The share at a train row of ``fold`` 0 comes from fold 1 and the other way around, so that a
    threshold chosen on train rows is chosen on shares that have not seen them.
    """
    code = np.unique(category, return_inverse=True)[1]
    n_codes = int(code.max()) + 1
    found = np.empty(concepts.shape)
    overall = concepts[train].mean(0)

    def shares(rows: np.ndarray) -> np.ndarray:
        ones = (np.ones(int(rows.sum())), (code[rows], np.arange(int(rows.sum()))))
        members = sp.csr_matrix(ones, shape=(n_codes, int(rows.sum())))
        count = np.asarray(members.sum(1))
        return np.asarray((members @ concepts[rows].astype(float) + overall) / (count + 1))

    found[:] = shares(train)[code]
    for one in (0, 1):
        rows = train & (fold == one)
        found[rows] = shares(train & (fold != one))[code[rows]]
    return found


class Wins(NamedTuple):
    """On how many of C concepts one dictionary beats another, paired by block."""

    difference: np.ndarray
    """(C,) score of one minus score of the other"""
    low: np.ndarray
    """(C,) 95 % interval over blocks"""
    high: np.ndarray
    better: int
    """concepts with a difference above 0"""
    better_low: float
    """95 % interval of that number over blocks"""
    better_high: float
    surely_better: int
    """concepts whose interval lies above 0"""
    surely_worse: int


def compare(one: np.ndarray, other: np.ndarray, level: float = 0.95) -> Wins:
    """Compare scores (1 + R, C) of two dictionaries under the same bootstrap samples."""
    difference = one - other
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(difference[1:], tails, axis=0)
    count = (difference[1:] > 0).sum(1)
    few, many = np.quantile(count, tails)
    return Wins(
        difference[0],
        low,
        high,
        int((difference[0] > 0).sum()),
        float(few),
        float(many),
        int((low > 0).sum()),
        int((high < 0).sum()),
    )


def principal_components(
    values: np.ndarray, train: np.ndarray, count: int | None = None
) -> np.ndarray:
    """(n, q) float32 scores of the principal components of the train rows of ``values`` (n, d), all
    of them or the first ``count``."""
    x = np.asarray(values, np.float32)
    mean = x[train].mean(0, dtype=np.float64)
    centered = x[train] - mean.astype(np.float32)
    found, axes = np.linalg.eigh((centered.T @ centered).astype(np.float64))
    axes = axes[:, np.argsort(-found)][:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return np.asarray((x - mean.astype(np.float32)) @ axes.astype(np.float32))
