"""Reference: numpy.corrcoef of the dense firing matrix, plain loops over cosines, two planted
groups."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from petriscope.graph.coactivation import (
    firing_correlation,
    modules,
    nearest_decoders,
    strongest_pairs,
)

TOKENS, M = 3000, 12


@pytest.fixture(scope="module")
def fired() -> np.ndarray:
    """Features 0-4 follow one hidden variable, 5-8 another, 9 and 10 fire alone, 11 never."""
    rng = np.random.default_rng(3)
    hidden = rng.random((TOKENS, 2)) < 0.1
    fired = rng.random((TOKENS, M)) < 0.01
    fired[:, :5] |= hidden[:, [0]] & (rng.random((TOKENS, 5)) < 0.8)
    fired[:, 5:9] |= hidden[:, [1]] & (rng.random((TOKENS, 4)) < 0.8)
    fired[:, 11] = False
    return fired.astype(np.int64)


@pytest.fixture(scope="module")
def correlation(fired: np.ndarray) -> sp.csr_matrix:
    return firing_correlation(sp.csr_matrix(fired.T @ fired), TOKENS)


def test_firing_correlation_is_numpys(fired: np.ndarray, correlation: sp.csr_matrix) -> None:
    expected = np.corrcoef(fired[:, :11].T)
    met = (fired.T @ fired)[:11, :11] > 0
    np.fill_diagonal(met, False)
    np.testing.assert_allclose(correlation.toarray()[:11, :11][met], expected[met], atol=1e-12)
    assert not correlation.toarray()[11].any()


def test_a_feature_that_always_fires_correlates_with_nothing() -> None:
    counts = sp.csr_matrix(np.array([[10, 4], [4, 4]]))
    assert firing_correlation(counts, 10).toarray().tolist() == [[0, 0], [0, 0]]


def test_modules_are_the_planted_groups(correlation: sp.csr_matrix) -> None:
    assert modules(correlation).tolist() == [1] * 5 + [2] * 4 + [0] * 3
    assert modules(sp.csr_matrix((4, 4))).tolist() == [0] * 4


def test_strongest_pairs(correlation: sp.csr_matrix) -> None:
    frame = strongest_pairs(correlation, 3)
    dense = correlation.toarray()
    for feature, mine in frame.groupby("feature"):
        order = np.argsort(-dense[feature], kind="stable")[:3]
        assert mine.other.tolist() == [x for x in order if dense[feature, x] > 0]


@pytest.mark.parametrize("same", [True, False])
def test_nearest_decoders(same: bool) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(6, 5))
    other = first if same else rng.normal(size=(9, 5))
    best, value = nearest_decoders(first, other, same=same, count=8)
    assert best.shape == (6, 5 if same else 8)
    for i, row in enumerate(first):
        cosine = {
            j: row @ x / np.linalg.norm(row) / np.linalg.norm(x)
            for j, x in enumerate(other)
            if not (same and i == j)
        }
        expected = sorted(cosine, key=lambda j: -cosine[j])[:8]
        assert best[i].tolist() == expected
        np.testing.assert_allclose(value[i], [cosine[j] for j in expected], atol=1e-6)
