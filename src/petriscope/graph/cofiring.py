"""Pairs of features that fire on the same tokens are counted, within a layer or across two.

For each feature the codes of the tokens on which it fires are gathered, as rows of one width, and
counted: a gather of whole rows and a count into one row of the result, which stays in the fastest
memory. The sparse product visits the same pairs one by one, through a linked list.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from petriscope.sae.codes import Codes

_ENTRIES_AT_ONCE = 1 << 23
_ROWS_AT_ONCE = 2048  # gathered: what the second cache holds
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
        by_feature = first.scipy().tocsc()
        self.shape = (first.m, second.m)
        self.rows, self.start = by_feature.indices, by_feature.indptr
        lengths = np.diff(second.indptr)
        width = int(lengths.max(initial=0))
        self.second = np.full((second.n, width), second.m, np.int64)  # m': nothing
        self.second[np.arange(width) < lengths[:, None]] = second.indices

    def counts(self, order: np.ndarray | None = None) -> np.ndarray:
        """int64 (m, m'): tokens i on which a feature fires while the other fires on token
        ``order[i]``, int (n,); on i itself unless given."""
        total = np.zeros(self.shape, np.int64)
        self.add(total, order)
        return total

    def add(self, total: np.ndarray, order: np.ndarray | None = None) -> None:
        """Add `counts` to ``total``, int64 (m, m')."""
        second = self.second if order is None else self.second.take(order, axis=0, mode="clip")
        other = self.shape[1]
        if not second.size:
            return
        held = np.empty((_ROWS_AT_ONCE, second.shape[1]), np.int64)
        for i in np.flatnonzero(np.diff(self.start)):
            end = self.start[i + 1]
            for start in range(self.start[i], end, _ROWS_AT_ONCE):
                rows = self.rows[start : min(start + _ROWS_AT_ONCE, end)]
                # clip: no copy to check the bounds
                found = second.take(rows, axis=0, out=held[: len(rows)], mode="clip")
                total[i] += np.bincount(found.ravel(), minlength=other + 1)[:other]


def cofiring(first: Codes, second: Codes | None = None) -> np.ndarray:
    """int64 (m, m'): tokens on which a feature of ``first`` (n, m) and one of ``second`` (n, m')
    both fire; of ``first`` and itself, with each feature's own count on the diagonal, unless given.

    Codes may be memory-mapped; a few million entries are held, and the result.
    """
    second = first if second is None else second
    if first.n != second.n:
        raise ValueError(f"codes of {first.n} and {second.n} tokens are not of the same tokens")
    total = np.zeros((first.m, second.m), np.int64)
    widest = int(np.diff(second.indptr).max(initial=0))
    if widest * second.n > UNEVEN * len(second.indices):
        return np.asarray((_ones(first).T @ _ones(second)).todense())
    step = max(1, _ENTRIES_AT_ONCE // max(widest, 1))
    for start in range(0, first.n, step):
        stop = min(start + step, first.n)
        Counter(first.rows(start, stop), second.rows(start, stop)).add(total)
    return total


def rows_of(codes: Codes, rows: np.ndarray) -> Codes:
    """The codes of some rows: numbers (any order, repeats allowed) or a mask."""
    chosen = codes.scipy()[rows]
    indptr = chosen.indptr.astype(np.int64)
    return Codes(indptr, chosen.indices.astype(np.int32, copy=False), chosen.data, codes.m)


def _ones(codes: Codes) -> sp.csr_matrix:
    ones = np.ones(len(codes.indices), np.int64)
    return sp.csr_matrix((ones, codes.indices, codes.indptr), shape=(codes.n, codes.m))
