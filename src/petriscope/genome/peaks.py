"""Peaks: reading narrowPeak and BED files, and calling peaks from a track where a data set brings
none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.errors import UserError
from petriscope.genome.intervals import (
    REAL,
    WHOLE,
    Chunk,
    Lines,
    check_bounds,
    check_names,
    known_sizes,
    read_chunks,
)

COLUMNS = ["chrom", "start", "end", "summit", "score"]
BED, BROADPEAK, NARROWPEAK, GAPPEDPEAK = 8, 9, 10, 15
"""Columns of each kind of file (of BED: at most)."""
SCORE_REMEDY = "A score is a fold enrichment or a height; BED with 3 columns gives all peaks one."
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

    Reads narrowPeak (signalValue, summit offset), broadPeak, gappedPeak (signalValue; the summit is
    the middle of its narrow part), and BED with 3 to 8 columns, where column 5, if a number, is the
    score and column 6, if a number, the summit's offset; without one the summit is the midpoint.
    Which of them it is, the lines say, not the file's name. File order is free. Peaks on
    chromosomes outside ``contigs`` (`Genome.contigs`), or outside the piece it holds, are left out.
    Raises `UserError` naming file and line for any other table (BED with thickStart, two files
    joined), a peak beyond its chromosome's end, a summit outside its peak, a score below 0, no
    score above 0, damage.
    """
    path = Path(path)
    sizes, seen = known_sizes(contigs), set[str]()
    parts = []
    for chunk in read_chunks(path, _score_columns(path)):
        check_bounds(path, chunk, sizes)
        frame = chunk.frame
        seen.update(str(name) for name in frame["chrom"].cat.categories)
        start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
        score = frame["score"].to_numpy() if "score" in frame else np.ones(len(frame))
        _refuse_where(score < 0, path, chunk, "score {} is negative", score, SCORE_REMEDY)
        parts.append(
            pd.DataFrame(
                {
                    "chrom": frame["chrom"].astype(str),
                    "start": start,
                    "end": end,
                    "summit": start + _offsets(path, chunk),
                    "score": score,
                }
            )
        )
    check_names(path, seen, set(contigs.chrom))
    peaks = pd.concat(parts, ignore_index=True)
    if not (peaks["score"] > 0).any():
        raise UserError("every score is 0", file=path, remedy=SCORE_REMEDY)
    if ((peaks["end"] - peaks["start"]) == 1).all():
        remedy = "Give the peaks themselves (narrowPeak), not their summits."
        raise UserError("every peak is one base long", file=path, remedy=remedy)
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


def _offsets(path: Path, chunk: Chunk) -> np.ndarray:
    """(n,) int64: where in its peak each summit lies."""
    frame = chunk.frame
    width = (frame["end"] - frame["start"]).to_numpy()
    if "thick_start" in frame:
        middle = (frame["thick_start"] + frame["thick_end"]).to_numpy() // 2
        return (middle - frame["start"].to_numpy()).astype(np.int64)
    given = frame["offset"].to_numpy() if "offset" in frame else np.full(len(frame), -1.0)
    remedy = "Give the summit as an offset from the peak's start, or -1."
    odd = (given < -1) | (given != np.floor(given))
    _refuse_where(odd, path, chunk, "summit offset {} is no position", given, remedy)
    what = "summit offset {} lies outside a peak of {} bp"
    _refuse_where(given >= width, path, chunk, what, given, remedy, width)
    return np.where(given < 0, width // 2, given).astype(np.int64)


def _refuse_where(
    wrong: np.ndarray,
    path: Path,
    chunk: Chunk,
    what: str,
    values: np.ndarray,
    remedy: str,
    *more: np.ndarray,
) -> None:
    """Refuse the first line where ``wrong`` holds, with its value in words."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        row = int(rows[0])
        text = what.format(*(f"{float(column[row]):g}" for column in (values, *more)))
        raise UserError(text, file=path, field=chunk.at(row), remedy=remedy)


def _score_columns(path: Path) -> dict[int, str]:
    """Which columns of the file hold score and summit, judged by its first lines."""
    lines = Lines(path, {1: "start", 2: "end"}, {}, {})
    head, width = lines.head, lines.columns
    _refuse_joined(path, head)
    if all(_blocks(row) for row in head):
        if width == GAPPEDPEAK and all(_thick(row) for row in head):
            return {6: "thick_start", 7: "thick_end", 12: "score"}
        raise _not_peaks(path, "columns 7 to 12 are those of BED12: no summit, no signalValue")
    if all(_thick(row) for row in head):
        raise _not_peaks(path, "columns 7 and 8 are thickStart and thickEnd of BED, not a score")
    if width <= BED:
        columns = {4: "score"} if width > 4 and any(_real(row[4]) for row in head) else {}
        if width > 5 and any(_real(row[5]) for row in head):
            columns[5] = "offset"
        return columns
    if all(row[5] in (b"+", b"-", b".") for row in head):
        if width == BROADPEAK:
            return {6: "score"}
        if width == NARROWPEAK or (width > NARROWPEAK and all(_whole(row[9]) for row in head)):
            return {6: "score", 9: "offset"}
    raise _not_peaks(path, f"{width} columns are no kind of peak file")


def _not_peaks(path: Path, what: str) -> UserError:
    return UserError(
        what,
        file=path,
        remedy="Give narrowPeak (10 columns), broadPeak (9), gappedPeak (15) or BED with 3 to 6.",
    )


def _refuse_joined(path: Path, head: list[list[bytes]]) -> None:
    """Refuse the lines of two files side by side: `bedtools intersect -wa -wb`, closest, window."""
    for column in range(3, len(head[0]) - 2):
        again = [
            row[column] == row[0]
            and _whole(row[column + 1])
            and _whole(row[column + 2])
            and int(row[column + 1]) < int(row[column + 2])
            for row in head
        ]
        nothing = [row[column : column + 3] == [b".", b"-1", b"-1"] for row in head]
        if any(again) and all(one or other for one, other in zip(again, nothing)):
            raise UserError(
                f"columns {column + 1} to {column + 3} hold a second interval: two files joined",
                file=path,
                remedy="Give the peaks alone (`bedtools intersect -u` keeps the first file's).",
            )


def _real(text: bytes) -> bool:
    return REAL.fullmatch(text) is not None


def _whole(text: bytes) -> bool:
    return WHOLE.fullmatch(text) is not None


def _thick(row: list[bytes]) -> bool:
    """True where columns 7 and 8 are a stretch within the interval: BED's thick part."""
    if len(row) < 8 or not (_whole(row[6]) and _whole(row[7])):
        return False
    return int(row[1]) <= int(row[6]) <= int(row[7]) <= int(row[2])


def _blocks(row: list[bytes]) -> bool:
    """True where columns 10 to 12 are a number of blocks, their sizes and their starts."""
    if len(row) < 12 or not _whole(row[9]):
        return False
    lists = [text.removesuffix(b",").split(b",") for text in row[10:12]]
    return all(len(one) == int(row[9]) and all(map(_whole, one)) for one in lists)


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
