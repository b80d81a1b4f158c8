"""Fixtures shared by all tests: the reference material beside the repository, where it exists."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from stage_trace import Trace, traced_run

from petriscope.run.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference material (`../shared`): parity fixtures, real genomic data. Skips where
    it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("reference material ../shared is not on this machine")
    return folder


@pytest.fixture(scope="session")
def traced_tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Trace]]:
    from petriscope.studies.chromatin.tiny import tiny_workspace

    workspace = tiny_workspace(tmp_path_factory.mktemp("tiny run ü") / "w")
    return workspace, traced_run(workspace, tmp_path_factory.mktemp("trace"))


@pytest.fixture(scope="session")
def tiny_run(traced_tiny_run: tuple[Workspace, dict[str, Trace]]) -> Workspace:
    """A workspace (space and umlaut in its path) in which every stage ran on the tiny data set.
    Copy it to change it."""
    return traced_tiny_run[0]


@pytest.fixture(scope="session")
def tiny_traces(traced_tiny_run: tuple[Workspace, dict[str, Trace]]) -> dict[str, Trace]:
    """What each stage opened, wrote and read of params.yaml in that run."""
    return traced_tiny_run[1]


@pytest.fixture
def tiny_copy(tiny_run: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished tiny run that a test may damage."""
    shutil.copytree(tiny_run.root, tmp_path / "copy ü", symlinks=True)
    return Workspace(tmp_path / "copy ü")


@pytest.fixture(scope="session")
def notebook(tiny_run: Workspace) -> dict[str, Any]:
    """The names that the cells of docs/notebook.py leave behind on the tiny run, whose dictionaries
    are smaller; ``printed`` holds what they printed."""
    spec = importlib.util.spec_from_file_location("docs_generate", REPOSITORY / "docs/generate.py")
    reference = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = reference
    spec.loader.exec_module(reference)
    names: dict[str, Any] = {"printed": []}
    smaller = {'ps.open(".")': f"ps.open({str(tiny_run.root)!r})", "latents=192": "latents=32"}
    for cell in reference.read_cells():
        body = cell.body
        for line, mine in smaller.items():
            body = body.replace(line, mine)
        if cell.is_code:
            names["printed"].append(reference.run_cell(body, names))
    return names
