"""The parameter editor checks as you type, and names the stages an edit would invalidate before it
is saved."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from petriscope.run.graph import Graph
from petriscope.run.params_edit import Edit, preview, save


class ParamsDialog(ModalScreen[bool]):
    """params.yaml as text, comments and all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", priority=True),
        Binding("escape", "close", "Close"),
    ]

    def __init__(self, path: Path, graph: Graph | None) -> None:
        super().__init__()
        self.path, self.graph = path, graph
        try:
            self.before = path.read_text(encoding="utf-8")
        except OSError as error:
            self.before = f"# cannot be read: {error.strerror}\n"
        self.edit = Edit(None)
        self._warned = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="params-dialog"):
            yield Static(f"Parameters   {self.path.name}", classes="dialog-title")
            yield TextArea(
                self.before, id="params-text", show_line_numbers=True, tab_behavior="indent"
            )
            yield Static("", id="params-preview")
            yield Static("Ctrl+S saves   Esc closes", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()
        self._preview()

    def on_text_area_changed(self) -> None:
        self._warned = False
        self._preview()

    def _preview(self) -> None:
        self.edit = preview(self.before, self.query_one(TextArea).text, self.graph, self.path)
        self.query_one("#params-preview", Static).update(self._describe(self.edit))

    def _describe(self, edit: Edit) -> Text:
        p = self.app.palette  # type: ignore[attr-defined]
        if edit.problem:
            return Text(f"not valid: {edit.problem}", style=p.not_supported)
        if not edit.changes:
            return Text("no change", style=p.dim)
        text = Text()
        text.append("; ".join(edit.changes[:4]), style="bold")
        if len(edit.changes) > 4:
            text.append(f" and {len(edit.changes) - 4} more", style=p.dim)
        text.append("\n")
        if edit.invalidated:
            text.append(f"invalidates {len(edit.invalidated)} stages: ", style=p.untestable)
            text.append(", ".join(edit.invalidated), style=p.untestable)
        else:
            text.append("no stage depends on it", style=p.dim)
        return text

    def action_save(self) -> None:
        """Write the file, if it is valid and can be written."""
        if self.edit.problem:
            self.notify("not saved: the file would be invalid", severity="error")
            return
        text = self.query_one(TextArea).text
        if text == self.before:
            self.dismiss(False)
            return
        try:
            save(self.path, text)
        except OSError as error:
            self.notify(f"not saved: {error}", severity="error")
            return
        self.dismiss(True)

    def action_close(self) -> None:
        """Leave; unsaved changes ask for a second Esc."""
        if self.query_one(TextArea).text != self.before and not self._warned:
            self._warned = True
            self.notify("unsaved changes: Ctrl+S saves, Esc again discards", severity="warning")
            return
        self.dismiss(False)
