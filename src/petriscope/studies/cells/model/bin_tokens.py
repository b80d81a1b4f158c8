"""scGPT reads a cell as its detected genes, each with the bin of its count among those of the cell.

The edges are quantiles of the cell's non-zero values. Values that lie on several edges, which
tied counts do, are spread over the bins between them at random: of a 10x cell 86 % of the genes.
Longer cells are cut to a random subset. Sources: `scgpt/preprocess.py:274-326` (`_digitize` with
both sides), `scgpt/tokenizer/gene_tokenizer.py:292-480`, `scgpt/tasks/cell_emb.py`.

The authors draw from a generator that goes on from cell to cell. Here each number follows from the
data set's seed, the barcode, the draw and the gene alone, so that a cell has the same tokens in
whatever company and order it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.studies.cells.data.cells import Cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary
from petriscope.studies.cells.model.tokens import (
    ByToken,
    CellTokens,
    by_token,
    row_chunks,
    with_special,
)

PAD_VALUE = -2.0
"""Value at padding, and at <cls> when cells are embedded (`cell_emb.py:81`)."""
TARGET = 10_000
TIES, SUBSET = 0, 1
"""Streams of random numbers of a cell."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Bins(NamedTuple):
    """Where the values of cells lie among the edges of their cell; nnz values."""

    left: np.ndarray
    """int64 (nnz,) edges at or below the value: the highest bin it may have"""
    right: np.ndarray
    """int64 (nnz,) edges below the value"""

    @property
    def low(self) -> np.ndarray:
        """int64 (nnz,) the lowest bin it may have."""
        return np.minimum(self.right + 1, self.left)

    @property
    def width(self) -> np.ndarray:
        """int64 (nnz,) number of bins it may have; 1 where nothing is random."""
        return self.left - self.low + 1

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """int64 (nnz,) bins from 1, given uniform numbers (`preprocess.py:_digitize`)."""
        return np.ceil(uniform * (self.right - self.left) + self.left).astype(np.int64)


def bin_tokens(
    cells: Cells,
    vocabulary: BinVocabulary,
    bins: int,
    max_length: int,
    seed: int | str,
    draw: int,
    published: bool = False,
) -> CellTokens:
    """Binned encoding of n cells.

    Parameters
    ----------
    cells : Cells
        Raw counts; logging or scaling them would leave the bins as they are.
    vocabulary : BinVocabulary
        Tokens of symbols.
    bins : int
        Bins, that of zero included: non-zero values lie in 1 to ``bins`` - 1.
    max_length : int
        Tokens of a cell at most, <cls> included; of longer cells a random subset.
    seed, draw : int or str, int
        Of the random numbers, with the barcode.
    published : bool
        What bio-sae fed instead (`scgpt_src/01_extract_activations.py:127-198`): log1p of counts
        per ten thousand, unbinned, from the highest, cut there, without <cls>.
    """
    table = by_token(cells.counts, vocabulary.tokens_of(cells.genes), sort="gene")
    if published:
        return _published(table, cells.obs.n_counts.to_numpy(), max_length)
    keys = cell_keys(cells.obs.cell, seed, draw)
    counts = table.counts
    cell_key = np.repeat(keys, np.diff(counts.indptr))
    token = table.ids[counts.indices]
    values = edges_between(counts, bins).draw(uniform(cell_key, token, TIES))
    kept, lengths = _subset(counts, uniform(cell_key, token, SUBSET), max_length - 1)
    return with_special(
        token[kept],
        table.gene[counts.indices[kept]],
        values[kept],
        lengths,
        first=vocabulary.cls,
        last=None,
        value=PAD_VALUE,
    )


def cell_edges(counts: sp.csr_matrix, bins: int) -> np.ndarray:
    """float64 (n, bins - 1) edges of each cell: quantiles of its non-zero values at equal steps
    from 0 to 1; NaN for a cell without any."""
    return np.concatenate(
        [_chunk(counts[a:b], bins)[0] for a, b in row_chunks(counts.indptr)]
        or [np.zeros((0, bins - 1))]
    )


def edges_between(counts: sp.csr_matrix, bins: int) -> Bins:
    """The place of each non-zero value of ``counts`` (n, K) among its cell's edges."""
    parts = [_chunk(counts[a:b], bins)[1] for a, b in row_chunks(counts.indptr)]
    return Bins(*(np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*parts)))


def _chunk(counts: sp.csr_matrix, bins: int) -> tuple[np.ndarray, Bins]:
    """Edges and places of a few cells. A *run* is a value of a cell with its repeats."""
    size = np.diff(counts.indptr).astype(np.int64)
    span = int(counts.data.max(initial=0)) + 1
    key = np.repeat(np.arange(len(size)), size) * span + counts.data.astype(np.int64)
    runs, place, repeats = np.unique(key, return_inverse=True, return_counts=True)
    cell, value = np.divmod(runs, span)
    ends = np.cumsum(repeats)
    edges = _quantiles(value.astype(np.float64), ends, size, np.linspace(0, 1, bins - 1))
    own = edges[cell]
    left = (own <= value[:, None]).sum(1)
    right = (own < value[:, None]).sum(1)
    return edges, Bins(left[place], right[place])


def _quantiles(
    value: np.ndarray, ends: np.ndarray, size: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """(n, shares) quantiles of each cell, rounding included as `numpy.quantile` has them.

    Parameters: ``value``, ``ends`` — (runs,) sorted values, cell after cell, and the last place + 1
    of each in the whole; ``size`` — (n,) values of each cell.
    """
    first = (np.cumsum(size) - size)[:, None]
    at = shares * (size[:, None] - 1.0)
    whole = np.floor(at)
    gamma = at - whole
    low = np.clip(whole, 0, None).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(size[:, None] - 1, 0))
    padded = np.append(value, np.nan)
    a, b = (padded[np.searchsorted(ends, first + i, "right")] for i in (low, high))
    step = b - a
    found = np.where(gamma >= 0.5, b - step * (1 - gamma), a + step * gamma)
    return np.where(size[:, None] > 0, found, np.nan)


def cell_keys(barcodes: Iterable[str], seed: int | str, draw: int) -> np.ndarray:
    """uint64 (n,) a key for each cell: a hash of seed, barcode and draw."""
    texts = (f"{seed}\0{barcode}\0{draw}".encode() for barcode in barcodes)
    hashes = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(hashes, "<u8").astype(np.uint64)


def uniform(cell_key: np.ndarray, token: np.ndarray, stream: int) -> np.ndarray:
    """float64 (N,) in [0, 1), one for each key and token (splitmix64, 53 bits)."""
    step = token.astype(np.uint64) * np.uint64(2) + np.uint64(stream + 1)
    mixed = _mixed(_mixed(cell_key + step * _GOLDEN))
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _subset(counts: sp.csr_matrix, key: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the values kept, ascending, and how many of each cell: those with the ``limit``
    smallest keys."""
    size = np.diff(counts.indptr)
    kept = np.ones(counts.nnz, bool)
    for cell in np.flatnonzero(size > limit):
        rows = slice(counts.indptr[cell], counts.indptr[cell + 1])
        own = np.zeros(size[cell], bool)
        own[np.argsort(key[rows], kind="stable")[:limit]] = True
        kept[rows] = own
    return np.flatnonzero(kept), np.minimum(size, limit)


def _published(table: ByToken, totals: np.ndarray, max_length: int) -> CellTokens:
    counts = table.counts
    total = np.repeat(totals, np.diff(counts.indptr))
    values = np.log1p(counts.data / total * TARGET).astype(np.float32)
    lengths = np.minimum(np.diff(counts.indptr), max_length)
    taken = [
        first + np.argsort(-values[first:last], kind="stable")[:length]
        for first, last, length in zip(counts.indptr[:-1], counts.indptr[1:], lengths, strict=True)
    ]
    kept = np.concatenate([np.zeros(0, np.int64), *taken])
    column = counts.indices[kept]
    ids, gene = table.ids[column], table.gene[column]
    return with_special(ids, gene, values[kept], lengths, first=None, last=None, value=PAD_VALUE)
