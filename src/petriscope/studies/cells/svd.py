"""Features against the principal axes of the stream: as published, by the largest cosine with one
of the first axes; and by how much of a feature lies in the first axes together, beside the chances,
and by what the axes reconstruct at the same cost.

A direction drawn at random in d dimensions has cosine .07 with the nearest of 50 axes at d = 1152:
"not aligned with any axis" is what every direction is. What lies in the span of the first m axes
is E_m = Σ_{j≤m} (ŵ·v_j)². A direction that knows nothing of the data has m/d, one drawn from the
data's covariance the variance share of the first m axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1000
"""Directions drawn from the covariance, for its quantiles."""
PURSUED = 2000
"""Tokens that orthogonal matching pursuit codes."""


class PublishedAxes(NamedTuple):
    """The first right singular vectors of centered hidden states."""

    vectors: np.ndarray
    """(m, d), signs arbitrary"""
    singular: np.ndarray
    """(m,) singular values"""
    share: np.ndarray
    """(m,) of the variance"""


def published_axes(rows: np.ndarray, mean: np.ndarray, m: int = 50) -> PublishedAxes:
    """Axes of hidden states (n, d) less the training ``mean`` (d,), not their own.

    Source: BS:src/03_analyze_features.py:247-253 (50,000 positions, no seed).
    """
    centered = np.asarray(rows, np.float32) - np.asarray(mean, np.float32)
    _, singular, vectors = np.linalg.svd(centered, full_matrices=False)
    squares = singular**2
    return PublishedAxes(vectors[:m], singular[:m], squares[:m] / squares.sum())


class PublishedAlignment(NamedTuple):
    """Features and axes by their largest |cosine|."""

    cosine: np.ndarray
    """(features,) with the nearest axis; NaN for dead features"""
    axis: np.ndarray
    """int64 (features,) which; -1 for dead features"""
    aligned: np.ndarray
    """bool (features,): above ``cosine``"""
    axis_feature: np.ndarray
    """int64 (m,) the nearest alive feature of each axis; -1 without one"""
    axis_cosine: np.ndarray
    """(m,)"""
    covered: int
    """axes whose nearest feature has at least ``cosine``"""


def published_svd(
    decoder: np.ndarray, alive: np.ndarray, axes: np.ndarray, *, cosine: float = 0.5
) -> PublishedAlignment:
    """Align alive features (``decoder`` (features, d), ``alive`` bool (features,)) with ``axes``
    (m, d).

    Source: BS:src/03_analyze_features.py:256-275 (.5, where the paper says .7) and
    05_compare_svd.py:80-110.
    """
    features, m = len(decoder), len(axes)
    nearest, axis = np.full(features, np.nan), np.full(features, -1)
    axis_feature, axis_cosine = np.full(m, -1), np.zeros(m)
    numbers = np.flatnonzero(alive)
    if len(numbers):
        found = np.abs(_unit(decoder[numbers]) @ _unit(axes).T)
        nearest[numbers], axis[numbers] = found.max(1), found.argmax(1)
        axis_feature, axis_cosine = numbers[found.argmax(0)], found.max(0)
    aligned = np.nan_to_num(nearest) > cosine
    covered = int((axis_cosine >= cosine).sum())
    return PublishedAlignment(nearest, axis, aligned, axis_feature, axis_cosine, covered)


class Axes(NamedTuple):
    """All principal axes of hidden states."""

    mean: np.ndarray
    """float64 (d,)"""
    vectors: np.ndarray
    """float64 (d, d), an axis a row, the largest variance first"""
    variances: np.ndarray
    """float64 (d,), falling"""


def principal_axes(rows: np.ndarray) -> Axes:
    """Of hidden states (n, d), about their own mean. The largest entry of an axis is positive."""
    values = np.asarray(rows, np.float64)
    variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
    vectors = vectors.T[::-1]
    at = np.abs(vectors).argmax(1)
    signs = np.sign(vectors[np.arange(len(vectors)), at])
    return Axes(values.mean(0), vectors * signs[:, None], np.maximum(variances[::-1], 0))


def energy(directions: np.ndarray, axes: Axes, ms: Sequence[int]) -> np.ndarray:
    """(n, ms) E_m of directions (n, d): the share of their squared length in the first m axes."""
    inside = np.cumsum((_unit(directions) @ axes.vectors.T) ** 2, axis=1)
    return inside[:, np.asarray(ms) - 1]


def covariance_energy(axes: Axes, ms: Sequence[int]) -> np.ndarray:
    """(ms,) E_m of directions drawn from the data's covariance: Σ_{j≤m} λ_j / Σ λ."""
    return np.asarray(np.cumsum(axes.variances)[np.asarray(ms) - 1] / axes.variances.sum())


def drawn_directions(axes: Axes, seed: int, count: int = DRAWS) -> np.ndarray:
    """(count, d) directions drawn from a normal distribution with the data's covariance."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(axes.variances)))
    return np.asarray((drawn * np.sqrt(axes.variances)) @ axes.vectors)


def fvu_strongest(rows: np.ndarray, axes: Axes, k: int) -> float:
    """Σ‖h - ĥ‖² / Σ‖h - h̄‖² of hidden states (n, d) where each token keeps the k strongest of all
    axes: TopK on principal components, which is orthogonal matching pursuit on them."""
    squares = _coefficients(rows, axes) ** 2
    kept = np.partition(squares, squares.shape[1] - k, axis=1)[:, squares.shape[1] - k :]
    return float((squares.sum() - kept.sum()) / _spread(rows))


def fvu_leading(rows: np.ndarray, axes: Axes, m: int) -> float:
    """The same where every token keeps the first m axes: m numbers a token, and no indices."""
    squares = _coefficients(rows, axes) ** 2
    return float(squares[:, m:].sum() / _spread(rows))


def fvu_pursuit(rows: np.ndarray, mean: np.ndarray, dictionary: np.ndarray, k: int) -> float:
    """The same where k rows of a ``dictionary`` (m, d) are chosen for each token one after the
    other, each time the one nearest to what is left, and fitted anew (orthogonal matching
    pursuit; Pati et al. 1993). Needs (n, m) numbers in memory."""
    atoms = _unit(np.asarray(dictionary, np.float64))
    target = np.asarray(rows, np.float64) - mean
    left, chosen = target.copy(), np.empty((len(target), 0), np.int64)
    for _ in range(min(k, *atoms.shape)):
        chosen = np.column_stack([chosen, np.abs(left @ atoms.T).argmax(1)])
        used = atoms[chosen]
        gram = used @ used.transpose(0, 2, 1) + 1e-10 * np.eye(used.shape[1])
        fitted = np.linalg.solve(gram, used @ target[:, :, None])
        left = target - (fitted.transpose(0, 2, 1) @ used)[:, 0]
    return float((left**2).sum() / _spread(rows))


def random_dictionary(size: int, d: int, seed: int) -> np.ndarray:
    """(size, d) directions that know nothing of the data."""
    return np.random.default_rng(seed).normal(size=(size, d))


def _coefficients(rows: np.ndarray, axes: Axes) -> np.ndarray:
    return np.asarray((np.asarray(rows, np.float64) - axes.mean) @ axes.vectors.T)


def _spread(rows: np.ndarray) -> float:
    values = np.asarray(rows, np.float64)
    return float(((values - values.mean(0)) ** 2).sum())


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 0, norm, 1))
