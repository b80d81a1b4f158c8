"""Codes on disk, co-activation and histograms against plain dense numpy (np.histogram) on the same
codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sae.test_coder import D, M, make_sae

from petriscope.errors import UserError
from petriscope.sae import code_store
from petriscope.sae.code_store import activation_histograms, coactivation, load_codes, writing_codes
from petriscope.sae.codes import encode_rows, encode_stream
from petriscope.sae.sparse import Codes

ROWS = 1000


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(ROWS, D)) * 4).astype(np.float16)


@pytest.fixture(scope="module")
def codes(rows: np.ndarray) -> Codes:
    return encode_rows(make_sae(), rows)


@pytest.fixture(params=[1 << 22, 50], ids=["whole", "in pieces"])
def entries_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_store, "_ENTRIES_AT_ONCE", request.param)


def test_codes_written_in_pieces_come_back(tmp_path: Path, rows: np.ndarray, codes: Codes) -> None:
    with writing_codes(tmp_path / "layer_1", M) as writer:
        for _, piece in encode_stream(make_sae(), rows, rows_at_once=77):
            writer.add(piece)
    back = load_codes(tmp_path / "layer_1")
    assert isinstance(back.values, np.memmap)
    assert np.array_equal(back.dense(), codes.dense())
    np.testing.assert_allclose(
        make_sae().decode(back.rows(5, 20)), make_sae().decode(codes.rows(5, 20))
    )
    (tmp_path / "layer_1/values.npy").unlink()
    with pytest.raises(UserError, match=r"layer_1: cannot be read .* Encode this layer again"):
        load_codes(tmp_path / "layer_1")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, codes: Codes) -> None:
    with pytest.raises(KeyboardInterrupt), writing_codes(tmp_path / "layer_1", M) as writer:
        writer.add(codes)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("entries_at_once")
def test_coactivation(codes: Codes) -> None:
    fired = (codes.dense() > 0).astype(int)
    assert np.array_equal(coactivation(codes).toarray(), fired.T @ fired)


@pytest.mark.usefixtures("entries_at_once")
def test_histograms(codes: Codes) -> None:
    group = np.random.default_rng(1).integers(0, 3, codes.n)
    counts, maximum = activation_histograms(codes, group, groups=3, bins=8)
    dense = codes.dense()
    assert np.array_equal(maximum, dense.max(0))
    assert np.array_equal(counts.sum(2), [(dense[group == g] > 0).sum(0) for g in range(3)])
    for feature in np.flatnonzero(maximum > 0):
        for g in range(3):
            z = dense[group == g, feature].astype(float)
            # bins are closed on the right: mirror numpy, whose bins are closed on the left
            expected = np.histogram(
                maximum[feature] - z[z > 0], bins=8, range=(0, maximum[feature])
            )[0][::-1]
            assert np.array_equal(counts[g, feature], expected)
