"""Reference: the counts and formulas of the original's preparation (epibert.md 2.4–2.5); for held-
out accuracy scipy, pandas and one forward pass per fold and biosample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from petriscope.genome.tracks import model_target
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.masking import (
    condition_part,
    evaluate_masked,
    fold_masks,
    masked_accuracy,
    masked_input,
    peak_bins,
    pearson,
    predict_masked,
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


TINY = EpiBERTConfig(
    input_length=32 * 128,
    output_length=32,
    final_output_length=28,
    sequence_filters=(4, 4, 4, 8, 8, 8),
    atac_stem_filters=4,
    atac_filters=(4, 4),
    num_motifs=5,
    motif_units_fc=4,
    d_model=8,
    heads=2,
    layers=1,
    random_features=8,
    final_point_scale=2,
)
CONDITIONS = ("a vitro", "a vitro", "a vivo", "b vivo")


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 5, (3, TINY.input_length)).astype(np.uint8)
    signal = rng.gamma(0.5, 30, (3, 4, TINY.input_length // 4)).astype(np.float16)
    return sequence, signal, rng.random((4, 5)).astype(np.float32)


def test_pearson_is_scipys() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3, 50))
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a.ravel(), b.ravel()).statistic, abs=1e-12)
    assert np.isnan(pearson(np.ones(5), np.arange(5.0)))


def test_pearson_survives_a_large_offset() -> None:
    x = np.random.default_rng(2).normal(size=1000).astype(np.float32)
    assert pearson(x + np.float32(0), (x * 2 + 3).astype(np.float32)) == pytest.approx(
        1.0, abs=1e-6
    )


def test_condition_part_is_the_centered_group_mean_of_pandas() -> None:
    values = np.random.default_rng(3).normal(size=(2, 4, 6))
    got = condition_part(values, CONDITIONS)
    for w in range(2):
        means = pd.DataFrame(values[w]).groupby(list(CONDITIONS), sort=False).mean()
        assert np.allclose(got[w], (means - means.mean()).to_numpy())
    assert np.allclose(got.sum(axis=1), 0)


def test_condition_part_ignores_what_conditions_share() -> None:
    rng = np.random.default_rng(4)
    shared, own = rng.normal(size=(5, 1, 40)) * 10, rng.normal(size=(5, 4, 40))
    exact = masked_accuracy(np.exp(shared + own), np.exp(shared + own), CONDITIONS)
    assert exact.r == exact.r_condition == pytest.approx(1.0)
    blind = masked_accuracy(np.exp(shared + 0 * own), np.exp(shared + own), CONDITIONS)
    assert blind.r_log > 0.9 and (
        np.isnan(blind.r_condition_log) or abs(blind.r_condition_log) < 0.05
    )


def test_predictions_are_those_of_one_forward_pass_each(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    sequence, signal, motif = arrays
    model = EpiBERT(TINY, init_seed=1).eval()
    got = predict_masked(model, sequence, signal, motif, [2, 0], folds=3, rows=5)
    want = np.zeros_like(got)
    with torch.no_grad():
        for place, window in enumerate((2, 0)):
            for s in range(4):
                for mask in fold_masks(28, 3):
                    atac = torch.from_numpy(
                        masked_input(signal[window, s][None], mask[None], 2, None)
                    )[..., None]
                    out = model(
                        one_hot(sequence[window][None]),
                        atac,
                        torch.from_numpy(motif[s])[None, None],
                    )
                    want[place, s, mask] = out[0, :, 0].numpy()[mask]
    assert np.allclose(got, want, rtol=1e-4, atol=1e-5)


def test_hidden_signal_cannot_reach_its_own_prediction(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    sequence, signal, motif = arrays
    model = EpiBERT(TINY, init_seed=1).eval()
    before = predict_masked(model, sequence, signal, motif, [1], folds=3)
    changed = signal.copy()
    block = slice((2 + 12) * 32, (2 + 24) * 32)
    changed[1, 2, block] = 77
    after = predict_masked(model, sequence, changed, motif, [1], folds=3)
    assert (before[0, 2, 12:24] == after[0, 2, 12:24]).all()
    assert not np.allclose(before[0, 2, :12], after[0, 2, :12])
    assert (before[0, [0, 1, 3]] == after[0, [0, 1, 3]]).all()


def test_evaluation_reads_the_unmasked_target_and_keeps_the_mode(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    sequence, signal, motif = arrays
    model = EpiBERT(TINY, init_seed=1).train()
    got = evaluate_masked(model, *arrays, windows=[0, 2], conditions=CONDITIONS, folds=2)
    assert model.training and got.bins == 56 and len(got.per_biosample) == 4
    guess = predict_masked(model, sequence, signal, motif, [0, 2], folds=2)
    truth = np.stack([model_target(signal[w].astype(np.float32), 2) for w in (0, 2)])
    assert got.r == pytest.approx(stats.pearsonr(guess.ravel(), truth.ravel()).statistic, abs=1e-6)
