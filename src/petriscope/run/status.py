"""A stage's status is what it is (up to date, changed, never run) and why, from dvc.yaml, dvc.lock
and the files themselves; with it goes what the stage is for and what it found, read as it lies. No
numpy is loaded for it."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from petriscope.errors import UserError
from petriscope.run.dvc import Hasher
from petriscope.run.graph import Graph, Stage, load_yaml, lookup
from petriscope.run.params import study_of
from petriscope.run.studies import DEFAULT, find_study

State = Literal["up_to_date", "changed", "upstream", "never_run", "missing", "unknown"]


@dataclass(frozen=True)
class StageStatus:
    """State of one stage; ``reasons`` say what changed, one line each, most telling first."""

    name: str
    state: State
    reasons: tuple[str, ...] = ()


def pipeline_status(root: Path, graph: Graph, hasher: Hasher) -> Iterator[StageStatus]:
    """Status per stage in running order; a stage with a stale one above it is ``upstream`` unless
    it changed itself."""
    lock = _lock(root)
    stale: set[str] = set()
    for name, stage in graph.stages.items():
        status = (
            _data(root, stage, hasher)
            if stage.is_data
            else _one(root, stage, lock.get(name), hasher)
        )
        above = [need for need in graph.needs[name] if need in stale]
        if status.state == "up_to_date" and above:
            status = StageStatus(name, "upstream", (f"after {', '.join(above)}",))
        if status.state != "up_to_date":
            stale.add(name)
        yield status


def _lock(root: Path) -> dict[str, Any]:
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    raw = load_yaml(path)
    return dict((raw or {}).get("stages") or {})


def _one(root: Path, stage: Stage, lock: dict[str, Any] | None, hasher: Hasher) -> StageStatus:
    if lock is None:
        return StageStatus(stage.name, "never_run", ("never run",))
    reasons: list[str] = []
    if stage.frozen:
        return StageStatus(stage.name, "up_to_date", ("frozen",))
    if stage.always:
        reasons.append("declared always_changed")
    locked_cmd = lock.get("cmd")
    if ("\n".join(locked_cmd) if isinstance(locked_cmd, list) else locked_cmd) != stage.cmd:
        reasons.append(f"command changed: {locked_cmd} -> {stage.cmd}")
    reasons += _params(root, stage, lock.get("params") or {})
    reasons += _files("dependency", stage.deps, lock.get("deps") or [], hasher)
    absent = [out.path for out in stage.outs if not (root / out.path).exists()]
    if absent:
        return StageStatus(
            stage.name, "missing", tuple([f"output missing: {path}" for path in absent] + reasons)
        )
    reasons += _files(
        "output", tuple(out.path for out in stage.outs), lock.get("outs") or [], hasher
    )
    return StageStatus(stage.name, "changed" if reasons else "up_to_date", tuple(reasons))


def _data(root: Path, stage: Stage, hasher: Hasher) -> StageStatus:
    """A .dvc file: is the data there, is it the data recorded?"""
    recorded = (load_yaml(root / stage.name) or {}).get("outs", [])
    reasons = _files("data", tuple(out.path for out in stage.outs), recorded, hasher)
    absent = [r for r in reasons if r.endswith("missing")]
    return StageStatus(
        stage.name, "missing" if absent else "changed" if reasons else "up_to_date", tuple(reasons)
    )


def _params(root: Path, stage: Stage, locked: dict[str, Any]) -> list[str]:
    reasons = []
    for file, keys in stage.params:
        try:
            values = load_yaml(root / file)
        except UserError as error:
            reasons.append(str(error))
            continue
        before = locked.get(file) or {}
        for key in keys or tuple(values or {}):
            found, value = lookup(values, key)
            if not found:
                reasons.append(f"parameter {key} is missing from {file}")
            elif key not in before:
                reasons.append(f"parameter {key} is new")
            elif before[key] != value:
                reasons += [f"parameter {line}" for line in differences(key, before[key], value)]
    return reasons


def differences(key: str, before: Any, after: Any) -> list[str]:
    """``key: old -> new`` for every leaf that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                lines += differences(
                    f"{key}.{name}" if key else str(name), before.get(name), after.get(name)
                )
        return lines
    return [f"{key}: {before} -> {after}"]


def _files(
    what: str, paths: tuple[str, ...], locked: list[dict[str, Any]], hasher: Hasher
) -> list[str]:
    known = {str(item.get("path")): item.get("md5") for item in locked}
    reasons = []
    for path in paths:
        if path not in known:
            reasons.append(f"{what} {path} is new")
            continue
        try:
            found = hasher.path(path)
        except PermissionError as error:
            reasons.append(f"{what} {path} cannot be read: {error.strerror}, {error.filename}")
            continue
        if found is None:
            reasons.append(f"{what} {path} is missing")
        elif known[path] is not None and found != known[path]:
            reasons.append(f"{what} {path} changed")
    gone = [path for path in known if path not in paths]
    return reasons + [f"{what} {path} is no longer used" for path in gone]


def purpose(stage: str, root: Path | None = None) -> str:
    """What a stage is for: the first paragraph of its module's docstring, as one line, without
    importing it; empty where there is none. ``root``: the workspace (default: of the default
    study)."""
    try:
        study = find_study(DEFAULT) if root is None else study_of(root / "params.yaml")
        found = importlib.util.find_spec(study.stage(stage))
        text = (
            ast.get_docstring(
                ast.parse(Path(str(found and found.origin)).read_text(encoding="utf-8"))
            )
            or ""
        )
    except (UserError, OSError, SyntaxError):
        return ""
    return " ".join(text.partition("\n\n")[0].split()).removeprefix(f"Stage {stage}: ")


def control_stages(graph: Graph) -> list[str]:
    """Stages that could kill a claim, as dvc.yaml marks them (``meta: {control: true}``)."""
    return [name for name, stage in graph.stages.items() if stage.control]


def metrics(root: Path, stage: str) -> dict[str, Any] | None:
    """``results/metrics/STAGE.json``, or None where the stage has not run or the file is broken."""
    try:
        found = json.loads(
            (root / "results" / "metrics" / f"{stage}.json").read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, scalar or list of scalars) of every entry, in order."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            yield from flat({str(i): item for i, item in enumerate(value)}, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def headline(values: dict[str, Any]) -> str:
    """A share or fraction that a stage reports, else the first number."""
    entries = flat(values)
    for name, value in sorted(entries, key=lambda e: not e[0].endswith(("fraction", "share"))):
        numbers = value if isinstance(value, list) else [value]
        if numbers and all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers):
            return f"{name} {' '.join(f'{x:.3g}' for x in numbers)}"
    return ""


def tables(root: Path, stage: str) -> Sequence[Path]:
    """The stage's tables that can be read as text."""
    return sorted((root / "results" / stage).glob("*.csv"))


def recorded_seconds(root: Path) -> dict[str, float]:
    """Seconds each stage took when it last ran, from its own provenance record."""
    result = {}
    for path in (root / "results" / "provenance").glob("*.json"):
        try:
            seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(seconds, int | float):
            result[path.stem] = float(seconds)
    return result
