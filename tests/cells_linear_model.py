"""A linear `Readable` model of cells whose answers are known, and tokens for it: what is read of a
masked gene is the sum over the cell's visible tokens of their stream along that gene's axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput
from petriscope.studies.cells.model.batch import CellBatch

GENES, SPECIAL = 40, 2
MASK, PAD, CLS = GENES + 1, GENES + 2, GENES


class LINEAR(NamedTuple):
    """How much a factor raises its targets, in units of the reading."""

    effect: float = 1.5


LINEAR = LINEAR()  # type: ignore[misc, assignment]


class Padded(NamedTuple):
    """`Padding`"""

    id: int = PAD
    value: float | None = None


PADDING = Padded()


class Lists(NamedTuple):
    """`CellTokens`"""

    ids: np.ndarray
    gene: np.ndarray
    values: np.ndarray
    offsets: np.ndarray


def tokens_of(cells: int, genes: int, seed: int, uneven: bool = False) -> Lists:
    """Cells of all genes but the last (``uneven``: of some) in random order, after a special
    token."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(cells):
        some = rng.permutation(genes - 1)
        rows.append(np.concatenate([[-1], some[: rng.integers(8, genes)] if uneven else some]))
    gene = np.concatenate(rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    ids = np.where(gene < 0, CLS, gene)
    return Lists(
        ids.astype(np.int32), gene.astype(np.int32), np.ones(len(gene), np.float32), offsets
    )


class LinearModel:
    """Layer 0: a one-hot of the token. Layer 1: the same (B, T, 40). Read at gene g: entry g of the
    summed streams of the visible tokens, each times its row of ``effects``."""

    n_layers, d_model, resumes = 1, GENES + 3, True

    def __init__(self, effects: np.ndarray | None = None) -> None:
        if effects is None:
            effects = np.zeros((self.d_model, GENES))
            effects[0, 10:16] = LINEAR.effect
            effects[1, 16:22] = -LINEAR.effect
            effects[PAD] = 100  # padding must not be read
        self.effects = torch.from_numpy(effects).float()

    def hide(self, batch: CellBatch, at: Tensor) -> CellBatch:
        return batch._replace(ids=batch.ids.masked_fill(at, MASK))

    def _stream(self, batch: CellBatch) -> Tensor:
        return torch.nn.functional.one_hot(batch.ids, self.d_model).float()

    def run(
        self,
        batch: CellBatch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        assert batch is not None and not edits and resume is None
        stream = self._stream(batch)
        return ProbeOutput(stream.sum(-1), dict.fromkeys(capture, stream))

    def readout(
        self,
        batch: CellBatch | None,
        true: Tensor,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        assert batch is not None
        stream = self._stream(batch) if resume is None else resume[1]
        summed = (stream * batch.mask[..., None]).sum(1) @ self.effects
        found = summed.gather(1, true.clamp(min=0))
        return torch.where(true >= 0, found, torch.nan)
