"""Groups and padding against the cells taken one by one."""

from __future__ import annotations

import numpy as np
import torch
from cells_models_toy import PAD, toy_counts, toy_tokens

from petriscope.studies.cells.model.buckets import MOST_PADDING, buckets, full_groups, padded


def test_a_padded_batch_holds_its_cells() -> None:
    for family, padding in PAD.items():
        tokens = toy_tokens(family, toy_counts(1, 9))
        batch = padded(tokens, np.array([4, 0, 7]), padding)
        assert batch.ids.dtype == torch.int64 and batch.mask.any(0).all()
        for row, cell in enumerate((4, 0, 7)):
            of = slice(*tokens.offsets[cell : cell + 2])
            n = of.stop - of.start
            assert batch.mask[row].tolist() == [True] * n + [False] * (batch.ids.shape[1] - n)
            assert batch.ids[row, :n].tolist() == tokens.ids[of].tolist()
            assert (batch.ids[row, n:] == padding.id).all()
            if padding.value is None:
                assert batch.values is None
            else:
                assert batch.values is not None
                assert batch.values[row, :n].tolist() == tokens.values[of].tolist()
                assert (batch.values[row, n:] == padding.value).all()


def shares(counts: np.ndarray, groups: list[np.ndarray]) -> list[float]:
    return [1 - counts[g].sum() / (len(g) * counts[g].max()) for g in groups]


def test_short_cells_of_one_length_run_without_padding() -> None:
    counts = np.random.default_rng(0).integers(80, 100, 5000)
    groups = buckets(counts, 2048)
    assert sorted(np.concatenate(groups)) == list(range(5000))
    assert np.mean([share == 0 for share in shares(counts, groups)]) > 0.95
    assert max(shares(counts, groups)) < MOST_PADDING
    assert max(len(g) * counts[g].max() for g in groups) <= 2048
    assert len(groups) < 1.1 * counts.sum() / 2048


def test_long_cells_of_many_lengths_are_padded_by_less_than_a_twentieth() -> None:
    counts = np.random.default_rng(0).integers(200, 4096, 700)
    groups = buckets(counts, 16_384)
    assert sorted(np.concatenate(groups)) == list(range(700))
    assert max(shares(counts, groups)) < MOST_PADDING
    assert np.mean([len(g) for g in groups]) > 3
    assert max(len(g) * counts[g].max() for g in groups) <= 16_384


def test_a_cell_too_long_for_a_group_is_one() -> None:
    counts = np.array([5000, 10, 5000, 10])
    groups = buckets(counts, 2048)
    assert sorted(map(tuple, map(sorted, groups))) == [(0,), (1, 3), (2,)]
    assert buckets(counts[:0], 2048) == []


def test_groups_of_a_training_are_full_and_nearly_equal() -> None:
    counts = np.random.default_rng(1).integers(60, 110, 1003)
    groups = full_groups(counts, 32)
    assert sorted(np.concatenate(groups)) == list(range(1003))
    assert sorted(len(g) for g in groups)[1:] == [32] * (len(groups) - 1)
    assert np.mean(shares(counts, groups)) < 0.02
