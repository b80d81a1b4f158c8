"""Statistics and strongest rows against plain dense numpy on the same codes."""

from __future__ import annotations

import numpy as np
import pytest
from sae.test_coder import D, M, make_sae

from petriscope.errors import UserError
from petriscope.sae.codes import (
    encode_rows,
    encode_stream,
    row_labels,
    sufficient_statistics,
    top_rows,
)
from petriscope.sae.sparse import Codes

W, S, T, BLOCKS = 12, 3, 31, 4


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(W, S, T, D)) * 4).astype(np.float16)


@pytest.fixture(scope="module")
def codes(rows: np.ndarray) -> Codes:
    return encode_rows(make_sae(), rows)


def cells() -> tuple[np.ndarray, np.ndarray]:
    labels = row_labels(W, S, T)
    return np.array([0, 0, 1, 1, 1, -1, 3, 3, 3, 3, -1, 0])[labels.window], labels.biosample


def test_row_labels_follow_the_contract() -> None:
    labels = row_labels(W, S, T)
    row = (7 * S + 2) * T + 11
    assert (labels.window[row], labels.biosample[row], labels.bin[row]) == (7, 2, 11)
    assert len(labels.bin) == W * S * T


def test_streamed_codes_are_the_whole_ones(rows: np.ndarray, codes: Codes) -> None:
    pieces = list(encode_stream(make_sae(), rows, rows_at_once=100))
    assert [start for start, _ in pieces] == list(range(0, W * S * T, 100))
    assert np.array_equal(np.concatenate([piece.dense() for _, piece in pieces]), codes.dense())


@pytest.mark.parametrize("streamed", [False, True])
def test_sufficient_statistics(rows: np.ndarray, codes: Codes, streamed: bool) -> None:
    block, biosample = cells()
    given = encode_stream(make_sae(), rows, rows_at_once=77) if streamed else codes
    found = sufficient_statistics(given, block, biosample, n_blocks=BLOCKS, n_biosamples=S, m=M)
    dense = codes.dense().astype(np.float64)
    for b in range(BLOCKS):
        for s in range(S):
            z = dense[(block == b) & (biosample == s)]
            np.testing.assert_allclose(found.total[b, s], z.sum(0), rtol=1e-12)
            np.testing.assert_allclose(found.squares[b, s], (z**2).sum(0), rtol=1e-12)
            assert np.array_equal(found.active[b, s], (z > 0).sum(0))
            assert found.tokens[b, s] == len(z)
    used = dense[block >= 0]
    np.testing.assert_allclose(found.density(), (used > 0).mean(0))
    assert np.isnan(found.mean()[2]).all()  # no window lies in block 2
    np.testing.assert_allclose(found.mean()[1, 2], dense[(block == 1) & (biosample == 2)].mean(0))


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
        sufficient_statistics(
            encode_rows(make_sae(), rows), *cells(), n_blocks=2, n_biosamples=S, m=M
        )
