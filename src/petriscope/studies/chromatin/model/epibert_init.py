"""Fresh weights: the original's initializers, but with independent draws for queries, keys and
values.

The original draws the three attention kernels from one seed, so that q = k = v at the start.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut at two."""


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """LeCun-normal dense and convolution kernels, Glorot-uniform attention kernels, zero biases; in
    place."""
    for name, part in module.named_modules():
        if not isinstance(part, (nn.Linear, nn.Conv1d)):
            continue
        fan_in = part.weight[0].numel()
        if ".attention." in name:
            limit = math.sqrt(6 / (fan_in + part.weight.shape[0]))
            nn.init.uniform_(part.weight, -limit, limit, generator=generator)
        else:
            std = math.sqrt(1 / fan_in) / _TRUNCATED_STD
            nn.init.trunc_normal_(part.weight, 0.0, std, -2 * std, 2 * std, generator=generator)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
