"""What the hidden states of some windows were made from, as a digest: the model's weights and
settings, and what it reads. Another digest means that a file on disk is not the one asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from petriscope.probe.model import Inputs, ProbedModel


class Digest(Protocol):
    """A hash of hashlib."""

    def update(self, data: bytes, /) -> None: ...


def add_model(digest: Digest, model: ProbedModel) -> None:
    """Add the weights of ``model``, and the words by which torch shows its parts and sizes."""
    _add(digest, type(model).__qualname__)
    if isinstance(model, nn.Module):
        _add(digest, repr(model))
        _add(digest, model.state_dict())
    else:
        _add(digest, _settings(model))


def add_windows(digest: Digest, inputs: Inputs, windows: Sequence[int]) -> None:
    """Add what a model reads of ``windows``, which run together, and the settings of ``inputs``."""
    add_settings(digest, inputs)
    for window in windows:
        _add(digest, inputs.batch(window))


def add_settings(digest: Digest, inputs: Inputs) -> None:
    """Add the plain settings of ``inputs``: its numbers and words."""
    _add(digest, type(inputs).__qualname__)
    _add(digest, _settings(inputs))


def _settings(thing: object) -> dict[str, Any]:
    plain = (bool, int, float, str, type(None))
    return {name: value for name, value in vars(thing).items() if isinstance(value, plain)}


def _add(digest: Digest, value: Any) -> None:
    """Add a value and what it holds, each with its kind, so that no two values read the same."""
    digest.update(f"{type(value).__name__}:".encode())
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _add(digest, key)
            _add(digest, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(digest, item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for part in dataclasses.fields(value):
            _add(digest, part.name)
            _add(digest, getattr(value, part.name))
    else:
        digest.update(repr(value).encode())
    digest.update(b";")
