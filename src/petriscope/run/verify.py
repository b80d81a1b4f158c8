"""`petriscope verify` makes these checks: each looks at one thing and says what it saw and what to
do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.machine import cpu_model
from petriscope.run.chain import Records, trace
from petriscope.run.compare import (
    Comparison,
    compare_claims,
    compare_intervals,
    compare_tables,
    shipped_results,
)
from petriscope.run.dvc import Hasher, cache_folder, damaged_copies
from petriscope.run.graph import load_yaml
from petriscope.run.params import load_params
from petriscope.run.provenance import Digests, tool_version
from petriscope.run.stage import run_all
from petriscope.run.studies import Study
from petriscope.run.workspace import Workspace

State = Literal["ok", "failed", "skipped", "differs"]
"""*differs*: as it may, for the reason given; not a failure."""
INSTALL = "apt-get install"
DISK, MEMORY = 6e9, 4e9
"""bytes that a run of the demo needs (measured: 2.4 GB of results kept and cached once more, 3.5 GB
of memory)"""


@dataclass(frozen=True)
class Check:
    """One line of the table; ``remedy`` says what to do where the state is not ok."""

    name: str
    state: State
    seen: str
    remedy: str = ""


def packages() -> Check:
    """Python and every declared dependency against its declared range."""
    try:
        metadata = importlib.metadata.metadata("petriscope")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "packages",
            "failed",
            "petriscope is not installed",
            "Run `pip install -e .` in the checkout.",
        )
    wrong = []
    wanted = SpecifierSet(metadata["Requires-Python"] or "")
    if platform.python_version() not in wanted:
        wrong.append(f"Python {platform.python_version()} is outside {wanted}")
    requirements = [Requirement(text) for text in importlib.metadata.requires("petriscope") or []]
    requirements = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in requirements:
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is outside {requirement.specifier}")
    if wrong:
        return Check(
            "packages",
            "failed",
            "; ".join(wrong),
            "Run `pip install -e .` (or install the versions named).",
        )
    versions = f"torch {torch.__version__}, dvc {importlib.metadata.version('dvc')}"
    return Check(
        "packages",
        "ok",
        f"Python {platform.python_version()}, {len(requirements)} packages, {versions}",
    )


def programs() -> Check:
    """bedtools and samtools, which check our interval and BAM arithmetic; no stage calls them."""
    found = {name: tool_version(name) for name in ("bedtools", "samtools")}
    seen = ", ".join(f"{name} {version or 'absent'}" for name, version in found.items())
    absent = [name for name, version in found.items() if version is None]
    if not absent:
        return Check("programs", "ok", seen)
    remedy = (
        f"No stage needs them; the tests that compare with them: `{INSTALL} {' '.join(absent)}`."
    )
    return Check("programs", "skipped", seen, remedy)


def room(workspace: Workspace) -> Check:
    """Disk and memory for a run of the demo; a workspace that can be written."""
    free = shutil.disk_usage(workspace.root).free
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    seen = f"{free / 1e9:.0f} GB of disk free, {memory / 1e9:.0f} GB of memory"
    if not os.access(workspace.root, os.W_OK):
        return Check(
            "room",
            "failed",
            f"{workspace.root} cannot be written",
            "Choose one with --workspace DIR.",
        )
    if free < DISK or memory < MEMORY:
        return Check(
            "room",
            "failed",
            seen,
            f"The demo needs {DISK / 1e9:.0f} GB of disk and {MEMORY / 1e9:.0f} GB of memory.",
        )
    return Check("room", "ok", seen)


def device(workspace: Workspace) -> Check:
    """The device of params.yaml computes."""
    try:
        name = choose_device(load_params(workspace.params).device)
        torch.ones(2, device=name).sum().item()
    except UserError as error:
        return Check(
            "device", "failed", str(error), "Set `device: cpu` (or `auto`) in params.yaml."
        )
    except RuntimeError as error:
        return Check(
            "device",
            "failed",
            str(error).splitlines()[0],
            "Install a CUDA driver that fits torch, or set `device: cpu` in params.yaml.",
        )
    card = f", {torch.cuda.get_device_name()}" if name == "cuda" else ""
    return Check("device", "ok", f"{name}{card}; {cpu_model()}")


def arithmetic(study: Study) -> Check:
    """The study's model on built-in weights against an independent implementation's values."""
    if study.parity is None:
        return Check("arithmetic", "skipped", f"study {study.name} holds no reference values")
    found = study.parity()
    seen = (
        f"{found.model} off the reference by {found.error:.1e} of its norm "
        f"(allowed {found.allowed:.0e})"
    )
    if not found.error <= found.allowed:
        return Check(
            "arithmetic", "failed", seen, "Reinstall torch; report the processor if it persists."
        )
    return Check("arithmetic", "ok", seen)


def data(workspace: Workspace) -> Check:
    """The demo, where the workspace pins it, byte for byte."""
    pin = workspace.root / "data.dvc"
    if not pin.is_file():
        return Check("data", "skipped", "this workspace pins no data (no data.dvc)")
    pinned = load_yaml(pin)["outs"][0]
    path = workspace.root / pinned["path"]
    if not path.exists():
        return Check(
            "data",
            "skipped",
            f"{pinned['path']} is not made yet",
            "`petriscope reproduce` makes it.",
        )
    found = Hasher(workspace.root).path(pinned["path"])
    if found != pinned["md5"]:
        remedy = (
            f"Remove {pinned['path']} and run `petriscope data demo`, or name another data set in "
            "params.yaml."
        )
        return Check(
            "data", "failed", f"{pinned['path']} is not the data that data.dvc pins", remedy
        )
    return Check("data", "ok", f"{pinned['path']}: {pinned['nfiles']} files as pinned")


def tiny_run(study: Study) -> Check:
    """Every stage of the graph on the tiny data set, in a folder that is thrown away."""
    started, stage = time.time(), "data"

    def on_stage(name: str) -> None:
        nonlocal stage
        stage = name

    with tempfile.TemporaryDirectory(prefix="petriscope-verify-") as folder:
        try:
            workspace = study.tiny(Path(folder) / "tiny run")
            names = run_all(workspace, on_stage)
            verdicts = len(read_json(workspace.figures / "claims.json")["claims"])
            held = Records(workspace)
            wrong = [p for name in names for p in trace(workspace, name, held).problems()]
        except Exception as error:  # whatever a stage throws is what this check is there to report
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return Check(
                "tiny run",
                "failed",
                f"stage {stage}: {why}",
                "Do what the lines above advise; where they advise nothing, report this.",
            )
    if wrong:
        return Check(
            "tiny run",
            "failed",
            f"{wrong[0].path}: {wrong[0].state} ({wrong[0].detail})",
            "Report this.",
        )
    return Check(
        "tiny run",
        "ok",
        f"{len(names)} stages, {verdicts} claims judged, {time.time() - started:.0f} s",
    )


def records(workspace: Workspace) -> Check:
    """A finished run: every output is what its stage's record says, and was made from what lies
    there now."""
    held = Records(workspace, Digests(workspace.root, remember=False))
    absent = [name for name, record in held.records.items() if record is None]
    if len(absent) == len(held.records):
        return Check("records", "skipped", "nothing has run here yet", "`petriscope reproduce`")
    if absent:
        return Check(
            "records", "failed", f"no record of {', '.join(absent)}", "Run `petriscope reproduce`."
        )
    wrong = {}
    for name, record in held.records.items():
        assert record is not None
        for path in [*record["inputs"], *record["outputs"]]:
            inputs = record["inputs"] if path in record["inputs"] else None
            source = held.source(path, name, inputs)
            if source.state != "as recorded":
                wrong[path] = f"{path}: {source.state} ({source.detail})"
    if wrong:
        shown = "; ".join(list(wrong.values())[:3]) + (
            f"; {len(wrong) - 3} more" if len(wrong) > 3 else ""
        )
        return Check(
            "records",
            "failed",
            shown,
            "Run `petriscope reproduce`; if it finds nothing to do, add --force.",
        )
    return Check("records", "ok", f"{len(held.records)} stages, every input and output as recorded")


def cached(workspace: Workspace) -> Check:
    """Every copy in DVC's cache, read anew: DVC itself restores a read-only one unread."""
    folder = cache_folder(workspace.root)
    if not folder.is_dir():
        return Check("cache", "skipped", "nothing is cached here yet")
    wrong = damaged_copies(workspace.root, Hasher(workspace.root, known={}))
    if wrong:
        remedy = f"Remove what is named below {folder} and run `petriscope reproduce`."
        names = ", ".join(path.relative_to(folder).as_posix() for path in wrong)
        return Check("cache", "failed", f"changed after DVC cached it: {names}", remedy)
    return Check("cache", "ok", "every copy holds the bytes of its name")


def shipped(workspace: Workspace, reference: Path | None = None) -> list[Check]:
    """A finished run's tables and verdicts against the shipped ones.

    A run that trains, on another processor than the shipped results came from, ends in another
    model: what is outside the tolerances then *differs* and has not failed. A run from released
    weights must keep to its tolerances on every processor. Tables that are missing or have other
    columns fail anywhere.
    """
    trained = load_params(workspace.params).released is None
    name = "shipped results"
    if not (workspace.figures / "claims.json").is_file():
        return [
            Check(name, "skipped", "this workspace has no results yet", "`petriscope reproduce`")
        ]
    found = shipped_results(workspace, reference)
    if found is None:
        remedy = "Name a folder with the shipped ones: --reference DIR."
        return [
            Check(
                name,
                "skipped",
                "the run has overwritten the shipped ones and git does not have them",
                remedy,
            )
        ]
    tables, claims, where = found
    here = read_json(workspace.figures / "claims.json")
    if claims["dataset"] != here["dataset"]:
        return [
            Check(
                name, "skipped", f"shipped for data set {claims['dataset']}, another one ran here"
            )
        ]
    compared = [
        *compare_tables(workspace, tables),
        compare_claims(workspace, claims),
        compare_intervals(workspace, claims),
    ]
    processors = [str(found.get("processor", "unknown")) for found in (here, claims)]
    remedies: dict[State, str] = {
        "ok": "",
        "differs": "Expected to move: processors round differently, and training amplifies it "
        "(docs/dvc.md); `petriscope reproduce --from released` must not move.",
        "failed": "See the release notes for other versions; rerun with --force; compare "
        "`petriscope provenance` on "
        "both sides.",
    }

    def check(item: Comparison) -> Check:
        state: State = "failed"
        if item.state in ("identical", "within"):
            state = "ok"
        elif item.state == "outside" and trained and processors[0] != processors[1]:
            state = "differs"
        return Check(item.name, state, f"{item.state}: {item.detail}", remedies[state])

    both = (
        processors[0]
        if processors[0] == processors[1]
        else f"{processors[0]}; shipped from {processors[1]}"
    )
    path = "trained here" if trained else "released weights"
    seen = f"{path}; compared with {where}; processor {both}"
    return [*map(check, compared), Check(name, "ok", seen)]


def installation(workspace: Workspace, *, quick: bool) -> Sequence[Callable[[], Check]]:
    """Checks of machine, installation and data, cheap ones first."""
    study = workspace.study
    checks = [
        packages,
        programs,
        lambda: room(workspace),
        lambda: device(workspace),
        lambda: arithmetic(study),
        lambda: data(workspace),
    ]
    return checks if quick else [*checks, lambda: tiny_run(study)]
