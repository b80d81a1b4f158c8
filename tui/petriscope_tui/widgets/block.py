"""A block frames drawn text and redraws itself for the width it is given."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

Draw = Callable[[int], Text]


class Block(Widget):
    """``draw(width)`` gives the text; the height follows from it."""

    DEFAULT_CSS = """
    Block { height: auto; width: 1fr; }
    """

    def __init__(
        self, draw: Draw | None = None, *, title: str = "", id: str | None = None, classes: str = ""
    ) -> None:
        super().__init__(id=id, classes=f"card {classes}")
        self._draw: Draw = draw or (lambda width: Text(""))
        self._drawn: tuple[int, Text] | None = None
        self.border_title = title or None

    def show(self, draw: Draw, title: str | None = None) -> None:
        """Draw something else."""
        self._draw, self._drawn = draw, None
        if title is not None:
            self.border_title = title
        self.refresh(layout=True)

    def _text(self, width: int) -> Text:
        if self._drawn is None or self._drawn[0] != width:
            lines = self._draw(max(width, 10)).split("\n", allow_blank=True)
            for line in lines:
                line.truncate(max(width, 1), overflow="ellipsis")
            self._drawn = (width, Text("\n").join(lines))
        return self._drawn[1]

    def render(self) -> Text:
        return self._text(self.content_size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._text(width).plain.count("\n") + 1

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width
