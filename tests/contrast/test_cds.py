"""Reference: scipy's tests on dense tokens and blocks, scikit-learn's AUROC, and the definitions
written as loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from petriscope.contrast.cds import cds_meandiff, cds_t
from petriscope.contrast.effects import (
    Effect,
    _Resamples,
    auroc,
    auroc_sparse,
    effects,
    expanded_percentiles,
    hedges_correction,
    hedges_g,
    hedges_g_av,
    log2_fold,
    mean_limits,
)
from petriscope.errors import UserError
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.units import design_of


def biosamples(lineages: int = 3, replicates: int = 3) -> pd.DataFrame:
    rows = [
        (f"{lineage}_{context}_{i}", lineage, context)
        for lineage in ("blood", "liver", "lymph")[:lineages]
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates)
    ]
    return pd.DataFrame(rows, columns=["biosample", "lineage", "context"])


def tokens_and_moments(
    frame: pd.DataFrame, blocks: int = 8, per_block: int = 20, m: int = 12, seed: int = 0
) -> tuple[np.ndarray, Moments]:
    """Sparse activations (B, S, n, m) with a planted difference in features 0 and 1, and their
    moments."""
    rng = np.random.default_rng(seed)
    shape = (blocks, len(frame), per_block, m)
    values = (
        rng.gamma(2.0, 1.0, shape)
        * (rng.uniform(size=shape) < 0.4)
        * rng.lognormal(0, 0.2, (1, len(frame), 1, m))
    )
    vivo = (frame["context"] == "in_vivo").to_numpy()
    values[:, vivo, :, :2] *= 3.0
    values[..., m - 1] = 0.0
    counts = np.full((blocks, len(frame)), per_block)
    return values, Moments(values.sum(2), (values**2).sum(2), (values > 0).sum(2), counts)


def test_alive_features_fire_so_often_in_a_biosample_on_average() -> None:
    frame = biosamples()
    values, moments = tokens_and_moments(frame)
    events = (values > 0).sum((0, 2)).mean(0)
    for least in (0.0, float(events[3]), float(np.median(events))):
        np.testing.assert_array_equal(moments.alive(least), (events > 0) & (events >= least))
    assert 0 < moments.alive(float(np.median(events))).sum() < len(events) - 1
    assert moments.alive(float(events[3]))[3] and not moments.alive(float(events[3]) + 1e-6)[3]
    rarer = float(events[3]) + 1e-6
    assert (
        len(cds_t(moments, design_of(frame), min_events=rarer).combined.p)
        == moments.alive(rarer).sum()
    )


def test_biosample_welch_equals_scipy_on_dense_tokens() -> None:
    frame = biosamples()
    values, moments = tokens_and_moments(frame)
    result = cds_t(moments, design_of(frame), variance="welch")
    means = values.mean((0, 2))[:, :11]
    for lineage, test in result.strata.items():
        vitro = means[((frame["lineage"] == lineage) & (frame["context"] == "in_vitro")).to_numpy()]
        vivo = means[((frame["lineage"] == lineage) & (frame["context"] == "in_vivo")).to_numpy()]
        theirs = stats.ttest_ind(vivo, vitro, equal_var=False)
        np.testing.assert_allclose(test.statistic, theirs.statistic, rtol=1e-10)
        np.testing.assert_allclose(test.p, theirs.pvalue, rtol=1e-10)
        assert test.n == {"in_vitro": 3, "in_vivo": 3}
    z = np.stack(
        [stats.norm.isf(stats.t.sf(r.statistic, r.extra["df"])) for r in result.strata.values()]
    )
    np.testing.assert_allclose(result.combined.statistic, z.sum(0) / np.sqrt(3), rtol=1e-8)
    two_sided = 2 * stats.norm.sf(np.abs(z.sum(0) / np.sqrt(3)))
    np.testing.assert_allclose(result.combined.extra["p_stouffer"], two_sided, rtol=1e-6)
    np.testing.assert_array_equal(result.combined.p, result.combined.extra["p_permutation"])
    assert result.combined.p.min() >= 2 / 8000
    np.testing.assert_array_equal(
        result.conjunction.p, np.max([r.p for r in result.strata.values()], axis=0)
    )


def test_locus_level_equals_scipy_on_block_means() -> None:
    frame = biosamples()
    values, moments = tokens_and_moments(frame)
    result = cds_t(moments, design_of(frame), level="locus")
    block_means = values.mean(2)
    for lineage, test in result.strata.items():
        rows = (frame["lineage"] == lineage).to_numpy()
        vivo = (frame["context"] == "in_vivo").to_numpy()
        difference = block_means[:, rows & vivo].mean(1) - block_means[:, rows & ~vivo].mean(1)
        theirs = stats.ttest_1samp(difference[:, :11], 0.0)
        np.testing.assert_allclose(test.statistic, theirs.statistic, rtol=1e-10)
        np.testing.assert_allclose(
            test.low, theirs.confidence_interval(0.95).low, rtol=1e-8, atol=1e-12
        )
        assert test.n == {"blocks": 8}


def test_lineages_that_repeat_the_same_blocks_add_nothing_at_locus_level() -> None:
    frame = biosamples()
    _, moments = tokens_and_moments(frame)
    copies = Moments(*(np.concatenate([array[:, :6]] * 3, axis=1) for array in moments))
    result = cds_t(copies, design_of(frame), level="locus")
    blood = result.strata["blood"]
    z = stats.norm.isf(stats.t.sf(blood.statistic, blood.extra["df"]))
    np.testing.assert_allclose(result.combined.statistic, z, rtol=1e-6)


def test_coarse_permutations_leave_the_p_to_stouffer() -> None:
    frame = biosamples(replicates=2)
    _, moments = tokens_and_moments(frame)
    combined = cds_t(moments, design_of(frame)).combined
    assert "p by the normal; 216 permutations (all)" in combined.method
    np.testing.assert_array_equal(combined.p, combined.extra["p_stouffer"])


def test_planted_features_are_found_and_every_p_has_its_family() -> None:
    frame = biosamples()
    _, moments = tokens_and_moments(frame, m=60)
    result = cds_t(moments, design_of(frame), where="select tokens")
    found = np.flatnonzero(result.combined.adjusted["bh"] <= 0.05)
    assert set(found) >= {0, 1}
    assert (result.combined.estimate[:2] > 0).all()
    assert result.combined.family.size == 59
    assert result.strata["blood"].family.size == 59 * 3
    table = result.frame()
    assert len(table) == 6 * 59
    assert (
        not table[["method", "n", "family", "family_size", "status", "estimate", "p"]]
        .isna()
        .any()
        .any()
    )
    assert "59 alive features" in str(result.combined)
    assert result.combined.adjusted["maxt"].min() > 0
    assert result.permutation is not None
    assert result.permutation.n == 8000


def test_dead_features_leave_the_family() -> None:
    frame = biosamples()
    _, moments = tokens_and_moments(frame, m=12)
    assert 11 not in cds_t(moments, design_of(frame)).combined.features


def test_one_biosample_a_side_cannot_be_tested_and_says_why() -> None:
    frame = biosamples(lineages=2, replicates=1)
    _, moments = tokens_and_moments(frame)
    result = cds_t(moments, design_of(frame))
    assert not result.combined.tested
    assert "needs two a side" in result.combined.status
    assert np.isnan(result.combined.p).all()
    assert np.isfinite(result.combined.estimate).all()
    assert result.permutation is None
    assert (
        result.combined.rejected("bh", alpha=0.05) == 0
        if "bh" in result.combined.adjusted
        else True
    )
    assert cds_t(moments, design_of(frame), level="locus").combined.tested


def test_a_lineage_without_one_context_is_left_out_with_a_reason() -> None:
    frame = biosamples()
    frame.loc[frame["lineage"] == "liver", "context"] = "in_vitro"
    _, moments = tokens_and_moments(frame)
    result = cds_t(moments, design_of(frame))
    liver = result.strata["liver"]
    assert liver.reason == "lineage liver has no in_vivo biosample"
    assert liver.status == f"cannot be tested: {liver.reason}"
    assert (result.combined.units, result.strata["blood"].units, result.combined.reason) == (
        12,
        6,
        None,
    )
    assert cds_t(moments, design_of(frame), level="locus").combined.units == len(moments.sum)
    assert result.combined.tested
    assert result.combined.n["lineages"] == 2
    assert result.strata["blood"].family.size == 22


def test_bad_input_is_refused_with_its_place_and_remedy() -> None:
    frame = biosamples()
    _, moments = tokens_and_moments(frame)
    design = design_of(frame)
    broken = moments.sum.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(
        UserError, match=r"sum: not finite at \(block, unit, feature\) \(1, 2, 3\).*harvest"
    ):
        cds_t(moments._replace(sum=broken), design)
    with pytest.raises(UserError, match="18 biosamples are described but the activations hold 17"):
        cds_t(Moments(*(array[:, :17] for array in moments)), design)
    nothing = cds_t(moments, design, min_events=1e6)
    assert (
        nothing.combined.status
        == "cannot be tested: no feature fires on 1e+06 tokens of a biosample"
    )
    assert (
        len(nothing.union.p) == len(nothing.strata["blood"].p) == 0 and nothing.permutation is None
    )
    with pytest.raises(UserError, match="unknown context 'vivo'"):
        design_of(frame.assign(context="vivo"))
    with pytest.raises(UserError, match="'blood_in_vitro_0' occurs twice"):
        design_of(frame.assign(biosample="blood_in_vitro_0"))
    with pytest.raises(UserError, match=r"lineage 'skin' is not in the data set.*blood"):
        design.sides("skin")
    with pytest.raises(UserError, match="context: column is missing"):
        design_of(frame.drop(columns="context"))


def test_meandiff_is_the_published_arithmetic() -> None:
    frame = biosamples()
    rng = np.random.default_rng(1)
    windows = rng.normal(size=(30, 18, 7)).astype(np.float32)
    windows[:, :, 6] = 0
    result = cds_meandiff(windows, design_of(frame), permutations=2000, seed=3, chunk=3)
    expected = np.mean(
        [(windows[:, 6 * i + 3] - windows[:, 6 * i]).mean(0) for i in range(3)], axis=0
    )
    np.testing.assert_allclose(result.estimate, expected, rtol=1e-5, atol=1e-7)
    difference = np.mean(
        [windows[:, 6 * i + 3] - windows[:, 6 * i] for i in range(3)], axis=0, dtype=np.float64
    )
    flips = rng.choice([-1, 1], size=(4000, 30))
    loop = (np.abs(flips @ difference / 30) >= np.abs(difference.mean(0))).mean(0)
    np.testing.assert_allclose(result.p, loop, atol=4 * np.sqrt(0.25 / 2000 + 0.25 / 4000))
    assert result.p[6] == 1.0
    assert result.family.size == 7
    pooled = cds_meandiff(windows, design_of(frame), permutations=100, pairing="pooled")
    assert not np.allclose(pooled.estimate, result.estimate)


def test_published_p_can_be_zero_and_corrected_cannot() -> None:
    frame = biosamples(lineages=1)
    windows = np.random.default_rng(2).normal(size=(200, 6, 1))
    windows[:, 3:] += 5
    assert cds_meandiff(windows, design_of(frame), permutations=500).p[0] == 0.0


def test_hedges_g_matches_its_formula() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, (4, 5)), rng.normal(0, 2, (6, 5))
    pooled = np.sqrt((3 * a.var(0, ddof=1) + 5 * b.var(0, ddof=1)) / 8)
    np.testing.assert_allclose(
        hedges_g(a, b), (a.mean(0) - b.mean(0)) / pooled * hedges_correction(8)
    )
    assert hedges_correction(8) == pytest.approx(1 - 3 / (4 * 8 - 1), rel=1e-3)
    after, before = rng.normal(1, 1, 9), rng.normal(0, 1, 9)
    expected = (
        (after - before).mean()
        / ((after.std(ddof=1) + before.std(ddof=1)) / 2)
        * hedges_correction(8)
    )
    assert hedges_g_av(after, before) == pytest.approx(expected)
    assert np.isnan(hedges_g(np.ones((2, 1)), np.ones((2, 1)))[0])
    assert np.isnan(hedges_g(np.ones((1, 1)), np.ones((1, 1)))[0])


def test_auroc_equals_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    dense = rng.integers(0, 5, (300, 6)) * (rng.uniform(size=(300, 6)) < 0.3)
    label = rng.uniform(size=300) < 0.4
    expected = [roc_auc_score(label, dense[:, f]) for f in range(6)]
    np.testing.assert_allclose(auroc(dense[label], dense[~label]), expected, rtol=1e-12)
    row, feature = np.nonzero(dense)
    ours = auroc_sparse(
        feature,
        dense[row, feature],
        label[row],
        n_positive=int(label.sum()),
        n_negative=int((~label).sum()),
        m=7,
    )
    np.testing.assert_allclose(ours[:6], expected, rtol=1e-12)
    assert ours[6] == 0.5


def test_log2_fold_is_bounded_and_signed() -> None:
    fold = log2_fold(np.array([4.0, 1.0, 0.0, 0.0]), np.array([1.0, 4.0, 1.0, 0.0]))
    assert fold[0] == pytest.approx(2, rel=0.03)
    assert fold[0] == pytest.approx(-fold[1])
    assert -8 < fold[2] < -7
    assert fold[3] == 0.0


def test_effects_come_from_resampled_blocks() -> None:
    frame = biosamples()
    values, moments = tokens_and_moments(frame)
    found = effects(moments, design_of(frame), "liver", resamples=500, seed=1, chunk=5)
    means = values.mean((0, 2))[6:12]
    np.testing.assert_allclose(
        found.difference.estimate, means[3:].mean(0) - means[:3].mean(0), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(
        found.hedges_g.estimate[:11], hedges_g(means[3:], means[:3])[:11], rtol=1e-10
    )
    block_means = values.mean(2)[:, 6:12]
    expected = np.mean([auroc(block[3:], block[:3]) for block in block_means], axis=0)
    np.testing.assert_allclose(found.auroc.estimate, expected, rtol=1e-12)
    for effect in (found.difference, found.auroc, found.log2_fold):
        bounded = np.isfinite(effect.low)
        assert bounded.sum() >= 10
        assert not bounded[11]
        assert (effect.low[bounded] <= effect.estimate[bounded]).all()
        assert (effect.estimate[bounded] <= effect.high[bounded]).all()
    again = effects(moments, design_of(frame), "liver", resamples=500, seed=1, chunk=64)
    np.testing.assert_allclose(again.log2_fold.low, found.log2_fold.low, rtol=1e-12)
    assert found.blocks == 8


def test_standard_errors_of_effects_equal_numerical_influence() -> None:
    """The infinitesimal jackknife: how each statistic moves as one block's weight does."""
    frame = biosamples(lineages=1)
    _, moments = tokens_and_moments(frame, m=6)
    tokens, sums = moments.tokens.astype(float), moments.sum[:, :, :5]
    step, blocks = 1e-5, len(tokens)
    weights = np.concatenate([np.ones((1, blocks)), 1 + step * np.eye(blocks)])
    found: dict[str, np.ndarray] = {}

    class Keep(_Resamples):
        def _bounded(
            self, draws: np.ndarray, errors: np.ndarray, low: float = 0.0, high: float = 0.0
        ) -> Effect:
            influence = (draws[1:] - draws[0]) / step * blocks
            found[str(len(found))] = np.stack(
                [errors[0], np.sqrt((influence**2).sum(0) / blocks / (blocks - 1))]
            )
            return Effect(draws[0], draws[0], draws[0])

    Keep(weights, tokens, 3).effects(sums)
    for number in (
        "0",
        "1",
        "3",
    ):  # the AUROC is a plain mean over blocks, its share of weights normalized elsewhere
        np.testing.assert_allclose(found[number][0], found[number][1], rtol=1e-3)


def test_symmetric_bootstrap_t_covers_with_few_skewed_blocks() -> None:
    rng = np.random.default_rng(8)
    covered = []
    for seed in range(40):
        low, high = mean_limits(rng.gamma(2.0, 1.0, (9, 40)), 400, seed)
        covered.append(((low <= 2) & (high >= 2)).mean())
    assert 0.93 < np.mean(covered) < 0.975
    low, high = mean_limits(np.zeros((9, 1)), 50, 0)
    assert np.isnan(low[0])
    assert np.isnan(high[0])


def test_expanded_percentiles_are_wider_than_plain_ones() -> None:
    draws = np.random.default_rng(5).normal(size=(4000, 1))
    low, high = expanded_percentiles(draws, 10)
    plain = np.quantile(draws, [0.025, 0.975])
    assert low[0] < plain[0]
    assert high[0] > plain[1]
    assert high[0] == pytest.approx(stats.t.ppf(0.975, 9) * np.sqrt(10 / 9), rel=0.1)
