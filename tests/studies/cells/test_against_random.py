"""Reference: scipy's bootstrap of a difference of means, in features that stand alone; a planted
difference, which features that depend on one another hide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from petriscope.studies.cells.against_random import (
    NOT_RUN,
    AgainstRandom,
    above_random,
    after_a_block,
    blocks_of,
)


def alone(features: pd.DataFrame) -> np.ndarray:
    return np.arange(len(features))


def layer(values: np.ndarray) -> dict[int, pd.DataFrame]:
    """One layer of alive features, and a dead one that says nothing."""
    alive = pd.DataFrame({"alive": True, "value": values, "top_gene": -1})
    return {1: pd.concat([alive, pd.DataFrame({"alive": [False], "value": 99.0, "top_gene": -1})])}


def test_interval_of_features_that_stand_alone_is_scipys() -> None:
    rng = np.random.default_rng(0)
    mine, other = rng.normal(0.4, 1, 120), rng.normal(0, 1, 80)
    found = above_random(layer(mine), layer(other), "value", 4000, 0, alone)
    theirs = stats.bootstrap(
        (mine, other),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert found.random == pytest.approx(other.mean())
    assert found.difference == pytest.approx(mine.mean() - other.mean())
    assert [found.low, found.high] == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_features_that_depend_on_one_another_count_once() -> None:
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(8), 30)
    mine, other = (rng.normal(0, 1, 8)[blocks] + rng.normal(0, 0.1, 240) for _ in range(2))
    tables = [
        {1: pd.DataFrame({"alive": True, "value": v, "top_gene": blocks})} for v in (mine, other)
    ]
    together = above_random(*tables, "value", 2000, 0)
    apart = above_random(*tables, "value", 2000, 0, alone)
    # the deviation of a mean of 30 equal features is √30 that of 30 independent ones
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(30), rel=0.15)
    assert blocks_of(tables[0][1]).tolist() == blocks.tolist()


def test_the_input_of_the_first_block_is_no_layer() -> None:
    assert after_a_block([0, 1, 2]) == [1, 2] and after_a_block([0]) == [0]
    one = layer(np.ones(5))
    found = above_random({**one, 0: one[1].assign(value=7.0)}, one, "value", 10, 0, alone)
    assert found.difference == found.low == found.high == 0


def test_a_model_without_a_random_one_beside_it() -> None:
    one = above_random(layer(np.ones(5)), layer(np.zeros(5)), "value", 10, 0, alone)
    assert AgainstRandom.of({"a": one}, 2) == AgainstRandom(NOT_RUN, {"a": one})
    assert AgainstRandom.of({"a": one}, 1).least_low == 1
