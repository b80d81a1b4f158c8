"""Resampling of dead latents against its published definition (Bricken et al. 2023, "Neuron
Resampling")."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from sae.test_step import random_parameters
from sae.test_train import SHORT, D, run, same

from petriscope.sae.optimizer import DictionaryAdam
from petriscope.sae.resample import resample


def test_dead_latents_become_inputs_of_large_loss() -> None:
    adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
    for moments in (adam.first, adam.second):
        for tensor in moments:
            tensor.fill_(1.0)
    before = [tensor.clone() for tensor in adam.parameters]
    rng = torch.Generator().manual_seed(3)
    centred = torch.randn(500, D, generator=rng)
    residual = torch.full((500, D), 1e-4)
    residual[100:110] = 1.0  # only these rows have a loss worth drawing
    dead = torch.tensor([3, 40, 41])
    resample(adam, dead, centred, residual, (0, 7))
    alive = torch.ones(len(before[0]), dtype=torch.bool)
    alive[dead] = False
    unit = torch.nn.functional.normalize(centred[100:110], dim=1)
    chosen = (adam.parameters.W_dec[dead] @ unit.T).max(1)
    np.testing.assert_allclose(chosen.values, 1.0, rtol=1e-5)
    assert len(set(chosen.indices.tolist())) == 3  # drawn without replacement
    length = before[0][alive].norm(dim=1).mean()
    np.testing.assert_allclose(adam.parameters.W_enc[dead].norm(dim=1), 0.2 * length, rtol=1e-5)
    assert not adam.parameters.b_enc[dead].any()
    for moments in (adam.first, adam.second):
        assert not any(getattr(moments, name)[dead].any() for name in ("W_enc", "W_dec", "b_enc"))
        assert all(
            (getattr(moments, name)[alive] == 1).all() for name in ("W_enc", "W_dec", "b_enc")
        )
    for name, tensor in zip(("W_enc", "b_enc", "W_dec", "b_dec"), before, strict=True):
        kept = slice(None) if name == "b_dec" else alive
        assert torch.equal(getattr(adam.parameters, name)[kept], tensor[kept])


def test_draws_follow_the_squared_loss() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0])  # probabilities 1, 4, 9 of 14
    residual = torch.zeros(3, D)
    residual[:, 0] = losses.sqrt()
    counts = torch.zeros(3)
    for step in range(400):
        adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
        resample(adam, torch.tensor([0]), torch.eye(3, D), residual, (1, step))
        counts += adam.parameters.W_dec[0, :3]
    np.testing.assert_allclose(counts / 400, np.array([1, 4, 9]) / 14, atol=0.08)


def test_nothing_to_do_changes_nothing() -> None:
    adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
    before = [tensor.clone() for tensor in adam.parameters]
    rows = torch.ones(5, D)
    resample(adam, torch.empty(0, dtype=torch.long), rows, rows, (0, 0))
    resample(adam, torch.arange(len(before[0])), rows, rows, (0, 0))
    resample(adam, torch.tensor([1]), rows, torch.zeros(5, D), (0, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, adam.parameters, strict=True))


def test_training_resamples_and_repeats() -> None:
    settings = {"resample_every": 15, "aux_weight": 0.0, "dead_after_tokens": 200, "lr": 2e-2}
    config = dataclasses.replace(SHORT, **settings)
    one, two, never = run(config), run(config), run(dataclasses.replace(config, resample_every=0))
    assert same(one, two)
    assert not torch.equal(one.sae.W_dec, never.sae.W_dec)
