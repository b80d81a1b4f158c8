"""Reference: scikit-learn's AUROC on dense codes, direct forward passes, and data where one
direction is the context."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from causal_toy import LINEAGES, autoencoder, design, held, model
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from petriscope.causal.ablation import ablation_edit
from petriscope.causal.edits import Pairs
from petriscope.causal.leaderboard import (
    Contest,
    Learning,
    block_auroc,
    discriminant,
    entrants,
    leaderboard,
)
from petriscope.probe.states import predict_edited
from petriscope.sae.coder import SAE

LAYER = 1
CONTEST = Contest(k=3, alphas=(0.1, 0.4), random_draws=3, resamples=100)


def learning(pairs: Pairs) -> Learning:
    names = design()
    hidden, biosample = [], []
    for s in range(len(names.units)):
        side = pairs.target if names.is_target[s] else pairs.reference
        rows = (side.labels.stratum == LINEAGES[names.stratum_of[s]]) & (
            side.labels.window % 2 == s % 2
        )
        hidden.append(side.subset(rows).tokens().numpy())
        biosample.append(np.full(len(hidden[-1]), s))
    return Learning(np.concatenate(hidden), np.concatenate(biosample), names)


@pytest.fixture(scope="module")
def board() -> tuple[pd.DataFrame, torch.nn.Module, Pairs, SAE]:
    probed = model()
    learn, tune, test = (
        Pairs(
            *(
                held(probed, LAYER, context=context, seed=seed)
                for context in ("in_vitro", "in_vivo")
            )
        )
        for seed in (3, 5, 9)
    )
    sae = autoencoder(tune.reference)
    found = learning(learn)
    table = leaderboard(probed, {"sae": sae}, found, tune=tune, test=test, contest=CONTEST)
    return table.set_index(["stratum", "entrant"]), probed, test, sae


def test_every_entrant_is_read_on_the_same_footing(board: tuple) -> None:
    table, *_ = board
    names = ["sae", "pca", "raw_neurons", "difference_of_means", "linear_probe"]
    assert list(table.index) == [(lineage, name) for lineage in LINEAGES for name in names]
    assert table.loc["liver", "k"].tolist() == [3, 3, 3, 2, 2]
    assert table.notna().all().all()
    for measure in ("auroc", "effect", "shift", "gc_minus_random"):
        assert (table[f"{measure}_low"] <= table[measure] + 1e-9).all()
        assert (table[measure] <= table[f"{measure}_high"] + 1e-9).all()


def test_the_difference_of_means_tells_contexts_apart_on_held_out_tokens(board: tuple) -> None:
    table, _, test, _ = board
    means = table.xs("difference_of_means", level="entrant")
    assert (means["auroc"] > 0.6).all()
    assert (means["gc_minus_random"] > 0).all()
    assert len(test.reference.prediction) == 18


def test_auroc_and_effect_equal_their_definitions(board: tuple) -> None:
    table, probed, test, _ = board
    pairs = Pairs(
        *(held(probed, LAYER, context=context, seed=3) for context in ("in_vitro", "in_vivo"))
    )
    found = learning(pairs).only("liver")
    assert found.design.units == tuple(n for n in design().units if n.startswith("liver"))
    basis = entrants(found, {})["difference_of_means"]
    part = test.only("liver")
    tokens = torch.cat([part.reference.tokens(), part.target.tokens()])
    along = ((tokens - basis.center) @ basis.basis[0]).numpy()
    label = np.repeat([False, True], len(part.reference.tokens()))
    row = table.loc[("liver", "difference_of_means")]
    assert row["auroc"] == pytest.approx(roc_auc_score(label, along), abs=0.02)
    single = [
        roc_auc_score(label, np.maximum(along, 0)),
        1 - roc_auc_score(label, np.maximum(-along, 0)),
    ]
    assert row["auroc_single"] == pytest.approx(np.mean(single), abs=1e-6)
    edited = ablation_edit(basis, np.array([0, 1]))(part.reference.tokens())
    change = (
        predict_edited(probed, part.reference, edited - part.reference.tokens())
        - part.reference.prediction
    )
    blocks = part.reference.labels.block
    effect = np.mean(
        [
            np.abs(change[blocks == b])[part.reference.read[blocks == b]].mean()
            for b in np.unique(blocks)
        ]
    )
    assert row["effect"] == pytest.approx(effect, abs=1e-6)


def test_block_auroc_is_scikit_learns_and_its_limits_resample_blocks() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(400) < 0.4
    score = np.round(rng.normal(size=400) + positive, 1)
    block = np.repeat(np.arange(8), 50)
    found = block_auroc(score, positive, block, resamples=300, seed=1)
    assert found.value == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert found.low < found.value < found.high
    counts = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=300)
    drawn = [
        roc_auc_score(np.repeat(positive, c := row[block]), np.repeat(score, c))
        for row in counts[:, :]
    ]
    wide = np.quantile(drawn, [0.025, 0.975])
    assert found.low <= wide[0] + 1e-9
    assert found.high >= wide[1] - 1e-9
    assert np.isnan(block_auroc(score, positive, np.zeros(400), resamples=10, seed=1).low)


def test_discriminant_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    vivo = rng.random(500) < 0.5
    rows = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + vivo[:, None] * rng.normal(size=6)
    ours = discriminant(sp.csr_matrix(rows), vivo, ridge=1e-9)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(rows, vivo).coef_[0]
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) == pytest.approx(
        1, abs=1e-6
    )
    assert np.isfinite(discriminant(sp.csr_matrix((500, 2)), vivo)).all()
