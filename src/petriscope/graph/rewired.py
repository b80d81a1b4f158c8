"""A random weighted graph with the same degrees and the same weights: edges trade their ends, and
heavy weights go to edges of nodes whose edges were heavy."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from petriscope.graph.edge_swaps import edge_swaps


def rewired(weights: sp.csr_matrix, seed: int) -> sp.csr_matrix:
    """The graph of ``weights`` (n, n; symmetric, positive, no loops) after double edge swaps:
    float64, every node with as many neighbors as before and, all together, the same weights.

    The largest weight goes to the edge whose nodes had the largest product of mean weights, and so
    on down, so that the summed weight of a node stays about what it was.
    """
    swapped = edge_swaps(weights, seed)
    degree = np.maximum(np.diff(weights.indptr), 1)
    mean = np.asarray(weights.sum(1)).ravel() / degree
    upper = sp.triu(swapped, 1).tocoo()
    rank = np.argsort(mean[upper.row] * mean[upper.col], kind="stable")
    dealt = np.empty(len(rank))
    dealt[rank] = np.sort(sp.triu(weights, 1).data)
    both = (np.r_[upper.row, upper.col], np.r_[upper.col, upper.row])
    return sp.csr_matrix((np.r_[dealt, dealt], both), shape=weights.shape)
