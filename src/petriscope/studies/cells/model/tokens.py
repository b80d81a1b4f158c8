"""Cells as tokens: what both tokenizers give, and the step that both begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

CHUNK = 1 << 22
"""Values that are looked at together."""


@dataclass(frozen=True)
class CellTokens:
    """The tokens of n cells, one after the other; N in all."""

    ids: np.ndarray
    """int32 (N,) token ids, special tokens included"""
    gene: np.ndarray
    """int32 (N,) row of the genes table, -1 at special tokens; of several genes that share a token
    the first"""
    values: np.ndarray
    """float32 (N,): scGPT's bin, -2 at <cls>; Geneformer's counts per ten thousand over the gene's
    median, 0 at special tokens"""
    offsets: np.ndarray
    """int64 (n + 1,): cell i has the tokens ``offsets[i]`` to ``offsets[i + 1]``"""

    def __len__(self) -> int:
        """n, the number of cells."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (n,) tokens of each cell."""
        return np.diff(self.offsets)

    @property
    def cell(self) -> np.ndarray:
        """int64 (N,) cell of each token."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def of(self, cell: int) -> slice:
        """The rows of one cell."""
        return slice(int(self.offsets[cell]), int(self.offsets[cell + 1]))


class ByToken(NamedTuple):
    """Counts whose columns are tokens."""

    counts: sp.csr_matrix
    """(n, K), sorted indices, no explicit zero"""
    ids: np.ndarray
    """int64 (K,) token of each column"""
    gene: np.ndarray
    """int64 (K,) first gene of each column"""


def by_token(counts: sp.csr_matrix, tokens: np.ndarray, *, sort: str) -> ByToken:
    """Genes without a token are dropped, those that share one are summed.

    Parameters: ``counts`` — (n, G); ``tokens`` — int64 (G,) token of each gene, or -1; ``sort`` —
    the order of the columns, "token" or "gene".
    """
    known = np.flatnonzero(tokens >= 0)
    ids, first, column = np.unique(tokens[known], return_index=True, return_inverse=True)
    gene = known[first]
    if sort == "gene":
        order = np.argsort(gene, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        ids, gene, column = ids[order], gene[order], place[column]
    ones = np.ones(len(known), counts.dtype)
    link = sp.csr_matrix((ones, (known, column)), shape=(counts.shape[1], len(ids)))
    found = sp.csr_matrix(counts @ link)
    found.eliminate_zeros()
    found.sort_indices()
    return ByToken(found, ids, gene)


def row_chunks(indptr: np.ndarray, size: int = CHUNK) -> list[tuple[int, int]]:
    """First and last + 1 of stretches of rows that hold about ``size`` values, each at least one
    row."""
    chunks, first, rows = [], 0, len(indptr) - 1
    while first < rows:
        last = int(np.searchsorted(indptr, indptr[first] + size, "right")) - 1
        last = min(max(last, first + 1), rows)
        chunks.append((first, last))
        first = last
    return chunks


def with_special(
    ids: np.ndarray,
    gene: np.ndarray,
    values: np.ndarray,
    lengths: np.ndarray,
    *,
    first: int | None,
    last: int | None,
    value: float,
) -> CellTokens:
    """Tokens of genes, cell after cell, with a special token before and behind those of each.

    Parameters: ``lengths`` — (n,) genes of each cell; ``first``, ``last`` — ids, None for none;
    ``value`` — at special tokens.
    """
    extra = (first is not None) + (last is not None)
    offsets = np.concatenate([[0], np.cumsum(lengths + extra)]).astype(np.int64)
    places = np.arange(len(ids)) + np.repeat(
        np.arange(len(lengths)) * extra + (first is not None), lengths
    )
    total = int(offsets[-1])
    found_ids, found_gene = np.zeros(total, np.int32), np.full(total, -1, np.int32)
    found_values = np.full(total, value, np.float32)
    found_ids[places], found_gene[places], found_values[places] = ids, gene, values
    if first is not None:
        found_ids[offsets[:-1]] = first
    if last is not None:
        found_ids[offsets[1:] - 1] = last
    return CellTokens(found_ids, found_gene, found_values, offsets)
