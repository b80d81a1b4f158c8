"""The share of annotated features by depth: a straight line against a curve, adjusted for how often
features fire, with intervals over groups of features that speak of the same gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from petriscope.contrast.effects import bootstrap_counts

LEAST_LAYERS = 5
"""layers below which a curve says nothing"""
CLASSES = 10
"""classes of firing frequency"""
_BLOCKS = 256  # resamples weighted at a time


class DepthFit(NamedTuple):
    """A value per feature by depth, fitted by least squares; depth runs from -1 to 1."""

    linear: float
    """slope of the straight line"""
    quadratic: float
    """coefficient of the squared depth: above 0 the value is highest at both ends"""
    low: float
    """95 % interval of it over blocks"""
    high: float
    turn: float
    """depth at which the curve turns, 0 the first layer and 1 the last; outside of both there is
    no U"""
    aic_linear: float
    """Akaike's criterion of the straight line"""
    aic_quadratic: float
    """of the curve: the lower is the better"""


@dataclass(frozen=True)
class Curve:
    """Numbers of one model's curve."""

    untestable: str | None
    published: float | None = None
    """quadratic coefficient of the annotated share of layers, as published"""
    published_gain: float | None = None
    """by how much the curve lowers Akaike's criterion"""
    quadratic: float | None = None
    """of the share beyond that of shuffled lists, adjusted for firing frequency"""
    low: float | None = None
    high: float | None = None
    turn: float | None = None
    gain: float | None = None

    @classmethod
    def of(cls, published: DepthFit, corrected: DepthFit) -> Curve:
        """The numbers of two fits."""
        return cls(
            None,
            published.quadratic,
            published.aic_linear - published.aic_quadratic,
            corrected.quadratic,
            corrected.low,
            corrected.high,
            corrected.turn,
            corrected.aic_linear - corrected.aic_quadratic,
        )


def why_no_curve(layers: int) -> str | None:
    """Why so many layers cannot show a curve, or None."""
    if layers >= LEAST_LAYERS:
        return None
    return f"{layers} layers; a curve over depth needs {LEAST_LAYERS}"


def depth_fit(
    layer: np.ndarray,
    value: np.ndarray,
    block: np.ndarray,
    frequency: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> DepthFit:
    """Fit ``value`` (F,) on the depth of each feature's ``layer`` (F,).

    Model: value = a + b x + c x^2 + classes of ``frequency`` (F,; deciles over all layers, left out
    where None), x the depth from -1 to 1. The interval is the percentile one over resamples of
    ``block`` (F,; whole numbers): features that depend on one another share a block.
    """
    x = 2 * (layer - layer.min()) / max(int(layer.max() - layer.min()), 1) - 1
    adjust = np.ones((len(x), 1)) if frequency is None else _classes(frequency)
    straight = np.column_stack([adjust, x])
    curved = np.column_stack([straight, x**2])
    slope = _solve(straight.T @ straight, straight.T @ value)
    coefficients = _solve(curved.T @ curved, curved.T @ value)
    draws = _resampled(curved, value, block, resamples, seed)
    b, c = coefficients[-2:]
    low, high = np.quantile(draws, [0.025, 0.975])
    return DepthFit(
        float(slope[-1]),
        float(c),
        float(low),
        float(high),
        float((1 - b / (2 * c)) / 2) if c else np.nan,
        _aic(value - straight @ slope, straight),
        _aic(value - curved @ coefficients, curved),
    )


def _classes(frequency: np.ndarray) -> np.ndarray:
    """Indicators (F, classes) of equal classes by rank."""
    rank = np.argsort(np.argsort(frequency, kind="stable"), kind="stable")
    which = rank * min(CLASSES, len(rank)) // max(len(rank), 1)
    return np.asarray(which[:, None] == np.arange(which.max(initial=0) + 1), np.float64)


def _solve(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.lstsq(left, right, rcond=None)[0])


def _aic(residual: np.ndarray, columns: np.ndarray) -> float:
    """n (ln 2 pi RSS/n + 1) + 2 p, p the coefficients (`statsmodels.OLS.aic`)."""
    n = len(residual)
    spread = max(float((residual**2).mean()), np.finfo(float).tiny)
    return float(n * (np.log(2 * np.pi * spread) + 1) + 2 * np.linalg.matrix_rank(columns))


def _resampled(
    columns: np.ndarray, value: np.ndarray, block: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """(R,) last coefficient, blocks drawn with replacement: normal equations are sums over
    blocks."""
    names, which = np.unique(block, return_inverse=True)
    p = columns.shape[1]
    left, right = np.zeros((len(names), p, p)), np.zeros((len(names), p))
    np.add.at(left, which, columns[:, :, None] * columns[:, None, :])
    np.add.at(right, which, columns * value[:, None])
    drawn = []
    weights = bootstrap_counts(len(names), resamples, seed)
    for begin in range(0, resamples, _BLOCKS):
        part = weights[begin : begin + _BLOCKS]
        sums = np.tensordot(part, left, 1), part @ right
        inverse = np.linalg.pinv(sums[0], hermitian=True)
        drawn.append((inverse @ sums[1][..., None])[:, -1, 0])
    return np.concatenate(drawn)
