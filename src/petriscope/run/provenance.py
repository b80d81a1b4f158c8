"""A provenance record says how one stage ran: inputs and outputs with their SHA-256, parameters,
revision, versions, machine, cost. Digests are remembered by inode, time and size, so that
gigabytes are read once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from petriscope.executors import LOCAL, Executor, plans
from petriscope.files import combined, sha256, write_json
from petriscope.machine import COMPILED, cpu_model, source_digest
from petriscope.run.graph import Graph, Stage, load_graph, lookup
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace

DIGESTS = Path("results") / "cache" / "digests.json"


class Digests:
    """Digests of paths below one workspace. ``remember=False`` reads every byte anew (to check, not
    to record)."""

    def __init__(self, root: Path, *, remember: bool = True) -> None:
        self.root, self.remember = root, remember
        self._known: dict[str, list[int | str]] = _remembered(root / DIGESTS) if remember else {}

    def files(self, path: Path) -> dict[str, str]:
        """Digest of every file of a folder by relative name ("" for a single file); nothing there:
        empty."""
        if path.is_file():
            return {"": self._file(path)}
        found = sorted(p for p in path.rglob("*") if p.is_file() and COMPILED not in p.parts)
        return {item.relative_to(path).as_posix(): self._file(item) for item in found}

    def _file(self, path: Path) -> str:
        if not self.remember:
            return sha256(path)
        status = path.stat()
        stamp: list[int | str] = [status.st_ino, status.st_mtime_ns, status.st_size]
        known = self._known.get(str(path))
        if known is None or known[:3] != stamp:
            known = self._known[str(path)] = [*stamp, sha256(path)]
        return str(known[3])

    def save(self) -> None:
        """Keep the digests for the next stage; a folder that cannot be written costs time, nothing
        else."""
        if self.remember:
            with contextlib.suppress(OSError):
                write_json(self.root / DIGESTS, self._known)


def _remembered(path: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "statsmodels",
    "pybedtools",
    "gseapy",
    "dvc",
    "safetensors",
)
FORMAT = 2
"""of the record; 1 had no input hashes"""


class Recorder:
    """Takes the inputs' hashes before a stage runs and writes the record after it."""

    def __init__(self, name: str, workspace: Workspace, params: Params) -> None:
        self.workspace, self.params = workspace, params
        self.graph: Graph = load_graph(workspace.root)
        self.stage: Stage = self.graph.stages[name]
        self.digests = Digests(workspace.root)
        made = {
            out.path
            for stage in self.graph.stages.values()
            if not stage.is_data
            for out in stage.outs
        }
        self.inputs = {
            path: self._entry(
                path, list_files=not any(path == out or path.startswith(f"{out}/") for out in made)
            )
            for path in self.stage.deps
        }

    def inputs_digest(self) -> str:
        """One digest of all that the stage reads: files and parameters."""
        read = {path: entry["sha256"] for path, entry in self.inputs.items()}
        text = json.dumps([read, self._params_used()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _params_used(self) -> dict[str, Any]:
        values = dataclasses.asdict(self.params)
        return {key: lookup(values, key)[1] for _, keys in self.stage.params for key in keys}

    def write(self, seconds: float, executor: Executor = LOCAL) -> None:
        """Write results/provenance/STAGE.json; ``executor`` ran the stage's tasks."""
        own = self.workspace.provenance(self.stage.name).relative_to(self.workspace.root).as_posix()
        values = dataclasses.asdict(self.params)
        record = {
            "format": FORMAT,
            "stage": self.stage.name,
            "command": self.stage.cmd,
            "argv": sys.argv[1:],
            "revision": source_revision(),
            "source": source_digest(),
            "params_used": self._params_used(),
            "params": values,
            "params_digest": self.params.digest(),
            "inputs": self.inputs,
            "outputs": {
                out.path: self._entry(out.path) for out in self.stage.outs if out.path != own
            },
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
            "tools": {"bedtools": tool_version("bedtools")},
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpu": cpu_model(),
            "device": device_name(self.params.device),
            "threads": os.environ.get("OMP_NUM_THREADS", "1"),
            "executor": ran_by(executor),
            "seconds": round(seconds, 2),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(self.workspace.provenance(self.stage.name), record)
        self.digests.save()

    def _entry(self, relative: str, *, list_files: bool = True) -> dict[str, Any]:
        """Digest, size and (for a folder) files of a path; a digest of None says that it was not
        there."""
        path = self.workspace.root / relative
        files = self.digests.files(path)
        if not files:
            return {"sha256": None, "bytes": 0}
        size = sum((path / name if name else path).stat().st_size for name in files)
        entry: dict[str, Any] = {"sha256": combined(files), "bytes": size}
        if list_files and path.is_dir():
            entry["files"] = files
        return entry


@functools.cache
def source_revision() -> str:
    """Short revision of the checkout the package runs from, `-dirty` if its own files differ from
    it.

    `unknown` outside git, for an installed package that merely lies inside somebody's repository,
    and where git refuses (a checkout of another owner); `source_digest` identifies the code even
    then.
    """
    package = Path(__file__).resolve().parents[1]
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return os.environ.get("PETRISCOPE_REVISION", "unknown")
    revision = _git(package, "rev-parse", "--short=10", "HEAD") or "unknown"
    return (
        revision
        if _git(package, "diff", "--quiet", "HEAD", "--", ".") is not None
        else f"{revision}-dirty"
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None where it fails or git is absent."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@functools.cache
def tool_version(program: str) -> str | None:
    """What ``program --version`` says, None where it is missing."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, check=False)
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)+", result.stdout.decode(errors="replace"))
    return found[0] if found else None


def ran_by(executor: Executor) -> dict[str, Any]:
    """Who ran the tasks of a stage: engine, hosts, kinds of processor, and each task.

    Several kinds are told to the user: results are the same bytes on processors of one kind.
    """
    notes = plans.notes_in(executor.folder)
    tasks = [task for call in notes.values() for task in call["tasks"]]
    kinds = sorted({str(task["cpu"]) for task in tasks})
    if len(kinds) > 1:
        told = f"its tasks ran on {len(kinds)} kinds of processor ({'; '.join(kinds)})"
        print(f"petriscope: {told}: on another mixture the last bits may differ", file=sys.stderr)
    return {
        "name": executor.name,
        "hosts": sorted({str(task["host"]) for task in tasks}),
        "processors": kinds,
        "lost": sum(call["lost"] for call in notes.values()),
        "retried": sum(call["retried"] for call in notes.values()),
        "tasks": tasks,
    }


def device_name(asked: str) -> str:
    """The device a run computes on: `cpu`, or `cuda` with the card's name."""
    import torch

    if asked == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda ({torch.cuda.get_device_name()})"


def peak_memory_bytes() -> int:
    """Largest resident set of this process and of its finished children."""
    kib = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return kib * 1024
