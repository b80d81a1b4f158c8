"""Harvest against the model run by hand, window by window; what is saved is what is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_toy import Letters, Reader

from petriscope.errors import UserError
from petriscope.probe.harvest import Hidden, harvest, harvest_layers, open_layers, spread


def by_hand(model: Reader, inputs: Letters, window: int, layer: int) -> np.ndarray:
    with torch.inference_mode():
        hidden = model.run(inputs.batch(window), capture=(layer,)).hidden[layer]
    return hidden[0, : len(inputs.text[window])].numpy().astype(np.float16)


def test_every_window_by_hand_in_the_order_of_the_axis() -> None:
    model, inputs = Reader().eval(), Letters()
    found = harvest(model, inputs, 1)
    expected = np.concatenate([by_hand(model, inputs, window, 1) for window in range(6)])
    np.testing.assert_array_equal(found.values, expected)
    assert found.layer == 1 and len(found) == len(inputs.tokens) and found.d == 8


def test_some_windows_bring_their_own_axis() -> None:
    model, inputs = Reader().eval(), Letters()
    found = harvest(model, inputs, 2, windows=[1, 4])
    assert found.tokens.window.tolist() == [0] * len(inputs.text[1]) + [1] * len(inputs.text[4])
    assert found.tokens.unit.tolist() == [0] * len(inputs.text[1]) + [2] * len(inputs.text[4])
    np.testing.assert_array_equal(found.values[len(inputs.text[1]) :], by_hand(model, inputs, 4, 2))
    few = harvest(model, inputs, 2, windows=2)
    assert few.tokens.windows.block.tolist() == [0, 2]  # the first and the last window
    for windows, message in (([], "names none"), ([6], "names window 6"), ([1, 1], "ascending")):
        with pytest.raises(UserError, match=f"windows: .*{message}"):
            harvest(model, inputs, 2, windows=windows)


def test_layers_in_files_are_the_layers_in_memory(tmp_path: Path) -> None:
    model, inputs = Reader().eval(), Letters()
    harvest_layers(model, inputs, range(6), [0, 2], tmp_path)
    stores = open_layers(tmp_path)
    assert list(stores) == [0, 2]
    for layer, store in stores.items():
        np.testing.assert_array_equal(store, harvest(model, inputs, layer, windows=None).values)


def test_hidden_states_are_saved_with_their_axis(tmp_path: Path) -> None:
    found = harvest(Reader().eval(), Letters(), 1)
    found.save(tmp_path / "hidden")
    again = Hidden.load(tmp_path / "hidden")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.layer == 1 and (again.tokens.window == found.tokens.window).all()
    with pytest.raises(UserError, match="nowhere: holds no hidden states"):
        Hidden.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"hidden states: has 3 rows, the token axis \d+ tokens"):
        Hidden(found.values[:3], found.tokens, 1)


def test_a_model_that_breaks_a_promise_is_not_harvested() -> None:
    with pytest.raises(UserError, match="predicts the same whatever an edit at layer 1 does"):
        harvest(Reader("no effect").eval(), Letters(), 1)
    with pytest.raises(UserError, match="layer 9 does not exist"):
        harvest(Reader().eval(), Letters(), 9)


def test_spread_reaches_both_ends() -> None:
    assert spread(np.arange(10), 3).tolist() == [0, 4, 9]
    assert spread(np.arange(3), 9).tolist() == [0, 1, 2]
