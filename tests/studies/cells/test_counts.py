"""How cells are divided, against the shares asked for and pandas; what is written is read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells_door_toy import cells_of, toy_counts

from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.counts import divided, load_cells, save_cells, spread

SHARES = {"train": 0.5, "select": 0.25, "test": 0.25}


def obs(**columns: list[str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(columns, dtype=object)
    return frame.assign(cell=[f"c{i}" for i in range(len(frame))])


def test_donors_stay_whole_where_there_are_four(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for donors in (4, 5, 6, 20):
        sizes = rng.integers(20, 200, donors)
        names: list[str | None] = [f"d{i}" for i, n in enumerate(sizes) for _ in range(n)]
        found = divided(obs(donor=names), None, SHARES, 3)
        assert (found.groupby("donor").split.nunique() == 1).all()
        assert set(found.split) == set(SHARES)
        assert (found.groupby("block").donor.nunique() == 1).all()
        assert found.block.nunique() == donors
    share = found.split.value_counts(normalize=True)
    assert all(abs(share[name] - part) < 0.05 for name, part in SHARES.items())
    assert divided(obs(donor=names), None, SHARES, 3).equals(found)
    assert not divided(obs(donor=names), None, SHARES, 4).equals(found)


def test_cells_are_divided_where_donors_are_few_or_unknown() -> None:
    found = divided(obs(donor=list("ab") * 100), None, SHARES, 0)
    assert found.split.value_counts().to_dict() == {"train": 100, "select": 50, "test": 50}
    assert found.groupby("split").donor.nunique().tolist() == [2, 2, 2]
    assert (found.groupby("block").donor.nunique() == 1).all() and found.block.nunique() == 2
    alone = divided(obs(batch=["x"] * 200), None, SHARES, 0)
    assert alone.split.value_counts().to_dict() == {"train": 100, "select": 50, "test": 50}
    assert (alone.groupby("block").split.nunique() == 1).all()
    assert alone.groupby("split").block.nunique().to_dict() == dict.fromkeys(SHARES, 20)
    # one cell without donor: nobody knows whose it is
    some: list[str | None] = [*(f"d{i % 5}" for i in range(199)), None]
    assert divided(obs(donor=some), None, SHARES, 0).groupby("donor").split.nunique().max() == 3
    assert divided(obs(donor=some), None, SHARES, 0).block.iloc[-1] == 5


def test_perturbed_cells_and_other_tissues_are_in_no_such_split() -> None:
    target = ["none"] * 100 + ["A"] * 30 + [None] * 40
    tissue = ["liver"] * 110 + ["lung"] * 60
    found = divided(obs(target=target, tissue=tissue), "none", SHARES, 0)
    assert (found.split == "perturbed").tolist() == [t == "A" for t in target]
    second = [t != "A" and o == "lung" for t, o in zip(target, tissue)]
    assert (found.split == "second").tolist() == second
    assert found.split.isin(SHARES).sum() == 100
    assert set(found.block[found.split == "perturbed"]).isdisjoint(
        found.block[found.split == "test"]
    )


def test_a_split_without_a_cell_is_refused() -> None:
    with pytest.raises(UserError, match=r"cells\.split: split .* has no cell \(2 are divided\)"):
        divided(obs(donor=["a", "a"]), None, SHARES, 0)
    with pytest.raises(UserError, match=r"has no cell \(0 are divided\)"):
        divided(obs(target=["A"] * 9), "none", SHARES, 0)


def test_rows_are_evenly_spread() -> None:
    assert spread(10, None).tolist() == spread(10, 12).tolist() == list(range(10))
    assert spread(10, 3).tolist() == [0, 3, 6] and len(set(spread(1000, 999))) == 999


def test_what_is_written_is_read_again_byte_for_byte(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(
        UserError, match=r"counts\.npz: does not exist. Run `petriscope stage cells`"
    ):
        load_cells(workspace)
    cells = cells_of(toy_counts())
    folder = workspace.table("cells")
    folder.mkdir(parents=True)
    save_cells(cells, folder)
    first = sha256(folder)
    found = load_cells(workspace)
    assert (found.counts != cells.counts).nnz == 0 and found.counts.dtype == np.int32
    assert found.genes.equals(cells.genes) and found.obs.equals(cells.obs)
    save_cells(found, folder)
    assert sha256(folder) == first
