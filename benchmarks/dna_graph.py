"""The sequence-feature graph against networkx and rustworkx, in one run on one thread.

Rivals get the same edges (sequence, feature) and do the same: build the graph, collapse parallel
edges into weights, PageRank, core numbers. Times are CPU seconds of this process, so that other
work on the machine does not count. `ROWS` names each row; `benchmarks/dna.py` runs them all.

python benchmarks/dna_graph.py [ROW ...]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import networkx as nx
import numpy as np
import scipy.sparse as sp

from petriscope.graph.bipartite import Incidence, edge_weights
from petriscope.graph.centrality import pagerank, pagerank_iterated
from petriscope.graph.cores import core_numbers
from petriscope.graph.fragmentation import fragmentation, removal_order
from petriscope.graph.rate_test import exchange, rate_test

PER_SEQUENCE = 20
REPEATS = 5


def edges(sequences: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """20 tokens a sequence; features with a long tail, as those of the released graphs, numbered
    without a gap."""
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(sequences, dtype=np.int32), PER_SEQUENCE)
    tail = rng.standard_exponential(len(sequence), dtype=np.float32)
    feature = np.minimum(tail * (features / 7), features - 1).astype(np.int32)
    used = np.bincount(feature, minlength=features) > 0
    return sequence, (np.cumsum(used, dtype=np.int32) - 1)[feature]


def seconds(work: Callable[[], object], repeats: int = 1) -> tuple[float, object]:
    """Least CPU seconds of some runs, and what the last returned."""
    times = []
    for _ in range(repeats):
        before = time.process_time()
        found = work()
        times.append(time.process_time() - before)
    return min(times), found


def against_rivals() -> None:
    """40,000 sequences x 20 edges: build, PageRank, cores."""
    sequences, features = 40_000, 2000
    sequence, feature = edges(sequences, features)
    build, weights = seconds(
        lambda: edge_weights(sequence, feature, (sequences, features)), REPEATS
    )
    assert isinstance(weights, sp.csr_matrix)
    closed, ranks = seconds(lambda: pagerank(weights), REPEATS)
    iterated, _ = seconds(lambda: pagerank_iterated(weights), REPEATS)
    cores, found = seconds(lambda: core_numbers(weights), REPEATS)
    ours = {"build": build, "PageRank": closed, "cores": cores}
    print(f"ours: {shown(ours)}; PageRank as iterated {iterated:.3f} s")
    theirs, checked = _rustworkx(sequence, feature, sequences)
    print(f"rustworkx: {shown(theirs)}; {ratios(theirs, ours)}")
    np.testing.assert_allclose(checked[0], ranks.feature[: len(checked[0])], rtol=1e-6)
    theirs, checked = _networkx(sequence, feature, sequences)
    print(f"networkx: {shown(theirs)}; {ratios(theirs, ours)}")
    np.testing.assert_allclose(checked[0], ranks.feature[: len(checked[0])], rtol=1e-6)
    np.testing.assert_array_equal(checked[1], found[1][: len(checked[1])])


def _rustworkx(
    sequence: np.ndarray, feature: np.ndarray, sequences: int
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    import rustworkx as rx

    pairs = list(zip(sequence.tolist(), (feature + sequences).tolist()))
    nodes = sequences + int(feature.max()) + 1

    def build() -> rx.PyDiGraph:
        graph = rx.PyDiGraph(multigraph=False)
        graph.add_nodes_from(range(nodes))
        counted: dict[tuple[int, int], int] = {}
        for pair in pairs:
            counted[pair] = counted.get(pair, 0) + 1
        graph.add_edges_from([(a, b, n) for (a, b), n in counted.items()])
        return graph

    t_build, graph = seconds(build)
    t_rank, ranks = seconds(lambda: rx.pagerank(graph, weight_fn=float, tol=1e-14, max_iter=500))
    t_core, cores = seconds(lambda: rx.core_number(graph))
    at = range(sequences, nodes)
    values = (np.array([ranks[i] for i in at]), np.array([cores[i] for i in at]))
    return {"build": t_build, "PageRank": t_rank, "cores": t_core}, values


def _networkx(
    sequence: np.ndarray, feature: np.ndarray, sequences: int
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    pairs = list(zip(sequence.tolist(), (feature + sequences).tolist()))

    def build() -> nx.DiGraph:
        many = nx.MultiDiGraph()
        many.add_edges_from(pairs)
        graph = nx.DiGraph()
        for a, b in many.edges():  # as the notebook collapses parallel edges
            if graph.has_edge(a, b):
                graph[a][b]["weight"] += 1
            else:
                graph.add_edge(a, b, weight=1)
        return graph

    t_build, graph = seconds(build)
    t_rank, ranks = seconds(lambda: nx.pagerank(graph, tol=1e-16, max_iter=500))
    undirected = graph.to_undirected()
    t_core, cores = seconds(lambda: nx.core_number(undirected))
    at = range(sequences, sequences + int(feature.max()) + 1)
    values = (np.array([ranks[i] for i in at]), np.array([cores[i] for i in at]))
    return {"build": t_build, "PageRank": t_rank, "cores": t_core}, values


def million() -> None:
    """1,000,000 sequences x 20 edges: time and peak memory of a process of its own."""
    command = [sys.executable, __file__, "--million"]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def _million() -> None:
    sequence, feature = edges(1_000_000, 10_240)
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build, weights = seconds(lambda: edge_weights(sequence, feature, (1_000_000, 10_240)))
    assert isinstance(weights, sp.csr_matrix)
    closed, _ = seconds(lambda: pagerank(weights))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(sequence):,} edges: build {build:.2f} s, PageRank {closed:.2f} s, "
        f"together {build + closed:.2f} s (goal 2); peak {peak / 2**20:.2f} GiB (goal 1.5), "
        f"of them {started / 2**20:.2f} before"
    )


def falling_apart() -> None:
    """Fragmentation curve: 2,000 features removed from 500,000 edges."""
    sequence, feature = edges(25_000, 2000)
    weights = edge_weights(sequence, feature, (25_000, 2000))
    order = removal_order(weights)
    one_pass, curve = seconds(lambda: fragmentation(weights, order), 3)
    some = order[:: len(order) // 5]

    def again() -> None:
        for step in some:
            rest = weights.copy()
            rest.data = np.isin(rest.indices, order[step:]).astype(np.int32)
            rest.eliminate_zeros()
            sp.csgraph.connected_components(sp.bmat([[None, rest], [rest.T, None]]))

    repeated, _ = seconds(again)
    whole = repeated / len(some) * len(order)
    print(
        f"{weights.nnz:,} joined pairs, {len(order):,} features: one pass {one_pass:.3f} s (goal 2); "
        f"components anew per removal {whole:.0f} s (from {len(some)} steps): {whole / one_pass:.0f}x"
    )
    assert len(curve) == len(order) + 1  # type: ignore[arg-type]


def permuted() -> None:
    """Rate test: 10,000 permutations in length bins, maxT."""
    for case in ((6000, 512, 0.25), (30_000, 2048, 0.05)):
        _permuted(*case)


def _permuted(sequences: int, latents: int, filled: float) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(34, 65, sequences)
    counts = sp.random(sequences, latents, filled, format="csr", rng=1)
    counts.data[:] = rng.integers(1, 5, counts.nnz)
    counts = sp.csr_matrix(counts.astype(np.int32))
    found = Incidence(counts, counts.astype(np.float32), tokens, np.zeros_like(tokens))
    plan = exchange(rng.random(sequences) < 0.4, [tokens // 3])
    taken, _ = seconds(lambda: rate_test(found, plan, permutations=10_000, seed=1))
    print(f"{sequences:,} sequences x {latents:,} latents x 10,000 permutations: {taken:.1f} s")


def shown(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f} s" for name, value in times.items())


def ratios(theirs: dict[str, float], ours: dict[str, float]) -> str:
    parts = [f"{name} {theirs[name] / ours[name]:.0f}x" for name in ours]
    both = sum(theirs.values()) / sum(ours.values())
    return f"ours is faster by {', '.join(parts)}, all together {both:.0f}x"


ROWS: dict[str, Callable[[], None]] = {
    "graph, 40 k x 20 edges": against_rivals,
    "graph, 1 M x 20 edges": million,
    "fragmentation curve, 2,000 features": falling_apart,
    "rate test with maxT": permuted,
}

if __name__ == "__main__":
    if "--million" in sys.argv:
        _million()
    else:
        chosen = sys.argv[1:] or list(ROWS)
        for name, row in ROWS.items():
            if any(one in name for one in chosen):
                print(f"## {name}")
                row()
