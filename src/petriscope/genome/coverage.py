"""Cut sites and signal intervals to windows: sums per 4 bp, vectorized, in memory of the result and
one chunk."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

SIGNAL_BIN = 4
"""Base pairs per signal bin: the resolution of the model's accessibility input."""

MARGIN = 250
"""Base pairs beyond a peak's borders that still count as in it: as far as the field's usual 500-bp
peak reaches from its summit."""

FLANK = 5
"""Each cut is widened by this on both sides: 11 bp."""

# OVERLAP[k, r]: bases that an 11-bp interval beginning at phase r (0..3) of a 4-bp bin puts into
# the k-th bin on.
OVERLAP = np.array([[4, 3, 2, 1], [4, 4, 4, 4], [3, 4, 4, 4], [0, 0, 1, 2]], dtype=np.float32)


class WindowBins:
    """Where each 4-bp bin of each window lies in a (W, L/4) array.

    Parameters: ``windows`` — columns chrom, start, end: non-overlapping, of one length, starts
    divisible by 4; row order is the order of W. Raises `ValueError` where they are not.
    """

    def __init__(self, windows: pd.DataFrame) -> None:
        start, end = windows["start"].to_numpy(np.int64), windows["end"].to_numpy(np.int64)
        lengths = np.unique(end - start)
        if len(lengths) != 1 or lengths[0] % SIGNAL_BIN or np.any(start % SIGNAL_BIN):
            raise ValueError("windows must share one length and begin at multiples of 4 bp")
        self.count, self.bins = len(windows), int(lengths[0]) // SIGNAL_BIN
        self.rows: dict[str, np.ndarray] = {}
        self.starts: dict[str, np.ndarray] = {}
        chrom = windows["chrom"].to_numpy()
        for name in pd.unique(chrom):
            rows = np.flatnonzero(chrom == name)
            rows = rows[np.argsort(start[rows], kind="stable")]
            first = start[rows] // SIGNAL_BIN
            if np.any(np.diff(first) < self.bins):
                raise ValueError(f"windows overlap on {name}")
            self.rows[str(name)], self.starts[str(name)] = rows, first

    def zeros(self) -> np.ndarray:
        """An empty accumulator (W, L/4) float32."""
        return np.zeros((self.count, self.bins), dtype=np.float32)

    def add_cuts(self, values: np.ndarray, chrom: str, cuts: np.ndarray) -> None:
        """Add the 11-bp coverage of ``cuts`` (n,) (0-based positions on ``chrom``) to ``values``
        (W, L/4), in bases."""
        if chrom not in self.starts:
            return
        lower = cuts - FLANK
        if lower.min(initial=0) < 0:
            lower = lower[lower >= 0]  # the original drops what would begin before the chromosome
        first, starts, rows, flat = (
            lower >> 2,
            self.starts[chrom],
            self.rows[chrom],
            values.reshape(-1),
        )
        near = np.searchsorted(starts, first + 3, side="right") - 1
        offset = first - starts.take(near, mode="clip")
        known = near >= 0
        inside = known & (offset >= 0) & (offset <= self.bins - 4)
        edge = known & ~inside & (offset < self.bins)
        phase = (lower & 3)[inside]
        target = rows[near[inside]] * self.bins + offset[inside]
        for k in range(4):
            np.add.at(flat, target + k, OVERLAP[k].take(phase))
        straddling, phase = first[edge], (lower & 3)[edge]
        for k in range(4):
            at = np.searchsorted(starts, straddling + k, side="right") - 1
            offset = straddling + k - starts.take(at, mode="clip")
            hit = (at >= 0) & (offset < self.bins)
            np.add.at(flat, rows[at[hit]] * self.bins + offset[hit], OVERLAP[k].take(phase[hit]))

    def add_intervals(
        self, values: np.ndarray, chrom: str, start: np.ndarray, end: np.ndarray, value: np.ndarray
    ) -> None:
        """Add sorted disjoint intervals of constant ``value`` per base: their integral over each
        bin, exactly."""
        if chrom not in self.starts or not len(start):
            return
        knots = np.stack([start, end], axis=1).ravel().astype(np.float64)
        integral = np.cumsum(
            np.stack([np.zeros(len(start)), (end - start) * value], axis=1).ravel()
        )
        starts = self.starts[chrom]
        first = np.searchsorted(starts + self.bins, start[0] // SIGNAL_BIN, side="right")
        last = np.searchsorted(starts * SIGNAL_BIN, end[-1], side="left")
        for number in range(first, last):
            edges = (starts[number] + np.arange(self.bins + 1)) * SIGNAL_BIN
            with np.errstate(over="ignore"):  # infinite then, and said to be by who takes the track
                values[self.rows[chrom][number]] += np.diff(
                    np.interp(edges, knots, integral)
                ).astype(np.float32)


def cut_sites(start: np.ndarray, end: np.ndarray, shift: tuple[int, int] = (4, 5)) -> np.ndarray:
    """Both Tn5 cuts of each fragment as 0-based positions: start + shift[0], end − shift[1].

    EpiBERT's notebook (cell 7) shifts once from BAM to fragments and again here, hence the default;
    (0, 0) shifts once only.
    """
    return np.concatenate([start + shift[0], end - shift[1]])


def share_in_peaks(
    signals: Iterable[np.ndarray], peaks: pd.DataFrame, windows: pd.DataFrame, margin: int = MARGIN
) -> np.ndarray:
    """(S,) share of each biosample's signal (W, L/4) within ``margin`` of ``peaks`` (chrom, start,
    end; may overlap).

    Over one set of peaks for all biosamples, so that a shallow library does not lose by having
    fewer peaks called. NaN where a biosample has no signal in the windows. The margin takes in the
    flanks that a peak caller cuts off: they are larger for wide elements, so without it the share
    depends on the elements' shape and not on the library alone.
    """
    marks = WindowBins(windows)
    edges = np.zeros((marks.count, marks.bins + 1), np.int32)
    for chrom, table in peaks.groupby("chrom", sort=False):
        first = (table["start"].to_numpy() - margin) // SIGNAL_BIN
        last = -((-table["end"].to_numpy() - margin) // SIGNAL_BIN)
        for row, begin in zip(marks.rows.get(str(chrom), ()), marks.starts.get(str(chrom), ())):
            np.add.at(edges[row], np.clip(first - begin, 0, marks.bins), 1)
            np.add.at(edges[row], np.clip(last - begin, 0, marks.bins), -1)
    inside = edges.cumsum(axis=1)[:, :-1] > 0
    totals = [
        (values.sum(dtype=np.float64), values[inside].sum(dtype=np.float64)) for values in signals
    ]
    return np.array([within / whole if whole > 0 else np.nan for whole, within in totals])
