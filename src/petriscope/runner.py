"""Run one stage: check parameters, call its body, write metrics and the provenance record beside the outputs."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError
from petriscope.files import sha256, write_json
from petriscope.params import Params, load_params
from petriscope.pipeline.snapshot import refresh_code
from petriscope.workspace import Workspace

PACKAGES = ("torch", "numpy", "scipy", "pandas", "statsmodels", "pybedtools", "gseapy", "dvc", "safetensors")


def stage_names(workspace: Workspace) -> list[str]:
    """Stages in the order dvc.yaml lists them."""
    return list(yaml.safe_load((workspace.root / "dvc.yaml").read_text())["stages"])


def run_stage(name: str, workspace: Workspace) -> dict[str, Any]:
    """Run stage ``name`` in ``workspace`` and return its metrics. Raises `UserError` for an unknown stage."""
    names = stage_names(workspace)
    if name not in names:
        raise UserError(f"no stage {name!r}", file=workspace.root / "dvc.yaml", remedy=f"Stages: {', '.join(names)}.")
    refresh_code(workspace.root)
    params = load_params(workspace.params)
    body = importlib.import_module(f"petriscope.stages.{name}")
    set_threads()
    started = time.time()
    try:
        metrics = body.run(workspace, params)
    except FileNotFoundError as error:
        missing = Path(error.filename or "")
        if workspace.root not in missing.parents:
            raise
        remedy = "Run `petriscope reproduce`, or the stage that writes it."
        raise UserError(
            f"stage {name} needs this file, which no stage has written yet", file=missing, remedy=remedy
        ) from None
    write_json(workspace.metrics(name), metrics)
    write_json(workspace.provenance(name), _record(name, workspace, params, time.time() - started))
    return metrics


def set_threads() -> int:
    """Threads of torch: `OMP_NUM_THREADS`, else one (see the command line)."""
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    return threads


def git_revision(folder: Path) -> str:
    """Short revision of the source tree, `-dirty` if tracked files differ.

    Outside git (a container, an unpacked archive) what `PETRISCOPE_REVISION` says, else `unknown`.
    """
    stated = os.environ.get("PETRISCOPE_REVISION") or "unknown"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return stated
    return result.stdout.strip() or stated


def peak_memory_bytes() -> int:
    """Largest resident set of this process and of its finished children."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib * 1024


def _record(name: str, workspace: Workspace, params: Params, seconds: float) -> dict[str, Any]:
    """Who made the outputs of a stage: hashes of inputs and outputs come from dvc.lock, written after the stage."""
    stage = yaml.safe_load((workspace.root / "dvc.yaml").read_text())["stages"][name]
    outputs = [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", [])]
    small = [workspace.root / out for out in outputs]
    return {
        "stage": name,
        "command": f"petriscope stage {name}",
        "revision": git_revision(Path(__file__).resolve().parent),
        "params": dataclasses.asdict(params),
        "params_digest": params.digest(),
        "inputs": [str(dep) for dep in stage.get("deps", [])],
        "outputs": {
            str(path.relative_to(workspace.root)): sha256(path)
            for path in small
            if path.exists() and _size(path) < 2**28
        },
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": params.device,
        "seconds": round(seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "argv": sys.argv[1:],
    }


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
