"""Fixtures shared by all tests: the reference material beside the repository, where it exists."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage_trace import Trace, traced_run

from petriscope.run.studies import DEFAULT, find_study
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
def released_workspace(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the atlas that the authors of the comparative atlas released, imported."""
    from petriscope.atlas.build import build_atlas
    from petriscope.studies.cells.imported import released_atlas

    folder = tmp_path_factory.mktemp("released")
    tables = released_atlas(shared / "data/single_cell/published_atlas")
    build_atlas(folder / "results/atlas.sqlite", tables)
    return folder


TracedRun = tuple[Workspace, dict[str, Trace]]


@pytest.fixture(scope="session")
def traced_tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TracedRun]:
    """Study → the tiny run of all its stages, and what each stage opened, wrote and read; made when
    first asked for."""

    @functools.cache
    def made(study: str) -> TracedRun:
        workspace = find_study(study).tiny(tmp_path_factory.mktemp(f"tiny {study} ü") / "w")
        return workspace, traced_run(workspace, tmp_path_factory.mktemp("trace"))

    return made


@pytest.fixture(scope="session")
def traced_tiny_run(traced_tiny_runs: Callable[[str], TracedRun]) -> TracedRun:
    return traced_tiny_runs(DEFAULT)


@pytest.fixture(scope="session")
def tiny_run(traced_tiny_run: TracedRun) -> Workspace:
    """A workspace (space and umlaut in its path) in which every stage ran on the tiny data set.
    Copy it to change it."""
    return traced_tiny_run[0]


@pytest.fixture(scope="session")
def tiny_dna_run(traced_tiny_runs: Callable[[str], TracedRun]) -> Workspace:
    """The same of study dna."""
    return traced_tiny_runs("dna")[0]


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
