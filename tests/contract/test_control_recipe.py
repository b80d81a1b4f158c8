"""A newcomer adds a control by touching three files: the recipe of CONTRIBUTING.md, as a diff that is
applied to a copy of the sources and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from petriscope.run.graph import load_graph
from petriscope.run.status import control_stages
from petriscope.run.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
PATCH = REPOSITORY / "tests" / "fixtures" / "recipes" / "control.patch"
MOST = 3


def apply(folder: Path, *options: str) -> None:
    """The diff on the files below ``folder``, which lies in no repository."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", "-C1", *options, str(PATCH)]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the repository with the recipe followed to its end."""
    copy = tmp_path / "sources"
    for name in ("src", "tui", "tests"):
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("dvc.yaml", "params.yaml", "claims.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, copy / name)
    for study in ("dna", "cells"):
        (copy / "studies" / study).mkdir(parents=True)
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(REPOSITORY / "studies" / study / name, copy / "studies" / study / name)
    apply(copy)
    python(copy, "-m", "petriscope.run.contract", "--write", cwd=copy)
    return copy


def environment(sources: Path) -> dict[str, str]:
    path = os.pathsep.join(str(sources / name) for name in ("src", "tui"))
    return {**os.environ, "PYTHONPATH": path}


def python(sources: Path, *arguments: str, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(sources),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_control_is_added_by_touching_three_files(sources: Path, tiny_copy: Workspace) -> None:
    touched = re.findall(r"(?m)^diff --git a/(\S+)", PATCH.read_text())
    assert len(touched) <= MOST and {"dvc.yaml", "claims.yaml"} < set(touched)
    assert "split_half" in control_stages(load_graph(sources))
    of_stage = "split_half and (declared_code or declared_params)"
    said = python(
        sources, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_contract.py",
        "-k", of_stage, cwd=sources,
    )  # fmt: skip
    assert "..\x20" in said
    apply(tiny_copy.root, "--include=dvc.yaml", "--include=claims.yaml")
    for stage in ("split_half", "claims"):
        done = warm.run(["stage", stage], cwd=tiny_copy.root, env=environment(sources))
        assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(tiny_copy.metrics("split_half").read_text())
    assert found["untestable"] is None and all(0 <= x <= 1 for x in found["same_sign"])
    claims = json.loads((tiny_copy.figures / "claims.json").read_text())["claims"]
    shown = next(claim for claim in claims if claim["id"] == "ctx-count")["control_results"]
    assert "features whose sign holds on the other half of the blocks: " in shown
