"""The residual stream of a probed model is harvested: of one layer in memory, or of many layers
into files that are memory-mapped afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from petriscope.errors import UserError
from petriscope.files import (
    Output,
    atomic_folder,
    atomic_path,
    json_with,
    read_json,
    write_json,
)
from petriscope.parallel import in_processes
from petriscope.probe.identity import add_model, add_windows
from petriscope.probe.model import Inputs, ProbedModel, check_layer, check_probe, device_of, place
from petriscope.probe.shards import Part, Store, is_whole, open_store, split, write_beside
from petriscope.probe.tokens import AXIS, Tokens
from petriscope.shown import INK, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 100_000
HIDDEN = Output(
    "hidden states",
    ("hidden.json", "values.npy", *(f"tokens/{name}" for name in AXIS.holds)),
    json_with(layer=None),
)
"""Tokens that a figure reads at most, evenly spread."""


@dataclass(frozen=True, repr=False)
class Hidden(Printed):
    """Hidden states of one layer and the token axis that says what each row is.

    Parameters
    ----------
    values : ndarray of shape (n, d)
        Hidden states, float16 or float32 (may be memory-mapped).
    tokens : Tokens
        The token axis, n tokens.
    layer : int
        The layer they were taken from.

    Raises
    ------
    UserError
        If the numbers of rows and of tokens differ.

    Examples
    --------
    >>> hidden.values.shape == (len(hidden.tokens), run.model.d_model)
    True
    """

    values: np.ndarray
    tokens: Tokens
    layer: int

    def __post_init__(self) -> None:
        self.tokens.check_rows(self.values, "hidden states")

    @property
    def d(self) -> int:
        """Width of a hidden state."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        """n, the number of tokens."""
        return len(self.values)

    @property
    def heading(self) -> str:
        """Layer, tokens and width, in one line."""
        return (
            f"hidden states of layer {self.layer}: {len(self):,} tokens of width {self.d}, "
            f"{self.values.dtype}, {self.tokens.units} units"
        )

    def table(self) -> pd.DataFrame:
        """One row per split: its windows, independent blocks and tokens."""
        windows = self.tokens.windows.assign(tokens=self.tokens.per_window())
        counted = windows.groupby("split", sort=False).agg(
            windows=("block", "size"), blocks=("block", "nunique"), tokens=("tokens", "sum")
        )
        return counted.reset_index()

    def plot(self) -> Figure:
        """Norms of the hidden states."""
        figure, axes = panel()
        rows = spread(np.arange(len(self)), DRAWN)
        axes.hist(np.linalg.norm(np.asarray(self.values[rows], np.float32), axis=1), 60, color=INK)
        axes.set(xlabel=f"norm of a hidden state after layer {self.layer}", ylabel="tokens")
        return figure

    def save(self, folder: str | Path) -> None:
        """Write values.npy, hidden.json and the token axis (tokens/)."""
        with atomic_folder(folder, HIDDEN) as out:
            np.save(out / "values.npy", self.values)
            write_json(out / "hidden.json", {"layer": self.layer})
            self.tokens.save(out / "tokens")

    @classmethod
    def load(cls, folder: str | Path) -> Hidden:
        """Read what `save` wrote, the values memory-mapped."""
        folder = Path(folder)
        try:
            values = np.load(folder / "values.npy", mmap_mode="r")
            layer = int(read_json(folder / "hidden.json")["layer"])
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise UserError(
                f"holds no hidden states ({error})", file=folder, remedy="Harvest them again."
            ) from None
        return cls(values, Tokens.load(folder / "tokens"), layer)


def harvest(
    model: ProbedModel,
    inputs: Inputs,
    layer: int,
    *,
    windows: int | Sequence[int] | np.ndarray | None = 128,
    device: str = "cpu",
) -> Hidden:
    """Run ``model`` on windows of ``inputs`` and keep the residual stream after ``layer``.

    Parameters
    ----------
    model : ProbedModel
        Moved to ``device`` and put in eval mode; tried on one window first (`check_probe`).
    inputs : Inputs
        Batches that the model takes, one a window.
    layer : int
        0 (before the first block) to ``model.n_layers``.
    windows : int or sequence of int, optional
        How many windows, evenly spread over all (128 if not given), or which, ascending; None: all
        of them.
    device : str
        Where the model runs.

    Returns
    -------
    Hidden
        float16 values of shape (n, d), as stage activations stores them.

    Raises
    ------
    UserError
        If the layer or a window does not exist, the model breaks a promise of the probe, or a
        value leaves float16.

    Examples
    --------
    >>> few = ps.harvest(run.model, run.inputs, layer=2, windows=[0, 3])
    >>> few.tokens.windows.block.nunique() <= 2, few.values.dtype.name
    (True, 'float16')
    """
    place(model, device)
    check_layer(model, layer)
    if windows is None or isinstance(windows, int):
        windows = spread(np.arange(len(inputs)), len(inputs) if windows is None else windows)
    tokens = inputs.tokens.of_windows(windows)
    numbers = [int(window) for window in windows]
    check_probe(model, inputs, [layer], window=numbers[0])

    def some(places: list[int]) -> np.ndarray:
        group = [numbers[place] for place in places]
        with torch.inference_mode():
            return as_float16(inputs.streams_of(model, group, [layer])[layer], layer, group)

    groups, what = inputs.together(numbers), f"hidden states of layer {layer}"
    pieces = list(in_processes(some, groups, what, unit=_unit(groups)))
    values = np.empty((len(tokens), model.d_model), np.float16)
    for places, piece in zip(groups, pieces, strict=True):
        values[_rows(tokens.per_window(), places)] = piece
    return Hidden(values, tokens, layer)


@torch.inference_mode()
def harvest_layers(
    model: ProbedModel,
    inputs: Inputs,
    windows: Sequence[int] | np.ndarray,
    layers: Sequence[int],
    folder: Path,
    *,
    shards: int | None = None,
    what: str = "residual streams",
) -> None:
    """Write `layer_<k>.npy`, float16, for every layer into ``folder``: (len(windows), S, T', d) on
    a grid of tokens, (n, d) on a ragged axis.

    With ``shards``, folders `layer_<k>/` of at most so many files instead, which `open_layers`
    reads as the same array; those that an earlier call left whole, of the same model and inputs,
    stay. Raises `UserError` where a value leaves float16.
    """
    if isinstance(model, torch.nn.Module):
        model.eval()
    numbers = [int(window) for window in windows]
    if not numbers:
        return
    if shards is not None:
        parts = shard_parts(inputs, numbers, shards)
        drop_other_shards(folder, layers, parts)

        def one(part: Part) -> None:
            harvest_shard(model, inputs, numbers, layers, folder, part)

        one(parts[0])  # in this process, as below
        for _ in in_processes(one, parts[1:], what, unit="shard"):
            pass
        return
    tokens, groups = inputs.tokens, inputs.together(numbers)
    counts = tokens.per_window()[numbers]
    n = int(counts.sum())
    shape = (n,) if tokens.positions is None else (len(numbers), *tokens.shape[1:])
    for layer in layers:
        np.lib.format.open_memmap(
            store_file(folder, layer), mode="w+", dtype=np.float16, shape=(*shape, model.d_model)
        ).flush()

    def some(places: list[int]) -> None:
        found = _streams(model, inputs, numbers, layers, places)
        rows = _rows(counts, places)
        for layer in layers:
            store = np.lib.format.open_memmap(store_file(folder, layer), mode="r+")
            store.reshape(-1, store.shape[-1])[rows] = found[layer]

    some(groups[0])  # in this process: what is wrong with the model is said before any other begins
    for _ in in_processes(some, groups[1:], what, unit=_unit(groups)):
        pass


def shard_parts(inputs: Inputs, windows: Sequence[int], shards: int) -> list[Part]:
    """What each of at most ``shards`` shards of a harvest of ``windows`` holds."""
    if shards < 1:
        raise UserError(f"is {shards}", field="shards", remedy="Give 1 or more.")
    counts = inputs.tokens.per_window()[list(windows)]
    return split(inputs.together(windows), counts, shards)


def harvest_shard(
    model: ProbedModel,
    inputs: Inputs,
    windows: Sequence[int],
    layers: Sequence[int],
    folder: Path,
    part: Part,
) -> None:
    """Write one shard of every layer into ``folder``: `layer_<k>/shard_<first>.npy` (rows, d),
    under another name until it is whole, and beside it a file that says what it holds.

    ``part`` is one of `shard_parts` of the same ``windows``. A whole shard of the same model and
    inputs is kept. Parts may be harvested by different machines at once.
    """
    if isinstance(model, torch.nn.Module):
        model.eval()
    numbers = [int(window) for window in windows]
    tokens = inputs.tokens
    counts = tokens.per_window()[numbers]
    axes = None if tokens.positions is None else tokens.shape[1:]
    identity = _identity(model, inputs, numbers, part)
    missing = [layer for layer in layers if not is_whole(part.file(folder, layer), identity)]
    if not missing:
        return
    for layer in missing:
        part.file(folder, layer).with_suffix(".json").unlink(missing_ok=True)
    rows = int(counts[part.places].sum())
    with ExitStack() as files:
        into = {
            layer: np.lib.format.open_memmap(
                files.enter_context(atomic_path(part.file(folder, layer))),
                mode="w+",
                dtype=np.float16,
                shape=(rows, model.d_model),
            )
            for layer in missing
        }
        done = 0
        for places in part.groups:
            found = _streams(model, inputs, numbers, missing, places)
            size = int(counts[places].sum())
            for layer in missing:
                into[layer][done : done + size] = found[layer]
            done += size
        for array in into.values():
            array.flush()
    for layer in missing:
        write_beside(part.file(folder, layer), part.places, counts, axes, identity)


def drop_other_shards(folder: Path, layers: Sequence[int], parts: Sequence[Part]) -> None:
    """Remove what a harvest in another number of shards, or in one file, left of ``layers``."""
    for layer in layers:
        store_file(folder, layer).unlink(missing_ok=True)
        wanted = {part.file(folder, layer).stem for part in parts}
        for file in (folder / f"layer_{layer}").glob("shard_*"):
            if file.stem not in wanted:
                file.unlink(missing_ok=True)


def _identity(model: ProbedModel, inputs: Inputs, numbers: list[int], part: Part) -> str:
    """A digest of all that the bytes of a shard depend on, but for the kind of processor."""
    digest = hashlib.sha256(device_of(model).type.encode())
    add_model(digest, model)
    for group in part.groups:
        add_windows(digest, inputs, [numbers[place] for place in group])
    return digest.hexdigest()


def _streams(
    model: ProbedModel,
    inputs: Inputs,
    numbers: list[int],
    layers: Sequence[int],
    places: list[int],
) -> dict[int, np.ndarray]:
    """Layer -> float16 (n, d) of the windows at some places, which run together."""
    group = [numbers[place] for place in places]
    with torch.inference_mode():
        found = inputs.streams_of(model, group, layers)
    return {layer: as_float16(found[layer], layer, group) for layer in layers}


def _rows(counts: np.ndarray, places: list[int]) -> np.ndarray | slice:
    """Rows of the tokens of the windows at ``places``, whose ``counts`` (W,) follow each other."""
    ends = np.cumsum(counts)
    if len(places) == 1:
        return slice(ends[places[0]] - counts[places[0]], ends[places[0]])
    return np.concatenate([np.arange(ends[at] - counts[at], ends[at]) for at in places])


def _unit(groups: list[list[int]]) -> str:
    return "window" if all(len(group) == 1 for group in groups) else "batch"


def as_float16(hidden: torch.Tensor, layer: int, windows: Sequence[int]) -> np.ndarray:
    """Hidden states as they are stored. Raises `UserError` where a value leaves float16."""
    with np.errstate(over="ignore"):  # refused below, with the window named
        values = hidden.float().cpu().numpy().astype(np.float16)
    if not np.isfinite(values).all():
        named = f"window {windows[0]}" if len(windows) == 1 else f"windows {windows[0]} and others"
        raise UserError(
            f"layer {layer}, {named}: a value is NaN or exceeds float16",
            field="activations",
            remedy="Check the weights; a model this large needs a rescaled residual stream.",
        )
    return values


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of ``rows``, evenly spread over them so that all blocks are reached."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def layer_paths(folder: Path) -> dict[int, Path]:
    """What ``folder`` holds of each layer, `layer_<k>` or `layer_<k>.npy`, in the layers' order.

    Raises `FileNotFoundError` where it does not exist.
    """
    found = {
        int(path.stem.split("_")[1]): path
        for path in folder.iterdir()
        if path.name.startswith("layer_")
    }
    return dict(sorted(found.items()))


def store_file(folder: Path, layer: int) -> Path:
    """Where `harvest_layers` writes a layer that is one file."""
    return folder / f"layer_{layer}.npy"


def open_layers(folder: Path) -> dict[int, Store]:
    """The store of every layer in ``folder``, memory-mapped: layer → (W, S, T', d), or (n, d) of a
    ragged token axis; one file a layer, or a folder of shards."""
    paths = layer_paths(folder) if folder.is_dir() else {}
    if not paths:
        raise UserError(
            "holds no activations", file=folder, remedy="Run `petriscope stage activations`."
        )
    return {layer: open_store(path) for layer, path in paths.items()}


def sample_hidden(
    store: Store, tokens: Tokens, windows: np.ndarray, every: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Every ``every``-th window of ``windows`` from a layer's store, a grid's or a flat one: rows
    (n, d) float32 and the unit of each (n,)."""
    rows = tokens.rows_of(windows[::every])
    flat = store.reshape(-1, store.shape[-1])
    return np.asarray(flat[rows], dtype=np.float32), tokens.at(rows)[1]
