"""What a study hands to the spine to run its model on: batches that only the study can read.

The spine never looks into a batch. It asks for one, gives it to the model, and takes from the
captured hidden states the positions that are tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from petriscope.probe.model import ProbedModel, device_of, to_device
from petriscope.probe.tokens import Tokens


class Inputs(ABC):
    """Batches of model inputs, one a window: window i in all its units. A study subclasses it.

    Examples
    --------
    >>> len(run.inputs) == len(run.inputs.tokens.windows)
    True
    """

    tokens: Tokens
    """The token axis: the kept positions of all batches, in order."""

    @abstractmethod
    def batch(self, number: int) -> Any:
        """Inputs of one model run, as the model takes them."""

    @abstractmethod
    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden states (n, d) of the batch's tokens, out of a captured (B, T, d): padding and
        edges without a prediction are left out."""

    def __len__(self) -> int:
        """Number of batches, that of windows."""
        return len(self.tokens.windows)

    def streams(
        self, model: ProbedModel, number: int, layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """Layer -> hidden states (n, d) of the batch's tokens. A study whose model can share work
        between the rows of a batch overrides this."""
        batch = to_device(self.batch(number), device_of(model))
        hidden = model.run(batch, capture=tuple(layers)).hidden
        return {layer: self.kept(number, hidden[layer]) for layer in layers}
