"""Reference: the tiny run of a study as this machine's processes made it. Its harvest, dictionaries,
codes and nulls again by each executor: the same bytes, also where a task is killed on the way."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest
from executor_bodies import __file__ as bodies

from petriscope.executors import config, local
from petriscope.executors.config import Settings
from petriscope.files import read_json
from petriscope.probe.harvest import open_layers
from petriscope.run import stage as stage_module
from petriscope.run.stage import run_stage
from petriscope.run.workspace import Workspace

QUICK = Settings(poll=0.5, settle=1, limit=4, memory_gb=2)
STAGES = {"dna": ("activations", "sae", "codes"), "chromatin": ("calibration", "label_shuffle")}


@pytest.fixture(
    params=[
        "processes",
        pytest.param("ray", marks=pytest.mark.ray),
        pytest.param("slurm", marks=pytest.mark.slurm),
    ]
)
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    path = [str(Path(bodies).parent), *(p for p in sys.path if p)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    if request.param == "processes":
        monkeypatch.setattr(local, "gpu_count", lambda: 2)
        monkeypatch.setattr(local, "several_gpus", lambda asked: True)
        yield QUICK
    elif request.param == "ray":
        with clusters.ray_cluster() as cluster:
            yield dataclasses.replace(QUICK, executor="ray", address=cluster.address)
    else:
        (tmp_path / "slurm").mkdir()
        with clusters.slurm(tmp_path / "slurm"):
            yield dataclasses.replace(QUICK, executor="slurm")


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder by relative name."""
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


@pytest.mark.parametrize("study", STAGES)
def test_stages_write_the_same_bytes(
    study: str,
    settings: Settings,
    traced_tiny_runs: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = traced_tiny_runs(study)[0]
    shutil.copytree(made.root, tmp_path / "copy ü", symlinks=True)
    copy = Workspace(tmp_path / "copy ü")
    monkeypatch.setattr(stage_module, "choose", lambda asked: settings)
    for name in STAGES[study]:
        run_stage(name, copy)
        kept = read_json(copy.provenance(name))["executor"]
        assert kept["name"] == settings.executor
        if (settings.executor, name) != ("local", "activations"):  # one machine writes one file
            assert len(kept["processors"]) == 1
            engines = {task["engine"] for task in kept["tasks"]}
            assert engines == {settings.executor}
        assert not copy.tasks(name).exists()
        if name != "activations":
            assert files(copy.table(name)) == files(made.table(name))
        assert copy.metrics(name).read_bytes() == made.metrics(name).read_bytes()
    if "activations" in STAGES[study]:
        there, here = open_layers(copy.activations), open_layers(made.activations)
        assert there.keys() == here.keys()
        for layer, store in here.items():
            assert np.asarray(there[layer]).tobytes() == np.asarray(store).tobytes()
            assert there[layer].shape == store.shape
    assert config  # the user's own file is not read
