"""Natural cubic splines as R's `splines::ns` spans them, for variance trends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SplineBasis(NamedTuple):
    """A basis with intercept; columns span the same space as `ns(x, df, intercept=TRUE)`."""

    fitted: np.ndarray
    """(n, width) at the points the knots come from."""
    evaluated: np.ndarray
    """(m, width) at the points asked for; linear beyond the boundary knots."""


def natural_spline_basis(x: np.ndarray, at: np.ndarray, width: int) -> SplineBasis:
    """Natural cubic spline basis with ``width`` columns, inner knots at quantiles of ``x`` (n,),
    evaluated ``at`` (m,).

    Truncated-power form (Hastie, Tibshirani, Friedman 2009, eq. 5.4-5.5) on x scaled to [0, 1].
    """
    low, high = float(x.min()), float(x.max())
    scale = (high - low) or 1.0
    knots = (np.quantile(x, np.linspace(0, 1, width)) - low) / scale if width > 1 else np.zeros(1)

    def columns(values: np.ndarray) -> np.ndarray:
        u = (values - low) / scale
        if width == 1:
            return np.ones((len(u), 1))

        def d(k: int) -> np.ndarray:
            gap = knots[-1] - knots[k]
            if gap == 0:
                return np.zeros(len(u))
            return (np.maximum(u - knots[k], 0) ** 3 - np.maximum(u - knots[-1], 0) ** 3) / gap

        parts = [np.ones(len(u)), u] + [d(k) - d(width - 2) for k in range(width - 2)]
        return np.stack(parts, axis=1)

    return SplineBasis(columns(x), columns(at))
