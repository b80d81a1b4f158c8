"""Rewired graphs against networkx: degrees kept, and every graph of small degree sequences equally
often."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy import stats

from petriscope.graph.edge_swaps import edge_swaps


def test_degrees_stay_and_the_graph_stays_simple() -> None:
    graph = nx.barabasi_albert_graph(200, 4, seed=1)
    start = sp.csr_matrix(nx.to_scipy_sparse_array(graph))
    found = edge_swaps(start, 5)
    assert (np.diff(found.indptr) == np.diff(start.indptr)).all()
    assert set(found.data) == {1} and (found != found.T).nnz == 0 and found.diagonal().sum() == 0
    shared = found.multiply(start).nnz / start.nnz
    # the share of edges that the configuration model keeps by chance
    degree = np.diff(start.indptr).astype(float)
    rows, columns = start.nonzero()
    chance = np.minimum(degree[rows] * degree[columns] / degree.sum(), 1).mean()
    assert shared < 1.5 * chance
    assert (edge_swaps(start, 5) != found).nnz == 0 and (edge_swaps(start, 6) != found).nnz


def test_graphs_of_the_same_degrees_are_equally_likely() -> None:
    degrees = [1, 1, 2, 2, 2]
    edges = list(combinations(range(5), 2))
    alike = [
        chosen
        for chosen in combinations(edges, 4)
        if [sum(v in edge for edge in chosen) for v in range(5)] == degrees
    ]
    start = sp.csr_matrix(nx.to_scipy_sparse_array(nx.Graph(alike[0]), nodelist=range(5)))
    seen = Counter(
        tuple(map(tuple, np.argwhere(sp.triu(edge_swaps(start, seed)).toarray())))
        for seed in range(2000)
    )
    assert set(seen) == {tuple(map(tuple, chosen)) for chosen in alike}
    assert stats.chisquare(list(seen.values())).pvalue > 0.001


def test_an_empty_graph_stays_empty() -> None:
    assert edge_swaps(sp.csr_matrix((4, 4)), 0).nnz == 0
