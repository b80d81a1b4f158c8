"""Correlations against scipy and statsmodels' least squares; the circular-shift null against a
loop that turns the track and calls numpy.corrcoef."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import pearsonr

from petriscope.enrich.correlation import (
    BlockSums,
    Lookup,
    block_weights,
    circular_shifts,
    correlate,
    held_out_best,
    pearson,
    rings,
    turned,
)


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    values = np.where(rng.uniform(size=(240, 9)) < 0.2, rng.exponential(size=(240, 9)), 0)
    values[:, 4] = 0
    tracks = np.repeat(rng.uniform(size=(40, 3)) < 0.4, 6, axis=0).astype(float)
    tracks[::7, 0] = 0.5
    values[:, 2] += tracks[:, 1]
    return values, tracks, np.repeat([0, 1], [100, 140])


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_pearson_is_scipys(world, form) -> None:
    values, tracks, _ = world
    r = pearson(form(values), tracks)
    assert np.isnan(r[4]).all()
    for f in (0, 1, 2, 3, 5):
        for t in range(3):
            assert r[f, t] == pytest.approx(pearsonr(values[:, f], tracks[:, t])[0], abs=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_partial_r_is_the_correlation_of_least_squares_residuals(world, form) -> None:
    values, tracks, _ = world
    rng = np.random.default_rng(5)
    lookup = Lookup(rng.integers(0, 11, 240) * 3, rng.normal(size=(240, 2)))
    design = np.c_[lookup.category[:, None] == np.unique(lookup.category), lookup.covariates]

    def left(y: np.ndarray) -> np.ndarray:
        return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

    r = pearson(form(values), tracks, lookup)
    for f in (0, 2, 8):
        for t in range(3):
            expected = pearsonr(left(values[:, f]), left(tracks[:, t]))[0]
            assert r[f, t] == pytest.approx(expected, abs=1e-10)


def test_a_function_of_the_category_has_no_partial_r(world) -> None:
    _, tracks, _ = world
    category = np.random.default_rng(1).integers(0, 5, 240)
    values = np.c_[np.array([0, 0, 3, 0, 1.0])[category], np.arange(240) % 7]
    r = pearson(sp.csr_matrix(values), tracks, Lookup(category, np.zeros((240, 0))))
    assert np.isnan(r[0]).all() and np.isfinite(r[1]).all()


def _by_loop(values, tracks, ring, shifts, residual=lambda y: y):
    found = []
    for source in turned(ring, shifts):
        moved = residual(tracks[source])
        with np.errstate(invalid="ignore"):
            whole = np.corrcoef(residual(values).T, moved.T)
        found.append(whole[: values.shape[1], values.shape[1] :])
    return np.abs(np.array(found))


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("form", ["dense", "sparse", "fourier"])
def test_null_is_that_of_a_loop(world, form, partial) -> None:
    values, tracks, contig = world
    contig = np.zeros(240, int) if form == "fourier" else contig
    ring = rings(contig, 10)
    shifts = circular_shifts(ring, 150, 10, seed=2)
    lookup, residual = None, lambda y: y
    if partial:
        category = np.arange(240) % 5
        lookup = Lookup(category, np.cos(np.arange(240.0))[:, None])
        design = np.c_[category[:, None] == np.arange(5), lookup.covariates]
        residual = lambda y: y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    given = sp.csr_matrix(values) if form == "sparse" else values
    found = correlate(given, tracks, ring, shifts, lookup, part=np.repeat([0, 1], [4, 5]))
    null = np.nan_to_num(_by_loop(values, tracks, ring, shifts, residual))
    null[:, 4] = 0
    assert found.null_max == pytest.approx(
        np.stack([null[:, :4].max(1), null[:, 4:].max(1)], 1), abs=1e-5
    )
    observed = np.abs(found.r).ravel()
    alone = (null.reshape(150, -1) >= observed * (1 - 1e-5)).sum(0)
    known = np.isfinite(observed)
    assert found.test.p[known] == pytest.approx(((alone + 1) / 151)[known])
    best = np.nanargmax(observed)
    most = (null.reshape(150, -1).max(1) >= observed[best] * (1 - 1e-5)).sum()
    assert found.test.max_t[best] == pytest.approx((most + 1) / 151)


def test_a_turn_keeps_every_token_in_its_ring_and_the_order_in_it() -> None:
    contig = np.repeat([0, 1, 2, 3], [50, 8, 9, 60])
    ring = rings(contig, 5)
    assert ring.tolist() == np.repeat([0, 4, 3], [50, 17, 60]).tolist()
    shifts = circular_shifts(ring, 30, 5, seed=0)
    assert shifts.min() >= 5 and (shifts.max(0) <= np.array([45, 55, 12])).all()
    for row, source in zip(shifts, turned(ring, shifts), strict=True):
        assert (ring[source] == ring).all() and len(np.unique(source)) == len(source)
        assert source[0] == row[0]


def test_rings_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="8 tokens"):
        circular_shifts(np.zeros(8, int), 3, 4, seed=0)


def _runs(rng: np.random.Generator, share: float) -> np.ndarray:
    """400 tokens in runs of random length, on or off."""
    on = np.repeat(rng.uniform(size=400) < share, rng.integers(1, 20, 400))
    return on[50:450].astype(float)


def test_the_null_rejects_as_often_as_it_says() -> None:
    """Latents and tracks in independent runs: 5 % of families have a maxT below .05."""
    rejected = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        values = np.stack([_runs(rng, 0.3) for _ in range(12)], axis=1)
        track = _runs(rng, 0.5)[:, None]
        ring = np.zeros(400, int)
        found = correlate(values, track, ring, circular_shifts(ring, 99, 20, seed))
        rejected += np.nanmin(found.test.max_t) <= 0.05
    assert rejected <= 13  # binomial(120, .05): P(> 13) < .5 %


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_block_sums_give_r_of_any_blocks(world, form) -> None:
    values, tracks, _ = world
    block = np.arange(240) // 24
    sums = BlockSums.of(form(values), tracks, block)
    weights = block_weights(np.arange(0, 10, 2), 10, 20, seed=1)
    assert weights[0].sum() == 5 and (weights[:, 1::2] == 0).all()
    r = sums.r(weights)
    rows = np.concatenate(
        [np.tile(np.flatnonzero(block == b), int(weights[7, b])) for b in range(10)]
    )
    assert r[7, 2, 1] == pytest.approx(pearsonr(values[rows, 2], tracks[rows, 1])[0])
    held = held_out_best(sums, np.arange(1, 10, 2), weights, np.ones(9, bool))
    train = block % 2 == 1
    chosen = np.nanargmax(np.abs(pearson(values[train], tracks[train])), axis=0)
    assert held.latent.tolist() == chosen.tolist()
    assert held.latent[1] == 2 and held.r[7, 1] == pytest.approx(r[7, 2, 1])
