"""Some genes of a cell are masked, and the model is read there: the log probability of the true
gene (Geneformer), or the predicted bin (scGPT). Cells are run in batches of like length, and can be
held at a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from petriscope.probe.model import ProbedModel, check_layer, device_of, to_device
from petriscope.probe.states import to_host
from petriscope.studies.cells.model.batch import CellBatch

_TOKENS_AT_ONCE = 4096
"""of a batch, padding included"""


class TokenLists(Protocol):
    """The tokens of all cells (`CellTokens`), cell i at ``offsets[i]`` to ``offsets[i + 1]``."""

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def gene(self) -> np.ndarray: ...

    @property
    def values(self) -> np.ndarray: ...

    @property
    def offsets(self) -> np.ndarray: ...


class PaddedWith(Protocol):
    """What stands where a cell has no token left (`Padding`)."""

    @property
    def id(self) -> int: ...

    @property
    def value(self) -> float | None: ...


class Readable(ProbedModel, Protocol):
    """A probed model that hides genes of a batch, and reads them from its last stream."""

    def hide(self, batch: CellBatch, at: Tensor) -> CellBatch:
        """``batch`` with the genes at the places ``at``, bool (B, T), hidden."""
        ...

    def readout(
        self,
        batch: CellBatch | None,
        true: Tensor,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """(B, T) what is read of the gene ``true`` (B, T); NaN where that is negative."""
        ...


class CellTokensOf(NamedTuple):
    """The tokens of one cell, some of them to be masked and read; arrays (T,)."""

    cell: int
    ids: np.ndarray
    gene: np.ndarray
    """row of the data set's genes, -1 for a special token"""
    values: np.ndarray
    read: np.ndarray
    """bool"""

    def without(self, place: int) -> CellTokensOf:
        """The same without one token."""
        keep = np.arange(len(self.ids)) != place
        return self._replace(**{n: getattr(self, n)[keep] for n in _PER_TOKEN})

    def moved_to_end(self, place: int) -> CellTokensOf:
        """The same with one token behind all other genes, before what special tokens end the
        cell."""
        genes = np.flatnonzero(self.gene >= 0)
        order = np.delete(np.arange(len(self.ids)), place)
        order = np.insert(order, int(genes.max()), place)
        return self._replace(**{n: getattr(self, n)[order] for n in _PER_TOKEN})

    def with_value(self, place: int, value: float) -> CellTokensOf:
        """The same with one token's value another."""
        values = self.values.copy()
        values[place] = value
        return self._replace(values=values)


_PER_TOKEN = ("ids", "gene", "values", "read")


def masked_cell(tokens: TokenLists, cell: int, share: float, seed: int) -> CellTokensOf:
    """A cell with ``share`` of its genes (one at least) drawn to be masked; the draw depends on the
    seed and the cell alone."""
    part = slice(int(tokens.offsets[cell]), int(tokens.offsets[cell + 1]))
    gene = np.asarray(tokens.gene[part])
    places = np.flatnonzero(gene >= 0)
    read = np.zeros(len(gene), bool)
    rng = np.random.default_rng((seed, cell))
    read[rng.permutation(places)[: max(1, round(share * len(places)))]] = True
    return CellTokensOf(
        int(cell), np.asarray(tokens.ids[part]), gene, np.asarray(tokens.values[part]), read
    )


class Masked(NamedTuple):
    """A batch of B cells of T tokens, masked where they are read."""

    batch: CellBatch
    true: Tensor
    """int64 (B, T) token id of what is read, -1 elsewhere"""
    read: np.ndarray
    """bool (B, T)"""
    gene: np.ndarray
    """int (B, T); -1 at special tokens and padding"""
    cell: np.ndarray
    """(B,)"""


def collate(model: Readable, cells: Sequence[CellTokensOf], padding: PaddedWith) -> Masked:
    """Pad to the longest, and mask; all on the model's device but ``true``, ``read`` and
    ``gene``."""
    shape = (len(cells), max(len(one.ids) for one in cells))
    ids, gene = np.full(shape, padding.id, np.int64), np.full(shape, -1, np.int64)
    read, kept = np.zeros(shape, bool), np.zeros(shape, bool)
    values = np.full(shape, padding.value or 0.0, np.float32)
    for row, one in enumerate(cells):
        length = len(one.ids)
        ids[row, :length], gene[row, :length] = one.ids, one.gene
        read[row, :length], values[row, :length] = one.read, one.values
        kept[row, :length] = True
    true = torch.from_numpy(np.where(read, ids, -1))
    given = None if padding.value is None else torch.from_numpy(values)
    whole = CellBatch(torch.from_numpy(ids), given, torch.from_numpy(kept))
    batch = model.hide(
        to_device(whole, device_of(model)), torch.from_numpy(read).to(device_of(model))
    )
    return Masked(batch, true, read, gene, np.array([one.cell for one in cells]))


def batches(cells: Sequence[CellTokensOf]) -> Iterator[np.ndarray]:
    """Places in ``cells`` in groups of like length that are run at once."""
    order = np.argsort([len(one.ids) for one in cells], kind="stable")[::-1]
    at = 0
    while at < len(order):
        rows = max(1, _TOKENS_AT_ONCE // len(cells[order[at]].ids))
        yield order[at : at + rows]
        at += rows


@torch.inference_mode()
def read_cells(
    model: Readable, cells: Sequence[CellTokensOf], padding: PaddedWith
) -> list[np.ndarray]:
    """What the model reads at the masked genes of each cell, in the order of its tokens."""
    found: list[np.ndarray] = [np.zeros(0)] * len(cells)
    for group in batches(cells):
        made = collate(model, [cells[i] for i in group], padding)
        values = to_host(model.readout(made.batch, made.true.to(device_of(model))))
        for row, place in enumerate(group):
            found[place] = values[row][made.read[row]]
    return found


@dataclass(frozen=True)
class Held:
    """Masked cells held at a layer."""

    layer: int
    masked: Masked
    hidden: Tensor
    """float32 (B, T, d)"""
    before: np.ndarray
    """(B, T) what is read of the untouched stream, NaN elsewhere"""

    def after(self, model: Readable, rows: np.ndarray, hidden: Tensor) -> np.ndarray:
        """(k, T) what is read from other streams (k, T, d) of some rows; a row may come again.
        Only the blocks above the layer run."""
        where = torch.from_numpy(np.asarray(rows, np.int64)).to(hidden.device)
        ids, values, mask = self.masked.batch
        some = CellBatch(ids[where], None if values is None else values[where], mask[where])
        true = self.masked.true.to(hidden.device)[where]
        return to_host(model.readout(some, true, resume=(self.layer, hidden)))


@torch.inference_mode()
def hold(
    model: Readable, cells: Sequence[CellTokensOf], padding: PaddedWith, layer: int
) -> list[Held]:
    """Run the masked cells and keep the stream after ``layer``: a part per batch."""
    check_layer(model, layer)
    found = []
    for group in batches(cells):
        made = collate(model, [cells[i] for i in group], padding)
        hidden = model.run(made.batch, capture=(layer,)).hidden[layer].float()
        true = made.true.to(hidden.device)
        before = to_host(model.readout(made.batch, true, resume=(layer, hidden)))
        found.append(Held(layer, made, hidden, before))
    return found
