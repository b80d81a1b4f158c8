"""Curves over depth against statsmodels, and worlds in which firing frequency alone bends them."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from petriscope.studies.cells.ushape import Curve, depth_fit, why_no_curve


def features(rng: np.random.Generator, layers: int = 8, each: int = 300) -> np.ndarray:
    return np.repeat(np.arange(1, layers + 1), each)


def test_fits_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    layer = features(rng)
    x = 2 * (layer - 1) / 7 - 1
    value = rng.random(len(layer)) < 0.3 + 0.2 * x + 0.25 * x**2
    frequency = rng.lognormal(0, 1, len(layer))
    found = depth_fit(layer, value.astype(float), np.arange(len(layer)), frequency, resamples=200)
    rank = np.argsort(np.argsort(frequency))
    classes = np.eye(10)[rank * 10 // len(rank)]
    straight = sm.OLS(value.astype(float), np.column_stack([classes, x])).fit()
    curved = sm.OLS(value.astype(float), np.column_stack([classes, x, x**2])).fit()
    assert found.linear == pytest.approx(straight.params[-1])
    assert found.quadratic == pytest.approx(curved.params[-1])
    assert found.aic_linear == pytest.approx(straight.aic)
    assert found.aic_quadratic == pytest.approx(curved.aic)
    turn = -curved.params[-2] / (2 * curved.params[-1])
    assert found.turn == pytest.approx((turn + 1) / 2)
    robust = curved.get_robustcov_results("HC1").conf_int()[-1]
    np.testing.assert_allclose([found.low, found.high], robust, atol=0.03)
    assert found.low > 0 and found.aic_quadratic < found.aic_linear
    curve = Curve.of(found, found)
    assert curve.gain == pytest.approx(straight.aic - curved.aic) and curve.untestable is None


def test_what_frequency_bends_is_no_curve_of_depth() -> None:
    # design 4 (d): the share by frequency is an inverted U; layers that fire often in the middle
    rng = np.random.default_rng(1)
    layer = features(rng)
    x = 2 * (layer - 1) / 7 - 1
    frequency = np.exp(2 * x**2 + rng.normal(0, 1, len(layer)))
    rank = np.argsort(np.argsort(frequency)) / len(layer)
    value = (rng.random(len(layer)) < 0.2 + 0.5 * rank).astype(float)
    block = np.arange(len(layer))
    naive = depth_fit(layer, value, block, resamples=200)
    adjusted = depth_fit(layer, value, block, frequency, resamples=200)
    assert naive.low > 0.05
    assert adjusted.low < 0.05 and abs(adjusted.quadratic) < naive.quadratic / 3


def test_features_of_one_gene_are_not_independent() -> None:
    rng = np.random.default_rng(2)
    layer = features(rng)
    block = rng.integers(0, 40, len(layer)) * 10 + layer
    value = (rng.random(500) < 0.5)[block].astype(float)
    apart = depth_fit(layer, value, np.arange(len(layer)), resamples=300)
    together = depth_fit(layer, value, block, resamples=300)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_four_layers_show_no_curve() -> None:
    assert why_no_curve(5) is None
    assert why_no_curve(4) == "4 layers; a curve over depth needs 5"
