"""Tab-separated interval files (BED, bedGraph, fragments), plain or gzipped: read in chunks,
checked at the door.

The bytes pass one gate on their way to the fast parser: comments and blank lines are taken out,
every line must have as many columns as the first, and a number is made of the characters of a
number. So the parser meets nothing that it would read in a way of its own (`True` as 1, `1e5` as a
position, a shorter line as one with gaps), and a refusal names the line of the file.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.names import chromosomes_meant
from petriscope.textfile import BROKEN, damaged, open_bytes

CHUNK_ROWS = 1_000_000
BLOCK_BYTES = 1 << 18
HEAD_ROWS = 1_000
"""So many intervals at the start of a file tell what kind of table it is."""

HEADER = re.compile(rb"#|(?:track|browser)(?: |$)")
"""How a line begins that carries no interval; a chromosome may be called track7."""

WHOLE = re.compile(rb"-?[0-9]{1,18}")
REAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
HEADERS = re.compile(rb"\n(?:#|(?:track|browser)(?: |\n))")
MARKS = np.zeros(256, np.uint8)
"""How a line of a block begins that needs a second look: 1 = certainly, 2 = a name may be so."""
MARKS[list(b"#\n \t\x0b\x0c")], MARKS[list(b"tb")] = 1, 2
DIGITS, OF_REAL = b"0123456789", b"+-.eE"


TEXT = b"n"
"""Put before each name on its way to the parser, which would make 1 of `01`, and 1000.0 of `1e3`,
where all names look like numbers."""


class Chunk(NamedTuple):
    """Consecutive intervals of one file: ``frame`` has chrom (categorical), start, end, extras."""

    frame: pd.DataFrame
    first: int
    """How many intervals of the file come before row 0."""
    lines: Lines

    @property
    def head(self) -> list[list[bytes]]:
        """The columns of the first intervals of the file."""
        return self.lines.head

    def at(self, row: int) -> str:
        """Where in the file a row of ``frame`` stands: its line, in words."""
        return f"line {self.lines.number(self.first + row)}"


class Lines:
    """The lines of a table without comments and blank lines, as bytes that `pandas.read_csv` reads.

    Parameters: ``whole`` — columns of whole numbers, ``real`` — columns of finite numbers, ``text``
    — further columns that must be there, each 0-based column → name; ``closed`` — the last line
    must end in a line feed, as every program writes it: without one the file was probably cut;
    ``spaces`` — columns may be separated by spaces where the first line has no tab.
    """

    def __init__(
        self,
        path: Path,
        whole: Mapping[int, str],
        real: Mapping[int, str],
        text: Mapping[int, str],
        *,
        closed: bool = False,
        spaces: bool = False,
    ) -> None:
        self.path, self.whole, self.real, self.text = path, whole, real, text
        self.closed, self.spaces = closed, spaces
        self.columns = 0
        """Columns of the first line; 0 before it is read."""
        self.failed: UserError | None = None
        self._handle = open_bytes(path)
        self._split_on: bytes | None = b"\t"
        self._line = 0
        self._skipped: list[int] = []
        self._rest, self._ready = b"", b""
        self._ended = False
        block = self._next()
        if not block:
            raise UserError(
                "the file is empty: it holds no interval",
                file=path,
                remedy="Give a file with at least one interval.",
            )
        self._ready = _as_text(block)
        first = block.split(b"\n", HEAD_ROWS)[:HEAD_ROWS]
        self.head = [line.split(b"\t") for line in first if line]

    def __iter__(self) -> Lines:
        return self

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes of checked lines, each with `TEXT` before its name; nothing at the
        end of the file."""
        try:
            if not self._ready:
                self._ready = _as_text(self._next())
        except UserError as error:  # the parser would report its own error in place of this one
            self.failed = error
            raise
        size = size if size >= 0 else len(self._ready)
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def number(self, row: int) -> int:
        """The line of the file on which interval number ``row`` (from 0) stands."""
        line = row + 1
        for skipped in self._skipped:
            if skipped > line:
                break
            line += 1
        return line

    def _next(self) -> bytes:
        """The next block of checked lines; nothing at the end of the file."""
        while not self._ended:
            try:
                block = self._handle.read(BLOCK_BYTES)
            except BROKEN as error:
                raise damaged(self.path, error) from None
            if block:
                cut = block.rfind(b"\n") + 1
                if not cut:
                    self._rest += block
                    continue
                block, self._rest = self._rest + block[:cut], block[cut:]
            else:
                self._ended = True
                self._handle.close()
                if not self._rest:
                    break
                block = self._rest + b"\n"
            checked = self._checked(block)
            if self._ended and checked and self.closed:
                raise UserError(
                    "does not end in a line feed: the last line may be cut",
                    file=self.path,
                    field=f"line {self._line}",
                    remedy="Fetch or write the file again; where it is whole, end its last line.",
                )
            if checked:
                return checked
        return b""

    def _checked(self, block: bytes) -> bytes:
        """A block of whole lines as the parser may have it.

        Without its digits a good line has nothing in the columns of whole numbers, and a block is
        half as long.
        """
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        before = self._line
        if not self.columns:
            block = self._begin(block)
        if self._split_on is None or self._is_odd(block):
            block = self._without_comments(block)
        else:
            self._line += block.count(b"\n")
        if not block:
            return b""
        rest = block.translate(None, DIGITS)
        for others, columns, form in ((b"", self.whole, WHOLE), (OF_REAL, self.real, REAL)):
            if not columns:
                continue
            rest = rest.translate(None, others) if others else rest
            data = np.frombuffer(rest, np.uint8)
            ends, tabs = np.flatnonzero(data == 10), np.flatnonzero(data == 9)
            each = self.columns - 1
            if len(tabs) != each * len(ends):
                raise self._uneven(block, before)
            edges = tabs.reshape(len(ends), each)
            if (edges[:, -1] > ends).any() or (edges[1:, 0] < ends[:-1]).any():
                raise self._uneven(block, before)
            for column, name in columns.items():
                after = edges[:, column] if column < each else ends
                for row in np.flatnonzero(after - edges[:, column - 1] != 1).tolist():
                    value = block.split(b"\n")[row].split(b"\t")[column]
                    if not form.fullmatch(value):
                        raise self._refuse(name, value, self._number_in_block(before, row))
        return block

    def _number_in_block(self, before: int, row: int) -> int:
        """The line of the file that a row of the block read last stands on."""
        kept = np.setdiff1d(np.arange(before + 1, self._line + 1), self._skipped)
        return int(kept[row])

    def _is_odd(self, block: bytes) -> bool:
        """True where a block may hold more than lines of values."""
        if b"\r" in block or b"\0" in block:
            return True
        data = np.frombuffer(b"\n" + block, np.uint8)
        marks = MARKS[data[np.flatnonzero(data[:-1] == 10) + 1]]
        if not marks.any():
            return False
        return bool((marks == 1).any() or HEADER.match(block) or HEADERS.search(block))

    def _begin(self, block: bytes) -> bytes:
        """A block from the first line of values on, which says how many columns there are."""
        while block:
            line, _, after = block.partition(b"\n")
            if line.strip() and not HEADER.match(line):
                if self.spaces and b"\t" not in line:
                    self._split_on = None
                self.columns = len(line.split(self._split_on))
                for column, name in self._wanted().items():
                    if column >= self.columns:
                        raise self._refuse(name, None, self._line + 1)
                break
            self._line += 1
            self._skipped.append(self._line)
            block = after
        return block

    def _without_comments(self, block: bytes) -> bytes:
        kept = []
        for line in block.split(b"\n")[:-1]:
            self._line += 1
            if not line.strip() or HEADER.match(line):
                self._skipped.append(self._line)
                continue
            for mark, what in ((b"\0", "a NUL byte"), (b"\r", "a lone carriage return")):
                if mark in line:
                    raise UserError(
                        f"holds {what}: it is no text table, or of another system",
                        file=self.path,
                        field=f"line {self._line}",
                        remedy="Save it as tab-separated text in UTF-8.",
                    )
            kept.append(b"\t".join(line.split()) if self._split_on is None else line)
        return b"".join(line + b"\n" for line in kept)

    def _wanted(self) -> dict[int, str]:
        return dict(sorted({0: "chrom", **self.whole, **self.real, **self.text}.items()))

    def _uneven(self, block: bytes, before: int) -> UserError:
        for row, line in enumerate(block.split(b"\n")):
            fields = line.split(b"\t")
            if len(fields) != self.columns:
                for column, name in self._wanted().items():
                    if column >= len(fields):
                        return self._refuse(name, None, self._number_in_block(before, row))
                break
        return UserError(
            f"has {len(fields)} columns where the first line has {self.columns}",
            file=self.path,
            field=f"line {self._number_in_block(before, row)}",
            remedy="Give every line the same columns; a last line that is short was cut.",
        )

    def _refuse(self, name: str, value: bytes | None, line: int) -> UserError:
        return bad_value(self.path, self._wanted(), name, value, line)


def _as_text(block: bytes) -> bytes:
    """Lines with `TEXT` before each."""
    return TEXT + block.replace(b"\n", b"\n" + TEXT)[: -len(TEXT)] if block else block


def bad_value(
    path: Path,
    columns: Mapping[int, str],
    name: str,
    value: bytes | str | None,
    line: int | np.integer,
) -> UserError:
    """The refusal of one value of a table, or of its absence."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return UserError(
        f"{name} is {text!r}" if text else f"{name} is missing",
        file=path,
        field=f"line {line}",
        remedy=f"Give tab-separated lines: {', '.join(columns.values())}; numbers in plain digits.",
    )


def endless_value(path: Path, name: str, where: str) -> UserError:
    """The refusal of a number such as 1e400."""
    what = f"{name} is larger than any number the computer holds"
    return UserError(what, file=path, field=where, remedy="Give finite numbers.")


def known_sizes(contigs: pd.DataFrame) -> dict[str, int]:
    """Chromosome → length, for those the genome holds whole (`Genome.contigs`); pieces tell nothing
    about the end."""
    whole = contigs[contigs.whole] if "whole" in contigs else contigs
    return {str(chrom): int(end) for chrom, end in zip(whole.chrom, whole.end)}


def read_chunks(
    path: str | Path,
    extra: Mapping[int, str] | None = None,
    *,
    text: Mapping[int, str] | None = None,
    rows: int = CHUNK_ROWS,
    closed: bool = True,
    spaces: bool = False,
) -> Iterator[Chunk]:
    """Yield an interval file in chunks of ``rows`` intervals.

    Parameters: ``extra`` — further columns of finite numbers, 0-based column → name, read as
    float64; ``text`` — further columns kept as text; ``closed``, ``spaces`` — see `Lines`. Comment,
    track and browser lines and blank lines are passed over. Raises `UserError` naming file, line
    and remedy for a missing, empty or damaged file, a line of other columns than the first, and a
    value that is not a number.
    """
    path = Path(path)
    whole, real, words = {1: "start", 2: "end"}, dict(extra or {}), dict(text or {})
    lines = Lines(path, whole, real, words, closed=closed, spaces=spaces)
    names = dict(sorted({0: "chrom", **whole, **real, **words}.items()))
    kinds = {"chrom": "category", "start": "int64", "end": "int64"}
    kinds |= dict.fromkeys(real.values(), "float64") | dict.fromkeys(words.values(), "str")
    first = 0
    try:
        reader = pd.read_csv(
            lines,  # type: ignore[arg-type]
            sep="\t",
            header=None,
            usecols=list(names),
            names=list(names.values()),
            dtype=kinds,  # type: ignore[arg-type]
            chunksize=rows,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            na_filter=False,
            lineterminator="\n",
        )
        for frame in reader:
            frame["chrom"] = frame["chrom"].cat.rename_categories(lambda name: name[len(TEXT) :])
            chunk = Chunk(frame, first, lines)
            if "" in frame["chrom"].cat.categories:
                unnamed = first + int(np.flatnonzero(frame["chrom"] == "")[0])
                raise bad_value(path, names, "chrom", b"", lines.number(unnamed))
            for name in real.values():
                endless = np.flatnonzero(~np.isfinite(frame[name].to_numpy()))
                if len(endless):
                    raise endless_value(path, name, chunk.at(int(endless[0])))
            yield chunk
            first += len(frame)
    except (ValueError, OverflowError, OSError, pd.errors.ParserError) as error:
        raise (lines.failed or diagnose(path, lines, names, error)) from None


def read_intervals(path: str | Path) -> pd.DataFrame:
    """A whole interval file (such as a blacklist): columns chrom (str), start, end, in file order,
    checked."""
    path = Path(path)
    parts = []
    for chunk in read_chunks(path, closed=False):
        check_bounds(path, chunk, {})
        parts.append(chunk.frame.astype({"chrom": str}))
    return pd.concat(parts, ignore_index=True)


def check_bounds(path: Path, chunk: Chunk, sizes: Mapping[str, int]) -> None:
    """Refuse an interval that is empty, begins before 0 or ends beyond its chromosome, naming its
    line."""
    frame = chunk.frame
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    wrong = np.flatnonzero((start < 0) | (end <= start))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"interval {frame['chrom'].iloc[row]}:{start[row]}-{end[row]} is empty or negative",
            file=path,
            field=chunk.at(row),
            remedy="Give 0-based half-open intervals with start < end.",
        )
    chroms = frame["chrom"].cat
    limit = np.array(
        [sizes.get(str(name), np.iinfo(np.int64).max) for name in chroms.categories], dtype=np.int64
    )
    beyond = np.flatnonzero(end > limit[chroms.codes.to_numpy()])
    if len(beyond):
        row = int(beyond[0])
        chrom = str(frame["chrom"].iloc[row])
        raise UserError(
            f"interval {chrom}:{start[row]}-{end[row]} ends beyond {chrom}, which has "
            f"{sizes[chrom]} bp",
            file=path,
            field=chunk.at(row),
            remedy="Use a file of the data set's genome build.",
        )


class OrderCheck:
    """Fed the chunks of one file in turn, refuses positions that run backwards or a chromosome that
    comes back."""

    def __init__(self, path: Path, *, disjoint: bool = False) -> None:
        self.path, self.disjoint = path, disjoint
        self.chrom: str | None = None
        self.last = 0
        self.done: set[str] = set()

    def feed(self, chunk: Chunk) -> None:
        """Check ``chunk`` against what came before; with ``disjoint``, also refuse an overlap with
        the predecessor."""
        frame = chunk.frame
        codes = frame["chrom"].cat.codes.to_numpy()
        names = [str(name) for name in frame["chrom"].cat.categories]
        start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
        before = np.r_[self.last, (end if self.disjoint else start)[:-1]]
        fresh = np.r_[self.chrom != names[codes[0]], codes[1:] != codes[:-1]]
        backwards = np.flatnonzero(~fresh & (start < before))
        if len(backwards):
            self._refuse(
                chunk, int(backwards[0]), "overlaps or precedes" if self.disjoint else "precedes"
            )
        for row in np.flatnonzero(fresh).tolist():
            if self.chrom is not None:
                self.done.add(self.chrom)
            self.chrom = names[codes[row]]
            if self.chrom in self.done:
                self._refuse(
                    chunk, row, f"comes back to {self.chrom} after other chromosomes, so precedes"
                )
        self.last = int((end if self.disjoint else start)[-1])

    def _refuse(self, chunk: Chunk, row: int, how: str) -> None:
        raise UserError(
            f"is not sorted: the interval {how} an earlier one",
            file=self.path,
            field=chunk.at(row),
            remedy="Sort by chromosome, then start (`sort -k1,1 -k2,2n`).",
        )


def check_names(path: Path, seen: set[str], wanted: set[str]) -> None:
    """Refuse a file none of whose chromosome names occurs in the genome (`1` against `chr1`,
    another build)."""
    if seen & wanted:
        return
    shown, ours = sorted(seen)[:3], sorted(wanted)[:3]
    raise UserError(
        f"no interval lies on the genome: the file says {', '.join(shown)}, the genome "
        f"{', '.join(ours)}",
        file=path,
        field="column 1",
        remedy=chromosomes_meant(seen, wanted),
    )


def diagnose(path: Path, read: Lines, names: Mapping[int, str], error: Exception) -> UserError:
    """Find, line by line, what the fast parser stumbled over: a number such as `1e` or `--5`, or
    text that is not UTF-8."""
    again = Lines(path, read.whole, read.real, read.text, spaces=read.spaces)
    row = 0
    while block := again.read():
        for line in block.split(b"\n")[:-1]:
            fields = line[len(TEXT) :].split(b"\t")
            for column, name in names.items():
                form = REAL if column in read.real else WHOLE if column in read.whole else None
                if form and not form.fullmatch(fields[column]):
                    return bad_value(path, names, name, fields[column], again.number(row))
                if form is REAL and not math.isfinite(float(fields[column])):
                    return endless_value(path, name, f"line {again.number(row)}")
                try:
                    fields[column].decode()
                except UnicodeDecodeError:
                    where = f"line {again.number(row)}"
                    what = f"{name} is not UTF-8 text"
                    return UserError(what, file=path, field=where, remedy="Save it as UTF-8.")
            row += 1
    return UserError(
        f"cannot be read ({error})", file=path, remedy="Give a tab-separated table in UTF-8."
    )
