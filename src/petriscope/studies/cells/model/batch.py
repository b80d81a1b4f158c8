"""A batch of cells: what both models read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class CellBatch(NamedTuple):
    """B cells of T tokens."""

    ids: Tensor
    """int64 (B, T) token ids; padding where ``mask`` is False"""
    values: Tensor | None
    """float32 (B, T) bin of each token, which scGPT reads; None for Geneformer"""
    mask: Tensor
    """bool (B, T): True at real tokens"""
