"""Reference: networkx.pagerank, with its defaults and converged."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from bipartite_toy import by_node, directed, toy

from petriscope.graph.centrality import (
    Ranks,
    iterate,
    log_ratio,
    pagerank,
    pagerank_iterated,
    shares,
)

CASES = [(60, 20, 300, 0), (300, 400, 1500, 1), (25, 300, 4000, 2), (5, 1, 9, 3)]


def compare(found: Ranks, expected: dict[object, float], rows: int, case: object) -> float:
    ours = by_node(np.full(rows, found.sequence), found.feature, directed(toy(*case)))
    return max(abs(ours[node] - value) for node, value in expected.items())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("damping", [0.85, 0.5])
def test_closed_form_is_the_fixed_point(case: tuple[int, ...], damping: float) -> None:
    weights = toy(*case)
    expected = nx.pagerank(directed(weights), alpha=damping, tol=1e-16, max_iter=2000)
    assert compare(pagerank(weights, damping), expected, case[0], case) < 1e-12
    assert pagerank(weights).iterations is None


@pytest.mark.parametrize("case", CASES)
def test_default_iteration_stops_where_networkx_stops(case: tuple[int, ...]) -> None:
    weights = toy(*case)
    graph = directed(weights)
    found = pagerank_iterated(weights)
    assert compare(found, nx.pagerank(graph), case[0], case) < 1e-15
    assert found.iterations is not None
    nx.pagerank(graph, max_iter=found.iterations)  # networkx raises where it has not stopped yet
    with pytest.raises(nx.PowerIterationFailedConvergence):
        nx.pagerank(graph, max_iter=found.iterations - 1)


def test_counts_alone_give_the_same_course() -> None:
    weights = toy(*CASES[0])
    full = pagerank_iterated(weights)
    joined = np.isfinite(full.feature)
    sequences = int((np.diff(weights.indptr) > 0).sum())
    alone = iterate(sequences, int(joined.sum()))
    assert full.iterations is not None
    assert alone.iterations <= full.iterations  # its change is a lower bound
    exact = iterate(sequences, int(joined.sum()), shares(weights)[joined])
    assert exact.sequence == full.sequence
    assert exact.features == pytest.approx(np.nansum(full.feature), abs=1e-14)


def test_it_says_when_it_does_not_settle() -> None:
    with pytest.raises(ValueError, match="100 steps"):
        iterate(10, 10, tolerance=0)


def test_log_ratio_is_missing_where_one_graph_lacks_the_feature() -> None:
    found = log_ratio(np.array([0.1, np.nan, 0.2]), np.array([0.01, 0.1, 0.2]))
    np.testing.assert_allclose(found, [1, np.nan, 0], atol=1e-8)
