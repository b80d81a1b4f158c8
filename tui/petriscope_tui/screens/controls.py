"""The screen Controls lists the branches of the pipeline that could kill a claim, what each asked
and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from petriscope.atlas.show import number
from petriscope.claims.rules import read_rules, sentence
from petriscope.errors import UserError
from petriscope.run.graph import load_graph
from petriscope.run.status import control_stages, flat, headline, metrics, purpose, tables
from petriscope_tui.delimited import aligned
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

ROWS = 24
READ = 200_000


class ControlsPage(Page):
    """Control stages at the left; question, numbers and tables of the chosen one at the right."""

    NAME = "controls"
    NEEDS_ATLAS = False
    AUTO_FOCUS = "#controls"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy numbers"),
        Binding("o", "app.visit('overview')", "Claims"),
        Binding("p", "app.visit('pipeline')", "Pipeline"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []
        self.problem = ""

    def body(self) -> ComposeResult:
        with Horizontal(id="body"), Horizontal(id="controls-body"):
            yield VirtualTable(id="controls", empty="no control stage in dvc.yaml")
            with VerticalScroll(id="control-side"):
                yield Block(id="control-found", title="Control")
                yield Block(id="control-tables", title="Tables")

    def on_mount(self) -> None:
        table = self.query_one("#controls")
        table.border_title = "Controls"
        table.add_class("framed")
        super().on_mount()

    def populate(self) -> None:
        super().populate()
        root = self.owner.workspace.root
        try:
            self.stages, self.problem = control_stages(load_graph(root)), ""
        except UserError as error:
            self.stages, self.problem = [], str(error)
        found = {name: metrics(root, name) for name in self.stages}
        said = self._said(root)
        p, none = self.palette, self.glyphs.none
        style = lambda name: "" if found[name] is not None else p.dim
        fields = [
            Field("stage", "control", 14, str, style),
            Field("found", "found", 10, lambda name: said[name] or none, style, flex=True),
        ]
        table = self.query_one("#controls", VirtualTable)
        table.edge = self.glyphs.cursor
        table.empty = self.problem or "no control stage in dvc.yaml"
        table.show(ListRows([(name, name) for name in self.stages]), fields, table.cursor)

    def resumed(self) -> None:
        self.populate()

    def _said(self, root: Path) -> dict[str, str]:
        """Stage → what it found, in one line: the ledger's sentence, or its first number."""
        found = {name: metrics(root, name) for name in self.stages}
        try:
            rules = read_rules(root / "claims.yaml")
        except (OSError, UserError):
            rules = []
        said = {}
        for name, values in found.items():
            if values is None or values.get("untestable"):
                said[name] = "not run" if values is None else str(values["untestable"])
                continue
            try:
                text = sentence(rules, name, lambda stage: metrics(root, stage))
            except UserError as error:
                text = str(error)
            said[name] = text or headline(values)
        return said

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        name = self.stages[message.row] if message.row < len(self.stages) else None
        self.query_one("#control-side").scroll_home(animate=False)
        found, files = (
            self.query_one("#control-found", Block),
            self.query_one("#control-tables", Block),
        )
        root = self.owner.workspace.root
        files.display = name is not None and bool(tables(root, name))
        if name is None:
            what = self.problem or "no control stage in dvc.yaml"
            found.show(
                lambda width: Text("\n".join(wrap(what, width)), style=self.palette.dim),
                title="Control",
            )
            return
        found.show(lambda width: self._found(root, name, width), title=name)
        files.show(
            lambda width: self._tables(tables(root, name), width), title=f"Tables in results/{name}"
        )

    def _found(self, root: Path, name: str, width: int) -> Text:
        """The question, then every number the stage reports."""
        p, text = self.palette, Text()
        text.append(
            "\n".join(wrap(purpose(name, root) or "no description", width)) + "\n\n", style="bold"
        )
        values = metrics(root, name)
        if values is None:
            text.append("not run: ", style=p.untestable)
            text.append(f"press 7 and u on {name}, or run `petriscope stage {name}`", style=p.dim)
            return text
        if values.get("untestable"):
            text.append(f"no test: {values['untestable']}", style=p.untestable)
            return text
        entries = [(key, value) for key, value in flat(values) if value is not None]
        key_width = min(max((len(key) for key, _ in entries), default=0), max(width // 2, 10))
        for key, value in entries:
            label = key if len(key) <= key_width else key[: key_width - 1] + "…"
            text.append(f"{label:<{key_width}}  ", style=p.dim)
            lines = wrap(_value(value), max(width - key_width - 2, 10)) or [""]
            text.append(f"\n{'':<{key_width + 2}}".join(lines) + "\n")
        text.rstrip()
        return text

    def _tables(self, paths: Sequence[Path], width: int) -> Text:
        p, text = self.palette, Text(no_wrap=True)
        for path in paths:
            text.append(f"{path.name}\n", style=f"bold {p.target}")
            try:
                content = path.read_bytes()[:READ].decode(errors="replace")
            except OSError as error:
                text.append(f"{error.strerror}\n", style=p.not_supported)
                continue
            text.append_text(aligned(content, ",", p.accent, p.dim, width, ROWS))
            text.append("\n\n")
        text.rstrip()
        return text

    def action_copy(self) -> None:
        """The chosen control's numbers as tab-separated text."""
        row = self.query_one("#controls", VirtualTable).cursor
        if row < len(self.stages):
            values = metrics(self.owner.workspace.root, self.stages[row]) or {}
            self.owner.copy(
                "\n".join(f"{self.stages[row]}.{key}\t{value}" for key, value in flat(values))
            )


def _value(value: Any) -> str:
    """A metric as people read it; a list (one number per layer, k or lineage) with spaces
    between."""
    if isinstance(value, list):
        return "  ".join(_value(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
