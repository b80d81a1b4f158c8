"""Peaks: reading narrowPeak and BED files, and calling peaks from a track where a data set brings
none."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.errors import UserError
from petriscope.genome.intervals import (
    HEADERS,
    check_bounds,
    check_names,
    is_gzip,
    known_sizes,
    read_chunks,
)

COLUMNS = ["chrom", "start", "end", "summit", "score"]
NARROWPEAK, BROADPEAK = 10, 9
STRONGEST = 20_000


class PeakFile(NamedTuple):
    """A peak file as read."""

    peaks: pd.DataFrame
    """Peaks on the genome: columns chrom, start, end, summit (position of the highest base), score;
    sorted."""
    strong: float
    """Median score of the strongest 20,000 peaks of the whole file: its scale, whatever the
    caller's threshold."""


def read_peaks(path: str | Path, contigs: pd.DataFrame) -> pd.DataFrame:
    """The peaks of `read_peak_file`: columns chrom, start, end, summit, score; sorted."""
    return read_peak_file(path, contigs).peaks


def read_peak_file(path: str | Path, contigs: pd.DataFrame) -> PeakFile:
    """Read a peak file and keep what lies on the genome.

    Reads narrowPeak (signalValue, summit offset), broadPeak, and BED with 3 to 8 columns, where
    column 5, if a number, is the score and column 6, if a number, the summit's offset; without one
    the summit is the midpoint. File order is free. Peaks on chromosomes outside ``contigs``
    (`Genome.contigs`), or outside the piece it holds, are left out. Raises `UserError` naming file
    and line for a peak beyond its chromosome's end, a summit outside its peak, damage.
    """
    path = Path(path)
    sizes, seen = known_sizes(contigs), set[str]()
    parts = []
    for chunk in read_chunks(path, _score_columns(path)):
        check_bounds(path, chunk, sizes)
        frame = chunk.frame
        seen.update(str(name) for name in frame["chrom"].cat.categories)
        width = (frame["end"] - frame["start"]).to_numpy()
        offset = frame["offset"].to_numpy() if "offset" in frame else np.full(len(frame), -1.0)
        offset = np.where(offset < 0, width // 2, offset).astype(np.int64)
        outside = np.flatnonzero(offset >= width)
        if len(outside):
            row = int(outside[0])
            raise UserError(
                f"summit offset {offset[row]} lies outside a peak of {width[row]} bp",
                file=path,
                field=f"line {chunk.line + row}",
                remedy="Give the summit as an offset from the peak's start, or -1.",
            )
        score = frame["score"].to_numpy() if "score" in frame else np.ones(len(frame))
        parts.append(
            pd.DataFrame(
                {
                    "chrom": frame["chrom"].astype(str),
                    "start": frame["start"],
                    "end": frame["end"],
                    "summit": frame["start"].to_numpy() + offset,
                    "score": score,
                }
            )
        )
    check_names(path, seen, set(contigs.chrom))
    peaks = pd.concat(parts, ignore_index=True)
    strongest = np.sort(peaks["score"].to_numpy())[-STRONGEST:]
    return PeakFile(_on_genome(peaks, contigs), float(np.median(strongest)))


def call_peaks(
    values: np.ndarray,
    windows: pd.DataFrame,
    cuts_per_unit: float,
    *,
    width: int = 152,
    local: int = 5_000,
    q: float,
) -> pd.DataFrame:
    """Call peaks on a track by a Poisson test: the way MACS2 does, in its simplest form.

    Parameters: ``values`` — (W, L/4) signal per 4 bp; ``windows`` — columns chrom, start, end in
    row order of W; ``cuts_per_unit`` — Tn5 cuts per unit of signal (fragments / 20e6 / 11 for a
    scaled track); ``width`` — bp of the sliding count; ``local`` — bp over which the background
    rate is taken, never below the mean of all windows.

    Bins whose count is improbable (Benjamini–Hochberg ``q`` over all bins) and less than ``width``
    apart make a peak. Returns columns chrom, start, end, summit, score (count over background at
    the summit).
    """
    span, reach = max(1, width // 4), max(1, local // 4)
    cuts = values.astype(np.float64) * cuts_per_unit
    count = _moving_sum(cuts, span)
    local_rate = _moving_sum(cuts, reach) / _moving_sum(np.ones_like(cuts), reach)
    expected = np.maximum(local_rate, cuts.mean()) * span
    p = np.ones_like(count)
    high = (count > expected) & (expected > 0)
    p[high] = stats.poisson.sf(np.round(count[high]) - 1, expected[high])
    called = stats.false_discovery_control(p, axis=None).reshape(p.shape) <= q
    rows = []
    for row, (chrom, begin) in enumerate(zip(windows["chrom"], windows["start"])):
        for first, last in _runs(called[row], span):
            top = first + int(np.argmax(count[row, first:last]))
            fold = count[row, top] / expected[row, top]
            rows.append((chrom, begin + 4 * first, begin + 4 * last, begin + 4 * top + 2, fold))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(
        ["chrom", "start"], kind="stable", ignore_index=True
    )


def _score_columns(path: Path) -> dict[int, str]:
    """Which columns of the file hold score and summit offset, judged by its first line."""
    if not path.is_file():
        return {}
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as handle:
            first = next((line for line in handle if not line.startswith(HEADERS)), b"")
    except (OSError, EOFError):
        return {}  # read_chunks says what is wrong with the file
    fields = first.rstrip(b"\r\n").split(b"\t")
    if len(fields) >= NARROWPEAK:
        return {6: "score", 9: "offset"}
    if len(fields) == BROADPEAK:
        return {6: "score"}
    columns = {}
    if len(fields) > 4 and _number(fields[4]):
        columns[4] = "score"
    if len(fields) > 5 and _number(fields[5]):
        columns[5] = "offset"
    return columns


def _number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _on_genome(peaks: pd.DataFrame, contigs: pd.DataFrame) -> pd.DataFrame:
    """Peaks whose summit lies on a stretch the genome holds, sorted by position."""
    keep = np.zeros(len(peaks), dtype=bool)
    for contig in contigs.itertuples():
        keep |= (
            (peaks.chrom == contig.chrom)
            & (peaks.start >= contig.start)
            & (peaks.end <= contig.end)
        ).to_numpy()
    return peaks[keep].sort_values(
        ["chrom", "start", "end", "summit"], kind="stable", ignore_index=True
    )[COLUMNS]


def _moving_sum(array: np.ndarray, span: int) -> np.ndarray:
    """Centered sum over ``span`` bins along the last axis, shorter at the edges."""
    total = np.concatenate([np.zeros((len(array), 1)), np.cumsum(array, axis=1)], axis=1)
    center = np.arange(array.shape[1])
    upper = np.minimum(center + span - span // 2, array.shape[1])
    return total[:, upper] - total[:, np.maximum(center - span // 2, 0)]


def _runs(mask: np.ndarray, join: int) -> list[tuple[int, int]]:
    """[first, last) of each run of True, runs less than ``join`` apart made one."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2).tolist()
    runs: list[tuple[int, int]] = []
    for first, last in edges:
        if runs and first - runs[-1][1] < join:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs
