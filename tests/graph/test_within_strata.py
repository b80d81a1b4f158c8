"""Reference: scipy's hypergeometric moments, 4,000 permutations within strata, numpy.corrcoef of
residuals, scikit-learn's mutual information, loops over strata."""

from __future__ import annotations

import numpy as np
import pytest
from codes_toy import of_dense, random_codes
from scipy.stats import hypergeom
from sklearn.metrics import mutual_info_score

from petriscope.graph import within_strata
from petriscope.graph.bipartite import incidence
from petriscope.graph.cofiring import Counter, cofiring
from petriscope.graph.within_strata import (
    WithinStrata,
    correlation,
    excess,
    information,
    shuffled,
)
from petriscope.sae.codes import Codes

N, STRATA = 400, 12


@pytest.fixture(scope="module")
def stratum() -> np.ndarray:
    """The last stratum has a single token."""
    drawn = np.random.default_rng(0).integers(0, STRATA - 1, N)
    drawn[7] = STRATA - 1
    return drawn


@pytest.fixture(scope="module")
def pair(stratum: np.ndarray) -> tuple[Codes, Codes]:
    """Feature 0 of each is a matter of the stratum alone; 1 of both fire together within it."""
    first, second = random_codes(N, 6, 1, 0.3).dense(), random_codes(N, 5, 2, 0.3).dense()
    first[:, 0] = second[:, 0] = stratum % 3 == 0
    second[:, 1] = np.where(np.random.default_rng(3).random(N) < 0.7, first[:, 1], second[:, 1])
    return of_dense(first), of_dense(second)


@pytest.mark.parametrize("dense", [0.0, 1.0])
def test_moments_are_those_of_permutations(
    pair: tuple[Codes, Codes],
    stratum: np.ndarray,
    dense: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(within_strata, "DENSE", dense)
    monkeypatch.setattr(within_strata, "_BLOCK_BYTES", 300)
    found = excess(cofiring(*pair), *(incidence(codes, stratum, STRATA) for codes in pair))
    counter, rng, draws = Counter(*pair), np.random.default_rng(4), 4000
    drawn = np.array([counter.counts(shuffled(stratum, rng)) for _ in range(draws)])
    error = np.sqrt(np.maximum(found.variance, 1e-12) / draws)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - found.expected), 4.5 * error + 1e-9)
    varies = found.variance > 1e-9
    np.testing.assert_allclose(drawn.var(0)[varies] / found.variance[varies], 1, atol=0.12)
    assert not varies[0].any() and not varies[:, 0].any() and varies[1:, 1:].all()
    assert np.isnan(found.z[0]).all() and found.z[1, 1] > 8
    expected = (found.observed - drawn.mean(0)) / drawn.std(0).clip(1e-9)
    np.testing.assert_allclose(found.z[1:, 1:], expected[1:, 1:], rtol=0.08, atol=0.1)


def test_moments_are_sums_of_hypergeometric_ones(
    pair: tuple[Codes, Codes], stratum: np.ndarray
) -> None:
    found = excess(cofiring(*pair), *(incidence(codes, stratum, STRATA) for codes in pair))
    fired = [codes.dense() > 0 for codes in pair]
    for i, j in ((1, 1), (3, 2), (5, 4)):
        parts = [
            hypergeom(mine.sum(), fired[0][mine, i].sum(), fired[1][mine, j].sum())
            for mine in (stratum == g for g in range(STRATA - 1))
        ]
        alone = float(fired[0][7, i] and fired[1][7, j])  # the stratum of one token
        assert found.expected[i, j] == pytest.approx(alone + sum(part.mean() for part in parts))
        assert found.variance[i, j] == pytest.approx(sum(part.var() for part in parts))


def test_strata_of_other_tokens_are_refused(pair: tuple[Codes, Codes], stratum: np.ndarray) -> None:
    counted = incidence(pair[0], stratum, STRATA), incidence(pair[1], 0 * stratum, STRATA)
    with pytest.raises(ValueError, match="different tokens"):
        excess(cofiring(*pair), *counted)


def test_orders_stay_within_strata(stratum: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    order = shuffled(stratum, rng)
    assert sorted(order) == list(range(N))
    np.testing.assert_array_equal(stratum[order], stratum)
    assert order[7] == 7  # alone in its stratum
    # each of the six orders of three tokens is as likely
    drawn = [tuple(shuffled(np.zeros(3, int), rng)) for _ in range(3000)]
    assert min(drawn.count(order) for order in set(drawn)) > 420 and len(set(drawn)) == 6


def test_correlation_is_numpys_also_of_residuals(
    pair: tuple[Codes, Codes], stratum: np.ndarray
) -> None:
    a, b = (codes.dense().astype(float) for codes in pair)
    both = np.corrcoef(a.T, b.T)[:6, 6:]
    np.testing.assert_allclose(correlation(*pair), both, atol=1e-12)
    for g in range(STRATA):
        a[stratum == g] -= a[stratum == g].mean(0)
        b[stratum == g] -= b[stratum == g].mean(0)
    residual = np.corrcoef(a[:, 1:].T, b[:, 1:].T)[:5, 5:]
    found = correlation(*pair, stratum, STRATA)
    np.testing.assert_allclose(found[1:, 1:], residual, atol=1e-12)
    assert not found[0].any() and not found[:, 0].any()


def test_information_is_that_of_scikit_learn(
    pair: tuple[Codes, Codes], stratum: np.ndarray
) -> None:
    fired = [codes.dense() > 0 for codes in pair]
    pairs = np.array([[1, 1], [2, 3], [0, 2]])
    plain, given = information(*pair, pairs), information(*pair, pairs, stratum)
    for k, (i, j) in enumerate(pairs):
        a, b = fired[0][:, i], fired[1][:, j]
        bias = 1 / (2 * N * np.log(2))
        assert plain[k] == pytest.approx(mutual_info_score(a, b) / np.log(2) - bias, abs=1e-12)
        expected, varying = 0.0, 0
        for g in range(STRATA):
            mine = stratum == g
            expected += mine.mean() * mutual_info_score(a[mine], b[mine]) / np.log(2)
            varying += len(set(a[mine])) == len(set(b[mine])) == 2
        assert given[k] == pytest.approx(expected - varying * bias, abs=1e-12)
    assert given[0] > 0.1 and given[2] == 0


def test_largest_excess_against_permutations(
    pair: tuple[Codes, Codes], stratum: np.ndarray
) -> None:
    test = WithinStrata(*pair, stratum, min_count=20)
    nulls = test.nulls(199, seed=6)
    found = test.strongest(nulls)
    assert found.partner[1] == 1 and found.p[1] == 1 / 200 and found.z[1] > found.null_95[1]
    assert found.partner[0] == -1 and np.isnan([found.z[0], found.p[0], found.null_95[0]]).all()
    # by hand: the share of permutations whose largest z is as large
    z = np.where(test.used, test.excess.z, -np.inf)
    for i in (2, 4):
        assert found.z[i] == z[i].max()
        assert found.p[i] == (1 + (nulls[:, i] >= z[i].max()).sum()) / 200
    counts = test.counter.counts(shuffled(test.stratum, np.random.default_rng(7)))
    assert test.strongest(nulls, counts).p[1] > 0.01
    rare = WithinStrata(*pair, stratum, min_count=N)
    assert not rare.used.any() and (rare.strongest(rare.nulls(9, 0)).partner == -1).all()
    assert not WithinStrata(*pair, stratum, min_count=1, least=1e9).used.any()


def test_p_values_of_independent_features_are_uniform(stratum: np.ndarray) -> None:
    """Features that follow their strata and nothing else pass at .05 in about 5 % of cases."""
    rng = np.random.default_rng(8)
    rate = rng.uniform(0.05, 0.6, (STRATA, 60))
    codes = [of_dense((rng.random((N, 60)) < rate[stratum]).astype(float)) for _ in range(2)]
    test = WithinStrata(*codes, stratum, min_count=10)
    found = test.strongest(test.nulls(199, seed=9))
    assert abs((found.p < 0.05).mean() - 0.05) < 0.08 and abs(found.p.mean() - 0.5) < 0.12
    assert (test.excess.expected > 0.8 * test.excess.observed.clip(1)).mean() > 0.7
