"""Reference: dinucleotide counts by definition, all Eulerian paths of a short word by enumeration,
and the plain inputs; the main pipeline's own harvest, encode and sum; scikit-learn's AUROC; numpy's
correlation."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import BINS, CROP, D, M, design, model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.sae.coder import SAE, encode_rows
from petriscope.sae.codes import sufficient_statistics
from petriscope.sae.config import SAEConfig
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.controls import (
    UNKNOWN,
    VARIANTS,
    Followed,
    InputVariant,
    agreement,
    branch_statistics,
    dinucleotide_shuffle,
    followed,
    followed_auroc,
    swapped_contexts,
    vary,
)
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.units import design_of


def pairs(codes: np.ndarray) -> Counter:
    return Counter(zip(codes[:-1].tolist(), codes[1:].tolist()))


def design_by(vivo: list[bool], lineage: list[int]) -> Design:
    names = [f"s{i}" for i in range(len(vivo))]
    contexts = ["in_vivo" if mine else "in_vitro" for mine in vivo]
    lineages = [("blood", "liver")[number] for number in lineage]
    return design_of(pd.DataFrame({"biosample": names, "lineage": lineages, "context": contexts}))


def plain_inputs(windows: int = 5, biosamples: int = 6) -> WindowInputs:
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 4, (windows, 1024)).astype(np.uint8)
    signal = rng.gamma(1.0, 1.0, (windows, biosamples, 256)).astype(np.float16)
    return WindowInputs(sequence, signal, rng.normal(size=(biosamples, 7)).astype(np.float32), 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=0, max_size=60), st.integers(0, 2**31))
def test_shuffles_keep_every_dinucleotide(letters: list[int], seed: int) -> None:
    codes = np.array(letters, np.uint8)
    shuffled = dinucleotide_shuffle(codes, seed)
    assert shuffled.dtype == codes.dtype
    assert pairs(shuffled) == pairs(codes)
    assert Counter(shuffled.tolist()) == Counter(codes.tolist())
    if len(codes):
        assert (shuffled[0], shuffled[-1]) == (codes[0], codes[-1])


def test_every_arrangement_is_equally_likely() -> None:
    codes = np.array([0, 1, 2, 1, 0, 1, 1, 2, 0], np.uint8)
    wanted = pairs(codes)
    inner = {
        (0, *order, 0)
        for order in permutations(codes[1:-1].tolist())
        if pairs(np.array((0, *order, 0))) == wanted
    }
    drawn = Counter(
        tuple(dinucleotide_shuffle(codes, seed).tolist()) for seed in range(200 * len(inner))
    )
    assert set(drawn) == inner
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_long_sequence_is_rearranged_and_the_seed_decides() -> None:
    codes = np.random.default_rng(1).integers(0, 4, 16_384).astype(np.uint8)
    one, two = dinucleotide_shuffle(codes, 3), dinucleotide_shuffle(codes, 4)
    assert (one != codes).mean() > 0.6
    assert (one != two).mean() > 0.6
    np.testing.assert_array_equal(one, dinucleotide_shuffle(codes, 3))


def test_variants_change_what_they_name_and_nothing_else() -> None:
    plain, layout = plain_inputs(), design_by([False, False, False, True, True, True], [0] * 6)
    chosen = np.array([3, 1])
    for variant in VARIANTS:
        given_ = vary(plain, chosen, variant, layout, seed=5)
        np.testing.assert_array_equal(
            (given_.sequence == plain.sequence[chosen]).all(), variant.dna == "real"
        )
        np.testing.assert_array_equal(
            (given_.signal == plain.signal[chosen]).all(), variant.atac == "real"
        )
        np.testing.assert_array_equal(
            (given_.motif_activity == plain.motif_activity).all(), variant.motif == "real"
        )
        batch = given_.batch(0)
        assert batch.sequence is not None
        if variant.dna == "zero":
            assert (given_.sequence == UNKNOWN).all()
            assert float(batch.sequence.abs().sum()) == 0
        if variant.atac == "zero":
            assert float(batch.atac.abs().sum()) == 0
    shuffled = vary(plain, chosen, InputVariant(dna="shuffled"), layout, seed=5)
    for got, original in zip(shuffled.sequence, plain.sequence[chosen]):
        assert pairs(got) == pairs(original)
    averaged = vary(plain, chosen, InputVariant(motif="averaged"), layout, seed=5)
    np.testing.assert_allclose(
        averaged.motif_activity, np.tile(plain.motif_activity.mean(0), (6, 1))
    )
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) == 8


def test_swapped_rows_are_of_the_other_context_of_the_lineage() -> None:
    layout = design_by([False, True, True, False, False, True, False], [0, 0, 0, 1, 1, 1, 1])
    rows = swapped_contexts(layout)
    assert (layout.stratum_of[rows] == layout.stratum_of).all()
    assert (layout.is_target[rows] != layout.is_target).all()
    alone = design_by([True, True], [0, 0])
    np.testing.assert_array_equal(swapped_contexts(alone), [0, 1])


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UserError, match=r"is 'mirrored'.*Use one of: real, shuffled, zero"):
        vary(
            plain_inputs(),
            np.array([0]),
            InputVariant(dna="mirrored"),
            design_by([False, True], [0, 0]),
            0,
        )


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
