"""Harvest against running the model row by row with its own sequence: same hidden states, masked
bins from masked passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.errors import UserError
from petriscope.probe.harvest import harvest, harvest_layers, open_layers
from petriscope.studies.chromatin.inputs import WindowInputs, harvest_window, masking_difference
from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.masking import fold_masks, masked_input

CONFIG = EpiBERTConfig(
    input_length=4096,
    output_length=32,
    final_output_length=28,
    sequence_filters=(8, 8, 8, 8, 8, 16),
    atac_stem_filters=4,
    atac_filters=(4, 8),
    num_motifs=5,
    d_model=16,
    heads=2,
    layers=2,
    random_features=8,
)


WINDOWS = pd.DataFrame({"chrom": "chr1", "start": [0, 4096, 8192], "split": "test", "block": 0})


@pytest.fixture(scope="module")
def setup():
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 5, (3, 4096)).astype(np.uint8)
    signal = rng.gamma(0.3, 20, (3, 4, 1024)).astype(np.float16)
    motif = rng.random((4, 5)).astype(np.float32)
    return (
        EpiBERT(CONFIG).eval(),
        WindowInputs(sequence, signal, motif, crop=2, windows=WINDOWS),
        sequence,
        signal,
        motif,
    )


def _direct(model, sequence, signal, motif, mask):
    atac = torch.from_numpy(masked_input(signal[None], mask[None], 2, None))[..., None]
    batch = Batch(one_hot(sequence[None]), atac, torch.from_numpy(motif[None, None]))
    return model.run(batch, capture=(0, 1, 2)).hidden


@torch.inference_mode()
def test_shared_sequence_harvest_equals_row_by_row(setup):
    model, inputs, sequence, signal, motif = setup
    found = harvest_window(model, inputs, 1, (0, 1, 2))
    for s in range(4):
        expected = _direct(model, sequence[1], signal[1, s], motif[s], np.zeros(28, bool))
        for layer in (0, 1, 2):
            torch.testing.assert_close(
                found[layer][s], expected[layer][0, 2:30], rtol=1e-5, atol=1e-5
            )


@torch.inference_mode()
def test_kfold_takes_every_bin_from_the_pass_that_hid_it(setup):
    model, inputs, sequence, signal, motif = setup
    masks = fold_masks(28, 3)
    found = harvest_window(model, inputs, 0, (2,), masks)[2]
    for mask in masks:
        expected = _direct(model, sequence[0], signal[0, 3], motif[3], mask)[2][0, 2:30]
        torch.testing.assert_close(found[3][mask], expected[mask], rtol=1e-5, atol=1e-5)
    plain = harvest_window(model, inputs, 0, (2,))[2]
    assert not torch.allclose(plain, found)


@torch.inference_mode()
def test_masking_difference_is_a_ratio_of_norms(setup):
    model, inputs, *_ = setup
    visible = harvest_window(model, inputs, 0, (1,))[1].reshape(-1, 16)
    hidden = harvest_window(model, inputs, 0, (1,), fold_masks(28, 3))[1].reshape(-1, 16)
    expected = float((visible - hidden).norm() / (visible - visible.mean(0)).norm())
    assert masking_difference(model, inputs, [0], (1,), 3)[1] == pytest.approx(expected, rel=1e-5)


def test_the_store_is_whole_and_a_value_beyond_float16_is_refused(setup, tmp_path):
    model, inputs, *_ = setup
    harvest_layers(model, inputs, [0, 2], (0, 2), tmp_path)
    stores = open_layers(tmp_path)
    assert list(stores) == [0, 2] and stores[2].shape == (2, 4, 28, 16)
    with torch.inference_mode():
        expected = harvest_window(model, inputs, 2, (2,))[2].numpy()
    np.testing.assert_allclose(stores[2][1], expected, rtol=2e-3, atol=2e-3)
    huge = EpiBERT(CONFIG).eval()
    with torch.no_grad():
        huge.projection.weight.mul_(1e9)
    with pytest.raises(UserError, match=r"layer 0, window 0: a value is NaN or exceeds float16"):
        harvest_layers(huge, inputs, [0], (0,), tmp_path)
    with pytest.raises(UserError, match="holds no activations"):
        open_layers(tmp_path / "none")


def test_the_token_axis_is_the_stores_and_folds_reach_the_public_harvest(setup):
    model, inputs, sequence, signal, motif = setup
    tokens = inputs.tokens
    assert tokens.shape == (3, 4, 28) and len(inputs) == 3
    assert tokens.starts()[1, 0] == 4096 + 2 * 128
    masked = WindowInputs(sequence, signal, motif, 2, WINDOWS, folds=3)
    found = harvest(model, masked, 1, windows=[0, 2])
    with torch.inference_mode():
        expected = harvest_window(model, inputs, 2, (1,), fold_masks(28, 3))[1]
    half = expected.numpy().astype(np.float16).reshape(-1, 16)
    np.testing.assert_array_equal(found.values[4 * 28 :], half)
    plain = harvest(model, inputs, 1, windows=[0, 2])
    assert (plain.values != found.values).any()
    with pytest.raises(UserError, match=r"windows: is not given. Give the table of windows"):
        harvest(model, WindowInputs(sequence, signal, motif, 2), 1)
