"""The stages of dvc.yaml and the .dvc files are read as a graph without DVC (whose own status is
busy during a run), and drawn line by line, edges as lanes (as version-control histories are).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope.errors import UserError

_INTERPOLATION = re.compile(r"\$\{\s*([^}]+?)\s*\}")


@dataclass(frozen=True)
class Out:
    """One output: path relative to the workspace and whether DVC keeps a copy in its cache."""

    path: str
    cached: bool = True


@dataclass(frozen=True)
class Stage:
    """One node. ``params`` pairs a file with the dotted keys used (none: the whole file); data has
    no ``cmd``."""

    name: str
    cmd: str
    deps: tuple[str, ...] = ()
    params: tuple[tuple[str, tuple[str, ...]], ...] = ()
    outs: tuple[Out, ...] = ()
    frozen: bool = False
    always: bool = False
    description: str = ""
    control: bool = False
    """``meta: {control: true}``: it could kill a claim."""

    @property
    def is_data(self) -> bool:
        """Whether this is a .dvc file rather than a stage."""
        return not self.cmd


class Graph:
    """Stages in an order in which each comes after what it needs."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        given = {stage.name: stage for stage in stages}
        makers = {out.path: stage.name for stage in given.values() for out in stage.outs}
        needs = {
            stage.name: tuple(
                dict.fromkeys(
                    m for dep in stage.deps for m in _makers(dep, makers) if m != stage.name
                )
            )
            for stage in given.values()
        }
        self.stages: dict[str, Stage] = {name: given[name] for name in _ordered(needs)}
        self.needs: dict[str, tuple[str, ...]] = {name: needs[name] for name in self.stages}
        self.feeds: dict[str, tuple[str, ...]] = {
            name: tuple(n for n in self.stages if name in self.needs[n]) for name in self.stages
        }

    def downstream(self, names: Iterable[str]) -> list[str]:
        """``names`` and everything that depends on them, in running order."""
        found = set(names)
        for name in self.stages:
            if any(need in found for need in self.needs[name]):
                found.add(name)
        return [name for name in self.stages if name in found]

    def stage_needs(self) -> dict[str, list[str]]:
        """What each stage needs, in running order, without the .dvc files."""
        return {
            name: [need for need in needs if not self.stages[need].is_data]
            for name, needs in self.needs.items()
            if not self.stages[name].is_data
        }

    def depth(self) -> dict[str, int]:
        """Longest path from a root, per stage: the column in which a drawing puts it."""
        depth: dict[str, int] = {}
        for name in self.stages:
            depth[name] = 1 + max((depth[need] for need in self.needs[name]), default=-1)
        return depth


def load_yaml(path: Path) -> Any:
    """A YAML 1.2 file as DVC reads it (``1e-3`` is a number). Raises UserError where it is missing
    or broken."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", file=path) from None
    except YAMLError as error:
        first = str(getattr(error, "problem", None) or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else None
        raise UserError(
            f"not valid YAML ({first})", file=path, field=where, remedy="Write that line as YAML"
        ) from None


def load_graph(root: Path) -> Graph:
    """The graph of ``root/dvc.yaml`` and of every .dvc file beside it. Raises UserError naming the
    file."""
    path = root / "dvc.yaml"
    raw = load_yaml(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("stages"), dict):
        raise UserError("has no stages", file=path, remedy="Compare with the shipped dvc.yaml")
    context = _context(root, raw.get("vars") or [])
    stages = []
    for name, body in raw["stages"].items():
        for full_name, one, extra in _expand(str(name), body or {}, context):
            stages.append(_stage(full_name, one, {**context, **extra}, path))
    for file in sorted(p for p in root.glob("*.dvc") if p.is_file()):
        data = load_yaml(file)
        outs = tuple(Out(str(out["path"])) for out in (data or {}).get("outs", []))
        stages.append(
            Stage(file.name, "", outs=outs, description=str((data or {}).get("desc", "")))
        )
    return Graph(stages)


def _context(root: Path, variables: list[Any]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    params = root / "params.yaml"
    if params.is_file():
        context.update(load_yaml(params) or {})
    for item in variables:
        if isinstance(item, dict):
            context.update(item)
        elif isinstance(item, str) and ":" not in item:
            context.update(load_yaml(root / item) or {})
    return context


def _expand(
    name: str, body: Mapping[str, Any], context: Mapping[str, Any]
) -> Iterable[tuple[str, Any, dict[str, Any]]]:
    """One stage, or one per item of ``foreach`` / combination of ``matrix``."""
    if "foreach" in body:
        items = _fill(body["foreach"], context)
        pairs = items.items() if isinstance(items, dict) else [(None, item) for item in items]
        for key, item in pairs:
            extra = {"item": item} if key is None else {"key": key, "item": item}
            yield f"{name}@{item if key is None else key}", body["do"], extra
    elif "matrix" in body:
        combinations: list[dict[str, Any]] = [{}]
        for axis, values in body["matrix"].items():
            combinations = [{**c, axis: v} for c in combinations for v in _fill(values, context)]
        for item in combinations:
            yield f"{name}@{'-'.join(str(v) for v in item.values())}", body, {"item": item}
    else:
        yield name, body, {}


def _stage(name: str, body: Mapping[str, Any], context: Mapping[str, Any], path: Path) -> Stage:
    body = _fill(dict(body), context)
    folder = str(body.get("wdir", "."))

    def place(item: Any) -> tuple[str, dict[str, Any]]:
        text, options = next(iter(item.items())) if isinstance(item, dict) else (item, {})
        return os.path.normpath(os.path.join(folder, str(text))), options or {}

    if "cmd" not in body:
        raise UserError("stage has no cmd", file=path, field=name)
    cmd = body["cmd"]
    outs = []
    for group in ("outs", "metrics", "plots"):
        for item in body.get(group) or []:
            where, options = place(item)
            outs.append(Out(where, bool(options.get("cache", True))))
    params: dict[str, list[str]] = {}
    for item in body.get("params") or []:
        if isinstance(item, dict):
            for file, keys in item.items():
                params.setdefault(os.path.normpath(os.path.join(folder, file)), []).extend(
                    str(k) for k in keys or []
                )
        else:
            params.setdefault(os.path.normpath(os.path.join(folder, "params.yaml")), []).append(
                str(item)
            )
    return Stage(
        name,
        "\n".join(cmd) if isinstance(cmd, list) else str(cmd),
        tuple(place(dep)[0] for dep in body.get("deps") or []),
        tuple((file, tuple(keys)) for file, keys in params.items()),
        tuple(outs),
        bool(body.get("frozen", False)),
        bool(body.get("always_changed", False)),
        str(body.get("desc") or ""),
        bool((body.get("meta") or {}).get("control", False)),
    )


def _fill(value: Any, context: Mapping[str, Any]) -> Any:
    """``${a.b}`` replaced from ``context`` everywhere; a name that is unknown stays as written."""
    if isinstance(value, dict):
        return {
            _fill(k, context) if isinstance(k, str) else k: _fill(v, context)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_fill(item, context) for item in value]
    if not isinstance(value, str):
        return value
    whole = _INTERPOLATION.fullmatch(value)
    if whole:
        found, result = lookup(context, whole[1])
        return result if found else value
    return _INTERPOLATION.sub(
        lambda m: str(lookup(context, m[1])[1]) if lookup(context, m[1])[0] else m[0], value
    )


def lookup(values: Any, dotted: str) -> tuple[bool, Any]:
    """(found, value) of a dotted key such as ``sae.gate.fvu`` or ``seeds.0``."""
    for part in re.sub(r"\[(\w+)\]", r".\1", dotted).split("."):
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False, None
    return True, values


def _makers(dep: str, makers: Mapping[str, str]) -> list[str]:
    """Stages whose output is ``dep``, lies inside it, or contains it."""
    return [
        name
        for out, name in makers.items()
        if dep == out or dep.startswith(out + "/") or out.startswith(dep + "/")
    ]


def _ordered(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    order: list[str] = []
    waiting = list(needs)
    while waiting:
        ready = [n for n in waiting if all(need in order for need in needs[n])]
        if not ready:
            raise UserError(
                f"stages {', '.join(waiting)} depend on each other in a circle", file="dvc.yaml"
            )
        order.append(ready[0])
        waiting.remove(ready[0])
    return order


def draw_lanes(needs: Mapping[str, Sequence[str]], node: str = "●") -> dict[str, str]:
    """One line of drawing per name of ``needs`` (given in an order in which each comes after what
    it needs)."""
    needs = reduced(needs)
    last = {source: name for name, sources in needs.items() for source in sources}
    lanes: list[str | None] = []
    rows: dict[str, list[str]] = {}
    for name, sources in needs.items():
        wanted = [i for i, lane in enumerate(lanes) if lane in sources]
        ending = [i for i in wanted if last[str(lanes[i])] == name]
        free = ending or [i for i, lane in enumerate(lanes) if lane is None]
        column = free[0] if free else len(lanes)
        if column == len(lanes):
            lanes.append(None)
        low, high = min([*wanted, column]), max([*wanted, column])
        cells = []
        for i, lane in enumerate(lanes):
            crossed = low < i < high
            if i == column:
                mark = node
            elif i in wanted:
                mark = _join(i, low, high, ends=i in ending)
            elif lane is not None:
                mark = "│"
            else:
                mark = "─" if crossed else " "
            cells.append(mark + ("─" if low <= i < high else " "))
        rows[name] = cells
        for i in ending:
            lanes[i] = None
        lanes[column] = name if name in last else None
    width = max((len(cells) for cells in rows.values()), default=0)
    return {name: "".join(cells).ljust(2 * width) for name, cells in rows.items()}


def reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """``needs`` without the edges that a longer path already implies."""
    above: dict[str, set[str]] = {}
    for name, sources in needs.items():
        above[name] = set(sources).union(*(above[s] for s in sources))
    return {
        n: [s for s in sources if not any(s in above[o] for o in sources)]
        for n, sources in needs.items()
    }


def _join(place: int, low: int, high: int, ends: bool) -> str:
    if low < place < high:
        return "┴" if ends else "┼"
    if place == low:
        return "└" if ends else "├"
    return "┘" if ends else "┤"
