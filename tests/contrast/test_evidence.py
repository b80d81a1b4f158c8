"""Reference: statsmodels' OLS contrasts, limma's moderation written out, and permutations refitted
one by one."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from petriscope.contrast.design import Design
from petriscope.contrast.evidence import fit, layout, permute, relabellings, residuals, unit_test
from petriscope.contrast.inference import fit_prior, joint_max_t, log_mean, squeeze, union
from petriscope.contrast.results import adjust
from petriscope.studies.chromatin.units import design_of


def design(
    lineages: int = 3,
    replicates: int = 3,
    depth: np.ndarray | None = None,
    frip: np.ndarray | None = None,
) -> Design:
    rows = [
        (f"{lineage}{context}{i}", lineage, context)
        for lineage in "abc"[:lineages]
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates)
    ]
    frame = pd.DataFrame(rows, columns=["biosample", "lineage", "context"])
    known = {"fragments": depth, "frip": frip}
    return design_of(
        frame.assign(**{name: values for name, values in known.items() if values is not None})
    )


def confounded(seed: int, replicates: int = 3) -> np.ndarray:
    """Fragments of 18 biosamples: in vitro deeper on average, ranges overlapping."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.permutation(np.geomspace(*ends, replicates))
            for _ in range(3)
            for ends in ((45e4, 1e6), (25e4, 66e4))
        ]
    )


def means(seed: int, m: int, samples: int = 18) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(2, 0.2, m) * np.exp(
        0.2 * rng.normal(size=(samples, m)) * np.sqrt(6 / rng.chisquare(6, m))
    )


@pytest.mark.parametrize("depth", [None, confounded(0)])
def test_contrasts_equal_statsmodels_and_their_moderation_limma(depth: np.ndarray | None) -> None:
    given, values = design(depth=depth), means(0, 40)
    shape = layout(given, given.strata)
    ours = fit(values, shape)
    exog = shape.columns
    fits = [sm.OLS(values[:, f], exog).fit() for f in range(40)]
    assert shape.df == fits[0].df_resid == 18 - 6 - 2 * (depth is not None)
    mse = np.array([one.mse_resid for one in fits])
    prior = fit_prior(mse, shape.df, log_mean(values.mean(0)))
    scale = np.sqrt(squeeze(mse, shape.df, prior) / mse)
    for i, lineage in enumerate(given.strata):
        contrast = np.zeros(exog.shape[1])
        contrast[2 * i : 2 * i + 2] = (-1, 1)
        tests = [one.t_test(contrast) for one in fits]
        np.testing.assert_allclose(
            ours.strata[lineage].estimate, [float(t.effect[0]) for t in tests], rtol=1e-9
        )
        expected = np.array([float(t.tvalue.squeeze()) for t in tests]) / scale
        np.testing.assert_allclose(ours.strata[lineage].t, expected, rtol=1e-9)
    assert ours.strata["a"].df[0] == pytest.approx(prior.df + shape.df)
    average = np.mean([ours.strata[x].estimate for x in given.strata], axis=0)
    np.testing.assert_allclose(ours.mean.estimate, average, rtol=1e-9)


def test_the_combined_score_is_stouffers_of_scores_that_share_a_variance() -> None:
    given, values = design(), means(1, 30)
    ours = fit(values, layout(given, given.strata))
    total = np.sum([ours.strata[x].t for x in given.strata], axis=0) / np.sqrt(3)
    np.testing.assert_allclose(ours.combined.t, total, rtol=1e-10)


def refitted(values: np.ndarray, order: np.ndarray, given: Design) -> np.ndarray:
    """|t| of the combined contrast after moving residuals by ``order``, by least squares from
    scratch."""
    shape = layout(given, given.strata)
    names = np.repeat(np.eye(len(shape.sizes)), [sum(size) for size in shape.sizes], axis=0)
    left = residuals(
        values[shape.rows], np.column_stack([names, shape.columns[:, 2 * len(shape.sizes) :]])
    )[order]
    prior = fit(values, shape).prior
    variance = (residuals(left, shape.columns) ** 2).sum(0) / shape.df
    return np.abs(shape.direction @ left) / np.sqrt(squeeze(variance, shape.df, prior))


def test_permutation_without_covariates_is_every_relabelling_refitted() -> None:
    given, values = design(lineages=2), means(2, 12, 12)
    values[6:9, 0] *= 3
    shape = layout(given, given.strata)
    fitted = fit(values, shape)
    ours = permute(values, shape, fitted, 1000, 0)
    null = []
    for chosen in product(combinations(range(6), 3), repeat=2):
        order = [
            6 * i + j
            for i, pick in enumerate(chosen)
            for j in [*sorted(set(range(6)) - set(pick)), *pick]
        ]
        null.append(refitted(values, np.array(order), given))
    assert ours.exact and ours.n == relabellings(shape) == 400
    observed = np.abs(fitted.combined.t)
    np.testing.assert_allclose(ours.p, (np.array(null) >= observed * (1 - 1e-6)).mean(0))
    assert ours.p.min() >= 2 / 400
    largest = np.array(null).max(1)
    expected = np.sort(np.abs(stats.norm.isf(stats.t.sf(largest, fitted.combined.df[0]))))
    np.testing.assert_allclose(np.sort(ours.null_max), expected, rtol=2e-3)


def test_rotations_give_student_t_where_nothing_is_moderated() -> None:
    """For one feature with its own variance the rotation test is the t test (Langsrud 2005)."""
    given = design(depth=confounded(1))
    shape = layout(given, given.strata)
    for seed in range(6):
        values = means(seed, 1) * (1 + 0.15 * given.is_target[:, None])
        fitted = fit(values, shape)
        assert fitted.prior.df == 0
        ours = permute(values, shape, fitted, 4000, seed)
        expected = 2 * stats.t.sf(abs(fitted.combined.t[0]), shape.df)
        assert ours.p[0] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 4000))
        assert not ours.exact


def test_rotations_leave_the_covariate_out_and_keep_the_residual_sum() -> None:
    given, values = design(depth=confounded(2)), means(3, 15)
    shape = layout(given, given.strata)
    fitted = fit(values, shape)
    scaled = values + 100 * np.log2(confounded(2))[:, None]
    again = permute(scaled, shape, fitted, 500, 1)
    np.testing.assert_allclose(again.p, permute(values, shape, fitted, 500, 1).p, atol=2 / 500)


def test_very_strong_features_keep_a_p_above_zero() -> None:
    values = means(4, 20)
    vivo = design().is_target
    values[np.ix_(vivo, np.arange(5))] *= 1e4
    shape = layout(design(), ("a", "b", "c"))
    assert permute(values, shape, fit(values, shape), 10_000, 0).p.min() >= 2 / 8000


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_null_features_stay_null_among_features_with_real_effects(seed: int) -> None:
    """Refitting the prior to each relabelling takes others' effects for variance: too many null
    features are found."""
    rng, shares = np.random.default_rng(seed), []
    given = design()
    for _ in range(30):
        values = means(int(rng.integers(1 << 30)), 150)
        values[np.ix_(given.is_target, np.arange(60))] *= np.exp(rng.choice([-1, 1], 60) * 1.2)
        _, combined = unit_test(values, given, "moderated", permutations=499, seed=seed)
        assert combined is not None
        shares.append((combined.permutation.p[60:] <= 0.05).mean())
    assert abs(np.mean(shares) - 0.05) < 3 * np.std(shares, ddof=1) / np.sqrt(30)


def test_depth_that_differs_between_contexts_is_not_taken_for_context() -> None:
    with_depth, without = [], []
    for seed in range(20):
        depth = confounded(seed)
        given = design(depth=depth)
        values = means(seed, 150) * np.exp(0.5 * np.log2(depth / 5e5))[:, None]
        for target, one in ((with_depth, given), (without, given.unadjusted())):
            _, combined = unit_test(values, one, "moderated", permutations=499, seed=seed)
            assert combined is not None
            target.append((combined.permutation.p <= 0.05).mean())
    assert np.mean(with_depth) < 0.07
    assert np.mean(without) > 0.3


def test_a_depth_that_only_tells_contexts_apart_cannot_be_adjusted_for() -> None:
    depth = np.where(design().is_target, 3e5, 6e5)
    assert layout(design(depth=depth), ("a", "b", "c")).covariates == 0
    assert layout(design(depth=np.full(18, 5e5)), ("a", "b", "c")).covariates == 0
    assert layout(design(depth=confounded(0)), ("a", "b", "c")).adjusted == (
        "depth",
        "depth squared",
    )
    frame = pd.DataFrame(
        {"biosample": ["x", "y"], "lineage": "a", "context": ["in_vitro", "in_vivo"]}
    )
    assert design_of(frame.assign(fragments=[1e5, np.nan])).covariates is None


def test_few_biosamples_keep_two_degrees_of_freedom_and_drop_the_square_first() -> None:
    rng = np.random.default_rng(5)
    given = design(
        1, 3, depth=rng.permutation(np.geomspace(2e5, 8e5, 6)), frip=rng.uniform(0.3, 0.5, 6)
    )
    shape = layout(given, ("a",))
    assert (shape.adjusted, shape.df) == (("depth", "frip"), 2)


def test_signal_to_noise_that_differs_between_contexts_is_not_taken_for_context() -> None:
    with_frip, without = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        frip = np.where(
            design().is_target, rng.uniform(0.36, 0.48, 18), rng.uniform(0.42, 0.52, 18)
        )
        given = design(depth=confounded(seed), frip=frip)
        values = means(seed, 150) * np.exp(2.5 * np.log2(frip / 0.45))[:, None]
        for target, one in ((with_frip, given), (without, design(depth=confounded(seed)))):
            _, combined = unit_test(values, one, "moderated", permutations=499, seed=seed)
            assert combined is not None
            target.append((combined.permutation.p <= 0.05).mean())
    assert np.mean(with_frip) < 0.07
    assert np.mean(without) > 0.2


def test_union_is_sidak() -> None:
    p = np.array([[0.01, 1.0, 0.2], [0.5, 1.0, 0.02]])
    np.testing.assert_allclose(union(p), [1 - 0.99**2, 1.0, 1 - 0.98**2])


def test_max_t_over_layers_controls_the_joint_family() -> None:
    given = design()
    parts = []
    for layer in range(3):
        values = means(layer, 50)
        shape = layout(given, given.strata)
        parts.append(permute(values, shape, fit(values, shape), 999, 7))
    joint = joint_max_t(parts)
    for part, p in zip(parts, joint):
        assert (p >= part.max_t - 1e-12).all()
        assert (p <= 1).all()
    null = np.max([part.null_max for part in parts], axis=0)
    first = (1 + (null >= abs(parts[0].statistic[0]) * (1 - 1e-5)).sum()) / 1000
    assert joint[0][0] == pytest.approx(first)
    with pytest.raises(ValueError, match="different relabellings"):
        joint_max_t([parts[0], parts[1]._replace(n=5)])


def test_adjustment_leaves_untested_out() -> None:
    assert np.isnan(adjust(np.array([0.1, np.nan]), "bh")[1])
