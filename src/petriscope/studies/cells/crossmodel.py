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

from petriscope.graph.cofiring import rows_of
from petriscope.graph.within_strata import shuffled
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes
from petriscope.studies.cells.persistence import Alive, code_matches

BLOCKS = 20
"""Groups of cells that the jackknife leaves out in turn."""
MOST = 20_000
"""Shared tokens on which hidden states are compared."""
_GENES = 1 << 32
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
    """With a 95 % interval by the jackknife over groups of cells."""

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


class Pairs(NamedTuple):
    """Features of two models matched one to one on the same tokens."""

    table: pd.DataFrame
    """columns feature, other_feature, r, tokens (both fire), p (over all shuffled pairs)"""
    null: float
    """r below which `CHANCE` of the shuffled pairs lie; NaN without any"""

    @property
    def above(self) -> float:
        """Share of the pairs above it; NaN without any."""
        return float((self.table["r"] > self.null).mean()) if len(self.table) else float("nan")


def matched_features(
    one: Codes, other: Codes, gene: np.ndarray, *, min_count: float, seed: int
) -> Pairs:
    """Match features by the correlation of their activations beyond their genes, Hungarian.

    ``one`` (n, m), ``other`` (n, m'): codes of the same tokens; ``gene`` int (n,). Features that
    fire on ``min_count`` of the tokens take part. The null deals each gene's tokens of ``other``
    out among the cells and matches anew: what remains is what the search for the best partner gives
    by itself.
    """
    stratum = np.unique(gene, return_inverse=True)[1].astype(np.int64)
    order = shuffled(stratum, np.random.default_rng(seed))
    first = Alive.of(one, min_count)
    found = code_matches(first, Alive.of(other, min_count), stratum)
    dealt = code_matches(first, Alive.of(rows_of(other, order), min_count), stratum)
    chance = np.sort(dealt.value[dealt.partner >= 0])
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
    return Pairs(pd.DataFrame(table), limit)
