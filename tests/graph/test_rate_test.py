"""Reference: least squares with strata by statsmodels, permutation by hand, enumeration of a small
case, and a null in which members of a group are copies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import statsmodels.api as sm

from petriscope.graph import rate_test as module
from petriscope.graph.bipartite import Incidence
from petriscope.graph.rate_test import PSEUDO, RateTest, exchange, rate_test


def planted(
    seed: int, sequences: int = 120, m: int = 8, up: float = 3.0
) -> tuple[Incidence, np.ndarray, np.ndarray]:
    """Counts of Poisson firing, labels and length bins; latent 0 fires ``up`` times as often in
    targets, latent 7 never; targets are shorter and rates fall with length."""
    rng = np.random.default_rng(seed)
    target = rng.random(sequences) < 0.4
    bins = np.clip(rng.integers(0, 4, sequences) - target * rng.integers(0, 2, sequences), 0, 3)
    tokens = 20 + 5 * bins + rng.integers(0, 5, sequences)
    rate = np.full((sequences, m), 0.1) * (1 - 0.2 * bins[:, None])
    rate[target, 0] *= up
    rate[:, m - 1] = 0
    counts = sp.csr_matrix(rng.poisson(rate * tokens[:, None]).astype(np.int32))
    return Incidence(counts, counts.astype(np.float32), tokens, np.zeros_like(tokens)), target, bins


def run(found: Incidence, *plan: object, n: int = 499) -> RateTest:
    return rate_test(found, exchange(*plan), permutations=n, seed=5)


def test_t_is_that_of_least_squares_with_strata() -> None:
    found, target, bins = planted(1)
    test = run(found, target, [bins])
    columns = np.column_stack([target, bins[:, None] == np.arange(4)]).astype(float)
    rates = found.rates().toarray()
    for latent in range(7):
        fitted = sm.OLS(rates[:, latent], columns).fit()
        assert test.t[latent] == pytest.approx(fitted.tvalues[0], abs=1e-9)
        assert test.difference[latent] == pytest.approx(fitted.params[0], abs=1e-12)
        assert test.p_t[latent] == pytest.approx(fitted.pvalues[0], abs=1e-12)
    assert np.isnan(test.t[7]) and np.isnan(test.p_maxt[7])
    assert (test.tested, test.units, test.strata) == (7, 120, 4)


def test_ratio_of_sums_and_its_limits() -> None:
    found, target, bins = planted(2)
    test = run(found, target, [bins])
    counts, tokens = found.counts.toarray(), found.tokens
    on, off = (counts[s].sum(0) + PSEUDO for s in (target, ~target))
    expected = np.log(on / tokens[target].sum()) - np.log(off / tokens[~target].sum())
    np.testing.assert_allclose(test.log_ratio, expected, atol=1e-12)
    np.testing.assert_allclose(test.target, counts[target].sum(0) / tokens[target].sum())
    assert test.low[0] > 0 > test.low[7]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(800):  # bootstrap over sequences of latent 0
        parts = [rng.choice(np.flatnonzero(s), s.sum()) for s in (target, ~target)]
        a, b = (np.log((counts[p, 0].sum() + PSEUDO) / tokens[p].sum()) for p in parts)
        drawn.append(a - b)
    half = (test.high - test.low)[0] / 2
    assert half == pytest.approx(1.96 * np.std(drawn), rel=0.1)


def test_labels_move_only_within_strata() -> None:
    found, target, bins = planted(3, sequences=60)
    plan = exchange(target, [bins, np.arange(60) % 2])
    cells = plan.stratum
    null = module._Null(found.rates(), np.ones(8), plan.target, cells, 300, 1)
    order = np.argsort(cells, kind="stable")
    labels = np.concatenate(list(null.labels()))
    assert labels.shape == (300, 60)
    for cell in range(cells.max() + 1):
        inside = cells[order] == cell
        np.testing.assert_allclose(labels[:, inside].sum(1), 0, atol=1e-5)
        ones = (labels[:, inside] > 0).sum(1) if 0 < plan.target[cells == cell].mean() < 1 else []
        assert set(ones) <= {plan.target[cells == cell].sum()}
    assert len(np.unique(labels, axis=0)) > 290


def test_p_agrees_with_enumeration() -> None:
    rng = np.random.default_rng(7)
    target = np.array([1, 1, 0, 0, 0, 1, 0, 0], bool)
    bins = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    counts = sp.csr_matrix(rng.poisson(3, (8, 3)).astype(np.int32))
    found = Incidence(counts, counts.astype(np.float32), np.full(8, 10), np.zeros(8, int))
    test = run(found, target, [bins], n=20_000)
    rates = found.rates().toarray()

    def statistic(label: np.ndarray) -> np.ndarray:
        centered = label - np.where(bins == 0, 2 / 5, 1 / 3)
        return np.abs(centered @ rates)

    every = [
        statistic(np.isin(np.arange(8), [*a, b]).astype(float))
        for a in itertools.combinations(range(5), 2)
        for b in (5, 6, 7)
    ]
    exact = (np.stack(every) >= statistic(target.astype(float)) * (1 - 1e-9)).mean(0)
    np.testing.assert_allclose(test.p, exact, atol=0.015)


def test_sparse_and_dense_products_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    found, target, bins = planted(4)
    results = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(module, "DENSE", share)
        results.append(run(found, target, [bins]))
    np.testing.assert_array_equal(results[0].p_maxt, results[1].p_maxt)
    np.testing.assert_array_equal(results[0].p, results[1].p)


def test_a_planted_latent_is_found_and_others_are_not() -> None:
    found, target, bins = planted(5, sequences=400)
    test = run(found, target, [bins])
    assert test.p_maxt[0] < 0.01
    assert (test.p_maxt[1:7] > 0.05).all()
    assert test.q[0] < 0.05


def test_groups_are_units() -> None:
    target = np.array([1, 1, 0, 0, 1, 0, 1, 0], bool)
    group = np.array([9, 9, 4, 4, 2, 2, 7, 8])
    plan = exchange(target, [np.zeros(8, int)], group)
    assert plan.mixed == 1  # group 2
    assert plan.unit_of[0] == plan.unit_of[1] and plan.unit_of[2] == plan.unit_of[3]
    pair, pure = plan.stratum[plan.unit_of[[4, 5]]], plan.stratum[plan.unit_of[[0, 2, 6, 7]]]
    assert len(set(pair)) == 1 and len(set(pure)) == 1 and pair[0] != pure[0]
    other = exchange(target, [np.array([0, 0, 0, 0, 0, 1, 0, 0])], group)
    assert not other.informative[other.unit_of[[4, 5]]].any()  # of other lengths: no exchange


def test_copies_in_a_group_do_not_count_twice() -> None:
    """Labels mean nothing here; taking copies for sequences finds differences, groups do not."""
    rng = np.random.default_rng(11)
    naive, grouped = [], []
    for _ in range(60):
        target = np.repeat(rng.permutation(np.arange(30) < 15), 6)
        counts = sp.csr_matrix(np.repeat(rng.poisson(5, (30, 1)), 6, axis=0).astype(np.int32))
        found = Incidence(counts, counts.astype(np.float32), np.full(180, 50), np.zeros(180, int))
        same, group = np.zeros(180, int), np.repeat(np.arange(30), 6)
        naive.append(run(found, target, [same], n=199).p[0])
        grouped.append(run(found, target, [same], group, n=199).p[0])
    assert np.mean(np.array(naive) < 0.05) > 0.25
    assert np.mean(np.array(grouped) < 0.05) < 0.15


def test_nothing_is_tested_where_no_stratum_holds_both() -> None:
    found, target, _ = planted(6)
    test = run(found, target, [target.astype(int)])
    assert (test.tested, test.units) == (0, 0)
    assert np.isnan(test.p).all() and np.isfinite(test.log_ratio).all()
    assert len(test.frame()) == 8
