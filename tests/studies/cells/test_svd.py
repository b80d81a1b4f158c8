"""Reference: the authors' own output (bio_sae_methods), scikit-learn's orthogonal matching pursuit
and PCA, closed forms of random directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bio_sae import LAYERS, Golden
from sklearn.decomposition import PCA
from sklearn.linear_model import orthogonal_mp

from petriscope.studies.cells.svd import (
    Axes,
    covariance_energy,
    drawn_directions,
    energy,
    fvu_leading,
    fvu_pursuit,
    fvu_strongest,
    principal_axes,
    published_axes,
    published_svd,
    random_dictionary,
)


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return Golden(shared)


@pytest.mark.parametrize("layer", LAYERS)
def test_published_axes_and_alignment_are_the_authors(golden: Golden, layer: int) -> None:
    info = golden.made[f"catalog_{layer}"]["summary"]["svd_info"]
    axes = published_axes(golden.arrays[f"acts_{layer}"], golden.arrays[f"mean_{layer}"], 8)
    np.testing.assert_allclose(axes.singular, info["singular_values"], rtol=1e-5)
    np.testing.assert_allclose(axes.share, info["variance_ratios"], rtol=1e-5)
    theirs = golden.arrays[f"svd_axes_{layer}"]
    np.testing.assert_allclose(np.abs((axes.vectors * theirs).sum(1)), 1, atol=1e-4)
    found = published_svd(golden.decoder(layer), golden.alive(layer), theirs)
    for row in golden.made[f"catalog_{layer}"]["features"]:
        i = row["feature_idx"]
        if row["is_dead"]:
            assert np.isnan(found.cosine[i]) and found.axis[i] == -1 and not found.aligned[i]
            continue
        assert found.cosine[i] == pytest.approx(row["max_svd_alignment"], abs=1e-6)
        assert found.axis[i] == row["best_svd_axis"]
        assert found.aligned[i] == row["is_svd_aligned"]
    made = golden.made["svd"]["per_layer"][str(layer)]
    assert found.aligned.sum() == made["feature_counts"]["n_svd_aligned"]
    assert found.covered == made["svd_coverage"]["n_covered_by_sae"]
    mean = made["svd_coverage"]["mean_best_cosine"]
    assert found.axis_cosine.mean() == pytest.approx(mean, abs=1e-6)
    for row in made["svd_coverage"]["per_axis"]:
        assert found.axis_feature[row["svd_axis"]] == row["best_sae_feature"]


def test_nothing_alive_aligns_with_nothing() -> None:
    found = published_svd(np.ones((3, 4)), np.zeros(3, bool), np.eye(4)[:2])
    assert not found.aligned.any() and found.covered == 0 and (found.axis_feature == -1).all()


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    return (rng.normal(size=(600, 12)) * np.geomspace(3, 0.2, 12)) @ turn + 5


def test_axes_are_those_of_scikit_learn(rows: np.ndarray) -> None:
    found, expected = principal_axes(rows), PCA().fit(rows)
    np.testing.assert_allclose(found.variances, expected.explained_variance_)
    cosine = np.abs((found.vectors * expected.components_).sum(1))
    np.testing.assert_allclose(cosine, 1, atol=1e-9)


def test_energy_of_known_directions(rows: np.ndarray) -> None:
    axes = principal_axes(rows)
    first, second, last = axes.vectors[0], axes.vectors[1], axes.vectors[-1]
    found = energy(np.stack([7 * first, first + second, second - 2 * last]), axes, (1, 2, 12))
    np.testing.assert_allclose(found, [[1, 1, 1], [0.5, 1, 1], [0, 0.2, 1]], atol=1e-12)


def test_nulls_of_energy(rows: np.ndarray) -> None:
    """Directions at random have m/d; those of the data's covariance, weighted by their squared
    length, the variance share of the axes."""
    axes, ms = principal_axes(rows), (1, 3, 6)
    uniform = energy(random_dictionary(20_000, 12, 1), axes, ms).mean(0)
    np.testing.assert_allclose(uniform, np.array(ms) / 12, atol=0.005)
    drawn = drawn_directions(axes, 2, 40_000)
    squares = (drawn**2).sum(1)
    inside = (energy(drawn, axes, ms) * squares[:, None]).sum(0) / squares.sum()
    share = PCA().fit(rows).explained_variance_ratio_.cumsum()[[0, 2, 5]]
    np.testing.assert_allclose(covariance_energy(axes, ms), share)
    np.testing.assert_allclose(inside, share, atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(rows.T), atol=0.1)


def fvu(rows: np.ndarray, made: np.ndarray) -> float:
    return float(((rows - made) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum())


def test_reconstructions(rows: np.ndarray) -> None:
    """On other tokens than the axes are of, whose mean is another."""
    axes, test = principal_axes(rows[:300]), rows[300:] + 0.3
    coefficients = (test - axes.mean) @ axes.vectors.T
    first = np.where(np.arange(12) < 4, coefficients, 0) @ axes.vectors + axes.mean
    assert fvu_leading(test, axes, 4) == pytest.approx(fvu(test, first))
    order = np.argsort(-np.abs(coefficients), axis=1)[:, :4]
    kept = np.zeros_like(coefficients)
    np.put_along_axis(kept, order, np.take_along_axis(coefficients, order, 1), 1)
    best = kept @ axes.vectors + axes.mean
    assert fvu_strongest(test, axes, 4) == pytest.approx(fvu(test, best))
    assert fvu_strongest(test, axes, 12) == pytest.approx(0, abs=1e-12)
    pursued = fvu_pursuit(test, axes.mean, axes.vectors, 4)
    assert pursued == pytest.approx(fvu_strongest(test, axes, 4))


def test_pursuit_is_that_of_scikit_learn(rows: np.ndarray) -> None:
    dictionary, mean = random_dictionary(30, 12, 3), rows.mean(0)
    atoms = dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)
    chosen = orthogonal_mp(atoms.T, (rows[:80] - mean).T, n_nonzero_coefs=5)
    expected = fvu(rows[:80], (atoms.T @ chosen).T + mean)
    assert fvu_pursuit(rows[:80], mean, dictionary, 5) == pytest.approx(expected, rel=1e-6)


def test_features_of_few_axes_are_told_from_directions_at_random() -> None:
    """A dictionary of sparse causes along the first axes lies in them; one at random does not."""
    axes = Axes(np.zeros(20), np.eye(20), np.geomspace(4, 0.1, 20))
    inside = np.random.default_rng(5).normal(size=(50, 20)) * (np.arange(20) < 5)
    assert np.median(energy(inside, axes, (5,))) == 1
    assert np.median(energy(random_dictionary(50, 20, 6), axes, (5,))) < 0.5
