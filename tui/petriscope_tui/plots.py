"""Small plots are styled text: pure functions of values, width and height; braille where the
terminal has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text

from petriscope.atlas.show import axis
from petriscope_tui.glyphs import Glyphs

_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True)
class Series:
    """One curve: points (x, y), optional (lo, hi) per point, a color and a one-letter mark drawn
    at its points."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    mark: str = ""
    intervals: Sequence[tuple[float, float] | None] = field(default=())


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """A horizontal bar filling ``share`` of ``width`` cells, to an eighth of a cell."""
    share = min(max(share, 0.0), 1.0)
    if not glyphs.unicode:
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (glyphs.eighths[rest] if rest else "")).ljust(width)


def spark(values: Sequence[float], glyphs: Glyphs, log: bool = True) -> str:
    """One character per value, height by value (by log(1 + value) where ``log``)."""
    heights = [math.log1p(max(v, 0)) if log else max(v, 0) for v in values]
    top = max(heights, default=0)
    if not top:
        return glyphs.sparks[0] * len(heights)
    return "".join(glyphs.sparks[max(math.ceil(h / top * 8), 0)] for h in heights)


def columns(values: Sequence[float], height: int, glyphs: Glyphs, width: int = 1) -> list[str]:
    """A column chart, top line first, each column ``width`` cells."""
    top = max(values, default=0) or 1
    lines = []
    for level in range(height, 0, -1):
        line = ""
        for value in values:
            eighths = round(value / top * height * 8) - (level - 1) * 8
            line += glyphs.sparks[min(max(eighths, 0), 8)] * width
        lines.append(line)
    return lines


def span(
    lo: float | None,
    estimate: float | None,
    hi: float | None,
    low: float,
    high: float,
    width: int,
    glyphs: Glyphs,
) -> str:
    """An interval on a line from ``low`` to ``high``: ``──●──`` with ``│`` at zero."""
    cells = [" "] * width

    def place(value: float) -> int:
        return min(max(round((value - low) / ((high - low) or 1) * (width - 1)), 0), width - 1)

    if lo is not None and hi is not None:
        for i in range(place(lo), place(hi) + 1):
            cells[i] = glyphs.rule
    if low <= 0 <= high and cells[place(0)] == " ":
        cells[place(0)] = glyphs.column
    if estimate is not None:
        cells[place(estimate)] = glyphs.dot
    return "".join(cells)


def line_plot(
    series: Sequence[Series],
    width: int,
    height: int,
    glyphs: Glyphs,
    dim: str,
    x_label: str = "",
    y_label: str = "",
    floor: float = -math.inf,
) -> Text:
    """Curves with their intervals in a frame of ``width`` x ``height`` cells, axes and legend
    included.

    Positive x that span a factor of ten or more stand on a logarithmic axis; what lies below
    ``floor`` is not drawn.
    """
    points = [p for s in series for p in s.points]
    if not points:
        return Text("no data", style=dim)
    xs = [p[0] for p in points]
    scale = math.log if min(xs) > 0 and max(xs) >= 10 * min(xs) else float
    ys = [p[1] for p in points] + [v for s in series for i in s.intervals if i for v in i]
    y0, y1 = max(min(*ys, 0.0), floor), max(*ys, 0.0)
    y1 = y1 if y1 > y0 else y0 + 1
    x0, x1 = min(xs), max(xs)
    left, right = scale(x0), scale(x1)
    reach = right - left or 1.0
    ticks = [axis(y1), axis((y0 + y1) / 2), axis(y0)]
    gutter = max(len(t) for t in ticks) + 1
    legend = _legend(series, width, dim)
    rows = max(height - 1 - len(legend) - (1 if y_label else 0), 3)
    cols = max(width - gutter - 2, 8)
    canvas = _Canvas(cols, rows, glyphs)
    place = lambda x, y: ((scale(x) - left) / reach, (y - y0) / (y1 - y0))
    canvas.line((0.0, (0 - y0) / (y1 - y0)), (1.0, (0 - y0) / (y1 - y0)), dim, 3)
    for one in series:
        for point, ends in zip(one.points, one.intervals):
            if ends:
                canvas.line(place(point[0], ends[0]), place(point[0], ends[1]), one.style, 2)
    for one in series:
        for a, b in zip(one.points, one.points[1:]):
            canvas.line(place(*a), place(*b), one.style, 1)
    for one in series:
        for point in one.points:
            canvas.mark(place(*point), one.mark or glyphs.dot, one.style)
    text = Text(no_wrap=True)
    if y_label:
        text.append(y_label + "\n", style=dim)
    for row in range(rows):
        tick = {0: ticks[0], rows // 2: ticks[1], rows - 1: ticks[2]}.get(row, "")
        text.append(f"{tick:>{gutter}}{glyphs.column}", style=dim)
        text.append_text(canvas.row(row))
        text.append("\n")
    first, last = axis(x0), axis(x1)
    middle = f"{x_label}{' (log scale)' if scale is math.log else ''}".center(
        max(cols - len(first) - len(last), 0)
    )
    text.append(" " * (gutter + 1) + first + middle + last, style=dim)
    for line in legend:
        text.append("\n")
        text.append_text(line)
    return text


def _legend(series: Sequence[Series], width: int, dim: str) -> list[Text]:
    lines, line = [], Text(" ", no_wrap=True)
    for one in series:
        if not one.name:
            continue
        if line.cell_len > 1 and line.cell_len + len(one.name) + 4 > width:
            lines.append(line)
            line = Text(" ", no_wrap=True)
        line.append(f"{one.mark or '-'} ", style=f"bold {one.style}")
        line.append(f"{one.name}  ", style=dim)
    if line.cell_len > 1:
        lines.append(line)
    return lines


class _Canvas:
    """A grid of cells, 2 x 4 dots each in braille, 1 x 1 in ASCII; coordinates are shares of width
    and height, y up."""

    def __init__(self, width: int, height: int, glyphs: Glyphs) -> None:
        self.width, self.height, self.unicode = width, height, glyphs.unicode
        self.dx, self.dy = (2, 4) if glyphs.unicode else (1, 1)
        self.dots = [[0] * width for _ in range(height)]
        self.marks: dict[tuple[int, int], str] = {}
        self.styles: dict[tuple[int, int], str] = {}

    def line(self, a: tuple[float, float], b: tuple[float, float], style: str, step: int) -> None:
        """A straight line; ``step`` leaves every n-th dot (2 and 3 look dotted)."""
        wide, high = self.width * self.dx - 1, self.height * self.dy - 1
        ax, ay, bx, by = a[0] * wide, a[1] * high, b[0] * wide, b[1] * high
        count = max(int(max(abs(ax - bx), abs(ay - by))), 1)
        for i in range(0, count + 1, step):
            x, y = round(ax + (bx - ax) * i / count), round(high - (ay + (by - ay) * i / count))
            column, row = x // self.dx, y // self.dy
            if 0 <= column < self.width and 0 <= row < self.height:
                self.dots[row][column] |= _BRAILLE[y % 4][x % 2] if self.unicode else 1
                self.styles[row, column] = style

    def mark(self, at: tuple[float, float], mark: str, style: str) -> None:
        """A character over everything drawn so far."""
        column = round(at[0] * (self.width * self.dx - 1)) // self.dx
        row = round((1 - at[1]) * (self.height * self.dy - 1)) // self.dy
        if 0 <= column < self.width and 0 <= row < self.height:
            self.marks[row, column] = mark
            self.styles[row, column] = style

    def row(self, row: int) -> Text:
        """One line of the drawing."""
        text = Text(no_wrap=True)
        for column, dots in enumerate(self.dots[row]):
            mark = self.marks.get((row, column))
            drawn = chr(0x2800 + dots) if self.unicode and dots else "." if dots else " "
            text.append(mark or drawn, style=self.styles.get((row, column), ""))
        return text
