"""Pairs of features that fire on the same tokens are counted, within a layer or across two.

For each feature the codes of the tokens on which it fires are gathered, as rows of one width, and
counted into one row of the result, which stays in the fastest memory. The sparse product visits the
same pairs one by one, through a linked list.

To count a pair is a load, an addition and a store; to gather it costs as much again. Blocks of
tokens are so large that what is gathered from stays in the last cache, pieces so large that what is
gathered stays in the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from petriscope.sae.codes import Codes

_ENTRIES_AT_ONCE = 1 << 21
"""Of the second codes: what the last cache holds."""
_ENTRIES_OF_PIECE, _FEATURES_OF_PIECE = 1 << 18, 256
"""Entries gathered into one piece, and features whose rows it may hold: about the second cache."""
_MOST_ROWS = (1 << 16) - 1
"""Of a piece: its counts are of 16 bits."""
UNEVEN = 4
"""Where the token with most features has so many times the mean, rows of one width would be mostly
empty, and the sparse product is taken."""


class Counter:
    """Counts of pairs of one set of codes with another, again and again with its tokens in another
    order.

    ``first`` (n, m), ``second`` (n, m'): codes of the same tokens, of which a few million entries
    fit in memory.
    """

    def __init__(self, first: Codes, second: Codes) -> None:
        by_feature = _ones(first, np.int8).tocsc()
        self.shape = (first.m, second.m)
        self.rows, self.start = by_feature.indices, by_feature.indptr.astype(np.int64)
        lengths = np.diff(second.indptr)
        width = int(lengths.max(initial=0))
        self.second = np.full((second.n, width), second.m, np.int32)  # m': nothing
        self.second[np.arange(width) < lengths[:, None]] = second.indices

    def counts(self, order: np.ndarray | None = None) -> np.ndarray:
        """int64 (m, m'): tokens i on which a feature fires while the other fires on token
        ``order[i]``, int (n,); on i itself unless given."""
        total = np.zeros(self.shape, np.int32)
        self.add(total, order)
        return total.astype(np.int64)

    def add(self, total: np.ndarray, order: np.ndarray | None = None) -> None:
        """Add `counts` to ``total``, int (m, m')."""
        second = self.second if order is None else self.second.take(order, axis=0, mode="clip")
        if not second.size:
            return
        width, other = second.shape[1], self.shape[1]
        most = min(max(1, _ENTRIES_OF_PIECE // width), _MOST_ROWS)
        held = np.empty((most, width), np.int32)
        ones = np.ones(held.size, np.uint16)
        counted = np.empty((_FEATURES_OF_PIECE, other + 1), np.uint16)
        for features, part in _pieces(self.start, most):
            rows = self.rows[part]
            # clip: no copy to check the bounds
            found = second.take(rows, axis=0, out=held[: len(rows)], mode="clip").ravel()
            ends = self.start[features.start : features.stop + 1].clip(part.start, part.stop)
            ends = ((ends - part.start) * width).astype(np.int32)
            number = len(ends) - 1
            piece = sp.csr_matrix((ones[: found.size], found, ends), shape=(number, other + 1))
            summed = piece.toarray(out=counted[:number])  # what is repeated
            total[features] += summed[:, :other]


def _pieces(start: np.ndarray, most: int) -> Iterator[tuple[slice, slice]]:
    """Features and ``most`` of their rows, a piece at a time; a feature of many rows stands in
    several. start: (m + 1,) first row of each feature."""
    row, last = int(start[0]), int(start[-1])
    while row < last:
        first = int(np.searchsorted(start, row, side="right")) - 1
        end = int(np.searchsorted(start, row + most))  # the first that begins behind the piece
        end = min(end, first + _FEATURES_OF_PIECE, len(start) - 1)
        until = min(row + most, int(start[end]))
        yield slice(first, end), slice(row, until)
        row = until


def cofiring(first: Codes, second: Codes | None = None) -> np.ndarray:
    """int64 (m, m'): tokens on which a feature of ``first`` (n, m) and one of ``second`` (n, m')
    both fire; of ``first`` and itself, with each feature's own count on the diagonal, unless given.

    Codes may be memory-mapped; a few million entries are held, and the result.
    """
    second = first if second is None else second
    if first.n != second.n:
        raise ValueError(f"codes of {first.n} and {second.n} tokens are not of the same tokens")
    total = np.zeros((first.m, second.m), np.int32)  # of fewer than 2^31 tokens
    widest = int(np.diff(second.indptr).max(initial=0))
    if widest * second.n > UNEVEN * len(second.indices):
        return np.asarray((_ones(first).T @ _ones(second)).todense())
    step = max(1, _ENTRIES_AT_ONCE // max(widest, 1))
    for start in range(0, first.n, step):
        stop = min(start + step, first.n)
        Counter(first.rows(start, stop), second.rows(start, stop)).add(total)
    return total.astype(np.int64)


def rows_of(codes: Codes, rows: np.ndarray) -> Codes:
    """The codes of some rows: numbers (any order, repeats allowed) or a mask."""
    chosen = codes.scipy()[rows]
    indptr = chosen.indptr.astype(np.int64)
    return Codes(indptr, chosen.indices.astype(np.int32, copy=False), chosen.data, codes.m)


def _ones(codes: Codes, kind: type[np.integer[Any]] = np.int64) -> sp.csr_matrix:
    ones = np.ones(len(codes.indices), kind)
    return sp.csr_matrix((ones, codes.indices, codes.indptr), shape=(codes.n, codes.m))
