"""The benchmark of the regulation tests' power (`benchmarks/cells_power.py`): its grades go through
the simulator's own two, and its counts are those of other libraries and of hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from petriscope.studies.cells.data import world
from petriscope.studies.cells.data.simulate import simulate_demo
from petriscope.studies.cells.tiny import TINY_DATA


@pytest.fixture(scope="module")
def power() -> ModuleType:
    """The benchmark as a module."""
    path = Path(__file__).parents[3] / "benchmarks/cells_power.py"
    spec = importlib.util.spec_from_file_location("cells_power", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_grades_go_through_the_simulators_own(power: ModuleType) -> None:
    for step, name in ((0.0, "hard"), (1.0, "easy")):
        assert power.grade(step) == (name, world.DEPTH[name], world.SLOPE[name])
    between = power.grade(0.5)
    assert between.counts == pytest.approx(np.sqrt(200 * 600))
    assert between.slope == pytest.approx(1.25)


def test_a_grade_leaves_what_the_simulator_writes_of_its_own(
    power: ModuleType, tmp_path: Path
) -> None:
    before = dict(world.DEPTH), dict(world.SLOPE), world.DIFFICULTIES
    simulate_demo(tmp_path / "plain", **TINY_DATA)
    with power.simulated(power.grade(0.5)):
        simulate_demo(tmp_path / "inside", **TINY_DATA)
        simulate_demo(tmp_path / "graded", **TINY_DATA, difficulty="+0.5")
    assert (dict(world.DEPTH), dict(world.SLOPE), world.DIFFICULTIES) == before

    def content(name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    assert content("inside") == content("plain")
    assert content("graded")["cells.h5ad"] != content("plain")["cells.h5ad"]


def test_more_training_is_more_cells_and_more_steps_at_the_same_difficulty(
    power: ModuleType,
) -> None:
    grid = power.worlds((0.0, 1.0), (1, 4), (7,))
    assert [(one.grade.name, one.training) for one in grid] == [
        ("hard", 1),
        ("easy", 1),
        ("easy", 4),
    ]
    least, most = grid[1].columns, grid[2].columns
    assert (most["cells"], most["steps"]) == (4 * least["cells"], 4 * least["steps"])
    assert (most["counts"], most["slope"]) == (least["counts"], least["slope"])
    assert len({power.kept(Path(), one) for one in grid}) == 3


def test_one_p_of_many(power: ModuleType) -> None:
    p = np.array([0.04, np.nan, 0.011, 0.5, 0.02])
    known = p[np.isfinite(p)]
    assert power.simes(p) == pytest.approx(multipletests(known, method="fdr_bh")[1].min())


def test_shares_are_over_all_tfs_of_a_grade(power: ModuleType) -> None:
    of = {"counts": 200.0, "slope": 1.1, "grade": "hard", "cells": 1200, "steps": 900}
    of |= {"of": 1, "chance": 0.05}
    found = [("data", 0.01, 1), ("data", 0.2, 0), ("data", np.nan, 0)]
    rows = [{**of, "measure": m, "kind": "silent", "p": p, "found": f} for m, p, f in found]
    planted = {**of, "measure": "planted", "kind": "planted", "p": np.nan, "found": 30, "of": 40}
    table = power.summarized(pd.DataFrame([*rows, planted])).set_index("measure")
    # a TF that could not be tested was not found
    assert table.loc["data", ["found", "of", "tested"]].tolist() == [1, 3, 2]
    limits = proportion_confint(1, 3, method="wilson")
    assert table.loc["data", ["low", "high"]].tolist() == pytest.approx(limits)
    assert table.loc["planted", ["found", "of", "tested"]].tolist() == [30, 40, 40]
