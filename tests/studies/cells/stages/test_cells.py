"""Stage cells on a small data set: what it writes is what the file holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells_door_toy import toy_counts, write_dataset

from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.counts import load_cells
from petriscope.studies.cells.stages import cells as stage

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "w ü"
    (root / "data").mkdir(parents=True)
    shutil.copy(REPOSITORY / "studies" / "cells" / "params.yaml", root / "params.yaml")
    override(root / "params.yaml", {"dataset": "data/toy", "cells.min_genes": 20})
    write_dataset(root / "data" / "toy")
    return Workspace(root)


def test_what_it_writes_is_what_the_file_holds(workspace: Workspace) -> None:
    found = stage.run(workspace, load_params(workspace.params))
    cells = load_cells(workspace)
    np.testing.assert_array_equal(cells.counts.toarray(), toy_counts().toarray())
    assert cells.obs.cell.tolist() == [f"cell{i}" for i in range(30)]
    assert found.cells == 30 and found.donors == 2 and found.cell_types is None
    assert (found.targets, found.control_cells, found.untestable) == (1, 20, None)
    assert found.cells_per_split == {"perturbed": 10, "select": 5, "test": 5, "train": 10}
    assert found.known_counts == {"geneformer": 1.0, "scgpt": 1.0}
    assert found.counts_per_cell == np.median(toy_counts().toarray().sum(1))
    table = pd.read_csv(workspace.table("cells") / "encodings.csv")
    assert set(table.family) == {"geneformer", "scgpt"}
    first = sha256(workspace.table("cells"))
    stage.run(workspace, load_params(workspace.params))
    assert sha256(workspace.table("cells")) == first
    override(workspace.params, {"seed": 5})
    stage.run(workspace, load_params(workspace.params))
    assert sha256(workspace.table("cells")) != first


def test_fewer_cells_are_evenly_spread(workspace: Workspace) -> None:
    override(workspace.params, {"cells.cells": 20})
    assert stage.run(workspace, load_params(workspace.params)).cells == 20
    assert load_cells(workspace).obs.cell[:4].tolist() == ["cell0", "cell1", "cell3", "cell4"]


def test_what_is_wrong_with_the_data_set_is_said_before_any_work(workspace: Workspace) -> None:
    (workspace.root / "data" / "toy" / "go.gmt").write_text("term\t\tX\tY\n")
    with pytest.raises(UserError, match="none of its genes is one of the cells"):
        stage.run(workspace, load_params(workspace.params))
    assert not workspace.table("cells").exists()
    write_dataset(workspace.root / "data" / "toy", vocabularies=None)
    with pytest.raises(UserError, match=r"vocabularies\.geneformer: is missing\. Name the file"):
        stage.run(workspace, load_params(workspace.params))
