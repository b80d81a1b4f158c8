"""What a model must offer to be probed: a prediction, the residual stream after any layer, and
edits of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
"""Maps the residual stream after one layer, (B, T, d), to its replacement of the same shape."""

NO_EDITS: Mapping[int, Edit] = MappingProxyType({})


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


class ProbeOutput(NamedTuple):
    """What one run returns."""

    prediction: Tensor
    """(B, T', 1) model output on the tokens that are not cropped."""
    hidden: dict[int, Tensor]
    """layer -> (B, T, d) residual stream after that layer and its edit; layer 0 is the input to the
    first block."""


class ProbedModel(Protocol):
    """A model whose residual stream can be read and written after layers 0 (before the first block)
    to ``n_layers``."""

    @property
    def name(self) -> str: ...

    @property
    def n_layers(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    def tokens(self, batch: Batch) -> TokenIndex:
        """Where the tokens of ``batch`` lie."""
        ...

    def run(
        self, batch: Batch, capture: Sequence[int] = (), edits: Mapping[int, Edit] = NO_EDITS
    ) -> ProbeOutput:
        """Run the model; return the residual streams named in ``capture`` and apply ``edits`` by
        layer."""
        ...


class PipelineModel(nn.Module):
    """What the stages drive: a `ProbedModel` that shares a window's sequence branch and resumes
    above a layer.

    `EpiBERT` is one; `petriscope.probe.adapter.AdaptedModel` makes one of any `ProbedModel`.
    """

    name: str = "model"

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
        """`ProbedModel.run`; ``resume=(k, hidden)`` starts from the residual stream after layer k,
        without a batch."""

    @abstractmethod
    def start_at_mean(self, mean: float) -> None:
        """Set the output bias so that the untrained model predicts about ``mean``, where it has
        one."""

    @abstractmethod
    def reinitialised(self, seed: int) -> PipelineModel:
        """The same architecture with random weights, in eval mode."""

    @abstractmethod
    def save_safetensors(self, path: str | Path) -> None:
        """Write all that is needed to build the model again."""
