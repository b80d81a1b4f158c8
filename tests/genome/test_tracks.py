"""Tracks against `bedtools genomecov -bg -scale`, pyBigWig and the original's clips
(golden/epibert_preproc.npz)."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from programs import needs_bedtools

from petriscope.errors import UserError
from petriscope.genome import tracks
from petriscope.genome.coverage import WindowBins, cut_sites
from petriscope.genome.fragments import subsample

SIZES = {"chr1": 6_000, "chr2": 4_000}
CONTIGS = pd.DataFrame(
    {"chrom": list(SIZES), "start": 0, "end": list(SIZES.values()), "whole": True}
)
WINDOWS = pd.DataFrame(
    {
        "chrom": ["chr2", "chr1", "chr1", "chr1"],
        "start": [128, 4608, 0, 1024],
        "end": [1152, 5632, 1024, 2048],
    }
)


def fragments(n: int = 3_000, seed: int = 0) -> pd.DataFrame:
    """Sorted fragments with crowds at both ends of the chromosomes and on a contig the genome
    lacks."""
    rng = np.random.default_rng(seed)
    chrom = rng.choice(["chr1", "chr2", "chrUn"], n, p=[0.6, 0.35, 0.05])
    size = np.array([{**SIZES, "chrUn": 2_000}[c] for c in chrom])
    width = rng.integers(1, 400, n)
    start = np.clip((rng.beta(0.5, 0.5, n) * size).astype(int), 0, size - width)
    frame = pd.DataFrame({"chrom": chrom, "start": start, "end": start + width})
    return frame.sort_values(["chrom", "start"], ignore_index=True)


def write(path: Path, frame: pd.DataFrame, *, header: str = "", **options: object) -> Path:
    text = header + frame.to_csv(sep="\t", header=False, index=False, **options)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def per_base(bedgraph: str) -> dict[str, np.ndarray]:
    base = {chrom: np.zeros(size) for chrom, size in SIZES.items()}
    for line in bedgraph.splitlines():
        chrom, start, end, value = line.split("\t")
        base[chrom][int(start) : int(end)] = float(value)
    return base


def in_windows(base: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(
        [base[c][s:e].reshape(-1, 4).sum(axis=1) for c, s, e in WINDOWS.itertuples(index=False)]
    )


@pytest.mark.parametrize("shift", [(4, 5), (0, 0)])
@needs_bedtools
def test_fragments_give_what_genomecov_gives(tmp_path: Path, shift: tuple[int, int]) -> None:
    frame = fragments()
    path = write(
        tmp_path / "f.tsv.gz",
        frame.assign(barcode="ACGT-1", count=2),
        header="# from a single-cell run\n",
    )
    cuts = pd.concat(
        [
            pd.DataFrame(
                {
                    "chrom": frame.chrom,
                    "start": frame.start + shift[0] - 5,
                    "end": frame.start + shift[0] + 6,
                }
            ),
            pd.DataFrame(
                {
                    "chrom": frame.chrom,
                    "start": frame.end - shift[1] - 5,
                    "end": frame.end - shift[1] + 6,
                }
            ),
        ]
    )
    cuts = cuts[(cuts.start >= 0) & (cuts.chrom != "chrUn")].sort_values(["chrom", "start"])
    write(tmp_path / "cuts.bed", cuts)
    write(tmp_path / "sizes", pd.DataFrame(SIZES.items()))
    scale = 20e6 / len(frame)
    command = [
        "bedtools",
        "genomecov",
        "-i",
        "cuts.bed",
        "-g",
        "sizes",
        "-bg",
        "-scale",
        f"{scale:.12g}",
    ]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    got = tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS, cut_shift=shift)
    assert (
        got.fragments == len(frame)
        and got.values.dtype == np.float32
        and got.values.shape == (4, 256)
    )
    np.testing.assert_allclose(
        got.values, in_windows(per_base(out)), rtol=5e-6
    )  # it prints six digits
    raw = subprocess.run(
        command[:-2], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    np.testing.assert_array_equal(
        got.values, in_windows(per_base(raw)).astype(np.float32) * np.float32(scale)
    )
    halved = tracks.signal_for_windows(
        path, "fragments", WINDOWS, CONTIGS, cut_shift=shift, scale=0.5
    )
    np.testing.assert_array_equal(halved.values, got.values * np.float32(0.5))


def test_chunks_do_not_change_the_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.tsv", fragments())
    whole = tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS).values
    monkeypatch.setattr(tracks.read_fragments, "__kwdefaults__", {"rows": 97})
    np.testing.assert_array_equal(
        tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS).values, whole
    )


def test_depth_matching_is_exact_seeded_and_fair(tmp_path: Path) -> None:
    path = write(tmp_path / "f.tsv.gz", fragments())
    runs = [
        tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS, depth=700, seed=s)
        for s in (1, 1, 2)
    ]
    assert [run.fragments for run in runs] == [700] * 3
    np.testing.assert_array_equal(runs[0].values, runs[1].values)
    assert not np.array_equal(runs[0].values, runs[2].values)
    whole = tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS).values
    mean = np.mean(
        [
            tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS, depth=700, seed=s).values
            for s in range(60)
        ],
        axis=0,
    )
    assert (
        abs(mean.sum() / whole.sum() - 1) < 0.01
        and np.corrcoef(mean.ravel(), whole.ravel())[0, 1] > 0.97
    )
    full = tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS, depth=3_000, seed=9)
    np.testing.assert_array_equal(full.values, whole)
    chunks = [frame for _, frame in fragments().groupby(np.arange(3_000) // 97)]
    kept = pd.concat(subsample(chunks, 3_000, 700, 5))
    assert len(kept) == 700 and kept.index.is_monotonic_increasing and kept.index.is_unique
    share = np.mean([pd.concat(subsample(chunks, 3_000, 700, s)).index < 1_000 for s in range(40)])
    assert abs(share - 1 / 3) < 0.01, "early and late chunks are as likely to be kept"
    with pytest.raises(
        UserError,
        match=r"tracks\.match_depth.*3001 fragments of a file that has 3000.*at most 3000",
    ):
        tracks.signal_for_windows(path, "fragments", WINDOWS, CONTIGS, depth=3_001)


def bedgraph_frame(seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = []
    for chrom, size in SIZES.items():
        edges = np.sort(rng.choice(size, 240, replace=False)).reshape(-1, 2)
        parts.append(pd.DataFrame({"chrom": chrom, "start": edges[:, 0], "end": edges[:, 1]}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(value=np.round(rng.gamma(1.0, 5.0, len(frame)), 3))


def test_bedgraph_is_summed_base_by_base(tmp_path: Path) -> None:
    frame = bedgraph_frame()
    header = "track type=bedGraph\n#chrom start end value\n"
    path = write(tmp_path / "s.bedgraph.gz", frame, header=header)
    got = tracks.signal_for_windows(path, "bedgraph", WINDOWS, CONTIGS)
    expected = in_windows(per_base(frame.to_csv(sep="\t", header=False, index=False)))
    assert got.fragments is None
    np.testing.assert_allclose(got.values, expected, rtol=1e-5, atol=1e-4)


def test_bigwig_is_read_as_pybigwig_reads_it(tmp_path: Path) -> None:
    pybigwig = pytest.importorskip("pyBigWig")
    frame = bedgraph_frame()
    with pybigwig.open(str(tmp_path / "s.bw"), "w") as handle:
        handle.addHeader(list(SIZES.items()))
        columns = [frame[name].tolist() for name in ("chrom", "start", "end", "value")]
        handle.addEntries(columns[0], columns[1], ends=columns[2], values=columns[3])
    got = tracks.signal_for_windows(tmp_path / "s.bw", "bigwig", WINDOWS, CONTIGS, scale=2.0).values
    expected = in_windows(per_base(frame.to_csv(sep="\t", header=False, index=False)))
    np.testing.assert_allclose(got, 2 * expected, rtol=1e-5, atol=1e-4)
    (tmp_path / "bad.bw").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"bad\.bw.*bigWig"):
        tracks.signal_for_windows(tmp_path / "bad.bw", "bigwig", WINDOWS, CONTIGS)
    with pytest.raises(UserError, match="has 6000 bp in the file but 5999 in the genome"):
        shorter = CONTIGS.assign(end=[5_999, 4_000])
        tracks.signal_for_windows(tmp_path / "s.bw", "bigwig", WINDOWS, shorter)


def test_pseudo_signal_peaks_at_the_summit_with_the_height_of_signalvalue() -> None:
    peaks = pd.DataFrame(
        {
            "chrom": "chr1",
            "start": [100, 100, 1000],
            "end": [700, 700, 1100],
            "summit": [200, 600, 1050],
            "score": [10.0, 4.0, 8.0],
        }
    )
    got = tracks.pseudo_signal(peaks, WINDOWS) / tracks.BACKGROUND
    window = got[2]
    assert window[:25].sum() == 0 and window[175:250].sum() == 0
    assert window[50] == pytest.approx(4 * 10, rel=2e-3) and window[150] == pytest.approx(
        4 * 4, rel=2e-3
    )
    assert np.argmax(window[:100]) in (49, 50)
    assert got[3].sum() > 0 and got[3][:19].sum() == pytest.approx(got[3].sum())
    assert got[[0, 1]].sum() == 0


def test_a_peak_files_own_scale_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    start = np.sort(rng.integers(0, 5_000, 40))
    peaks = pd.DataFrame(
        {"chrom": "chr1", "start": start, "end": start + 200, "name": "p", "n": 0, "strand": "."}
    )
    peaks = peaks.assign(score=rng.gamma(2, 5, 40), p=1, q=1, summit=100)
    once = write(tmp_path / "a", peaks)
    tenfold = write(tmp_path / "b", peaks.assign(score=10 * peaks.score))
    tracks_ = [
        tracks.signal_for_windows(path, "narrowpeak", WINDOWS, CONTIGS).values
        for path in (once, tenfold)
    ]
    np.testing.assert_allclose(tracks_[0], tracks_[1], rtol=1e-5)
    expected = tracks.pseudo_signal(
        peaks.assign(summit=start + 100), WINDOWS, 15 / np.median(peaks.score)
    )
    np.testing.assert_allclose(tracks_[0], expected, rtol=1e-5)


def test_clips_and_targets_are_the_originals(shared: Path) -> None:
    golden = np.load(shared / "golden/epibert_preproc.npz")
    signal = golden["atac_in_first4096"][:, 0]
    np.testing.assert_array_equal(
        tracks.model_input(signal), golden["atac_softclip_first4096"][:, 0]
    )
    masked = golden["atac_in"][:, 0].copy()
    lower, upper = (
        golden["mask_bins"] * 32 - 65_000
    ).tolist()  # the excerpt begins at bin 65,000 of the window
    masked[lower:upper] = 0
    np.testing.assert_array_equal(tracks.model_input(masked), golden["atac_masked_clipped"][:, 0])
    expected = golden["target_sum128_first120"][:, 0]
    np.testing.assert_allclose(tracks.model_target(signal[: 124 * 32], crop=2), expected, rtol=1e-5)


def test_soft_clip_by_hand() -> None:
    values = np.array([0, 150, 151, 154, 2150], dtype=np.float32)
    np.testing.assert_allclose(
        tracks.soft_clip(values, 150), [0, 150, 151, 152, 150 + np.sqrt(2000)], rtol=1e-6
    )
    assert tracks.model_target(np.full((2, 3, 320), 100, np.float32)).shape == (2, 3, 6)


def lines(*rows: str) -> str:
    return "".join(row + "\n" for row in rows)


GOOD = "chr1\t10\t200"
BAD_FILES = [
    (
        "fragments",
        lines(GOOD, "chr1\t5900\t6001"),
        r"line 2: interval chr1:5900-6001 ends beyond chr1.*6000 bp.*build",
    ),
    ("fragments", lines(GOOD, "chr1\t9\t200"), r"line 2: is not sorted.*sort -k1,1"),
    (
        "fragments",
        lines(GOOD, "chr2\t9\t20", "chr1\t300\t400"),
        r"line 3: is not sorted.*comes back to chr1",
    ),
    ("fragments", lines("1\t10\t200"), r"column 1: no interval lies on the genome.*says 1.*chr1"),
    ("fragments", lines("#x", GOOD, "chr1\tten\t20"), r"line 3: start is 'ten'.*tab-separated"),
    ("fragments", lines(GOOD, "chr1\t30"), r"line 2: end is missing"),
    ("fragments", lines(GOOD, "", "\t10\t200"), r"line 3: chrom is missing"),
    ("fragments", lines(GOOD, "chr1\t30\t30"), r"line 2: interval chr1:30-30 is empty"),
    ("fragments", lines("chr1\t-1\t30"), r"line 1: interval chr1:-1-30 is empty or negative"),
    ("fragments", "", r"the file is empty"),
    ("fragments", lines("# only a comment"), r"the file is empty"),
    (
        "bedgraph",
        lines(GOOD + "\t1.5", "chr1\t150\t220\t1"),
        r"line 2: is not sorted: the interval overlaps",
    ),
    ("bedgraph", lines(GOOD), r"line 1: value is missing"),
    ("bedgraph", lines(GOOD + "\tnan"), r"line 1: value is 'nan'"),
    (
        "narrowpeak",
        lines("chr2\t3900\t4100\tp\t0\t.\t5\t1\t1\t50"),
        r"line 1: interval chr2:3900-4100 ends beyond",
    ),
    (
        "narrowpeak",
        lines("chr2\t390\t400\tp\t0\t.\t5\t1\t1\t10"),
        r"line 1: summit offset 10 lies outside a peak of 10 bp",
    ),
    ("narrowpeak", lines("chr2\t390\t400\tp\t0\t.\tx\t1\t1\t1"), r"line 1: score is 'x'"),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("format", "text", "message"), BAD_FILES)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, format: str, text: str, message: str, packed: bool
) -> None:
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        tracks.signal_for_windows(path, format, WINDOWS, CONTIGS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["fragments", "bedgraph", "narrowpeak"])
@pytest.mark.parametrize("damage", ["cut", "flip", "checksum"])
def test_damaged_gzip_is_refused(tmp_path: Path, format: str, damage: str) -> None:
    frame = fragments().query("chrom == 'chr1'").drop_duplicates("start").reset_index(drop=True)
    frame = frame.assign(end=frame.start + 1, value=1.0) if format == "bedgraph" else frame
    path = write(tmp_path / "x.gz", frame)
    tracks.signal_for_windows(path, format, WINDOWS, CONTIGS)
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "flip":
        raw[len(raw) // 2] ^= 0xFF
    else:
        raw[-8] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(UserError, match=r"x\.gz"):
        tracks.signal_for_windows(path, format, WINDOWS, CONTIGS)


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown signal format 'tsv'.*fragments, bam"):
        tracks.signal_for_windows(tmp_path / "x", "tsv", WINDOWS, CONTIGS)
    for format in ("fragments", "bedgraph", "narrowpeak", "bigwig", "bam"):
        with pytest.raises(UserError, match="absent: no such file"):
            tracks.signal_for_windows(tmp_path / "absent", format, WINDOWS, CONTIGS)
    with pytest.raises(
        UserError, match=r"tracks\.match_depth: a narrowpeak file cannot be subsampled"
    ):
        tracks.signal_for_windows(tmp_path / "x", "narrowpeak", WINDOWS, CONTIGS, depth=3)
    with pytest.raises(ValueError, match="multiples of 4"):
        WindowBins(WINDOWS.assign(start=WINDOWS.start + 1, end=WINDOWS.end + 1))
    with pytest.raises(ValueError, match="overlap on chr1"):
        WindowBins(WINDOWS.assign(start=WINDOWS.start % 1024, end=WINDOWS.start % 1024 + 1024))
    np.testing.assert_array_equal(cut_sites(np.array([10]), np.array([50])), [14, 45])
