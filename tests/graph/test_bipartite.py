"""Reference: dense loops over tokens; networkx on the same edges."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from bipartite_toy import directed, toy

from petriscope.graph.bipartite import (
    SILENT,
    density,
    edge_weights,
    incidence,
    size,
    strongest,
)
from petriscope.sae.codes import Codes


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    """(40 tokens, 7 latents); some tokens silent, some with ties."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, (40, 7)) * (rng.random((40, 7)) < 0.3)
    return values.astype(np.float32)


def coded(dense: np.ndarray) -> Codes:
    matrix = sp.csr_matrix(dense)
    return Codes(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, dense.shape[1])


def test_incidence_counts_what_loops_count(dense: np.ndarray) -> None:
    sequence_of, keep = np.arange(40) // 9, np.arange(40) % 5 > 0
    found = incidence(coded(dense), sequence_of, 6, keep)
    for s in range(6):
        mine = dense[(sequence_of == s) & keep]
        np.testing.assert_array_equal(found.counts.toarray()[s], (mine > 0).sum(0))
        np.testing.assert_allclose(found.total.toarray()[s], mine.sum(0))
        assert found.tokens[s] == len(mine)
        assert found.silent[s] == (~mine.any(axis=1)).sum()
        np.testing.assert_allclose(
            found.rates().toarray()[s], (mine > 0).sum(0) / max(len(mine), 1)
        )
    np.testing.assert_array_equal(found.counts.indices, found.total.indices)
    assert found.of(np.array([2, 0])).tokens.tolist() == found.tokens[[2, 0]].tolist()


def test_all_tokens_count_unless_told(dense: np.ndarray) -> None:
    found = incidence(coded(dense), np.zeros(40, int), 1)
    np.testing.assert_array_equal(found.counts.toarray()[0], (dense > 0).sum(0))


def test_strongest_is_argmax_with_silence_told_apart(dense: np.ndarray) -> None:
    expected = np.where(dense.any(axis=1), dense.argmax(axis=1), SILENT)
    assert (expected == SILENT).any()
    np.testing.assert_array_equal(strongest(coded(dense)), expected)
    assert strongest(coded(np.zeros((3, 2), np.float32))).tolist() == [SILENT] * 3


def test_parallel_edges_become_a_weight() -> None:
    weights = edge_weights(np.array([1, 0, 1]), np.array([2, 0, 2]), (2, 4))
    assert weights.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 2, 0]]


def test_size_is_networkxs() -> None:
    weights = toy(50, 30, 70, 4)
    graph, found = directed(weights), size(weights)
    parts = list(nx.weakly_connected_components(graph))
    assert len(parts) > 1
    assert found.nodes == graph.number_of_nodes()
    assert found.edges == graph.number_of_edges()
    assert found.density == pytest.approx(nx.density(graph), abs=1e-15)
    assert (found.components, found.largest) == (len(parts), max(map(len, parts)))


def test_a_graph_without_edges_has_nothing() -> None:
    assert size(sp.csr_matrix((3, 4), dtype=np.int32)) == (0, 0, 0, 0.0, 0, 0)
    assert density(1, 0) == 0
