"""Training vectors from files: whole windows read in a shuffled order, mixed in a buffer,
resumable.

Blocks of a file are read, not mapped: mapped pages count as the process's own memory for as long as
nobody needs them. numpy has no bfloat16: an array of it that numpy.save wrote (ml_dtypes, JAX) is
of type "V2", and is read as bfloat16.

The stream of tokens is a pure function of (seed, epoch, block): each epoch permutes the blocks, a
buffer takes some of them and permutes their rows. Batch ``s`` is tokens s·batch … (s+1)·batch − 1
of that stream, so any step can be resumed exactly.
"""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petriscope.errors import UserError
from petriscope.probe.shards import Shards, Store, holds_shards, open_store
from petriscope.probe.tokens import Tokens

_BUFFER_BATCHES = 16
ZIP = b"PK"
UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile),
)
"""What numpy raises on a damaged header or a file cut short."""
_BF16 = np.dtype("V2")


class TokenSource:
    """Rows (tokens) of one or more arrays (…, d), read by blocks of consecutive rows (a block = one
    window)."""

    def __init__(
        self,
        shards: Sequence[str | Path | Store] | str | Path | Store,
        *,
        block_rows: int | np.ndarray | None = None,
        blocks: np.ndarray | Sequence[int] | None = None,
        keep: np.ndarray | None = None,
    ) -> None:
        """shards: arrays (…, d) of one width, or paths of .npy files or of folders of shards (never
        read whole).

        block_rows: consecutive rows read together (default: the second-last axis of a shard of 3 or
        more axes, else 1024), or the rows of each block of the one shard, in order. blocks: the
        blocks that may be read, numbered through all shards (default: all). keep: bool per row (all
        shards); rows where it is False are left out. Raises `UserError` where shards differ in
        width or nothing is left.
        """
        given = [shards] if isinstance(shards, (str, Path, np.ndarray, Shards)) else list(shards)
        self._shards = [_path_of(shard) for shard in given]
        self._open()
        first = self._arrays[0]
        self._first_row = np.cumsum([0] + [_rows(array) for array in self._arrays])
        if isinstance(block_rows, np.ndarray):
            sizes = [block_rows.astype(np.int64)]
            if len(self._arrays) > 1 or sizes[0].min(initial=1) < 1:
                raise ValueError("blocks of given sizes, none empty, are of one shard")
            if sizes[0].sum() != self._first_row[-1]:
                raise UserError(
                    f"has {self._first_row[-1]} rows, its blocks {sizes[0].sum()}",
                    file=self._shards[0] if isinstance(self._shards[0], (str, Path)) else None,
                    remedy="Give one row per token, in the order of the token axis.",
                )
            self.block_rows = int(sizes[0].max(initial=1))
        else:
            default = first.shape[-2] if first.ndim > 2 else min(1024, _rows(first) or 1024)
            self.block_rows = int(block_rows or default)
            sizes = [_sizes(_rows(array), self.block_rows) for array in self._arrays]
        self._block_shard = np.concatenate([np.full(len(s), i) for i, s in enumerate(sizes)])
        self._block_start = np.concatenate([np.cumsum(s) - s for s in sizes])
        self._block_size = np.concatenate(sizes)
        n_blocks = len(self._block_start)
        self.blocks = np.arange(n_blocks) if blocks is None else np.asarray(blocks, dtype=np.int64)
        if len(self.blocks) and not (self.blocks.min() >= 0 and self.blocks.max() < n_blocks):
            raise UserError(
                f"names a block outside 0…{n_blocks - 1}",
                field="blocks",
                remedy="Check the windows' split.",
            )
        if keep is not None and len(keep) != self._first_row[-1]:
            raise UserError(
                f"has {len(keep)} rows, the data {self._first_row[-1]}",
                field="keep",
                remedy="Give one per row.",
            )
        self._keep = keep
        self._counts = self._block_size[self.blocks]
        if keep is not None:
            self._counts = np.array(
                [int(keep[self._span(b)].sum()) for b in self.blocks], dtype=np.int64
            )
        self.n_tokens = int(self._counts.sum())
        if not self.n_tokens:
            raise UserError(
                "no rows are left to train on",
                field="blocks",
                remedy="Give more windows, or a wider mask.",
            )

    @property
    def d(self) -> int:
        """Width of a vector."""
        return int(self._arrays[0].shape[-1])

    @classmethod
    def of_windows(cls, shard: str | Path | Store, windows: np.ndarray) -> TokenSource:
        """Tokens of some windows of one activation array (W, S, T', d), a block per window and
        biosample."""
        array = open_store(Path(shard)) if isinstance(shard, (str, Path)) else shard
        per_window = int(np.prod(array.shape[1:-2]))
        blocks = (np.asarray(windows)[:, None] * per_window + np.arange(per_window)).ravel()
        return cls(shard, block_rows=array.shape[-2], blocks=blocks)

    @classmethod
    def of_split(cls, shard: str | Path | Store, tokens: Tokens, *splits: str) -> TokenSource:
        """Tokens of one or more splits in the store of one layer: (W, S, T', d) on a grid of
        tokens, (n, d) on a ragged axis. A block is what one window holds of one unit."""
        windows = tokens.windows_of(*splits)
        if tokens.index is None:
            return cls.of_windows(shard, windows)
        first, size = tokens.runs()
        blocks = np.flatnonzero(np.isin(tokens.at(first)[0], windows))
        return cls(shard, block_rows=size, blocks=blocks)

    def batches(self, batch: int, seed: int, first_step: int = 0) -> Iterator[torch.Tensor]:
        """Endless float32 batches (batch, d) in raw units, starting with batch number
        ``first_step``."""
        if self.n_tokens < batch:
            what = f"is {batch}, but only {self.n_tokens} training tokens exist"
            raise UserError(what, field="sae.batch", remedy="Use a smaller batch or more windows.")
        position = first_step * batch
        epoch, offset = divmod(position, self.n_tokens)
        waiting: list[np.ndarray] = []
        ready = 0
        while True:
            for rows in self._epoch(batch, seed, epoch, offset):
                waiting.append(rows)
                ready += len(rows)
                if ready < batch:
                    continue
                merged = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                whole = ready - ready % batch
                for start in range(0, whole, batch):
                    yield torch.from_numpy(as_float32(merged[start : start + batch]))
                waiting, ready = [merged[whole:]], ready - whole
            epoch, offset = epoch + 1, 0

    def block_batches(self, blocks: int, seed: int, first_step: int = 0) -> Iterator[torch.Tensor]:
        """Endless float32 batches (tokens, d) in raw units, each of all tokens of ``blocks``
        blocks; an epoch takes every block once, in an order of its own."""
        usable = self.blocks[self._counts > 0]
        at = first_step * blocks
        order = np.zeros(0, np.int64)
        drawn = -1
        while True:
            rows = []
            for place in range(at, at + blocks):
                epoch, within = divmod(place, len(usable))
                if epoch != drawn:
                    order = np.random.default_rng([seed, epoch]).permutation(len(usable))
                    drawn = epoch
                rows.append(self._read(int(usable[order[within]])))
            yield torch.from_numpy(as_float32(np.concatenate(rows)))
            at += blocks

    def sample(self, n: int, seed: int) -> np.ndarray:
        """About ``n`` tokens (at most all) of evenly drawn whole blocks, float32 (≈ n, d), raw
        units."""
        rng = np.random.default_rng([seed, 0x5A3])
        order = rng.permutation(len(self.blocks))
        needed = int(np.searchsorted(np.cumsum(self._counts[order]), n)) + 1
        rows = np.concatenate([self._read(int(self.blocks[i])) for i in np.sort(order[:needed])])
        if len(rows) > n:
            rows = rows[np.sort(rng.permutation(len(rows))[:n])]
        return as_float32(rows)

    def in_order(self, rows: int) -> Iterator[np.ndarray]:
        """All tokens once, block after block, in raw units: pieces of about ``rows`` tokens,
        bfloat16 as float32."""
        per_piece = max(1, rows // self.block_rows)
        for first in range(0, len(self.blocks), per_piece):
            piece = np.concatenate(
                [self._read(int(block)) for block in self.blocks[first : first + per_piece]]
            )
            yield as_float32(piece) if piece.dtype == _BF16 else piece

    def _epoch(self, batch: int, seed: int, epoch: int, offset: int) -> Iterator[np.ndarray]:
        """Mixed buffers of one epoch, in the shards' own type, without the first ``offset``
        tokens."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self.blocks))
        ends = np.cumsum(self._counts[order])
        size = _BUFFER_BATCHES * batch
        begin, before, number = 0, 0, 0
        while begin < len(order):
            stop = min(
                len(order), max(begin + 1, int(np.searchsorted(ends, before + size, side="right")))
            )
            if ends[stop - 1] > offset:
                rows = np.concatenate([self._read(int(self.blocks[i])) for i in order[begin:stop]])
                mixed = rows[np.random.default_rng([seed, epoch, number]).permutation(len(rows))]
                yield mixed[max(0, offset - before) :]
            begin, before, number = stop, int(ends[stop - 1]), number + 1

    def _span(self, block: int) -> slice:
        """Rows of a block, numbered through all shards."""
        shard = int(self._block_shard[block])
        start = int(self._first_row[shard] + self._block_start[block])
        return slice(start, start + int(self._block_size[block]))

    def _read(self, block: int) -> np.ndarray:
        shard, span = int(self._block_shard[block]), self._span(block)
        first = int(span.start - self._first_row[shard])
        rows = self._rows(shard, first, first + span.stop - span.start)
        if self._keep is not None:
            rows = rows[self._keep[span]]
        with np.errstate(over="ignore", invalid="ignore"):
            total = as_float32(rows).sum() if rows.dtype == _BF16 else rows.sum(dtype=np.float32)
        if not np.isfinite(total):
            bad = np.flatnonzero(~np.isfinite(as_float32(rows)).all(axis=1))
            if len(bad):
                name = (
                    self._shards[shard]
                    if isinstance(self._shards[shard], (str, Path))
                    else f"shard {shard}"
                )
                row = first + bad[0]
                raise UserError(
                    f"row {row} holds NaN or infinity",
                    file=str(name),
                    remedy="Harvest this shard again.",
                )
        return rows

    def _rows(self, shard: int, start: int, stop: int) -> np.ndarray:
        """A copy of rows start..stop-1 of a shard."""
        array, path = self._arrays[shard], self._shards[shard]
        if isinstance(array, Shards) or isinstance(path, Shards):
            assert isinstance(array, Shards)
            return array.rows(start, stop)
        if isinstance(path, np.ndarray) or not (
            isinstance(array, np.memmap) and array.flags.c_contiguous
        ):
            return np.array(array.reshape(-1, self.d)[start:stop])
        offset = array.offset + start * self.d * array.itemsize
        rows = np.fromfile(path, array.dtype, (stop - start) * self.d, offset=offset)
        if len(rows) < (stop - start) * self.d:
            raise UserError(
                "ended while it was read", file=path, remedy="Leave the input alone while training."
            )
        return rows.reshape(-1, self.d)

    def _open(self) -> None:
        self._arrays = [open_shard(shard) for shard in self._shards]
        widths = {array.shape[-1] for array in self._arrays}
        if len(widths) > 1:
            raise UserError(
                f"shards are {sorted(widths)} wide",
                field="input",
                remedy="Give shards of one layer.",
            )

    def __getstate__(self) -> dict[str, Any]:
        """Mapped files travel to another process as their paths."""
        return {key: value for key, value in self.__dict__.items() if key != "_arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def as_float32(rows: np.ndarray) -> np.ndarray:
    """A float32 copy of rows in any type a shard may have."""
    if rows.dtype != _BF16:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and said to be
            return rows.astype(np.float32)
    return (rows.view(np.uint16).astype(np.uint32) << 16).view(
        np.float32
    )  # bfloat16 is float32's upper half


def _sizes(rows: int, block_rows: int) -> np.ndarray:
    """Rows of each block where only the last may be shorter."""
    sizes = np.full(-(-rows // block_rows), block_rows, np.int64)
    if len(sizes):
        sizes[-1] = rows - block_rows * (len(sizes) - 1)
    return sizes


def _rows(array: Store) -> int:
    return int(np.prod(array.shape[:-1]))


def _path_of(shard: str | Path | Store) -> str | Path | Store:
    """The file behind an array that maps a whole .npy, else the shard itself."""
    if isinstance(shard, np.memmap) and str(shard.filename).endswith(".npy"):
        mapped = np.load(str(shard.filename), mmap_mode="r")
        same = (
            getattr(mapped, key) == getattr(shard, key)
            for key in ("shape", "dtype", "offset", "strides")
        )
        if all(same):
            return Path(str(shard.filename))
    return shard


def _what_is(path: Path) -> str:
    """What a file that is no .npy array is, told by its first bytes."""
    with path.open("rb") as handle:
        start = handle.read(16)
    if not start:
        return "is empty"
    if start.startswith(ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return "is a damaged or truncated archive"
        if names and all(name.endswith(".npy") for name in names):
            return "holds several arrays (.npz)"
        torch_file = any(name.endswith("data.pkl") for name in names)
        return "is a PyTorch file (.pt)" if torch_file else "is a zip archive (Keras?)"
    if start[8:9] == b"{":
        return "is a safetensors file"
    kinds = {
        b"\x80": "is a pickle or an old PyTorch file (.pt)",
        b"\x89HDF": "is an HDF5 file",
        b"PAR1": "is a Parquet table",
        b"\x1f\x8b": "is compressed (gzip)",
    }
    other = "is no .npy array (its first bytes are others)"
    return next((what for magic, what in kinds.items() if start.startswith(magic)), other)


def open_shard(shard: str | Path | Store) -> Store:
    """An array of vectors, that of a .npy file or of a folder of shards memory-mapped; raises
    `UserError` where it holds none."""
    array = shard if isinstance(shard, (np.ndarray, Shards)) else _mapped(Path(shard))
    number = array.dtype == _BF16 or (
        np.issubdtype(array.dtype, np.floating) and array.dtype.itemsize <= 8
    )
    if array.ndim < 2 or not array.shape[-1] or not number:
        what = f"has shape {array.shape} and type {array.dtype}; needed: floating point, (…, width)"
        raise UserError(
            what,
            file=shard if isinstance(shard, (str, Path)) else None,
            remedy="Save one vector per row.",
        )
    return array


def _mapped(path: Path) -> Store:
    """The array of a .npy file or of a folder of shards, mapped."""
    if holds_shards(path):
        return Shards.open(path)
    try:
        with path.open("rb") as handle:
            magic = handle.read(len(np.lib.format.MAGIC_PREFIX))
        if magic != np.lib.format.MAGIC_PREFIX:
            what = _what_is(path)
            remedy = f"Save {'each' if 'several' in what else 'it'} with numpy.save."
            raise UserError(what, file=path, remedy=remedy)
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise UserError("does not exist", file=path, remedy="Check the path.") from None
    except IsADirectoryError:
        raise UserError("is a folder", file=path, remedy="Name the .npy file.") from None
    except UNREADABLE as error:
        raise UserError(
            f"is a damaged or truncated .npy array, or none of numbers ({error})",
            file=path,
            remedy="Save it with numpy.save.",
        ) from None
