"""The screen Figures shows what the pipeline drew, as pictures where the terminal can, else as
block art, with the path to the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget

from petriscope_tui.delimited import aligned
from petriscope_tui.picture import block_art, graphics_widget
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable
from petriscope_tui.workspace import short_path

PICTURES = (".png", ".jpg", ".jpeg")
TEXTS = (".csv", ".md", ".json", ".tsv", ".txt")
READ = 200_000


class FiguresPage(Page):
    """Files at the left, the chosen one at the right."""

    NAME = "figures"
    NEEDS_ATLAS = False
    AUTO_FOCUS = "#files"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy path"),
        Binding("z", "zoom", "Full width"),
        Binding("r", "reread", "Reload"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.files: list[Path] = []
        self._graphics: Widget | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield VirtualTable(
                id="files", empty="nothing in paper_figures yet: run the pipeline (7)"
            )
            with VerticalScroll(id="preview-side"):
                yield Block(id="preview", title="Preview")

    def on_mount(self) -> None:
        files = self.query_one("#files")
        files.border_title = "paper_figures"
        files.add_class("framed")
        super().on_mount()

    def populate(self) -> None:
        super().populate()
        folder = self.owner.workspace.figures
        found = (
            [p for p in folder.rglob("*") if p.is_file() and p.suffix in (*PICTURES, *TEXTS)]
            if folder.is_dir()
            else []
        )
        order = {suffix: i for i, suffix in enumerate((*PICTURES, *TEXTS))}
        self.files = sorted(found, key=lambda p: (order[p.suffix], _natural(p)))
        table = self.query_one("#files", VirtualTable)
        table.edge = self.glyphs.cursor
        p = self.palette
        fields = [
            Field("name", "file", 12, lambda path: path.name, flex=True),
            Field("size", "size", 8, _size, lambda _: p.dim, True),
        ]
        table.show(ListRows([(path, path) for path in self.files]), fields, table.cursor)

    def resumed(self) -> None:
        self.populate()

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        self._preview(self.files[message.row] if message.row < len(self.files) else None)

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        self.query_one("#preview-side").focus()

    def _preview(self, path: Path | None) -> None:
        block, side = (
            self.query_one("#preview", Block),
            self.query_one("#preview-side", VerticalScroll),
        )
        if self._graphics is not None:
            self._graphics.remove()
            self._graphics = None
        side.scroll_home(animate=False)
        if path is None:
            block.show(lambda width: Text("no figure yet", style=self.palette.dim), title="Preview")
            return
        title = path.relative_to(self.owner.workspace.root).as_posix()
        if path.suffix in PICTURES:
            widget = graphics_widget()
            if widget is not None:
                self._graphics = widget(str(path))
                side.mount(self._graphics)
                block.show(
                    lambda width: Text(short_path(path), style=self.palette.dim), title=title
                )
            else:
                height = max(self.size.height - 6, 8)
                block.show(lambda width: self._picture(path, width, height), title=title)
        else:
            block.show(lambda width: self._text(path, width), title=title)

    def _picture(self, path: Path, width: int, height: int) -> Text:
        p = self.palette
        try:
            text = block_art(path, width, height, self.glyphs)
        except OSError as error:
            return Text(f"cannot show the picture: {error}", style=p.not_supported)
        text.append(f"\n{short_path(path)}", style=p.dim)
        return text

    def _text(self, path: Path, width: int) -> Text:
        try:
            content = path.read_bytes()[:READ].decode(errors="replace")
        except OSError as error:
            return Text(str(error), style=self.palette.not_supported)
        if path.suffix in (".csv", ".tsv"):
            return aligned(
                content,
                "," if path.suffix == ".csv" else "\t",
                self.palette.accent,
                self.palette.dim,
                width,
            )
        return Text(content)

    def action_copy(self) -> None:
        """Copy the path."""
        row = self.query_one("#files", VirtualTable).cursor
        if row < len(self.files):
            self.owner.copy(str(self.files[row]))

    def action_zoom(self) -> None:
        """Give the preview the whole width."""
        files = self.query_one("#files")
        files.display = not files.display
        self.call_after_refresh(
            lambda: self._preview(self.files[0] if not self.files else self.files[files.cursor])
        )  # type: ignore[attr-defined]

    def action_reread(self) -> None:
        """Look for figures again."""
        self.populate()


def _natural(path: Path) -> list[tuple[int, str]]:
    """fig2 before fig10."""
    return [
        (int(part), "") if part.isdigit() else (0, part)
        for part in re.split(r"(\d+)", path.as_posix())
    ]


def _size(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "gone"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
