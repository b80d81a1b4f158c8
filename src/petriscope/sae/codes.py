"""Sparse codes of millions of tokens: CSR in memory and on disk (three .npy files, written piece by
piece, read memory-mapped), sufficient statistics, strongest rows, histograms, co-activation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, read_json, write_json
from petriscope.probe.tokens import AXIS, Tokens
from petriscope.sae.moments import Moments
from petriscope.shown import INK, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RUN_ROWS = 4096
TOKENS = "tokens"
CODES = Output(
    "codes",
    (
        *("codes.json", "indptr.npy", "indices.npy", "values.npy"),
        *(f"{TOKENS}/{name}" for name in AXIS.holds),
    ),
    json_with(latents=None, rows=None),
)
"""Folder of the token axis beside the codes."""
_ENTRIES_AT_ONCE = 1 << 22
_SHOWN = 10


@dataclass(frozen=True, eq=False, repr=False)
class Codes(Printed):
    """Sparse codes of n rows: row i holds latents ``indices[indptr[i]:indptr[i+1]]`` (ascending) at
    ``values``.

    `SAE.encode` makes them; those of `Hidden` carry the token axis and the layer.

    Raises
    ------
    UserError
        Where the token axis has another number of tokens than there are rows.

    Examples
    --------
    >>> two = Codes(np.array([0, 1, 1]), np.array([2]), np.array([0.5], np.float32), m=3)
    >>> two.dense().tolist()
    [[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """

    indptr: np.ndarray
    """int64 (n + 1)"""
    indices: np.ndarray
    """int32 (nnz)"""
    values: np.ndarray
    """float32 (nnz), all positive"""
    m: int
    """latents in the dictionary"""
    tokens: Tokens | None = None
    """what each row stands for, where that is known"""
    layer: int | None = None
    """the layer whose hidden states were encoded"""

    def __post_init__(self) -> None:
        if self.tokens is not None:
            self.tokens.check_rows(self.indptr[1:], "codes")

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.indptr) - 1

    @property
    def heading(self) -> str:
        """Rows, latents and how many fire on a token, in one line."""
        layer = "" if self.layer is None else f" of layer {self.layer}"
        l0 = int(self.indptr[-1]) / max(1, self.n)
        return f"codes{layer}: {self.n:,} tokens, {self.m} latents, L0 {l0:.4g}"

    def table(self) -> pd.DataFrame:
        """One row per latent: feature, tokens on which it fires, density (their share), and the
        mean and maximum of its activation where it fires (NaN where it never does)."""
        count, total = np.zeros(self.m, np.int64), np.zeros(self.m)
        most = np.zeros(self.m, np.float32)
        for piece in _pieces(self):
            indices = np.asarray(piece.indices)
            count += np.bincount(indices, minlength=self.m)
            total += np.bincount(indices, piece.values, minlength=self.m)
            np.maximum.at(most, indices, piece.values)
        fires = count > 0
        return pd.DataFrame(
            {
                "feature": np.arange(self.m),
                "tokens": count,
                "density": count / max(1, self.n),
                "mean": np.where(fires, total / np.maximum(count, 1), np.nan),
                "maximum": np.where(fires, most, np.nan),
            }
        )

    def _shown(self) -> pd.DataFrame:
        return self.table().sort_values("tokens", ascending=False, kind="stable").head(_SHOWN)

    def plot(self) -> Figure:
        """How often latents fire; those that never do are counted in the title."""
        figure, axes = panel()
        density = self.table().density.to_numpy()
        fires = density[density > 0]
        axes.hist(np.log10(fires), bins=30, color=INK)
        axes.set(xlabel="log10 share of tokens on which a latent fires", ylabel="latents")
        axes.set_title(f"{len(density) - len(fires)} of {len(density)} never fire")
        return figure

    def check_values(self, file: str | Path) -> None:
        """Refuse what cannot be codes: an index without a latent, a value that is not a finite
        number above 0. Reads all entries once."""
        at = 0
        for piece in _pieces(self):
            wrong = ~((piece.indices >= 0) & (piece.indices < self.m))
            wrong |= ~(np.isfinite(piece.values) & (piece.values > 0))
            if wrong.any():
                entry = int(np.flatnonzero(wrong)[0])
                row = at + int(np.searchsorted(piece.indptr, entry, side="right")) - 1
                what = (
                    f"row {row} has latent {piece.indices[entry]} of {self.m} at "
                    f"{piece.values[entry]:g}"
                )
                remedy = "Encode again; an activation is finite and above 0."
                raise UserError(what, file=file, remedy=remedy)
            at += piece.n

    def scipy(self) -> sp.csr_matrix:
        """The same as a scipy CSR matrix (n, m), sharing memory where scipy's index type allows."""
        return sp.csr_matrix((self.values, self.indices, self.indptr), shape=(self.n, self.m))

    def dense(self) -> np.ndarray:
        """The same as a dense float32 (n, m) array."""
        return self.scipy().toarray()

    def rows(self, start: int, stop: int) -> Codes:
        """Codes of rows start..stop-1 (views, no copies but of indptr)."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = np.asarray(self.indptr[start : stop + 1]) - first
        return Codes(indptr, self.indices[first:last], self.values[first:last], self.m)

    def save(self, folder: str | Path) -> None:
        """Write codes.json, indptr.npy, indices.npy, values.npy and, where known, the token axis
        (tokens/)."""
        with writing_codes(folder, self.m, self.tokens, self.layer) as writer:
            writer.add(self)

    @classmethod
    def load(cls, folder: str | Path, *, mapped: bool = True) -> Codes:
        """Read what `save` or `writing_codes` wrote; indices and values memory-mapped unless asked
        otherwise."""
        folder = Path(folder)
        try:
            described = read_json(folder / "codes.json")
            indices, values = (
                np.load(folder / f"{name}.npy", mmap_mode="r" if mapped else None)
                for name in ("indices", "values")
            )
            indptr, m = np.load(folder / "indptr.npy"), int(described["latents"])
            arrays = (indptr, indices, values)
            if any(array.ndim != 1 for array in arrays) or values.dtype.kind != "f":
                raise ValueError("arrays are not those of codes")
            if {indptr.dtype.kind, indices.dtype.kind} != {"i"} or indptr[:1].tolist() != [0]:
                raise ValueError("indptr does not begin with 0")
            if (np.diff(indptr) < 0).any() or {len(indices), len(values)} != {int(indptr[-1])}:
                raise ValueError("indptr, indices and values do not belong together")
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"cannot be read ({error})", file=folder, remedy="Encode this layer again."
            ) from None
        tokens = Tokens.load(folder / TOKENS) if (folder / TOKENS).is_dir() else None
        try:
            return cls(indptr, indices, values, m, tokens, described.get("layer"))
        except UserError as error:
            raise UserError(str(error), file=folder) from None


def concatenate(parts: list[Codes]) -> Codes:
    """Codes of all parts' rows, in order (at least one part); none carries a token axis."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0] + [int(part.indptr[-1]) for part in parts])
    indptr = np.concatenate(
        [[0]] + [part.indptr[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
    )
    return Codes(
        indptr.astype(np.int64),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
        parts[0].m,
    )


class _GrowingArray:
    """A one-dimensional .npy file that is appended to; its header is written again, with the
    length, at the end."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self.dtype, self.length = np.dtype(dtype), 0
        self.file: BinaryIO = path.open("wb")
        self._head(
            2**62
        )  # the longest length there is, so that the final header fits into the same bytes
        self.start = self.file.tell()

    def _head(self, length: int) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (length,),
        }
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        self.file.seek(0)
        self._head(self.length)
        if self.file.tell() != self.start:
            raise ValueError("the .npy header changed its length")
        self.file.close()


class CodesWriter:
    """Appends codes of consecutive rows to a folder; holds nothing but the row pointers."""

    def __init__(self, folder: Path, described: dict[str, int]) -> None:
        self.folder, self.described = folder, described
        self._indptr = [np.zeros(1, np.int64)]
        self._indices = _GrowingArray(folder / "indices.npy", np.int32)
        self._values = _GrowingArray(folder / "values.npy", np.float32)

    def add(self, codes: Codes) -> None:
        """Append the rows of ``codes``."""
        self._indptr.append(np.asarray(codes.indptr[1:]) + self._indices.length)
        self._indices.append(codes.indices)
        self._values.append(codes.values)

    def close(self) -> None:
        """Write the row pointers and the description."""
        self._indices.close()
        self._values.close()
        indptr = np.concatenate(self._indptr)
        np.save(self.folder / "indptr.npy", indptr, allow_pickle=False)
        write_json(self.folder / "codes.json", {**self.described, "rows": len(indptr) - 1})


@contextmanager
def writing_codes(
    folder: str | Path, latents: int, tokens: Tokens | None = None, layer: int | None = None
) -> Iterator[CodesWriter]:
    """A `CodesWriter` whose folder appears whole on success, or not at all."""
    described = {"latents": latents} | ({} if layer is None else {"layer": layer})
    with atomic_folder(folder, CODES) as temporary:
        writer = CodesWriter(temporary, described)
        yield writer
        writer.close()
        if tokens is not None:
            tokens.save(temporary / TOKENS)


def coactivation(codes: Codes) -> sp.csr_matrix:
    """int64 (m, m) counts of rows on which two features fire together; the diagonal is each one's
    own count."""
    total = sp.csr_matrix((codes.m, codes.m), dtype=np.int64)
    for piece in _pieces(codes):
        fired = sp.csr_matrix(
            (np.ones(len(piece.indices), np.int64), piece.indices, piece.indptr),
            shape=(piece.n, codes.m),
        )
        total = total + fired.T @ fired
    return total.tocsr()


def activation_histograms(
    codes: Codes, group: np.ndarray, *, groups: int, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the firing tokens of each feature lie between 0 and its maximum, per group (for example
    biosample).

    codes: n rows; group: int (n). Returns counts int64 (groups, m, bins) in equal bins of (0,
    maximum], and the maximum float32 (m), 0 for a feature that never fires. Two passes over the
    codes, a few MB held.
    """
    maximum = np.zeros(codes.m, np.float32)
    for piece in _pieces(codes):
        np.maximum.at(maximum, piece.indices, piece.values)
    counts = np.zeros(groups * codes.m * bins, np.int64)
    row = 0
    for piece in _pieces(codes):
        of_entry = np.repeat(
            np.asarray(group[row : row + piece.n], np.int64), np.diff(piece.indptr)
        )
        place = (
            np.ceil(np.asarray(piece.values, np.float64) / maximum[piece.indices] * bins).astype(
                np.int64
            )
            - 1
        )
        cell = (of_entry * codes.m + piece.indices) * bins + np.clip(place, 0, bins - 1)
        counts += np.bincount(cell, minlength=len(counts))
        row += piece.n
    return counts.reshape(groups, codes.m, bins), maximum


def _pieces(codes: Codes) -> Iterator[Codes]:
    """Runs of rows with about `_ENTRIES_AT_ONCE` entries each."""
    start = 0
    while start < codes.n:
        stop = (
            int(np.searchsorted(codes.indptr, codes.indptr[start] + _ENTRIES_AT_ONCE, side="right"))
            - 1
        )
        stop = min(max(stop, start + 1), codes.n)
        yield codes.rows(start, stop)
        start = stop


class StatisticsAccumulator:
    """Adds pieces of codes to `Moments`, a row at its (block, unit) cell."""

    def __init__(self, n_blocks: int, n_units: int, m: int) -> None:
        self.shape = (n_blocks, n_units, m)
        cells = n_blocks * n_units
        self._total, self._squares = np.zeros((cells, m)), np.zeros((cells, m))
        self._active = np.zeros((cells, m), dtype=np.int64)
        self._tokens = np.zeros(cells, dtype=np.int64)

    def add(self, codes: Codes, block: np.ndarray, unit: np.ndarray) -> None:
        """codes of n rows; block and unit: int (n). Rows with a negative block are left
        out."""
        used = np.flatnonzero(block >= 0)
        cell = block[used] * self.shape[1] + unit[used]
        if len(cell) and not (cell.min() >= 0 and cell.max() < len(self._tokens)):
            raise ValueError(f"a row lies outside {self.shape[0]} blocks x {self.shape[1]} units")
        self._tokens += np.bincount(cell, minlength=len(self._tokens))
        ends = (
            np.flatnonzero((np.diff(cell) != 0) | (np.diff(used) != 1)) + 1
        )  # rows of one cell come in runs
        for first, last in zip(np.r_[0, ends], np.r_[ends, len(cell)], strict=True):
            for at in range(first, last, _RUN_ROWS):
                begin, stop = used[at], used[min(at + _RUN_ROWS, last) - 1] + 1
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
    unit_of_row: np.ndarray,
    *,
    n_blocks: int,
    n_units: int,
    m: int,
) -> Moments:
    """Statistics of codes (whole, or pieces from ``encode_stream``); rows with a negative block are
    left out."""
    accumulator = StatisticsAccumulator(n_blocks, n_units, m)
    for start, piece in [(0, codes)] if isinstance(codes, Codes) else codes:
        span = slice(start, start + piece.n)
        accumulator.add(piece, block_of_row[span], unit_of_row[span])
    return accumulator.result()


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
