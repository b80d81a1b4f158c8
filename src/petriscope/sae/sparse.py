"""The four sparse products an SAE step needs, on stock torch kernels.

Every product works on one CSR pattern: values at the pattern from two dense matrices
(`sampled_product`), or rows of a dense table summed with the pattern's values (`weighted_rows`).
Both run row by row, so results do not depend on threads.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

_TILE = 128  # columns of a table summed at once where copies of them serve many sums
_NARROW, _COPY_PAYS = 64, 6  # the same where they serve one; uses of a row that pay for its copy
_CACHED_ROWS = 64  # of a dense table looked at together

with warnings.catch_warnings():  # torch announces once per process that its CSR tensors are in beta
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(
        torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), size=(1, 1)
    )


def on_host(tensor: torch.Tensor) -> bool:
    """Whether numpy and scipy can work on the tensor's memory: they are faster there than torch,
    and absent elsewhere."""
    return tensor.device.type == "cpu"


def to_host(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's values as a numpy array, from whatever device: the way out of this package."""
    return tensor.cpu().numpy()


class Pattern(NamedTuple):
    """Where a sparse (rows, columns) matrix is non-zero, row by row."""

    indptr: torch.Tensor
    """int32 (rows + 1)"""
    columns: torch.Tensor
    """int32 (nnz)"""
    n_columns: int

    @property
    def n_rows(self) -> int:
        """Rows."""
        return len(self.indptr) - 1

    def slice(self, start: int, stop: int) -> tuple[Pattern, slice]:
        """The pattern of rows start..stop-1, and where its entries lie among all."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        part = Pattern(
            self.indptr[start : stop + 1] - first, self.columns[first:last], self.n_columns
        )
        return part, slice(first, last)


def sampled_product(pattern: Pattern, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(left @ right.T) at the pattern's entries, float32 (nnz). left (rows, d), right (columns,
    d)."""
    zeros = torch.zeros(len(pattern.columns), device=left.device)
    mask = torch.sparse_csr_tensor(
        pattern.indptr,
        pattern.columns,
        zeros,
        size=(pattern.n_rows, pattern.n_columns),
        device=left.device,
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(mask, left, right.T, beta=0.0).values()


def weighted_rows(pattern: Pattern, values: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sparse (rows, columns) matrix of ``values`` times a dense ``table`` (columns, d): float32
    (rows, d).

    A wide table whose rows are used often is copied a few of its d at a time: each sum is the same
    sum, but made in registers and from a copy that mostly stays in cache.
    """
    if (
        not on_host(table)
        or table.shape[1] <= _TILE
        or len(pattern.columns) < _COPY_PAYS * len(table)
    ):
        return _bag(pattern, values, table)
    copy = table.new_empty(len(table) * _NARROW)
    parts = table.split(_NARROW, dim=1)
    return torch.cat(
        [_bag(pattern, values, copy[: part.numel()].view_as(part).copy_(part)) for part in parts],
        dim=1,
    )


def _bag(pattern: Pattern, values: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return F.embedding_bag(
        pattern.columns,
        table,
        pattern.indptr,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def column_tiles(table: torch.Tensor) -> list[torch.Tensor]:
    """A ``table`` (columns, d) in copies of a few of its d at a time, for `weighted_rows_into`.

    Rows are then summed in registers, from a copy that stays in the second-level cache; each sum is
    the same sum.
    """
    return (
        [table] if not on_host(table) else [part.contiguous() for part in table.split(_TILE, dim=1)]
    )


def weighted_rows_into(
    out: torch.Tensor, pattern: Pattern, values: torch.Tensor, tiles: list[torch.Tensor]
) -> torch.Tensor:
    """`weighted_rows` of the table behind ``tiles``, written to ``out`` (rows, d): the same
    bits."""
    return torch.cat([_bag(pattern, values, tile) for tile in tiles], dim=1, out=out)


def kth_largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th largest along the last axis, which must be at least k long."""
    if not on_host(values):
        return values.topk(k, dim=-1, sorted=False).values.amin(-1)
    at = values.shape[-1] - k
    return torch.from_numpy(np.asarray(np.partition(values.numpy(), at, axis=-1)[..., at]))


def keep_largest(values: torch.Tensor, k: int) -> None:
    """Zero, in place, all but the k largest of each row of non-negative ``values`` (rows, columns);
    ties at the border stay."""
    if k >= values.shape[1]:
        return
    if not on_host(values):
        values.mul_(values >= kth_largest(values, k)[:, None])
        return
    table, at = values.numpy(), values.shape[1] - k
    for start in range(
        0, len(table), _CACHED_ROWS
    ):  # a block is copied, split and masked within the cache
        rows = table[start : start + _CACHED_ROWS]
        if np.count_nonzero(rows, axis=1).max() > k:
            rows *= rows >= np.partition(rows, at, axis=1)[:, at, None]


def transpose(pattern: Pattern) -> tuple[Pattern, torch.Tensor]:
    """The pattern of the transposed matrix, and for each of its entries the position it had
    before."""
    if not on_host(pattern.columns):
        moved = torch.argsort(pattern.columns, stable=True)
        rows = torch.arange(pattern.n_rows, dtype=torch.int32, device=moved.device)
        rows = torch.repeat_interleave(rows, pattern.indptr.diff())[moved]
        edges = torch.arange(pattern.n_columns + 1, dtype=torch.int32, device=moved.device)
        indptr = torch.searchsorted(pattern.columns[moved], edges).int()
        return Pattern(indptr, rows, pattern.n_rows), moved.int()
    order = np.arange(len(pattern.columns), dtype=np.int32)
    shape = (pattern.n_rows, pattern.n_columns)
    turned = sp.csr_matrix(
        (order, pattern.columns.numpy(), pattern.indptr.numpy()), shape=shape
    ).tocsc()
    flipped = Pattern(
        torch.from_numpy(turned.indptr), torch.from_numpy(turned.indices), pattern.n_rows
    )
    return flipped, torch.from_numpy(turned.data)


def row_sums(pattern: Pattern, values: torch.Tensor) -> torch.Tensor:
    """Sum of the values in each row, float32 (rows), exact to float64 rounding whatever the row
    lengths."""
    if not on_host(values):
        lengths = pattern.indptr.diff().long()
        return torch.segment_reduce(values.double(), "sum", lengths=lengths, initial=0.0).float()
    sums = np.zeros(pattern.n_rows)
    filled = np.flatnonzero(np.diff(pattern.indptr.numpy()))
    if len(filled):
        sums[filled] = np.add.reduceat(
            values.numpy().astype(np.float64), pattern.indptr.numpy()[filled]
        )
    return torch.from_numpy(sums.astype(np.float32))


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Where a mask (n) holds: int64, ascending."""
    return torch.from_numpy(np.flatnonzero(mask.numpy())) if on_host(mask) else mask.nonzero()[:, 0]


def keep_entries(pattern: Pattern, kept: torch.Tensor) -> tuple[Pattern, torch.Tensor]:
    """The pattern with only the entries where the bool mask ``kept`` (nnz) holds, and their
    positions (int64)."""
    where = positions(kept)
    indptr = torch.searchsorted(where, pattern.indptr, out_int32=True)
    return Pattern(indptr, pattern.columns[where], pattern.n_columns), where
