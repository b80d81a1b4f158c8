"""The screen Search finds a gene, motif, gene set, chromatin state, label, region or feature, and
the features behind it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from petriscope.atlas.filters import GENE_REACH, Region, parse_region
from petriscope.atlas.query import Atlas, common_terms, search
from petriscope.atlas.records import Found
from petriscope.atlas.schema import LAYER_STRIDE, feature_name, parse_feature
from petriscope.atlas.show import show, spoken
from petriscope.enrich.kinds import BY_NAME
from petriscope.errors import UserError
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

SHOWN = 200
TYPED = {
    True: "gene, motif, GO term, state, label, L6/1234 or chr22:37,500,000-37,600,000",
    False: "gene, term, label or L6/1234",
}
"""What may be typed, with and without a contrast."""


class SearchPage(Page):
    """A line to type in, what it may mean, the features of the meaning under the cursor."""

    NAME = "search"
    AUTO_FOCUS = "#needle"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "again", "Search"),
        Binding("escape", "leave", "Results", show=False),
        Binding("a", "all", "All in table"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []

    def body(self) -> ComposeResult:
        with Vertical(id="body"):
            with Horizontal(id="filter-line"):
                yield Static("search", id="filter-mark")
                yield Input(
                    placeholder=TYPED[True],
                    id="needle",
                )
            with Horizontal(id="search-halves"):
                yield VirtualTable(id="found", empty="type a name")
                yield VirtualTable(id="members", empty="no feature")
            yield Static("", id="filter-note")

    def on_mount(self) -> None:
        for name, title in (("found", "Matches"), ("members", "Features")):
            widget = self.query_one(f"#{name}")
            widget.border_title = title
            widget.add_class("framed")
        super().on_mount()

    def fill(self, atlas: Atlas) -> None:
        line = self.query_one("#needle", Input)
        line.placeholder = TYPED[atlas.contrasted]
        self._search(line.value)

    def resumed(self) -> None:
        self.set_focus(self.query_one("#needle"))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._search(event.value)

    def on_input_submitted(self) -> None:
        self.set_focus(self.query_one("#found"))

    def _search(self, text: str) -> None:
        atlas, note = self.owner.atlas, self.query_one("#filter-note", Static)
        if atlas is None:
            return
        try:
            self.found = search(atlas, text) if text.strip() else common_terms(atlas)
        except UserError as error:
            self.found = []
            note.update(str(error))
        else:
            what = "matches" if text.strip() else "terms that most features are enriched for"
            note.update(
                f"{len(self.found)} {what}   Enter goes there   a lists all its features in the "
                f"table"
            )
        table = self.query_one("#found", VirtualTable)
        table.edge = self.glyphs.cursor
        table.empty = "no match" if text.strip() else "type a name"
        p, none = self.palette, self.glyphs.none
        fields = [
            Field("name", "name", 20, lambda f: f.name, flex=True),
            Field(
                "kind",
                "kind",
                8,
                lambda f: BY_NAME[f.kind].one if f.kind in BY_NAME else f.kind,
                lambda f: p.dim,
            ),
            Field("features", "features", 9, lambda f: show(f.features, "count", none), right=True),
        ]
        table.show(ListRows([(f, f, f) for f in self.found]), fields)

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        if message.table.id == "found":
            self._members(self.found[message.row] if message.row < len(self.found) else None)

    def _members(self, found: Found | None) -> None:
        atlas, table = self.owner.atlas, self.query_one("#members", VirtualTable)
        table.edge = self.glyphs.cursor
        if atlas is None or found is None:
            table.show(ListRows())
            return
        place = self._place(atlas, found)
        if place is not None:
            self._places(atlas, place, table)
        else:
            self._features(atlas, found, table)

    def _place(self, atlas: Atlas, found: Found) -> Region | None:
        if found.kind == "region":
            return parse_region(found.name)
        if found.kind == "gene":
            genes = atlas.gene(found.name)
            if genes:
                return Region(
                    genes[0].chrom, max(genes[0].tss - GENE_REACH, 0), genes[0].tss + GENE_REACH
                )
        return None

    def _places(self, atlas: Atlas, place: Region, table: VirtualTable) -> None:
        """Top bins in a region, strongest first."""
        p, words, lineages = self.palette, atlas.declared, atlas.lineages
        bins = atlas.region(place, SHOWN)
        fields = [
            Field(
                "feature", "feature", 9, lambda b: feature_name(b.id), lambda b: f"bold {p.accent}"
            ),
            Field("activation", "act", 6, lambda b: show(b.activation, "number"), right=True),
            Field("place", "place", 27, lambda b: b.name),
            Field(
                "unit",
                words.unit,
                16,
                lambda b: b.unit.name,
                lambda b: p.stratum(b.unit.values.get(words.stratum), lineages),
            ),
            Field(
                "condition",
                words.condition,
                9,
                lambda b: spoken(b.unit.values.get(words.condition), "·"),
                lambda b: p.side(b.unit.values.get(words.condition), words),
            ),
        ]
        table.border_title = f"Top bins in {place}"
        table.show(ListRows([(b,) * 5 for b in bins]), fields)

    def _features(self, atlas: Atlas, found: Found, table: VirtualTable) -> None:
        """Features of a term, most significant first."""
        p, none, lineages = self.palette, self.glyphs.none, atlas.lineages
        words = atlas.declared
        order = list(atlas.order(found.query, "q"))[:SHOWN]
        rows = [
            (feature_name(i), *row)
            for i, row in zip(
                order, atlas.rows(order, ["q", "cds", "lineage", "direction", "label"])
            )
        ]
        fields = [
            Field("feature", "feature", 9, str, lambda _: f"bold {p.accent}"),
            Field("q", "q", 8, lambda v: show(v, "p", none), right=True),
            Field("cds", "CDS t", 7, lambda v: show(v, "signed", none), right=True),
            Field(
                "stratum", words.stratum, 8, lambda v: v or none, lambda v: p.stratum(v, lineages)
            ),
            Field(
                "direction",
                words.condition,
                9,
                lambda v: spoken(v, none),
                lambda v: p.side(v, words),
            ),
            Field("label", "label", 10, lambda v: v or none, flex=True),
        ]
        if not atlas.contrasted:
            names = atlas.layer_names
            rows = [
                (feature_name(i), names.get(i // LAYER_STRIDE, ""), *row)
                for i, row in zip(order, atlas.rows(order, ["density", "label"]))
            ]
            fields = [
                fields[0],
                Field("layer", "layer", 13, str, lambda _: p.dim),
                Field("density", "density", 9, lambda v: show(v, "share", none), right=True),
                fields[-1],
            ]
        table.border_title = f"Features: {found.query}"
        table.show(ListRows(rows), fields)

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        if message.table.id == "members":
            row = message.table.row(message.row)
            if row is not None:
                name = row[0] if isinstance(row[0], str) else feature_name(row[0].id)
                self.owner.open_feature(parse_feature(name) or 0)
        elif message.row < len(self.found):
            found = self.found[message.row]
            identifier = parse_feature(found.name) if found.kind == "feature" else None
            if identifier is not None:
                self.owner.open_feature(identifier)
            elif found.kind in ("gene", "region"):
                self.set_focus(self.query_one("#members"))
            else:
                self.owner.open_filter(found.query)

    def action_again(self) -> None:
        """Back to the line."""
        self.set_focus(self.query_one("#needle"))

    def action_leave(self) -> None:
        """From the line to the results."""
        self.set_focus(self.query_one("#found"))

    def action_all(self) -> None:
        """All features of the match in the Features table."""
        row = self.query_one("#found", VirtualTable).cursor
        if row < len(self.found):
            self.owner.open_filter(self.found[row].query)

    def action_copy(self) -> None:
        """Copy the match, or the row under the cursor at the right."""
        members = self.query_one("#members", VirtualTable)
        row = members.row(members.cursor)
        if members.has_focus and row is not None:
            one = row[0]
            self.owner.copy(
                one if isinstance(one, str) else f"{one.chrom}:{one.start + 1}-{one.end}"
            )
        elif self.found:
            self.owner.copy(self.found[self.query_one("#found", VirtualTable).cursor].name)
