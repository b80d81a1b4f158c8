"""A checkpoint of a training holds weights, Adam moments and the history, tied to the run that
they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.files import atomic_path


def _describe(identity: Mapping[str, Any]) -> str:
    """The run as canonical JSON: configurations are dataclasses."""
    plain = {k: asdict(v) if hasattr(v, "__dataclass_fields__") else v for k, v in identity.items()}
    return json.dumps(plain, sort_keys=True)


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Adam,
    identity: Mapping[str, Any],
    history: list[dict[str, float]],
) -> None:
    """Write model, Adam state and ``history`` to ``path``, whole or not at all. ``identity`` says
    which run this is."""
    tensors: dict[str, Tensor] = {
        f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()
    }
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    with atomic_path(path) as temporary:
        save_file(
            tensors, temporary, {"identity": _describe(identity), "history": json.dumps(history)}
        )


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Adam, identity: Mapping[str, Any]
) -> list[dict[str, float]]:
    """Restore ``model`` and ``optimizer`` in place; return the history.

    Raises `UserError` for a damaged file or one of another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # not a mapping: without keys() it cannot be gone through
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"cannot be read ({error})", file=path, remedy="Remove it to train from the start."
        ) from error
    if metadata.get("identity") != _describe(identity):
        raise UserError(
            "belongs to another configuration or seed",
            file=path,
            remedy="Remove it, or restore the parameters it was made with.",
        )
    model.load_state_dict(
        {
            key.removeprefix("model."): value
            for key, value in tensors.items()
            if key.startswith("model.")
        }
    )
    for name, parameter in model.named_parameters():
        state = {
            key.split(".", 2)[1]: value.to(parameter.device) if value.ndim else value
            for key, value in tensors.items()
            if key.startswith("adam.") and key.split(".", 2)[2] == name
        }
        if state:
            optimizer.state[parameter] = state
    history: list[dict[str, float]] = json.loads(metadata["history"])
    return history
