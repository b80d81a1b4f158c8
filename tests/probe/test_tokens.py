"""The token axis against nested loops in plain Python: what each row stands for, saved and read."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.errors import UserError
from petriscope.probe.harvest import sample_hidden
from petriscope.probe.tokens import Tokens

WINDOWS = pd.DataFrame(
    {
        "chrom": ["chr1", "chr1", "chr2", "chr2"],
        "start": [0, 4096, 512, 9000],
        "split": ["train", "train", "select", "test"],
        "block": [3, 3, 1, 0],
    },
    index=[10, 11, 12, 13],
)
UNITS, POSITIONS = 3, 5


def grid() -> Tokens:
    return Tokens.grid(WINDOWS, UNITS, POSITIONS, width=128, offset=256)


def ragged() -> Tokens:
    window, unit, position = [2, 0, 0, 3, 3], [1, 0, 2, 0, 0], [0, 0, 7, 1, 2]
    return Tokens.ragged(WINDOWS, UNITS, np.array(window), np.array(unit), np.array(position))


def test_rows_of_a_grid_are_those_of_three_nested_loops() -> None:
    tokens = grid()
    rows = list(product(range(len(WINDOWS)), range(UNITS), range(POSITIONS)))
    assert len(tokens) == len(rows)
    assert list(zip(tokens.window, tokens.unit, tokens.position)) == rows
    assert tokens.block.tolist() == [WINDOWS.block.iloc[w] for w, _, _ in rows]
    assert tokens.split.tolist() == [WINDOWS.split.iloc[w] for w, _, _ in rows]
    assert tokens.per_window().tolist() == [UNITS * POSITIONS] * len(WINDOWS)
    some = np.array([0, 17, 59])
    assert list(zip(*tokens.at(some))) == [rows[row] for row in some]
    assert tokens.row(*tokens.at(some)).tolist() == some.tolist()


def test_starts_are_the_windows_plus_offset_and_width() -> None:
    expected = [
        [start + 256 + 128 * position for position in range(POSITIONS)] for start in WINDOWS.start
    ]
    assert grid().starts().tolist() == expected
    with pytest.raises(UserError, match=r"tokens.width: has no width"):
        Tokens.grid(WINDOWS, UNITS, POSITIONS).starts()


def test_a_ragged_axis_keeps_its_rows_as_given() -> None:
    tokens = ragged()
    assert len(tokens) == 5
    assert tokens.window.tolist() == [2, 0, 0, 3, 3]
    assert tokens.unit.tolist() == [1, 0, 2, 0, 0]
    assert tokens.position.tolist() == [0, 0, 7, 1, 2]
    assert tokens.block.tolist() == [1, 3, 3, 0, 0]
    assert tokens.per_window().tolist() == [2, 0, 1, 2]
    with pytest.raises(UserError, match="tokens: is ragged, not a grid"):
        tokens.shape  # noqa: B018


@pytest.mark.parametrize("tokens", [grid(), ragged()], ids=["grid", "ragged"])
def test_some_windows_keep_their_rows(tokens: Tokens) -> None:
    part = tokens.of_windows([0, 3])
    kept = [row for row in range(len(tokens)) if tokens.window[row] in (0, 3)]
    assert part.windows.block.tolist() == [3, 0]
    assert part.window.tolist() == [[0, 3].index(tokens.window[row]) for row in kept]
    assert part.unit.tolist() == tokens.unit[kept].tolist()
    assert part.position.tolist() == tokens.position[kept].tolist()


@pytest.mark.parametrize("tokens", [grid(), ragged()], ids=["grid", "ragged"])
def test_what_is_saved_is_loaded(tokens: Tokens, tmp_path: Path) -> None:
    tokens.save(tmp_path / "tokens")
    again = Tokens.load(tmp_path / "tokens")
    pd.testing.assert_frame_equal(again.windows, tokens.windows)
    assert (again.units, again.positions, again.width, again.offset) == (
        tokens.units,
        tokens.positions,
        tokens.width,
        tokens.offset,
    )
    for name in ("window", "unit", "position"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tokens, name))


@pytest.mark.parametrize("tokens", [grid(), ragged()], ids=["grid", "ragged"])
def test_rows_of_windows_are_those_that_name_them(tokens: Tokens) -> None:
    for windows in ([2], [0, 3], []):
        rows = [row for row in range(len(tokens)) if tokens.window[row] in windows]
        assert tokens.rows_of(np.array(windows, int)).tolist() == rows
    if tokens.index is None:
        assert tokens.rows_of(np.array([3, 0])).tolist() == [*range(45, 60), *range(15)]


def test_stretches_of_one_window_and_unit() -> None:
    first, size = ragged().runs()
    assert (first.tolist(), size.tolist()) == ([0, 1, 2, 3], [1, 1, 1, 2])
    none = np.zeros(0, int)
    assert [len(part) for part in Tokens.ragged(WINDOWS, 1, none, none, none).runs()] == [0, 0]
    with pytest.raises(UserError, match="is a grid, not ragged"):
        grid().runs()


@pytest.mark.parametrize("tokens", [grid(), ragged()], ids=["grid", "ragged"])
def test_a_sample_of_a_store_is_that_of_its_rows(tokens: Tokens) -> None:
    flat = np.arange(2 * len(tokens), dtype=np.float16).reshape(-1, 2)
    store = flat if tokens.index is not None else flat.reshape(*tokens.shape, 2)
    hidden, unit = sample_hidden(store, tokens, np.array([0, 1, 3]), every=2)
    rows = [row for row in range(len(tokens)) if tokens.window[row] in (0, 3)]
    assert hidden.dtype == np.float32
    assert hidden.tolist() == flat[rows].tolist()
    assert unit.tolist() == tokens.unit[rows].tolist()


def test_what_does_not_fit_is_named() -> None:
    one = np.zeros(2, int)
    for column in ("block", "split"):
        with pytest.raises(UserError, match=f"windows: {column}: column is missing"):
            Tokens.grid(WINDOWS.drop(columns=column), UNITS, POSITIONS)
    with pytest.raises(UserError, match=r"tokens.window: row 1 names window 4, of 4"):
        Tokens.ragged(WINDOWS, UNITS, np.array([0, 4]), one, one)
    with pytest.raises(UserError, match=r"tokens.unit: row 0 names unit -1, of 3"):
        Tokens.ragged(WINDOWS, UNITS, one, np.array([-1, 0]), one)
    with pytest.raises(UserError, match="codes: has 7 rows, the token axis 60 tokens"):
        grid().check_rows(np.zeros(7), "codes")
    with pytest.raises(UserError, match="nowhere: holds no token axis"):
        Tokens.load("nowhere")
