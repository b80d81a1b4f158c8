"""The tokens of many cells, as either tokenizer makes them and every model reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CellTokens:
    """N tokens of n cells, one cell after the other."""

    ids: np.ndarray
    """int32 (N,) token ids, special tokens included"""
    gene: np.ndarray
    """int32 (N,) gene of each token, a row of the data set's genes; -1 at special tokens"""
    values: np.ndarray
    """float32 (N,) bin (scGPT) or CP10k over the gene's median (Geneformer) of each token"""
    offsets: np.ndarray
    """int64 (n + 1,) first token of each cell"""
