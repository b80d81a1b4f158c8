"""Peak files against their columns as pandas reads them, on real ENCODE files; the caller against
planted peaks."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.errors import UserError
from petriscope.genome.peaks import call_peaks, read_peaks

CONTIGS = pd.DataFrame(
    {"chrom": ["chr22", "chr9"], "start": [37_200_000, 0], "end": [40_600_000, 1_000_000]}
)
CONTIGS["whole"] = False


def raw(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None)


def on_pieces(table: pd.DataFrame) -> pd.DataFrame:
    a = (table[0] == "chr22") & (table[1] >= 37_200_000) & (table[2] <= 40_600_000)
    b = (table[0] == "chr9") & (table[2] <= 1_000_000)
    return table[a | b]


def test_narrowpeak_columns(shared: Path) -> None:
    path = shared / "data/real/peaks/K562.ENCFF738NOA.narrowPeak.gz"
    got, table = read_peaks(path, CONTIGS), on_pieces(raw(path))
    assert got.columns.tolist() == ["chrom", "start", "end", "summit", "score"]
    expected = table.assign(summit=table[1] + table[9]).sort_values([0, 1, 2, "summit"])[
        [0, 1, 2, "summit", 6]
    ]
    assert len(got) > 50
    np.testing.assert_array_equal(got.to_numpy(), expected.to_numpy())


@pytest.mark.parametrize(
    ("name", "summit", "score"),
    [
        ("blood_invivo.Monocyte.ATAC.hg38.bed.gz", True, True),
        ("blood_invitro.K562.ATAC.chr22.hg38.bed.gz", True, True),
        ("blood_invitro.K562.DNase.hg38.bed.gz", False, True),
    ],
)
def test_short_beds_carry_score_and_summit_in_columns_five_and_six(
    shared: Path, name: str, summit: bool, score: bool
) -> None:
    path = shared / "data/real/peaks" / name
    got, table = read_peaks(path, CONTIGS), on_pieces(raw(path))
    assert len(got) == len(table) > 50
    offset = table[5] if summit else (table[2] - table[1]) // 2
    assert sorted(got.summit) == sorted(table[1] + offset)
    assert np.allclose(sorted(got.score), sorted(table[4])) is score


def test_plain_bed_and_strand_columns(tmp_path: Path) -> None:
    contigs = pd.DataFrame({"chrom": ["chr1"], "start": 0, "end": 1000, "whole": True})
    (tmp_path / "b3").write_text("track name=x\nchr1\t500\t601\nchr1\t100\t201\n")
    assert read_peaks(tmp_path / "b3", contigs).values.tolist() == [
        ["chr1", 100, 201, 150, 1.0],
        ["chr1", 500, 601, 550, 1.0],
    ]
    (tmp_path / "b6").write_text("chr1\t100\t201\tp\t7\t+\nchr5\t1\t2\tq\t7\t+\n")
    assert read_peaks(tmp_path / "b6", contigs).values.tolist() == [["chr1", 100, 201, 150, 7.0]]
    (tmp_path / "n").write_text("chr1\t100\t201\tp\t0\t.\t3.5\t1\t1\t-1\n")
    assert read_peaks(tmp_path / "n", contigs).values.tolist() == [["chr1", 100, 201, 150, 3.5]]
    (tmp_path / "b3").write_text("chr1\t900\t1001\n")
    with pytest.raises(UserError, match=r"b3: line 1: interval chr1:900-1001 ends beyond chr1"):
        read_peaks(tmp_path / "b3", contigs)
    (tmp_path / "b3").write_text("1\t900\t1000\n")
    with pytest.raises(UserError, match="no interval lies on the genome"):
        read_peaks(tmp_path / "b3", contigs)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"chr1\t1\t2\n" * 5000)[:40])
    with pytest.raises(UserError, match=r"cut\.gz: gzip damaged or truncated"):
        read_peaks(tmp_path / "cut.gz", contigs)


def planted(seed: int, height: float) -> tuple[np.ndarray, pd.DataFrame, list[tuple[int, int]]]:
    """Poisson cuts at 0.02 per 4 bp over 6 windows with hills of ``height`` times that, 4 per
    window."""
    rng = np.random.default_rng(seed)
    windows = pd.DataFrame(
        {"chrom": "chr1", "start": np.arange(6) * 16_384, "end": np.arange(1, 7) * 16_384}
    )
    rate, truth = np.full((6, 4096), 0.02), []
    for row in range(6):
        for center in (500, 1500, 2500, 3500):
            rate[row] += 0.02 * height * np.exp(-0.5 * ((np.arange(4096) - center) / 15) ** 2)
            truth.append((row, center))
    return rng.poisson(rate).astype(np.float32), windows, truth


def test_planted_peaks_are_called_and_little_else() -> None:
    cuts, windows, truth = planted(0, 40)
    called = call_peaks(cuts * 5, windows, 1 / 5, q=0.01)
    expected = [row * 16_384 + 4 * center for row, center in truth]
    assert len(called) == len(truth)
    assert np.abs(np.sort(called.summit) - expected).max() < 80
    assert (
        (called.start <= called.summit).all()
        and (called.summit < called.end).all()
        and (called.score > 5).all()
    )


def test_noise_alone_calls_next_to_nothing() -> None:
    cuts, windows, _ = planted(1, 0)
    assert len(call_peaks(cuts, windows, 1.0, q=0.01)) <= 1
    assert len(call_peaks(np.zeros_like(cuts), windows, 1.0, q=0.01)) == 0
