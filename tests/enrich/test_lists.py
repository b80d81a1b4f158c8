"""Overlap tests against scipy, ranks against its Mann-Whitney test, and the level of maxT where
genes are exchanged."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from petriscope.enrich.lists import (
    any_set,
    exchanged,
    overlap_tests,
    rank_lists,
    strata_of,
)


def test_overlaps_are_scipys_hypergeometric() -> None:
    rng = np.random.default_rng(0)
    lists = sp.csr_matrix(rng.random((40, 150)) < 0.1, dtype=float)
    sets = sp.csr_matrix(rng.random((150, 25)) < 0.15, dtype=float)
    found = overlap_tests(lists, sets)
    dense = lists.toarray() @ sets.toarray()
    assert len(found.list) == (dense > 0).sum()
    assert (dense[found.list, found.set] == found.overlap).all()
    wanted = stats.hypergeom.logsf(found.overlap - 1, 150, found.size, found.length)
    np.testing.assert_allclose(found.ln_p, wanted, rtol=1e-9, atol=1e-12)
    p = np.ones(dense.shape)
    p[found.list, found.set] = np.exp(found.ln_p)
    q = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    assert (any_set(found, 40, 25, 0.4) == (q < 0.4).any(1)).all()


def test_one_class_is_the_mann_whitney_test() -> None:
    rng = np.random.default_rng(1)
    scores = np.where(rng.random((6, 120)) < 0.5, 0, rng.random((6, 120)).round(2))
    sets = rng.random((120, 9)) < 0.2
    found = rank_lists(
        sp.csr_matrix(scores), sp.csr_matrix(sets, dtype=float), np.zeros(120, int), 9, 0
    )
    for f in range(6):
        for t in range(9):
            inside, outside = scores[f, sets[:, t]], scores[f, ~sets[:, t]]
            p = stats.mannwhitneyu(
                inside, outside, alternative="greater", use_continuity=False, method="asymptotic"
            ).pvalue
            assert stats.norm.sf(found.z[f, t]) == pytest.approx(p, rel=1e-4)


def test_classes_hold_genes_as_frequent_and_are_exchanged_within() -> None:
    frequency = np.random.default_rng(2).permutation(53)
    stratum = strata_of(frequency)
    assert np.bincount(stratum).tolist() == [6] * 3 + [5] * 7
    assert (np.diff(stratum[np.argsort(frequency)]) >= 0).all()
    for permutation in exchanged(stratum, 5, 0):
        assert sorted(permutation) == list(range(53))
        assert (stratum[permutation] == stratum).all()
    assert strata_of(np.arange(3)).tolist() == [0, 0, 0]


def test_sparse_scores_keep_the_level_where_the_normal_tail_does_not() -> None:
    # most genes tied at 0 and many small sets: the tail that a normal z promises is far too light
    rng = np.random.default_rng(3)
    scores = sp.csr_matrix(np.where(rng.random((200, 150)) < 0.03, rng.random((200, 150)), 0))
    sets = sp.csr_matrix(
        np.stack([rng.permutation(np.arange(150) < 6) for _ in range(40)], 1), dtype=float
    )
    found = rank_lists(scores, sets, np.zeros(150, int), 99, 4)
    by_normal = stats.norm.sf(found.z) * 40 < 0.05
    assert by_normal.any(1).mean() > 0.15
    assert (found.p < 0.055).any(1).mean() < 0.1


def test_frequent_genes_are_no_finding_within_classes() -> None:
    # features that only fire more on frequent genes, and a set of frequent genes
    rng = np.random.default_rng(5)
    frequency = rng.lognormal(3, 1, 400)
    scores = sp.csr_matrix(rng.random((60, 400)) * frequency)
    member = np.zeros((400, 1))
    member[np.argsort(-frequency)[rng.permutation(100)[:30]]] = 1
    naive = rank_lists(scores, sp.csr_matrix(member), np.zeros(400, int), 99, 0)
    within = rank_lists(scores, sp.csr_matrix(member), strata_of(frequency), 99, 0)
    assert (naive.p < 0.05).mean() > 0.9 and (within.p < 0.05).mean() < 0.3
    assert abs(within.z.mean()) < 1
