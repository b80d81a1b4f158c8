"""What the two encodings keep of a cell, and how far the paper's inputs were from the models'.

Geneformer got log1p of the scaled counts over the median in place of the counts, which is another
order of genes; scGPT bins are random where counts tie.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import rankdata

from petriscope.studies.cells.data.cells import Cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary, Vocabularies
from petriscope.studies.cells.model.bin_tokens import edges_between
from petriscope.studies.cells.model.rank_tokens import published_values, scaled_values
from petriscope.studies.cells.model.tokens import by_token

CELLS = 1000
"""Cells, evenly spread, in which encodings are compared."""
TOP, HEAD = 512, 50
"""Genes at the top that are compared as sets, and place by place."""


def encodings(
    cells: Cells, vocabularies: Vocabularies, *, size: int, max_length: int, bins: int
) -> pd.DataFrame:
    """family, quantity, value and what it is in words.

    Parameters: ``size`` — tokens that Geneformer takes; ``max_length``, ``bins`` — those of scGPT.
    """
    rows: list[tuple[str, str, float, str]] = []
    if vocabularies.geneformer is not None:
        found = _ranks(cells, vocabularies.geneformer, size)
        rows += [("geneformer", *row) for row in found]
    if vocabularies.scgpt is not None:
        found = _bins(cells, vocabularies.scgpt, max_length, bins)
        rows += [("scgpt", *row) for row in found]
    return pd.DataFrame(rows, columns=["family", "quantity", "value", "what"])


def _kept(counts: sp.csr_matrix, cells: Cells, limit: int) -> Iterator[tuple[str, float, str]]:
    """Of counts (n, K) of known genes, of which a model takes ``limit``."""
    share = counts.sum() / cells.counts.sum()
    yield "known_counts", float(share), "share of the counts on genes of the vocabulary"
    size = np.diff(counts.indptr)
    yield "tokens_per_cell", float(np.minimum(size, limit).mean()), "genes of a cell, mean"
    yield "cut_cells", float((size > limit).mean()), f"share of cells with more than {limit:,}"


def _ranks(cells: Cells, vocabulary: RankVocabulary, size: int) -> Iterator[tuple[str, float, str]]:
    tokens = vocabulary.tokens_of(cells.genes)
    special = (vocabulary.cls is not None) + (vocabulary.eos is not None)
    table = by_token(cells.counts, tokens, sort="token")
    yield from _kept(table.counts, cells, size - special)
    some = _spread(len(cells))
    counts = table.counts[some]
    totals = cells.obs.n_counts.to_numpy()[some]
    median = pd.Series(vocabulary.median, vocabulary.token).loc[table.ids].to_numpy()
    right = scaled_values(counts, totals, median)
    published = published_values(counts, totals, median)
    same = np.array(
        [
            rank_agreement(right[a:b], published[a:b])
            for a, b in zip(counts.indptr[:-1], counts.indptr[1:], strict=True)
            if b - a > 1
        ]
    )
    if not len(same):
        return
    where = f"published input against the model's, {len(same):,} cells: "
    yield "rank_correlation", float(same[:, 0].mean()), f"{where}Spearman of ranks, mean"
    yield "rank_correlation_lowest", float(same[:, 0].min()), f"{where}the lowest"
    yield "top_overlap", float(same[:, 1].mean()), f"{where}shared of the top {TOP} genes"
    yield "same_place", float(same[:, 2].mean()), f"{where}same gene in a place of the top {HEAD}"


def rank_agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Two encodings of a cell's genes by value: Spearman correlation of the ranks, share of the top
    `TOP` genes that are the same, share of the top `HEAD` places with the same gene."""
    ranks = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
    first, second = (np.argsort(-x, kind="stable") for x in (a, b))
    top = min(TOP, len(a))
    shared = len(np.intersect1d(first[:top], second[:top])) / top
    return float(ranks), shared, float((first[:HEAD] == second[:HEAD]).mean())


def _bins(
    cells: Cells, vocabulary: BinVocabulary, max_length: int, bins: int
) -> Iterator[tuple[str, float, str]]:
    table = by_token(cells.counts, vocabulary.tokens_of(cells.genes), sort="gene")
    yield from _kept(table.counts, cells, max_length - 1)
    counts = table.counts[_spread(len(cells))]
    if not counts.nnz:
        return
    width = edges_between(counts, bins).width
    n = f"of the detected genes of {counts.shape[0]:,} cells: "
    yield "random_bins", float((width > 1).mean()), f"{n}share whose bin is random"
    yield "bin_width", float(width.mean()), f"{n}bins that a value may have, mean"
    noise = ((width**2 - 1) / 12).mean()
    yield "bin_noise", float(noise), f"{n}variance of the bin that chance makes, mean"


def _spread(n: int) -> np.ndarray:
    return np.arange(min(n, CELLS)) * n // min(n, CELLS)
