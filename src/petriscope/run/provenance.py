"""The provenance record of one stage: inputs and outputs with hashes, parameters, revision,
versions, machine, cost."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from petriscope.files import sha256, write_json
from petriscope.run.digests import COMPILED, Digests, combined
from petriscope.run.graph import Graph, Stage, load_graph, lookup
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace

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

    def write(self, seconds: float) -> None:
        """Write results/provenance/STAGE.json."""
        own = self.workspace.provenance(self.stage.name).relative_to(self.workspace.root).as_posix()
        values = dataclasses.asdict(self.params)
        record = {
            "format": FORMAT,
            "stage": self.stage.name,
            "command": self.stage.cmd,
            "argv": sys.argv[1:],
            "revision": source_revision(),
            "source": source_digest(),
            "params_used": {
                key: lookup(values, key)[1] for _, keys in self.stage.params for key in keys
            },
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
def source_digest() -> str:
    """SHA-256 over the package's own files, compiled ones left out."""
    package = Path(__file__).resolve().parents[1]
    found = [p for p in package.rglob("*") if p.is_file() and COMPILED not in p.parts]
    return combined({p.relative_to(package).as_posix(): sha256(p) for p in _sources(found)})


def _sources(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix in (".py", ".yaml", ".tsv", ".meme", ".json")]


@functools.cache
def tool_version(program: str) -> str | None:
    """What ``program --version`` says, None where it is missing."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, check=False)
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)+", result.stdout.decode(errors="replace"))
    return found[0] if found else None


@functools.cache
def cpu_model() -> str:
    """The processor's name and the vector instructions torch uses on it: what the last bits depend
    on."""
    import torch

    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"(?m)^model name\s*:\s*(.+)$", text)
    name = found[1].strip() if found else platform.processor() or "unknown"
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


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
