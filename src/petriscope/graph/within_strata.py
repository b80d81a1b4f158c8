"""Pairs of features fire together more often than the strata of tokens alone would have it: exact
expectation and variance under permutation of the tokens within each stratum (a gene, a word, a
gene in one cell type), without permuting.

With n_g tokens in stratum g, of which n_ig have feature i and n_jg feature j, the number that has
both is hypergeometric when the tokens of j are permuted within g. Strata are independent, so

    E_ij = Σ_g n_ig n_jg / n_g
    V_ij = Σ_g n_ig n_jg (n_g - n_ig) (n_g - n_jg) / (n_g² (n_g - 1))
    z_ij = (O_ij - E_ij) / √V_ij

A feature that depends on the stratum alone has V = 0 with every other: it can show no excess.
Within a layer i and j are of one dictionary; across layers, or between two dictionaries, of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from petriscope.graph.bipartite import Incidence, incidence
from petriscope.graph.cofiring import Counter
from petriscope.progress import progress
from petriscope.sae.codes import Codes

DENSE = 0.1
"""Share of filled entries above which dense products of strata by features are faster."""
_BLOCK_BYTES = 1 << 28
_NOTHING = 1e-9
"""A variance below it is that of a pair which no permutation changes."""


@dataclass(frozen=True)
class Excess:
    """Pairs of m features with m' others. Arrays (m, m')."""

    observed: np.ndarray
    """int64, tokens on which both fire"""
    expected: np.ndarray
    variance: np.ndarray

    @cached_property
    def z(self) -> np.ndarray:
        """float64; NaN where no permutation changes the count."""
        return self.standardized(self.observed)

    def standardized(self, counts: np.ndarray) -> np.ndarray:
        """z of other counts (m, m') of the same tokens in another order."""
        varies = self.variance > _NOTHING
        deviation = np.sqrt(self.variance, out=np.ones_like(self.variance), where=varies)
        return np.where(varies, (counts - self.expected) / deviation, np.nan)


def excess(observed: np.ndarray, first: Incidence, second: Incidence) -> Excess:
    """Expectation and variance of the ``observed`` (m, m') counts of pairs.

    ``first``, ``second``: features by stratum, as `petriscope.graph.bipartite.incidence` counts
    them (a stratum is what it calls a sequence), of the same tokens.
    """
    if not np.array_equal(first.tokens, second.tokens):
        raise ValueError("the strata of the two have different tokens")
    n = first.tokens.astype(np.float64)
    whole = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)
    several = np.divide(1.0, n**2 * (n - 1), out=np.zeros_like(n), where=n > 1)
    expected = _product(first.counts, whole, second.counts)
    variance = _product(_spread(first), several, _spread(second))
    return Excess(np.asarray(observed), expected, variance)


def _spread(found: Incidence) -> sp.csr_matrix:
    """n_ig (n_g - n_ig), where feature i fires in stratum g."""
    counts = found.counts.astype(np.float64)
    n = np.repeat(found.tokens, np.diff(counts.indptr)).astype(np.float64)
    entries = (counts.data * (n - counts.data), counts.indices, counts.indptr)
    return sp.csr_matrix(entries, shape=counts.shape)


def _product(left: sp.csr_matrix, weight: np.ndarray, right: sp.csr_matrix) -> np.ndarray:
    """Σ_g left_gi weight_g right_gj, float64 (m, m')."""
    left, right = (sp.csr_matrix(one, dtype=np.float64) for one in (left, right))
    cells = max(1, left.shape[0] * (left.shape[1] + right.shape[1]))
    if left.nnz + right.nnz < DENSE * cells:
        return np.asarray((left.T @ (sp.diags(weight) @ right)).todense())
    total = np.zeros((left.shape[1], right.shape[1]))
    step = max(1, _BLOCK_BYTES // (8 * (left.shape[1] + right.shape[1])))
    for start in range(0, len(weight), step):
        part = slice(start, start + step)
        total += left[part].toarray().T @ (weight[part, None] * right[part].toarray())
    return total


def correlation(
    first: Codes, second: Codes, stratum: np.ndarray | None = None, strata: int = 1
) -> np.ndarray:
    """Pearson correlation of activations, float64 (m, m'), over the same n tokens; 0 where one of
    two does not vary.

    With ``stratum``, int (n,) from 0 to ``strata`` - 1, that of what is left of them after the mean
    of each stratum is taken away.
    """
    stratum = np.zeros(first.n, np.int64) if stratum is None else stratum
    left, right = (_matrix(one) for one in (first, second))
    weight = 1 / np.maximum(np.bincount(stratum, minlength=strata), 1)
    sums = [_sums(matrix, stratum, strata) for matrix in (left, right)]
    shared = np.asarray((left.T @ right).todense()) - _product(sums[0], weight, sums[1])
    spread = [
        np.asarray(matrix.multiply(matrix).sum(0)).ravel()
        - np.asarray(total.multiply(total).multiply(weight[:, None]).sum(0)).ravel()
        for matrix, total in zip((left, right), sums, strict=True)
    ]
    scale = np.sqrt(np.outer(*(np.maximum(values, 0) for values in spread)))
    floor = 1e-9 * np.sqrt(np.outer(*(_squares(matrix) for matrix in (left, right))))
    return np.divide(shared, scale, out=np.zeros_like(shared), where=scale > floor)


def _matrix(codes: Codes) -> sp.csr_matrix:
    return codes.scipy().astype(np.float64)


def _squares(matrix: sp.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.multiply(matrix).sum(0)).ravel()


def _sums(matrix: sp.csr_matrix, stratum: np.ndarray, strata: int) -> sp.csr_matrix:
    n = matrix.shape[0]
    member = sp.csr_matrix((np.ones(n), (stratum, np.arange(n))), shape=(strata, n))
    return sp.csr_matrix(member @ matrix)


def shuffled(
    stratum: np.ndarray, rng: np.random.Generator, home: np.ndarray | None = None
) -> np.ndarray:
    """A random order of tokens, int64 (n,): each place gets a token of its own stratum. ``home``:
    the stable order of ``stratum``, where many are drawn."""
    home = np.argsort(stratum, kind="stable") if home is None else home
    order = np.empty(len(stratum), np.int64)
    order[home] = _drawn(stratum, rng)
    return order


def _drawn(stratum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tokens stratum by stratum, at random within each: sorting one number is faster than two."""
    drawn = rng.integers(0, 1 << 32, len(stratum), np.uint64)
    return np.argsort((stratum.astype(np.uint64) << np.uint64(32)) | drawn)


@dataclass(frozen=True)
class Strongest:
    """The partner of each feature with the largest excess. Arrays (m,)."""

    partner: np.ndarray
    """int64; -1 where nothing was tested"""
    z: np.ndarray
    """NaN where nothing was tested"""
    p: np.ndarray
    """share of permutations whose largest z over all partners is as large (maxT)"""
    null_95: np.ndarray
    """z that one permutation in twenty exceeds"""


class WithinStrata:
    """Tests of pairs of features against permutations of the tokens within strata.

    ``first`` (n, m), ``second`` (n, m'): codes of the same tokens; ``stratum``: int (n,), from 0.
    Pairs expected together on fewer than ``least`` tokens, and features that fire on fewer than
    ``min_count``, are not looked at: one chance meeting would be a large z.
    """

    def __init__(
        self,
        first: Codes,
        second: Codes,
        stratum: np.ndarray,
        *,
        min_count: int,
        least: float = 1.0,
    ) -> None:
        self.stratum = np.unique(stratum, return_inverse=True)[1]
        strata = int(self.stratum.max(initial=-1)) + 1
        self.counter = Counter(first, second)
        counted = [incidence(codes, self.stratum, strata) for codes in (first, second)]
        self.excess = excess(self.counter.counts(), *counted)
        often = [np.asarray(one.counts.sum(0)).ravel() >= min_count for one in counted]
        self.often: np.ndarray = often[0]
        """bool (m,): features that fire on ``min_count`` tokens"""
        self.used = np.logical_and.outer(*often)
        self.used &= (self.excess.expected >= least) & (self.excess.variance > _NOTHING)

    def largest(self, counts: np.ndarray) -> np.ndarray:
        """(m,) largest z over the partners that are looked at; minus infinity without one."""
        z = np.where(self.used, self.excess.standardized(counts), -np.inf)
        return np.asarray(z.max(axis=1, initial=-np.inf))

    def nulls(self, permutations: int, seed: int, what: str | None = None) -> np.ndarray:
        """(permutations, m): `largest` of tokens permuted within strata."""
        rng, home = np.random.default_rng(seed), np.argsort(self.stratum, kind="stable")
        draws = range(permutations)
        drawn = draws if what is None else progress(draws, what, unit="permutation")
        orders = (shuffled(self.stratum, rng, home) for _ in drawn)
        found = [self.largest(self.counter.counts(order)) for order in orders]
        return np.array(found).reshape(permutations, -1)

    def strongest(self, nulls: np.ndarray, counts: np.ndarray | None = None) -> Strongest:
        """Each feature's largest z against `nulls`; of the tokens as they are, unless other
        ``counts`` (m, m') are given."""
        counts = self.excess.observed if counts is None else counts
        z = np.where(self.used, self.excess.standardized(counts), -np.inf)
        best = z.argmax(axis=1)
        value = z[np.arange(len(z)), best]
        tested = np.isfinite(value)
        exceed = (nulls >= value - 1e-9).sum(axis=0)
        p = (1 + exceed) / (1 + len(nulls))
        return Strongest(
            np.where(tested, best, -1),
            np.where(tested, value, np.nan),
            np.where(tested, p, np.nan),
            np.where(tested, np.quantile(nulls, 0.95, axis=0, method="higher"), np.nan),
        )


def information(
    first: Codes, second: Codes, pairs: np.ndarray, stratum: np.ndarray | None = None
) -> np.ndarray:
    """Mutual information of the firing of pairs of features, bits a token, float64 (pairs,); given
    the stratum, if ``stratum`` int (n,) from 0 is: I(A; B | G) = Σ_g n_g / N · I_g.

    ``pairs``: int (pairs, 2), feature of ``first`` and of ``second``. The plug-in estimate less its
    bias: one degree of freedom for each stratum in which both vary, 1 / (2 N ln 2) each.
    """
    stratum = np.zeros(first.n, np.int64) if stratum is None else np.asarray(stratum)
    n = np.bincount(stratum).astype(np.float64)
    columns = [codes.scipy().tocsc() for codes in (first, second)]
    found = np.zeros(len(pairs))
    for place, pair in enumerate(np.asarray(pairs)):
        rows = [
            column.indices[column.indptr[i] : column.indptr[i + 1]]
            for column, i in zip(columns, pair, strict=True)
        ]
        both = np.intersect1d(rows[0], rows[1], assume_unique=True)
        a, b, ab = (np.bincount(stratum[part], minlength=len(n)) for part in (*rows, both))
        cells = ((ab, a, b), (a - ab, a, n - b), (b - ab, n - a, b), (n - a - b + ab, n - a, n - b))
        bits = sum(_bits(count, n, left, right) for count, left, right in cells)
        varies = (a > 0) & (a < n) & (b > 0) & (b < n)
        found[place] = (bits - varies.sum() / (2 * np.log(2))) / max(len(stratum), 1)
    return found


def _bits(count: np.ndarray, n: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Σ count · log2(count · n / (left · right)), empty cells left out."""
    kept = count > 0
    ratio = count[kept] * n[kept] / (left[kept].astype(float) * right[kept])
    return float((count[kept] * np.log2(ratio)).sum())
