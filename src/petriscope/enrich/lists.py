"""Many short gene lists are tested against many gene sets at once: a hypergeometric test of the
overlaps, and a test of all genes by their ranks that needs no cut-off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.stats import rankdata

from petriscope.enrich.tails import tabulated_hypergeometric_tail
from petriscope.progress import progress

STRATA = 10
"""classes of equal frequency within which genes are exchanged"""
_ROWS = 1024  # lists made dense over all genes at a time


class ListTests(NamedTuple):
    """Pairs of a list and a set that share a gene, list by list; all arrays (E,)."""

    list: np.ndarray
    """int64 row of the list"""
    set: np.ndarray
    """int64 column of the set"""
    overlap: np.ndarray
    """int64 shared genes"""
    length: np.ndarray
    """int64 genes of the list"""
    size: np.ndarray
    """int64 genes of the set"""
    ln_p: np.ndarray
    """ln P(X >= overlap), X hypergeometric"""


def overlap_tests(lists: sp.csr_matrix, members: sp.csr_matrix) -> ListTests:
    """The hypergeometric test of ``lists`` (F, G) against ``members`` (G, T), both 0/1 over one
    background of G genes. A pair that shares no gene has p = 1 and is not among the entries."""
    shared = sp.csr_matrix(lists.astype(np.float64) @ members.astype(np.float64))
    length = np.diff(lists.indptr).astype(np.int64)
    size = np.bincount(members.indices, minlength=members.shape[1]).astype(np.int64)
    row = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
    column = shared.indices.astype(np.int64)
    overlap = np.rint(shared.data).astype(np.int64)
    ln_p = tabulated_hypergeometric_tail(overlap, lists.shape[1], size[column], length[row])
    return ListTests(row, column, overlap, length[row], size[column], ln_p)


def any_set(tests: ListTests, lists: int, sets: int, alpha: float) -> np.ndarray:
    """bool (lists,): those with a set at q < alpha, Benjamini-Hochberg over all lists x sets.

    q < alpha holds for the p below alpha R / (lists x sets), R the largest number that so many p
    are below: found from above, without sorting millions of p.
    """
    hit = np.zeros(lists, bool)
    some, left = np.arange(len(tests.ln_p)), -1
    while len(some) and len(some) != left:
        left = len(some)
        some = some[tests.ln_p[some] < np.log(alpha * left / (lists * sets))]
    hit[tests.list[some]] = True
    return hit


class RankTests(NamedTuple):
    """Sets by the ranks of their genes, without a cut-off."""

    z: np.ndarray
    """float32 (F, T) mean rank of the set's genes against all genes as frequent, in standard
    deviations"""
    p: np.ndarray
    """float32 (F, T) share of exchanges of genes with a z as large in any set (maxT): the
    family-wise error within a feature"""


def strata_of(frequency: np.ndarray, classes: int = STRATA) -> np.ndarray:
    """int64 (G,) class of each gene by its rank in ``frequency`` (G,): as equal in size as they can
    be, at least two genes each where there are two."""
    order = np.argsort(frequency, kind="stable")
    stratum = np.empty(len(order), np.int64)
    for number, part in enumerate(np.array_split(order, max(1, min(classes, len(order) // 2)))):
        stratum[part] = number
    return stratum


def exchanged(stratum: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """``draws`` permutations (G,) of genes within their classes ``stratum`` (G,)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(stratum, kind="stable")
    for _ in range(draws):
        drawn = np.lexsort((rng.random(len(order)), stratum))
        permutation = np.empty(len(order), np.int64)
        permutation[order] = drawn
        yield permutation


def rank_lists(
    scores: sp.csr_matrix,
    members: sp.csr_matrix,
    stratum: np.ndarray,
    draws: int,
    seed: int,
    what: str = "gene ranks",
) -> RankTests:
    """Test ``members`` (G, T) by the ranks of ``scores`` (F, G), where an absent entry is 0.

    Genes are ranked (ties share the middle) within classes ``stratum`` (G,) of equally frequent
    genes; a set's sum of ranks has the mean and the variance of a draw without replacement from
    those classes. With one class z is that of the Mann-Whitney test (ties allowed for). Most genes
    of a sparse feature are tied at 0, where the normal tail is far too light: p comes from
    ``draws`` exchanges of genes within classes, all sets at once, by the largest z over sets.
    """
    features, sets = scores.shape[0], members.shape[1]
    transposed = sp.csr_matrix(members.T.astype(np.float32))
    counts = np.stack(
        [transposed[:, stratum == s].sum(1).A1 for s in range(int(stratum.max(initial=0)) + 1)]
    )  # (S, T) genes of each set in each class
    z = np.zeros((features, sets), np.float32)
    above = np.zeros((features, sets), np.int32)
    permutations = list(exchanged(stratum, draws, seed))
    blocks = range(0, features, _ROWS)
    for begin in progress(blocks, what, total=len(blocks), unit="block"):
        rows = slice(begin, begin + _ROWS)
        ranks, spread = _ranks(scores[rows].toarray(), stratum)
        sizes = np.bincount(stratum, minlength=len(counts))
        # sampling without replacement: var of a sum of k among n is k (n - k)/(n - 1) var
        share = counts * (sizes[:, None] - counts) / np.maximum(sizes[:, None] - 1, 1)
        sd = np.sqrt(spread @ share)
        with np.errstate(divide="ignore"):
            weight = np.where(sd > 0, 1 / sd, 0.0).astype(np.float32)
        mine = (transposed @ ranks.T).T * weight
        z[rows] = mine
        for permutation in permutations:
            largest = ((transposed @ ranks[:, permutation].T).T * weight).max(1, initial=-np.inf)
            above[rows] += largest[:, None] >= mine - 1e-4
    return RankTests(z, ((above + 1) / (draws + 1)).astype(np.float32))


def _ranks(values: np.ndarray, stratum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centered mid-ranks of values (F, G) within classes, float32, and their variance (F, S)."""
    ranks = np.zeros(values.shape, np.float32)
    classes = int(stratum.max(initial=0)) + 1
    spread = np.zeros((len(values), classes))
    for s in range(classes):
        genes = np.flatnonzero(stratum == s)
        if len(genes):
            mine = (rankdata(values[:, genes], axis=1) - (len(genes) + 1) / 2) / len(genes)
            ranks[:, genes], spread[:, s] = mine, mine.var(1)
    return ranks, spread
