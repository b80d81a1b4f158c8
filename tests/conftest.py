"""Fixtures shared by all tests: the reference material beside the repository, where it exists."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import json
import os
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
MOST_WORKERS = 4  # each holds a gigabyte


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Processes of `pytest -n auto`, which pyproject.toml asks for: one per core, none where files
    or single tests were named, since each takes seconds to start. `-n 0` switches them off."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # the plugin reads it
    named = [config.rootpath / word.partition("::")[0] for word in config.args]
    if all(path.is_file() for path in named) or config.getoption("capture") == "no":
        return 0
    workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    return workers if workers > 1 else 0


@pytest.fixture(scope="session")
def made_once(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Callable[[Path], None]], Path]:
    """The folder ``name`` as ``make`` fills it, made by whichever worker asks first, while the
    others wait. Nobody may write into it."""
    root = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):
        root = root.parent  # that of a worker lies in that of the run

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, whole = root / name, root / f"{name}.made"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return made


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
def traced_tiny_runs(
    made_once: Callable[[str, Callable[[Path], None]], Path],
) -> Callable[[str], TracedRun]:
    """Study → the tiny run of all its stages, and what each stage opened, wrote and read; made when
    first asked for."""

    def run(folder: Path, study: str) -> None:
        (folder / "trace").mkdir()
        traces = traced_run(find_study(study).tiny(folder / "w"), folder / "trace")
        seen = {
            stage: {part: sorted(names) for part, names in trace._asdict().items()}
            for stage, trace in traces.items()
        }
        (folder / "traces.json").write_text(json.dumps(seen))

    @functools.cache
    def made(study: str) -> TracedRun:
        folder = made_once(f"tiny {study} ü", functools.partial(run, study=study))
        seen = json.loads((folder / "traces.json").read_text())
        traces = {
            stage: Trace(**{part: frozenset(names) for part, names in one.items()})
            for stage, one in seen.items()
        }
        return Workspace(folder / "w"), traces

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
