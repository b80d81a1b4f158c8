"""How alike two models are: their hidden states of the same genes in the same cells, the features
that fire together there, and the terms that both have features for, each beside a pair of models
that learned nothing.

Two models that only tell genes apart, as random embeddings do, are alike already. Taking the mean
of each gene away leaves what they make of its cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from petriscope.contrast.effects import bootstrap_counts
from petriscope.graph.cofiring import rows_of
from petriscope.graph.within_strata import shuffled
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes
from petriscope.studies.cells.persistence import Alive, code_matches

BLOCKS = 20
"""Groups of cells that the jackknife leaves out in turn, and the bootstrap draws."""
MOST = 20_000
"""Shared tokens on which hidden states are compared."""
_GENES = 1 << 32
_PAIRS_AT_ONCE = 64
CHANCE = 0.99
"""Share of the pairs of shuffled cells below which a matched pair is no better than chance."""


class Shared(NamedTuple):
    """Tokens of one gene in one cell that two models both have. Arrays (n,)."""

    first: np.ndarray
    """int64 row of the first model's axis"""
    second: np.ndarray
    gene: np.ndarray
    cell: np.ndarray


def shared_tokens(
    first: tuple[Tokens, np.ndarray],
    second: tuple[Tokens, np.ndarray],
    *splits: str,
    most: int | None = MOST,
    seed: int = 0,
) -> Shared:
    """Of two models' token axes and genes (int (n,), -1 for special tokens), the tokens that both
    have in the cells of some splits; ``most`` of them drawn at random."""
    sides = [_keys(tokens, gene, splits) for tokens, gene in (first, second)]
    keys, one, other = np.intersect1d(sides[0][0], sides[1][0], return_indices=True)
    if most is not None and len(keys) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(keys), most, replace=False))
        keys, one, other = keys[drawn], one[drawn], other[drawn]
    return Shared(sides[0][1][one], sides[1][1][other], keys % _GENES, keys // _GENES)


def _keys(
    tokens: Tokens, gene: np.ndarray, splits: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """A number for the cell and gene of each token of the splits, and its row."""
    rows = np.flatnonzero((gene >= 0) & np.isin(tokens.split, splits))
    return tokens.window[rows].astype(np.int64) * _GENES + gene[rows], rows


class Products(NamedTuple):
    """Sums over the tokens of each of some groups of cells: what CKA is made of."""

    n: np.ndarray
    """(groups,)"""
    x: np.ndarray
    """(groups, d)"""
    y: np.ndarray
    """(groups, d')"""
    xx: np.ndarray
    """(groups, d, d)"""
    xy: np.ndarray
    """(groups, d, d')"""
    yy: np.ndarray
    """(groups, d', d')"""


def products(x: np.ndarray, y: np.ndarray, group: np.ndarray, groups: int) -> Products:
    """Of hidden states ``x`` (n, d) and ``y`` (n, d') of the same tokens, in ``groups`` groups
    (``group`` int (n,))."""
    parts = []
    for number in range(groups):
        a, b = (np.asarray(rows[group == number], np.float64) for rows in (x, y))
        parts.append((len(a), a.sum(0), b.sum(0), a.T @ a, a.T @ b, b.T @ b))
    return Products(*(np.array(column) for column in zip(*parts, strict=True)))


def linear_cka(sums: Products, kept: np.ndarray | None = None) -> float:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centered states (Frobenius norms), over the groups ``kept`` bool
    (groups,), all unless given. Source: Kornblith et al. 2019, equation 3 with a linear kernel."""
    chosen = sums if kept is None else Products(*(one[kept] for one in sums))
    n, x, y, xx, xy, yy = (one.sum(0) for one in chosen)
    if n < 2:
        return float("nan")
    norms = [
        float(np.linalg.norm(product - np.outer(left, right) / n))
        for product, left, right in ((xy, x, y), (xx, x, x), (yy, y, y))
    ]
    scale = norms[1] * norms[2]
    return norms[0] ** 2 / scale if scale > 0 else float("nan")


@dataclass(frozen=True)
class Estimate:
    """With a 95 % interval over groups of cells: by the jackknife, of a share by the bootstrap."""

    value: float
    low: float
    high: float


def jackknifed(values: np.ndarray, whole: float) -> Estimate:
    """``whole``: of all groups; ``values`` (groups,): with each left out (Student's t)."""
    groups = len(values)
    error = np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum())
    half = float(special.stdtrit(groups - 1, 0.975) * error)
    return Estimate(whole, whole - half, whole + half)


def left_out(sums: Products) -> np.ndarray:
    """(groups,) `linear_cka` with each group left out."""
    groups = np.arange(len(sums.n))
    return np.array([linear_cka(sums, groups != number) for number in groups])


def likeness(sums: Products) -> Estimate:
    """CKA with its interval."""
    return jackknifed(left_out(sums), linear_cka(sums))


def likeness_above(sums: Products, other: Products) -> Estimate:
    """CKA of one pair of models less that of another on the same groups of cells."""
    difference = left_out(sums) - left_out(other)
    return jackknifed(difference, linear_cka(sums) - linear_cka(other))


def within_gene(values: np.ndarray, gene: np.ndarray) -> np.ndarray:
    """Hidden states (n, d) less the mean of their gene (``gene`` int (n,))."""
    number = np.unique(gene, return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    rows = np.asarray(values, np.float64)
    means = np.add.reduceat(rows[order], starts, axis=0) / np.bincount(number)[:, None]
    return np.asarray(rows - means[number])


def groups_of(cell: np.ndarray, groups: int = BLOCKS) -> np.ndarray:
    """int64 (n,) group of each token's cell: cells in turn, so that all groups are as large."""
    number = np.unique(cell, return_inverse=True)[1]
    return np.asarray(number % groups)


@dataclass(frozen=True)
class Terms:
    """Terms that features of two models are annotated with."""

    first: int
    second: int
    shared: int
    jaccard: float
    """shared over those of either; 0 where there are none"""


def shared_terms(terms: Mapping[str, pd.DataFrame]) -> Terms:
    """``terms``: model → columns collection and term of its significant annotations, of two
    models."""
    first, second = (
        set(zip(table.collection, table.term, strict=True)) for table in terms.values()
    )
    both, either = len(first & second), len(first | second)
    return Terms(len(first), len(second), both, both / either if either else 0.0)


class PairSums(NamedTuple):
    """Sums over the tokens of each of B groups of cells, of k pairs of features less their genes'
    means; arrays (B, k)."""

    xy: np.ndarray
    xx: np.ndarray
    yy: np.ndarray

    def correlations(self, counts: np.ndarray) -> np.ndarray:
        """(R, k) r where each group counts as often as a row of ``counts`` (R, B) says; 0 where a
        feature does not vary. The means that were taken away stay those of all groups."""
        xy, xx, yy = (counts @ one for one in self)
        scale = np.sqrt(xx * yy)
        return np.divide(xy, scale, out=np.zeros_like(xy), where=scale > 0)


class Pairs(NamedTuple):
    """Features of two models matched one to one on the same tokens."""

    table: pd.DataFrame
    """columns feature, other_feature, r, tokens (both fire), p (over all shuffled pairs)"""
    null: float
    """r below which `CHANCE` of the shuffled pairs lie; NaN without any"""
    found: PairSums
    """of the pairs, in the order of the table"""
    dealt: PairSums
    """of the pairs matched where cells are shuffled within genes"""

    @property
    def above(self) -> float:
        """Share of the pairs above it; NaN without any."""
        return float((self.table["r"] > self.null).mean()) if len(self.table) else float("nan")

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """(R,) `above` of resamples that take each group of cells as often as a row of ``counts``
        (R, B) says: pairs stay matched as they are, with the cells' own tokens and with shuffled
        ones, and the limit is that of the resample."""
        limit = np.quantile(self.dealt.correlations(counts), CHANCE, axis=1, keepdims=True)
        return np.asarray((self.found.correlations(counts) > limit).mean(1))


def shares_above(
    trained: Pairs, random: Pairs, resamples: int, seed: int
) -> tuple[Estimate, Estimate, Estimate] | None:
    """The share of matched pairs above chance in both pairs of models, and the first less the
    second, on the same resamples of groups of cells; None where either has no pair.

    Limits are Student's t times the spread over the resamples, about the share itself, within what
    a share can be. Percentiles would not do: a resample holds fewer different cells, so that chance
    reaches further in it and its share is smaller (in the demo the share lay above them).
    """
    groups = len(trained.found.xy)
    if not (len(trained.table) and len(random.table)) or groups < 2:
        return None
    counts = bootstrap_counts(groups, resamples, seed)
    first, second = trained.drawn(counts), random.drawn(counts)
    mine, other, less = (
        _spread_about(value, drawn, groups, least)
        for value, drawn, least in (
            (trained.above, first, 0.0),
            (random.above, second, 0.0),
            (trained.above - random.above, first - second, -1.0),
        )
    )
    return mine, other, less


def _spread_about(value: float, drawn: np.ndarray, groups: int, least: float) -> Estimate:
    half = float(special.stdtrit(groups - 1, 0.975) * drawn.std(ddof=1))
    return Estimate(value, max(least, value - half), min(1.0, value + half))


def matched_features(
    one: Codes,
    other: Codes,
    gene: np.ndarray,
    group: np.ndarray,
    *,
    min_count: float,
    seed: int,
) -> Pairs:
    """Match features by the correlation of their activations beyond their genes, Hungarian.

    ``one`` (n, m), ``other`` (n, m'): codes of the same tokens; ``gene``, ``group`` int (n,), of
    each token its gene and the group of its cell, from 0. Features that fire on ``min_count`` of
    the tokens take part. The null deals each gene's tokens of ``other`` out among the cells and
    matches anew: what remains is what the search for the best partner gives by itself.
    """
    stratum = np.unique(gene, return_inverse=True)[1].astype(np.int64)
    order = shuffled(stratum, np.random.default_rng(seed))
    elsewhere = rows_of(other, order)
    first = Alive.of(one, min_count)
    found = code_matches(first, Alive.of(other, min_count), stratum)
    dealt = code_matches(first, Alive.of(elsewhere, min_count), stratum)
    by_chance = np.flatnonzero(dealt.partner >= 0)
    chance = np.sort(dealt.value[by_chance])
    feature = np.flatnonzero(found.partner >= 0)
    partner, r = found.partner[feature], found.value[feature]
    fires, theirs = (codes.scipy().astype(bool).astype(np.int64).tocsc() for codes in (one, other))
    both = fires[:, feature].multiply(theirs[:, partner]).sum(0)
    at_least = len(chance) - np.searchsorted(chance, r, side="left")
    table = {
        "feature": feature,
        "other_feature": partner,
        "r": r,
        "tokens": np.asarray(both).ravel(),
        "p": (1 + at_least) / (1 + len(chance)),
    }
    limit = float(np.quantile(chance, CHANCE)) if len(chance) else float("nan")
    return Pairs(
        pd.DataFrame(table),
        limit,
        _pair_sums(one, other, (feature, partner), stratum, group),
        _pair_sums(one, elsewhere, (by_chance, dealt.partner[by_chance]), stratum, group),
    )


def _pair_sums(
    one: Codes,
    other: Codes,
    pairs: tuple[np.ndarray, np.ndarray],
    gene: np.ndarray,
    group: np.ndarray,
) -> PairSums:
    """Of the ``pairs`` (features of one, features of the other), some at once."""
    groups, k = int(group.max(initial=-1)) + 1, len(pairs[0])
    sums = PairSums(*np.zeros((3, groups, k)))
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    codes = [side.scipy().tocsc() for side in (one, other)]
    for start in range(0, k, _PAIRS_AT_ONCE):
        at = slice(start, start + _PAIRS_AT_ONCE)
        x, y = (
            within_gene(side[:, feature[at]].toarray(), gene)[order]
            for side, feature in zip(codes, pairs, strict=True)
        )
        for into, product in zip(sums, (x * y, x * x, y * y), strict=True):
            into[:, at] = np.add.reduceat(product, starts, axis=0)
    return sums
