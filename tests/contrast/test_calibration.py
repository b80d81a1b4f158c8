"""Reference: data without any contrast, where p must be uniform; unlike donors, where locus-level p
must not be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from petriscope.contrast.calibration import FITTED, REPLICATES, SHUFFLED, Data, calibrate, summarize
from petriscope.contrast.design import Design
from petriscope.contrast.evidence import unit_evidence, usable_strata
from petriscope.contrast.nulls import (
    block_coverage,
    gaussian,
    independent_sets,
    published_nulls,
    replicates,
    shuffled,
    sign_nulls,
    unit_nulls,
    without_contrast,
)
from petriscope.contrast.rates import coverage, uniformity
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.units import design_of


def table_of(replicates_each: int) -> pd.DataFrame:
    rows = [
        (f"{lineage}{context}{i}", lineage, context)
        for lineage in ("blood", "liver", "lymph")
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates_each)
    ]
    return pd.DataFrame(rows, columns=["biosample", "lineage", "context"])


def design(replicates_each: int = 3) -> Design:
    return design_of(table_of(replicates_each))


def block_means(seed: int, m: int = 200, blocks: int = 20, donor: float = 0.2) -> np.ndarray:
    """(B, S, m) without context effects: donors differ at every locus, loci differ, features share
    donor factors."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(18, 4)) @ rng.normal(size=(4, m)) * 0.5 + rng.normal(size=(18, m))
    return (
        rng.gamma(1, 0.1, m)
        * np.exp(donor * factors)
        * rng.gamma(4, 0.25, (blocks, 1, m))
        * rng.gamma(30, 1 / 30, (blocks, 18, m))
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_corrected_test_is_calibrated_and_max_t_controls_family_errors(seed: int) -> None:
    means = block_means(seed).mean(0)
    run = unit_nulls(
        ((null, design()) for null in gaussian(means, design(), 60, seed)),
        permutations=99,
        alpha=0.05,
    )
    summaries = {row.test: row for row in run.summaries("moderated t", "gaussian", alpha=0.05)[:4]}  # type: ignore[union-attr]
    for name, row in summaries.items():
        assert 0.04 < row.share < 0.06, name
    assert run.family_error.mean() <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 60)
    assert 0.93 < run.covered.mean() < 0.97


def test_replicates_are_calibrated_at_biosample_level_only() -> None:
    blocks = block_means(3)
    corrected = unit_nulls(
        ((blocks.mean(0), null) for null in replicates(design(), 40, 0)),
        permutations=99,
        alpha=0.05,
    )
    shares = uniformity(
        corrected.p,
        test="moderated",
        null="replicates",
        alpha=0.05,
        independent=independent_sets(design(), "replicates"),
    )
    assert shares.calibrated
    assert (
        published_nulls(blocks, replicates(design(), 5, 0), permutations=200) <= 0.05
    ).mean() > 0.3


def test_shuffled_labels_are_calibrated_where_no_feature_has_a_contrast() -> None:
    means = block_means(4).mean(0)
    run = unit_nulls(
        ((means, null) for null in shuffled(design(), 60, 1)), permutations=99, alpha=0.05
    )
    assert 0.03 < (run.p_permutation <= 0.05).mean() < 0.07
    assert 0.03 < (run.p_stratum <= 0.05).mean() < 0.07


def test_locus_level_is_calibrated_under_its_own_null() -> None:
    run = sign_nulls(block_means(5, m=50), design(), 80, permutations=99, seed=2, alpha=0.05)
    assert 0.03 < (run.p_stratum <= 0.05).mean() < 0.07
    assert 0.03 < (run.p <= 0.05).mean() < 0.07


def test_intervals_over_blocks_cover() -> None:
    differences = np.random.default_rng(6).normal(0.3, 1.0, (40, 30))
    for row in block_coverage(differences, 40, resamples=300):
        assert 0.92 < row.share < 0.98, row.what


def test_null_designs_hold_no_contrast() -> None:
    observed = design()
    for null in shuffled(observed, 20, 0):
        assert null.strata == observed.strata
        for i in range(3):
            assert null.is_target[null.stratum_of == i].sum() == 3
        assert not all(
            (null.is_target == observed.is_target)[null.stratum_of == i].all() for i in range(3)
        )
    for null in replicates(observed, 5, 0):
        assert len(null.strata) == 6
        for i in range(6):
            rows = np.flatnonzero(null.stratum_of == i)
            assert len(set(observed.is_target[rows])) == 1
            assert null.is_target[rows].sum() == 1
    assert list(shuffled(design(1), 5, 0)) == []
    assert independent_sets(observed, "shuffled") == 5
    assert independent_sets(observed, "replicates") == 2


def test_gaussian_nulls_keep_average_spread_and_are_deterministic() -> None:
    means = block_means(7, m=80).mean(0)
    draws = np.stack(list(gaussian(means, design(), 400, 3)))
    np.testing.assert_allclose(draws[:, :6].mean((0, 1)), means[:6].mean(0), rtol=0.1)
    assert draws.tobytes() == np.stack(list(gaussian(means, design(), 400, 3))).tobytes()


def test_uniformity_against_scipy() -> None:
    p = np.random.default_rng(9).permutation((np.arange(5000) + 0.5) / 5000).reshape(50, 100)
    row = uniformity(p, test="t", null="n", alpha=0.05)
    assert row.calibrated
    assert row.ks == pytest.approx(stats.kstest(p.ravel(), "uniform").statistic)
    assert not uniformity(p**2, test="t", null="n", alpha=0.05).calibrated
    empty = uniformity(np.full((2, 3), np.nan), test="t", null="n", alpha=0.05)
    assert empty.tests == 0
    assert not empty.calibrated


def test_without_contrast_leaves_depth_and_donors() -> None:
    means = block_means(10, m=20).mean(0)
    means[design().is_target] *= 2
    flat = without_contrast(means, design())
    evidence = unit_evidence(flat, design(), "welch", design().strata)
    for line in evidence.values():
        np.testing.assert_allclose(line.test.estimate, 0, atol=1e-12)
    np.testing.assert_allclose(flat[:3].std(0), means[:3].std(0))


def test_coverage_counts_independent_intervals_only() -> None:
    rng = np.random.default_rng(11)
    same = np.repeat(rng.random((400, 1)) < 0.95, 50, axis=1)
    row = coverage(same, what="x", null="y")
    assert 250 < row.cases < 650
    alone = coverage(rng.random((400, 50)) < 0.95, what="x", null="y")
    assert alone.cases > 10_000
    assert alone.low < 0.95 < alone.high
    assert coverage(np.zeros((0, 0), bool), what="x", null="y").cases == 0


def test_all_tests_over_seeds() -> None:
    values = block_means(12, m=30)
    moments = Moments(
        values * 100, values**2 * 100, np.full(values.shape, 50), np.full(values.shape[:2], 100)
    )
    depth = np.random.default_rng(0).uniform(3e5, 6e5, 18)
    given = design_of(table_of(3).assign(fragments=depth), ["depth"])
    data = Data(moments, moments, values, given, 20)
    found = calibrate(data, seeds=[5, 6], alpha=0.05)
    rates = found.rates
    assert set(rates.seed) == {5, 6}
    assert set(rates.null) >= {FITTED, REPLICATES, SHUFFLED}
    assert found.histogram.groupby(["seed", "test"]).share.sum().round(6).eq(1).all()
    summary = summarize(rates, 0.05, 2, "depth")
    assert summary.seeds == 2
    assert summary.share_low < 0.05 < summary.share_high and summary.unadjusted_share is not None
    alike = "family-wise, interval of the mean, block-bootstrap: another rate in like words"
    another = rates[rates.null == FITTED].tail(1).assign(test=None, what=alike, share=1.0, cases=9)
    assert summarize(pd.concat([rates, another]), 0.05, 2, "depth") == summary
    assert calibrate(data, seeds=[5], alpha=0.05).rates.equals(
        rates[rates.seed == 5].reset_index(drop=True)
    )


def test_nothing_to_calibrate_without_replicates() -> None:
    single = design(1)
    assert list(gaussian(np.ones((6, 4)), single, 3, 0)) == []
    assert usable_strata(single) == ()
