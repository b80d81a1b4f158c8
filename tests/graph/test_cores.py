"""Reference: networkx.core_number."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from bipartite_toy import by_node, directed, toy

from petriscope.graph.cores import core_numbers, core_sizes


@pytest.mark.parametrize(
    "case", [(60, 20, 300, 0), (300, 400, 1500, 1), (25, 300, 4000, 2), (1, 1, 1, 3)]
)
def test_core_numbers_are_networkxs(case: tuple[int, ...]) -> None:
    weights = toy(*case)
    graph = directed(weights)
    found = core_numbers(weights)
    assert by_node(*found, graph) == nx.core_number(graph.to_undirected())
    assert not found[0][np.diff(weights.indptr) == 0].any()


def test_core_sizes() -> None:
    assert core_sizes(np.array([0, 1, 1, 3])).tolist() == [4, 3, 1, 1]


def test_no_edges() -> None:
    found = core_numbers(sp.csr_matrix((2, 3), dtype=np.int32))
    assert [x.tolist() for x in found] == [[0, 0], [0, 0, 0]]
