"""The screen Graph shows what lies around a feature in the graph: the documents in which it fires,
and what else fires in the one under the cursor."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Document, Edge
from petriscope.atlas.schema import feature_name
from petriscope.atlas.show import plural, show
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

AROUND = 3
"""features drawn beside each document"""
DRAWN = 8
"""documents drawn"""


class GraphPage(Page):
    """A feature, its documents, the features in one of them."""

    NAME = "graph"
    AUTO_FOCUS = "#documents"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "feature", "Feature"),
        Binding("tab", "app.focus_next", "Other table"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feature: int | None = None
        self.documents: list[Edge] = []
        self.features: list[Edge] = []

    def body(self) -> ComposeResult:
        with Vertical(id="body"):
            yield Block(id="around", title="Around the feature")
            with Horizontal(id="graph-halves"):
                yield VirtualTable(id="documents", empty="it fires in none")
                yield VirtualTable(id="inside", empty="no feature fires there")
            yield Block(id="document")

    def on_mount(self) -> None:
        for name in ("documents", "inside"):
            self.query_one(f"#{name}").add_class("framed")
        super().on_mount()

    def resumed(self) -> None:
        if self.feature != self.owner.current_feature:
            self.populate()

    def fill(self, atlas: Atlas) -> None:
        block = self.query_one("#around", Block)
        if not atlas.has_graph:
            block.show(lambda width: Text("this atlas holds no graph", style=self.palette.dim))
            self._table("documents").show(ListRows())
            self._table("inside").show(ListRows())
            return
        current = self.owner.current_feature
        if current is None or not atlas.documents_of(current, 1):
            current = self._first(atlas)
        self.feature = self.owner.current_feature = current
        self.documents = atlas.documents_of(current, 60)
        word = atlas.declared.document
        label = atlas.rows([current], ["label"])[0][0]
        title = f"Around {feature_name(current)}" + (f" ({label})" if label else "")
        block.show(lambda width: self._drawn(atlas, width), title=title)
        p = self.palette
        fields = [
            Field("name", word, 14, lambda e: e.document, flex=True),
            Field(
                "side",
                atlas.declared.condition,
                10,
                lambda e: e.side or self.glyphs.none,
                lambda e: p.side(e.side, atlas.declared),
            ),
            Field("tokens", "tokens", 7, lambda e: show(e.tokens, "count"), right=True),
            Field("activation", "sum", 8, lambda e: show(e.activation, "number"), right=True),
            Field("degree", "features", 9, lambda e: show(e.degree, "count"), right=True),
        ]
        table = self._table("documents")
        table.border_title = plural(word).capitalize()
        table.show(ListRows([(e,) * 5 for e in self.documents]), fields)
        self._document(0)

    def _first(self, atlas: Atlas) -> int:
        """The feature with the strongest contrast that has an edge."""
        joined = {row[0] for row in atlas.select("SELECT DISTINCT id FROM edges")}
        return next(i for i in atlas.order("", "q") if i in joined)

    def _table(self, name: str) -> VirtualTable:
        table = self.query_one(f"#{name}", VirtualTable)
        table.edge = self.glyphs.cursor
        return table

    def _drawn(self, atlas: Atlas, width: int) -> Text:
        """The neighborhood as a tree: the feature, its documents, what else fires in each."""
        p, g, text = self.palette, self.glyphs, Text()
        for edge in self.documents[:DRAWN]:
            others = [
                e for e in atlas.features_in(edge.document, AROUND + 1) if e.id != self.feature
            ]
            text.append(f"{feature_name(self.feature or 0)} ", style=f"bold {p.accent}")
            text.append(f"{g.rule}{edge.tokens:{g.rule}>3}{g.right} ", style=p.dim)
            text.append(f"{edge.document} ", style=p.side(edge.side, atlas.declared))
            for other in others[:AROUND]:
                name = feature_name(other.id) + (f" {other.label}" if other.label else "")
                text.append(f" {g.column} {name} ", style=p.dim)
                text.append(str(other.tokens))
            text.append("\n")
        if len(self.documents) > DRAWN:
            left = len(self.documents) - DRAWN
            text.append(f"and {left} more below; numbers are tokens on which it fires", style=p.dim)
        text.rstrip()
        return text

    def _document(self, row: int) -> None:
        """What fires in a document, and the document itself."""
        atlas, table = self.owner.atlas, self._table("inside")
        if atlas is None or row >= len(self.documents):
            table.show(ListRows())
            return
        name = self.documents[row].document
        self.features = atlas.features_in(name, 60)
        p, none = self.palette, self.glyphs.none
        fields = [
            Field("id", "feature", 9, lambda e: feature_name(e.id), lambda e: f"bold {p.accent}"),
            Field("label", "label", 12, lambda e: e.label or none, flex=True),
            Field("tokens", "tokens", 7, lambda e: show(e.tokens, "count"), right=True),
            Field("activation", "sum", 8, lambda e: show(e.activation, "number"), right=True),
            Field("density", "density", 8, lambda e: show(e.density, "share", none), right=True),
        ]
        table.border_title = f"Features in {name}"
        table.show(ListRows([(e,) * 5 for e in self.features]), fields)
        found = atlas.document(name)
        spans = _spans(self.documents[row].spans)
        block = self.query_one("#document", Block)
        block.show(lambda width: self._shown(found, spans, width), title=name)

    def _shown(self, found: Document | None, spans: list[tuple[int, int]], width: int) -> Text:
        """Details, and the content with the tokens marked on which the feature fires."""
        p, text = self.palette, Text()
        if found is None:
            return text
        place = "" if found.chrom is None else f"  {found.chrom}:{(found.start or 0) + 1:,}"
        text.append(f"{found.detail or ''}{place}\n", style=p.dim)
        for start in range(0, len(found.content or ""), max(width, 10)):
            for i, letter in enumerate(
                (found.content or "")[start : start + max(width, 10)], start
            ):
                marked = any(a <= i < b for a, b in spans)
                text.append(
                    letter if marked else letter.lower(),
                    style=f"bold {p.target} underline" if marked else p.dim,
                )
            text.append("\n")
        text.rstrip()
        return text

    # Messages and actions
    # --------------------------------------------------------------------------------------

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        if message.table.id == "documents":
            self._document(message.row)

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        """A document: on to its features; a feature: the graph around that one."""
        if message.table.id == "documents":
            self.set_focus(self._table("inside"))
        elif message.row < len(self.features):
            self.owner.current_feature = self.features[message.row].id
            self.populate()
            self.set_focus(self._table("documents"))

    def action_feature(self) -> None:
        """The page of the feature under the cursor, or of the one in the middle."""
        table = self._table("inside")
        if table.has_focus and table.cursor < len(self.features):
            self.owner.open_feature(self.features[table.cursor].id)
        elif self.feature is not None:
            self.owner.open_feature(self.feature)

    def action_copy(self) -> None:
        """Copy the name under the cursor."""
        table, inside = self._table("documents"), self._table("inside")
        if inside.has_focus and inside.cursor < len(self.features):
            self.owner.copy(feature_name(self.features[inside.cursor].id))
        elif table.cursor < len(self.documents):
            self.owner.copy(self.documents[table.cursor].document)


def _spans(text: str | None) -> list[tuple[int, int]]:
    """12-18,60-66 as pairs."""
    pairs = (part.split("-") for part in (text or "").split(",") if part)
    return [(int(start), int(end)) for start, end in pairs]
