"""What an edit of params.yaml means before it is saved: is it valid, what changes, which stages does it invalidate."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from petriscope.errors import UserError
from petriscope.params import parse_params
from petriscope.pipeline.graph import Graph
from petriscope.pipeline.status import differences


@dataclass(frozen=True)
class Edit:
    """``problem`` where the text is not acceptable; else the changed entries and the stages they make stale."""

    problem: str | None
    changes: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    invalidated: tuple[str, ...] = ()


def preview(before: str, after: str, graph: Graph | None, path: Path) -> Edit:
    """Compare two texts of the parameter file ``path``; the graph gives the stages."""
    import yaml

    try:
        new = yaml.safe_load(after)
        parse_params(new, path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        return Edit(f"{where}{getattr(error, 'problem', None) or 'not valid YAML'}")
    except UserError as error:
        return Edit(str(error))
    old = None
    with contextlib.suppress(yaml.YAMLError):
        old = yaml.safe_load(before)
    changes = differences("", old or {}, new) if old != new else []
    if graph is None or not changes:
        return Edit(None, tuple(changes))
    keys = [line.partition(":")[0] for line in changes]
    direct = [
        name
        for name, stage in graph.stages.items()
        for file, used in stage.params
        if file == path.name and any(not used or _touches(key, one) for key in keys for one in used)
    ]
    direct = list(dict.fromkeys(direct))
    return Edit(None, tuple(changes), tuple(direct), tuple(graph.downstream(direct)))


def save(path: Path, text: str) -> None:
    """Replace the file whole. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _touches(changed: str, used: str) -> bool:
    return changed == used or changed.startswith(used + ".") or used.startswith(changed + ".")
