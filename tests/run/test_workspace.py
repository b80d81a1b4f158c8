"""Workspaces and the graph: DVC itself (as a library of truth) parses the shipped dvc.yaml in a
stand-alone workspace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.run.params import load_params
from petriscope.run.workspace import create_workspace, find_workspace

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_workspace_is_complete_and_keeps_edits(tmp_path):
    root = tmp_path / "my run ü"
    workspace = create_workspace(root, tmp_path / "data set")
    assert load_params(workspace.params).dataset == str(tmp_path / "data set")
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("seed: 17", "seed: 18"))
    (root / "claims.yaml").write_text("claims: []\n")
    create_workspace(root, tmp_path / "other")
    assert "ctx-count" in (root / "claims.yaml").read_text()
    params = load_params(workspace.params)
    assert (params.seed, params.dataset) == (18, str(tmp_path / "other"))
    assert find_workspace(root / "results" if (root / "results").exists() else root).root == root
    with pytest.raises(UserError, match=r"no params.yaml and dvc.yaml here or above"):
        find_workspace(tmp_path)


def test_every_stage_has_a_module_of_its_name_and_dvc_accepts_the_graph(tmp_path):
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    folders = ("src/petriscope/studies/chromatin/stages", "src/petriscope/stages")
    modules = [p.stem for folder in folders for p in (REPOSITORY / folder).glob("[!_]*.py")]
    assert sorted(stages) == sorted(modules)
    assert all(stage["cmd"] == f"petriscope stage {name}" for name, stage in stages.items())
    workspace = create_workspace(tmp_path / "w", tmp_path)
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    listed = subprocess.run(
        command, cwd=workspace.root, capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed == list(stages)


def test_parameters_reach_exactly_the_stages_that_read_them():
    """What the README promises: cds.alpha leaves the autoencoders alone, sae.k leaves the harvest
    alone."""
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]

    def outs(name: str) -> set[str]:
        entries = [*stages[name].get("outs", []), *stages[name].get("metrics", [])]
        return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}

    def affected(key: str) -> set[str]:
        section = key.split(".", maxsplit=1)[0]
        found = {
            n
            for n, s in stages.items()
            if section in s.get("params", []) or key in s.get("params", [])
        }
        while True:
            produced = set().union(*(outs(name) for name in found)) if found else set()
            more = {
                name
                for name, stage in stages.items()
                for dep in stage["deps"]
                if any(dep == out or dep.startswith(f"{out}/") for out in produced)
            }
            if more <= found:
                return found
            found |= more

    by_alpha = affected("cds.alpha")
    assert {
        "cds",
        "ablation",
        "steering",
        "foregrounds",
        "motifs",
        "claims",
        "figures",
        "atlas",
    } <= by_alpha
    assert by_alpha.isdisjoint({"windows", "tracks", "model", "activations", "sae", "codes"})
    by_k = affected("sae.k")
    assert {"sae", "codes", "cds"} <= by_k and by_k.isdisjoint(
        {"windows", "tracks", "model", "activations"}
    )
    assert affected("figures.dpi") == {"figures"}


def test_a_mistake_is_one_line_and_status_2(tmp_path, capsys, monkeypatch):
    workspace = create_workspace(tmp_path / "w", tmp_path)
    monkeypatch.chdir(workspace.root)
    assert main(["stage", "wndows"]) == 2
    assert "no stage 'wndows'" in capsys.readouterr().err
    assert main(["stage", "windows"]) == 2
    assert "holds no dataset.yaml" in capsys.readouterr().err
    assert main(["stage", "claims"]) == 2
    capsys.readouterr()
    assert main(["stage", "activations"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "windows.parquet: stage activations needs this file, which no stage has written" in error
    assert main(["stage", "codes"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "results/activations: holds no activations. Run `petriscope stage activations`" in error
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("  alpha:", "  alhpa:"))
    capsys.readouterr()
    assert main(["reproduce"]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1 and "cds.alhpa: is not a parameter. Did you mean cds.alpha?" in error
    )


def test_a_stranger_is_told_where_to_start(capsys, monkeypatch):
    assert main([]) == 2
    assert "first steps:\n  petriscope reproduce" in capsys.readouterr().err
    assert main(["reproducee"]) == 2
    assert (
        capsys.readouterr().err
        == "petriscope: reproducee: is not a verb. Did you mean reproduce?\n"
    )
    assert main(["xyz"]) == 2
    assert "Verbs: reproduce, stage," in capsys.readouterr().err
    monkeypatch.delenv("TEXTUAL_DRIVER", raising=False)
    assert main(["tui"]) == 2
    assert "needs a terminal. Run it in one, with `docker run -it`" in capsys.readouterr().err


def test_module_and_command_are_one():
    result = subprocess.run(
        [sys.executable, "-m", "petriscope", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("petriscope ")


def test_a_full_disk_is_one_line_and_leaves_earlier_outputs(tmp_path, capsys, monkeypatch):
    """numpy's own error for a full disk carries no errno; the earlier file stays whole."""
    import numpy as np

    from petriscope.commands import stage
    from petriscope.files import write_npy

    target = tmp_path / "a.npy"
    write_npy(target, np.arange(3))

    def full(*_args, **_kwargs):
        raise OSError("Not enough free space to write 89063424 bytes after offset 128")

    monkeypatch.setattr(np, "save", full)
    monkeypatch.setattr(stage, "run_stage", lambda *_: write_npy(target, np.arange(9)))
    monkeypatch.setattr(stage, "workspace_of", lambda _: None)
    assert main(["stage", "any"]) == 1
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "the disk is full. Free space and run the same command again" in error
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"] and len(np.load(target)) == 3
