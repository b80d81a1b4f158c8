"""Masks and masked inputs against the counts and formulas of the original's preparation (epibert.md
2.4–2.5)."""

from __future__ import annotations

import numpy as np
import pytest

from petriscope.studies.chromatin.model.masking import (
    fold_masks,
    masked_input,
    peak_bins,
    random_masks,
)


def runs(row: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def test_blocks_of_twelve_at_the_mixed_rate() -> None:
    mask = random_masks(np.random.default_rng(0), np.zeros((4000, 4092), bool))
    for row in mask[:50]:
        assert all(a % 12 == 0 and b % 12 == 0 for a, b in runs(row))
    rates = mask[:, ::12].mean(axis=1)
    assert mask.mean() == pytest.approx(0.15 * 14 / 15 + 0.45 / 15, abs=0.005)
    assert (rates > 0.3).mean() == pytest.approx(1 / 15, abs=0.012)
    assert mask[rates < 0.3].mean() == pytest.approx(0.15, abs=0.002)


def test_one_peak_of_thirteen_bins() -> None:
    peaks = np.zeros((3000, 124), bool)
    peaks[:, [20, 60, 61, 3]] = True
    mask = random_masks(np.random.default_rng(1), peaks)
    chosen = []
    for row in mask:
        whole = [c for c in (3, 20, 60, 61) if row[max(0, c - 6) : c + 7].all()]
        assert whole, "no peak is hidden"
        odd = [(a, b) for a, b in runs(row) if a % 12 or (b % 12 and b != 124)]
        if len(odd) == 1 and odd[0][1] - odd[0][0] == 13:
            chosen.append((odd[0][0] + odd[0][1]) // 2)
    assert set(chosen) == {20, 60, 61}
    counts = np.array([chosen.count(c) for c in (60, 61)])
    assert abs(counts[0] - counts[1]) < 5 * np.sqrt(counts.sum())


def test_row_without_peak_hides_no_peak() -> None:
    mask = random_masks(np.random.default_rng(2), np.zeros((500, 124), bool))
    assert (~mask.any(axis=1)).any()


def test_same_seed_same_mask() -> None:
    peaks = np.ones((5, 124), bool)
    assert (
        random_masks(np.random.default_rng(3), peaks)
        == random_masks(np.random.default_rng(3), peaks)
    ).all()


@pytest.mark.parametrize(("bins", "folds"), [(124, 6), (124, 4), (4092, 6), (60, 2)])
def test_folds_hide_every_bin_once(bins: int, folds: int) -> None:
    masks = fold_masks(bins, folds)
    assert (masks.sum(axis=0) == 1).all()
    for row in masks:
        assert all(a % 12 == 0 and (b % 12 == 0 or b == bins) for a, b in runs(row))


def test_hidden_bins_are_exactly_zero_and_the_rest_is_clipped() -> None:
    rng = np.random.default_rng(4)
    signal = rng.gamma(0.5, 200, (3, 16 * 32)).astype(np.float16)
    mask = rng.random((3, 12)) < 0.4
    got = masked_input(signal, mask, 2, None)
    x = signal.astype(np.float64)
    want = np.minimum(x, 150) + np.sqrt(np.maximum(x - 150, 0))
    for row in range(3):
        for token in range(16):
            piece = slice(token * 32, token * 32 + 32)
            if 2 <= token < 14 and mask[row, token - 2]:
                assert (got[row, piece] == 0).all()
            else:
                assert np.allclose(got[row, piece], want[row, piece], rtol=1e-5)
    assert got.dtype == np.float32


def test_noise_is_small_positive_and_never_in_hidden_bins() -> None:
    mask = np.zeros((2, 12), bool)
    mask[:, 3] = True
    got = masked_input(np.zeros((2, 16 * 32), np.float16), mask, 2, np.random.default_rng(5))
    hidden = np.zeros(16 * 32, bool)
    hidden[5 * 32 : 6 * 32] = True
    assert (got[:, hidden] == 0).all() and (got[:, ~hidden] > 0).all()
    assert got[:, ~hidden].mean() == pytest.approx(
        1.17e-4, rel=0.1
    )  # folded normal, mean and sd 1e-4


def test_peak_bins_are_isolated_maxima() -> None:
    target = np.ones((1, 50))
    target[0, [10, 11, 30]] = [50, 60, 70]
    assert np.flatnonzero(peak_bins(target)[0]).tolist() == [11, 30]
    assert not peak_bins(np.ones((2, 9))).any()
