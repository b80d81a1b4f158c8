"""The device on which a run computes is chosen here, and refused where it is not there."""

from __future__ import annotations

import torch

from petriscope.errors import UserError


def choose_device(name: str) -> str:
    """`cpu`, `cuda`, or what `auto` finds. Raises `UserError` where a GPU is asked for and none is
    there."""
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UserError(
            "no CUDA device is available", field="device", remedy="Use `device: cpu` or `auto`."
        )
    return name
