"""The token stream against its definition: each epoch every allowed row exactly once, any batch
reachable directly."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens
from petriscope.sae.loader import TokenSource

W, S, T, D = 9, 2, 5, 3


def numbered() -> np.ndarray:
    """(W, S, T, D) float32 whose first column is the row number."""
    rows = np.zeros((W * S * T, D), np.float32)
    rows[:, 0] = np.arange(len(rows))
    return rows.reshape(W, S, T, D)


def row_numbers(
    source: TokenSource, batch: int, seed: int, count: int, first: int = 0
) -> np.ndarray:
    return np.concatenate(
        [x[:, 0].numpy() for x in islice(source.batches(batch, seed, first), count)]
    ).astype(int)


def test_an_epoch_holds_every_row_of_the_windows_once() -> None:
    windows = np.array([1, 4, 5, 8])
    source = TokenSource.of_windows(numbered(), windows)
    assert source.n_tokens == len(windows) * S * T
    seen = row_numbers(source, 10, 0, 8)
    expected = np.flatnonzero(np.isin(np.arange(W * S * T) // (S * T), windows))
    assert np.array_equal(np.sort(seen[:40]), expected)
    assert np.array_equal(np.sort(seen[40:]), expected)
    assert not np.array_equal(seen[:40], seen[40:])
    assert not np.array_equal(seen[:40], np.sort(seen[:40]))


@pytest.mark.parametrize("batch", [7, 10, 64])
def test_any_step_is_reached_directly(batch: int) -> None:
    source = TokenSource(numbered(), block_rows=4)
    whole = row_numbers(source, batch, 3, 12)
    for first in (1, 5, 11):
        assert np.array_equal(
            row_numbers(source, batch, 3, 12 - first, first), whole[first * batch :]
        )


def test_small_buffers_resume_within_an_epoch() -> None:
    rows = np.zeros((2000, 2), np.float16)
    rows[:, 0] = np.arange(2000)
    source = TokenSource(rows, block_rows=8)
    whole = row_numbers(source, 3, 1, 900)
    assert np.array_equal(np.sort(whole[:2000]), np.arange(2000))
    assert np.array_equal(row_numbers(source, 3, 1, 400, 500), whole[1500:])


def test_seed_changes_the_order_and_repeats() -> None:
    source = TokenSource(numbered())
    assert np.array_equal(row_numbers(source, 9, 5, 6), row_numbers(source, 9, 5, 6))
    assert not np.array_equal(row_numbers(source, 9, 5, 6), row_numbers(source, 9, 6, 6))


def test_mask_leaves_rows_out() -> None:
    keep = np.arange(W * S * T) % 3 != 0
    source = TokenSource(numbered(), keep=keep)
    assert source.n_tokens == keep.sum()
    assert np.array_equal(np.sort(row_numbers(source, int(keep.sum()), 0, 1)), np.flatnonzero(keep))


def test_shards_on_disk_and_travel_to_another_process(tmp_path: Path) -> None:
    flat = numbered().reshape(-1, D)
    np.save(tmp_path / "a.npy", flat[:37].astype(np.float16))
    np.save(tmp_path / "b.npy", flat[37:].astype(np.float16))
    source = TokenSource([tmp_path / "a.npy", tmp_path / "b.npy"], block_rows=6)
    assert np.array_equal(np.sort(row_numbers(source, 90, 0, 1)), np.arange(90))
    sent = pickle.dumps(source)
    assert np.array_equal(row_numbers(pickle.loads(sent), 9, 0, 5), row_numbers(source, 9, 0, 5))


def test_sample_is_of_allowed_rows_and_repeats() -> None:
    source = TokenSource(numbered(), block_rows=5, blocks=[2, 3, 7])
    drawn = source.sample(8, seed=1)
    assert drawn.shape == (8, D)
    assert set(drawn[:, 0].astype(int) // 5) <= {2, 3, 7}
    assert np.array_equal(drawn, source.sample(8, seed=1))
    assert len(source.sample(1000, seed=1)) == 15


def test_unusable_input(tmp_path: Path) -> None:
    rows = numbered().reshape(-1, D)
    with pytest.raises(
        UserError, match=r"sae.batch: is 91, but only 90 training tokens exist. Use a smaller batch"
    ):
        next(TokenSource(rows).batches(91, 0))
    bad = rows.astype(np.float16)
    bad[41, 1] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(UserError, match=r"bad.npy: row 41 holds NaN"):
        row_numbers(TokenSource(tmp_path / "bad.npy", block_rows=10), 90, 0, 1)
    bad[41, 1] = np.inf
    with pytest.raises(UserError, match=r"shard 1: row 41 holds NaN or infinity"):
        row_numbers(TokenSource([rows.astype(np.float16), bad]), 180, 0, 1)
    with pytest.raises(UserError, match=r"does not exist"):
        TokenSource(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(UserError, match=r"text.npy: is no .npy array"):
        TokenSource(tmp_path / "text.npy")
    with pytest.raises(UserError, match=r"has shape \(4,\)"):
        TokenSource(np.zeros(4, np.float32))
    with pytest.raises(UserError, match=r"shards are \[3, 4\] wide"):
        TokenSource([rows, np.zeros((5, 4), np.float32)])
    with pytest.raises(UserError, match=r"blocks: names a block outside"):
        TokenSource(rows, blocks=[99])
    with pytest.raises(UserError, match=r"keep: has 3 rows, the data 90"):
        TokenSource(rows, keep=np.ones(3, bool))
    with pytest.raises(UserError, match=r"no rows are left"):
        TokenSource(rows, keep=np.zeros(90, bool))


def test_large_half_precision_values_are_not_mistaken_for_infinity() -> None:
    rows = np.full((64, 4), 60000, np.float16)
    rows[::2] *= -0.5
    assert next(TokenSource(rows).batches(64, 0)).isfinite().all()


def test_bfloat16_as_numpy_saves_it(tmp_path: Path) -> None:
    exact = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact[7, 3] = -3e38
    np.save(tmp_path / "a.npy", exact.view(torch.int16).numpy().view("V2"))
    source = TokenSource(tmp_path / "a.npy", block_rows=40)
    batch = next(source.batches(40, 0))
    assert torch.equal(batch.sort(dim=0).values, exact.float().sort(dim=0).values)
    assert torch.equal(torch.from_numpy(next(source.in_order(40))), exact.float())
    assert torch.equal(torch.from_numpy(source.sample(40, 0)), exact.float())
    exact[31, 2] = torch.inf
    np.save(tmp_path / "a.npy", exact.view(torch.int16).numpy().view("V2"))
    with pytest.raises(UserError, match=r"a.npy: row 31 holds NaN or infinity"):
        next(source.batches(40, 0))


def test_blocks_of_a_file_are_read_not_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped pages would count as the process's memory; a view of a map is no whole file and is
    copied from the map."""
    rows = numbered().reshape(-1, D)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "columns_first.npy", np.asfortranarray(rows))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    given = [tmp_path / "a.npy", mapped, mapped[10:], tmp_path / "columns_first.npy"]
    read = []
    whole = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: read.append(a[0]) or whole(*a, **k))
    for shard, expected in zip(given, (rows, rows, rows[10:], rows), strict=True):
        assert np.array_equal(next(TokenSource(shard, block_rows=7).in_order(1000)), expected)
    assert set(read) == {tmp_path / "a.npy"}
    assert len(read) == 26


def test_a_file_cut_short_while_training(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbered())
    source = TokenSource(tmp_path / "a.npy")
    with open(tmp_path / "a.npy", "r+b") as file:
        file.truncate(400)
    with pytest.raises(UserError, match=r"a.npy: ended while it was read"):
        next(source.batches(90, 0))


SIZES = np.array([4, 1, 40, 3, 2, 31, 9])


def ragged() -> Tokens:
    splits = ["train", "train", "test", "train", "test", "select", "train"]
    windows = pd.DataFrame({"split": splits, "block": 0})
    window = np.repeat(np.arange(7), SIZES)
    position = np.concatenate([np.arange(size) for size in SIZES])
    return Tokens.ragged(windows, 1, window, np.zeros_like(window), position)


def test_a_split_of_a_ragged_axis_is_read_window_by_window(tmp_path: Path) -> None:
    tokens, rows = ragged(), numbered().reshape(-1, D)
    np.save(tmp_path / "a.npy", rows)
    source = TokenSource.of_split(tmp_path / "a.npy", tokens, "train", "select")
    inside = np.flatnonzero(np.isin(tokens.split, ["train", "select"]))
    assert source.n_tokens == len(inside) == 48
    assert np.array_equal(np.concatenate(list(source.in_order(50)))[:, 0], inside)
    whole = row_numbers(source, 12, 3, 8)
    assert np.array_equal(np.sort(whole[:48]), inside)
    assert np.array_equal(np.sort(whole[48:]), inside)
    assert np.array_equal(row_numbers(source, 12, 3, 3, 5), whole[60:])
    assert set(source.sample(1, seed=0)[:, 0].astype(int)) <= set(inside)
    grid = Tokens.grid(pd.DataFrame({"split": ["train", "test"] * 4 + ["train"], "block": 0}), S, T)
    mine, old = (
        TokenSource.of_split(numbered(), grid, "test"),
        TokenSource.of_windows(numbered(), np.arange(1, 9, 2)),
    )
    assert np.array_equal(row_numbers(mine, 10, 1, 6), row_numbers(old, 10, 1, 6))


def test_a_store_of_another_length_than_its_ragged_axis() -> None:
    with pytest.raises(UserError, match="has 89 rows, its blocks 90"):
        TokenSource.of_split(numbered().reshape(-1, D)[:-1], ragged(), "train")
    with pytest.raises(UserError, match="no rows are left"):
        TokenSource.of_split(numbered().reshape(-1, D), ragged(), "tune")


def test_a_step_of_whole_blocks(tmp_path: Path) -> None:
    tokens, rows = ragged(), numbered().reshape(-1, D)
    source = TokenSource.of_split(rows, tokens, "train")
    windows = [0, 1, 3, 6]
    wanted = {tuple(np.flatnonzero(tokens.window == window)) for window in windows}
    steps = [tuple(x[:, 0].int().tolist()) for x in islice(source.block_batches(1, 5), 12)]
    for epoch in (0, 4, 8):
        assert set(steps[epoch : epoch + 4]) == wanted
    assert len({tuple(steps[at : at + 4]) for at in (0, 4, 8)}) > 1
    later = [tuple(x[:, 0].int().tolist()) for x in islice(source.block_batches(1, 5, 7), 5)]
    assert later == steps[7:]
    pairs = [tuple(x[:, 0].int().tolist()) for x in islice(source.block_batches(2, 5, 1), 5)]
    assert pairs == [steps[at] + steps[at + 1] for at in range(2, 12, 2)]
    kept = TokenSource(rows, block_rows=5, keep=np.arange(90) // 5 == 3)
    assert [len(x) for x in islice(kept.block_batches(1, 0), 3)] == [5, 5, 5]
