"""Reference: directions turned at random by orthogonal matrices of scipy, and counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group
from statsmodels.stats.proportion import proportion_confint

from petriscope.graph.similar import chance_of_match, match_rows


def test_chance_of_a_match_is_that_of_turned_directions() -> None:
    rng = np.random.default_rng(0)
    width, least = 6, 0.7
    # of one candidate the probability is exact
    turned = ortho_group.rvs(width, size=40_000, random_state=1)[:, 0, 0]
    share = (turned >= least).mean()
    assert chance_of_match(width, 1, least) == pytest.approx(share, abs=4 * np.sqrt(share / 40_000))
    # of several it is a bound, whatever their angles: far apart it is nearly reached
    own = rng.normal(size=width)
    own /= np.linalg.norm(own)
    near = np.eye(width)[0] + rng.normal(0, 0.2, (5, width))
    for other, tight in ((np.eye(width)[:5], True), (near, False)):
        unit = other / np.linalg.norm(other, axis=1, keepdims=True)
        turns = ortho_group.rvs(width, size=20_000, random_state=2)
        found = ((unit @ turns @ own).max(axis=1) >= least).mean()
        bound = chance_of_match(width, 5, least)
        assert found <= bound + 4 * np.sqrt(bound / 20_000)
        assert (found > 0.9 * bound) == tight
    assert chance_of_match(width, 10**9, least) == 1 and chance_of_match(64, 200, least) < 1e-8


def test_matches_are_counted() -> None:
    decoders = {
        0: np.eye(4)[:3],
        1: np.array([[2.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]),
        3: np.eye(4),
    }
    rows = match_rows(decoders, 0.8)
    assert rows is not None and rows[["layer", "other_layer", "n"]].to_numpy().tolist() == [
        [0, 1, 3]
    ]
    (row,) = rows.itertuples()
    assert row.value == pytest.approx(1 / 3)
    assert (row.lo, row.hi) == pytest.approx(proportion_confint(1, 3, method="wilson"))
    assert row.null == chance_of_match(4, 3, 0.8)
    assert match_rows({0: np.eye(2), 2: np.eye(2)}, 0.8) is None
