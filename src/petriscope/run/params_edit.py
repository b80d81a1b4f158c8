"""params.yaml is edited by assignment, and an edit says what it means before it is saved (valid?
what changes? what is stale?)."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.run.graph import Graph
from petriscope.run.params import parse_params
from petriscope.run.status import differences


@dataclass(frozen=True)
class Edit:
    """``problem`` where the text is not acceptable; else the changed entries and the stages they
    make stale."""

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


_POINTLESS = re.compile(r"(?<![\w.+-])([+-]?\d+)([eE][+-]?\d+)(?![\w.])")
"""A number such as 1e-9, which PyYAML takes for text."""


def assign(text: str, assignments: Sequence[str], path: Path) -> str:
    """``text`` of the parameter file with `ENTRY=VALUE` applied, e.g. ``sae.gate.fvu=0.1``;
    comments stay.

    Raises `UserError` for what is not an assignment, and whatever `parse_params` refuses.
    """
    import yaml

    values = {}
    for assignment in assignments:
        entry, equals, value = assignment.partition("=")
        if not equals or not entry.rpartition(".")[2]:
            remedy = "Write ENTRY=VALUE, for example sae.k=32."
            raise UserError(f"{assignment!r} is not an assignment", field="--set", remedy=remedy)
        try:
            values[entry] = yaml.safe_load(_POINTLESS.sub(r"\1.0\2", value))
        except yaml.YAMLError:
            remedy = "Quote the value, as in --set 'a.b=[1, 2]'."
            raise UserError(
                f"{value!r} is not a YAML value", field=f"--set {entry}", remedy=remedy
            ) from None
    return edited(text, values, path)


def override(path: Path, values: Mapping[str, Any]) -> None:
    """Set dotted entries of a parameter file; comments stay, and the result is checked first."""
    save(path, edited(path.read_text(encoding="utf-8"), values, path))


def edited(text: str, values: Mapping[str, Any], path: Path) -> str:
    """``text`` of the parameter file ``path`` with dotted entries set to ``values``; comments stay.

    Raises `UserError` for a section that is not there, and whatever `parse_params` refuses.
    """
    import yaml
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Writes null as `null`, as the shipped file does, and numbers as YAML 1.1 reads them."""

    Representer.add_representer(
        type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    # PyYAML takes 1e-09 for text: it asks for a point before the exponent
    as_before = RoundTripRepresenter.yaml_representers[float]

    def represent_float(self: RoundTripRepresenter, value: float) -> Any:
        node = as_before(self, value)
        if "e" in node.value and "." not in node.value:
            node.value = node.value.replace("e", ".0e")
        return node

    Representer.add_representer(float, represent_float)
    editor = YAML()
    editor.Representer = Representer
    editor.preserve_quotes = True
    editor.width = 10_000
    content = editor.load(text)
    for entry, new in values.items():
        *parents, last = entry.split(".")
        place = content
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UserError(
                "has no such section",
                file=path,
                field=entry,
                remedy="Compare with the shipped params.yaml.",
            )
        if isinstance(new, list):
            new = CommentedSeq(new)
            new.fa.set_flow_style()
        place[last] = new
    out = io.StringIO()
    editor.dump(content, out)
    parse_params(yaml.safe_load(out.getvalue()), path)
    return out.getvalue()


def save(path: Path, text: str) -> None:
    """Replace the file whole. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _touches(changed: str, used: str) -> bool:
    return changed == used or changed.startswith(used + ".") or used.startswith(changed + ".")
