"""Pages with a table of things at the left and the features of one of them at the right share their
body and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE, feature_name
from petriscope.atlas.show import show
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.nav import HELD
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable


class ListPage(Page):
    """Things at the left, features at the right, what there is to say of them above."""

    AUTO_FOCUS: ClassVar[str | None] = "#things"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "all", "All in table"),
        Binding("tab", "app.focus_next", "Other table"),
        Binding("y", "copy", "Copy"),
    ]
    ABSENT: ClassVar[str] = "nothing of this kind"
    """What an atlas lacks that has none."""
    TYPED: ClassVar[str] = ""
    """What may be typed, where there is a line to type in."""

    def __init__(self) -> None:
        super().__init__()
        self.things: list[Any] = []
        self.found: list[Any] = []

    def body(self) -> ComposeResult:
        with Vertical(id="body"):
            if self.TYPED:
                with Horizontal(id="filter-line"):
                    yield Static("search", id="filter-mark")
                    yield Input(placeholder=self.TYPED, id="needle")
            yield Block(id="around")
            with Horizontal(id="search-halves"):
                yield VirtualTable(id="things", empty="none")
                yield VirtualTable(id="found", empty="no feature")

    def on_mount(self) -> None:
        for name in ("things", "found"):
            self.query_one(f"#{name}").add_class("framed")
        super().on_mount()

    def fill(self, atlas: Atlas) -> None:
        if not HELD[self.NAME](atlas):
            absent = f"this atlas holds {self.ABSENT}"
            self.around(lambda width: Text(absent, style=self.palette.dim))
            self.things = self.found = []
            for name in ("things", "found"):
                self.table(name).show(ListRows())
            return
        self.list_things(atlas)

    def list_things(self, atlas: Atlas) -> None:
        """Fill the table at the left."""
        raise NotImplementedError

    def chosen(self, atlas: Atlas, row: int) -> None:
        """Fill the table at the right for a row of the left one."""
        raise NotImplementedError

    def identifier(self, row: int) -> int:
        """The feature of a row at the right."""
        return int(self.found[row].id)

    def query_of(self, row: int) -> str | None:
        """The filter that lists the features of a row at the left."""
        return None

    # Widgets
    # --------------------------------------------------------------------------------------

    def around(self, draw: Any, title: str | None = None) -> None:
        """Draw the block above."""
        self.query_one("#around", Block).show(draw, title=title)

    def table(self, name: str) -> VirtualTable:
        table = self.query_one(f"#{name}", VirtualTable)
        table.edge = self.glyphs.cursor
        return table

    def put(self, name: str, rows: Sequence[Any], fields: list[Field], title: str) -> None:
        """Rows of a table, each a record that every field reads."""
        table = self.table(name)
        table.border_title = title
        table.show(ListRows([(row,) * len(fields) for row in rows]), fields)

    def feature_fields(self, atlas: Atlas) -> list[Field]:
        """A feature's name, and its layer's where layers have names."""
        p, names = self.palette, atlas.layer_names
        fields = [
            Field("id", "feature", 10, lambda x: feature_name(x.id), lambda x: f"bold {p.accent}")
        ]
        if any(not name.isdigit() for name in names.values()):
            name = lambda x: names.get(x.id // LAYER_STRIDE, "")
            fields.append(Field("layer", "layer", 13, name, lambda x: p.dim))
        return fields

    def number(self, key: str, head: str, width: int, form: str) -> Field:
        """A column of numbers."""
        none = self.glyphs.none
        return Field(key, head, width, lambda x: show(getattr(x, key), form, none), right=True)

    def words(self, key: str, head: str, width: int, flex: bool = False) -> Field:
        """A column of text."""
        none = self.glyphs.none
        return Field(key, head, width, lambda x: getattr(x, key) or none, flex=flex)

    # Messages and actions
    # --------------------------------------------------------------------------------------

    def resumed(self) -> None:
        if self.TYPED:
            self.set_focus(self.query_one("#needle"))

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.owner.atlas is not None:
            self.fill(self.owner.atlas)

    def on_input_submitted(self) -> None:
        self.set_focus(self.table("things"))

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        atlas = self.owner.atlas
        if message.table.id == "things" and atlas is not None and message.row < len(self.things):
            self.chosen(atlas, message.row)

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        if message.table.id == "things":
            self.set_focus(self.table("found"))
        elif message.row < len(self.found):
            self.owner.open_feature(self.identifier(message.row))

    def action_all(self) -> None:
        """All its features in the Features table."""
        row = self.table("things").cursor
        query = self.query_of(row) if row < len(self.things) else None
        if query is not None:
            self.owner.open_filter(query)

    def action_copy(self) -> None:
        """Copy the feature under the cursor, or all of the list."""
        found = self.table("found")
        if found.has_focus and found.cursor < len(self.found):
            self.owner.copy(feature_name(self.identifier(found.cursor)))
        elif self.found:
            names = [feature_name(self.identifier(row)) for row in range(len(self.found))]
            self.owner.copy("\n".join(names))
