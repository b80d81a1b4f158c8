"""Sparse codes of millions of tokens: streamed encoding, sufficient statistics, strongest rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.progress import bar
from petriscope.sae.coder import SAE
from petriscope.sae.moments import Moments
from petriscope.sae.sparse import Codes, concatenate

_ROWS_AT_ONCE = 16_384


def encode_stream(
    sae: SAE, rows: np.ndarray, *, rows_at_once: int = _ROWS_AT_ONCE, progress: bool = False
) -> Iterator[tuple[int, Codes]]:
    """Codes of raw hidden states rows (…, d) (may be memory-mapped), as (first row, codes) pieces
    in order.

    Holds ``rows_at_once`` rows at a time; rows are numbered through all leading axes. Raises
    `UserError` with the row number on NaN or infinity.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    meter = bar("Encoding", total=len(flat), unit="token") if progress else None
    for start in range(0, len(flat), rows_at_once):
        piece = flat[start : start + rows_at_once]
        try:
            codes = sae.encode(piece)
        except UserError:
            bad = np.flatnonzero(~np.isfinite(np.asarray(piece, np.float32)).all(axis=1))
            if not len(bad):
                raise
            what = f"row {start + bad[0]} holds NaN or infinity"
            raise UserError(
                what, field="hidden states", remedy="Harvest this layer again."
            ) from None
        yield start, codes
        if meter is not None:
            meter.update(len(piece))
    if meter is not None:
        meter.close()


def encode_rows(sae: SAE, rows: np.ndarray, *, progress: bool = False) -> Codes:
    """Codes of all rows (…, d) at once in memory (codes only: about 8·L0 bytes a row)."""
    pieces = [codes for _, codes in encode_stream(sae, rows, progress=progress)]
    return concatenate(pieces) if pieces else sae.encode(np.zeros((0, sae.d), np.float32))


class StatisticsAccumulator:
    """Adds pieces of codes to `Moments`, a row at its (block, biosample) cell."""

    def __init__(self, n_blocks: int, n_biosamples: int, m: int) -> None:
        self.shape = (n_blocks, n_biosamples, m)
        cells = n_blocks * n_biosamples
        self._total, self._squares = np.zeros((cells, m)), np.zeros((cells, m))
        self._active = np.zeros((cells, m), dtype=np.int64)
        self._tokens = np.zeros(cells, dtype=np.int64)

    def add(self, codes: Codes, block: np.ndarray, biosample: np.ndarray) -> None:
        """codes of n rows; block and biosample: int (n). Rows with a negative block are left
        out."""
        used = np.flatnonzero(block >= 0)
        cell = block[used] * self.shape[1] + biosample[used]
        if len(cell) and not (cell.min() >= 0 and cell.max() < len(self._tokens)):
            raise ValueError(
                f"a row lies outside {self.shape[0]} blocks x {self.shape[1]} biosamples"
            )
        self._tokens += np.bincount(cell, minlength=len(self._tokens))
        ends = (
            np.flatnonzero((np.diff(cell) != 0) | (np.diff(used) != 1)) + 1
        )  # rows of one cell come in runs
        for first, last in zip(np.r_[0, ends], np.r_[ends, len(cell)], strict=True):
            for at in range(first, last, _ROWS_AT_ONCE // 4):
                begin, stop = used[at], used[min(at + _ROWS_AT_ONCE // 4, last) - 1] + 1
                self._add_run(codes.rows(int(begin), int(stop)), int(cell[first]))

    def _add_run(self, codes: Codes, cell: int) -> None:
        """Rows of one cell: column sums as products of the transposed codes with ones, in
        float64."""
        values, ones = np.asarray(codes.values, np.float64), np.ones(codes.n)
        indices, indptr = np.asarray(codes.indices), np.asarray(codes.indptr, np.int32)
        for into, data in (
            (self._total, values),
            (self._squares, values * values),
            (self._active, np.ones_like(values)),
        ):
            summed = (
                sp.csc_matrix((data, indices, indptr), shape=(codes.m, codes.n), copy=False) @ ones
            )
            into[cell] += summed.astype(into.dtype)

    def result(self) -> Moments:
        """What has been added so far."""
        total, squares, active = (
            array.reshape(self.shape) for array in (self._total, self._squares, self._active)
        )
        return Moments(total, squares, active, self._tokens.reshape(self.shape[:2]))


def sufficient_statistics(
    codes: Codes | Iterator[tuple[int, Codes]],
    block_of_row: np.ndarray,
    biosample_of_row: np.ndarray,
    *,
    n_blocks: int,
    n_biosamples: int,
    m: int,
) -> Moments:
    """Statistics of codes (whole, or pieces from ``encode_stream``); rows with a negative block are
    left out."""
    accumulator = StatisticsAccumulator(n_blocks, n_biosamples, m)
    for start, piece in [(0, codes)] if isinstance(codes, Codes) else codes:
        span = slice(start, start + piece.n)
        accumulator.add(piece, block_of_row[span], biosample_of_row[span])
    return accumulator.result()


class RowLabels(NamedTuple):
    """Which window, biosample and bin each row of an activation array (W, S, T', d) is, as int32
    (W·S·T')."""

    window: np.ndarray
    biosample: np.ndarray
    bin: np.ndarray


def row_labels(n_windows: int, n_biosamples: int, n_bins: int) -> RowLabels:
    """Labels of rows (w·S + s)·T' + t."""
    grid = np.indices((n_windows, n_biosamples, n_bins), dtype=np.int32).reshape(3, -1)
    return RowLabels(*grid)


class TopRows(NamedTuple):
    """Strongest rows of each feature in each group, strongest first; a feature with fewer has fewer
    entries."""

    feature: np.ndarray
    """int32 (entries), ascending"""
    group: np.ndarray
    """int32 (entries), ascending within a feature"""
    row: np.ndarray
    """int64 (entries)"""
    value: np.ndarray
    """float32 (entries), descending within feature and group"""


class TopRowsAccumulator:
    """One-pass top-``count`` rows per (feature, group); ties go to the earlier row."""

    def __init__(self, m: int, n_groups: int, count: int) -> None:
        self.m, self.n_groups, self.count = m, n_groups, count
        self._kept = TopRows(
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
        )
        self._least = np.zeros(
            m * n_groups, dtype=np.float32
        )  # a later row must exceed this to matter

    def add(self, start: int, codes: Codes, group_of_row: np.ndarray) -> None:
        """Codes of rows start, start + 1, …; group_of_row: int (n) of those rows, negative = left
        out."""
        rows = np.repeat(np.arange(codes.n, dtype=np.int64), np.diff(codes.indptr))
        group = group_of_row[rows]
        key = codes.indices.astype(np.int64) * self.n_groups + group
        fresh = np.flatnonzero(
            (group >= 0) & (codes.values > self._least[np.where(group >= 0, key, 0)])
        )
        key = np.concatenate(
            [self._kept.feature.astype(np.int64) * self.n_groups + self._kept.group, key[fresh]]
        )
        row = np.concatenate([self._kept.row, rows[fresh] + start])
        value = np.concatenate([self._kept.value, codes.values[fresh]])
        order = np.lexsort((row, -value, key))
        key, row, value = key[order], row[order], value[order]
        first = np.searchsorted(key, key, side="left")
        rank = np.arange(len(key)) - first
        kept = rank < self.count
        full = rank == self.count - 1
        self._least[key[full]] = value[full]
        feature, group = np.divmod(key[kept], self.n_groups)
        self._kept = TopRows(
            feature.astype(np.int32), group.astype(np.int32), row[kept], value[kept]
        )

    def result(self) -> TopRows:
        """What has been kept so far."""
        return self._kept


def top_rows(
    codes: Codes | Iterator[tuple[int, Codes]],
    group_of_row: np.ndarray,
    *,
    m: int,
    n_groups: int,
    count: int,
) -> TopRows:
    """The ``count`` strongest rows of each feature in each group (for example biosample), in one
    pass."""
    accumulator = TopRowsAccumulator(m, n_groups, count)
    for start, piece in [(0, codes)] if isinstance(codes, Codes) else codes:
        accumulator.add(start, piece, group_of_row[start : start + piece.n])
    return accumulator.result()
