"""A release: weights that are taken back byte for byte, checked by SHA-256, and tables that notice
what rounding cannot do.

Reference: the finished tiny run that trained the weights, and the demo's tables as released.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.files import read_json, write_json
from petriscope.run import verify as checks
from petriscope.run.compare import compare_frames, compare_intervals, study_tolerances
from petriscope.run.graph import load_graph
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.release import (
    FOLDER,
    PARAMS,
    WEIGHTS,
    find_release,
    released_workspace,
    ship,
    write_release,
)
from petriscope.run.stage import run_stage
from petriscope.run.weights import MANIFEST, given
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.sae import sweep
from petriscope.studies.chromatin.figures import TABLES
from petriscope.studies.chromatin.model import choose
from petriscope.studies.chromatin.stages import leaderboard, random_init
from petriscope.studies.chromatin.study import STUDY

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = ("model", "sae", "random_init", "leaderboard")
SHIPPED = REPOSITORY / FOLDER / "paper_figures" / "tables"
TOLERANCES = study_tolerances(STUDY, released=True)


@pytest.fixture(scope="module")
def trained(
    tiny_run: Workspace, made_once: Callable[[str, Callable[[Path], None]], Path]
) -> Workspace:
    """The tiny run, released, and beside it the workspace that runs from the release: its stages
    before the model, and its harvest, are the tiny run's. Copy it to change it."""

    def make(folder: Path) -> None:
        shutil.copytree(tiny_run.root, folder / "w", symlinks=True)
        made = Workspace(folder / "w")
        write_release(made, made.root / FOLDER)
        ship(made, made.root / FOLDER)
        own = released_workspace(made)
        for name in ("windows.parquet", "tracks", "activations"):
            source, target = made.results / name, own.results / name
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    return Workspace(made_once("released ü", make) / "w")


def beside(trained: Workspace) -> Workspace:
    return Workspace(trained.root / "runs" / FOLDER)


@pytest.fixture
def copied(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of both workspaces that a test may damage; returns the one beside."""
    shutil.copytree(trained.root, tmp_path / "w")
    return beside(Workspace(tmp_path / "w"))


def test_from_a_release_nothing_trains_and_the_bytes_are_those_of_the_run_that_trained(
    copied: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something trains")

    for module in (sweep, random_init, leaderboard):
        monkeypatch.setattr(module, "train_dictionary", refuse)
    monkeypatch.setattr(choose, "pretrain", refuse)
    before = Workspace(copied.root.parents[1])
    for stage in ("model", "sae"):
        run_stage(stage, copied)
    for name in ("codes", "cds"):
        shutil.copytree(before.results / name, copied.results / name)
    for stage in ("random_init", "leaderboard"):
        run_stage(stage, copied)
    for name in (
        "model/model.safetensors",
        "sae/quality.csv",
        "sae/stability.parquet",
        "random_init/layers.csv",
        "random_init/model.safetensors",
        "leaderboard/leaderboard.csv",
    ):
        assert (copied.results / name).read_bytes() == (before.results / name).read_bytes(), name
    numbers = [read_json(w.metrics("model")) for w in (before, copied)]
    assert numbers[0] == numbers[1]
    record = read_json(copied.provenance("sae"))
    assert f"{FOLDER}/{WEIGHTS}" in record["inputs"], "provenance does not know the weights"


def test_exactly_the_stages_that_train_depend_on_the_weights(trained: Workspace) -> None:
    folder = f"{FOLDER}/{WEIGHTS}"
    found = {s.name for s in load_graph(beside(trained).root).stages.values() if folder in s.deps}
    assert found == set(TRAIN)
    assert not [s for s in load_graph(trained.root).stages.values() if folder in s.deps]
    declared = {
        s.name
        for s in load_graph(REPOSITORY).stages.values()
        if any("released" in keys for _, keys in s.params)
    }
    assert declared == set(TRAIN)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0x"), "not the released file"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_damaged_weight_is_named(copied: Workspace, damage, message, capsys) -> None:
    path = copied.root / FOLDER / WEIGHTS / "model" / "model.safetensors"
    damage(path)
    assert main(["stage", "model", "--workspace", str(copied.root)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(path) in error and "reproduce --from released" in error
    released_workspace(Workspace(copied.root.parents[1]))  # what the remedy does
    assert given(copied, load_params(copied.params), "model") == path.parent


def test_what_a_release_lacks_and_what_is_none(copied: Workspace) -> None:
    params, folder = load_params(copied.params), copied.root / FOLDER / WEIGHTS
    with pytest.raises(UserError, match="holds nothing of stage motifs"):
        given(copied, params, "motifs")
    with pytest.raises(UserError, match="this run trained nothing"):
        write_release(copied, copied.root / "again")
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(UserError, match="is no list of released files"):
        given(copied, params, "model")
    (folder / MANIFEST).unlink()
    with pytest.raises(UserError, match="does not exist"):
        given(copied, params, "model")
    before = Workspace(copied.root.parents[1])
    shutil.rmtree(before.table("leaderboard"))
    with pytest.raises(UserError, match=r"frozen_decoder.*has no such file"):
        write_release(before, before.root / FOLDER)


def test_other_dictionaries_than_params_ask_for_are_refused(copied: Workspace, capsys) -> None:
    override(copied.params, {"sae.latents": 40})
    assert main(["stage", "sae", "--workspace", str(copied.root)]) == 2
    assert "was trained with m 32, params.yaml asks for 40" in capsys.readouterr().err


def test_a_release_comes_with_its_parameters_and_an_edit_lasts_until_another_release(
    copied: Workspace, tmp_path: Path
) -> None:
    before = Workspace(copied.root.parents[1])
    assert find_release(before) == before.root / FOLDER
    override(copied.params, {"cds.alpha": 0.25})
    assert released_workspace(before).root == copied.root
    assert load_params(copied.params).cds.alpha == 0.25
    override(before.params, {"figures.dpi": 60})
    write_release(before, before.root / FOLDER)
    params = load_params(released_workspace(before).params)
    assert (params.cds.alpha, params.figures.dpi) == (0.5, 60)
    assert Path(params.dataset) == (before.root / "data" / "tiny").resolve()
    assert params.released == f"{FOLDER}/{WEIGHTS}"
    with pytest.raises(UserError, match="runs from released weights already"):
        released_workspace(copied)


def test_the_verb_refuses_another_data_set(tmp_path: Path, capsys) -> None:
    command = ["reproduce", "--from", "released", "--dataset", str(tmp_path)]
    assert main(command) == 2
    assert "--from: are of the demo, not of another data set" in capsys.readouterr().err


def test_outside_its_tolerances_a_released_run_fails_on_any_processor(copied: Workspace) -> None:
    before = Workspace(copied.root.parents[1])
    shutil.copytree(before.figures, copied.figures)
    path = copied.figures / "claims.json"
    write_json(path, read_json(path) | {"processor": "another"})
    assert {check.state for check in checks.shipped(copied)} == {"ok"}
    table = copied.figures / "tables" / "table2_sae_quality.csv"
    frame = pd.read_csv(table)
    frame.loc[0, "fvu"] *= 1.01
    frame.to_csv(table, index=False)
    states = {check.name: check.state for check in checks.shipped(copied)}
    assert states.pop("table2_sae_quality") == "failed" and set(states.values()) == {"ok"}


def test_intervals_of_claims_are_compared(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "w")
    one = {"a": {"cds.rise": [0.0, 1.0], "x": [2.0, 3.0]}, "b": {}}
    write_json(workspace.figures / "claims.json", {"intervals": one})
    assert compare_intervals(workspace, {"intervals": one}).state == "identical"
    near = {"a": {"cds.rise": [0.9, 4.0], "x": [2.0, 3.0]}}
    assert compare_intervals(workspace, {"intervals": near}).state == "within"
    far = compare_intervals(workspace, {"intervals": {"a": {"cds.rise": [1.1, 4.0]}}})
    assert far.state == "outside" and far.detail == "a: cds.rise [0, 1] here, [1.1, 4] shipped"


def single_features(name: str) -> list[list[tuple[int, int]]]:
    """The features that a released table names, as (layer, feature): those of each layer first."""
    table = pd.read_csv(SHIPPED / f"{name}.csv")
    if not {"layer", "feature"} <= set(table.columns):
        return []
    found = table.loc[table.feature >= 0, ["layer", "feature"]].drop_duplicates()
    everywhere = list(found.itertuples(index=False, name=None))
    layers = [[one for one in everywhere if one[0] == layer] for layer in found.layer.unique()]
    return [group for group in [*layers, everywhere] if len(group) > 1]


@pytest.mark.parametrize("name", [name for name in TABLES if single_features(name)])
def test_two_features_exchanged_are_outside_the_tolerances(name: str) -> None:
    """All that a table says of one is said of the other, and the other way round."""
    table, held = pd.read_csv(SHIPPED / f"{name}.csv"), TOLERANCES[name]
    assert compare_frames(name, table.copy(), table, held).state == "identical"
    for group in single_features(name):
        for a, b in itertools.combinations(group[:8], 2):
            swapped = table.copy()
            for one, other in ((a, b), (b, a)):
                rows = (table.layer == one[0]) & (table.feature == one[1])
                swapped.loc[rows, ["layer", "feature"]] = other
            assert compare_frames(name, swapped, table, held).state == "outside", (a, b)


def test_every_released_table_has_its_own_tolerances_and_rows_with_one_key_each() -> None:
    assert set(TOLERANCES) == {"default", *TABLES}
    for name in TABLES:
        held, table = TOLERANCES[name], pd.read_csv(SHIPPED / f"{name}.csv")
        assert held.share == held.rows == 1 and not held.free, "a cell may be anything"
        assert not table.duplicated(list(held.keys)).any(), name
        assert set(held.columns) <= set(table.columns), name
        assert held.relative <= 0.001 and held.absolute <= 0.0005, name


def test_one_biosample_exchanged_for_another_is_outside_the_tolerances(copied: Workspace) -> None:
    """Two biosamples of one lineage exchange their contexts; the tables of stage cds notice."""
    before = Workspace(copied.root.parents[1])
    path = before.tracks / "biosamples.parquet"
    units = pd.read_parquet(path)
    lineage = units.lineage.iloc[0]
    rows = units.index[units.lineage == lineage]
    pair = [rows[units.context[rows] == c][0] for c in ("in_vitro", "in_vivo")]
    units.loc[pair, "context"] = units.loc[pair[::-1], "context"].to_numpy()
    units.to_parquet(path)
    table = pd.read_csv(before.table("cds") / "layers.csv")
    run_stage("cds", before)
    found = pd.read_csv(before.table("cds") / "layers.csv")
    name = "table1_context_features"
    assert compare_frames(name, found, table, TOLERANCES[name]).state == "outside"


def test_the_released_tables_are_of_the_released_weights() -> None:
    weights, shipped = REPOSITORY / FOLDER / WEIGHTS, SHIPPED.parent
    listed, claims = read_json(weights / MANIFEST), read_json(shipped / "claims.json")
    assert set(TABLES) == {path.stem for path in SHIPPED.glob("*.csv")}
    assert listed["dataset"] == claims["dataset"] == "demo"
    present = {p.relative_to(weights).as_posix() for p in weights.rglob("*") if p.is_file()}
    assert present == {*listed["files"], MANIFEST}
    shipped_quality = pd.read_csv(SHIPPED / "table2_sae_quality.csv")
    for row in shipped_quality.itertuples():
        config = read_json(weights / f"sae/layer_{row.layer}/seed_{row.seed}/cfg.json")
        assert config["m"] == load_params(REPOSITORY / FOLDER / PARAMS).sae.latents
    assert np.isfinite(shipped_quality.fvu).all()
