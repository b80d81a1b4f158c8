"""Model rows are held at one layer: the residual stream to edit, and the prediction it leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.probe.model import ProbedModel, check_layer, run_from


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

    def to(self, device: str | torch.device) -> Dictionary:
        """The same on another device, where it then encodes."""
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
    stratum: np.ndarray
    condition: np.ndarray
    """Names of the row's stratum and condition, where a design gives them."""


def first_channel(prediction: Tensor) -> Tensor:
    """(N, T') of a prediction (N, T', 1)."""
    return prediction[..., 0]


@dataclass(frozen=True)
class States:
    """N model rows of one length, held at one layer. Only kept tokens are ever edited; padding and
    edges stay as they are."""

    layer: int
    hidden: Tensor
    """(N, T, d) float32 residual stream after ``layer``, on the model's device."""
    prediction: np.ndarray
    """(N, ...) what the model predicts from it, as ``readout`` reads it, on the host."""
    read: np.ndarray
    """Bool, the shape of ``prediction`` (or of its leading axes): where effects are read."""
    kept: np.ndarray
    """(N, T) bool: positions that are tokens, the others are padding or edges."""
    labels: RowLabels
    readout: Callable[[Tensor], Tensor] = first_channel
    """From the model's prediction (N, ...) to the one that is read."""
    batch: Any = None
    """The rows' own inputs, where the model needs them to run on; None where it resumes without."""

    def where(self) -> Tensor:
        """(N, T) bool, ``kept`` on the device of the stream."""
        return torch.from_numpy(self.kept).to(self.hidden.device)

    def tokens(self) -> Tensor:
        """(n, d) the residual stream at the kept tokens, row by row."""
        return self.hidden[self.where()]

    def subset(self, rows: np.ndarray) -> States:
        """Some of the rows (indices or mask), of states that need no batch."""
        assert self.batch is None, "rows of a batch belong together"
        index = np.arange(len(self.prediction))[rows]
        return States(
            self.layer,
            self.hidden[torch.from_numpy(index).to(self.hidden.device)],
            self.prediction[index],
            self.read[index],
            self.kept[index],
            RowLabels(*(values[index] for values in self.labels)),
            self.readout,
        )


def to_host(values: Tensor) -> np.ndarray:
    """Float32 values of a tensor on any device."""
    return values.float().cpu().numpy()


def gather(
    model: ProbedModel,
    batches: Sequence[Any],
    layer: int,
    read: np.ndarray,
    labels: RowLabels,
    crop: int,
) -> States:
    """Run the model on ``batches`` (N rows in all) and hold them at ``layer``; ``read`` (N, T')
    bool, ``crop`` tokens at either edge are not kept."""
    check_layer(model, layer)
    hidden, prediction = [], []
    with torch.inference_mode():
        for batch in batches:
            output = model.run(batch, capture=(layer,))
            hidden.append(output.hidden[layer].float())
            prediction.append(to_host(first_channel(output.prediction)))
    found = np.concatenate(prediction)
    if read.shape != found.shape:
        raise UserError(f"shape {read.shape}, the prediction has {found.shape}", field="read")
    if not read.any():
        raise UserError("no bin is read", field="read", remedy="Mask at least one bin.")
    stream = torch.cat(hidden)
    kept = np.zeros(stream.shape[:2], bool)
    kept[:, crop : stream.shape[1] - crop] = True
    return States(layer, stream, found, read, kept, labels)


def predict(
    model: ProbedModel,
    layer: int,
    hidden: Tensor,
    rows_at_once: int = 32,
    readout: Callable[[Tensor], Tensor] = first_channel,
) -> np.ndarray:
    """(N, ...) prediction from residual streams (N, T, d) after ``layer``: only the blocks above it
    run."""
    with torch.inference_mode():
        parts = [
            to_host(readout(model.run(None, resume=(layer, part)).prediction))
            for part in (hidden.split(rows_at_once) if len(hidden) else ())
        ]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def predict_edited(
    model: ProbedModel, states: States, delta: Tensor, rows_at_once: int = 32
) -> np.ndarray:
    """(N, ...) prediction after adding ``delta`` (n, d) to the kept tokens.

    Rows that nothing changes are not run, or not read: their prediction is the cached one, bit for
    bit.
    """
    delta, where = delta.to(states.hidden.device), states.where()
    row_of = np.nonzero(states.kept)[0]
    changed = np.unique(row_of[(delta != 0).any(1).cpu().numpy()])
    prediction = states.prediction.copy()
    if states.batch is not None:
        if len(changed):
            hidden = states.hidden.clone()
            hidden[where] += delta
            with torch.inference_mode():
                found = run_from(model, states.batch, states.layer, hidden)
            prediction[changed] = to_host(states.readout(found))[changed]
        return prediction
    for at in range(0, len(changed), rows_at_once):
        rows = changed[at : at + rows_at_once]
        index = torch.from_numpy(rows).to(delta.device)
        mine = torch.from_numpy(np.isin(row_of, rows)).to(delta.device)
        hidden = states.hidden[index].clone()
        hidden[where[index]] += delta[mine]
        prediction[rows] = predict(model, states.layer, hidden, rows_at_once, states.readout)
    return prediction
