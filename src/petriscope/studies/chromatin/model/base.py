"""The chromatin study drives a probed model of accessibility that shares a window's sequence branch
between biosamples and can be saved and drawn anew; its file is safetensors of bytes that depend on
the content alone (the library writes its metadata in an order that changes by run)."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.torch import save
from torch import Tensor, nn

from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput

TOKEN = 128
"""bp per token: the stages count in bins of 128 bp."""
ATAC_BIN = 4
"""bp per accessibility value."""


class Batch(NamedTuple):
    """Inputs of B model rows; ``sequence`` may hold one row per window and ``atac`` S consecutive
    biosamples of it."""

    sequence: Tensor | None
    """(W, L, 4) one-hot ACGT, all zero at N; W divides B. None where the sequence's features are
    handed over."""
    atac: Tensor
    """(B, L/4, 1) accessibility, masked and soft-clipped."""
    motif: Tensor
    """(B, 1, M) motif activity in [0, 1]."""


class TokenIndex(NamedTuple):
    """Which part of the window each token of a hidden state covers."""

    start: np.ndarray
    """(T,) int64 offset in bp of each token from the window's start."""
    width: int
    """bp covered by one token."""
    predicted: slice
    """The tokens that have a prediction: ``hidden[:, predicted]`` aligns with ``prediction``."""


class ChromatinModel(nn.Module):
    """A `ProbedModel` that shares a window's sequence branch and resumes above a layer.

    Its prediction is (B, T', 1), accessibility on the tokens that are not cropped. `EpiBERT` is
    one; `petriscope.studies.chromatin.model.adapter.AdaptedModel` makes one of an adapter.
    """

    name: str = "model"
    resumes: bool = True

    @property
    @abstractmethod
    def n_layers(self) -> int:
        """Number of blocks; the residual stream has one layer more."""

    @property
    @abstractmethod
    def d_model(self) -> int:
        """Width of the residual stream."""

    @property
    @abstractmethod
    def crop(self) -> int:
        """Tokens without a prediction at either edge of a window."""

    @abstractmethod
    def tokens(self, batch: Batch) -> TokenIndex:
        """Where the tokens of ``batch`` lie."""

    @abstractmethod
    def sequence_features(self, sequence: Tensor) -> Tensor:
        """What `run` takes as ``sequence_features``, computed once per window: (W, L, 4) -> (W,
        ...)."""

    @abstractmethod
    def run(
        self,
        batch: Batch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
        sequence_features: Tensor | None = None,
    ) -> ProbeOutput:
        """`ProbedModel.run`; ``sequence_features`` replaces the sequence branch."""

    @abstractmethod
    def start_at_mean(self, mean: float) -> None:
        """Set the output bias so that the untrained model predicts about ``mean``, where it has
        one."""

    @abstractmethod
    def reinitialized(self, seed: int) -> ChromatinModel:
        """The same architecture with random weights, in eval mode."""

    @abstractmethod
    def save_safetensors(self, path: str | Path) -> None:
        """Write all that is needed to build the model again."""


_LENGTH_BYTES, _ALIGNMENT = 8, 8


def stable_bytes(state: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """``state`` and ``metadata`` as a safetensors file whose header lists the metadata in
    alphabetical order.

    Layout: https://huggingface.co/docs/safetensors (length of the header, JSON header padded with
    spaces, tensors).
    """
    data = save(state, dict(metadata))
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[_LENGTH_BYTES + size :]
