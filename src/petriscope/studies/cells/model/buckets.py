"""Cells of any length side by side: batches padded as little as can be, and which cells go together
in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.tokens import CellTokens

MOST_PADDING = 0.05
"""Share of a harvested batch that is padding stays below it."""


@dataclass(frozen=True)
class Padding:
    """What stands where a cell has no token left."""

    id: int
    value: float | None
    """None: a model that reads no values"""


def padded(tokens: CellTokens, cells: Sequence[int] | np.ndarray, padding: Padding) -> CellBatch:
    """Some cells side by side, as short as the longest of them allows."""
    first, last = tokens.offsets[:-1][cells], tokens.offsets[1:][cells]
    counts = last - first
    mask = np.arange(counts.max()) < counts[:, None]
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    ids = np.full(mask.shape, padding.id, np.int64)
    ids[mask] = tokens.ids[rows]
    values = None
    if padding.value is not None:
        shown = np.full(mask.shape, padding.value, np.float32)
        shown[mask] = tokens.values[rows]
        values = torch.from_numpy(shown)
    return CellBatch(torch.from_numpy(ids), values, torch.from_numpy(mask))


def full_groups(counts: np.ndarray, size: int) -> list[np.ndarray]:
    """Places in ``counts`` (n,), numbers of tokens, in groups of ``size``: of equal counts as far
    as these fill groups; what is left joins others nearly as long."""
    groups, left = _equal(counts, lambda _: size)
    return groups + [part for part in _cut(left, size) if len(part)]


def buckets(counts: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Places in ``counts`` (n,) in groups of about ``tokens`` tokens each: of equal counts as far
    as these fill groups; what is left joins others as long as padding stays below `MOST_PADDING`
    of the group."""
    groups, left = _equal(counts, lambda count: max(1, tokens // max(1, count)))
    waiting: list[int] = []
    for place in left:
        longest = int(counts[place])  # they come in ascending order
        total = longest * (len(waiting) + 1)
        real = int(counts[waiting].sum()) + longest
        if waiting and (total > tokens or total - real >= MOST_PADDING * total):
            groups.append(np.array(waiting))
            waiting = []
        waiting.append(int(place))
    return groups + ([np.array(waiting)] if waiting else [])


def _equal(
    counts: np.ndarray, size_of: Callable[[int], int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Full groups of equal counts, and the places that fill none, in ascending order of counts."""
    order = np.argsort(counts, kind="stable")
    whole, left = list[np.ndarray](), list[np.ndarray]()
    for same in np.split(order, np.flatnonzero(np.diff(counts[order])) + 1):
        size = size_of(int(counts[same[0]])) if len(same) else 1
        for part in _cut(same, size):
            (whole if len(part) == size else left).append(part)
    return whole, np.concatenate(left) if left else order[:0]


def _cut(places: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(places, np.arange(size, len(places), size))
