"""Tracks: any accessibility file to the model's input, signal per 4 bp of each window, scaled to 20
M fragments."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.genome.bam import read_bam
from petriscope.genome.coverage import SIGNAL_BIN, WindowBins, cut_sites
from petriscope.genome.fragments import count_fragments, read_fragments, subsample
from petriscope.genome.intervals import (
    OrderCheck,
    check_bounds,
    check_names,
    known_sizes,
    read_chunks,
)
from petriscope.genome.peaks import read_peak_file

SCALE_TO = 20_000_000
"""Fragments every track is scaled to (EpiBERT: `genomecov -scale 20/fragments_in_millions`)."""

INPUT_CLIP, TARGET_CLIP = 150.0, 2000.0
BEDGRAPH = 4
"""Columns of a bedGraph."""
GENOME_BP = 3.1e9
BACKGROUND = SCALE_TO * 2 * 11 / GENOME_BP
"""Mean signal per base of a scaled track on the human genome: what a fold enrichment of one means
as pseudo-signal."""

STRONG_FOLD = 15.0
"""Fold enrichment given to the median of a file's 20,000 strongest peaks: signalValue has no common
scale (the files of the six conditions: 10 to 31), and the difference between callers must not pass
for one between contexts."""

BIGWIG = (0x888FFC26).to_bytes(4, "little")

KINDS = {
    "fragments": "Tn5 cut coverage per 20 M fragments",
    "bam": "Tn5 cut coverage per 20 M fragments",
    "bigwig": "signal as given",
    "bedgraph": "signal as given",
    "narrowpeak": "pseudo-signal: summit-shaped pile-up scaled by signalValue, strong peaks of "
    "all files alike",
}


class TrackResult(NamedTuple):
    """One biosample's track."""

    values: np.ndarray
    """(W, L/4) float32, signal summed over 4 bp."""
    fragments: int | None
    """Fragments it was made from (after subsampling); None where the file does not say."""
    kind: str
    """What the values are, in words."""


def signal_for_windows(
    path: str | Path,
    format: str,
    windows: pd.DataFrame,
    contigs: pd.DataFrame,
    *,
    depth: int | None = None,
    seed: int = 0,
    cut_shift: tuple[int, int] = (4, 5),
    scale: float = 1.0,
) -> TrackResult:
    """Signal of one biosample over ``windows``.

    Parameters: ``format`` — fragments, bam, bigwig, bedgraph or narrowpeak; ``windows`` — columns
    chrom, start, end: one length, no overlap, starts divisible by 4; ``contigs`` —
    `Genome.contigs`; ``depth`` — subsample to this many fragments first (fragments and bam), by
    ``seed``; ``cut_shift`` — see `cut_sites`; ``scale`` — factor on the result, as where a file
    holds a share of its library only.

    Fragments and BAM: each cut widened to 11 bp, scaled by 20e6 / fragments in the file, summed per
    4 bp, as EpiBERT's fragments_to_bed_scores.wdl. narrowPeak gives pseudo-signal
    (`pseudo_signal`), each file scaled so that the median of its 20,000 strongest peaks is a
    15-fold enrichment. bedGraph and bigWig are coverage: a value below 0 (a log ratio, a track with
    its control taken off) or an infinite one is refused, bases without a value (bigWig: NaN) count
    0. So is a file without any signal in the windows.
    """
    path, bins = Path(path), WindowBins(windows)
    if format not in KINDS:
        remedy = f"Use one of: {', '.join(KINDS)}."
        raise UserError(f"unknown signal format {format!r}", field="format", remedy=remedy)
    if depth is not None and format not in ("fragments", "bam"):
        remedy = "Leave tracks.match_depth empty or give fragments or BAM."
        raise UserError(
            f"a {format} file cannot be subsampled",
            file=path,
            field="tracks.match_depth",
            remedy=remedy,
        )
    if format in ("fragments", "bam"):

        def chunks() -> Iterator[pd.DataFrame]:
            if format == "bam":
                return read_bam(path, contigs)
            return read_fragments(path, contigs)

        values, fragments = _from_fragments(chunks, bins, depth, seed, cut_shift)
        values *= np.float32(scale)
        return TrackResult(_sound(path, values), fragments, KINDS[format])
    if format == "narrowpeak":
        peaks, strong = read_peak_file(path, contigs)
        alike = STRONG_FOLD / strong if strong > 0 else 1.0
        values = pseudo_signal(peaks, windows, scale * alike)
        return TrackResult(_sound(path, values), None, KINDS[format])
    values = (
        _from_bedgraph(path, bins, contigs)
        if format == "bedgraph"
        else _from_bigwig(path, bins, contigs)
    )
    return TrackResult(_sound(path, values * np.float32(scale)), None, KINDS[format])


def _sound(path: Path, values: np.ndarray) -> np.ndarray:
    """``values`` where they can be a track: finite, and not 0 everywhere."""
    if not np.isfinite(values).all():
        raise UserError(
            "holds values too large for a signal", file=path, remedy="Give coverage per base."
        )
    if not values.any():
        raise UserError(
            "holds no signal in any window",
            file=path,
            remedy="Use a file of the data set's genome and regions, or leave this biosample out.",
        )
    return values


def _no_coverage(path: Path, value: float, where: str) -> UserError:
    kind = "negative" if value < 0 else "infinite"
    return UserError(
        f"value {value:g} is {kind}: this is no coverage but a ratio or a difference",
        file=path,
        field=where,
        remedy="Give coverage per base, or the fold over the control.",
    )


def pseudo_signal(peaks: pd.DataFrame, windows: pd.DataFrame, scale: float = 1.0) -> np.ndarray:
    """Pseudo-signal (W, L/4) float32 from peaks (chrom, start, end, summit, score): no
    base-resolution data behind it.

    Each peak is a Gaussian hill on its summit, standard deviation a sixth of its width but 40 to
    150 bp, cut off at its ends; its height is ``score`` (signalValue, a fold over background) times
    the mean per-base signal of a track of 20 M fragments. Where peaks overlap the higher counts;
    outside peaks the signal is 0.
    """
    length = int(windows["end"].iloc[0] - windows["start"].iloc[0])
    values = np.zeros((len(windows), length // SIGNAL_BIN), dtype=np.float32)
    fields = ["start", "end", "summit", "score"]
    by_chrom = {
        str(chrom): group[fields].to_numpy(np.float64)
        for chrom, group in peaks.groupby("chrom", sort=False)
    }
    for row, (chrom, begin) in enumerate(zip(windows["chrom"].tolist(), windows["start"].tolist())):
        table = by_chrom.get(chrom, np.empty((0, 4)))
        here = table[(table[:, 1] > begin) & (table[:, 0] < begin + length)]
        base = np.zeros(length, dtype=np.float32)
        for start, end, summit, score in here.tolist():
            lower, upper = max(int(start), begin), min(int(end), begin + length)
            deviation = min(max((end - start) / 6, 40.0), 150.0)
            hill = score * np.exp(-0.5 * ((np.arange(lower, upper) - summit) / deviation) ** 2)
            part = base[lower - begin : upper - begin]
            np.maximum(part, hill, out=part)
        values[row] = base.reshape(-1, SIGNAL_BIN).sum(axis=1)
    return values * np.float32(BACKGROUND * scale)


def soft_clip(values: np.ndarray, limit: float) -> np.ndarray:
    """min(x, limit) + √max(x − limit, 0): EpiBERT's clip, 150 for the input signal and 2000 for the
    target."""
    over = np.maximum(values - np.asarray(limit, dtype=values.dtype), 0)
    return np.minimum(values, np.asarray(limit, dtype=values.dtype)) + np.sqrt(over)


def model_input(values: np.ndarray) -> np.ndarray:
    """Signal per 4 bp as the model takes it: soft-clipped at 150."""
    return soft_clip(values, INPUT_CLIP)


def model_target(values: np.ndarray, crop: int = 2) -> np.ndarray:
    """Signal (…, L/4) to targets (…, L/128 − 2·crop): unmasked sums over 128 bp, soft-clipped at
    2000, cropped."""
    sums = values.reshape(*values.shape[:-1], -1, 128 // SIGNAL_BIN).sum(axis=-1)
    clipped = soft_clip(sums, TARGET_CLIP)
    return clipped[..., crop : clipped.shape[-1] - crop]


def _from_fragments(
    chunks: Callable[[], Iterator[pd.DataFrame]],
    bins: WindowBins,
    depth: int | None,
    seed: int,
    cut_shift: tuple[int, int],
) -> tuple[np.ndarray, int]:
    """Scaled cut coverage (W, L/4) and the fragments it is made from."""
    source = (
        chunks() if depth is None else subsample(chunks(), count_fragments(chunks()), depth, seed)
    )
    values, fragments = bins.zeros(), 0
    for frame in source:
        fragments += len(frame)
        codes = frame["chrom"].cat.codes.to_numpy()
        start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
        for code, chrom in enumerate(frame["chrom"].cat.categories):
            if str(chrom) in bins.rows:
                here = codes == code
                bins.add_cuts(values, str(chrom), cut_sites(start[here], end[here], cut_shift))
    values *= np.float32(SCALE_TO / fragments)
    return values, fragments


def _from_bedgraph(path: Path, bins: WindowBins, contigs: pd.DataFrame) -> np.ndarray:
    sizes, order, seen = known_sizes(contigs), OrderCheck(path, disjoint=True), set[str]()
    values = bins.zeros()
    for chunk in read_chunks(path, {3: "value"}):
        if chunk.lines.columns != BEDGRAPH:
            raise UserError(
                f"has {chunk.lines.columns} columns where bedGraph has {BEDGRAPH}",
                file=path,
                field=chunk.at(0),
                remedy="Give chrom, start, end, value.",
            )
        negative = np.flatnonzero(chunk.frame["value"].to_numpy() < 0)
        if len(negative):
            row = int(negative[0])
            raise _no_coverage(path, float(chunk.frame["value"].iloc[row]), chunk.at(row))
        order.feed(chunk)
        check_bounds(path, chunk, sizes)
        frame = chunk.frame
        codes = frame["chrom"].cat.codes.to_numpy()
        start, end, value = (frame[name].to_numpy() for name in ("start", "end", "value"))
        for code, chrom in enumerate(frame["chrom"].cat.categories):
            seen.add(str(chrom))
            here = codes == code
            bins.add_intervals(values, str(chrom), start[here], end[here], value[here])
    check_names(path, seen, set(contigs.chrom))
    return values


def _from_bigwig(path: Path, bins: WindowBins, contigs: pd.DataFrame) -> np.ndarray:
    import pyBigWig

    if not path.is_file():
        raise UserError(
            "no such file", file=path, remedy="Correct the path in dataset.yaml or fetch the file."
        )
    least = _least_value(path)  # first: pyBigWig prints lines of its own on a damaged file
    if least < 0:
        raise _no_coverage(path, least, "least value")
    try:
        handle = pyBigWig.open(str(path))
    except RuntimeError as error:
        raise UserError(
            f"cannot be opened as bigWig ({error})", file=path, remedy="Fetch the file again."
        ) from None
    values = bins.zeros()
    with handle:
        lengths = handle.chroms()
        check_names(path, set(lengths), set(contigs.chrom))
        for chrom, size in known_sizes(contigs).items():
            if lengths.get(chrom, size) != size:
                remedy = "Use a file of the data set's genome build."
                what = f"{chrom} has {lengths[chrom]} bp in the file but {size} in the genome"
                raise UserError(what, file=path, remedy=remedy)
        for chrom, starts in bins.starts.items():
            for row, first in zip(bins.rows[chrom], starts.tolist()):
                begin, end = (
                    first * SIGNAL_BIN,
                    min((first + bins.bins) * SIGNAL_BIN, lengths.get(chrom, 0)),
                )
                if begin < end:
                    try:
                        base = handle.values(chrom, begin, end, numpy=True)
                    except RuntimeError as error:
                        what = f"cannot be read at {chrom}:{begin}-{end} ({error})"
                        raise UserError(what, file=path, remedy="Fetch the file again.") from None
                    base[np.isnan(base)] = 0
                    wrong = np.flatnonzero((base < 0) | np.isinf(base))
                    if len(wrong):
                        where = f"{chrom}:{begin + wrong[0]}"
                        raise _no_coverage(path, float(base[wrong[0]]), where)
                    base = np.pad(base, (0, bins.bins * SIGNAL_BIN - len(base)))
                    values[row] = base.reshape(-1, SIGNAL_BIN).sum(axis=1)
    return values


def _least_value(path: Path) -> float:
    """The least value of a bigWig file, as its summary says; 0 where it has none.

    Raises `UserError` for another kind of file, and where it ends before an index of values or of
    zoom levels that its header names.
    """
    with path.open("rb") as handle:
        head = handle.read(64)
        order = {BIGWIG: "<", BIGWIG[::-1]: ">"}.get(head[:4])
        if order is None or len(head) < 64:
            raise UserError(
                "cannot be opened as bigWig (its first bytes are others)",
                file=path,
                remedy="Give a bigWig file, or set the right format.",
            )
        levels = struct.unpack_from(f"{order}H", head, 6)[0]
        zooms = handle.read(24 * levels)
        index, summary = (struct.unpack_from(f"{order}Q", head, at)[0] for at in (24, 44))
        ends = [index, summary]
        if len(zooms) == 24 * levels:
            ends += [struct.unpack_from(f"{order}Q", zooms, 24 * i + 16)[0] for i in range(levels)]
        if max(ends) + 40 > path.stat().st_size:
            raise UserError("is truncated", file=path, remedy="Fetch or write the file again.")
        if not summary:
            return 0.0
        handle.seek(summary + 8)
        return float(struct.unpack(f"{order}d", handle.read(8))[0])
