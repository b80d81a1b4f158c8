"""Reference sequence: plain or bgzipped FASTA with its index, whole chromosomes or pieces of them,
as base codes.

An index is believed where the FASTA bears it out: each record begins after its own header line and
ends before the next one's when the file is opened, and every line read has its line feed where the
index puts it. The blocks of a bgzip file are found anew each time, so no .gzi is read.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.textfile import BROKEN, ends_in_bgzf_mark, open_bytes

RANGE = re.compile(r"^(?P<chrom>[^:]+):(?P<first>[0-9]+)-(?P<last>[0-9]+)$")
"""A contig that is a piece of a chromosome: `chr22:37200001-40600000`, first and last base counted
from 1."""

CODES = np.full(256, 255, dtype=np.uint8)
"""0..3 = ACGT in either case, 4 = a letter for an unknown base (IUPAC, X of a mask), 255 = no base:
a gap of an alignment, a letter of a protein, U."""
for _letter in "RYSWKMBDHVNX":
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = 4
for _code, _letter in enumerate("ACGT"):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _code
CODES.setflags(write=False)

SCAN_BYTES = 1 << 24
LONGEST_HEADER = 1 << 20
LINE_ENDS = {1: b"\n", 2: b"\r\n"}


class IndexEntry(NamedTuple):
    """One line of a .fai: name, bases, byte offset of the first base (uncompressed), bases and
    bytes per line."""

    name: str
    bases: int
    offset: int
    line_bases: int
    line_bytes: int

    @property
    def ending(self) -> int:
        """Bytes that end a line."""
        return self.line_bytes - self.line_bases


class Contig(NamedTuple):
    """A stretch of reference held by one FASTA record: 0-based half-open, ``whole`` if it is the
    entire chromosome."""

    chrom: str
    start: int
    end: int
    whole: bool
    name: str
    file: int


class Genome:
    """Random access to the reference.

    Parameters: ``fasta_paths`` — plain or bgzipped FASTA files; an index (.fai) is read where it
    exists and built in memory where it does not. Raises `UserError` naming the file for a missing
    or truncated FASTA, an index that is not its own, two records of one name or covering the same
    stretch, lines of uneven length and, once they are read, letters that are no bases.
    """

    def __init__(self, fasta_paths: Sequence[str | Path]) -> None:
        self.paths = [Path(path) for path in fasta_paths]
        if not self.paths:
            raise UserError(
                "no FASTA file given", field="genome.fasta", remedy="Name at least one FASTA file."
            )
        self._files: list[_Bytes] = []
        self._entries: dict[tuple[int, str], IndexEntry] = {}
        contigs: list[Contig] = []
        for number, path in enumerate(self.paths):
            handle, entries = _open(path)
            self._files.append(handle)
            self._entries |= {(number, entry.name): entry for entry in entries}
            contigs += [_contig(entry, path, number) for entry in entries]
        self._by_chrom: dict[str, list[Contig]] = {}
        for contig in sorted(contigs, key=lambda c: (c.chrom, c.start)):
            rows = self._by_chrom.setdefault(contig.chrom, [])
            if rows and rows[-1].end > contig.start:
                raise UserError(
                    f"record {contig.name!r} covers sequence that {rows[-1].name!r} already holds",
                    file=self.paths[contig.file],
                    remedy="Keep one record per stretch of chromosome.",
                )
            rows.append(contig)
        self._contigs = contigs

    @property
    def contigs(self) -> pd.DataFrame:
        """Columns chrom, start, end (0-based half-open), whole (the entire chromosome), name; in
        file order."""
        return pd.DataFrame(
            [c[:5] for c in self._contigs], columns=["chrom", "start", "end", "whole", "name"]
        )

    def fetch_codes(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Bases of ``chrom`` [start, end) as uint8 (end − start,): 0..3 = ACGT, 4 = anything
        else."""
        contig = self._holding(chrom, start, end)
        return self._read(contig, start - contig.start, end - contig.start)

    def fetch_masked(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Whether each base of ``chrom`` [start, end) is soft-masked (lower case): bool
        (end − start,). Unknown bases (N) are not."""
        contig = self._holding(chrom, start, end)
        letters = self._letters(contig, start - contig.start, end - contig.start)
        return np.asarray((letters >= ord("a")) & (CODES[letters] < 4))

    def _holding(self, chrom: str, start: int, end: int) -> Contig:
        for contig in self._by_chrom.get(chrom, ()):
            if contig.start <= start <= end <= contig.end:
                return contig
        held = (
            ", ".join(f"{c.chrom}:{c.start}-{c.end}" for c in self._by_chrom.get(chrom, ()))
            or "none of it"
        )
        raise UserError(
            f"no sequence for {chrom}:{start}-{end} (held: {held})",
            file=", ".join(str(path) for path in self.paths),
            remedy="Use the genome build and chromosome names of the data set.",
        )

    def gaps(self, chunk: int = 1 << 22) -> pd.DataFrame:
        """Stretches of unknown bases (N): columns chrom, start, end, sorted; reads ``chunk`` bases
        at a time."""
        rows: list[tuple[str, int, int]] = []
        for contigs in self._by_chrom.values():
            for contig in contigs:
                for lower in range(contig.start, contig.end, chunk):
                    upper = min(lower + chunk, contig.end)
                    unknown = np.diff(
                        self.fetch_codes(contig.chrom, lower, upper) == 4,
                        prepend=False,
                        append=False,
                    )
                    edges = np.flatnonzero(unknown) + lower
                    for first, last in edges.reshape(-1, 2).tolist():
                        if rows and rows[-1][0] == contig.chrom and rows[-1][2] == first:
                            rows[-1] = (contig.chrom, rows[-1][1], last)
                        else:
                            rows.append((contig.chrom, first, last))
        return pd.DataFrame(rows, columns=["chrom", "start", "end"])

    def _read(self, contig: Contig, lower: int, upper: int) -> np.ndarray:
        letters = self._letters(contig, lower, upper)
        codes = CODES[letters]
        wrong = np.flatnonzero(codes == 255)
        if len(wrong):
            entry, file = self._entries[contig.file, contig.name], self._files[contig.file]
            at = lower + int(wrong[0])
            byte = entry.offset + at // entry.line_bases * entry.line_bytes + at % entry.line_bases
            raise _no_base(file.path, int(letters[wrong[0]]), file.line_of(byte))
        return codes

    def _letters(self, contig: Contig, lower: int, upper: int) -> np.ndarray:
        entry, file = self._entries[contig.file, contig.name], self._files[contig.file]
        if lower == upper:
            return np.empty(0, np.uint8)
        (first, skip), (last, rest) = (divmod(x, entry.line_bases) for x in (lower, upper - 1))
        begin = entry.offset + first * entry.line_bytes + skip
        raw = np.frombuffer(
            file.read(begin, entry.offset + last * entry.line_bytes + rest + 1), np.uint8
        )
        letters = raw
        if last > first:  # every line but the last is whole once the first is filled up in front
            filled = np.concatenate([np.zeros(skip, np.uint8), raw])
            whole = filled[: (last - first) * entry.line_bytes].reshape(last - first, -1)
            if (whole[:, entry.line_bases :] != list(LINE_ENDS[entry.ending])).any():
                raise _not_its_index(file.path, f"lines of {contig.name!r} are of other lengths")
            letters = np.concatenate([whole[:, : entry.line_bases].ravel(), filled[whole.size :]])
            letters = letters[skip:]
        return letters


class _Bytes:
    """Any stretch of the text of a FASTA file, plain or bgzipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._blocks: np.ndarray | None = None
        """(n + 1,) byte at which each bgzip block begins in the file, and the file's end."""
        self._before = np.zeros(1, np.int64)
        """(n + 1,) bytes of text before each block, and of all."""
        if self._pread(0, 2) == b"\x1f\x8b":
            self._walk()

    def read(self, begin: int, end: int) -> bytes:
        """Bytes [begin, end) of the text; refuses a stretch that the file does not hold."""
        if not 0 <= begin <= end <= self.size:
            raise _damaged(self.path, f"ends at byte {self.size}, before byte {end}")
        if self._blocks is None or begin == end:
            return self._pread(begin, end - begin)
        first = int(np.searchsorted(self._before, begin, side="right")) - 1
        last = max(first + 1, int(np.searchsorted(self._before, end)))
        packed = self._pread(
            int(self._blocks[first]), int(self._blocks[last] - self._blocks[first])
        )
        parts, edges = [], self._blocks[first : last + 1] - self._blocks[first]
        for lower, upper in pairwise(edges.tolist()):
            try:
                part = zlib.decompress(packed[lower + 18 : upper - 8], wbits=-15)
            except zlib.error as error:
                raise _damaged(self.path, f"a bgzip block cannot be unpacked ({error})") from None
            if struct.pack("<II", zlib.crc32(part), len(part)) != packed[upper - 8 : upper]:
                raise _damaged(self.path, "a bgzip block has another checksum than it says")
            parts.append(part)
        start = begin - int(self._before[first])
        return b"".join(parts)[start : start + end - begin]

    def line_of(self, byte: int) -> int:
        """The line, from 1, on which a byte of the text lies."""
        return 1 + sum(
            self.read(begin, min(begin + SCAN_BYTES, byte)).count(b"\n")
            for begin in range(0, byte, SCAN_BYTES)
        )

    def _pread(self, begin: int, count: int) -> bytes:
        """os.pread gives at most 2 GB at once."""
        parts = []
        while count > 0 and (part := os.pread(self._file.fileno(), min(count, 1 << 30), begin)):
            parts.append(part)
            begin, count = begin + len(part), count - len(part)
        return b"".join(parts)

    def _walk(self) -> None:
        """Find the blocks of a bgzip file from one header to the next."""
        at, blocks, sizes = 0, [0], [0]
        while at < self.size:
            head = self._pread(at, 18)
            if len(head) < 18 or head[:4] != b"\x1f\x8b\x08\x04" or head[12:14] != b"BC":
                if at == 0:
                    raise UserError(
                        "is gzip, which cannot be read at random",
                        file=self.path,
                        remedy="Recompress it: `gunzip` then `bgzip`.",
                    )
                raise _damaged(self.path, f"holds no bgzip block at byte {at}")
            at += struct.unpack_from("<H", head, 16)[0] + 1
            blocks.append(at)
            sizes.append(int.from_bytes(self._pread(at - 4, 4), "little"))
        if at > self.size or not ends_in_bgzf_mark(self.path):
            raise _damaged(self.path, "is truncated (bgzip end marker missing)")
        self._blocks, self._before = np.array(blocks), np.cumsum(sizes)
        self.size = int(self._before[-1])


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        what, file=path, remedy="Fetch the FASTA again and rebuild its index with `samtools faidx`."
    )


def _contig(entry: IndexEntry, path: Path, number: int) -> Contig:
    piece = RANGE.match(entry.name)
    if piece is None:
        return Contig(entry.name, 0, entry.bases, True, entry.name, number)
    start, end = int(piece["first"]) - 1, int(piece["last"])
    if end - start != entry.bases:
        raise UserError(
            f"record {entry.name!r} names {end - start} bases but holds {entry.bases}",
            file=path,
            remedy="Name the record chrom:first-last, counted from 1, both ends included.",
        )
    return Contig(piece["chrom"], start, end, False, entry.name, number)


def _open(path: Path) -> tuple[_Bytes, list[IndexEntry]]:
    """Open one FASTA with the index beside it, once it has been found to be its own, or with one
    made in memory."""
    if not path.is_file():
        raise UserError(
            "no such FASTA file",
            file=path,
            remedy="Correct genome.fasta in dataset.yaml or fetch the file.",
        )
    try:
        opened = _Bytes(path)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise UserError(what, file=path, remedy="Give a readable file.") from None
    if not opened.size:
        raise _damaged(path, "the FASTA file is empty")
    if opened.read(0, 1) != b">":
        raise UserError(
            "does not begin with '>'", file=path, remedy="Give a FASTA file (plain or bgzipped)."
        )
    fai = _fai(path)
    if not fai.is_file():
        return opened, _scan(path)
    entries = _read_fai(fai)
    why = _unlike(opened, entries)
    if why is not None:
        _scan(path)  # where the FASTA itself is at fault, this says so, with the line
        raise _not_its_index(path, why)
    return opened, entries


def _fai(path: Path) -> Path:
    return path.with_name(path.name + ".fai")


def _not_its_index(path: Path, why: str) -> UserError:
    return UserError(
        f"the index does not fit {path.name} ({why}): one of the two is truncated or stale",
        file=_fai(path),
        remedy=f"Fetch {path.name} again and rebuild its index with `samtools faidx`; where you "
        "may not write there, link the FASTA into a folder of yours.",
    )


def _no_base(path: Path, letter: int, line: int) -> UserError:
    return UserError(
        f"holds {chr(letter)!r}, which is no letter for a base",
        file=path,
        field=f"line {line}",
        remedy="Give DNA: ACGT, N and the other IUPAC letters, in either case.",
    )


def _read_fai(path: Path) -> list[IndexEntry]:
    entries: dict[str, IndexEntry] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        name, *fields = line.decode(errors="backslashreplace").split("\t")
        whole = len(fields) == 4 and all(re.fullmatch("[0-9]{1,18}", text) for text in fields)
        entry = IndexEntry(name, *map(int, fields)) if whole else None
        if entry is None or name in entries or not entry.bases or not entry.line_bases:
            raise UserError(
                "the index is truncated or damaged",
                file=path,
                field=f"line {number}",
                remedy="Delete it or rebuild it with `samtools faidx`.",
            )
        entries[name] = entry
    if not entries:
        raise UserError(
            "the index is empty", file=path, remedy="Delete it or rebuild it with `samtools faidx`."
        )
    return list(entries.values())


def _unlike(file: _Bytes, entries: list[IndexEntry]) -> str | None:
    """Why an index is not that of a FASTA; None where it is.

    Between the end of one record and the beginning of the next there must be the next one's header
    line and nothing else, and the first line of each must end where the index says.
    """
    end = 0
    for entry in sorted(entries, key=lambda one: one.offset):
        if not entry.name or entry.ending not in LINE_ENDS:
            return f"record {entry.name!r} has no name, or lines that end in {entry.ending} bytes"
        lines, rest = divmod(entry.bases - 1, entry.line_bases)
        stop = entry.offset + lines * entry.line_bytes + rest + 1
        if not end < entry.offset <= min(end + LONGEST_HEADER, file.size):
            return f"record {entry.name!r} is not at byte {entry.offset}"
        between = file.read(end, entry.offset).lstrip(b"\r\n")
        if (
            not between.endswith(b"\n")
            or between.count(b"\n") != 1
            or _name(between) != entry.name
            or (end and file.read(end, end + 1) not in (b"\n", b"\r"))
        ):
            return f"record {entry.name!r} is not at byte {entry.offset}"
        if stop > file.size:
            return f"record {entry.name!r} ends at byte {stop}, the FASTA at {file.size}"
        first = file.read(entry.offset, min(stop, entry.offset + min(entry.line_bytes, SCAN_BYTES)))
        bases = np.frombuffer(first[: entry.line_bases], np.uint8)
        if (CODES[bases] == 255).any() or (
            lines and first[entry.line_bases :] not in (LINE_ENDS[entry.ending], b"")
        ):
            return f"the first line of {entry.name!r} is not {entry.line_bases} bases long"
        end = stop
    if file.size - end > SCAN_BYTES or file.read(end, file.size).strip(b"\r\n"):
        return f"its last record ends at byte {end}, the FASTA at {file.size}"
    return None


def _name(header: bytes) -> str:
    """The name of a record: what follows '>' up to the first blank; empty where there is none."""
    if header[:1] != b">" or header[1:2].isspace():
        return ""
    return (header[1:].split() or [b""])[0].decode(errors="backslashreplace")


def _scan(path: Path) -> list[IndexEntry]:
    """The index of a FASTA file, from reading it once.

    Raises `UserError` naming the line for a record without name or sequence, a second one of the
    same name, a line of another length than the record's first (but the last may be shorter), and
    a letter that is no base.
    """
    entries: list[IndexEntry] = []
    lines: dict[str, int] = {}
    over = False

    def refuse(what: str, line: int) -> UserError:
        remedy = "Correct the FASTA, or write it again (`seqkit seq -w 60`)."
        return UserError(what, file=path, field=f"line {line}", remedy=remedy)

    def complete() -> None:
        if entries and not entries[-1].bases:
            name = entries[-1].name
            raise refuse(f"record {name!r} has no sequence", lines[name])

    number, byte = 1, 0
    for block in _blocks_of_lines(path):
        data = np.frombuffer(block, np.uint8)
        feeds = np.flatnonzero(data == 10)
        starts = np.r_[0, feeds[:-1] + 1]
        ends = feeds - ((feeds > starts) & (data[feeds - 1] == 13))
        heads = np.flatnonzero(data[starts] == ord(">"))
        none = CODES[data] == 255
        none[feeds] = none[ends] = False
        for head in heads.tolist():
            none[starts[head] : feeds[head]] = False
        strange = np.flatnonzero(none)
        if len(strange):
            line = int(np.searchsorted(feeds, strange[0]))
            raise _no_base(path, int(data[strange[0]]), number + line)
        edges = np.r_[0, heads, len(feeds)].tolist()
        for lower, upper in pairwise(edges):
            first = lower
            if lower < upper and data[starts[lower]] == ord(">"):
                complete()
                name = _name(block[starts[lower] : feeds[lower]])
                if not name or name in lines:
                    what = (
                        f"a second record {name!r} (the first is on line {lines[name]})"
                        if name
                        else "a record without a name"
                    )
                    raise refuse(what, number + lower)
                lines[name], over = number + lower, False
                entries.append(IndexEntry(name, 0, byte + int(feeds[lower]) + 1, 0, 0))
                first += 1
            if first == upper:
                continue
            bases = (ends - starts)[first:upper]
            width = (feeds + 1 - starts)[first:upper]
            entry = entries[-1]
            if not entry.line_bytes:
                entry = entry._replace(line_bases=int(bases[0]), line_bytes=int(width[0]))
            other = np.flatnonzero((bases != entry.line_bases) | (width != entry.line_bytes))
            last = -1 if over else int(other[0]) if len(other) else len(bases) - 1
            uneven = last + 1 + np.flatnonzero(bases[last + 1 :])
            if last >= 0 and bases[last] > entry.line_bases:
                uneven = np.array([last])
            if len(uneven):
                what = f"record {entry.name!r} has lines of uneven length"
                raise refuse(what, number + first + int(uneven[0]))
            over = over or bool(len(other))
            entries[-1] = entry._replace(bases=entry.bases + int(bases.sum()))
        number, byte = number + len(feeds), byte + len(block)
    complete()
    return entries


def _blocks_of_lines(path: Path) -> Iterator[bytes]:
    """The text of a file in pieces of whole lines; a last line without its line feed gets one."""
    parts: list[bytes] = []
    with open_bytes(path) as handle:
        try:
            while block := handle.read(SCAN_BYTES):
                cut = block.rfind(b"\n") + 1
                if cut:
                    yield b"".join([*parts, block[:cut]])
                    parts = []
                parts.append(block[cut:])
        except BROKEN as error:
            raise _damaged(path, f"cannot be unpacked ({error})") from None
    if any(parts):
        yield b"".join([*parts, b"\n"])
