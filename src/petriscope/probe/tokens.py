"""The token axis says what row i of every hidden state and of every code stands for.

A token lies in a window (a stretch of genome, a sequence, a sentence, a cell), belongs to a unit
(who is replicated: a biosample, a document, a donor) and has a position in its window. Windows
carry the split and the block (the independent locus, document or cell group) of their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import (
    Output,
    atomic_folder,
    json_with,
    read_json,
    write_json,
    write_parquet,
)

AXIS = Output(
    "a token axis",
    ("tokens.json", "windows.parquet", "index.npy"),
    json_with(units=None, positions=None),
)


@dataclass(frozen=True)
class Tokens:
    """The token axis. Build it with `Tokens.grid` or `Tokens.ragged`.

    On a grid every window is seen in every unit with the same number of positions, and row
    ``(window * units + unit) * positions + position`` is computed, never stored.

    Raises
    ------
    UserError
        Where windows lack ``split`` or ``block``, or a row names what does not exist.

    Examples
    --------
    >>> windows = pd.DataFrame({"split": ["train", "test"], "block": [0, 1]})
    >>> axis = Tokens.grid(windows, units=3, positions=4)
    >>> len(axis), axis.at(np.array([13]))
    (24, (array([1]), array([0]), array([1])))
    """

    windows: pd.DataFrame
    """One row per window: ``split``, ``block`` (int), and where it lies, in whatever columns the
    study has (chrom, start, end; accession; barcode)."""
    units: int
    """Number of units (rows of the unit table)."""
    positions: int | None
    """Tokens of a window in one unit; None where windows differ (ragged)."""
    width: int | None = None
    """What one token covers, in the units of the windows' coordinates (bp); None where it covers
    none."""
    offset: int = 0
    """Where the first position of a window starts, in the same units."""
    index: np.ndarray | None = None
    """(n, 3) int32 window, unit, position of each row of a ragged axis; None on a grid."""

    @classmethod
    def grid(
        cls,
        windows: pd.DataFrame,
        units: int,
        positions: int,
        *,
        width: int | None = None,
        offset: int = 0,
    ) -> Tokens:
        """Every window in every unit, ``positions`` tokens each."""
        return cls(_checked(windows), units, positions, width, offset)

    @classmethod
    def ragged(
        cls,
        windows: pd.DataFrame,
        units: int,
        window: np.ndarray,
        unit: np.ndarray,
        position: np.ndarray,
        *,
        width: int | None = None,
    ) -> Tokens:
        """Row by row: ``window``, ``unit`` and ``position`` (n,)."""
        index = np.stack([window, unit, position], axis=1).astype(np.int32)
        for column, (name, size) in enumerate((("window", len(windows)), ("unit", units))):
            values = index[:, column]
            if len(values) and not 0 <= values.min() <= values.max() < size:
                row = int(np.flatnonzero((values < 0) | (values >= size))[0])
                raise UserError(
                    f"row {row} names {name} {values[row]}, of {size}",
                    field=f"tokens.{name}",
                    remedy=f"Number the {name}s from 0 in the order of their table.",
                )
        return cls(_checked(windows), units, None, width, 0, index)

    def __len__(self) -> int:
        """n, the number of tokens."""
        if self.index is not None:
            return len(self.index)
        assert self.positions is not None
        return len(self.windows) * self.units * self.positions

    @property
    def shape(self) -> tuple[int, int, int]:
        """(W, S, T') of a grid. Raises `UserError` for a ragged axis."""
        if self.positions is None:
            raise UserError("is ragged, not a grid", field="tokens", remedy="Use its rows.")
        return len(self.windows), self.units, self.positions

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Window, unit and position of some rows."""
        if self.index is not None:
            found = self.index[rows]
            return found[:, 0], found[:, 1], found[:, 2]
        window, unit, position = np.unravel_index(rows, self.shape)
        return window, unit, position

    def row(self, window: np.ndarray, unit: np.ndarray, position: np.ndarray) -> np.ndarray:
        """The inverse of `at` on a grid."""
        return np.asarray(np.ravel_multi_index((window, unit, position), self.shape))

    def rows_of(self, windows: np.ndarray) -> np.ndarray:
        """All rows of some windows: on a grid window after window as given, else ascending."""
        if self.index is not None:
            return np.flatnonzero(np.isin(self.index[:, 0], windows))
        per = self.units * self.shape[2]
        return (np.asarray(windows, np.int64)[:, None] * per + np.arange(per)).ravel()

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of each stretch of a ragged axis that lies in one window and
        unit."""
        if self.index is None:
            raise UserError("is a grid, not ragged", field="tokens", remedy="Use its shape.")
        same = (self.index[1:, :2] == self.index[:-1, :2]).all(axis=1)
        first = np.flatnonzero(np.concatenate([[True][: len(self)], ~same]))
        return first, np.diff(np.append(first, len(self)))

    @cached_property
    def window(self) -> np.ndarray:
        """(n,) row of ``windows`` of each token."""
        return self.at(np.arange(len(self)))[0]

    @cached_property
    def unit(self) -> np.ndarray:
        """(n,) row of the unit table of each token."""
        if self.index is not None:
            return self.index[:, 1]
        windows, units, positions = self.shape
        return np.tile(np.repeat(np.arange(units), positions), windows)

    @cached_property
    def position(self) -> np.ndarray:
        """(n,) position of each token in its window."""
        return self.at(np.arange(len(self)))[2]

    @property
    def block(self) -> np.ndarray:
        """(n,) independent block of each token."""
        return self.windows.block.to_numpy()[self.window]

    @property
    def split(self) -> np.ndarray:
        """(n,) split of each token."""
        return self.windows.split.to_numpy()[self.window]

    def windows_of(self, *splits: str) -> np.ndarray:
        """Rows of ``windows`` that belong to one or more splits, ascending."""
        return split_rows(self.windows, *splits)

    def per_window(self) -> np.ndarray:
        """(W,) number of tokens of each window."""
        if self.index is not None:
            return np.bincount(self.index[:, 0], minlength=len(self.windows))
        return np.full(len(self.windows), self.units * self.shape[2])

    def of_windows(self, windows: Sequence[int] | np.ndarray) -> Tokens:
        """The tokens of some windows, ascending, renumbered from 0 in that order."""
        chosen = np.asarray(windows, dtype=np.int64)
        if not len(chosen):
            raise UserError("names none", field="windows", remedy="Give at least one window.")
        outside = (chosen < 0) | (chosen >= len(self.windows))
        if outside.any() or (np.diff(chosen) <= 0).any():
            wrong = f"names window {chosen[outside][0]}" if outside.any() else "is not ascending"
            raise UserError(
                f"{wrong}, of {len(self.windows)} windows",
                field="windows",
                remedy="Give window numbers from 0, each once, in ascending order.",
            )
        table = self.windows.iloc[chosen].reset_index(drop=True)
        if self.index is None:
            return replace(self, windows=table)
        number = np.full(len(self.windows), -1, np.int32)
        number[chosen] = np.arange(len(chosen))
        kept = self.index[number[self.index[:, 0]] >= 0].copy()
        kept[:, 0] = number[kept[:, 0]]
        return replace(self, windows=table, index=kept)

    def check_rows(self, array: Sized, what: str) -> None:
        """Raise `UserError` where ``array`` (n, ...) has another number of rows than there are
        tokens."""
        if len(array) != len(self):
            raise UserError(
                f"has {len(array)} rows, the token axis {len(self)} tokens",
                field=what,
                remedy="Give one row per token, in the order of the axis.",
            )

    def starts(self) -> np.ndarray:
        """(W, T') coordinate at which each position of each window of a grid starts."""
        if self.width is None:
            raise UserError("has no width", field="tokens.width", remedy="Give what one covers.")
        within = self.offset + self.width * np.arange(self.shape[2])
        return self.windows.start.to_numpy()[:, None] + within

    def save(self, folder: str | Path) -> None:
        """Write windows.parquet, tokens.json and, for a ragged axis, index.npy."""
        with atomic_folder(folder, AXIS) as out:
            write_parquet(out / "windows.parquet", self.windows)
            numbers = {n: getattr(self, n) for n in ("units", "positions", "width", "offset")}
            write_json(out / "tokens.json", numbers)
            if self.index is not None:
                np.save(out / "index.npy", self.index)

    @classmethod
    def load(cls, folder: str | Path) -> Tokens:
        """Read what `save` wrote."""
        folder = Path(folder)
        index = folder / "index.npy"
        try:
            return cls(
                pd.read_parquet(folder / "windows.parquet"),
                **read_json(folder / "tokens.json"),
                index=np.load(index) if index.is_file() else None,
            )
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise UserError(
                f"holds no token axis ({error})",
                file=folder,
                remedy="Write it with `Tokens.save`, or make the hidden states or codes again.",
            ) from None


def split_rows(windows: pd.DataFrame, *splits: str) -> np.ndarray:
    """Rows of a table of windows that belong to one or more splits, ascending."""
    return np.flatnonzero(windows.split.isin(splits))


def _checked(windows: pd.DataFrame) -> pd.DataFrame:
    for column in ("block", "split"):
        if column not in windows:
            raise UserError(
                "column is missing",
                file="windows",
                field=column,
                remedy="Each window needs the split it belongs to and its independent block.",
            )
    return windows.reset_index(drop=True)
