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
