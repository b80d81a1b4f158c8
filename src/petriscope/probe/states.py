"""Model rows held at one layer: the residual stream to edit, and the prediction it leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.probe.model import Edit, ProbeOutput


class Resumable(Protocol):
    """A probed model that can start from a cached residual stream (B, T, d) after layer k."""

    @property
    def n_layers(self) -> int: ...

    def run(
        self,
        batch: Any,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = ...,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput: ...


class Codes(Protocol):
    """Sparse codes of n rows in CSR form."""

    @property
    def indptr(self) -> np.ndarray: ...

    @property
    def indices(self) -> np.ndarray: ...

    @property
    def values(self) -> np.ndarray: ...


class Dictionary(Protocol):
    """What the causal tests need of a sparse autoencoder, or of a rival basis."""

    @property
    def directions(self) -> Tensor:
        """(m, d) what one unit of each latent adds to a raw hidden state."""
        ...

    def encode(self, x: np.ndarray | Tensor) -> Codes:
        """Codes of raw hidden states (n, d)."""
        ...

    def decode(self, codes: Any) -> np.ndarray:
        """Reconstruction (n, d) of codes that this dictionary's ``encode`` made."""
        ...


class RowLabels(NamedTuple):
    """Where each of N model rows comes from; all arrays (N,)."""

    window: np.ndarray
    block: np.ndarray
    lineage: np.ndarray
    context: np.ndarray
    """'in_vitro' or 'in_vivo'."""


@dataclass(frozen=True)
class States:
    """N model rows at one layer. Only the predicted tokens are ever edited; the crop at the edges
    stays as it is."""

    layer: int
    hidden: Tensor
    """(N, T, d) float32 residual stream after ``layer``."""
    prediction: np.ndarray
    """(N, T') what the model predicts from it."""
    read: np.ndarray
    """(N, T') bool: bins where effects are read (the masked ones)."""
    crop: int
    """tokens without prediction at either edge: T = T' + 2 crop."""
    labels: RowLabels

    def tokens(self) -> Tensor:
        """(N * T', d) the residual stream at the predicted tokens."""
        total, d = self.hidden.shape[1:]
        return self.hidden[:, self.crop : total - self.crop].reshape(-1, d)

    def subset(self, rows: np.ndarray) -> States:
        """Some of the rows (indices or mask)."""
        index = np.arange(len(self.prediction))[rows]
        return States(
            self.layer,
            self.hidden[torch.from_numpy(index)],
            self.prediction[index],
            self.read[index],
            self.crop,
            RowLabels(*(values[index] for values in self.labels)),
        )


def gather(
    model: Resumable,
    batches: Sequence[Any],
    layer: int,
    read: np.ndarray,
    labels: RowLabels,
    crop: int,
) -> States:
    """Run the model on ``batches`` (N rows in all) and hold them at ``layer``; ``read`` (N, T')
    bool."""
    if not 0 <= layer <= model.n_layers:
        raise UserError(
            f"layer {layer} does not exist", field="layer", remedy=f"Choose 0 to {model.n_layers}."
        )
    hidden, prediction = [], []
    with torch.inference_mode():
        for batch in batches:
            output = model.run(batch, capture=(layer,))
            hidden.append(output.hidden[layer].float())
            prediction.append(output.prediction[..., 0].float().numpy())
    found = np.concatenate(prediction)
    if read.shape != found.shape:
        raise UserError(f"shape {read.shape}, the prediction has {found.shape}", field="read")
    if not read.any():
        raise UserError("no bin is read", field="read", remedy="Mask at least one bin.")
    return States(layer, torch.cat(hidden), found, read, crop, labels)


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Run torch on one thread per Python thread; yields how many it had, and gives them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def predict(model: Resumable, layer: int, hidden: Tensor, rows_at_once: int = 32) -> np.ndarray:
    """(N, T') prediction from residual streams (N, T, d) after ``layer``: only the blocks above it
    run."""
    with torch.inference_mode():
        parts = [
            model.run(None, resume=(layer, hidden[at : at + rows_at_once]))
            .prediction[..., 0]
            .float()
            .numpy()
            for at in range(0, len(hidden), rows_at_once)
        ]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def predict_edited(
    model: Resumable, states: States, delta: Tensor, rows_at_once: int = 32
) -> np.ndarray:
    """(N, T') prediction after adding ``delta`` (N * T', d) to the predicted tokens.

    Rows that nothing changes are not run: their prediction is the cached one, bit for bit.
    """
    n, total, d = states.hidden.shape
    delta = delta.reshape(n, total - 2 * states.crop, d)
    changed = torch.nonzero(delta.flatten(1).abs().amax(1)).flatten()
    prediction = states.prediction.copy()
    for at in range(0, len(changed), rows_at_once):
        rows = changed[at : at + rows_at_once]
        hidden = states.hidden[rows].clone()
        hidden[:, states.crop : total - states.crop] += delta[rows]
        prediction[rows.numpy()] = predict(model, states.layer, hidden, rows_at_once)
    return prediction
