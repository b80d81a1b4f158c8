"""Bootstrap limits: resamples without variation are left out, however their squares round.

Reference: the same resamples one by one, their standard errors by numpy's two-pass formula.
"""

from __future__ import annotations

import numpy as np
import pytest

from petriscope.contrast.effects import bootstrap_counts, mean_limits


@pytest.mark.parametrize("level", [0.1, 1 / 3, 7.7, 1e5 / 3])
def test_resamples_that_hold_one_value_tell_nothing(level: float) -> None:
    """All units but two are equal: in an eighth of the resamples nothing varies, but for
    rounding."""
    units = np.full(12, level)
    units[0], units[1] = level * 1.01, level * 0.97
    counts = bootstrap_counts(len(units), 400, seed=3)
    sizes = []
    for row in counts.astype(int):
        drawn = np.repeat(units, row)
        if len(np.unique(drawn)) > 1:
            error = drawn.std() / np.sqrt(len(drawn) - 1)
            sizes.append(abs(drawn.mean() - units.mean()) / error)
    assert 200 < len(sizes) < 390
    half = np.quantile(sizes, 0.95) * units.std() / np.sqrt(len(units) - 1)
    low, high = mean_limits(units[:, None], 400, seed=3)
    assert low[0] == pytest.approx(units.mean() - half, rel=1e-9)
    assert high[0] == pytest.approx(units.mean() + half, rel=1e-9)
