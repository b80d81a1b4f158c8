"""verify: the parity vector against the float64 numpy model, the checks against machines and runs
that are wrong."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from epibert_reference import NumpyEpiBERT

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.files import read_json, write_json
from petriscope.run import compare
from petriscope.run import verify as checks
from petriscope.run.compare import (
    Tolerance,
    compare_claims,
    compare_frames,
    load_tolerances,
    shipped_results,
)
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.studies.chromatin import parity
from petriscope.studies.chromatin.figures import TABLES
from petriscope.studies.chromatin.model.epibert_layers import projection_matrix
from petriscope.studies.chromatin.study import STUDY

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_built_in_vector_is_what_the_numpy_model_computes():
    config, batch = parity.CONFIG, parity.batch()
    projection = projection_matrix(config.random_features, config.head_dim, config.seed)
    model = NumpyEpiBERT(parity.weights(), projection, layers=config.layers, crop=config.crop)
    sequence = np.repeat(batch.sequence.numpy().astype(float), 2, axis=0)
    found = model.run(sequence, batch.atac.numpy().astype(float), batch.motif.numpy().astype(float))
    import json

    wanted = json.loads((Path(parity.__file__).parent / "parity.json").read_text())
    np.testing.assert_allclose(found.prediction.ravel(), wanted["prediction"], atol=1e-8)
    np.testing.assert_allclose(found.hidden[-1][:, ::5], wanted["hidden"], atol=1e-8)


def test_parity_holds_and_a_wrong_weight_breaks_it(monkeypatch):
    assert max(parity.parity()) < parity.LIMIT and checks.arithmetic(STUDY).state == "ok"
    right = parity.weights()
    path = next(p for p in right if p.endswith("FFN_dense_wide/bias"))
    monkeypatch.setattr(parity, "weights", lambda: {**right, path: right[path] + 0.01})
    assert max(parity.parity()) > parity.LIMIT
    assert checks.arithmetic(STUDY).state == "failed"
    assert parity.relative(np.ones(3), np.ones(4)) == float("inf")


def test_packages_outside_their_range_are_named(monkeypatch):
    assert checks.packages().state == "ok"
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda _: ["numpy<1", "no-such-package", 'x; extra == "test"'],
    )
    check = checks.packages()
    assert (
        check.state == "failed"
        and "is outside <1" in check.seen
        and "no-such-package is missing" in check.seen
    )


def test_programs_room_and_device_say_what_is_wrong(tmp_path, monkeypatch):
    workspace = create_workspace(tmp_path / "w")
    assert checks.device(workspace).state == "ok"
    monkeypatch.setattr(checks, "tool_version", lambda name: None)
    programs = checks.programs()
    assert programs.state == "skipped"  # no stage needs them
    assert "apt-get install bedtools samtools" in programs.remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10))
    assert checks.room(workspace).state == "failed"
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("device: cpu", "device: cuda"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device" in checks.device(workspace).seen


def test_data_other_than_the_pinned_is_refused(tmp_path):
    workspace = create_workspace(tmp_path / "w")
    assert checks.data(workspace).state == "skipped"
    (workspace.root / "d").mkdir()
    (workspace.root / "d" / "x").write_text("x")
    pin = "outs: [{path: d, md5: %s.dir, nfiles: 1}]"
    (workspace.root / "data.dvc").write_text(pin % ("0" * 32))
    check = checks.data(workspace)
    assert check.state == "failed" and "d is not the data that data.dvc pins" in check.seen


def test_records_of_a_finished_run_hold_and_damage_is_named(
    tiny_run, tiny_copy: Workspace, tmp_path
):
    assert checks.records(tiny_run).state == "ok"
    labels = tiny_copy.table("labels") / "labels.csv"
    labels.write_bytes(labels.read_bytes()[:-2] + b"9\n")  # same size: only the bytes differ
    check = checks.records(tiny_copy)
    assert check.state == "failed" and "results/labels/labels.csv changed" in check.seen
    tiny_copy.provenance("cds").unlink()
    assert "no record of cds" in checks.records(tiny_copy).seen
    assert checks.records(create_workspace(tmp_path / "empty")).state == "skipped"


def test_tolerances_know_every_table_and_no_other_field(tmp_path):
    known = load_tolerances(Path(parity.__file__).parent / "tolerances.yaml")
    assert list(load_tolerances(tmp_path / "none.yaml")) == ["default"]
    assert set(known) - {"default"} <= set(TABLES) and known["table2_sae_quality"].keys == (
        "layer",
        "seed",
    )
    bad = tmp_path / "t.yaml"
    bad.write_text("default: {}\ntables: {a: {abslute: 1}}\n")
    with pytest.raises(UserError, match=r"t.yaml: a.abslute: is not a field"):
        load_tolerances(bad)


def test_frames_compare_as_numpy_isclose():
    shipped = pd.DataFrame({"layer": [0, 1, 2], "x": [1.0, 2.0, np.nan], "what": ["a", "b", "c"]})
    rule = Tolerance(keys=("layer",), relative=0.1)
    assert compare_frames("t", shipped.copy(), shipped, rule).state == "identical"
    near = shipped.assign(x=[1.09, 1.81, np.nan])
    assert compare_frames("t", near.iloc[::-1], shipped, rule).state == "within"
    far = compare_frames("t", shipped.assign(x=[1.2, 2.0, np.nan]), shipped, rule)
    assert (
        far.state == "outside"
        and "x (0, 0): 1.2 here, 1.0 shipped; 67% of the column agrees" in far.detail
    )
    assert (
        compare_frames("t", far_text := shipped.assign(what=["a", "b", "z"]), shipped, rule).state
        == "outside"
    )
    assert (
        compare_frames("t", far_text, shipped, Tolerance(keys=("layer",), free=("what",))).state
        == "within"
    )
    assert (
        "columns differ: x" in compare_frames("t", shipped.drop(columns="x"), shipped, rule).detail
    )
    assert "2 of 3 rows" in compare_frames("t", shipped.head(2), shipped, rule).detail
    assert (
        compare_frames("t", shipped.head(2), shipped, Tolerance(keys=("layer",), rows=0.6)).state
        == "within"
    )


def test_a_run_is_held_against_a_reference_folder(
    tiny_run, tiny_copy: Workspace, tmp_path, capsys, monkeypatch
):
    results = ["verify", "--results", "--workspace", str(tiny_copy.root), "--reference"]
    assert main([*results, str(tiny_run.figures), "--json", str(tmp_path / "v.json")]) == 0
    out = capsys.readouterr().out
    assert (
        "identical" in out
        and "none failed" in out
        and read_json(tmp_path / "v.json")["failed"] == []
    )
    claims = read_json(tiny_copy.figures / "claims.json")
    claims["claims"][0]["verdict"] = "made up"
    write_json(tiny_copy.figures / "claims.json", claims)
    (tiny_copy.figures / "tables" / "table2_sae_quality.csv").unlink()
    assert main([*results, str(tiny_run.figures)]) == 1
    out = capsys.readouterr().out
    assert "ctx-count: made up here" in out and "table2_sae_quality.csv is not there" in out
    assert main([*results, str(tmp_path)]) == 2
    assert "has no tables. Name a paper_figures folder" in capsys.readouterr().err


def test_shipped_results_of_a_checkout_come_from_git_not_from_the_overwritten_files(tmp_path):
    import subprocess

    root = tmp_path / "clone"
    (root / "paper_figures" / "tables").mkdir(parents=True)
    (root / "paper_figures" / "tables" / "t.csv").write_text("a\n1\n")
    write_json(root / "paper_figures" / "claims.json", {"dataset": "demo", "claims": []})

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(
            ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True
        )

    git("init")
    assert compare._from_git(root) is None
    git("add", ".")
    git("commit", "-m", "a")
    (root / "paper_figures" / "tables" / "t.csv").write_text("a\n2\n")
    tables, claims, where = compare._from_git(root)
    assert (
        tables == {"t": b"a\n1\n"} and claims["dataset"] == "demo" and where.startswith("revision ")
    )
    here = shipped_results(create_workspace(tmp_path / "elsewhere"))
    assert here is not None and set(here[0]) >= {"table1_context_features"}
    assert (
        compare_claims(Workspace(root), {"claims": [{"id": "x", "verdict": "supported"}]}).state
        == "unlike"
    )


def test_another_processor_may_give_other_numbers_but_not_other_tables(
    tiny_run: Workspace, tiny_copy: Workspace
) -> None:
    def states() -> dict[str, str]:
        return {check.name: check.state for check in checks.shipped(tiny_copy, tiny_run.figures)}

    path = tiny_copy.figures / "claims.json"
    here = read_json(path)
    here["claims"][0]["verdict"] = "made up"
    write_json(path, here)
    assert states()["claims"] == "failed", "the same processor gives the same verdicts"
    write_json(path, here | {"processor": "another"})
    assert states()["claims"] == "differs"
    (tiny_copy.figures / "tables" / "table2_sae_quality.csv").unlink()
    assert states()["table2_sae_quality"] == "failed"
    assert "failed" not in {
        state for name, state in states().items() if name != "table2_sae_quality"
    }


def test_the_command_reports_every_check_and_fails_with_one(
    tiny_copy: Workspace, capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr(
        checks, "tiny_run", lambda _: checks.Check("tiny run", "failed", "stage sae: no", "mend it")
    )
    assert main(["verify", "--workspace", str(tiny_copy.root)]) == 1
    out = capsys.readouterr().out
    for name in (
        "packages",
        "programs",
        "room",
        "device",
        "arithmetic",
        "data",
        "tiny run",
        "records",
    ):
        assert f" {name} " in out
    assert "-> mend it" in out and "1 of " in out
    empty = create_workspace(tmp_path / "empty")
    assert main(["verify", "--results", "--workspace", str(empty.root)]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_a_stage_that_breaks_is_named_by_the_tiny_run(monkeypatch):
    def broken(workspace, on_stage):
        on_stage("tracks")
        raise ValueError("no such\nthing")

    monkeypatch.setattr(checks, "run_all", broken)
    check = checks.tiny_run(STUDY)
    assert check.state == "failed" and check.seen == "stage tracks: ValueError: no such thing"


def test_parity_fixtures_of_any_study_are_computed_again(shared: Path, tmp_path: Path, capsys):
    """The original programs' values; one of them changed is found, and is status 1."""
    golden = shared / "golden"
    names = ("epibert_small.npz", "epibert_preproc.npz", "epibert_projections.npz")
    assert main(["verify", "--parity", *(str(golden / name) for name in names)]) == 0
    assert "0 of 14 arrays are beyond their tolerance" in capsys.readouterr().out
    with np.load(golden / "epibert_small.npz") as whole:
        arrays = dict(whole)
    arrays["output"] = arrays["output"] * 1.001
    np.savez(tmp_path / "another name.npz", **arrays)
    assert main(["verify", "--parity", str(tmp_path / "another name.npz")]) == 1
    out = capsys.readouterr().out
    assert "failed   output" in out and "1 of 7 arrays are beyond their tolerance" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"no archive", "is no parity fixture"),
        (b"{", "is no parity fixture"),
        (b'{"a": 1}', "holds no fixture of a known kind.*Known: EpiBERT"),
    ],
)
def test_what_is_no_fixture_is_refused_in_a_line(content, message, tmp_path: Path, capsys):
    path = tmp_path / ("x.json" if content and content[:1] == b"{" else "x.npz")
    if content is not None:
        path.write_bytes(content)
    assert main(["verify", "--parity", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and str(path) in error and "Traceback" not in error
