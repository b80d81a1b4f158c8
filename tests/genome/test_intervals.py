"""Interval files read in chunks against pandas reading them whole; every refusal by its line
number."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.errors import UserError
from petriscope.genome.intervals import (
    OrderCheck,
    check_bounds,
    known_sizes,
    read_chunks,
    read_intervals,
)

LINES = [
    f"chr{1 + i // 20}\t{10 * (i % 20)}\t{10 * (i % 20) + 10}\t{i / 4}\tname {i}" for i in range(40)
]


def write(path: Path, lines: list[str], header: str = "") -> Path:
    text = header + "".join(line + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["x.bed", "x.bed.gz"])
@pytest.mark.parametrize("header", ["", "# comment\ntrack name=x\n"])
def test_chunks_are_the_file(tmp_path: Path, name: str, header: str) -> None:
    path = write(tmp_path / name, LINES, header)
    chunks = list(read_chunks(path, {3: "value"}, rows=7))
    assert [chunk.at(0) for chunk in chunks] == [
        f"line {1 + header.count(chr(10)) + 7 * i}" for i in range(6)
    ]
    got = pd.concat([chunk.frame.astype({"chrom": str}) for chunk in chunks], ignore_index=True)
    whole = pd.DataFrame(
        [line.split("\t")[:4] for line in LINES], columns=["chrom", "start", "end", "value"]
    )
    whole = whole.astype({"start": np.int64, "end": np.int64, "value": np.float64})
    assert got.to_numpy().tolist() == whole.to_numpy().tolist()
    assert (
        read_intervals(path).to_numpy().tolist()
        == whole[["chrom", "start", "end"]].to_numpy().tolist()
    )


@pytest.mark.parametrize("bad", [0, 6, 7, 13, 39])
def test_the_line_named_is_the_line_meant(tmp_path: Path, bad: int) -> None:
    def feed(line: str, disjoint: bool = False) -> str:
        lines = [*LINES[:bad], line + "\t0\tx", *LINES[bad + 1 :]]
        path = write(tmp_path / "x.gz", lines, "# one line of comment\n")
        order = OrderCheck(path, disjoint=disjoint)
        with pytest.raises(UserError) as caught:
            for chunk in read_chunks(path, rows=7):
                order.feed(chunk)
                check_bounds(path, chunk, {"chr1": 200, "chr2": 200})
        return str(caught.value)

    where = f"line {bad + 2}:"
    chrom = LINES[bad].split("\t")[0]
    assert where in feed(f"{chrom}\t{bad % 20 * 10}\t201") and "ends beyond" in feed(
        f"{chrom}\t{bad % 20 * 10}\t201"
    )
    assert where in feed(f"{chrom}\tx\t20")
    assert where in feed(f"{chrom}\t{bad % 20 * 10}\t{bad % 20 * 10}")
    if bad % 20 > 0:
        assert where in feed(f"{chrom}\t{10 * (bad % 20) - 11}\t199")
        assert where in feed(f"{chrom}\t{10 * (bad % 20) - 1}\t{10 * (bad % 20)}", disjoint=True)
    if bad == 39:
        assert where in feed("chr1\t500\t600") and "comes back to chr1" in feed("chr1\t500\t600")


def test_touching_intervals_are_disjoint_and_equal_starts_are_sorted(tmp_path: Path) -> None:
    path = write(tmp_path / "x", LINES)
    order = OrderCheck(path, disjoint=True)
    for chunk in read_chunks(path, rows=7):
        order.feed(chunk)
    assert order.chrom is not None and order.chrom not in order.done
    path = write(tmp_path / "y", ["chr1\t5\t9"] * 9)
    order = OrderCheck(path)
    for chunk in read_chunks(path, rows=2):
        order.feed(chunk)
    assert order.chrom == "chr1" and order.done == set()


def test_sizes_are_known_for_whole_chromosomes_only() -> None:
    contigs = pd.DataFrame(
        {"chrom": ["a", "b"], "start": [0, 100], "end": [50, 200], "whole": [True, False]}
    )
    assert known_sizes(contigs) == {"a": 50}


def test_windows_line_ends_and_odd_bytes(tmp_path: Path) -> None:
    (tmp_path / "crlf").write_bytes(b"chr1\t1\t5\r\nchr1\t7\t9\r\n")
    assert read_intervals(tmp_path / "crlf").to_numpy().tolist() == [["chr1", 1, 5], ["chr1", 7, 9]]
    (tmp_path / "latin").write_bytes(b"chr1\t1\t5\tcaf\xe9\n")
    assert read_intervals(tmp_path / "latin").to_numpy().tolist() == [["chr1", 1, 5]]
    (tmp_path / "spaces").write_bytes(b"chr1 1 5\n")
    with pytest.raises(UserError, match=r"spaces: line 1: start is missing.*tab-separated"):
        read_intervals(tmp_path / "spaces")
    (tmp_path / "quote").write_bytes(b'chr1\t1\t5\t"open\nchr1\t7\t9\tx\n')
    assert len(read_intervals(tmp_path / "quote")) == 2
    (tmp_path / "huge").write_bytes(b"chr1\t1\t99999999999999999999\n")
    with pytest.raises(UserError, match=r"huge: line 1"):
        read_intervals(tmp_path / "huge")
