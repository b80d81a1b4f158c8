"""Statistics, strongest rows, co-activation and histograms against plain dense numpy on the same codes;
codes on disk.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sae.test_coder import D, M, make_sae

from petriscope.errors import UserError
from petriscope.sae import codes as codes_module
from petriscope.sae.coder import encode_rows, encode_stream
from petriscope.sae.codes import (
    Codes,
    activation_histograms,
    coactivation,
    sufficient_statistics,
    top_rows,
    writing_codes,
)

W, S, T, BLOCKS = 12, 3, 31, 4


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(W, S, T, D)) * 4).astype(np.float16)


@pytest.fixture(scope="module")
def codes(rows: np.ndarray) -> Codes:
    return encode_rows(make_sae(), rows)


def cells() -> tuple[np.ndarray, np.ndarray]:
    window, biosample, _ = np.indices((W, S, T)).reshape(3, -1)
    return np.array([0, 0, 1, 1, 1, -1, 3, 3, 3, 3, -1, 0])[window], biosample


def test_streamed_codes_are_the_whole_ones(rows: np.ndarray, codes: Codes) -> None:
    pieces = list(encode_stream(make_sae(), rows, rows_at_once=100))
    assert [start for start, _ in pieces] == list(range(0, W * S * T, 100))
    assert np.array_equal(np.concatenate([piece.dense() for _, piece in pieces]), codes.dense())


@pytest.mark.parametrize("streamed", [False, True])
def test_sufficient_statistics(rows: np.ndarray, codes: Codes, streamed: bool) -> None:
    block, biosample = cells()
    given = encode_stream(make_sae(), rows, rows_at_once=77) if streamed else codes
    found = sufficient_statistics(given, block, biosample, n_blocks=BLOCKS, n_units=S, m=M)
    dense = codes.dense().astype(np.float64)
    for b in range(BLOCKS):
        for s in range(S):
            z = dense[(block == b) & (biosample == s)]
            np.testing.assert_allclose(found.sum[b, s], z.sum(0), rtol=1e-12)
            np.testing.assert_allclose(found.sumsq[b, s], (z**2).sum(0), rtol=1e-12)
            assert np.array_equal(found.active[b, s], (z > 0).sum(0))
            assert found.tokens[b, s] == len(z)
    used = dense[block >= 0]
    np.testing.assert_allclose(found.density(), (used > 0).mean(0))
    assert np.isnan(found.block_means()[2]).all()  # no window lies in block 2
    np.testing.assert_allclose(
        found.block_means()[1, 2], dense[(block == 1) & (biosample == 2)].mean(0)
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_top_rows(rows: np.ndarray, codes: Codes, streamed: bool) -> None:
    _, biosample = cells()
    group = np.where(np.arange(len(biosample)) % 5 == 0, -1, biosample)
    given = encode_stream(make_sae(), rows, rows_at_once=77) if streamed else codes
    found = top_rows(given, group, m=M, n_groups=S, count=4)
    dense = codes.dense()
    for feature in range(M):
        for g in range(S):
            mine = (found.feature == feature) & (found.group == g)
            z = np.where(group == g, dense[:, feature], 0.0)
            order = np.argsort(-z, kind="stable")[:4]
            order = order[z[order] > 0]
            assert np.array_equal(found.row[mine], order)
            assert np.array_equal(found.value[mine], z[order])


def test_bad_rows_are_named(rows: np.ndarray) -> None:
    bad = rows.copy().reshape(-1, D)
    bad[333, 4] = np.inf
    with pytest.raises(UserError, match=r"row 333 holds NaN or infinity"):
        list(encode_stream(make_sae(), bad, rows_at_once=100))
    with pytest.raises(ValueError, match=r"outside 2 blocks"):
        sufficient_statistics(encode_rows(make_sae(), rows), *cells(), n_blocks=2, n_units=S, m=M)


ROWS = 1000


@pytest.fixture(scope="module")
def many_rows() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(ROWS, D)) * 4).astype(np.float16)


@pytest.fixture(scope="module")
def many(many_rows: np.ndarray) -> Codes:
    return encode_rows(make_sae(), many_rows)


@pytest.fixture(params=[1 << 22, 50], ids=["whole", "in pieces"])
def entries_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes_module, "_ENTRIES_AT_ONCE", request.param)


def test_codes_written_in_pieces_come_back(
    tmp_path: Path, many_rows: np.ndarray, many: Codes
) -> None:
    with writing_codes(tmp_path / "layer_1", M) as writer:
        for _, piece in encode_stream(make_sae(), many_rows, rows_at_once=77):
            writer.add(piece)
    back = Codes.load(tmp_path / "layer_1")
    assert isinstance(back.values, np.memmap)
    assert np.array_equal(back.dense(), many.dense())
    np.testing.assert_allclose(
        make_sae().decode(back.rows(5, 20)), make_sae().decode(many.rows(5, 20))
    )
    (tmp_path / "layer_1/values.npy").unlink()
    with pytest.raises(UserError, match=r"layer_1: cannot be read .* Encode this layer again"):
        Codes.load(tmp_path / "layer_1")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, many: Codes) -> None:
    with pytest.raises(KeyboardInterrupt), writing_codes(tmp_path / "layer_1", M) as writer:
        writer.add(many)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("entries_at_once")
def test_coactivation(many: Codes) -> None:
    fired = (many.dense() > 0).astype(int)
    assert np.array_equal(coactivation(many).toarray(), fired.T @ fired)


@pytest.mark.usefixtures("entries_at_once")
def test_histograms(many: Codes) -> None:
    group = np.random.default_rng(1).integers(0, 3, many.n)
    counts, maximum = activation_histograms(many, group, groups=3, bins=8)
    dense = many.dense()
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
