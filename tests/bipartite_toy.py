"""A random bipartite graph with a long tail, as weights and as networkx has it."""

from __future__ import annotations

import networkx as nx
import numpy as np
import scipy.sparse as sp

from petriscope.graph.bipartite import edge_weights

Node = tuple[str, int]


def toy(sequences: int, m: int, edges: int, seed: int) -> sp.csr_matrix:
    """Weights; some sequences and features have no edge, some edges are parallel."""
    rng = np.random.default_rng(seed)
    sequence = rng.integers(0, sequences, edges)
    feature = np.minimum((rng.pareto(1.0, edges) * 3).astype(int), m - 1)
    return edge_weights(sequence, feature, (sequences, m))


def directed(weights: sp.csr_matrix) -> nx.DiGraph:
    graph = nx.DiGraph()
    for i, j, value in zip(*sp.find(weights)):
        graph.add_edge(("s", int(i)), ("f", int(j)), weight=int(value))
    return graph


def by_node(sequences: np.ndarray, features: np.ndarray, graph: nx.DiGraph) -> dict[Node, float]:
    values = {"s": sequences, "f": features}
    return {(kind, i): values[kind][i] for kind, i in graph}
