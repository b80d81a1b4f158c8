"""What a study hands to the spine to run its model on: batches that only the study can read.

The spine never looks into a batch. It asks for one, gives it to the model, and takes from the
captured hidden states the positions that are tokens.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from petriscope.probe.tokens import Tokens


class Inputs(Protocol):
    """Batches of model inputs, one a window (or a few windows of one length)."""

    @property
    def tokens(self) -> Tokens:
        """The token axis: the kept positions of all batches, in order."""
        ...

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def batch(self, number: int) -> Any:
        """Inputs of one model run, as the model takes them."""
        ...

    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden states (n, d) of the batch's tokens, out of a captured (B, T, d): padding and
        edges without a prediction are left out."""
        ...
