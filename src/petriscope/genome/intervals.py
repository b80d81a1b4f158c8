"""Tab-separated interval files (BED, bedGraph, fragments), plain or gzipped: read in chunks,
checked at the door."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.names import chromosomes_meant

CHUNK_ROWS = 1_000_000
HEADERS = (b"#", b"track", b"browser")


class Chunk(NamedTuple):
    """Consecutive lines of one file: ``frame`` has chrom (categorical), start, end, extras;
    ``line`` numbers row 0."""

    frame: pd.DataFrame
    line: int


def known_sizes(contigs: pd.DataFrame) -> dict[str, int]:
    """Chromosome → length, for those the genome holds whole (`Genome.contigs`); pieces tell nothing
    about the end."""
    whole = contigs[contigs.whole] if "whole" in contigs else contigs
    return {str(chrom): int(end) for chrom, end in zip(whole.chrom, whole.end)}


def read_chunks(
    path: str | Path, extra: Mapping[int, str] | None = None, *, rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Yield an interval file in chunks of ``rows`` lines.

    Parameters: ``extra`` — further numeric columns, 0-based column → name, read as float64.
    Comment, track and browser lines may open the file. Raises `UserError` naming file, line and
    remedy for a missing, empty or damaged file, a missing column and a value that is not a number.
    """
    path = Path(path)
    extra = dict(extra or {})
    skip = _header_lines(path)
    columns = {0: "chrom", 1: "start", 2: "end", **extra}
    kinds = {
        "chrom": "category",
        "start": "int64",
        "end": "int64",
        **dict.fromkeys(extra.values(), "float64"),
    }
    line = skip + 1
    try:
        reader = pd.read_csv(
            path,
            sep="\t",
            header=None,
            usecols=sorted(columns),
            names=[columns[i] for i in sorted(columns)],
            dtype=kinds,  # type: ignore[arg-type]
            skiprows=skip,
            chunksize=rows,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            compression="gzip" if is_gzip(path) else None,
        )
        for frame in reader:
            if frame["chrom"].isna().any() or any(
                frame[name].isna().any() for name in extra.values()
            ):
                raise ValueError("missing value")
            yield Chunk(frame, line)
            line += len(frame)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, error) from None
    except (
        ValueError,
        OverflowError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        OSError,
    ) as error:
        raise diagnose(path, skip, columns, error) from None


def read_intervals(path: str | Path) -> pd.DataFrame:
    """A whole interval file (such as a blacklist): columns chrom (str), start, end, in file order,
    checked."""
    path = Path(path)
    parts = []
    for chunk in read_chunks(path):
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
            field=f"line {chunk.line + row}",
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
            field=f"line {chunk.line + row}",
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
            field=f"line {chunk.line + row}",
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


def is_gzip(path: Path) -> bool:
    """True where the file's first bytes are gzip's (bgzip included); its name does not matter."""
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def damaged(path: Path, error: Exception) -> UserError:
    """The error for a gzip stream that ends early or fails its checksum."""
    return UserError(
        f"gzip damaged or truncated ({error})", file=path, remedy="Fetch or write the file again."
    )


def _header_lines(path: Path) -> int:
    """Comment lines at the top; refuses a file that is missing or holds nothing else."""
    if not path.is_file():
        raise UserError(
            "no such file", file=path, remedy="Correct the path in dataset.yaml or fetch the file."
        )
    count = 0
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as handle:
            for line in handle:
                if not line.startswith(HEADERS):
                    return count
                count += 1
    except (EOFError, zlib.error, OSError) as error:
        raise damaged(path, error) from None
    raise UserError(
        "the file is empty", file=path, remedy="Give a file with at least one interval."
    )


def diagnose(path: Path, skip: int, columns: Mapping[int, str], error: Exception) -> UserError:
    """Find, line by line, what the fast reader stumbled over: the first line with a missing or
    non-numeric column."""
    remedy = "Give tab-separated lines: chrom, start, end" + "".join(
        f", {columns[i]}" for i in sorted(columns) if i > 2
    )
    number = 0
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as handle:
            for number, line in enumerate(handle, start=1):
                if number <= skip:
                    continue
                fields = line.rstrip(b"\r\n").split(b"\t")
                for index in sorted(columns):
                    text = fields[index] if index < len(fields) else b""
                    if not _readable(index, text):
                        what = (
                            f"{columns[index]} is {text.decode('utf-8', 'replace')!r}"
                            if text
                            else f"{columns[index]} is missing"
                        )
                        return UserError(
                            what, file=path, field=f"line {number}", remedy=remedy + "."
                        )
    except (EOFError, zlib.error, OSError) as broken:
        return damaged(path, broken)
    return UserError(
        f"cannot be read ({error})", file=path, field=f"line {number}", remedy=remedy + "."
    )


def _readable(index: int, text: bytes) -> bool:
    try:
        if index == 0:
            return bool(text)
        if index <= 2:
            return abs(int(text)) <= np.iinfo(np.int64).max
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
