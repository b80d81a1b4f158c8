"""Reference: networkx (its modularity), and counts link by link."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from petriscope.graph.between import link_counts, module_tables, strong_links


def planted(seed: int, n: int = 60, k: int = 4) -> tuple[nx.Graph, np.ndarray]:
    rng = np.random.default_rng(seed)
    module = rng.integers(0, k, n)
    graph = nx.gnp_random_graph(n, 0.08, seed=seed)
    for a in range(n):
        for b in range(a):
            if module[a] == module[b] and rng.random() < 0.3:
                graph.add_edge(a, b)
    return graph, module


def ends(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_and_expectation_are_those_of_modularity(seed: int) -> None:
    graph, module = planted(seed)
    counts, expected = link_counts(*ends(graph), module)
    parts = [set(np.flatnonzero(module == i).tolist()) for i in range(4)]
    for a in range(4):
        for b in range(a + 1):
            links = (
                sum(
                    {x, y} <= parts[a] | parts[b] and (x in parts[a]) != (y in parts[a])
                    for x, y in graph.edges
                )
                if a != b
                else graph.subgraph(parts[a]).size()
            )
            assert counts[a, b] == counts[b, a] == links
    m = graph.size()
    q = nx.community.modularity(graph, parts, weight=None)
    assert (counts.diagonal() - expected.diagonal()).sum() / m == pytest.approx(q)
    upper = np.triu_indices(4)
    assert expected[upper].sum() == pytest.approx(m) == counts[upper].sum()


def test_expectation_is_the_mean_over_graphs_dealt_out_anew() -> None:
    graph, module = planted(3)
    module[:10] = -1  # these have links and no module
    _, expected = link_counts(*ends(graph), module)
    degrees = [d for _, d in sorted(graph.degree)]
    total = np.zeros((4, 4))
    for seed in range(400):
        random = nx.configuration_model(degrees, seed=seed)
        a, b = np.array([edge[:2] for edge in random.edges]).T
        keep = (module[a] >= 0) & (module[b] >= 0)
        np.add.at(total, (module[a[keep]], module[b[keep]]), 1)
    total = (total + total.T) / 400
    off = np.triu_indices(4, k=1)
    m = graph.size()  # stubs that remain: the mean has 2m - 1 where the closed form has 2m
    np.testing.assert_allclose(total[off], expected[off] * 2 * m / (2 * m - 1), rtol=0.05)


def test_tables_of_an_atlas() -> None:
    members = pd.DataFrame(
        {"graph": "phi", "layer": 2, "feature": [0, 1, 2, 4, 5], "module": [1, 1, 1, 7, 7]}
    )
    labels = pd.DataFrame({"layer": 2, "feature": [0, 1, 5], "label": ["a", "a", None]})
    links = {("phi", 2): (np.array([0, 0, 2, 3]), np.array([1, 2, 4, 5]))}
    modules, edges = module_tables(links, members, labels)
    assert modules.drop(columns="density").values.tolist() == [
        ["phi", 2, 1, 3, "a (2)"],
        ["phi", 2, 7, 2, None],
    ]
    assert modules.density.tolist() == pytest.approx([2 / 3, 0])
    # degrees: 2 + 1 + 2 inside module 1, 1 + 1 inside module 7, of 4 links
    assert edges.values.tolist() == [["phi", 2, 1, 7, 1.0, 5 * 2 / 8]]
    modules, edges = module_tables({}, members)
    assert modules.density.isna().all() and edges.empty


def test_links_above_a_bound_come_once() -> None:
    values = sp.csr_matrix(np.array([[0, 0.5, 0.2], [0.5, 0, 0.21], [0.2, 0.21, 0]]))
    assert sorted(zip(*(end.tolist() for end in strong_links(values, 0.2)))) == [(0, 1), (1, 2)]
