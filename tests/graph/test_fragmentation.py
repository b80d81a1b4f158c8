"""Reference: networkx, one feature removed after another."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from bipartite_toy import directed, toy

from petriscope.graph.fragmentation import fragmentation, removal_order


@pytest.mark.parametrize("case", [(60, 20, 300, 0), (200, 150, 500, 1), (5, 1, 9, 3)])
def test_every_step_is_networkxs(case: tuple[int, ...]) -> None:
    weights = toy(*case)
    graph = directed(weights)
    ranks = nx.pagerank(graph, tol=1e-15, max_iter=2000)
    order = removal_order(weights)
    values = [ranks["f", int(f)] for f in order]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values))
    curve = fragmentation(weights, order)
    assert curve.removed.tolist() == list(range(len(order) + 1))
    for row, feature in zip(curve.itertuples(), [*order, None]):
        assert row.components == nx.number_weakly_connected_components(graph)
        assert row.edges == graph.number_of_edges()
        assert row.density == pytest.approx(nx.density(graph), abs=1e-15)
        if feature is not None:
            graph.remove_node(("f", int(feature)))


def test_equal_features_fall_by_number() -> None:
    weights = toy(4, 3, 0, 0)
    weights = weights + 1 * (np.ones((4, 3)) > 0)
    assert removal_order(type(toy(1, 1, 1, 0))(weights)).tolist() == [0, 1, 2]


def test_an_order_must_name_each_feature_once() -> None:
    weights = toy(60, 20, 300, 0)
    with pytest.raises(ValueError, match="each feature"):
        fragmentation(weights, removal_order(weights)[1:])
