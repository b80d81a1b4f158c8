"""Reference: scipy's permutation_test; Westfall-Young step-down maxT as nested loops over an
enumeration."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from petriscope.contrast.inference import welch
from petriscope.contrast.permutation import (
    label_splits,
    sign_flip,
    signs,
    single_step_max_t,
    stratified_labels,
)
from petriscope.contrast.results import adjust


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
