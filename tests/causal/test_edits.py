"""Reference: whole forward passes with an edit that replaces the stream, and torch's Poisson loss
on the masked bins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from causal_toy import BINS, CROP, D, autoencoder, held, model

from petriscope.causal.edits import loss_recovered, masked_poisson
from petriscope.causal.leaderboard import SignedBasis, raw_neurons
from petriscope.probe.states import States, predict
from petriscope.studies.chromatin.model.pretrain import poisson_loss

LAYER = 1


@pytest.fixture(scope="module")
def toy() -> tuple[torch.nn.Module, States, np.ndarray]:
    probed = model()
    states = held(probed, LAYER, context="in_vitro")
    target = states.prediction * np.random.default_rng(0).gamma(
        8, 1 / 8, states.prediction.shape
    )  # a fair model
    return probed, states, target


def by_definition(
    probed: torch.nn.Module, states: States, target: np.ndarray, inside: torch.Tensor
) -> float:
    """Loss with the predicted tokens' stream replaced, by torch."""
    hidden = states.hidden.clone()
    hidden[:, CROP : CROP + BINS] = inside
    prediction = torch.from_numpy(predict(probed, LAYER, hidden))
    return float(poisson_loss(prediction, torch.from_numpy(target), torch.from_numpy(states.read)))


def test_every_loss_is_that_of_a_whole_pass(toy: tuple) -> None:
    probed, states, target = toy
    sae = autoencoder(states)
    mean = states.tokens().mean(0)
    found = loss_recovered(probed, sae, states, target, mean.numpy())
    reconstruction = torch.from_numpy(sae.decode(sae.encode(states.tokens()))).view(-1, BINS, D)
    expected = [
        by_definition(probed, states, target, inside)
        for inside in (states.hidden[:, CROP : CROP + BINS], reconstruction, torch.zeros(D), mean)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.over_zero == pytest.approx(
        (expected[2] - expected[1]) / (expected[2] - expected[0]), rel=1e-3
    )
    assert found.over_mean == pytest.approx(
        (expected[3] - expected[1]) / (expected[3] - expected[0]), rel=1e-3
    )


def test_the_ends_of_the_scale(toy: tuple) -> None:
    probed, states, target = toy
    mean = states.tokens().mean(0).numpy()
    perfect = loss_recovered(probed, raw_neurons(states.tokens().numpy()), states, target, mean)
    assert perfect.over_zero == pytest.approx(1.0, abs=1e-4)
    assert perfect.over_mean == pytest.approx(1.0, abs=1e-4)
    nothing = SignedBasis(torch.zeros(1, D), torch.from_numpy(mean))
    assert loss_recovered(probed, nothing, states, target, mean).over_mean == pytest.approx(
        0.0, abs=1e-4
    )
    harmless = loss_recovered(probed, nothing, states, np.zeros_like(target), np.zeros(D))
    assert harmless.zero == harmless.mean


def test_a_negative_prediction_has_a_finite_loss() -> None:
    prediction, read = np.array([[-0.5, 2.0]]), np.array([[True, True]])
    expected = (0 - 1.0 * np.log(1e-7) + 2.0 - 3.0 * np.log(2.0 + 1e-7)) / 2
    assert masked_poisson(prediction, np.array([[1.0, 3.0]]), read) == pytest.approx(expected)
