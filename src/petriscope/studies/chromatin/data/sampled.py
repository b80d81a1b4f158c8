"""The first and last lines of a table of intervals and some between them, however large it is."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from petriscope.errors import UserError
from petriscope.textfile import BGZF_EOF, GZIP, is_bgzip

WHOLE = 32 << 20
"""A file up to this size (bytes on disk) is read whole."""
PLACES = 400
"""So many places of a file are looked at between its ends."""
ENDS = 100
"""Lines looked at at either end."""
NEWLINE = b"\n"
HALVED = 4_000
"""Lines looked at in search of further chromosomes."""
STRETCH = 1 << 16
"""Bytes read at each place of a file that is not read whole."""


class Line(NamedTuple):
    """A line and where it stands."""

    text: str
    where: Callable[[], str]
    """In words: its number, or about where in the file."""


class Sampled(NamedTuple):
    """What was looked at of one file."""

    lines: list[Line]
    """In file order; the first and the last are the file's own where ``to_the_end``."""
    records: int
    """Lines that are no comment; an estimate where not ``counted``."""
    counted: bool
    to_the_end: bool


def sample(path: Path) -> Sampled:
    """Look at a text file, plain or gzipped: whole where it is small, else at places in it.

    Gzip without blocks cannot be entered in its middle: of a large one only the beginning is seen.
    Raises `UserError` for a file that is missing, empty, damaged or truncated.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(18)
            handle.seek(-min(size, len(BGZF_EOF)), os.SEEK_END)
            if is_bgzip(head) and handle.read() != BGZF_EOF:
                raise EOFError("bgzip end marker missing")
            handle.seek(0)
            if size <= WHOLE:
                data = handle.read()
                return _of_bytes(gzip.decompress(data) if head[:2] == GZIP else data, path)
            if head[:2] == GZIP and not is_bgzip(head):
                return _beginning(handle, size, path)
            return _at_places(handle, size, path, blocks=is_bgzip(head))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"damaged or truncated ({error})", file=path, remedy="Fetch or write the file again."
        ) from None


def is_comment(text: bytes) -> bool:
    """A line of a table that holds no interval."""
    return not text.strip() or text.startswith(b"#") or text.split()[0] in (b"track", b"browser")


def _of_bytes(data: bytes, path: Path) -> Sampled:
    """The sample of a text that is in memory: both ends, lines evenly between them, and one of each
    chromosome of a table that is sorted by it."""
    starts: set[int] = set()
    begin = 0
    while begin < len(data) and len(starts) < ENDS:
        if not is_comment(data[begin : _line_end(data, begin)]):
            starts.add(begin)
        begin = _line_end(data, begin) + 1
    _refuse_empty(bool(starts), path)
    first = min(starts)
    end = len(data.rstrip(b"\n"))
    for _ in range(ENDS):
        starts.add(data.rfind(b"\n", 0, end) + 1)
        end = data.rfind(b"\n", 0, end)
        if end < first:
            break
    starts |= {_line_start(data, len(data) * place // PLACES) for place in range(PLACES)}
    starts = {start for start in starts if start >= first}
    starts |= _changes(data, sorted(starts))
    texts = {start: data[start : _line_end(data, start)] for start in sorted(starts)}
    lines = [
        _line(text, partial(_number, data, start))
        for start, text in texts.items()
        if not is_comment(text)
    ]
    total = data.count(b"\n", first) + (not data.endswith(b"\n"))
    return Sampled(lines, total, True, True)


def _number(data: bytes, start: int) -> str:
    return f"line {data.count(NEWLINE, 0, start) + 1}"


def _changes(data: bytes, starts: list[int]) -> set[int]:
    """Lines between ``starts`` found by halving each stretch on whose ends the chromosomes differ:
    one of every chromosome where the table is sorted by it."""
    found: set[int] = set()
    waiting = list(pairwise(starts))
    while waiting and len(found) < HALVED:
        a, b = waiting.pop()
        if _chrom(data, a) == _chrom(data, b):
            continue
        middle = _line_start(data, (a + b) // 2)
        middle = middle if middle > a else _line_end(data, a) + 1
        if middle < b:
            found.add(middle)
            waiting += [(a, middle), (middle, b)]
    return found


def _chrom(data: bytes, start: int) -> bytes:
    return data[start : start + 200].split(b"\n", 1)[0].split(b"\t", 1)[0]


def _line_start(data: bytes, at: int) -> int:
    return data.rfind(b"\n", 0, at) + 1


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _line(text: bytes, where: Callable[[], str]) -> Line:
    return Line(text.removesuffix(b"\r").decode("utf-8", "replace"), where)


def _refuse_empty(found: bool, path: Path) -> None:
    if not found:
        raise UserError(
            "the file is empty", file=path, remedy="Give a file with at least one interval."
        )


def _beginning(handle: BinaryIO, size: int, path: Path) -> Sampled:
    """The beginning of a large gzip stream."""
    with gzip.GzipFile(fileobj=handle) as unpacked:
        data = unpacked.read(16 * STRETCH)
        read = handle.tell()
    first = _of_bytes(data[: data.rfind(b"\n") + 1], path)
    return Sampled(first.lines, int(first.records * size / max(read, 1)), False, False)


def _at_places(handle: BinaryIO, size: int, path: Path, *, blocks: bool) -> Sampled:
    """Stretches of a large plain or bgzip file, its first and last among them."""
    lines: list[Line] = []
    rows = seen = 0
    for place in range(PLACES + 1):
        last = place == PLACES
        at = max(0, size - 4 * STRETCH) if last else size * place // (PLACES + 1)
        handle.seek(at)
        raw = handle.read(4 * STRETCH if blocks or last else STRETCH)
        data, used = _blocks(raw, all_of_them=last) if blocks else (raw, len(raw))
        seen += used
        rows += data.count(b"\n")
        body = data if place == 0 else data[data.find(b"\n") + 1 :]
        body = body if last else body[: body.rfind(b"\n") + 1]
        texts = [text for text in body.split(b"\n") if not is_comment(text)]
        chosen = texts[:ENDS] if place == 0 else texts[-ENDS:] if last else texts[:1]
        where = "the end" if last else f"near byte {at:,}" if at else "the beginning"
        lines += [_line(text, partial(str, where)) for text in chosen]
    _refuse_empty(bool(lines), path)
    return Sampled(lines, int(rows * size / max(seen, 1)), False, True)


def _blocks(raw: bytes, *, all_of_them: bool) -> tuple[bytes, int]:
    """What some whole blocks of bgzip in ``raw`` hold, and how many bytes those take."""
    parts, begin = list[bytes](), next(_block_starts(raw), len(raw))
    at = begin
    while at + 18 <= len(raw) and is_bgzip(raw[at : at + 18]):
        length = int.from_bytes(raw[at + 16 : at + 18], "little") + 1
        if at + length > len(raw) or (len(parts) >= 2 and not all_of_them):
            break
        parts.append(zlib.decompress(raw[at + 18 : at + length - 8], wbits=-15))
        at += length
    return b"".join(parts), at - begin


def _block_starts(raw: bytes) -> Iterator[int]:
    """Where blocks of bgzip begin: the mark, and another one where the first says it ends."""
    at = raw.find(b"\x1f\x8b\x08\x04")
    while at >= 0:
        if is_bgzip(raw[at : at + 18]):
            following = at + int.from_bytes(raw[at + 16 : at + 18], "little") + 1
            if following >= len(raw) or is_bgzip(raw[following : following + 18]):
                yield at
        at = raw.find(b"\x1f\x8b\x08\x04", at + 1)
