"""The sequence-feature graph against networkx and rustworkx, and its costs where it has a bound.

Rivals get the same edges (sequence, feature) and do the same: build the graph, collapse parallel
edges into weights, PageRank, core numbers. Their results are held against ours.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from rows import Against, Within, cpu

from petriscope.graph.bipartite import Incidence, edge_weights
from petriscope.graph.centrality import pagerank
from petriscope.graph.cores import core_numbers
from petriscope.graph.fragmentation import fragmentation, removal_order
from petriscope.graph.rate_test import exchange, rate_test

PER_SEQUENCE = 20
PARTS = ("build", "PageRank", "cores")
GOALS = {"networkx": (100, 100, 50), "rustworkx": (5, 5, 0)}
TOGETHER = {"networkx": 100, "rustworkx": 5}


def edges(sequences: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """20 tokens a sequence; features with a long tail, as those of the released graphs, numbered
    without a gap."""
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(sequences, dtype=np.int32), PER_SEQUENCE)
    tail = rng.standard_exponential(len(sequence), dtype=np.float32)
    feature = np.minimum(tail * (features / 7), features - 1).astype(np.int32)
    used = np.bincount(feature, minlength=features) > 0
    return sequence, (np.cumsum(used, dtype=np.int32) - 1)[feature]


def timed(works: list[Callable[[Any], Any]], rounds: int = 1) -> tuple[list[float], list[Any]]:
    """Least CPU seconds of each work over some rounds, and what each made; each gets what the first
    made (the first gets None)."""
    best, made = [float("inf")] * len(works), [None] * len(works)
    for _ in range(rounds):
        for i, work in enumerate(works):

            def once(i: int = i, work: Callable[[Any], Any] = work) -> None:
                made[i] = work(made[0] if i else None)

            best[i] = min(best[i], cpu(once))
    return best, made


def rivals() -> list[Against]:
    """40,000 sequences x 20 edges."""
    sequences, features = 40_000, 2000
    sequence, feature = edges(sequences, features)
    pairs = list(zip(sequence.tolist(), (feature + sequences).tolist()))
    nodes = sequences + int(feature.max()) + 1
    ours, (weights, ranks, cores) = timed(
        [
            lambda _: edge_weights(sequence, feature, (sequences, nodes - sequences)),
            pagerank,
            core_numbers,
        ],
        rounds=5,
    )
    assert weights.sum() == len(sequence)
    rows = []
    for name, works in (("rustworkx", _rustworkx(pairs, nodes)), ("networkx", _networkx(pairs))):
        theirs, (_, their_ranks, their_cores) = timed(works)
        at = range(sequences, nodes)
        np.testing.assert_allclose([their_ranks[i] for i in at], ranks.feature, rtol=1e-6)
        if name == "networkx":  # rustworkx counts the core of a directed graph another way
            np.testing.assert_array_equal([their_cores[i] for i in at], cores[1])
        for part, mine, other, goal in zip(PARTS, ours, theirs, GOALS[name]):
            rows.append(Against(f"graph {part}, {len(pairs):,} edges, {name}", mine, other, goal))
        rows.append(Against(f"graph, all three, {name}", sum(ours), sum(theirs), TOGETHER[name]))
    return rows


def _rustworkx(pairs: list[tuple[int, int]], nodes: int) -> list[Callable[[Any], Any]]:
    import rustworkx as rx

    def build(_: object) -> rx.PyDiGraph:
        graph = rx.PyDiGraph(multigraph=False)
        graph.add_nodes_from(range(nodes))
        counted: dict[tuple[int, int], int] = {}
        for pair in pairs:
            counted[pair] = counted.get(pair, 0) + 1
        graph.add_edges_from([(a, b, n) for (a, b), n in counted.items()])
        return graph

    return [
        build,
        lambda graph: rx.pagerank(graph, weight_fn=float, tol=1e-14, max_iter=500),
        rx.core_number,
    ]


def _networkx(pairs: list[tuple[int, int]]) -> list[Callable[[Any], Any]]:
    import networkx as nx

    def build(_: object) -> nx.DiGraph:
        many = nx.MultiDiGraph()
        many.add_edges_from(pairs)
        graph = nx.DiGraph()
        for a, b in many.edges():  # as the notebook collapses parallel edges
            if graph.has_edge(a, b):
                graph[a][b]["weight"] += 1
            else:
                graph.add_edge(a, b, weight=1)
        return graph

    return [
        build,
        lambda graph: nx.pagerank(graph, tol=1e-16, max_iter=500),
        lambda graph: nx.core_number(graph.to_undirected()),
    ]


def million() -> list[Within]:
    """1,000,000 sequences x 20 edges, in a process of its own."""
    command = [sys.executable, __file__, "--million"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    build, closed, peak = map(float, text.split())
    return [
        Within("graph, 1,000,000 x 20 edges, build and PageRank", build + closed, 2),
        Within("graph, 1,000,000 x 20 edges, peak memory", peak, 1.5, "GB"),
    ]


def _million() -> None:
    sequence, feature = edges(1_000_000, 10_240)
    taken, _ = timed([lambda _: edge_weights(sequence, feature, (1_000_000, 10_240)), pagerank])
    # getrusage would report the parent's peak where that is larger: exec hands it on
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e9
    print(*taken, peak)


def falling_apart() -> list[Against | Within]:
    """2,000 features removed one after another from 500,000 edges."""
    sequence, feature = edges(25_000, 2000)
    weights = edge_weights(sequence, feature, (25_000, 2000))
    order = removal_order(weights)
    one_pass = cpu(lambda: fragmentation(weights, order))
    some = range(0, len(order), len(order) // 5)

    def again() -> None:
        for step in some:
            rest = weights.copy()
            rest.data = np.isin(rest.indices, order[step:]).astype(np.int32)
            rest.eliminate_zeros()
            sp.csgraph.connected_components(sp.bmat([[None, rest], [rest.T, None]]))

    anew = cpu(again) / len(some) * len(order)
    what = f"fragmentation, {len(order):,} features, {len(sequence):,} edges"
    return [Within(what, one_pass, 2), Against(f"{what}, components anew", one_pass, anew, 0)]


def permuted() -> list[Within]:
    """Rate test: 10,000 permutations within length bins, maxT."""
    return [_permuted(6000, 512, 0.25, 10), _permuted(30_000, 2048, 0.05, 60)]


def _permuted(sequences: int, latents: int, filled: float, bound: float) -> Within:
    rng = np.random.default_rng(0)
    tokens = rng.integers(34, 65, sequences)
    counts = sp.random(sequences, latents, filled, format="csr", rng=1)
    counts.data[:] = rng.integers(1, 5, counts.nnz)
    counts = sp.csr_matrix(counts.astype(np.int32))
    found = Incidence(counts, counts.astype(np.float32), tokens, np.zeros_like(tokens))
    plan = exchange(rng.random(sequences) < 0.4, [tokens // 3])
    taken = cpu(lambda: rate_test(found, plan, permutations=10_000, seed=1))
    return Within(
        f"rate test, {sequences:,} sequences x {latents:,} latents x 10,000 permutations",
        taken,
        bound,
    )


ROWS: dict[str, Callable[[], list[Any]]] = {
    "graph": rivals,
    "graph_million": million,
    "fragmentation": falling_apart,
    "rate_test": permuted,
}

if __name__ == "__main__":
    _million()
