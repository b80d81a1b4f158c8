"""Reference: the same experiments on the host. Elsewhere numpy cannot read a tensor, and a tensor
of the host mixes with none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import M, autoencoder, design, held, model
from elsewhere import Elsewhere, off_the_host

from petriscope.causal.ablation import AblationArms, compare_arms
from petriscope.causal.directions import unit_means
from petriscope.causal.edits import Pairs, loss_recovered
from petriscope.causal.leaderboard import Contest, Learning, leaderboard, principal_components
from petriscope.causal.single import scaled_feature_effects, single_feature_effects
from petriscope.causal.steering import SteeringPlan, compare_methods
from petriscope.probe.states import States
from petriscope.sae.coder import SAE

LAYER = 1
Toy = tuple[torch.nn.Module, SAE, Pairs, Learning]


@pytest.fixture(scope="module")
def toy() -> Toy:
    probed = model()
    pairs = Pairs(
        *(held(probed, LAYER, context=context, seed=5) for context in ("in_vitro", "in_vivo"))
    )
    names = design()
    parts = [
        (pairs.target if names.is_target[s] else pairs.reference).subset(np.arange(s % 6, 18, 6))
        for s in range(len(names.units))
    ]
    hidden = [part.tokens().numpy() for part in parts]
    unit = np.repeat(np.arange(len(parts)), [len(part) for part in hidden])
    return (
        probed,
        autoencoder(pairs.reference),
        pairs,
        Learning(np.concatenate(hidden), unit, names),
    )


@pytest.fixture
def off_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Elsewhere]]:
    def enter() -> Elsewhere:
        off_the_host(monkeypatch)
        return Elsewhere()

    yield enter
    torch.set_default_device(None)


def fresh(toy: Toy) -> Toy:
    """The dictionary without what it has cached of itself on the host."""
    probed, sae, pairs, learning = toy
    return probed, sae.to("cpu"), pairs, learning


def arms(toy: Toy) -> pd.DataFrame:
    probed, sae, pairs, _ = toy
    found = compare_arms(
        probed,
        sae,
        pairs.reference,
        np.arange(M),
        AblationArms(ks=[2, 5], random_sets=3, direction_draws=2, published_random=2),
        toward=pairs.target.prediction - pairs.reference.prediction,
        components=np.eye(16),
    )
    return found.effects


def single(toy: Toy) -> pd.DataFrame:
    probed, sae, pairs, _ = toy
    features = np.arange(6)
    return single_feature_effects(probed, sae, pairs.reference, features, null_draws=3).merge(
        scaled_feature_effects(probed, sae, pairs.reference, features), on="feature"
    )


def methods(toy: Toy) -> pd.DataFrame:
    probed, sae, pairs, learning = toy
    means = np.random.default_rng(0).gamma(1, 1, (len(learning.design.units), M))
    found = compare_methods(
        probed,
        sae,
        tune=pairs,
        test=pairs,
        means=unit_means(learning.hidden, means, learning.unit, learning.design),
        selected=np.arange(8),
        plan=SteeringPlan(
            alphas=(0.2,), random_draws=2, published_alphas=(2.0,), published_betas=(0.5,),
            published_random=2, resamples=50,
        ),
    )  # fmt: skip
    return found.table


def board(toy: Toy) -> pd.DataFrame:
    probed, sae, pairs, learning = toy
    contest = Contest(k=3, alphas=(0.2,), random_draws=2, resamples=50)
    return leaderboard(probed, {"sae": sae}, learning, tune=pairs, test=pairs, contest=contest)


def recovered(toy: Toy) -> pd.DataFrame:
    probed, sae, pairs, _ = toy
    states: States = pairs.reference
    basis = principal_components(np.random.default_rng(0).normal(size=(50, 16)), 4).to(
        states.hidden.device
    )
    found = [
        loss_recovered(probed, coder, states, pairs.target.prediction, np.ones(16))
        for coder in (sae, basis)
    ]
    return pd.DataFrame(found)


@pytest.mark.parametrize("experiment", [arms, single, methods, board, recovered])
def test_experiments_elsewhere_are_those_of_the_host(
    toy: Toy, off_host: Callable[[], Elsewhere], experiment: Callable[[Toy], pd.DataFrame]
) -> None:
    expected = experiment(toy)
    mine = fresh(toy)
    with off_host() as device:
        found = experiment(mine)
    assert device.used > 0 or experiment is board  # which works in forked processes
    pd.testing.assert_frame_equal(found, expected, rtol=2e-4, atol=2e-6)


def test_what_is_pretended_is_held_to() -> None:
    there = torch.ones(3)
    with Elsewhere():
        here = torch.from_numpy(np.ones(3, np.float32))
        with pytest.raises(AssertionError, match="numpy cannot read"):
            there.numpy()
        with pytest.raises(AssertionError, match="mixes tensors"):
            there + here
        with pytest.raises((RuntimeError, AssertionError)):
            there + torch.zeros(3)
        assert (there + here.to(there.device)).cpu().numpy().sum() == 6
