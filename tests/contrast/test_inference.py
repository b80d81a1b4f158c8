"""Reference: scipy's Welch test and t, limma's fitFDist/squeezeVar (values of its port InMoose
0.9.1, to 1e-12); scipy's permutation_test and the definitions, enumerated."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from petriscope.contrast.inference import (
    conjunction,
    fit_prior,
    fit_priors,
    label_splits,
    moderated,
    moderated_one_sample,
    normal_score,
    one_sample,
    p_of_many,
    p_two_sided,
    pool,
    sign_flip,
    signs,
    single_step_max_t,
    squeeze,
    squeezed,
    stouffer,
    stratified_labels,
    trigamma_inverse,
    welch,
)
from petriscope.contrast.results import adjust


def variances_and_covariate() -> tuple[np.ndarray, np.ndarray]:
    """40 variances with 4 degrees of freedom that fall along a covariate: the numbers given to
    InMoose's squeezeVar."""
    rng = np.random.default_rng(5)
    covariate = rng.uniform(0, 6, 40)
    variance = np.exp(1 - 0.4 * covariate) * rng.chisquare(4, 40) / 4 * (6 / rng.chisquare(6, 40))
    return np.round(variance, 8), np.round(covariate, 6)


def test_welch_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 2.0, (4, 50)), rng.normal(0.0, 0.5, (3, 50))
    ours, theirs = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(ours.t, theirs.statistic, rtol=1e-12)
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-10)
    np.testing.assert_allclose(ours.df, theirs.df, rtol=1e-12)
    limits = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(ours.interval(), (limits.low, limits.high), rtol=1e-10)


def test_one_sample_equals_scipy_and_skips_missing_units() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, (30, 20))
    values[3, 5] = np.nan
    theirs = stats.ttest_1samp(values, 0.0, nan_policy="omit")
    np.testing.assert_allclose(one_sample(values).t, theirs.statistic, rtol=1e-12)
    np.testing.assert_allclose(one_sample(values).p, theirs.pvalue, rtol=1e-10)


def test_prior_equals_limma() -> None:
    variance, _ = variances_and_covariate()
    prior = fit_prior(variance, 4)
    assert prior.df == pytest.approx(2.9531064940591567, rel=1e-12)
    np.testing.assert_allclose(prior.variance, 0.595555943744983, rtol=1e-12)
    expected = [0.43025994893145186, 0.2734669239818868, 0.576786207499545, 1.0237071575317485]
    np.testing.assert_allclose(squeeze(variance, 4, prior)[:4], expected, rtol=1e-12)


def test_prior_with_trend_equals_limma() -> None:
    variance, covariate = variances_and_covariate()
    prior = fit_prior(variance, 4, covariate)
    assert prior.df == pytest.approx(15.123624484156723, rel=1e-10)
    expected = [0.3010934056991101, 0.2996961868900819, 0.6588844307552936, 1.5329099450100032]
    np.testing.assert_allclose(prior.variance[:4], expected, rtol=1e-10)
    expected = [0.3025852514121022, 0.2444723338785749, 0.6388138670742739, 1.4925182807269095]
    np.testing.assert_allclose(squeeze(variance, 4, prior)[:4], expected, rtol=1e-10)


def test_prior_is_infinite_where_variances_differ_by_chance_alone() -> None:
    variance = np.random.default_rng(2).chisquare(4, 5000) / 4
    prior = fit_prior(np.sort(variance)[1000:4000], 4)
    assert np.isinf(prior.df)
    np.testing.assert_array_equal(squeeze(variance[:3000], 4, prior), prior.variance)


def test_prior_recovers_its_parameters() -> None:
    rng = np.random.default_rng(3)
    variance = 2.0 * (8 / rng.chisquare(8, 60_000)) * rng.chisquare(4, 60_000) / 4
    prior = fit_prior(variance, 4)
    assert prior.df == pytest.approx(8, rel=0.05)
    assert prior.variance[0] == pytest.approx(2.0, rel=0.02)


def test_moderated_is_uniform_under_its_model() -> None:
    rng = np.random.default_rng(4)
    sigma = np.sqrt(6 / rng.chisquare(6, 20_000))
    test = moderated(rng.normal(size=(3, 20_000)) * sigma, rng.normal(size=(3, 20_000)) * sigma)
    assert abs((test.p < 0.05).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 20_000)
    assert stats.kstest(test.p, "uniform").pvalue > 0.01


def test_moderated_one_sample_is_uniform_under_its_model_and_plain_with_one_feature() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(4, 20_000)) * np.sqrt(6 / rng.chisquare(6, 20_000))
    test = moderated_one_sample(values)
    assert abs((test.p < 0.05).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 20_000)
    assert stats.kstest(test.p, "uniform").pvalue > 0.01
    theirs = stats.ttest_1samp(values[:, :1], 0)
    np.testing.assert_allclose(moderated_one_sample(values[:, :1]).p, theirs.pvalue, rtol=1e-10)


def test_trigamma_inverse() -> None:
    at = np.array([1e-8, 1e-3, 0.4, 1.0, 7.0, 1e9])
    for x in at:
        assert special.polygamma(1, trigamma_inverse(x)) == pytest.approx(
            x, rel=1e-4 if x > 1e7 else 1e-6
        )
    np.testing.assert_array_equal(trigamma_inverse(at), [float(trigamma_inverse(x)) for x in at])


def test_priors_of_many_sets_are_each_sets_own() -> None:
    rng = np.random.default_rng(9)
    variance = rng.chisquare(5, (7, 400)) * np.exp(rng.normal(0, 0.6, (7, 400)))
    variance[1] = rng.chisquare(40, 400) / 40  # no more than chance, at df 5: an infinite prior
    variance[2] = 0.0
    variance[3, :300] = 0.0
    variance[4, 5] = np.nan
    variance[5, :9] = 0.0
    df = np.array([5.0, 5, 5, 5, 8, 5, 60])
    priors = fit_priors(variance, df)
    assert np.isinf(priors.df[1]) and priors.df[2] == priors.df[3] == 0
    posterior = squeezed(variance, df, priors)
    for row, own in enumerate(variance):
        alone = fit_prior(own, df[row])
        assert priors.df[row] == pytest.approx(alone.df, rel=1e-13)
        np.testing.assert_allclose(priors.variance[row], alone.variance, rtol=1e-13)
        np.testing.assert_allclose(posterior[row], squeeze(own, df[row], alone), rtol=1e-12)


def test_p_of_a_large_family_is_as_exact_as_the_incomplete_beta_function() -> None:
    t = np.concatenate([np.linspace(-8, 8, 4001), [0, 1e-9, 40.0, np.nan, np.inf]])
    for df in (3.0, 999.9, 1000.0, 4018.0, 1e5, 4e6, np.inf):
        found = p_of_many(t, np.full(t.shape, df))
        plain = p_two_sided(t, df)
        np.testing.assert_allclose(found, plain, rtol=1e-13, atol=0)
        if df < 1e5:
            np.testing.assert_allclose(found, 2 * stats.t.sf(np.abs(t), df), rtol=1e-13)


def test_combinations_equal_scipy() -> None:
    rng = np.random.default_rng(6)
    t, df = rng.normal(size=(3, 10)) * 3, 4.0
    z = normal_score(t, df)
    np.testing.assert_allclose(stats.norm.sf(np.abs(z)), stats.t.sf(np.abs(t), df), rtol=1e-10)
    one_sided = stats.t.sf(t, df)
    for column in range(10):
        combined = stats.combine_pvalues(one_sided[:, column], method="stouffer")
        assert stouffer(z)[column] == pytest.approx(combined.statistic, rel=1e-10)
    p = rng.uniform(size=(3, 10))
    np.testing.assert_array_equal(conjunction(p), p.max(0))


def test_stouffer_accounts_for_dependence() -> None:
    z = np.array([[2.0], [2.0]])
    same = np.ones((1, 2, 2))
    assert stouffer(z, same)[0] == pytest.approx(2.0)
    assert stouffer(z)[0] == pytest.approx(2 * np.sqrt(2))


def test_pool_of_one_group_is_that_test_and_two_are_satterthwaite() -> None:
    rng = np.random.default_rng(7)
    first, second = (welch(rng.normal(size=(4, 5)), rng.normal(size=(5, 5))) for _ in range(2))
    np.testing.assert_allclose(pool([first]).p, first.p)
    both = pool([first, second])
    np.testing.assert_allclose(both.estimate, (first.estimate + second.estimate) / 2)
    expected = (first.error**2 + second.error**2) ** 2 / (
        first.error**4 / first.df + second.error**4 / second.df
    )
    np.testing.assert_allclose(both.df, expected)


def test_constant_features_have_no_difference_and_differences_without_variation_have_no_t() -> None:
    a, b = np.zeros((3, 2)), np.zeros((3, 2))
    a[:, 1] = 1.0
    test = welch(a, b)
    assert test.p[0] == 1.0
    assert test.t[0] == 0.0
    assert np.isnan(test.t[1])
    assert np.isnan(test.p[1])


def test_extreme_t_never_gives_p_of_zero_score() -> None:
    z = normal_score(np.array([1e6, -1e6]), 1e5)
    assert np.isfinite(z).all()
    assert z[0] == -z[1] > 30


def welch_z(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return welch(a, b).z()


def step_down(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Adjusted p by definition: successive maxima over features no larger than this one, then
    monotone."""
    order = np.argsort(-np.abs(observed), kind="stable")
    adjusted, running = np.empty(len(observed)), 0.0
    for rank, feature in enumerate(order):
        rivals = order[rank:]
        above = np.mean(
            [np.abs(row[rivals]).max() >= abs(observed[feature]) - 1e-9 for row in null]
        )
        running = max(running, above)
        adjusted[feature] = running
    return adjusted


def test_sign_flip_enumerates_and_equals_scipy() -> None:
    units = np.random.default_rng(0).normal(0.4, 1.0, (8, 6))
    ours = sign_flip(units, 10_000, 0)
    assert ours.exact
    assert ours.n == 256
    for f in range(6):
        theirs = stats.permutation_test(
            (units[:, f],),
            lambda x, axis=-1: np.abs(x.mean(axis)),
            permutation_type="samples",
            alternative="greater",
        )
        np.testing.assert_allclose(ours.p[f], theirs.pvalue, rtol=1e-12)


def test_sign_flip_max_t_is_step_down() -> None:
    units = np.random.default_rng(1).normal(0.5, 1.0, (7, 9))
    flips, exact = signs(1000, 7, 0)
    assert exact
    scaled = units / np.sqrt((units**2).sum(0))
    np.testing.assert_allclose(
        sign_flip(units, 1000, 0).max_t, step_down(scaled.sum(0), flips @ scaled), rtol=1e-12
    )


def test_monte_carlo_counts_the_observed_once_and_is_deterministic() -> None:
    units = np.full((40, 2), 1.0) + np.random.default_rng(2).normal(0, 0.01, (40, 2))
    first, again = sign_flip(units, 999, 3), sign_flip(units, 999, 3)
    assert not first.exact
    np.testing.assert_allclose(first.p, 1 / 1000)
    assert first.p.tobytes() == again.p.tobytes()
    assert first.max_t.tobytes() == again.max_t.tobytes()


def test_label_splits_enumerate_every_relabelling_with_the_observed_first() -> None:
    splits, exact = label_splits(3, 3, 100, 0)
    assert exact
    assert len(np.unique(splits, axis=0)) == 20
    np.testing.assert_array_equal(splits[0], [False, False, False, True, True, True])
    drawn, exact = label_splits(10, 10, 500, 0)
    assert not exact
    assert drawn.shape == (501, 20)
    assert (drawn.sum(1) == 10).all()


def test_stratified_labels_equal_a_loop_over_all_relabellings() -> None:
    rng = np.random.default_rng(4)
    strata = [(rng.normal(size=(2, 5)), rng.normal(1.0, 1.0, (3, 5))) for _ in range(2)]
    ours = stratified_labels(welch_z, strata, 1000, 0)
    null = []
    for chosen in product(*(combinations(range(5), 3) for _ in strata)):
        total = np.zeros(5)
        for (vitro, vivo), pick in zip(strata, chosen):
            values, label = np.concatenate([vitro, vivo]), np.isin(np.arange(5), pick)
            total += welch_z(values[label], values[~label])
        null.append(total / np.sqrt(2))
    observed = sum(welch_z(vivo, vitro) for vitro, vivo in strata) / np.sqrt(2)
    assert ours.exact
    assert ours.n == 100
    np.testing.assert_allclose(ours.p, (np.abs(null) >= np.abs(observed) - 1e-9).mean(0))
    np.testing.assert_allclose(ours.max_t, step_down(observed, np.array(null)))


def test_drawn_relabellings_agree_with_the_enumeration() -> None:
    rng = np.random.default_rng(5)
    strata = [(rng.normal(size=(3, 4)), rng.normal(0.8, 1.0, (3, 4))) for _ in range(3)]
    every = stratified_labels(welch_z, strata, 8000, 0)
    drawn = stratified_labels(welch_z, strata, 4000, 0)
    assert every.exact
    assert not drawn.exact
    np.testing.assert_allclose(drawn.p, every.p, atol=4 * np.sqrt(0.25 / 4000))


def test_single_step_is_at_least_step_down_and_untested_features_stay_so() -> None:
    units = np.random.default_rng(6).normal(0.3, 1.0, (10, 8))
    units[:, 3] = 0.0
    result = sign_flip(units, 5000, 0)
    assert np.isnan(result.p[3])
    assert np.isnan(result.max_t[3])
    scale = np.sqrt((units**2).sum(0))
    observed = np.divide(units.sum(0), scale, out=np.full(8, np.nan), where=scale > 0)
    single = single_step_max_t(observed, result.null_max, exact=result.exact)
    tested = np.isfinite(observed)
    assert (single[tested] >= result.max_t[tested] - 1e-12).all()
    largest = np.nanargmax(np.abs(observed))
    np.testing.assert_allclose(single[largest], result.max_t[largest])


def test_adjustments_equal_statsmodels_and_leave_out_untested() -> None:
    p = np.random.default_rng(7).uniform(size=(2, 20)) ** 2
    p[1, 4] = np.nan
    tested = p[np.isfinite(p)]
    for name, theirs in (
        ("bonferroni", "bonferroni"),
        ("holm", "holm"),
        ("bh", "fdr_bh"),
        ("by", "fdr_by"),
    ):
        ours = adjust(p, name)
        np.testing.assert_allclose(
            ours[np.isfinite(p)], multipletests(tested, method=theirs)[1], rtol=1e-12
        )
        assert np.isnan(ours[1, 4])
