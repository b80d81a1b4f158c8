"""Reference sequence: plain or bgzipped FASTA with its index, whole chromosomes or pieces of them,
as base codes."""

from __future__ import annotations

import gzip
import re
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pysam

from petriscope.errors import UserError

RANGE = re.compile(r"^(?P<chrom>[^:]+):(?P<first>\d+)-(?P<last>\d+)$")
"""A contig that is a piece of a chromosome: `chr22:37200001-40600000`, first and last base counted
from 1."""

BGZF_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
CODES = np.full(256, 4, dtype=np.uint8)
for _code, _letter in enumerate("ACGT"):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _code
CODES.setflags(write=False)


class IndexEntry(NamedTuple):
    """One line of a .fai: name, bases, byte offset of the first base (uncompressed), bases and
    bytes per line."""

    name: str
    bases: int
    offset: int
    line_bases: int
    line_bytes: int


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

    Parameters: ``fasta_paths`` — plain or bgzipped FASTA files; an index (.fai, .gzi) is read where
    it exists and built in memory where it does not. Raises `UserError` naming the file for a
    missing, truncated or mismatched FASTA or index, and for two records covering the same stretch.
    """

    def __init__(self, fasta_paths: Sequence[str | Path]) -> None:
        self.paths = [Path(path) for path in fasta_paths]
        if not self.paths:
            raise UserError(
                "no FASTA file given", field="genome.fasta", remedy="Name at least one FASTA file."
            )
        self._files = []
        contigs: list[Contig] = []
        for number, path in enumerate(self.paths):
            handle, entries = _open(path)
            self._files.append(handle)
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
        for contig in self._by_chrom.get(chrom, ()):
            if contig.start <= start <= end <= contig.end:
                return self._read(contig, start - contig.start, end - contig.start)
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
        try:
            text = self._files[contig.file].fetch(contig.name, lower, upper)
        except (OSError, ValueError) as error:
            raise _damaged(
                self.paths[contig.file], f"record {contig.name!r} cannot be read ({error})"
            ) from None
        if len(text) != upper - lower:
            raise _damaged(self.paths[contig.file], f"record {contig.name!r} ends early")
        return CODES[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)]


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


def _open(path: Path) -> tuple[pysam.FastaFile, list[IndexEntry]]:
    """Open one FASTA with a checked index, building the index in a temporary folder where the file
    has none."""
    if not path.is_file():
        raise UserError(
            "no such FASTA file",
            file=path,
            remedy="Correct genome.fasta in dataset.yaml or fetch the file.",
        )
    with path.open("rb") as handle:
        head = handle.read(18)
    compressed = head[:2] == b"\x1f\x8b"
    if not head:
        raise _damaged(path, "the FASTA file is empty")
    if compressed:
        _check_bgzf(path, head)
    elif head[:1] != b">":
        raise UserError(
            "does not begin with '>'", file=path, remedy="Give a FASTA file (plain or bgzipped)."
        )
    fai, gzi = path.with_name(path.name + ".fai"), path.with_name(path.name + ".gzi")
    try:
        if fai.is_file() and (gzi.is_file() or not compressed):
            entries = _read_fai(fai)
            _check_extent(path, fai, gzi if compressed else None, entries)
            return pysam.FastaFile(str(path)), entries
        with tempfile.TemporaryDirectory() as folder:
            made = [str(Path(folder) / "i.fai"), str(Path(folder) / "i.gzi")]
            pysam.faidx(str(path), "--fai-idx", made[0], "--gzi-idx", made[1])
            entries = _read_fai(Path(made[0]))
            opened = pysam.FastaFile(
                str(path),
                filepath_index=made[0],
                filepath_index_compressed=made[1] if compressed else None,
            )
        return opened, entries
    except (OSError, ValueError, pysam.SamtoolsError) as error:
        raise _damaged(path, f"cannot be indexed or opened ({error})") from None


def _check_bgzf(path: Path, head: bytes) -> None:
    """Plain gzip has no random access; a bgzip file without its closing block was cut."""
    if len(head) < 18 or head[3] != 4 or head[12:14] != b"BC":
        raise UserError(
            "is gzip, which cannot be read at random",
            file=path,
            remedy="Recompress it: `gunzip` then `bgzip`.",
        )
    with path.open("rb") as handle:
        handle.seek(-min(len(BGZF_EOF), path.stat().st_size), 2)
        if handle.read() != BGZF_EOF:
            raise _damaged(path, "is truncated (bgzip end marker missing)")


def _read_fai(path: Path) -> list[IndexEntry]:
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t")
        try:
            name, bases, offset, line_bases, line_bytes = fields[0], *(int(f) for f in fields[1:5])
        except ValueError:
            remedy = "Delete it or rebuild it with `samtools faidx`."
            raise UserError(
                "the index is truncated or damaged",
                file=path,
                field=f"line {number}",
                remedy=remedy,
            ) from None
        entries.append(IndexEntry(name, bases, offset, line_bases, line_bytes))
    if not entries:
        raise UserError(
            "the index is empty", file=path, remedy="Delete it or rebuild it with `samtools faidx`."
        )
    return entries


def _check_extent(path: Path, fai: Path, gzi: Path | None, entries: list[IndexEntry]) -> None:
    """The last record of the index must end where the FASTA ends: catches a cut FASTA, a cut index
    and a stale one."""
    size = path.stat().st_size if gzi is None else _uncompressed_size(path, gzi)
    last = max(entries, key=lambda entry: entry.offset)
    full, rest = divmod(last.bases, max(1, last.line_bases))
    end = last.offset + full * last.line_bytes + rest
    slack = last.line_bytes - last.line_bases
    # a final line may or may not end in a newline; some writers add one blank line
    if not end - slack <= size <= end + 2 * slack + 1:
        what = (
            f"the index says the sequence ends at byte {end}, the FASTA at {size}: one of the two "
            "is truncated or stale"
        )
        raise UserError(
            what,
            file=fai,
            remedy=f"Fetch {path.name} again and rebuild its index with `samtools faidx`.",
        )


def _uncompressed_size(path: Path, gzi: Path) -> int:
    """Uncompressed bytes of a bgzip file: the last block the .gzi knows, plus what follows it."""
    raw = gzi.read_bytes()
    count = struct.unpack("<Q", raw[:8])[0] if len(raw) >= 8 else -1
    if len(raw) != 8 + 16 * count:
        raise UserError(
            "the index is truncated",
            file=gzi,
            remedy="Delete it or rebuild it with `samtools faidx`.",
        )
    compressed, before = struct.unpack("<QQ", raw[-16:]) if count else (0, 0)
    with path.open("rb") as handle:
        handle.seek(compressed)
        try:
            with gzip.GzipFile(fileobj=handle) as tail:
                return before + sum(len(part) for part in iter(lambda: tail.read(1 << 20), b""))
        except (OSError, EOFError, gzip.BadGzipFile) as error:
            what = f"the index does not fit the FASTA ({error})"
            raise UserError(
                what, file=gzi, remedy="Rebuild both indices with `samtools faidx`."
            ) from None
