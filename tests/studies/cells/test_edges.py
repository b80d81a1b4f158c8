"""Edges within lists against counts by networkx, their expectation against its configuration model,
and what the alphabetical look-up of the released code misses."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats

from petriscope.studies.cells.edges import (
    edge_tests,
    edges_within,
    expected_edges,
    network_graph,
)

NAMES = [f"G{i:03d}" for i in range(80)]


def network(seed: int = 0) -> tuple[pd.DataFrame, nx.Graph]:
    graph = nx.barabasi_albert_graph(80, 3, seed=seed)
    pairs = [(NAMES[a].lower(), NAMES[b]) for a, b in graph.edges]
    return pd.DataFrame(pairs, columns=["source", "target"]), graph


def lists(rows: list[np.ndarray]) -> sp.csr_matrix:
    matrix = np.zeros((len(rows), 80))
    for row, genes in zip(matrix, rows):
        row[genes] = 1
    return sp.csr_matrix(matrix)


def test_edges_are_those_of_networkx_and_expected_is_the_configuration_model() -> None:
    frame, graph = network()
    rng = np.random.default_rng(1)
    rows = [rng.choice(80, size, replace=False) for size in (20, 7, 2, 1, 20)]
    own = network_graph(pd.concat([frame, frame.iloc[:5]]), NAMES)
    assert edges_within(lists(rows), own).tolist() == [
        graph.subgraph(row).number_of_edges() for row in rows
    ]
    degree = dict(graph.degree)
    wanted = [
        sum(degree[a] * degree[b] for a, b in combinations(row, 2)) / (2 * graph.size())
        for row in rows
    ]
    np.testing.assert_allclose(expected_edges(lists(rows), own), wanted, rtol=1e-12)


def test_only_kept_genes_and_no_loops() -> None:
    frame = pd.DataFrame({"source": ["A", "A", "b", "C"], "target": ["A", "B", "A", "A"]})
    graph = network_graph(frame, ["A", "B", "C"], np.array([True, True, False]))
    assert graph.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_half_of_the_regulators_are_missed_as_published() -> None:
    frame = pd.DataFrame({"source": ["STAT1", "GATA1"], "target": ["IRF1", "KLF1"]})
    names = ["STAT1", "IRF1", "GATA1", "KLF1"]
    assert network_graph(frame, names).nnz == 4
    missed = network_graph(frame, names, sorted_lookup=True)
    assert missed.nnz == 2 and missed[2, 3] == 1


def test_hubs_alone_are_not_enriched_and_cliques_are() -> None:
    graph = network()[1]
    near = np.arange(74, 80)
    graph.add_edges_from(combinations(near, 2))
    frame = pd.DataFrame([(NAMES[a], NAMES[b]) for a, b in graph.edges])
    frame.columns = ["source", "target"]
    rng = np.random.default_rng(2)
    degree = np.array([graph.degree[g] for g in range(80)])
    hubs = [rng.choice(74, 15, replace=False, p=degree[:74] / degree[:74].sum()) for _ in range(40)]
    found = edge_tests(
        lists([*hubs, near]), network_graph(frame, NAMES), np.arange(41) // 40, 60, 3
    )
    assert (found.edges[:40] > 0).mean() > 0.9  # any edge is enough for the published rule
    adjusted = stats.false_discovery_control(found.p[:40])
    np.testing.assert_allclose(found.q[:40], adjusted, rtol=1e-9)
    assert found.q[40] == pytest.approx(found.p[40])  # a family of its own
    assert (found.q[:40] < 0.05).mean() < 0.1 and found.any_rewired[:40].mean() > 0.9
    assert found.p[40] == pytest.approx(
        stats.poisson.sf(found.edges[40] - 1, found.expected[40]), rel=1e-12
    )
    assert found.p_rewired[40] < 0.1 < found.p_rewired[:40].mean()
    np.testing.assert_allclose(found.rewired, found.expected, rtol=0.35, atol=0.6)
