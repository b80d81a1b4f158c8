"""Windows against their definition, brute force over every base on random genomes, and on real hg38
pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.genome.windows import SPLITS, tile_windows

SHARES = {"train": 0.6, "select": 0.15, "tune": 0.1, "test": 0.15}


def contigs(sizes: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"chrom": list(sizes), "start": 0, "end": list(sizes.values())})


def intervals(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.sampled_from([128, 256, 640]),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    n=st.integers(2, 7),
)
def test_windows_keep_every_promise(seed: int, length: int, share: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"chr{i}" for i in range(n)]
    table = contigs({name: int(rng.integers(9_000, 14_000)) for name in names})
    marks = []
    for _ in range(2):
        start = rng.integers(0, 12_000, 6)
        marks.append(
            intervals(
                [(names[rng.integers(n)], int(s), int(s + rng.integers(1, 300))) for s in start]
            )
        )
    black, gaps = marks
    frame = tile_windows(
        table,
        length,
        black,
        gaps=gaps,
        max_n_fraction=share,
        fractions=SHARES,
        block_bp=2_000,
        seed=seed,
    )
    masks = {c: np.zeros((2, size), dtype=bool) for c, size in zip(table.chrom, table.end)}
    for row, mark in enumerate(marks):
        for chrom, start, end in mark.itertuples(index=False):
            masks[chrom][row, start:end] = True
    assert set(frame.split) == set(SPLITS)
    assert frame.window.tolist() == list(range(len(frame)))
    for chrom, group in frame.groupby("chrom"):
        assert (group.end - group.start == length).all() and (group.start % 128 == 0).all()
        assert (np.diff(group.start) >= length).all() and group.start.min() >= 0
        assert group.end.max() <= masks[chrom].shape[1]
        for start, end in zip(group.start, group.end):
            assert not masks[chrom][0, start:end].any()
            assert masks[chrom][1, start:end].sum() <= share * length
        if n >= 4:
            assert group.split.nunique() == 1
    blocks = frame.groupby("block")
    assert (blocks.chrom.nunique() == 1).all() and (blocks.split.nunique() == 1).all()
    middle = (frame.start + frame.end) // 2
    assert (middle // 2_000).groupby(frame.block).nunique().eq(1).all()
    pd.testing.assert_frame_equal(
        frame,
        tile_windows(
            table,
            length,
            black,
            gaps=gaps,
            max_n_fraction=share,
            fractions=SHARES,
            block_bp=2_000,
            seed=seed,
        ),
    )


def test_an_unmarked_genome_is_tiled_from_end_to_end() -> None:
    frame = tile_windows(
        contigs(dict.fromkeys("abcd", 1280)), 128, fractions=SHARES, block_bp=1_000
    )
    assert len(frame) == 40


def test_scattered_unknown_bases_count_together() -> None:
    gaps = pd.concat([intervals([(c, s, s + 1) for s in range(0, 1280, 4)]) for c in "abcd"])
    table, options = contigs(dict.fromkeys("abcd", 1280)), {"fractions": SHARES, "block_bp": 1_000}
    assert len(tile_windows(table, 128, gaps=gaps, max_n_fraction=0.25, **options)) == 40
    with pytest.raises(UserError, match=r"no window of 128 bp fits"):
        tile_windows(table, 128, gaps=gaps, max_n_fraction=0.24, **options)


def test_side_contigs_are_left_out() -> None:
    names = ["a", "b", "c", "d", "chrM", "chrUn_KI270742v1", "chr1_GL383518v1_alt", "chrEBV"]
    frame = tile_windows(contigs(dict.fromkeys(names, 1280)), 128, fractions=SHARES, block_bp=1_000)
    assert set(frame.chrom) == set("abcd")


def test_shares_are_met_where_chromosomes_allow() -> None:
    sizes = {f"chr{i}": 10_000_000 for i in range(20)}
    frame = tile_windows(contigs(sizes), 16_384, fractions=SHARES, seed=4)
    got = frame.split.value_counts(normalize=True)
    assert all(abs(got[name] - SHARES[name]) < 0.03 for name in SPLITS)


def test_four_chromosomes_give_one_to_each_split() -> None:
    frame = tile_windows(contigs(dict.fromkeys("abcd", 50_000)), 128, fractions=SHARES, seed=1)
    assert frame.groupby("split").chrom.unique().map(len).eq(1).all()


def test_real_windows_avoid_the_blacklist_and_n(shared: Path) -> None:
    folder = shared / "data/real/genome"
    genome = Genome(
        [folder / "hg38.chr22_37200000_40600000.fa.gz", folder / "hg38.chr9_0_1000000.fa.gz"]
    )
    black = pd.read_csv(
        folder / "hg38-blacklist.v2.bed.gz", sep="\t", header=None, usecols=[0, 1, 2]
    )
    black.columns = pd.Index(["chrom", "start", "end"])
    frame = tile_windows(
        genome.contigs,
        16_384,
        black,
        gaps=genome.gaps(),
        fractions=SHARES,
        block_bp=250_000,
        seed=0,
    )
    assert len(frame) > 240 and frame[frame.chrom == "chr9"].start.min() >= 10_000
    joined = frame.merge(black, on="chrom", suffixes=("", "_b"))
    assert not ((joined.start < joined.end_b) & (joined.end > joined.start_b)).any()
    assert all(
        (genome.fetch_codes(c, s, e) < 4).all()
        for c, s, e in zip(frame.chrom, frame.start, frame.end)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 1000}, r"windows\.length: 1000 bp is not a positive multiple of 128.*1024"),
        ({"length": 0}, r"windows\.length"),
        ({"length": 4096}, r"windows\.length: no window of 4096 bp fits"),
        ({"fractions": {**SHARES, "test": 0.3}}, r"windows\.split: shares add up to 1\.15"),
        ({"fractions": {"train": 0.5, "test": 0.5}}, r"windows\.split.*train, select, tune, test"),
        ({"block_bp": 64}, r"windows\.block_bp.*shorter than a window"),
        ({"max_n_fraction": 2.0}, r"windows\.max_n_fraction"),
        ({"block_bp": 1_000_000}, r"windows\.block_bp: 2 blocks cannot fill the 4 splits"),
    ],
)
def test_mistakes_name_the_parameter(change: dict, message: str) -> None:
    arguments = {"length": 128, "fractions": SHARES, "block_bp": 500, **change}
    if arguments["length"] == 4096:
        arguments["block_bp"] = 4096
    with pytest.raises(UserError, match=message):
        tile_windows(contigs({"chr1": 2_000, "chr2": 2_000}), **arguments)
