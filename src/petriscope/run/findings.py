"""What stages found, read as it lies: purpose of a stage, its metrics, its tables; no
numpy is loaded for it."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.run.graph import Graph
from petriscope.run.params import study_of
from petriscope.run.studies import DEFAULT, find_study


def purpose(stage: str, root: Path | None = None) -> str:
    """What a stage is for: the first paragraph of its module's docstring, as one line, without
    importing it; empty where there is none. ``root``: the workspace (default: of the default
    study)."""
    try:
        study = find_study(DEFAULT) if root is None else study_of(root / "params.yaml")
        found = importlib.util.find_spec(study.stage(stage))
        text = ast.get_docstring(ast.parse(Path(str(found and found.origin)).read_text())) or ""
    except (UserError, OSError, SyntaxError):
        return ""
    return " ".join(text.partition("\n\n")[0].split()).removeprefix(f"Stage {stage}: ")


def control_stages(graph: Graph) -> list[str]:
    """Stages that could kill a claim, as dvc.yaml marks them (``meta: {control: true}``)."""
    return [name for name, stage in graph.stages.items() if stage.control]


def metrics(root: Path, stage: str) -> dict[str, Any] | None:
    """``results/metrics/STAGE.json``, or None where the stage has not run or the file is broken."""
    try:
        found = json.loads((root / "results" / "metrics" / f"{stage}.json").read_text())
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
            seconds = json.loads(path.read_text())["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(seconds, int | float):
            result[path.stem] = float(seconds)
    return result
