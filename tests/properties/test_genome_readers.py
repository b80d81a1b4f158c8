"""Readers of sequence, intervals, peaks, signal and alignments against a reader written line by
line here, and against samtools, bedtools and pyBigWig.

What a table holds is either read as the line-by-line reader reads it, or refused, and then the line
named is one that the line-by-line reader finds wrong too.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pybedtools
import pyBigWig
import pysam
import pytest
from hypothesis import strategies as st
from programs import needs_bedtools
from properties_of import reads

from petriscope.errors import UserError
from petriscope.genome import intervals
from petriscope.genome.bam import read_bam
from petriscope.genome.fasta import Genome
from petriscope.genome.fragments import read_fragments
from petriscope.genome.intervals import OrderCheck, check_bounds, read_chunks
from petriscope.genome.overlap import Intervals, overlaps, read_bed
from petriscope.genome.peaks import read_peak_file
from petriscope.genome.tracks import signal_for_windows

SIZE = 4096
SIZES = {"chr1": SIZE, "chr2": 300}
CONTIGS = pd.DataFrame(
    {"chrom": list(SIZES), "start": 0, "end": list(SIZES.values()), "whole": True}
)
WINDOWS = pd.DataFrame({"chrom": ["chr1"], "start": [0], "end": [1024]})
FOLDER = Path(tempfile.mkdtemp(prefix="properties-"))


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Any:
    FOLDER.mkdir(exist_ok=True)
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)


# ------------------------------------------------------------------ text that is nearly a table

ODD = [
    *(
        "1e3",
        "+5",
        "0x10",
        "nan",
        "inf",
        "-inf",
        "-1",
        "-0",
        "007",
        "1_0",
        "٣",
        "５",
        "5.0",
        " 5",
        "5 ",
    ),
    *(
        "True",
        "",
        "1,000",
        "9" * 20,
        "NA",
        "chr1",
        "é",
        "\x85",
        "\u2028",
        "\x0b",
        "1e400",
        "1e",
        "--5",
    ),
    *(".", "5.", ".5", "1.5e-3", "-1.5", "+", "track", "#", '"', "9e2"),
]
LINES = [
    "#",
    "# x\ty",
    "track name=x",
    "browser position chr1",
    "",
    " ",
    "track7\t1\t5\t1\tp",
    "trackx",
    "\t\t",
]


@st.composite
def table(draw: Any, columns: list[Any], most: int = 6) -> bytes:
    """Lines of ``columns`` (strategies of text), a few of them damaged."""
    rows = draw(st.lists(st.tuples(*columns).map(list), min_size=0, max_size=most))
    if draw(st.booleans()):
        rows.sort(key=lambda row: (row[0], int(row[1])))
    lines = []
    for row in rows:
        for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
            at = draw(st.integers(0, len(row) - 1)) if row else 0
            what = draw(st.sampled_from(["odd", "odd", "odd", "swap", "drop", "add"]))
            if what == "odd" and row:
                row[at] = draw(st.sampled_from(ODD))
            elif what == "swap" and row:
                row[at], row[-1] = row[-1], row[at]
            elif what == "drop" and row:
                del row[at]
            else:
                row.insert(at, draw(st.sampled_from(ODD)))
        lines.append(draw(st.sampled_from(["\t"] * 12 + [" "])).join(row))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
    end = draw(st.sampled_from(["\n"] * 6 + ["\r\n", "\r\n", "\r"]))
    text = "".join(line + end for line in lines).encode()
    what = draw(st.sampled_from(["no"] * 8 + ["cut", "open", "nul", "latin", "bom"]))
    if what == "cut":
        text = text[: draw(st.integers(0, len(text)))]
    elif what == "open":
        text = text.rstrip(b"\r\n")
    elif what in ("nul", "latin"):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + (b"\0" if what == "nul" else b"\xe9") + text[at:]
    elif what == "bom":
        text = b"\xef\xbb\xbf" + text
    return text


CHROM = st.sampled_from(["chr1", "chr1", "chr1", "chr2", "chr9", "track7", "1"])
START = st.integers(0, 400).map(str)
END = st.integers(200, 900).map(str)
REAL = st.floats(0, 100, width=32).map(lambda x: f"{x:.6g}")
WORD = st.sampled_from(["p", "peak 1", "chr1", "5", ".", "é"])
HOW = st.tuples(st.sampled_from(["plain", "gzip", "bgzip"]), st.sampled_from([1, 7, 64, 1 << 18]))


def packed(raw: bytes, how: str, name: str = "t") -> Path:
    path = FOLDER / name
    if how == "bgzip":
        with pysam.BGZFile(str(path), "w", None) as handle:
            handle.write(raw)
    else:
        path.write_bytes(gzip.compress(raw) if how == "gzip" else raw)
    return path


def line_by_line(
    raw: bytes, real: tuple[int, ...] = (), *, least: int = 3, spaces: bool = False
) -> tuple[list[list[str]], dict[int, int], set[int]]:
    """Rows as text, the line of each row, and the numbers of lines that are wrong."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    rows: list[list[str]] = []
    where: dict[int, int] = {}
    wrong: set[int] = set()
    columns, separator = 0, b"\t"
    split = raw.split(b"\n")
    for number, line in enumerate(split if split[-1] else split[:-1], start=1):
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line.strip() or line[:1] == b"#" or line.split(b" ")[0] in (b"track", b"browser"):
            continue
        if not columns:
            separator = b"\t" if b"\t" in line or not spaces else b" "
        fields = line.split(separator) if separator == b"\t" else line.split()
        columns = columns or len(fields)
        if b"\r" in line or b"\0" in line or len(fields) != columns or columns < least:
            wrong.add(number)
            continue
        good = bool(fields[0])
        for column in (1, 2):
            good &= re.fullmatch(rb"-?[0-9]{1,18}", fields[column]) is not None
        for column in real:
            plain = re.fullmatch(
                rb"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", fields[column]
            )
            good &= plain is not None and abs(float(fields[column])) < float("inf")
        if not good:
            wrong.add(number)
            continue
        if not 0 <= int(fields[1]) < int(fields[2]):
            wrong.add(number)
        where[len(rows)] = number
        rows.append([field.decode("utf-8", "surrogateescape") for field in fields])
    return rows, where, wrong


def undecodable(rows: list[list[str]], where: dict[int, int], columns: range) -> set[int]:
    """Lines whose text in ``columns`` is not UTF-8."""
    found = set()
    for number, row in enumerate(rows):
        try:
            "".join(row[column] for column in columns if column < len(row)).encode()
        except UnicodeEncodeError:
            found.add(where[number])
    return found


def out_of_order(rows: list[list[str]], where: dict[int, int], *, disjoint: bool) -> set[int]:
    """Lines that run backwards, and those beyond a chromosome's end."""
    found, done = set(), []
    last = ("", 0)
    for number, row in enumerate(rows):
        chrom, start, end = row[0], int(row[1]), int(row[2])
        if end > SIZES.get(chrom, end):
            found.add(where[number])
        if chrom != last[0]:
            if chrom in done:
                found.add(where[number])
            done.append(chrom)
        elif start < last[1]:
            found.add(where[number])
        last = (chrom, end if disjoint else start)
    return found


def check(read: Callable[[], Any], expected: Any, wrong: set[int], also: str | None = None) -> None:
    """``read`` gives ``expected``, or refuses one of the lines that are ``wrong``, or says
    ``also``."""
    try:
        got = read()
    except UserError as error:
        text = str(error)
        assert text.startswith(str(FOLDER)), text
        line = re.search(r"line (\d+): ", text)
        assert (line and int(line[1]) in wrong) or (also and re.search(also, text)), (text, wrong)
        return
    assert not wrong and (also is None or "|may" in also), (got, wrong, also)
    assert got == expected


def unclosed(raw: bytes, rows: list[list[str]], wrong: set[int]) -> set[int]:
    """The last line where it does not end in a line feed."""
    last = raw.removeprefix(b"\xef\xbb\xbf").rsplit(b"\n", 1)[-1].strip()
    return (
        {raw.count(b"\n") + 1}
        if last and not (last[:1] == b"#" or last.split(b" ")[0] in (b"track", b"browser"))
        else set()
    )


@reads(table([CHROM, START, END, REAL]), HOW, st.integers(1, 5))
def bedgraph(raw: bytes, how: tuple[str, int], rows: int) -> None:
    def read() -> list[tuple[Any, ...]]:
        order, got = OrderCheck(path, disjoint=True), []
        for chunk in read_chunks(path, {3: "value"}, rows=rows):
            check_bounds(path, chunk, SIZES)
            order.feed(chunk)
            got += list(chunk.frame.astype({"chrom": str}).itertuples(index=False, name=None))
        return [(c, s, e, pytest.approx(v, rel=1e-15)) for c, s, e, v in got]

    path = packed(raw, how[0])
    lines, where, wrong = line_by_line(raw, (3,), least=4)
    wrong |= undecodable(lines, where, range(1)) | out_of_order(lines, where, disjoint=True)
    wrong |= unclosed(raw, lines, wrong)
    expected = [(row[0], int(row[1]), int(row[2]), float(row[3])) for row in lines]
    with small_blocks(how[1]):
        check(read, expected, wrong, None if lines or wrong else "the file is empty")


def small_blocks(size: int) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(intervals, "BLOCK_BYTES", size)

    class Undo:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            patch.undo()

    return Undo()


@reads(table([CHROM, START, END, WORD, REAL]), HOW)
def bed(raw: bytes, how: tuple[str, int]) -> None:
    path = packed(raw, how[0])
    lines, where, wrong = line_by_line(raw, least=4, spaces=True)
    wrong |= undecodable(lines, where, range(9))
    expected = [[row[0], int(row[1]), int(row[2]), *row[3:9]] for row in lines]
    with small_blocks(how[1]):
        check(
            lambda: read_bed(path, 4).to_numpy(object).tolist(),
            expected,
            wrong,
            None if lines or wrong else "the file is empty",
        )


@reads(table([CHROM, START, END, WORD, st.just("1")]), HOW, st.integers(1, 5))
def fragments(raw: bytes, how: tuple[str, int], rows: int) -> None:
    def read() -> list[list[Any]]:
        frames = [
            frame.astype({"chrom": str}) for frame in read_fragments(path, CONTIGS, rows=rows)
        ]
        return [row for frame in frames for row in frame.to_numpy(object).tolist()]

    path = packed(raw, how[0])
    lines, where, wrong = line_by_line(raw)
    wrong |= undecodable(lines, where, range(1)) | out_of_order(lines, where, disjoint=False)
    wrong |= unclosed(raw, lines, wrong)
    also = None if lines or wrong else "the file is empty"
    if lines and not {row[0] for row in lines} & set(SIZES):
        also = "no interval lies on the genome"
    if lines and all(len(row) > 5 and row[5] in "+-" for row in lines):
        also = "column 6 is a strand"
    with small_blocks(how[1]):
        check(read, [[row[0], int(row[1]), int(row[2])] for row in lines], wrong, also)


SUMMIT = st.integers(-1, 199).map(str)


@reads(
    st.one_of(
        table(
            [
                CHROM,
                START,
                END,
                WORD,
                st.just("0"),
                st.sampled_from(".+-"),
                REAL,
                REAL,
                REAL,
                SUMMIT,
            ]
        ),
        table([CHROM, START, END, WORD, st.just("0"), st.sampled_from(".+-"), REAL, REAL, REAL]),
    ),
    HOW,
)
def peaks(raw: bytes, how: tuple[str, int]) -> None:
    """Only that what is read is in the line: a summit in its peak, the score of column 7."""
    path = packed(raw, how[0])
    lines, where, wrong = line_by_line(raw, (6,), least=9)
    wrong |= undecodable(lines, where, range(1)) | unclosed(raw, lines, wrong)
    expected = []
    for number, row in enumerate(lines):
        start, end = int(row[1]), int(row[2])
        bad = end > SIZES.get(row[0], end) or float(row[6]) < 0
        summit = (end - start) // 2
        if len(row) > 9:
            whole = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", row[9])
            given = float(row[9]) if whole else None
            if given is None or given != int(given) or not -1 <= given < end - start:
                bad = True
            elif given >= 0:
                summit = int(given)
        if bad:
            wrong.add(where[number])
        elif row[0] in SIZES:
            expected.append(
                [row[0], start, end, start + summit, pytest.approx(float(row[6]), rel=1e-15)]
            )
    expected.sort(key=lambda row: row[:4])
    refusal = "file is empty|genome|every score|every peak|no kind of peak|thickStart|second interval|is missing"
    with small_blocks(how[1]):
        try:
            got = read_peak_file(path, CONTIGS).peaks.to_numpy(object).tolist()
        except UserError as error:
            text = str(error)
            line = re.search(r"line (\d+): ", text)
            assert text.startswith(str(path)), text
            assert (line and int(line[1]) in wrong) or re.search(refusal, text), (text, wrong)
            # whole and clean files are read
            assert (
                wrong
                or not expected
                or any(len(row) < 10 or row[5] not in "+-." for row in lines)
                or (
                    not any(float(row[6]) for row in lines)
                    or re.search("thickStart|second interval|every peak", text)
                )
            ), text
            return
    assert not wrong, (got, wrong)
    assert sorted(got, key=lambda row: row[:4]) == expected


# --------------------------------------------------------------------------------- FASTA

BASES = "ACGTNacgtnRYSWKMBDHVX"


@st.composite
def fasta_text(draw: Any) -> bytes:
    """Records on lines of one width, a few of them damaged."""
    width, end = draw(st.integers(1, 7)), draw(st.sampled_from(["\n"] * 4 + ["\r\n"]))
    lines: list[str] = []
    for number in range(draw(st.integers(1, 4))):
        name = draw(
            st.sampled_from([f"chr{number}", f"chr{number} note", f"s{number}\tx", "chr0", ">", ""])
        )
        if draw(st.integers(0, 5)):
            name = f"chr{number}"
        row = draw(st.text(BASES, min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=30))
        lines += [f">{name}", *(row[i : i + width] for i in range(0, len(row), width))]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        at = draw(st.integers(0, len(lines)))
        lines.insert(
            at,
            draw(
                st.sampled_from(
                    ["", " ", "ACG", "ACGTACGTACGT", "-", "MKLE", "A C", "U", "é", ";x"]
                )
            ),
        )
    text = "".join(line + end for line in lines).encode()
    if draw(st.integers(0, 4)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text


def fasta_by_line(raw: bytes) -> dict[str, str] | None:
    """Name → sequence, in capitals and N; None where the text is no sound FASTA."""
    found: dict[str, list[bytes]] = {}
    lines = raw.split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    current: list[bytes] | None = None
    ends: list[bool] = []
    for number, line in enumerate(lines):
        carriage = line.endswith(b"\r")
        line = line[:-1] if carriage else line
        if line.startswith(b">"):
            name = line[1:].split(None, 1)[0].decode() if line[1:2].strip() else ""
            if not name or name in found:
                return None
            current, ends = found.setdefault(name, []), []
            continue
        if current is None:
            return None
        if line and ends and (not current[-1] or len(current[-1]) != len(current[0])):
            return None  # a line after a short or empty one
        if line and current and (len(line) > len(current[0])):
            return None
        if line and ends and ends[-1] != ends[0]:
            return None
        if (
            line
            and ends
            and len(line) == len(current[0])
            and carriage != ends[0]
            and number != len(lines) - 1
        ):
            rest = [one for one in lines[number + 1 :]]
            if rest and not rest[0].startswith(b">") and rest[0].strip():
                return None
        if re.search(rb"[^ACGTNRYSWKMBDHVX]", line.upper()):
            return None
        current.append(line)
        ends.append(carriage)
    rows = {name: b"".join(parts).decode().upper() for name, parts in found.items()}
    if not rows or not all(rows.values()):
        return None
    return {name: re.sub("[^ACGT]", "N", row) for name, row in rows.items()}


def bases(path: Path) -> dict[str, str]:
    genome = Genome([path])
    letters = np.array(list("ACGTN"))
    return {
        c.chrom: "".join(letters[genome.fetch_codes(c.chrom, c.start, c.end)])
        for c in genome.contigs.itertuples()
    }


@reads(
    fasta_text(),
    fasta_text(),
    st.sampled_from(["none", "own", "stale", "swapped"]),
    st.booleans(),
    st.integers(0, 40),
)
def fasta(raw: bytes, other: bytes, index: str, bgzip: bool, cut: int) -> None:
    path = FOLDER / ("g.fa.gz" if bgzip else "g.fa")
    fai = Path(f"{path}.fai")
    for old in (fai, Path(f"{path}.gzi")):
        old.unlink(missing_ok=True)
    made = False
    if index != "none":
        before = (
            raw if index == "own" else other if index == "stale" else raw.replace(b"A", b"CG", 1)
        )
        packed(before, "bgzip" if bgzip else "plain", path.name)
        with suppress(pysam.SamtoolsError, OSError):
            pysam.faidx(str(path))
            made = fai.is_file()
    packed(raw, "bgzip" if bgzip else "plain", path.name)
    expected = fasta_by_line(raw)
    try:
        got = bases(path)
    except UserError as error:
        assert str(error).startswith(str(FOLDER)), error
        # a sound file is read, unless an index of another stands beside it
        assert expected is None or (made and index != "own"), (error, raw)
        return
    assert got == expected, (got, expected, raw)
    plain = packed(raw, "plain", "copy.fa")
    Path(f"{plain}.fai").unlink(missing_ok=True)
    with pysam.FastaFile(str(plain)) as reference:
        theirs = {name: reference.fetch(name).upper() for name in reference.references}
    assert got == {name: re.sub("[^ACGT]", "N", row) for name, row in theirs.items()}
    name = next(iter(got))
    lower = min(cut, len(got[name]))
    part = Genome([path]).fetch_codes(name, lower, len(got[name]))
    assert "".join(np.array(list("ACGTN"))[part]) == got[name][lower:]


# -------------------------------------------------------------------------------- bigWig

VALUE = st.one_of(
    st.floats(0, 50, width=32),
    st.floats(0, 50, width=32),
    st.sampled_from([0.0, -0.5, float("nan"), float("inf"), float("-inf")]),
)


@reads(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 90), VALUE), min_size=1, max_size=20),
    st.one_of(st.none(), st.floats(0, 1)),
)
def bigwig(rows: list[tuple[int, int, float]], cut: float | None) -> None:
    path, at = FOLDER / "s.bw", 0
    per_base = np.zeros(SIZE)
    starts, ends, values = [], [], []
    for gap, length, value in rows:
        starts.append(at + gap)
        at += gap + length
        ends.append(at)
        values.append(value)
        per_base[starts[-1] : at] = value
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(SIZES.items()))
        handle.addEntries(["chr1"] * len(rows), starts, ends=ends, values=values)
    if cut is not None:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(cut * len(raw))])
    window = np.nan_to_num(per_base[:1024], nan=0, posinf=np.inf, neginf=-np.inf)
    bad = bool(np.nanmin(per_base) < 0) or np.isinf(window).any() or not window.any()
    try:
        got = signal_for_windows(path, "bigwig", WINDOWS, CONTIGS).values
    except UserError as error:
        assert str(error).startswith(str(path)), error
        assert bad or cut is not None, error
        return
    assert not bad
    np.testing.assert_allclose(got[0], window.reshape(-1, 4).sum(axis=1), rtol=1e-5, atol=1e-5)


# ----------------------------------------------------------------------------------- BAM

FLAGS = st.sampled_from([0, 0, 0, 0x100, 0x200, 0x400, 0x800, 0x4, 0x8])


@reads(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 300), st.integers(0, 60), FLAGS, st.booleans()
        ),
        max_size=9,
    ),
    st.one_of(st.none(), st.tuples(st.floats(0, 1), st.integers(1, 255))),
)
def bam(pairs: list[tuple[str, int, int, int, bool]], damage: tuple[float, int] | None) -> None:
    path = FOLDER / "x.bam"
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": name, "LN": size} for name, size in SIZES.items()]}
    found, reads_ = [], []
    for name, place, apart, flag, paired in pairs:
        for mine, mate, which in ((place, place + apart, 0x63), (place + apart, place, 0x93)):
            reads_.append((mine, mate, name, (which if paired else which & 0x10) | flag))
        if paired and not flag & 0xF0C and place + 4 != place + apart + 30 - 5:
            found.append(sorted((place + 4, place + apart + 30 - 5)))
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for place, mate, name, flag in sorted(reads_):
            read = pysam.AlignedSegment(out.header)
            read.query_name, read.flag, read.mapping_quality = name, flag, 60
            read.reference_id, read.reference_start = 0, place
            read.next_reference_id, read.next_reference_start = (0, mate) if flag & 1 else (-1, -1)
            read.query_sequence, read.cigartuples = "A" * 30, [(0, 30)]
            out.write(read)
    counted = int(pysam.view("-c", "-f", "1", "-F", "0xF0C", str(path)))
    assert counted == 2 * sum(paired and not flag & 0xF0C for *_, flag, paired in pairs)
    if damage is not None:
        raw = bytearray(path.read_bytes())
        raw[min(int(damage[0] * len(raw)), len(raw) - 1)] ^= damage[1]
        path.write_bytes(bytes(raw))
    try:
        frames = [frame[["start", "end"]].to_numpy().tolist() for frame in read_bam(path, CONTIGS)]
    except UserError as error:
        assert str(error).startswith(str(path)), error
        assert damage is not None or not found, error
        return
    assert [row for frame in frames for row in frame] == sorted(found)


# ------------------------------------------------------------------------------ overlaps


@reads(
    *(
        st.lists(
            st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 60), st.integers(1, 30)),
            max_size=12,
        ),
    )
    * 2
)
def overlap(query: list[tuple[str, int, int]], subject: list[tuple[str, int, int]]) -> None:
    both = [
        Intervals(
            np.array([chrom for chrom, _, _ in rows], dtype=object),
            np.array([start for _, start, _ in rows], dtype=np.int64),
            np.array([start + width for _, start, width in rows], dtype=np.int64),
        )
        for rows in (query, subject)
    ]
    got = overlaps(*both)
    expected: list[tuple[int, int, int]] = []
    if query and subject:
        a, b = (
            pybedtools.BedTool(
                "".join(f"{c}\t{s}\t{s + w}\t{i}\n" for i, (c, s, w) in enumerate(rows)),
                from_string=True,
            )
            for rows in (query, subject)
        )
        expected = sorted((int(r[3]), int(r[7]), int(r[8])) for r in a.intersect(b, wo=True))
        pybedtools.cleanup()
    assert list(zip(got.query.tolist(), got.subject.tolist(), got.bases.tolist())) == expected


test_bedgraph, test_bedgraph_at_length = bedgraph
test_bed, test_bed_at_length = bed
test_fragments, test_fragments_at_length = fragments
test_peaks, test_peaks_at_length = peaks
test_fasta, test_fasta_at_length = fasta
test_bigwig, test_bigwig_at_length = bigwig
test_bam, test_bam_at_length = bam
test_overlap, test_overlap_at_length = map(needs_bedtools, overlap)
