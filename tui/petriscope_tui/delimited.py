"""Delimited files are shown as aligned text (numbers at the right with three digits, a heading,
long files cut with their length said), and tables leave as CSV, BED and bedGraph, written whole or
not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import wrap

from rich.text import Text

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import feature_name
from petriscope.atlas.show import number

WIDEST, NARROWEST = 40, 18


def aligned(
    content: str, separator: str, accent: str, dim: str, width: int, rows: int = 500
) -> Text:
    """``content`` (comma- or tab-separated, first line the heading) as at most ``rows`` lines of
    ``width`` cells.

    Text columns shrink to make room; columns that still do not fit are named instead of shown.
    """
    lines = [row for row in csv.reader(io.StringIO(content), delimiter=separator) if row]
    if not lines:
        return Text("empty", style=dim)
    count = max(len(row) for row in lines)
    cells = [[shortened(v) for v in row] + [""] * (count - len(row)) for row in lines[: rows + 1]]
    numeric = [
        any(row[i] for row in cells[1:]) and all(_is_number(r[i]) for r in cells[1:] if r[i])
        for i in range(count)
    ]
    natural = [max(len(row[i]) for row in cells) for i in range(count)]
    widest = WIDEST
    while widest > NARROWEST and sum(min(w, widest) + 2 for w in natural) > width:
        widest -= 1
    widths = [w if right else min(w, widest) for w, right in zip(natural, numeric)]
    shown = count
    while shown > 1 and sum(w + 2 for w in widths[:shown]) - 2 > width:
        shown -= 1
    text = Text(no_wrap=True)
    for place, row in enumerate(cells):
        line = [
            _cut(v, w).rjust(w) if r else _cut(v, w).ljust(w)
            for v, w, r in zip(row[:shown], widths, numeric)
        ]
        text.append("  ".join(line).rstrip() + "\n", style=f"bold {accent}" if place == 0 else "")
    if shown < count:
        text.append(
            "\n".join(wrap(f"further columns: {', '.join(cells[0][shown:])}", width)) + "\n",
            style=dim,
        )
    if len(lines) > rows + 1:
        text.append(f"the first {rows} of {len(lines) - 1:,} rows", style=dim)
    text.rstrip()
    return text


def shortened(cell: str) -> str:
    """A number of many digits with three; anything else as it is."""
    if "." not in cell and "e" not in cell.lower():
        return cell
    return number(float(cell)) if _is_number(cell) else cell


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def unused(path: Path) -> Path:
    """``path``, or its like with the first number that is free: what is there stays."""
    count = 1
    found = path
    while os.path.lexists(found):
        count += 1
        found = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return found


def write_csv(path: Path, atlas: Atlas, ids: Sequence[int]) -> int:
    """Every column of the features ``ids`` in their order; returns the number of rows."""
    names = list(atlas.columns)

    def lines() -> Iterable[list[object]]:
        yield ["name", *names]
        for identifier, row in zip(ids, atlas.stream(ids, names)):
            yield [feature_name(identifier), *("" if v is None else v for v in row)]

    with _whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows(lines())
    return len(ids)


def write_bed(path: Path, atlas: Atlas, ids: Sequence[int]) -> int:
    """Top bins of the features as BED6: name is feature and unit, score the activation scaled
    to 0-1000."""
    bins = [b for i in ids for b in atlas.contexts(i) if b.chrom is not None]
    top = max((b.activation for b in bins), default=1.0) or 1.0
    bins.sort(key=lambda b: (b.chrom, b.start, b.id))
    lines = (
        f"{b.chrom}\t{b.start}\t{b.end}\t{feature_name(b.id)}:{b.unit.name}\t"
        f"{round(1000 * b.activation / top)}\t.\n"
        for b in bins
    )
    return _write_lines(path, lines)


def write_bedgraph(path: Path, atlas: Atlas, ids: Sequence[int]) -> int:
    """The largest activation of any of the features per bin, as bedGraph."""
    best: dict[tuple[str, int, int], float] = {}
    for identifier in ids:
        for b in atlas.contexts(identifier):
            if b.chrom is None:
                continue
            key = (b.chrom, b.start, b.end)
            best[key] = max(best.get(key, 0.0), b.activation)
    name = feature_name(ids[0]) if len(ids) == 1 else f"{len(ids)}_features"
    lines = [f'track type=bedGraph name="{name}" description="activation"\n']
    lines += [
        f"{chrom}\t{start}\t{end}\t{value:.6g}\n"
        for (chrom, start, end), value in sorted(best.items())
    ]
    return _write_lines(path, lines) - 1


WRITERS: dict[str, Callable[[Path, Atlas, Sequence[int]], int]] = {
    "csv": write_csv,
    "bed": write_bed,
    "bedgraph": write_bedgraph,
}


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with _whole(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for line in lines:
            handle.write(line)
            count += 1
    return count


class _whole:
    """A temporary name beside ``path``, renamed into place on success (petriscope.files would load
    numpy)."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)
