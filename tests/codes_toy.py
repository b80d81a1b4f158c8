"""Small sparse codes for tests: at random, or of a dense array."""

from __future__ import annotations

import numpy as np

from petriscope.sae.codes import Codes


def of_dense(values: np.ndarray) -> Codes:
    """Codes whose dense form is ``values`` (n, m)."""
    indptr = np.r_[0, (values > 0).sum(1).cumsum()]
    row, column = np.nonzero(values > 0)
    kept = values[row, column].astype(np.float32)
    return Codes(indptr, column.astype(np.int32), kept, values.shape[1])


def random_codes(n: int, m: int, seed: int, rate: float = 0.1) -> Codes:
    """Latents that fire independently, each at a rate of its own between 0 and twice ``rate``."""
    rng = np.random.default_rng(seed)
    fired = rng.random((n, m)) < rate * rng.uniform(0, 2, m)
    return of_dense(fired * rng.uniform(0.1, 1, (n, m)))
