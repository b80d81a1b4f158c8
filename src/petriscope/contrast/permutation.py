"""Permutation and sign-flip nulls in matrix form: exact or Monte Carlo p, Westfall-Young maxT."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

ROWS = 128
"""relabellings at a time: they stay in cache, and their count fits a byte"""
TIE = 1e-5
"""relative difference below which a null statistic counts as equal to the observed one (float32
products)"""

Null = Callable[[np.ndarray], Iterator[np.ndarray]]
"""null(columns) yields float32 chunks (at most ROWS, len(columns)) of their null statistics"""


class PermutationP(NamedTuple):
    """Permutation p-values of m statistics and the null distribution of their largest."""

    p: np.ndarray
    """(m,) share of relabellings with a statistic at least as large: (b+1)/(N+1), or b/N over a
    full enumeration."""
    max_t: np.ndarray
    """(m,) Westfall-Young step-down adjusted p (family-wise error)."""
    null_max: np.ndarray
    """(N,) largest |statistic| of each relabelling: combine layers by taking the elementwise
    maximum."""
    statistic: np.ndarray
    """(m,) the observed statistic, on the scale of ``null_max``."""
    n: int
    """relabellings drawn, or enumerated."""
    exact: bool
    """every relabelling was enumerated (the observed one among them)."""


def permutation_p(observed: np.ndarray, null: Null, *, exact: bool) -> PermutationP:
    """Compare |observed| (m,) with all rows of ``null``; a feature whose observed statistic is NaN
    stays NaN.

    maxT is the step-down form: each feature is compared with the largest null statistic among
    itself and all features of smaller observed statistic; the p-values are then made monotone.
    Source: Westfall & Young 1993, algorithm 2.8; Phipson & Smyth 2010 for (b+1)/(N+1).
    """
    tested = np.flatnonzero(np.isfinite(observed))
    order = tested[np.argsort(np.abs(observed[tested]), kind="stable")]
    level = (np.abs(observed[order]) * (1 - TIE)).astype(np.float32)
    above, above_max = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
    maxima = []
    for chunk in null(order):
        size = np.abs(chunk, out=chunk)
        above += (size >= level).view(np.uint8).sum(0, dtype=np.uint8)
        np.maximum.accumulate(size, axis=1, out=size)
        above_max += (size >= level).view(np.uint8).sum(0, dtype=np.uint8)
        maxima.append(size[:, -1].copy() if len(order) else np.zeros(len(chunk), np.float32))
    null_max = np.concatenate(maxima)
    n, extra = len(null_max), 0 if exact else 1
    p, max_t = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    p[order] = (above + extra) / (n + extra)
    max_t[order] = np.maximum.accumulate((above_max[::-1] + extra) / (n + extra))[::-1]
    return PermutationP(p, max_t, null_max, observed, n, exact)


def single_step_max_t(observed: np.ndarray, null_max: np.ndarray, *, exact: bool) -> np.ndarray:
    """Single-step maxT adjusted p of |observed| (any shape) against null maxima (N,), e.g. over
    layers."""
    ordered = np.sort(null_max)
    above = len(ordered) - np.searchsorted(ordered, np.abs(observed) * (1 - TIE), side="left")
    extra = 0 if exact else 1
    return np.where(np.isfinite(observed), (above + extra) / (len(ordered) + extra), np.nan)


def joint_max_t(parts: Sequence[PermutationP]) -> list[np.ndarray]:
    """Single-step maxT adjusted p of several sets of features as one family, e.g. all layers; one
    array per part.

    The parts must come from the same relabellings in the same order (same design, number and seed).
    """
    if len({(part.n, part.exact) for part in parts}) != 1:
        raise ValueError("the parts come from different relabellings")
    null_max = np.maximum.reduce([part.null_max for part in parts])
    return [single_step_max_t(part.statistic, null_max, exact=part.exact) for part in parts]


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, ROWS):
        yield slice(start, min(n, start + ROWS))


def signs(n: int, units: int, seed: int) -> tuple[np.ndarray, bool]:
    """(N, units) int8 sign flips and whether they are all 2^units of them (then N = 2^units <=
    n)."""
    if units < 63 and 2**units <= n:
        codes = np.arange(2**units)[:, None] >> np.arange(units)
        return (1 - 2 * (codes & 1)).astype(np.int8), True
    rng = np.random.default_rng(seed)
    return (1 - 2 * rng.integers(0, 2, (n, units), dtype=np.int8)).astype(np.int8), False


def sign_flip(units: np.ndarray, n: int, seed: int, *, studentise: bool = True) -> PermutationP:
    """Sign-flip test of the mean of ``units`` (n_units, m) against zero.

    With ``studentise`` the statistic is t. A sign flip keeps the sum of squares, so t is monotone
    in sum / sqrt(sum of squares): one matrix product gives all relabellings of all features.
    """
    scale = np.sqrt((units**2).sum(0)) if studentise else np.full(units.shape[1], float(len(units)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(scale > 0, units / scale, np.nan)
    flips, exact = signs(n, len(units), seed)

    def null(columns: np.ndarray) -> Iterator[np.ndarray]:
        working = scaled[:, columns].astype(np.float32)
        return (flips[rows].astype(np.float32) @ working for rows in _chunks(len(flips)))

    return permutation_p(scaled.sum(0), null, exact=exact)


def label_splits(n_reference: int, n_target: int, n: int, seed: int) -> tuple[np.ndarray, bool]:
    """(N, n_reference + n_target) bool, True = called target: every relabelling if there are at
    most n, else n drawn.

    The first row is the observed labelling (reference rows first).
    """
    total = n_reference + n_target
    observed = np.arange(total) >= n_reference
    if math.comb(total, n_target) <= n:
        rows = np.zeros((math.comb(total, n_target), total), bool)
        for row, chosen in zip(rows, combinations(range(total - 1, -1, -1), n_target)):
            row[list(chosen)] = True
        return rows, True
    rng = np.random.default_rng(seed)
    return np.concatenate([observed[None], rng.permuted(np.tile(observed, (n, 1)), axis=1)]), False


def stratified_labels(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    strata: list[tuple[np.ndarray, np.ndarray]],
    n: int,
    seed: int,
) -> PermutationP:
    """Permute labels within strata; the test statistic is the sum of the strata's scores
    over sqrt(L).

    ``strata``: (reference (n0, m), target (n1, m)) per stratum. ``statistic(a, b)`` scores a
    against b -> (m,) and is re-computed in full, prior included, on each relabelling. All
    combinations are enumerated where at most ``n`` exist.
    """
    tables, first, observed = [], [], np.zeros(strata[0][0].shape[1])
    for i, (reference, target) in enumerate(strata):
        splits, complete = label_splits(len(reference), len(target), n, seed + 1 + i)
        values = np.concatenate([reference, target])
        tables.append(np.stack([statistic(values[split], values[~split]) for split in splits]))
        first.append(0 if complete else 1)
        observed += tables[-1][0]
    sizes = [len(table) for table in tables]
    exact = not any(first) and math.prod(sizes) <= n
    if exact:
        index = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    else:
        rng = np.random.default_rng(seed)
        index = np.stack([rng.integers(low, size, n) for low, size in zip(first, sizes)], axis=1)
    root = math.sqrt(len(tables))

    def null(columns: np.ndarray) -> Iterator[np.ndarray]:
        working = [np.nan_to_num(table[:, columns] / root).astype(np.float32) for table in tables]
        for rows in _chunks(len(index)):
            total = working[0][index[rows, 0]]
            for i, table in enumerate(working[1:], start=1):
                total += table[index[rows, i]]
            yield total

    return permutation_p(observed / root, null, exact=exact)
