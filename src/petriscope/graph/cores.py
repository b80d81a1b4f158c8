"""A node's core number is the largest k such that it lies in a part of the graph where everyone
has at least k neighbors."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from petriscope.graph.bipartite import adjacency


def core_numbers(weights: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Core number of each sequence and each feature of the undirected graph whose edges are the
    entries of ``weights`` (sequences, m); 0 without an edge.

    Equals `networkx.core_number`. Source: Batagelj & Zaversnik 2003, with all nodes of a bucket
    taken off at once, so that every edge is looked at twice and the rest is array arithmetic.
    """
    graph = adjacency(weights)
    indptr, neighbors = graph.indptr.astype(np.int64), graph.indices
    degree = np.diff(indptr)
    core = np.zeros(len(degree), np.int64)
    alive = degree > 0
    left = np.flatnonzero(alive)
    while len(left):
        k = int(degree[left].min())
        bucket = left[degree[left] <= k]
        while len(bucket):
            core[bucket] = k
            alive[bucket] = False
            touched = neighbors[_spans(indptr[bucket], indptr[bucket + 1])]
            touched = touched[alive[touched]]
            np.subtract.at(degree, touched, 1)
            bucket = np.unique(touched[degree[touched] <= k])
        left = left[alive[left]]
    return core[: weights.shape[0]], core[weights.shape[0] :]


def core_sizes(core: np.ndarray) -> np.ndarray:
    """(max + 1,) how many nodes lie in the k-core, for k = 0, 1, …"""
    return np.bincount(core)[::-1].cumsum()[::-1]


def _spans(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The positions first[0], …, last[0] - 1, first[1], … in one array."""
    lengths = last - first
    starts = np.repeat(first - (lengths.cumsum() - lengths), lengths)
    return starts + np.arange(len(starts))
