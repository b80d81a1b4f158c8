"""One tissue or two. References: counts by hand; statsmodels' exact McNemar."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from petriscope.studies.cells.regulons import Specific
from petriscope.studies.cells.tissues import MOST_DETECTABLE, mixed, paired, too_few


def test_half_of_the_tokens_are_of_the_second_tissue_by_whole_cells() -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(20, 60, 300)
    cell = np.repeat(np.arange(300), size)
    kind = np.repeat(["train", "test", "second"], 100)
    split = kind[cell]
    keep = mixed(split, cell, 1)
    wanted = size[kind == "train"].sum()
    assert wanted - 60 < keep.sum() <= wanted
    assert abs(keep[split == "second"].sum() - wanted / 2) < 60
    assert not keep[split == "test"].any()
    per_cell = np.bincount(cell, keep)
    assert set(np.flatnonzero(per_cell)) == set(np.flatnonzero(per_cell == size))
    assert (mixed(split, cell, 2) != keep).any()


def test_where_the_second_tissue_is_small_the_first_makes_up_for_it() -> None:
    cell = np.repeat(np.arange(100), 10)
    split = np.repeat(["train"] * 95 + ["second"] * 5, 10)
    keep = mixed(split, cell, 0)
    assert keep[split == "second"].all() and keep.sum() == 950


def found(p: dict[str, float]) -> list[Specific]:
    return [Specific(name, 1, 6, 0.1, 0.05, value, 0.5) for name, value in p.items()]


def test_the_same_factors_are_paired() -> None:
    one = found({f"t{i}": 0.001 if i < 3 else 0.8 for i in range(20)} | {"only": 0.001})
    two = found({f"t{i}": 0.001 if 2 <= i < 9 else 0.8 for i in range(20)})
    test, table = paired(one, two, 0.05)
    assert len(table) == 20 and (test.both, test.gained, test.lost) == (1, 6, 2)
    theirs = sm_mcnemar([[1, 2], [6, 11]], exact=True).pvalue
    assert test.p == pytest.approx(theirs)


def test_no_difference_among_few_factors_says_nothing() -> None:
    assert too_few(0.4, MOST_DETECTABLE, 0.05) is None
    assert "74%" in str(too_few(1.0, 0.74, 0.05))
    assert "no gain" in str(too_few(1.0, None, 0.05))
    assert too_few(0.01, 0.74, 0.05) is None  # a difference that was found
