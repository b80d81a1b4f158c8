"""A layer's store is one .npy file, or a folder of shards that many machines wrote: each shard
holds some windows, under another name until it is whole.

The windows of a shard are those of some batches of the harvest, one batch after the other, since a
model's rounding depends on what runs together: shards then hold the bytes of the one file. Where
each window is a batch by itself, a shard is a range of windows; a study that runs windows of one
length together has them in that order, which the file beside each shard names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.files import read_json, write_json

AGAIN = "Run `petriscope stage activations`."


class Run(NamedTuple):
    """Rows that follow each other in a store and in one of its shards."""

    first: int
    """Row of the store."""
    shard: int
    at: int
    """Row of the shard."""


class Shards:
    """A read-only array (W, S, T', d) or (n, d) whose rows lie in several .npy files, mapped.

    Understands what readers of a store ask: ``shape``, ``ndim``, ``dtype``, ``nbytes``, ``len``,
    ``reshape(-1, d)``, and one index along the first axis (a number, a slice, row numbers or a
    mask), which copies what it returns and nothing else. ``numpy.asarray`` reads the whole.
    """

    def __init__(self, folder: Path, arrays: list[np.ndarray], runs: list[Run], shape: Shape):
        """arrays: the shards, each (rows, d); runs: ascending, covering all rows of ``shape``."""
        self.folder, self.shape, self.dtype = folder, shape, arrays[0].dtype
        self._arrays, self._runs = arrays, runs
        self._first = np.array([run.first for run in runs], np.int64)
        self._shard = np.array([run.shard for run in runs], np.int64)
        self._shift = np.array([run.at - run.first for run in runs], np.int64)
        self._rows = int(np.prod(shape[:-1]))

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """The shards in ``folder``. Raises `UserError` where one is missing or damaged."""
        names = sorted(folder.glob("shard_*.json"))
        if not names:
            raise UserError("holds no shards", file=folder, remedy=AGAIN)
        beside = [_Beside.load(path) for path in names]
        arrays = [_mapped(path.with_suffix(".npy"), part) for path, part in zip(names, beside)]
        window = np.concatenate([part.windows for part in beside])
        counts = np.concatenate([part.counts for part in beside])
        total = beside[0].total
        if any(part.total != total for part in beside) or len(window) != total:
            what = f"holds {len(window)} of the {total} windows of a layer"
            raise UserError(what, file=folder, remedy=AGAIN)
        order = np.argsort(window, kind="stable")
        if (window[order] != np.arange(total)).any():
            raise UserError("holds a window twice", file=folder, remedy=AGAIN)
        shard = np.repeat(np.arange(len(beside)), [len(part.windows) for part in beside])
        at = np.concatenate([np.cumsum(part.counts) - part.counts for part in beside])
        counts, shard, at = counts[order], shard[order], at[order]
        first = np.cumsum(counts) - counts
        begins = np.ones(total, bool)
        begins[1:] = (np.diff(shard) != 0) | (np.diff(at - first) != 0)
        runs = [Run(*map(int, run)) for run in zip(first[begins], shard[begins], at[begins])]
        axes, rows = beside[0].axes, int(counts.sum())
        shape = (rows, arrays[0].shape[1]) if axes is None else (total, *axes, arrays[0].shape[1])
        return cls(folder, arrays, runs, shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: int) -> Shards:
        """The same rows as (n, d), the one other shape."""
        if tuple(shape) != (-1, self.shape[-1]):
            raise ValueError(f"a store of shards has the shapes {self.shape} and (-1, d) alone")
        return Shards(self.folder, self._arrays, self._runs, (self._rows, self.shape[-1]))

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        per, rest = self._rows // max(1, len(self)), self.shape[1:]
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            return self.rows(start * per, max(start, stop) * per).reshape(-1, *rest)
        number = np.arange(len(self))[key]  # as numpy reads it
        rows = (number.reshape(-1, 1) * per + np.arange(per)).ravel()
        return self._gathered(rows).reshape(*number.shape, *rest)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """A copy of some rows (n, d) that follow each other, read, not mapped: mapped pages count
        as the process's own memory. Raises `UserError` where a shard ended meanwhile."""
        out, done = np.empty((stop - start, self.shape[-1]), self.dtype), start
        run = int(np.searchsorted(self._first, start, side="right")) - 1
        while done < stop:
            end = self._first[run + 1] if run + 1 < len(self._first) else self._rows
            upto = int(min(stop, end))
            first = done + int(self._shift[run])
            piece = _read(self._arrays[self._shard[run]], first, first + upto - done)
            out[done - start : upto - start] = piece
            done, run = upto, run + 1
        return out

    def _gathered(self, rows: np.ndarray) -> np.ndarray:
        run = np.searchsorted(self._first, rows, side="right") - 1
        shard, at = self._shard[run], rows + self._shift[run]
        out = np.empty((len(rows), self.shape[-1]), self.dtype)
        for one in np.unique(shard):
            mine = shard == one
            out[mine] = self._arrays[one][at[mine]]
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as its path."""
        flat = self.ndim == 2 and len(self) == self._rows
        return _opened, (self.folder, flat)


Shape = tuple[int, ...]
Store = np.ndarray | Shards
"""All hidden states of one layer: (W, S, T', d) on a grid of tokens, (n, d) on a ragged axis."""


def _opened(folder: Path, flat: bool) -> Shards:
    found = Shards.open(folder)
    return found.reshape(-1, found.shape[-1]) if flat else found


def holds_shards(path: Path) -> bool:
    """Whether ``path`` is a folder with a shard in it."""
    return path.is_dir() and any(path.glob("shard_*.json"))


def open_store(path: Path) -> Store:
    """The store at ``path``, memory-mapped: a .npy file or a folder of shards."""
    return Shards.open(path) if path.is_dir() else np.load(path, mmap_mode="r")


class Part(NamedTuple):
    """The share of a harvest that one shard holds."""

    number: int
    """Place of its first window in the order of the harvest."""
    groups: list[list[int]]
    """Places of the windows that run together."""

    @property
    def places(self) -> list[int]:
        """All of them, as they lie in the shard."""
        return [place for group in self.groups for place in group]

    def file(self, folder: Path, layer: int) -> Path:
        """The shard of a layer."""
        return folder / f"layer_{layer}" / f"shard_{self.number:09d}.npy"


def split(groups: list[list[int]], counts: np.ndarray, shards: int) -> list[Part]:
    """``groups`` of places, one after the other, in at most ``shards`` parts of about as many
    tokens; ``counts`` (W,) are the tokens of each place."""
    sizes = np.array([int(counts[group].sum()) for group in groups])
    middle = np.cumsum(sizes) - sizes / 2
    part = np.minimum((middle * shards / max(1, sizes.sum())).astype(int), shards - 1)
    parts, number = [], 0
    for one in np.unique(part):
        mine = [groups[place] for place in np.flatnonzero(part == one)]
        parts.append(Part(number, mine))
        number += sum(len(group) for group in mine)
    return parts


class _Beside(NamedTuple):
    """What the file beside a shard says."""

    windows: np.ndarray
    """Places of its windows in the store, in the shard's order."""
    counts: np.ndarray
    """Rows of each."""
    total: int
    """Windows of the whole store."""
    axes: Shape | None
    """(S, T') of a grid."""
    identity: str
    """Digest of model and inputs."""

    @classmethod
    def load(cls, path: Path) -> _Beside:
        found = read_json(path)
        try:
            windows, counts = (np.asarray(found[name], np.int64) for name in ("windows", "counts"))
            axes = None if found["axes"] is None else tuple(map(int, found["axes"]))
            return cls(windows, counts, int(found["total"]), axes, str(found["identity"]))
        except (KeyError, TypeError, ValueError) as error:
            what = f"does not describe a shard ({error})"
            raise UserError(what, file=path, remedy=AGAIN) from None


def write_beside(
    shard: Path, places: list[int], counts: np.ndarray, axes: Shape | None, identity: str
) -> None:
    """Say what the whole file ``shard`` holds: rows of ``places``; ``counts`` (W,) are the rows of
    all windows of the store."""
    of_places = counts[places]
    about = {"windows": places, "counts": of_places, "total": len(counts), "axes": axes}
    write_json(shard.with_suffix(".json"), {**about, "identity": identity})


def is_whole(shard: Path, identity: str) -> bool:
    """Whether ``shard`` was written to its end from the same model and inputs."""
    beside = shard.with_suffix(".json")
    if not beside.is_file() or not shard.is_file():
        return False
    try:
        part = _Beside.load(beside)
        _mapped(shard, part)
    except UserError:
        return False
    return part.identity == identity


def _mapped(path: Path, part: _Beside) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"is missing or damaged ({error})", file=path, remedy=AGAIN) from None
    if found.ndim != 2 or len(found) != int(part.counts.sum()):
        what = f"has shape {found.shape}, the file beside it says {int(part.counts.sum())} rows"
        raise UserError(what, file=path, remedy=AGAIN)
    return found


def _read(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    """A copy of rows of a mapped shard."""
    assert isinstance(array, np.memmap)
    width = array.shape[1]
    offset = array.offset + start * width * array.itemsize
    rows = np.fromfile(str(array.filename), array.dtype, (stop - start) * width, offset=offset)
    if len(rows) < (stop - start) * width:
        what, remedy = "ended while it was read", "Leave the input alone while training."
        raise UserError(what, file=str(array.filename), remedy=remedy)
    return rows.reshape(-1, width)
