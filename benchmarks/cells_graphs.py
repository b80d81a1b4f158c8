"""Graphs of features: pairs counted across layers against the released triple loop and scipy, pairs
within a layer against scipy, and Leiden against leidenalg and networkx's Louvain, at the sizes of
Geneformer's dictionaries (4,608 latents, 32 of them active)."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import scipy.sparse as sp
from rows import Against, cpu, medians

from petriscope.graph.cofiring import cofiring
from petriscope.graph.leiden import leiden, modularity
from petriscope.sae.codes import Codes

LATENTS, ACTIVE = 4608, 32
TOKENS, SAMPLE = 60_000, 1000
NODES, EDGES, GROUPS = 4600, 350_000, 9


def codes(tokens: int, seed: int) -> Codes:
    """32 latents a token, common ones more often."""
    rng = np.random.default_rng(seed)
    log_rate = rng.normal(size=LATENTS).astype(np.float32)
    indices = np.empty((tokens, ACTIVE), np.int32)
    for start in range(0, tokens, 2000):
        rows = min(2000, tokens - start)
        drawn = log_rate + rng.gumbel(size=(rows, LATENTS)).astype(np.float32)
        best = np.argpartition(-drawn, ACTIVE, axis=1)[:, :ACTIVE]
        indices[start : start + rows] = np.sort(best, axis=1)
    ones = np.ones(tokens * ACTIVE, np.float32)
    return Codes(np.arange(tokens + 1) * ACTIVE, indices.ravel(), ones, LATENTS)


def released(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> None:
    """The loops of 11_computational_graph.py:115-130 of Biodyn-AI/bio-sae."""
    for row in range(len(first)):
        for one in first[row]:
            for other in second[row]:
                counts[one, other] += 1


def _ones(given: Codes) -> sp.csr_matrix:
    ones = np.ones(len(given.indices), np.int64)
    return sp.csr_matrix((ones, given.indices, given.indptr), shape=(given.n, given.m))


def across() -> list[Against]:
    """Counts of pairs of two layers: the loop on a sample, for its rate does not depend on it."""
    first, second = codes(TOKENS, 1), codes(TOKENS, 2)
    left, right = _ones(first), _ones(second)
    few = [one.indices[: SAMPLE * ACTIVE].reshape(SAMPLE, ACTIVE) for one in (first, second)]
    counts = np.zeros((LATENTS, LATENTS), np.int32)
    np.testing.assert_array_equal(cofiring(first, second), (left.T @ right).toarray())
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: cofiring(first, second),
        "scipy": lambda: left.T @ right,
        "released": lambda: released(*few, counts),
    }
    found = medians(works)
    loop = found["released"] * TOKENS / SAMPLE
    what = f"pairs across layers, {TOKENS:,} tokens"
    return [
        Against(f"{what}, the released loop (from {SAMPLE})", found["ours"], loop, 250),
        Against(f"{what}, scipy", found["ours"], found["scipy"], 0),
    ]


def within() -> list[Against]:
    """Counts of pairs of one layer."""
    given = codes(TOKENS, 3)
    matrix = _ones(given)
    found = medians({"ours": lambda: cofiring(given), "scipy": lambda: matrix.T @ matrix})
    return [Against(f"pairs in a layer, {TOKENS:,} tokens, scipy", *found.values(), 4)]


def graph(inside: float, seed: int = 0) -> sp.csr_matrix:
    """Features of nine groups; ``inside``: share of the edges drawn within them."""
    rng = np.random.default_rng(seed)
    group, weight = rng.integers(0, GROUPS, NODES), rng.lognormal(0, 1, NODES)
    one, other = (rng.choice(NODES, int(1.25 * EDGES), p=weight / weight.sum()) for _ in range(2))
    within_group = rng.random(len(one)) < inside
    for number in range(GROUPS):
        pool = np.flatnonzero(group == number)
        at = np.flatnonzero(within_group & (group[one] == number))
        other[at] = rng.choice(pool, len(at), p=weight[pool] / weight[pool].sum())
    low, high = np.minimum(one, other), np.maximum(one, other)
    pairs = rng.permutation(np.unique((low * NODES + high)[low != high]))[:EDGES]
    row, column = np.divmod(pairs, NODES)
    value = 2 + rng.exponential(1 + (group[row] == group[column]))
    ends = (np.r_[row, column], np.r_[column, row])
    return sp.csr_matrix((np.r_[value, value], ends), shape=(NODES, NODES))


def communities() -> list[Against]:
    """Leiden on a graph with groups and on one with hardly any; modularity is held against
    leidenalg's to .001."""
    rows = []
    for inside, name in ((0.6, "with groups"), (0.1, "with faint groups")):
        weights = graph(inside)
        pairs = sp.triu(weights).tocoo()
        found: dict[str, np.ndarray] = {}
        works: dict[str, Callable[[], object]] = {
            "ours": lambda w=weights, f=found: f.update(ours=leiden(w, seed=1)),
            "leidenalg": lambda p=pairs, f=found: f.update(leidenalg=_leidenalg(p)),
        }
        seconds = medians(works)
        reached = {who: modularity(weights, labels) for who, labels in found.items()}
        what = (
            f"Leiden, {NODES} nodes, {len(pairs.data):,} edges {name} (modularity "
            f"{reached['ours']:.4f} against {reached['leidenalg']:.4f})"
        )
        assert reached["ours"] > reached["leidenalg"] - 1e-3, what
        rows.append(Against(f"{what}, leidenalg", seconds["ours"], seconds["leidenalg"], 10))
    louvain = cpu(lambda: nx.community.louvain_communities(_networkx(graph(0.6)), seed=1))
    alone = cpu(lambda: leiden(graph(0.6), seed=1)) - cpu(lambda: graph(0.6))
    return [*rows, Against(f"Leiden, {NODES} nodes, networkx Louvain", alone, louvain, 0)]


def _leidenalg(pairs: sp.coo_matrix) -> np.ndarray:
    """As published: made and partitioned until nothing moves."""
    import igraph
    import leidenalg

    made = igraph.Graph(n=pairs.shape[0], edges=np.c_[pairs.row, pairs.col].tolist())
    found = leidenalg.find_partition(
        made,
        leidenalg.RBConfigurationVertexPartition,
        weights=pairs.data.tolist(),
        resolution_parameter=1.0,
        n_iterations=-1,
        seed=42,
    )
    return np.array(found.membership)


def _networkx(weights: sp.csr_matrix) -> nx.Graph:
    return nx.from_scipy_sparse_array(weights)


ROWS: dict[str, Callable[[], list[Against]]] = {
    "pairs_across": across,
    "pairs_within": within,
    "communities": communities,
}
