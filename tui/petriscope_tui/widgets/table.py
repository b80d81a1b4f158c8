"""The table draws only what is visible: rows come in pages from any source, so 100,000 rows cost as
much as ten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

PAGE = 64


class Rows(Protocol):
    """Where a table's rows come from."""

    def __len__(self) -> int: ...

    def page(self, start: int, stop: int) -> Sequence[Sequence[Any]]:
        """Rows ``start`` to ``stop``, each with one value per column."""
        ...


class ListRows:
    """Rows that are already in memory."""

    def __init__(self, rows: Sequence[Sequence[Any]] = ()) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def page(self, start: int, stop: int) -> Sequence[Sequence[Any]]:
        return self.rows[start:stop]


@dataclass(frozen=True)
class Field:
    """One column: key, heading, width in cells, text of a value, color of a value, alignment;
    ``flex`` takes what the others leave, ``width`` at least."""

    key: str
    head: str
    width: int
    text: Callable[[Any], str] = str
    style: Callable[[Any], str] | None = None
    right: bool = False
    flex: bool = False


class VirtualTable(ScrollView, can_focus=True):
    """Rows with a cursor, a fixed heading and a first column that stays while the others scroll
    sideways."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(0)", "Top", show=False),
        Binding("end", "jump(1)", "Bottom", show=False),
        Binding("left", "slide(-1)", "Left", show=False),
        Binding("right", "slide(1)", "Right", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--cursor",
        "table--faint",
        "table--sorted",
    }
    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr;
        overflow-x: auto;
        &> .table--head { color: $secondary; background: $surface; }
        &> .table--sorted { color: $primary; background: $surface; text-style: bold; }
        &> .table--cursor { background: $panel; }
        &:focus > .table--cursor { background: $primary 25%; text-style: bold; }
        &> .table--faint { color: $secondary; }
    }
    """

    cursor: reactive[int] = reactive(0)

    class Highlighted(Message):
        """The cursor moved to ``row``."""

        def __init__(self, table: VirtualTable, row: int) -> None:
            super().__init__()
            self.table, self.row = table, row

        @property
        def control(self) -> VirtualTable:
            return self.table

    class Selected(Highlighted):
        """Enter or a click on the row under the cursor."""

    class HeadClicked(Message):
        """A click on a heading."""

        def __init__(self, table: VirtualTable, key: str) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> VirtualTable:
            return self.table

    def __init__(
        self, fields: Sequence[Field] = (), *, empty: str = "nothing here", id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.fields: list[Field] = list(fields)
        self.rows: Rows = ListRows()
        self.empty = empty
        self.sorted_by: tuple[str, bool] | None = None
        self.arrows = ("▲", "▼")
        self.edge = "▌"
        self._pages: dict[int, Sequence[Sequence[Any]]] = {}
        self._ground = Style()

    # Content
    # ------------------------------------------------------------------------------------------

    def show(self, rows: Rows, fields: Sequence[Field] | None = None, cursor: int = 0) -> None:
        """Replace the rows (and the columns), put the cursor on row ``cursor``."""
        self.rows = rows
        if fields is not None:
            self.fields = list(fields)
        self._pages.clear()
        width = sum(f.width + 1 for f in self.fields) + 1
        self.virtual_size = Size(width, len(rows) + 1)
        self.set_reactive(VirtualTable.cursor, max(0, min(cursor, len(rows) - 1)))
        self._reveal(center=True)
        self.refresh()
        self.post_message(self.Highlighted(self, self.cursor))

    def update(self, rows: Rows, fields: Sequence[Field]) -> None:
        """New values in the same rows and columns: cursor and scroll stay, nobody is told."""
        self.rows, self.fields = rows, list(fields)
        self._pages.clear()
        self.refresh()

    def row(self, index: int) -> Sequence[Any] | None:
        """The values of one row."""
        if not 0 <= index < len(self.rows):
            return None
        number = index // PAGE
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) > 40:
                self._pages.pop(next(iter(self._pages)))
            page = self.rows.page(number * PAGE, min((number + 1) * PAGE, len(self.rows)))
            self._pages[number] = page
        return page[index - number * PAGE]

    # Drawing
    # ------------------------------------------------------------------------------------------

    def render_lines(self, crop: Region) -> list[Strip]:
        self._ground = self.rich_style  # worked out once a refresh, not once a line
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._head(width)
        index = y - 1 + self.scroll_offset.y
        base = self._ground
        if index >= len(self.rows):
            message = self.empty if index == 0 and not len(self.rows) else ""
            return Strip(
                [
                    Segment(
                        f" {message}".ljust(width)[:width],
                        base + self.get_component_rich_style("table--faint"),
                    )
                ]
            )
        row = self.row(index)
        assert row is not None
        here = index == self.cursor
        ground = base + self.get_component_rich_style("table--cursor") if here else base
        edge = self.edge if here and self.has_focus else " "
        cells = [(edge, Style())]
        for field, value, room in zip(self.fields, row, self._widths(width)):
            text = field.text(value)
            style = Style.parse(field.style(value)) if field.style else Style()
            cells.append((_fit(text, room, field.right), style))
            cells.append((" ", Style()))
        return self._assemble(cells, ground, width)

    def _widths(self, width: int) -> list[int]:
        """Cells of each column in a table of ``width``."""
        spare = width - 1 - sum(f.width + 1 for f in self.fields)
        flexible = sum(f.flex for f in self.fields)
        more = max(spare, 0) // flexible if flexible else 0
        return [f.width + more if f.flex else f.width for f in self.fields]

    def _head(self, width: int) -> Strip:
        plain = self._ground + self.get_component_rich_style("table--head")
        chosen = self.get_component_rich_style("table--sorted")
        cells = [(" ", Style())]
        for field, room in zip(self.fields, self._widths(width)):
            head, style = field.head, Style()
            if self.sorted_by and self.sorted_by[0] == field.key:
                head, style = f"{head}{self.arrows[self.sorted_by[1]]}", chosen
            cells.append((_fit(head, room, field.right), style))
            cells.append((" ", Style()))
        return self._assemble(cells, plain, width)

    def _assemble(self, cells: list[tuple[str, Style]], ground: Style, width: int) -> Strip:
        """The first column fixed, the rest shifted by the horizontal scroll."""
        fixed = Strip([Segment(text, ground + style) for text, style in cells[:3]])
        rest = Strip([Segment(text, ground + style) for text, style in cells[3:]])
        shift = self.scroll_offset.x
        room = max(width - fixed.cell_length, 0)
        rest = rest.crop(shift, shift + room).extend_cell_length(room, ground)
        return Strip.join([fixed, rest]).crop(0, width)

    # Moving
    # ------------------------------------------------------------------------------------------

    def _reveal(self, center: bool = False) -> None:
        visible = max(self.size.height - 1 - self.show_horizontal_scrollbar, 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + visible:
            target = self.cursor - (visible // 2 if center else visible - 1)
            self.scroll_to(y=target, animate=False, immediate=True)

    def watch_cursor(self, old: int, new: int) -> None:
        """Redraw both lines, keep the cursor in view, tell the screen."""
        for index in (old, new):
            self.refresh(Region(0, index - self.scroll_offset.y + 1, self.size.width, 1))
        self._reveal()
        self.post_message(self.Highlighted(self, new))

    def validate_cursor(self, value: int) -> int:
        return max(0, min(value, len(self.rows) - 1))

    def action_move(self, step: int) -> None:
        self.cursor += step

    def action_page(self, step: int) -> None:
        self.cursor += step * max(self.size.height - 2, 1)

    def action_jump(self, to_end: int) -> None:
        self.cursor = len(self.rows) - 1 if to_end else 0

    def action_slide(self, step: int) -> None:
        self.scroll_to(x=max(self.scroll_offset.x + step * 12, 0), animate=False)

    def action_select(self) -> None:
        if len(self.rows):
            self.post_message(self.Selected(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """A heading sorts, a row takes the cursor, the row under the cursor opens."""
        if event.y == 0:
            place = event.x - 1
            widths = self._widths(self.size.width)
            if widths and place > widths[0]:
                place += self.scroll_offset.x
            for field, room in zip(self.fields, widths):
                if 0 <= place <= room:
                    self.post_message(self.HeadClicked(self, field.key))
                    return
                place -= room + 1
            return
        index = event.y - 1 + self.scroll_offset.y
        if index >= len(self.rows):
            return
        if index == self.cursor or event.chain > 1:
            self.cursor = index
            self.action_select()
        else:
            self.cursor = index

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()


def _fit(text: str, width: int, right: bool) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)
