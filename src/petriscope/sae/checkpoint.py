"""Checkpoints of a training run: everything the next step depends on, so a resumed run writes the
same bytes."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from petriscope.errors import UserError
from petriscope.files import atomic_folder, read_json, write_json
from petriscope.sae.config import SAEConfig


class Checkpoint(NamedTuple):
    """State after some steps."""

    step: int
    """steps done"""
    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


def check_space(folder: Path, config: SAEConfig) -> None:
    """Raise `UserError` before training where the disk cannot take a checkpoint of ``config``
    beside the earlier one."""
    needed = 2 * 4 * (3 * (2 * config.m * config.d + config.m + config.d) + 2 * config.m)
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        what = (
            f"lies on a disk with {free / 1e6:.1f} MB free, checkpoints need {needed / 1e6:.1f} MB"
        )
        raise UserError(what, file=folder, remedy="Free some space and start again.")


def save_checkpoint(folder: Path, config: SAEConfig, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in ``folder``. A full disk leaves the earlier one intact and raises
    `UserError`."""
    try:
        with atomic_folder(folder) as temporary:
            save_file(checkpoint.tensors, temporary / "state.safetensors")
            described = {
                "config": config.as_dict(),
                "step": checkpoint.step,
                "numbers": checkpoint.numbers,
            }
            write_json(temporary / "state.json", described)
    except (OSError, SafetensorError) as error:
        if not _full(error):
            raise
        remedy = "Free some space and start again: training resumes from the last whole checkpoint."
        raise UserError(
            "cannot be written, the disk or quota is full", file=folder, remedy=remedy
        ) from None


def _full(error: Exception) -> bool:
    """Whether a write failed for want of room; safetensors tells the system's error number in words
    alone."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(
        f"os error {number})" in str(error) for number in numbers
    )


def load_checkpoint(folder: Path, config: SAEConfig) -> Checkpoint | None:
    """The checkpoint in ``folder``, or None. Raises `UserError` if it is corrupt or of another
    configuration."""
    if not (folder / "state.json").exists():
        return None
    remedy = f"Delete {folder} to start over."
    try:
        described = read_json(folder / "state.json")
        tensors = load_file(folder / "state.safetensors")
        saved, step, numbers = described["config"], int(described["step"]), described["numbers"]
    except (SafetensorError, ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"is corrupt ({error})", file=folder, remedy=remedy) from None
    asked = config.as_dict()
    differing = sorted(
        key for key in asked.keys() | saved.keys() if asked.get(key) != saved.get(key)
    )
    if differing:
        key = differing[0]
        what = f"is of another configuration: {key} was {saved.get(key)}, now {asked.get(key)}"
        raise UserError(what, file=folder, remedy=remedy)
    return Checkpoint(step, tensors, numbers)
