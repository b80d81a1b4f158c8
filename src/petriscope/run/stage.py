"""One stage is run: its parameters are checked, its body is called, metrics and the provenance
record are written beside the outputs."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError
from petriscope.executors import Executor, using
from petriscope.executors.config import choose
from petriscope.files import write_json
from petriscope.run.graph import load_graph
from petriscope.run.params import load_params
from petriscope.run.provenance import Recorder
from petriscope.run.snapshot import refresh_code
from petriscope.run.workspace import Workspace


def stage_names(workspace: Workspace) -> list[str]:
    """Stages in the order dvc.yaml lists them."""
    return list(yaml.safe_load((workspace.root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def run_stage(name: str, workspace: Workspace, executor: str | None = None) -> dict[str, Any]:
    """Run stage ``name`` in ``workspace`` and return its metrics: what its `run` returned, a
    mapping or a dataclass. ``executor``: who runs its tasks; None: whom the environment or the
    user's settings name. Raises `UserError` for an unknown stage."""
    settings = choose(executor)
    names = stage_names(workspace)
    if name not in names:
        raise UserError(
            f"no stage {name!r}",
            file=workspace.root / "dvc.yaml",
            remedy=f"Stages: {', '.join(names)}.",
        )
    refresh_code(workspace.root)
    params = load_params(workspace.params)
    body = importlib.import_module(workspace.study.stage(name))
    set_threads()
    recorder = Recorder(name, workspace, params)
    tasks = workspace.tasks(name)
    doing = Executor(settings.executor, tasks, recorder.inputs_digest(), settings)
    started = time.time()
    try:
        with using(doing):
            metrics = as_metrics(body.run(workspace, params))
    except FileNotFoundError as error:
        missing = Path(
            str(error.filename or next(iter(error.args), ""))
        )  # pyarrow gives the path as its only argument
        if workspace.root not in missing.parents:
            raise
        remedy = "Run `petriscope reproduce`, or the stage that writes it."
        raise UserError(
            f"stage {name} needs this file, which no stage has written yet",
            file=missing,
            remedy=remedy,
        ) from None
    write_json(workspace.metrics(name), metrics)
    recorder.write(time.time() - started, doing)
    shutil.rmtree(tasks, ignore_errors=True)
    return metrics


def as_metrics(found: Any) -> dict[str, Any]:
    """What a stage's `run` returned as plain entries: a dataclass by its fields, a mapping as it
    is."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return dataclasses.asdict(found)
    return dict(found)


def run_all(workspace: Workspace, on_stage: Callable[[str], None] = lambda name: None) -> list[str]:
    """Every stage of the workspace's graph in order, in this process; returns their names."""
    import torch

    names = [
        stage.name for stage in load_graph(workspace.root).stages.values() if not stage.is_data
    ]
    threads = torch.get_num_threads()
    for name in names:
        on_stage(name)
        run_stage(name, workspace)
    torch.set_num_threads(threads)
    return names


def set_threads() -> int:
    """Threads of torch: `OMP_NUM_THREADS`, else one (see the command line)."""
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    return threads
