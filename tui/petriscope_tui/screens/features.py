"""The screen Features lists all features of all layers in a table, filtered, sorted, exported."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LINEAGE_PREFIX, Column, feature_name
from petriscope.atlas.show import show, spoken
from petriscope.errors import UserError
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.table import Field, VirtualTable
from petriscope_tui.workspace import load_columns, load_filters, save_columns, save_filter

DEFAULT_COLUMNS = (
    "label",
    "density",
    "cds",
    "q",
    "effect",
    "lineage",
    "direction",
    "stability",
    "causal_percentile",
)
MORE_COLUMNS = (
    "mean_activation",
    "p",
    "lo",
    "hi",
    "cds_published",
    "p_published",
    "module",
)  # where there is room
PLAIN_COLUMNS = ("label", "density", "mean_activation", "module", "stability")
"""Where there is no contrast; the study's own columns follow."""
EXAMPLES = {
    True: "layer>=4 cds_q<.01 lineage:liver motif:HNF4A   (f to type, ? for the language)",
    False: "layer:3..5 go:ribosome density>.001 -is:dead   (f to type, ? for the language)",
}
"""Filters, with and without a contrast."""
TYPED = {
    True: "q<.01  layer:3..5  motif:GATA  go:lipid  gene:APOL1  -is:dead",
    False: "layer:3..5  go:ribosome  label:mitotic  gene:CDK1  density>.001  -is:dead",
}
WIDTHS = {
    "label": 20,
    "lineage": 8,
    "direction": 8,
    "level": 9,
    "n_units": 5,
    "model": 10,
    "layer": 5,
    "feature": 6,
    "alive": 5,
}


class FeatureRows:
    """Rows of the features table in a given order, fetched from the atlas page by page."""

    def __init__(self, atlas: Atlas, order: array[int], columns: Sequence[str]) -> None:
        self.atlas, self.order, self.columns = atlas, order, columns

    def __len__(self) -> int:
        return len(self.order)

    def page(self, start: int, stop: int) -> list[tuple[Any, ...]]:
        ids = list(self.order[start:stop])
        rows = self.atlas.rows(ids, self.columns)
        return [(feature_name(i), *row) for i, row in zip(ids, rows)]


class FeaturesPage(Page):
    """The table, a filter line above it, what the filter means below."""

    NAME = "features"
    AUTO_FOCUS = "#table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "focus_filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("c", "columns", "Columns"),
        Binding("v", "saved", "Saved"),
        Binding("w", "save", "Save filter", show=False),
        Binding("e", "export", "Export"),
        Binding("m", "mark", "Mark", show=False),
        Binding("y", "copy", "Copy id", show=False),
        Binding("escape", "leave_filter", "Table", show=False),
        Binding("S", "flip", "Reverse order", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.query_text, self.sort, self.descending = "", "layer", False
        self.order: array[int] = array("i")
        self.shown: list[str] = []

    def body(self) -> ComposeResult:
        with Vertical(id="body"):
            with Horizontal(id="filter-line"):
                yield Static("filter", id="filter-mark")
                yield Input(
                    placeholder=EXAMPLES[True],
                    id="filter",
                )
                yield Static("", id="filter-count")
            yield VirtualTable(id="table", empty="no feature passes this filter")
            yield Static("", id="filter-note")

    def fill(self, atlas: Atlas) -> None:
        default: tuple[str, ...] = DEFAULT_COLUMNS
        if self.size.width >= 170:
            default += MORE_COLUMNS
        if not atlas.contrasted and atlas.total:
            own = (column.name for column in atlas.declared.features)
            default = tuple(name for name in (*PLAIN_COLUMNS, *own) if name in atlas.filled)
        self.query_one("#filter", Input).placeholder = EXAMPLES[atlas.contrasted]
        chosen = [c for c in load_columns() or default if c in atlas.columns]
        self.shown = chosen or ["cds", "q"]
        self._run_query(keep=True)

    def resumed(self) -> None:
        if self.owner.pending_filter is not None:
            self.set_filter(self.owner.pending_filter)
            self.owner.pending_filter = None

    # Query
    # ------------------------------------------------------------------------------------------

    def set_filter(self, text: str) -> None:
        """Put a filter in the line and apply it."""
        line = self.query_one("#filter", Input)
        if line.value != text:
            with line.prevent(Input.Changed):
                line.value = text
        self.query_text = text
        self._run_query()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_text = event.value
        self._run_query()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.set_focus(self.query_one("#table"))

    def _run_query(self, keep: bool = False) -> None:
        atlas = self.owner.atlas
        if atlas is None:
            return
        table, note = self.query_one("#table", VirtualTable), self.query_one("#filter-note", Static)
        try:
            order = atlas.order(self.query_text, self.sort, self.descending)
        except UserError as error:
            note.update(str(error))
            note.add_class("-wrong")
            return
        here = self.current() if keep else None
        self.order = order
        table.sorted_by = (self.sort, self.descending)
        table.arrows = (self.glyphs.up, self.glyphs.down)
        table.edge = self.glyphs.cursor
        rows = FeatureRows(atlas, order, self.shown)
        cursor = order.index(here) if here is not None and here in order else 0
        table.show(rows, self._fields(atlas), cursor)
        note.remove_class("-wrong")
        self.query_one("#filter-count", Static).update(f"{len(order):,} of {atlas.total:,}")

    def _fields(self, atlas: Atlas) -> list[Field]:
        return [Field("layer", "feature", 9, str, lambda _: f"bold {self.palette.accent}")] + [
            self._field(atlas, atlas.columns[name]) for name in self.shown
        ]

    def _field(self, atlas: Atlas, column: Column) -> Field:
        p, none = self.palette, self.glyphs.none
        width = WIDTHS.get(column.name, max(len(column.head) + 1, 9))
        width = 12 if column.name == "label" and self.size.width < 100 else width
        text = lambda value: show(value, column.form, none)
        style = lambda value: p.faint if value is None else ""
        if column.name == "direction":
            text = lambda value: spoken(value, none)
            style = lambda value: p.side(value, atlas.declared)
        elif column.name == "lineage":
            style = lambda value: p.stratum(value, atlas.lineages)
        elif column.name == "q":
            alpha = atlas.thresholds.alpha
            style = lambda v: p.faint if v is None else "bold" if v < alpha else p.dim
        elif column.name in ("cds", "effect", "cds_published") or column.name.startswith(
            LINEAGE_PREFIX
        ):
            style = lambda v: p.faint if v is None else p.target if v > 0 else p.reference
        wide = column.name == "label" and not atlas.contrasted
        return Field(column.name, column.head, width, text, style, column.kind != "text", wide)

    def current(self) -> int | None:
        """Identifier under the cursor."""
        row = self.query_one("#table", VirtualTable).cursor
        return self.order[row] if 0 <= row < len(self.order) else None

    # Messages
    # ------------------------------------------------------------------------------------------

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        identifier = self.current()
        if identifier is not None:
            self.owner.open_feature(identifier)

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        self._note(message.row)

    def on_descendant_focus(self) -> None:
        self._note(self.query_one("#table", VirtualTable).cursor)

    def _note(self, row: int) -> None:
        """While a filter is typed, what can be typed; else where the cursor is and what the table
        is sorted by."""
        atlas = self.owner.atlas
        note = self.query_one("#filter-note", Static)
        if atlas is None or note.has_class("-wrong"):
            return
        if self.query_one("#filter", Input).has_focus:
            note.update(f"Enter: to the table   e.g. {TYPED[atlas.contrasted]}")
            return
        column = atlas.columns.get(self.sort)
        place = f"{row + 1:,}/{len(self.order):,}" if self.order else "0/0"
        what = column.text if column else ""
        if self.sort == "layer" and any(not x.isdigit() for x in atlas.layer_names.values()):
            what = "model by model"  # each numbers its layers its own way
        note.update(f"{place}   sorted by {self.sort}: {what}")

    def on_virtual_table_head_clicked(self, message: VirtualTable.HeadClicked) -> None:
        self.sort_by(message.key)

    # Actions
    # ------------------------------------------------------------------------------------------

    def sort_by(self, key: str) -> None:
        """Sort by a column; numbers start with the largest, p-values and text with the smallest;
        again reverses."""
        atlas = self.owner.atlas
        if atlas is None:
            return
        if key == self.sort:
            self.descending = not self.descending
        else:
            form = atlas.columns[key].form
            self.sort, self.descending = key, form not in ("p", "text", "count") and key != "layer"
        self._run_query()

    def action_flip(self) -> None:
        """The other direction."""
        self.sort_by(self.sort)

    def action_focus_filter(self) -> None:
        """Type a filter."""
        self.set_focus(self.query_one("#filter"))

    def action_leave_filter(self) -> None:
        """Back to the table; from the table, clear the filter."""
        if self.query_one("#filter", Input).has_focus:
            self.set_focus(self.query_one("#table"))
        elif self.query_text:
            self.set_filter("")

    def action_sort(self) -> None:
        """Choose the column to sort by."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        atlas = self.owner.atlas
        if atlas is None:
            return
        choices = [(c.name, f"{c.name:<18} {c.text}") for c in atlas.columns.values()]
        self.app.push_screen(
            ChoiceDialog("Sort by", choices, chosen=self.sort),
            lambda key: self.sort_by(key) if key else None,
        )

    def action_columns(self) -> None:
        """Choose the columns shown."""
        from petriscope_tui.screens.dialogs import ColumnsDialog

        atlas = self.owner.atlas
        if atlas is None:
            return

        def apply(names: list[str] | None) -> None:
            if names:
                self.shown = names
                self._tell(save_columns(names))
                self._run_query(keep=True)

        self.app.push_screen(
            ColumnsDialog([(c.name, c.text) for c in atlas.columns.values()], self.shown), apply
        )

    def action_saved(self) -> None:
        """Apply a saved filter."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        choices = [(text, f"{name:<24} {text}") for name, text in load_filters().items()]
        dialog = ChoiceDialog("Saved filters (w saves the present one)", choices)
        self.app.push_screen(dialog, lambda text: self.set_filter(text) if text else None)

    def action_save(self) -> None:
        """Save the present filter under a name."""
        from petriscope_tui.screens.dialogs import PromptDialog

        if not self.query_text:
            self.notify("no filter to save: type one with f")
            return
        text = self.query_text
        dialog = PromptDialog("Save filter as", text)
        self.app.push_screen(
            dialog, lambda name: self._tell(save_filter(name, text)) if name else None
        )

    def action_export(self) -> None:
        """Write the filtered table, or the top bins of its features."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        choices = [
            ("csv", "features.csv        the table as filtered and sorted, every column"),
            ("bed", "features.bed        top bins of these features (BED6, score 0-1000)"),
            ("bedgraph", "features.bedgraph   largest activation per bin over these features"),
        ]
        self.app.push_screen(
            ChoiceDialog(f"Export {len(self.order):,} features", choices), self._export
        )

    def _export(self, kind: str | None) -> None:
        atlas = self.owner.atlas
        if not kind or atlas is None:
            return
        from petriscope_tui.delimited import WRITERS, unused

        path = unused(self.owner.workspace.root / f"features.{kind}")
        try:
            count = WRITERS[kind](path, atlas, self.order)
        except (OSError, UserError) as error:
            self.notify(f"cannot write {path}: {error}", severity="error")
        else:
            self.notify(f"wrote {count:,} lines to {path}")

    def action_mark(self) -> None:
        """Mark for comparison; a second mark opens the comparison."""
        identifier = self.current()
        if identifier is not None:
            self.owner.mark(identifier)

    def action_copy(self) -> None:
        """Copy the identifier."""
        identifier = self.current()
        if identifier is not None:
            self.owner.copy(feature_name(identifier))

    def _tell(self, problem: str | None) -> None:
        if problem:
            self.notify(problem, severity="warning")
