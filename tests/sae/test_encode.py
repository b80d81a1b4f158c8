"""A layer encoded in several passes over windows against dense numpy on all tokens at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sae.test_coder import D, M, make_sae

from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens
from petriscope.sae import encode
from petriscope.sae.encode import EncodedLayer

W, S, T = 7, 3, 11
BLOCK = np.array([2, 0, 0, 1, 2, 2, 1])
TOKENS = Tokens.grid(pd.DataFrame({"block": BLOCK, "split": "train"}), S, T)
STORE = (np.random.default_rng(0).normal(size=(W, S, T, D)) * 4).astype(np.float16)


@pytest.mark.parametrize("rows_at_once", [2 * S * T, 10_000])
def test_everything_is_that_of_dense_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(encode, "ROWS_AT_ONCE", rows_at_once)
    found = EncodedLayer.write(tmp_path / "l", make_sae(), STORE, TOKENS, 2)
    dense = make_sae().encode(STORE.reshape(-1, D)).dense()
    assert np.array_equal(found.codes().dense(), dense)
    z = dense.reshape(W, S, T, M).astype(np.float64)
    np.testing.assert_allclose(found.window_sums(), z.sum(2), rtol=1e-6)
    moments = found.moments()
    for block in range(3):
        mine = z[block == BLOCK]
        np.testing.assert_allclose(moments.sum[block], mine.sum((0, 2)), rtol=1e-9)
        np.testing.assert_allclose(moments.sumsq[block], (mine**2).sum((0, 2)), rtol=1e-9)
        assert np.array_equal(moments.active[block], (mine > 0).sum((0, 2)))
        assert (moments.tokens[block] == mine.shape[0] * T).all()
    top = found.top()
    assert list(top.columns) == ["feature", "unit", "window", "position", "activation"]
    for row in top.itertuples():
        assert row.activation == np.float32(z[row.window, row.unit, row.position, row.feature])
    counts = np.load(tmp_path / "l/histogram_counts.npy")
    assert np.array_equal(counts.sum(2), (z > 0).sum((0, 2)))
    fires = (z > 0).reshape(-1, M).astype(int)
    assert np.array_equal(found.coactivation().toarray(), fires.T @ fires)
    split = found.of_split(TOKENS, *TOKENS.windows.split.unique()[:1])
    rows = TOKENS.windows_of(TOKENS.windows.split.iloc[0])
    np.testing.assert_allclose(split.window_means, z[rows].mean(2), rtol=1e-6)
    inside = np.unique(BLOCK[rows])
    np.testing.assert_allclose(split.moments.sum, [z[b == BLOCK].sum((0, 2)) for b in inside])


def test_a_store_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"activations: has shape \(6, 3, 11\), the token axis"):
        EncodedLayer.write(tmp_path / "l", make_sae(), STORE[:6], TOKENS, 2)


def ragged() -> Tokens:
    """Seven windows of 1 to 9 tokens, the first four of unit 0, the others of unit 1."""
    sizes = np.array([4, 1, 9, 3, 2, 6, 5])
    window = np.repeat(np.arange(W), sizes)
    position = np.concatenate([np.arange(size) for size in sizes])
    windows = pd.DataFrame({"block": BLOCK, "split": ["train"] * 4 + ["select"] * 3})
    return Tokens.ragged(windows, 2, window, (window > 3).astype(int), position)


@pytest.mark.parametrize("rows_at_once", [7, 10_000])
def test_a_ragged_axis_keeps_codes_tokens_histograms_and_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(encode, "ROWS_AT_ONCE", rows_at_once)
    tokens, store = ragged(), STORE.reshape(-1, D)[:30]
    found = EncodedLayer.write(tmp_path / "l", make_sae(), store, tokens, 2)
    z = make_sae().encode(store).dense()
    assert np.array_equal(found.codes().dense(), z)
    index = tokens.index
    assert index is not None
    for feature, of in found.top().groupby("feature"):
        for unit, mine in of.groupby("unit"):
            column = np.where(tokens.unit == unit, z[:, feature], 0)
            rows = np.argsort(-column, kind="stable")[: min(2, (column > 0).sum())]
            assert np.array_equal(mine[["window", "unit", "position"]], index[rows])
            assert np.array_equal(mine.activation, column[rows])
    counts, maximum = found.histograms()
    for unit in (0, 1):
        assert np.array_equal(counts[unit].sum(1), (z[tokens.unit == unit] > 0).sum(0))
    assert np.array_equal(maximum, z.max(0))
    fires = (z > 0).astype(int)
    assert np.array_equal(found.coactivation().toarray(), fires.T @ fires)


def test_sums_of_a_ragged_axis_are_refused_by_name(tmp_path: Path) -> None:
    tokens = ragged()
    found = EncodedLayer.write(tmp_path / "l", make_sae(), STORE.reshape(-1, D)[:30], tokens, 2)
    for asked, name in ((found.moments, "block_sum"), (found.window_sums, "window_sum")):
        with pytest.raises(UserError, match=rf"{name}.npy: is not kept for a ragged token axis"):
            asked()
    with pytest.raises(UserError, match="ragged"):
        found.of_split(tokens, "train")
    with pytest.raises(UserError, match=r"activations: has shape \(29,\), the token axis \(30,\)"):
        EncodedLayer.write(tmp_path / "m", make_sae(), STORE.reshape(-1, D)[:29], tokens, 2)
