"""The weights of a released checkpoint folder are read here: safetensors before pickles, shards by
their index, and never a pickle with code in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from petriscope.errors import UserError
from petriscope.files import read_json

SAFETENSORS = "model.safetensors"
"""What the file is called where it is one."""


def read_weights(folder: Path, pickle_name: str) -> dict[str, Tensor]:
    """All weights of a checkpoint folder, safetensors before pickles, shards by their index."""
    for name, read in ((SAFETENSORS, _read_safetensors), (pickle_name, _read_pickle)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read(folder / name)
        if index.is_file():
            return {key: value for part in _shards(index) for key, value in read(part).items()}
    raise UserError(
        f"holds neither {SAFETENSORS} nor {pickle_name}, nor their index",
        file=folder,
        remedy="Download the whole checkpoint.",
    )


def _shards(index: Path) -> Iterator[Path]:
    found = read_json(index)
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        remedy = "Download the checkpoint again."
        raise UserError("names no shard", file=index, field="weight_map", remedy=remedy)
    for name in sorted(set(map(str, places.values()))):
        part = index.parent / name
        if Path(name).name != name:
            what = f"names {name!r}, which lies elsewhere"
            raise UserError(what, file=index, field="weight_map", remedy="Keep shards beside it.")
        if not part.is_file():
            what = "is missing, though the index names it"
            raise UserError(what, file=part, remedy="Download the whole checkpoint.")
        yield part


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            # not a mapping: without keys() it cannot be gone through
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        what = f"cannot be read as safetensors ({error})"
        raise UserError(what, file=path, remedy="Download it again.") from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        first = str(error).split("\n")[0]
        what = f"cannot be read as weights alone ({first})"
        remedy = "Download it again; a pickle with code in it is never loaded."
        raise UserError(what, file=path, remedy=remedy) from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        what = "holds something else than named weights"
        raise UserError(what, file=path, remedy="Give the checkpoint's own file.")
    return dict(found)
