"""Geneformer reads a cell as its genes, ranked by how far each lies above its usual level.

Counts are divided by the cell's total (over all genes of the file), times ten thousand, and by the
gene's median over the corpus; genes are sorted from the highest, cut to what the model takes, and
set between <cls> and <eos> where the vocabulary has them. Source: `geneformer/tokenizer.py`,
`tokenize_anndata` and `rank_genes`. Ties are broken there by an unstable sort; here by token id.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from petriscope.studies.cells.data.cells import Cells
from petriscope.studies.cells.data.vocabulary import RankVocabulary
from petriscope.studies.cells.model.tokens import ByToken, CellTokens, by_token, with_special

TARGET = 10_000
"""Counts to which a cell is scaled."""
PUBLISHED_SIZE = 2048
"""Tokens to which bio-sae cut its cells (`src/01_extract_activations.py:42`)."""


def rank_tokens(
    cells: Cells, vocabulary: RankVocabulary, size: int, published: bool = False
) -> CellTokens:
    """Rank-value encoding of n cells.

    Parameters
    ----------
    cells : Cells
        Raw counts; ``obs.n_counts`` is the total over all genes of the file.
    vocabulary : RankVocabulary
        Tokens and medians.
    size : int
        Tokens of a cell at most, special ones included.
    published : bool
        What bio-sae fed instead: log1p of the scaled counts over the median, genes found by symbol
        in the dictionary of names alone, at most 2,048 tokens.
    """
    rows = (vocabulary.published_rows_of if published else vocabulary.rows_of)(cells.genes)
    table = by_token(cells.counts, np.where(rows < 0, -1, vocabulary.token[rows]), sort="token")
    totals = cells.obs.n_counts.to_numpy()
    place = np.searchsorted(np.sort(vocabulary.token), table.ids)
    median = vocabulary.median[np.argsort(vocabulary.token, kind="stable")][place]
    scaled = published_values if published else scaled_values
    special = (vocabulary.cls is not None) + (vocabulary.eos is not None)
    limit = (min(size, PUBLISHED_SIZE) if published else size) - special
    return ranked(table, scaled(table.counts, totals, median), limit, vocabulary)


def scaled_values(counts: sp.csr_matrix, totals: np.ndarray, median: np.ndarray) -> np.ndarray:
    """float64 (nnz,) counts / total · 10,000 / median, in that order (`tokenizer.py:518-519`).

    Parameters: ``counts`` — (n, K); ``totals`` — (n,); ``median`` — (K,).
    """
    total = np.repeat(totals, np.diff(counts.indptr))
    return np.asarray(counts.data / total * TARGET / median[counts.indices])


def published_values(counts: sp.csr_matrix, totals: np.ndarray, median: np.ndarray) -> np.ndarray:
    """float64 (nnz,) log1p(counts / total · 10,000) in float32, over the median
    (`src/01_extract_activations.py:161,80-96`)."""
    total = np.repeat(totals.astype(np.float32), np.diff(counts.indptr))
    logged = np.log1p(counts.data.astype(np.float32) / total * np.float32(TARGET))
    return np.asarray(logged / median[counts.indices])


def ranked(
    table: ByToken, values: np.ndarray, limit: int, vocabulary: RankVocabulary
) -> CellTokens:
    """The ``limit`` highest genes of each cell, highest first, with special tokens.

    Parameters: ``table`` — columns in the order that breaks ties; ``values`` — (nnz,) of its
    entries.
    """
    indptr = table.counts.indptr
    lengths = np.minimum(np.diff(indptr), limit)
    taken = np.empty(int(lengths.sum()), np.int64)
    at = 0
    for first, last, length in zip(indptr[:-1], indptr[1:], lengths, strict=True):
        order = np.argsort(-values[first:last], kind="stable")[:length]
        taken[at : at + length] = first + order
        at += length
    column = table.counts.indices[taken]
    return with_special(
        table.ids[column],
        table.gene[column],
        values[taken],
        lengths,
        first=vocabulary.cls,
        last=vocabulary.eos,
        value=0.0,
    )
