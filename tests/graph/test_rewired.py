"""Reference: degrees and sorted weights of the graph before."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from petriscope.graph.rewired import rewired


def test_degrees_and_weights_stay_and_strengths_nearly() -> None:
    rng = np.random.default_rng(0)
    heavy = rng.lognormal(0, 0.8, 90)
    drawn = np.triu(rng.random((90, 90)) < 0.2, 1)
    weights = drawn * np.outer(heavy, heavy) * rng.uniform(0.7, 1.3, (90, 90))
    weights = sp.csr_matrix(weights + weights.T)
    found = rewired(weights, seed=1)
    assert (found != found.T).nnz == 0 and not found.diagonal().any()
    np.testing.assert_array_equal(np.diff(found.indptr), np.diff(weights.indptr))
    np.testing.assert_allclose(np.sort(found.data), np.sort(weights.data))
    before, after = (np.asarray(one.sum(1)).ravel() for one in (weights, found))
    assert np.corrcoef(before, after)[0, 1] > 0.9
    shared = (found > 0).multiply(weights > 0).nnz / weights.nnz
    assert shared < 0.45
    assert (rewired(weights, seed=1) != found).nnz == 0
    assert (rewired(weights, seed=2) != found).nnz > 0
