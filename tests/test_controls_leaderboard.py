"""Reference: scikit-learn's AUROC on dense codes, direct forward passes, and data where one direction is the context."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import LINEAGES, autoencoder, design, held, model
from sklearn.metrics import roc_auc_score

from petriscope.causal.ablation import ablation_edit
from petriscope.causal.states import predict_edited
from petriscope.causal.steering import Pairs
from petriscope.controls.leaderboard import Contest, Learning, entrants, leaderboard
from petriscope.sae.coder import SAE

LAYER = 1
CONTEST = Contest(k=3, alphas=(0.5, 1.0), random_draws=3, resamples=100)


def learning(pairs: Pairs) -> Learning:
    names = design()
    hidden, biosample = [], []
    for s in range(len(names.biosamples)):
        side = pairs.vivo if names.vivo[s] else pairs.vitro
        rows = (side.labels.lineage == LINEAGES[names.lineage_of[s]]) & (side.labels.window % 2 == s % 2)
        hidden.append(side.subset(rows).tokens().numpy())
        biosample.append(np.full(len(hidden[-1]), s))
    return Learning(np.concatenate(hidden), np.concatenate(biosample), names)


@pytest.fixture(scope="module")
def board() -> tuple[pd.DataFrame, torch.nn.Module, Pairs, SAE]:
    probed = model()
    learn, tune, test = (
        Pairs(*(held(probed, LAYER, context=context, seed=seed) for context in ("in_vitro", "in_vivo")))
        for seed in (3, 5, 9)
    )
    sae = autoencoder(tune.vitro)
    found = learning(learn)
    table = leaderboard(
        probed, entrants(found, {"sae": sae}), found, tune=tune, test=test, contest=CONTEST, show_progress=False
    )
    return table.set_index("entrant"), probed, test, sae


def test_every_entrant_is_read_on_the_same_footing(board: tuple) -> None:
    table, *_ = board
    assert list(table.index) == ["sae", "pca", "raw_neurons", "difference_of_means", "linear_probe"]
    assert table["k"].tolist() == [3, 3, 3, 1, 1]
    assert table.notna().all().all()
    assert ((table["auroc"] >= 0) & (table["auroc"] <= 1)).all()
    for measure in ("effect", "shift", "gc_minus_random"):
        assert (table[f"{measure}_low"] <= table[measure] + 1e-9).all()
        assert (table[measure] <= table[f"{measure}_high"] + 1e-9).all()


def test_the_difference_of_means_tells_contexts_apart_on_held_out_tokens(board: tuple) -> None:
    table, _, test, _ = board
    assert table.loc["difference_of_means", "auroc"] > 0.6
    assert table.loc["difference_of_means", "gc_minus_random"] > 0
    assert len(test.vitro.prediction) == 18


def test_auroc_and_effect_equal_their_definitions(board: tuple) -> None:
    table, probed, test, _ = board
    pairs = Pairs(*(held(probed, LAYER, context=context, seed=3) for context in ("in_vitro", "in_vivo")))
    found = learning(pairs)
    basis = entrants(found, {})["difference_of_means"]
    dense = (torch.cat([test.vitro.tokens(), test.vivo.tokens()]) - basis.centre) @ basis.basis[0]
    label = np.repeat([False, True], len(test.vitro.tokens()))
    positive = roc_auc_score(label, dense.clamp_min(0))
    negative = 1 - roc_auc_score(label, (-dense).clamp_min(0))
    assert table.loc["difference_of_means", "auroc"] == pytest.approx(positive, abs=1e-6) or table.loc[
        "difference_of_means", "auroc"
    ] == pytest.approx(negative, abs=1e-6)
    effects = []
    for latent in (0, 1):
        edited = ablation_edit(basis, np.array([latent]))(test.vitro.tokens())
        change = predict_edited(probed, test.vitro, edited - test.vitro.tokens()) - test.vitro.prediction
        blocks = test.vitro.labels.block
        effects.append(
            np.mean([np.abs(change[blocks == b])[test.vitro.read[blocks == b]].mean() for b in np.unique(blocks)])
        )
    assert min(abs(table.loc["difference_of_means", "effect"] - effect) for effect in effects) < 1e-6
