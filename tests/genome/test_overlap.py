"""Interval overlaps against bedtools (through pybedtools) on random and edge inputs; BED errors
name file and line."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pybedtools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import needs_bedtools

from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals, overlaps, read_bed, within_genome


def random_intervals(rng: np.random.Generator, n: int, reach: int, longest: int) -> Intervals:
    start = rng.integers(0, reach, n)
    return Intervals(
        rng.choice(["chr1", "chr2", "chrX"], n).astype(object),
        start,
        start + rng.integers(1, longest, n),
    )


def bedtools_pairs(query: Intervals, subject: Intervals) -> list[tuple[int, int, int]]:
    a, b = (
        pybedtools.BedTool.from_dataframe(
            pd.DataFrame({**x._asdict(), "name": np.arange(len(x.start))})
        )
        for x in (query, subject)
    )
    return sorted(
        (int(r.fields[3]), int(r.fields[7]), int(r.fields[8])) for r in a.intersect(b, wo=True)
    )


@needs_bedtools
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
    reach=st.sampled_from([5, 100, 5000]),
    longest=st.sampled_from([2, 10, 3000]),
)
def test_all_pairs_match_bedtools(seed, n, m, reach, longest):
    rng = np.random.default_rng(seed)
    query, subject = (
        random_intervals(rng, n, reach, longest),
        random_intervals(rng, m, reach, longest),
    )
    got = overlaps(query, subject)
    assert list(
        zip(got.query.tolist(), got.subject.tolist(), got.bases.tolist())
    ) == bedtools_pairs(query, subject)


def test_touching_intervals_do_not_overlap():
    chrom = np.array(["chr1"], dtype=object)
    a, b = (
        Intervals(chrom, np.array([10]), np.array([20])),
        Intervals(chrom, np.array([20]), np.array([30])),
    )
    assert len(overlaps(a, b).query) == 0
    assert overlaps(a, a).bases.tolist() == [10]


def test_nothing_in_common():
    a = Intervals(np.array(["1"], dtype=object), np.array([10]), np.array([20]))
    b = Intervals(np.array(["chr1"], dtype=object), np.array([10]), np.array([20]))
    assert len(overlaps(a, b).bases) == 0


def test_bed_with_comments_and_gzip(tmp_path):
    path = tmp_path / "a.bed.gz"
    with gzip.open(path, "wt") as handle:
        handle.write("track name=x\n#c\nchr1\t5\t9\tname\n\nchr2\t1\t3\tother\n")
    frame = read_bed(path, 4)
    assert frame["name"].tolist() == ["name", "other"] and frame["end"].tolist() == [9, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t5\t9\n", r"x.bed: line 1: name is missing"),
        ("chr1\t5\t9\ta\nchr1\tfive\t9\tb\n", r"line 2: start is 'five'"),
        ("chr1\t9\t9\ta\n", r"line 1: interval chr1:9-9 is empty"),
        ("#only\n", r"holds no interval"),
    ],
)
def test_bad_bed_names_the_line(tmp_path, text, message):
    path = tmp_path / "x.bed"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_bed(path, 4)


@needs_bedtools
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), m=st.integers(1, 20))
def test_book_ended_nested_equal_and_zero_length_intervals_match_bedtools(seed, n, m):
    """Coordinates so close together that most intervals touch, nest, repeat or are empty.

    bedtools reports an empty interval beside its neighbors with 0 shared bases; here a pair shares
    at least one.
    """
    rng = np.random.default_rng(seed)
    start = rng.integers(1, 13, n + m)  # bedtools takes no empty interval at 0
    everything = Intervals(
        rng.choice(["chr1", "chr2"], n + m).astype(object), start, start + rng.integers(0, 5, n + m)
    )
    query, subject = (
        Intervals(*(part[rows] for part in everything)) for rows in (slice(n), slice(n, None))
    )
    got = overlaps(query, subject)
    pairs = list(zip(got.query.tolist(), got.subject.tolist(), got.bases.tolist()))
    assert pairs == [pair for pair in bedtools_pairs(query, subject) if pair[2] > 0]


def test_an_interval_may_end_where_its_chromosome_does_and_no_further():
    frame = pd.DataFrame({"chrom": ["chr1"], "start": [800], "end": [1000]})
    within_genome(frame, {"chr1": 1000}, "f.bed")
    within_genome(frame, {"chr1": 801}, "f.bed", slack=199)
    within_genome(frame, {}, "f.bed")  # a piece of a chromosome tells nothing about its end
    with pytest.raises(UserError, match="ends past the chromosome"):
        within_genome(frame, {"chr1": 800}, "f.bed", slack=199)


def test_another_build_is_named():
    frame = pd.DataFrame({"chrom": ["chr1", "chrU"], "start": [5, 5], "end": [900, 10**9]})
    within_genome(frame, {"chr1": 900}, "f.bed")
    with pytest.raises(UserError, match=r"f.bed: chr1:5-900 ends past .*another genome build"):
        within_genome(frame, {"chr1": 899}, "f.bed")
