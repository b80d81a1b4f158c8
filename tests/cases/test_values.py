"""Kind 5: a value that cannot be is refused with its line, or handled by a rule that is written
down; it is never averaged in.

A case is a line or two of a file, and the value that is right or the words of the refusal.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyBigWig
import pysam
import pytest

from petriscope.errors import UserError
from petriscope.genome.bam import read_bam
from petriscope.genome.fragments import read_fragments
from petriscope.genome.intervals import read_intervals
from petriscope.genome.overlap import read_bed
from petriscope.genome.peaks import read_peak_file
from petriscope.genome.tracks import signal_for_windows
from petriscope.textfile import BGZF_EOF

Refused = Callable[..., str]
SIZE = 8192
CONTIGS = pd.DataFrame({"chrom": ["chr1"], "start": [0], "end": [SIZE], "whole": [True]})
WINDOWS = pd.DataFrame({"chrom": ["chr1"], "start": [0], "end": [4096]})
GOOD = "chr1\t10\t20"


def signal(path: Path, format: str) -> float:
    """The signal summed over 4096 bases."""
    return float(signal_for_windows(path, format, WINDOWS, CONTIGS).values.sum())


def written(folder: Path, text: str | bytes, name: str = "x") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (f"{GOOD}\t1\nchr1\t20\t30\t-1.2\n", "line 2: value -1.2 is negative: this is no coverage"),
        (f"{GOOD}\t1\nchr1\t20\t30\tinf\n", "line 2: value is 'inf'"),
        (f"{GOOD}\t1\nchr1\t20\t30\t1e400\n", "line 2: value is larger than any number"),
        (f"{GOOD}\tnan\n", "line 1: value is 'nan'"),
        (f"{GOOD}\tTrue\n", "line 1: value is 'True'"),
        (f"{GOOD}\t1,5\n", "line 1: value is '1,5'"),
        (f"{GOOD}\t0\n", "holds no signal in any window"),
        ("chr1\t5000\t5010\t3\n", "holds no signal in any window"),
        (f"{GOOD}\t1e300\n", "values too large"),
        (f"{GOOD}\t1\t2\n", "line 1: has 5 columns where bedGraph has 4"),
        (f"{GOOD}\t1\nchr1\t15\t30\t1\n", "line 2: is not sorted: the interval overlaps"),
        (f"{GOOD}\t1\nchr1\t5\t8\t1\n", "line 2: is not sorted"),
        (f"{GOOD}\t1\nchr1\t20\t30\n", "line 2: value is missing"),
        (f"{GOOD}\t1\nchr1\t20\t30\t1.2", "does not end in a line feed: the last line may be cut"),
        ("", "the file is empty"),
        ("track type=bedGraph\n# nothing\n\n", "the file is empty"),
    ],
)
def test_a_bedgraph_that_cannot_be(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        signal(written(tmp_path, lines), "bedgraph")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "field",
    [
        "1e2",
        "1_0",
        "+20",
        " 20",
        "20.0",
        "0x20",
        "٢٠",
        "２０",
        "1,000",
        "True",
        "",
        "20\x0b",
        "-",
        "9" * 20,
    ],
)
@pytest.mark.parametrize("read", [read_bed, lambda path: list(read_fragments(path, CONTIGS))])
def test_a_position_is_made_of_digits(
    tmp_path: Path, field: str, read: Callable[[Path], Any]
) -> None:
    path = written(tmp_path, f"# one\n{GOOD}\nchr1\t10\t{field}\n")
    with pytest.raises(UserError, match=r"x: line 3: end is "):
        read(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("chr1\t10\t10\n", "line 1: interval chr1:10-10 is empty"),
        ("chr1\t-5\t10\n", "line 1: interval chr1:-5-10 is empty or negative"),
        ("chr1\t20\t10\n", "line 1: interval chr1:20-10 is empty"),
        ("chr1\t10\t8193\n", "ends beyond chr1, which has 8192 bp"),
        ("chr1 10 20\n", "line 1: start is missing"),
        (f"{GOOD}\tA\t1\n{GOOD}\tA\n", "line 2: has 4 columns where the first line has 5"),
        (f"{GOOD}\tA\t1\nchr1\t30\t40\tAC", "line 2: has 4 columns where the first line has 5"),
        (f"{GOOD}\tN\t1000\t+\n", "column 6 is a strand: these are single reads"),
        ("chr1:10-20\n", "line 1: start is missing"),
        (f"{GOOD}\n\0\0\0\n", "line 2: holds a NUL byte"),
        (f"{GOOD}\rchr1\t30\t40\n", "holds a lone carriage return"),
        (f"{GOOD}\tA\n\t10\t20\tA\n", "line 2: chrom is missing"),
        ("1\t10\t20\n", "no interval lies on the genome"),
    ],
)
def test_fragments_that_cannot_be(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        list(read_fragments(written(tmp_path, lines), CONTIGS))
    assert words in str(caught.value)


def test_one_line_is_one_fragment_whatever_its_count(tmp_path: Path) -> None:
    text = f"# id=sample\n# pipeline\n{GOOD}\tACGT-1\t7\r\nchr1\t10\t30\tACGT-1\t1\r\n\r\n"
    (frame,) = read_fragments(written(tmp_path, gzip.compress(text.encode()), "f.tsv"), CONTIGS)
    assert frame[["start", "end"]].to_numpy().tolist() == [[10, 20], [10, 30]]


@pytest.mark.parametrize("kind", ["gzip", "bgzip"])
def test_a_packed_table_that_was_cut(tmp_path: Path, kind: str) -> None:
    text = "".join(f"chr1\t{i}\t{i + 40}\n" for i in range(8000)).encode()
    path = tmp_path / "x.tsv.gz"
    if kind == "gzip":
        path.write_bytes(gzip.compress(text)[:-2000])
    else:
        with pysam.BGZFile(str(path), "w", None) as handle:
            handle.write(text)
        path.write_bytes(path.read_bytes()[:-28])  # only the end marker: every block is whole
    with pytest.raises(UserError, match=r"x\.tsv\.gz: .*truncated"):
        list(read_fragments(path, CONTIGS))


def narrow(score: object = 7.5, summit: object = 3, start: int = 10, end: int = 20) -> str:
    return f"chr1\t{start}\t{end}\tp\t55\t.\t{score}\t9.1\t6.2\t{summit}\n"


GAPPED = "chr1\t1000\t3000\tp\t55\t.\t1200\t1700\t0\t3\t1,500,1\t0,200,1999"


@pytest.mark.parametrize("name", ["x.narrowPeak", "x.gappedPeak", "x.bed"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (GAPPED + "\t7.5\t9.1\t6.2\n", [(1450, 7.5)]),
        (narrow(), [(13, 7.5)]),
        (narrow(summit=-1), [(15, 7.5)]),
        (narrow().replace("\n", "\textra\n"), [(13, 7.5)]),
        ("chr1\t10\t20\tp\t55\t.\t7.5\t9.1\t6.2\n", [(15, 7.5)]),  # broadPeak
        ("browser position chr1\ntrack name=x\n#c\nchr1\t10\t20\n", [(15, 1)]),
        ("chr1\t10\t20\tp\n", [(15, 1)]),
        ("chr1\t10\t20\tp\t7.5\n", [(15, 7.5)]),
        ("chr1\t10\t20\tp\t7.5\t+\n", [(15, 7.5)]),
        ("chr1\t10\t20\tp\t7.5\t4\n", [(14, 7.5)]),
    ],
)
def test_what_kind_of_peaks_the_lines_say(
    tmp_path: Path, name: str, lines: str, expected: list[tuple[int, float]]
) -> None:
    peaks = read_peak_file(written(tmp_path, lines, name), CONTIGS).peaks
    assert list(zip(peaks.summit, peaks.score)) == expected


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (GAPPED + "\n", "BED12"),
        ("\t".join(GAPPED.split("\t")[:9]) + "\n", "thickStart and thickEnd"),
        ("\t".join(GAPPED.split("\t")[:8]) + "\n", "thickStart and thickEnd"),
        (f"{GOOD}\tchr1\t12\t18\n", "columns 4 to 6 hold a second interval"),
        (f"{GOOD}\tp\t5\t.\tchr1\t12\t18\tq\n", "columns 7 to 9 hold a second interval"),
        (narrow().strip() + "\tchr1\t12\t18\n", "columns 11 to 13 hold a second interval"),
        (f"{GOOD}\tchr1\t12\t18\n{GOOD}\t.\t-1\t-1\n", "columns 4 to 6 hold a second interval"),
        (narrow(summit=10), "line 1: summit offset 10 lies outside a peak of 10 bp"),
        (narrow(summit=-2), "line 1: summit offset -2 is no position"),
        (narrow(summit=2.5), "line 1: summit offset 2.5 is no position"),
        (narrow() + narrow(score=-7.5), "line 2: score -7.5 is negative"),
        (narrow() + narrow(score="nan"), "line 2: score is 'nan'"),
        (
            narrow() + narrow().replace("\tp\t", "\t"),
            "line 2: has 9 columns where the first line has 10",
        ),
        (narrow(score=0), "every score is 0"),
        (narrow() + narrow()[:25], "line 2"),
        (narrow() * 2 + narrow().rstrip("\n"), "line 3: does not end in a line feed"),
        (f"{GOOD}\tp\t5\t+\n{GOOD}\tp\t.\t+\n", "line 2: score is '.'"),
        ("chr1\t14\t15\tp\t7.5\n", "every peak is one base long"),
        (
            "# MACS\n\nchr\tstart\tend\tlength\tabs_summit\nchr1\t11\t20\t10\t14\n",
            "line 3: start is 'start'",
        ),
        (
            "chr1\t11\t20\t10\t14\t8.1\t9\t7.5\t6\tp\n",
            "10 columns are no kind of peak file",
        ),  # .xls
    ],
)
def test_peaks_that_are_none(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_peak_file(written(tmp_path, lines, "x.narrowPeak"), CONTIGS)
    assert words in str(caught.value)


def bigwig(path: Path, values: list[float]) -> Path:
    """Values of stretches of ten bases from base 0 on."""
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader([("chr1", SIZE)])
        starts = [10 * i for i in range(len(values))]
        handle.addEntries(["chr1"] * len(values), starts, [s + 10 for s in starts], values=values)
    return path


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, -0.5], "value -0.5 is negative"),
        ([1.0] * 500 + [-2.0], "least value: value -2 is negative"),  # beyond the windows
        ([1.0, float("inf")], "chr1:10: value inf is infinite"),
        ([0.0, 0.0], "holds no signal in any window"),
    ],
)
def test_a_bigwig_that_cannot_be(tmp_path: Path, values: list[float], words: str) -> None:
    with pytest.raises(UserError) as caught:
        signal(bigwig(tmp_path / "x.bw", values), "bigwig")
    assert words in str(caught.value)


def test_a_bigwig_without_a_value_counts_zero_there(tmp_path: Path) -> None:
    assert signal(bigwig(tmp_path / "x.bw", [1.0, float("nan"), 2.0]), "bigwig") == 30


def test_a_bigwig_that_was_cut(tmp_path: Path) -> None:
    path = bigwig(tmp_path / "x.bw", [float(i % 7) for i in range(800)])
    raw = path.read_bytes()
    for share in (0.2, 0.5, 0.8, 0.95):
        path.write_bytes(raw[: int(share * len(raw))])
        with pytest.raises(UserError, match=r"x\.bw: "):
            signal(path, "bigwig")


def alignments(path: Path, reads: list[tuple[str, int, int, int]], *, sq: bool = True) -> Path:
    """Reads of 30 bases: name, flag, place, place of the mate."""
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": SIZE}]}
    rows = sorted(reads, key=lambda read: read[2])
    with pysam.AlignmentFile(
        str(path), "wb", header=header if sq else {"HD": {"VN": "1.6"}}
    ) as out:
        for name, flag, place, mate in rows if sq else []:
            read = pysam.AlignedSegment(out.header)
            read.query_name, read.flag, read.mapping_quality = name, flag, 60
            read.reference_id, read.next_reference_id = 0, 0 if flag & 1 else -1
            read.reference_start, read.next_reference_start = place, mate if flag & 1 else -1
            read.query_sequence, read.cigartuples = "A" * 30, [(0, 30)]
            out.write(read)
    return path


def pair(name: str, place: int, flag: int = 0) -> list[tuple[str, int, int, int]]:
    return [(name, 0x63 | flag, place, place + 70), (name, 0x93 | flag, place + 70, place)]


def fragments(path: Path) -> list[list[int]]:
    return [
        row for frame in read_bam(path, CONTIGS) for row in frame[["start", "end"]].values.tolist()
    ]


@pytest.mark.parametrize(
    "extra",
    [
        pair("q", 300, 0x200),
        pair("d", 300, 0x400),
        pair("s", 300, 0x100),
        pair("u", 300, 0x800),
        [("m", 0x63 | 0x8, 300, 300), ("m", 0x93 | 0x4, 300, 300)],
        [("single", 0, 300, 0)],
        [("alone", 0x63, 300, 900)],
    ],
    ids=[
        "qc-failed",
        "duplicate",
        "secondary",
        "supplementary",
        "mate-unmapped",
        "single",
        "no-mate",
    ],
)
def test_reads_that_do_not_count(tmp_path: Path, extra: list[tuple[str, int, int, int]]) -> None:
    assert fragments(alignments(tmp_path / "x.bam", pair("r", 200) + extra)) == [[204, 295]]


def test_reads_of_two_lanes_share_a_name(tmp_path: Path) -> None:
    """The pairs lie one within the other; by name alone their ends are mixed up."""
    outer = [("r", 0x63, 200, 400), ("r", 0x93, 400, 200)]
    inner = [("r", 0x63, 250, 320), ("r", 0x93, 320, 250)]
    assert fragments(alignments(tmp_path / "x.bam", outer + inner)) == [[204, 425], [254, 345]]
    twice = pair("r", 200) * 2
    assert fragments(alignments(tmp_path / "y.bam", twice)) == [[204, 295]] * 2


def test_mate_fields_that_are_wrong_are_said_to_be(tmp_path: Path) -> None:
    wrong = [("w", 0x63, 300, 333), ("w", 0x93, 370, 333)]
    with pytest.raises(UserError, match=r"x\.bam: 1 pairs do not lie where their mate.*fixmate"):
        fragments(alignments(tmp_path / "x.bam", pair("r", 200) + wrong))


def test_a_bam_without_chromosomes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.bam: names no chromosome in its header \(@SQ\)"):
        fragments(alignments(tmp_path / "x.bam", [], sq=False))


def test_a_bam_without_its_end(tmp_path: Path, refused: Refused) -> None:
    path = alignments(tmp_path / "x.bam", pair("r", 200))
    path.write_bytes(path.read_bytes()[:-28])
    refused(
        ["data", "fragments", path, tmp_path / "o.tsv.gz"],
        "x.bam: is truncated (end marker missing)",
    )
    assert not (tmp_path / "o.tsv.gz").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("u,drug\na,x\nb\n", "line 3: has 1 values for 2 columns"),
        ("u,drug\na,x,\nb,y,\n", "line 2: has 3 values for 2 columns"),
        ("u,drug,drug\na,x,y\n", "line 1: column 'drug' occurs twice"),
        ("u,,drug\na,1,y\n", "line 1: a column has no name"),
        (",,\nu,drug,age\na,z,1\n", "line 1: a column has no name"),
        ("u;drug\na;x\n", "line 1: the header is one column, 'u;drug'"),
        ("u,drug\na,x\nb,NA\nc,y\nd,y\n", "drug: value is missing in row 2 (b)"),
        ("u,drug\na,x\nb,X\nc,y\nd,y\n", "drug: no unit has the value 'z'"),
        ('u,drug\na,"x\n', "cannot be read"),
        ("u,drug\ncaf\xe9,x\n", "line 2: is not UTF-8 text"),
        (
            "u,drug,age\na,z,1_0\nb,z,2\nc,y,3\nd,y,4\n",
            "age: '1_0' in row 1 (a) is no finite number",
        ),
        (
            "u,drug,age\na,z,inf\nb,z,2\nc,y,3\nd,y,4\n",
            "age: 'inf' in row 1 (a) is no finite number",
        ),
        ("u,drug,age\na,z,٣\nb,z,2\nc,y,3\nd,y,4\n", "in row 1 (a) is no finite number"),
        ("0012,drug\n", "holds no unit"),
    ],
)
def test_a_table_of_units_that_cannot_be(
    tmp_path: Path, refused: Refused, rows: str, words: str
) -> None:
    raw = rows.encode("latin-1") if "\xe9" in rows else rows.encode()
    path = written(tmp_path, raw, "u.csv")
    given = [
        "contrast",
        "--codes",
        tmp_path,
        "--units",
        path,
        "--condition",
        "drug",
        "--target",
        "z",
    ]
    refused([*given, "--adjust", "age"] if "age" in rows else given, "u.csv", words)


def test_ids_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    from petriscope.commands.contrast import read_table

    path = written(tmp_path, "\ufeffid,drug\r\n0012, x \r\n1e3,'1'\r\n\r\n", "u.csv")
    assert read_table(path).to_numpy().tolist() == [["0012", "x"], ["1e3", "'1'"]]


def damaged_header(path: Path) -> None:
    np.save(path, np.ones((4096, 4)))
    path.write_bytes(path.read_bytes().replace(b"}", b"|", 1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: np.save(path, np.array([[1.0, np.nan]] * 4096)),
            "row 0 holds NaN or infinity",
        ),
        (
            lambda path: np.save(path, np.array([[1.0, np.inf]] * 4096)),
            "row 0 holds NaN or infinity",
        ),
        (
            lambda path: np.save(path, np.array([[{}]] * 9), allow_pickle=True),
            "none of numbers",
        ),
        (lambda path: np.save(path, np.ones((4096, 4), int)), "type int64"),
        (lambda path: np.save(path, np.ones((4096, 0))), "has shape (4096, 0)"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (damaged_header, "is a damaged"),
        (lambda path: path.write_bytes(b"PK\x03\x04junk"), "damaged or truncated archive"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), "is a pickle"),
        (lambda path: path.mkdir(), "holds no .npy file"),
        (
            lambda path: (
                np.save(path, np.ones((4096, 4))),
                path.write_bytes(path.read_bytes()[:-9]),
            ),
            "truncated .npy array",
        ),
    ],
)
def test_vectors_that_cannot_be(
    tmp_path: Path, refused: Refused, damage: Callable[[Path], Any], words: str
) -> None:
    damage(tmp_path / "x.npy")
    refused(
        ["sae", "train", "--input", tmp_path / "x.npy", "--out", tmp_path / "out", "--k", 2],
        "x.npy",
        words,
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("values", [np.nan], "row 0 has latent 2 of 4 at nan"),
        ("values", [-1.0], "row 0 has latent 2 of 4 at -1"),
        ("indices", [4], "row 0 has latent 4 of 4"),
        ("indptr", [0, 2], "do not belong together"),
        ("indptr", [1, 1], "does not begin with 0"),
    ],
)
def test_codes_that_cannot_be(
    tmp_path: Path, refused: Refused, name: str, array: list[float], words: str
) -> None:
    (tmp_path / "codes.json").write_text(json.dumps({"latents": 4}))
    arrays = {"indptr": [0, 1], "indices": [2], "values": [0.5]} | {name: array}
    for key, kind in (("indptr", np.int64), ("indices", np.int32), ("values", np.float32)):
        np.save(tmp_path / f"{key}.npy", np.array(arrays[key], kind))
    units = written(tmp_path, "u,drug\na,x\nb,y\n", "u.csv")
    given = [
        "contrast",
        "--codes",
        tmp_path,
        "--units",
        units,
        "--condition",
        "drug",
        "--target",
        "x",
    ]
    refused(given, words)


def test_a_bigwig_whose_index_lies_beyond_its_end(tmp_path: Path) -> None:
    path = bigwig(tmp_path / "x.bw", [1.0, 2.0])
    raw = bytearray(path.read_bytes())
    raw[24:32] = struct.pack("<Q", len(raw) + 5)
    path.write_bytes(bytes(raw))
    with pytest.raises(UserError, match=r"x\.bw"):
        signal(path, "bigwig")


@pytest.mark.parametrize("blank", ["", " ", "\t\t", "\t \t", "\x0b"])
def test_a_line_of_blanks_is_passed_over_wherever_it_stands(tmp_path: Path, blank: str) -> None:
    for text in (f"{blank}\n{GOOD}\n", f"{GOOD}\n{blank}\n", f"{GOOD}\n{blank}\n{GOOD}\n"):
        frames = list(read_fragments(written(tmp_path, text), CONTIGS))
        assert {tuple(row) for frame in frames for row in frame[["start", "end"]].values} == {
            (10, 20)
        }


@pytest.mark.parametrize("name", ["01", "1e3", "1.0", "True", "nan", "-1"])
def test_a_chromosome_whose_name_looks_like_a_number(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, f"{name}\t10\t20\n{name}\t30\t40\n")
    assert read_bed(path).chrom.tolist() == read_intervals(path).chrom.tolist() == [name] * 2


def test_a_gzip_file_is_no_bam(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"BAM\1") + BGZF_EOF, "x.bam")
    with pytest.raises(UserError, match=r"x\.bam: is neither BAM nor CRAM"):
        fragments(path)
