"""The text encoder of examples/: the public verbs on a model that has nothing of chromatin.

References: transformers' own `output_hidden_states`, and dense codes averaged by document.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import petriscope as ps
from petriscope.probe.model import check_probe
from petriscope.sae.judge import quality

SCRIPT = Path(__file__).resolve().parents[2] / "examples/text_encoder.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The script's own names after it has run."""
    pytest.importorskip("transformers", reason="the extra `docs` is not installed")
    return runpy.run_path(str(SCRIPT))


def test_it_is_under_sixty_lines() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 60


def test_the_stream_is_transformers_own(example: dict[str, Any]) -> None:
    model, inputs, hidden = example["model"], example["inputs"], example["hidden"]
    check_probe(model, inputs)
    for window in (0, 21):
        with torch.inference_mode():
            expected = model.bert(inputs.batch(window), output_hidden_states=True).hidden_states[2]
        found = hidden.values[hidden.tokens.window == window]
        np.testing.assert_array_equal(found, expected[0].numpy().astype(np.float16))


def test_units_are_documents_of_two_kinds(example: dict[str, Any]) -> None:
    tokens = example["codes"].tokens
    assert tokens is example["hidden"].tokens and example["codes"].layer == 2
    assert set(np.unique(tokens.unit)) == set(range(16))
    lengths = tokens.per_window().reshape(16, 20)
    assert (lengths[1::2] == 6).all() and (lengths[::2] == 5).all()


def test_latents_tell_questions_from_statements(example: dict[str, Any]) -> None:
    hidden, codes = example["hidden"], example["codes"]
    held_out = hidden.values[hidden.tokens.split == "test"]
    assert quality(example["sae"], held_out).fvu < 0.2
    by_document = np.stack([codes.dense()[codes.tokens.unit == d].mean(0) for d in range(16)])
    gap = np.abs(by_document[1::2].mean(0) - by_document[::2].mean(0))
    spread = (by_document[1::2].std(0) + by_document[::2].std(0)) / 2 + 1e-6
    assert (gap / spread).max() > 5
    score = example["score"]
    assert score.untestable is None
    table = score.table().set_index("feature")
    expected = by_document[1::2].mean(0) - by_document[::2].mean(0)
    alive = table.index[table.alive]
    np.testing.assert_allclose(table.estimate[alive], expected[alive], rtol=1e-4, atol=1e-6)
    assert (table.q[score.top(5)] < 0.01).all()


def test_cutting_moves_the_readout_and_steering_closes_part_of_the_gap(
    example: dict[str, Any],
) -> None:
    """The mean change is recomputed with transformers' blocks alone, for one window."""
    model, inputs, sae, cut = (example[name] for name in ("model", "inputs", "sae", "cut"))
    assert cut.effect().value > 0
    features = example["score"].top(5)
    window = int(np.flatnonzero(inputs.tokens.windows.split == "test")[0])
    with torch.inference_mode():
        states = model.bert(inputs.batch(window), output_hidden_states=True).hidden_states
        codes = torch.from_numpy(sae.encode(states[2][0]).dense())
        removed = codes[:, features.copy()] @ sae.directions[features.copy()]
        moved = model.bert.encoder.layer[2](states[2] - removed)
        expected = float((moved - states[3]).mean(1).abs().mean())
    alone = ps.ablate(model, inputs, sae, features, layer=2, windows=[window])
    assert alone.effect().value == pytest.approx(expected, rel=1e-3)
    closed = example["moved"].gap_closed()
    assert closed.minus_random.low > 0 and 0 < closed.closed.value < 1
