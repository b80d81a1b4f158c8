"""Sparse codes on disk: CSR as three .npy files, written piece by piece and read memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.files import atomic_folder, read_json, write_json
from petriscope.sae.sparse import Codes

_ENTRIES_AT_ONCE = 1 << 22


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

    def __init__(self, folder: Path, latents: int) -> None:
        self.folder, self.latents = folder, latents
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
        write_json(self.folder / "codes.json", {"latents": self.latents, "rows": len(indptr) - 1})


@contextmanager
def writing_codes(folder: str | Path, latents: int) -> Iterator[CodesWriter]:
    """A `CodesWriter` whose folder appears whole on success, or not at all."""
    with atomic_folder(folder) as temporary:
        writer = CodesWriter(temporary, latents)
        yield writer
        writer.close()


def load_codes(folder: str | Path, *, mapped: bool = True) -> Codes:
    """Codes written through ``writing_codes``; indices and values memory-mapped unless asked
    otherwise."""
    folder = Path(folder)
    try:
        described = read_json(folder / "codes.json")
        indices, values = (
            np.load(folder / f"{name}.npy", mmap_mode="r" if mapped else None)
            for name in ("indices", "values")
        )
        return Codes(np.load(folder / "indptr.npy"), indices, values, int(described["latents"]))
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot be read ({error})", file=folder, remedy="Encode this layer again."
        ) from None


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
