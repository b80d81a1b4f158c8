"""Reference: the degrees themselves, and the uniform distribution over all graphs with the degrees
of a small one, enumerated."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import scipy.sparse as sp
from bipartite_toy import toy
from scipy import stats

from petriscope.graph.curveball import curveball


def test_degrees_stay_and_edges_move() -> None:
    weights = toy(101, 40, 900, 0)
    found = curveball(weights, seed=1)
    assert (found.data == 1).all()
    np.testing.assert_array_equal(np.diff(found.indptr), np.diff(weights.indptr))
    np.testing.assert_array_equal(
        np.bincount(found.indices, minlength=40), np.bincount(weights.indices, minlength=40)
    )
    kept = found.multiply(weights > 0).nnz / found.nnz
    assert kept < 0.9
    again = curveball(weights, seed=1)
    np.testing.assert_array_equal(found.indices, again.indices)
    assert (curveball(weights, seed=2) != found).nnz


def test_all_graphs_of_the_same_degrees_are_equally_likely() -> None:
    start = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]])
    rows = [[r for r in itertools.product((0, 1), repeat=4) if sum(r) == 2]] * 3
    graphs = [
        np.array(g).tobytes()
        for g in itertools.product(*rows)
        if (np.sum(g, axis=0) == start.sum(0)).all()
    ]
    assert len(graphs) > 5
    drawn = Counter(
        curveball(sp.csr_matrix(start), seed=s, trades=30).toarray().astype(np.int64).tobytes()
        for s in range(1200)
    )
    assert set(drawn) == set(graphs)
    assert stats.chisquare([drawn[g] for g in graphs]).pvalue > 1e-3
