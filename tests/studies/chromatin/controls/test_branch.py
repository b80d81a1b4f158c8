"""Reference: the main pipeline's own harvest, encode and sum; scikit-learn's AUROC; numpy's
correlation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import BINS, CROP, D, M, design, model
from sklearn.metrics import roc_auc_score

from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.sae.coder import SAE, encode_rows
from petriscope.sae.codes import sufficient_statistics
from petriscope.sae.config import SAEConfig
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.controls.branch import (
    Followed,
    agreement,
    branch_statistics,
    followed,
    followed_auroc,
)
from petriscope.studies.chromatin.inputs import WindowInputs

SAMPLES, WINDOWS = 12, 3


def inputs(folds: int | None = None) -> WindowInputs:
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 4, (WINDOWS + 1, 4096)).astype(np.uint8)
    signal = rng.gamma(0.3, 1.0, (WINDOWS + 1, SAMPLES, 1024)).astype(np.float16)
    motif = rng.normal(size=(SAMPLES, 5)).astype(np.float32)
    windows = pd.DataFrame({"start": 0, "split": "test", "block": range(WINDOWS + 1)})
    return WindowInputs(sequence, signal, motif, CROP, windows, folds)


def autoencoder(seed: int) -> SAE:
    decoder = torch.nn.functional.normalize(
        torch.randn(M, D, generator=torch.Generator().manual_seed(seed)), dim=1
    )
    return SAE(
        SAEConfig(d=D, m=M, k=8), decoder.clone(), torch.zeros(M), decoder, torch.zeros(D), 1.0, 0.5
    )


@pytest.mark.parametrize("folds", [None, 2])
def test_unchanged_inputs_give_the_main_pipelines_sums(tmp_path: Path, folds: int | None) -> None:
    chosen = np.array([2, 0, 3])
    saes = {0: autoencoder(1), 2: autoencoder(2)}
    probed, given = model(), inputs()
    found = branch_statistics(probed, given, chosen, saes, folds=folds)
    harvest_layers(probed, inputs(folds), chosen, list(saes), tmp_path)
    for layer, store in open_layers(tmp_path).items():
        window, biosample, _ = np.indices(store.shape[:3]).reshape(3, -1)
        sizes = {"n_blocks": len(chosen), "n_units": SAMPLES, "m": M}
        wanted = sufficient_statistics(encode_rows(saes[layer], store), window, biosample, **sizes)
        assert wanted.active.sum() > 0
        for name in Moments._fields:
            np.testing.assert_allclose(
                getattr(found[layer], name), getattr(wanted, name), rtol=1e-12, err_msg=name
            )


def test_followed_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    layout = design()
    total = rng.gamma(1.0, 1.0, (WINDOWS, SAMPLES, M)) + 0.3 * layout.is_target[None, :, None]
    tokens = np.full((WINDOWS, SAMPLES), BINS)
    statistics = Moments(total, total**2, (total > 0).astype(np.int64), tokens)
    chosen = Followed(np.array([5, 2, 9]), np.array([1, -1, 1]))
    wanted = []
    for lineage in range(len(layout.strata)):
        rows = layout.stratum_of == lineage
        label = np.tile(layout.is_target[rows], WINDOWS)
        for feature, sign in zip(*chosen):
            wanted.append(roc_auc_score(label, sign * total[:, rows, feature].ravel()))
    assert followed_auroc(statistics, chosen, layout) == pytest.approx(np.mean(wanted), abs=1e-12)


def frame(z: np.ndarray, alive: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": 1,
            "feature": np.arange(len(z)),
            "alive": alive,
            "z": z,
            "context": np.abs(z) > 1,
            "rank": np.argsort(np.argsort(-np.abs(z))) + 1,
            "direction": np.where(z > 0, "in_vivo", "in_vitro"),
        }
    )


def test_followed_takes_the_strongest_context_features_and_their_direction() -> None:
    z = np.array([0.1, -3.0, 2.0, -1.5, 0.2])
    found = followed(frame(z, np.array([True, True, True, True, False])), 2)[1]
    assert found.features.tolist() == [1, 2]
    assert found.sign.tolist() == [-1, 1]
    weak = followed(frame(z / 10, np.ones(5, bool)), 1)[1]
    assert weak.features.tolist() == [1]


def test_agreement_is_the_correlation_over_features_alive_in_both() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=30), rng.normal(size=30)
    alive_a, alive_b = np.arange(30) != 3, np.arange(30) != 4
    table = agreement(frame(b, alive_b), frame(a, alive_a), "z")
    both = alive_a & alive_b
    assert table.z_correlation[0] == pytest.approx(np.corrcoef(a[both], b[both])[0, 1], abs=1e-12)
    assert table.same_sign[0] == pytest.approx((np.sign(a) == np.sign(b))[both].mean())
    assert np.isnan(
        agreement(frame(np.zeros(30), alive_b), frame(a, alive_a), "z").z_correlation[0]
    )
