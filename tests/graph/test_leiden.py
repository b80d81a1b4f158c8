"""Reference: networkx's modularity, scikit-learn's adjusted Rand index, leidenalg's optimum
(where it is installed), planted groups."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from petriscope.graph.leiden import adjusted_rand, cohesion, leiden, modularity


def planted(sizes: tuple[int, ...], inside: float, outside: float, seed: int) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    same = group[:, None] == group
    drawn = np.triu(rng.random(same.shape) < np.where(same, inside, outside), 1)
    weights = drawn * rng.uniform(0.5, 2.0, same.shape)
    return sp.csr_matrix(weights + weights.T)


@pytest.mark.parametrize("resolution", [0.25, 1.0, 3.0])
def test_modularity_is_that_of_networkx(resolution: float) -> None:
    weights = planted((15, 10, 20), 0.5, 0.1, 1)
    labels = np.random.default_rng(0).integers(0, 4, 45)
    parts = [set(np.flatnonzero(labels == k).tolist()) for k in range(4)]
    graph = nx.from_scipy_sparse_array(weights)
    expected = nx.community.modularity(graph, parts, resolution=resolution)
    loops = weights + sp.diags(np.arange(45.0))
    assert modularity(weights, labels, resolution) == pytest.approx(expected, abs=1e-12)
    assert modularity(sp.csr_matrix(loops), labels, resolution) == pytest.approx(expected)
    assert modularity(sp.csr_matrix((3, 3)), np.arange(3)) == 0


def test_cohesion_weighted_by_strength_is_the_modularity() -> None:
    weights = planted((15, 10, 20), 0.5, 0.1, 1).tolil()
    weights[7], weights[:, 7] = 0, 0  # a node without an edge
    weights = sp.csr_matrix(weights)
    labels = np.random.default_rng(0).integers(0, 4, 45)
    graph = nx.from_scipy_sparse_array(weights)
    parts = [set(np.flatnonzero(labels == k).tolist()) for k in range(4)]
    found, strength = cohesion(weights, labels), np.asarray(weights.sum(1)).ravel()
    expected = nx.community.modularity(graph, parts)
    assert np.average(found, weights=strength) == pytest.approx(expected, abs=1e-12)
    assert found[7] == 0 and (cohesion(sp.csr_matrix((3, 3)), np.arange(3)) == 0).all()
    # by hand: of 3 edges two join 0 and 1 with 2, one 2 with 3
    path = sp.csr_matrix(nx.to_numpy_array(nx.Graph([(0, 2), (1, 2), (2, 3)]), range(4)))
    by_hand = [1 - 5 / 6, 1 - 5 / 6, 2 / 3 - 5 / 6, -1 / 6]
    assert cohesion(path, np.array([0, 0, 0, 1])) == pytest.approx(by_hand)


def test_planted_groups_are_found_from_the_largest() -> None:
    weights = planted((30, 50, 40), 0.5, 0.02, 2)
    assert leiden(weights).tolist() == [2] * 30 + [0] * 50 + [1] * 40


@pytest.mark.parametrize(("inside", "tolerance"), [(0.3, 1e-3), (0.05, 2e-3)])
@pytest.mark.parametrize("resolution", [0.5, 1.0, 4.0])
def test_modularity_reaches_that_of_leidenalg(
    inside: float, tolerance: float, resolution: float
) -> None:
    """On average over seeds; in a graph without groups a seed moves it by .001 to .003."""
    leidenalg, igraph = pytest.importorskip("leidenalg"), pytest.importorskip("igraph")
    weights = planted((60,) * 4, inside, 0.05, 3)
    pairs = sp.triu(weights).tocoo()
    graph = igraph.Graph(n=240, edges=np.c_[pairs.row, pairs.col].tolist())
    theirs = [
        leidenalg.find_partition(
            graph,
            leidenalg.RBConfigurationVertexPartition,
            weights=pairs.data.tolist(),
            resolution_parameter=resolution,
            seed=seed,
            n_iterations=-1,
        ).membership
        for seed in range(12)
    ]
    ours = [leiden(weights, resolution, seed) for seed in range(12)]
    reached, wanted = (
        np.mean([modularity(weights, np.array(one), resolution) for one in found])
        for found in (ours, theirs)
    )
    assert reached > wanted - tolerance


def test_a_seed_decides_and_lone_nodes_stay_alone() -> None:
    weights = sp.block_diag([planted((40, 40), 0.2, 0.1, 4), sp.csr_matrix((3, 3))]).tocsr()
    found = leiden(weights, seed=5)
    np.testing.assert_array_equal(found, leiden(weights, seed=5))
    assert len({*found[-3:].tolist()} - {*found[:-3].tolist()}) == 3
    np.testing.assert_array_equal(leiden(sp.csr_matrix((4, 4))), np.arange(4))
    np.testing.assert_array_equal(leiden(sp.diags([1.0, 2.0]).tocsr()), [0, 1])
    with pytest.raises(ValueError, match="not negative"):
        leiden(sp.csr_matrix(np.array([[0.0, -1.0], [-1.0, 0.0]])))


@pytest.mark.parametrize("parts", [1, 2, 5, 60])
def test_adjusted_rand_is_that_of_scikit_learn(parts: int) -> None:
    rng = np.random.default_rng(parts)
    first, second = rng.integers(0, parts, 60), rng.integers(3, 8, 60)
    mixed = np.where(rng.random(60) < 0.7, second, rng.integers(0, 5, 60))
    for one, other in ((first, second), (second, mixed), (second, second), (np.arange(60),) * 2):
        assert adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other))
