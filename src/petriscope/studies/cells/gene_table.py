"""Sufficient statistics of a dictionary's codes by (feature, gene): how often a feature fires on
the tokens of a gene, and with which sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from petriscope.sae.codes import Codes


@dataclass(frozen=True)
class GeneTable:
    """Sums over the tokens of genes; special tokens are left out.

    F features, G genes of the data set. All three matrices are CSR (F, G) of one pattern.
    """

    fires: sp.csr_matrix
    """int64: tokens of the gene on which the feature fires (n_fg)"""
    total: sp.csr_matrix
    """float64: sum of its activation over them"""
    squares: sp.csr_matrix
    """float64: sum of its squared activation"""
    tokens: np.ndarray
    """int64 (G,) tokens of each gene (n_g), whether or not anything fires"""

    @property
    def n(self) -> int:
        """N, all tokens."""
        return int(self.tokens.sum())

    @property
    def counts(self) -> np.ndarray:
        """int64 (F,) tokens on which each feature fires."""
        return np.asarray(self.fires.sum(1)).ravel()


def gene_table(
    codes: Codes, gene: np.ndarray, genes: int, rows: np.ndarray | None = None
) -> GeneTable:
    """The table of ``codes`` (n rows) whose row i is a token of gene ``gene[i]`` (-1: special).

    rows: bool (n,), the rows to use; None: all.
    """
    used = (gene >= 0) if rows is None else (gene >= 0) & rows
    of_entry = np.repeat(np.where(used, gene, -1), np.diff(codes.indptr))
    kept = of_entry >= 0
    feature = np.asarray(codes.indices)[kept].astype(np.int64)
    value = np.asarray(codes.values)[kept].astype(np.float64)
    pair, place = np.unique(feature * genes + of_entry[kept], return_inverse=True)
    fires = np.bincount(place, minlength=len(pair)).astype(np.int64)
    total = np.bincount(place, value, minlength=len(pair))
    squares = np.bincount(place, value**2, minlength=len(pair))
    indptr = np.searchsorted(pair // genes, np.arange(codes.m + 1))
    indices = pair % genes
    shape = (codes.m, genes)
    fires, total, squares = (
        sp.csr_matrix((data, indices, indptr), shape=shape) for data in (fires, total, squares)
    )
    return GeneTable(fires, total, squares, np.bincount(gene[used], minlength=genes))
