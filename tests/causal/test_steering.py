"""Reference: direct forward passes with h + alpha v, the definition of gap closure, scikit-learn's
discriminant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import BINS, CROP, LINEAGES, M, autoencoder, design, held, model
from concept_erasure import LeaceFitter
from scipy.linalg import sqrtm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from petriscope.causal.directions import (
    UnitMeans,
    leace,
    linear_probe,
    mean_difference,
    of_length,
    random_like,
    sae_additive,
    shuffled_means,
    single_pair,
    unit_means,
)
from petriscope.causal.edits import (
    Pairs,
    Scaling,
    closure_interval,
    gap_closure,
    gaps,
    reconstructed,
    steer_added,
    steer_replaced,
    steer_scaled,
    steering_edit,
    swapped,
    swapped_features,
)
from petriscope.causal.steering import Steering, SteeringPlan, compare_methods
from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.sae.coder import SAE

LAYER = 1
PLAN = SteeringPlan(
    alphas=(0.05, 0.2, 0.4), random_draws=3, published_alphas=(1.5, 2.0), published_betas=(0.5,), published_random=2,
    resamples=200,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy() -> tuple[torch.nn.Module, Pairs, Pairs, SAE, UnitMeans]:
    probed = model()
    tune, test = (
        Pairs(
            *(
                held(probed, LAYER, context=context, seed=seed)
                for context in ("in_vitro", "in_vivo")
            )
        )
        for seed in (5, 9)
    )
    sae = autoencoder(tune.reference)
    learn = Pairs(
        *(held(probed, LAYER, context=context, seed=3) for context in ("in_vitro", "in_vivo"))
    )
    names = design()
    hidden, biosample = [], []
    for s in range(len(names.units)):
        side = learn.target if names.is_target[s] else learn.reference
        rows = (side.labels.stratum == LINEAGES[names.stratum_of[s]]) & (
            side.labels.window % 2 == s % 2
        )
        tokens = side.subset(rows).tokens().numpy()
        hidden.append(tokens)
        biosample.append(np.full(len(tokens), s))
    features = np.stack(
        [sae.encode_dense(torch.from_numpy(part)).mean(0).numpy() for part in hidden]
    )
    means = unit_means(np.concatenate(hidden), features, np.concatenate(biosample), names)
    return probed, tune, test, sae, means


@pytest.fixture(scope="module")
def steering(toy: tuple) -> Steering:
    probed, tune, test, sae, means = toy
    selected = np.argsort(-np.abs(means.difference(means.features, LINEAGES)))[:10]
    return compare_methods(
        probed,
        sae,
        tune=tune,
        test=test,
        means=means,
        selected=selected,
        plan=PLAN,
    )


def test_added_vector_equals_a_direct_forward_pass(toy: tuple) -> None:
    probed, _, test, _, means = toy
    vector = mean_difference(means, ("liver",))
    hidden = test.reference.hidden.clone()
    hidden[:, CROP : CROP + BINS] += torch.from_numpy(1.5 * vector).float()
    with torch.inference_mode():
        expected = probed.run(None, resume=(LAYER, hidden)).prediction[..., 0].numpy()
        edits = {LAYER: steering_edit(vector, 1.5, test.reference.kept)}
        edited = (
            probed.run(None, edits=edits, resume=(LAYER, test.reference.hidden))
            .prediction[..., 0]
            .numpy()
        )
    found = steer_added(probed, test.reference, vector, 1.5)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(edited, expected, atol=1e-6)


def test_alpha_zero_is_bitwise_nothing(toy: tuple) -> None:
    probed, _, test, _, _ = toy
    assert (
        steer_added(probed, test.reference, np.ones(16), 0.0).tobytes()
        == test.reference.prediction.tobytes()
    )
    assert torch.equal(
        steering_edit(np.ones(16), 0.0, test.reference.kept)(test.reference.hidden),
        test.reference.hidden,
    )


def test_published_form_scales_codes_and_injects_the_error(toy: tuple) -> None:
    probed, _, test, sae, _ = toy
    inner = test.reference.hidden[:, CROP : CROP + BINS]
    z = sae.encode_dense(inner)
    z[..., :4] *= 2.0
    z[..., 4:6] *= 0.25
    hidden = test.reference.hidden.clone()
    hidden[:, CROP : CROP + BINS] = sae.decode_dense(z)
    with torch.inference_mode():
        expected = probed.run(None, resume=(LAYER, hidden)).prediction[..., 0].numpy()
    found = steer_scaled(
        probed, sae, test.reference, Scaling(np.arange(4), np.arange(4, 6), 2.0, 0.25)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    hidden[:, CROP : CROP + BINS] = sae.decode_dense(sae.encode_dense(inner))
    with torch.inference_mode():
        expected = probed.run(None, resume=(LAYER, hidden)).prediction[..., 0].numpy()
    np.testing.assert_allclose(reconstructed(probed, sae, test.reference), expected, atol=1e-5)


def test_gap_closure_is_its_definition(toy: tuple) -> None:
    _, _, test, _, _ = toy
    steered = (test.reference.prediction + test.target.prediction) / 2
    found = gaps(steered, test)
    assert gap_closure(found.remaining, found.gap) == pytest.approx(0.5, abs=1e-5)
    assert found.beyond.sum() == 0
    over = gaps(2 * test.target.prediction - test.reference.prediction, test)
    assert gap_closure(over.remaining, over.gap) == pytest.approx(0.0, abs=1e-5)
    assert over.beyond.sum() == pytest.approx(over.gap.sum(), rel=1e-5)
    expected = sum(
        np.abs(
            test.reference.prediction[i][test.reference.read[i]]
            - test.target.prediction[i][test.reference.read[i]]
        ).sum()
        for i in range(len(steered))
    )
    assert found.gap.sum() == pytest.approx(expected, rel=1e-5)


def test_the_swap_closes_the_gap_at_the_last_layer(toy: tuple) -> None:
    probed, _, _, _, _ = toy
    pairs = Pairs(
        *(held(probed, 3, context=context, seed=9) for context in ("in_vitro", "in_vivo"))
    )
    np.testing.assert_allclose(swapped(probed, pairs), pairs.target.prediction, atol=1e-5)


def test_swapping_features_adds_the_difference_of_their_codes(toy: tuple) -> None:
    probed, _, test, sae, _ = toy
    features = np.array([1, 5, 9])
    vitro, vivo = (side.hidden[:, CROP : CROP + BINS] for side in test)
    change = (sae.encode_dense(vivo) - sae.encode_dense(vitro))[..., features] @ sae.directions[
        features
    ]
    hidden = test.reference.hidden.clone()
    hidden[:, CROP : CROP + BINS] += change
    with torch.inference_mode():
        expected = probed.run(None, resume=(LAYER, hidden)).prediction[..., 0].numpy()
    np.testing.assert_allclose(swapped_features(probed, sae, test, features), expected, atol=1e-5)


def test_interval_holds_the_value_and_needs_two_blocks() -> None:
    rng = np.random.default_rng(0)
    gap = rng.gamma(2, 1, 40)
    closed = 0.3 * gap + rng.normal(0, 0.1, 40)
    found = closure_interval(closed, gap, np.arange(40) // 4, resamples=500, seed=0)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(closed.sum() / gap.sum())
    assert np.isnan(closure_interval(closed, gap, np.zeros(40), resamples=10, seed=0).low)
    assert np.isnan(
        closure_interval(closed * 0, gap * 0, np.arange(40), resamples=10, seed=0).value
    )


def test_directions_follow_their_definitions(toy: tuple) -> None:
    *_, sae, means = toy
    expected = means.hidden[2:4].mean(0) - means.hidden[0:2].mean(0)
    np.testing.assert_allclose(mean_difference(means, ("blood",)), expected)
    np.testing.assert_allclose(single_pair(means, ("blood",)), means.hidden[2] - means.hidden[0])
    both = mean_difference(means, ("blood", "liver"))
    np.testing.assert_allclose(both, (expected + mean_difference(means, ("liver",))) / 2)
    change = means.features[2:4].mean(0) - means.features[0:2].mean(0)
    additive = sae_additive(means, sae.directions.numpy(), np.array([3, 7]), ("blood",))
    np.testing.assert_allclose(
        additive, change[3] * sae.directions[3] + change[7] * sae.directions[7], rtol=1e-5
    )
    everything = sae_additive(means, sae.directions.numpy(), np.arange(M), ("blood",))
    assert np.corrcoef(everything, expected)[0, 1] > 0.5


def test_random_directions_keep_the_norm_and_shuffles_lose_the_contrast(toy: tuple) -> None:
    *_, means = toy
    vector = mean_difference(means, LINEAGES)
    drawn = random_like(vector, 50, 0)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), np.linalg.norm(vector))
    assert abs((drawn @ vector).mean()) < 0.5 * np.linalg.norm(vector) ** 2
    shuffled = shuffled_means(means, LINEAGES, 40, 0)
    assert np.linalg.norm(shuffled.mean(0)) < 0.6 * np.linalg.norm(vector)
    np.testing.assert_array_equal(shuffled, shuffled_means(means, LINEAGES, 40, 0))


def test_probe_points_where_scikit_learns_discriminant_does() -> None:
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(16, 16))
    names = design()
    biosample = np.repeat(np.arange(12), 200)
    rows = rng.normal(size=(2400, 16)) @ mixing + names.is_target[biosample][:, None] * rng.normal(
        size=16
    )
    means = unit_means(rows, np.zeros((12, 1)), biosample, names)
    theirs = (
        LinearDiscriminantAnalysis(solver="lsqr").fit(rows, names.is_target[biosample]).coef_[0]
    )
    ours = linear_probe(means, LINEAGES, ridge=1e-6)
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.99
    gap = mean_difference(means, LINEAGES)
    assert ours @ theirs == pytest.approx(gap @ theirs, rel=0.05)


def erasure_data() -> tuple[np.ndarray, np.ndarray, UnitMeans]:
    """One lineage of one biosample a side, where biosample labels are context labels, and
    correlated coordinates."""
    rng = np.random.default_rng(2)
    vivo = np.repeat([False, True], 300)
    rows = rng.normal(size=(600, 12)) @ rng.normal(size=(12, 12)) + vivo[:, None] * rng.normal(
        size=12
    )
    frame = pd.DataFrame({"unit": ["a", "b"], "lineage": "blood", "kind": ["old", "new"]})
    names = Design(frame, condition="kind", target="new", strata="lineage")
    return rows, vivo, unit_means(rows, np.zeros((2, 1)), vivo.astype(int), names)


def test_leace_is_the_theorems_projection_in_whitened_space() -> None:
    rows, vivo, means = erasure_data()
    found = leace(means, ("blood",))
    centered = rows - rows.mean(0)
    whiten = np.linalg.inv(sqrtm(np.cov(rows, rowvar=False, bias=True)).real)
    along = whiten @ (centered.T @ (vivo - vivo.mean()) / len(rows))
    projection = np.linalg.inv(whiten) @ np.outer(along, along) / (along @ along) @ whiten
    expected = rows - centered @ projection.T
    ours = rows - np.outer((rows - found.center) @ found.read, found.write)
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    np.testing.assert_allclose(ours[vivo].mean(0), ours[~vivo].mean(0), atol=1e-9)
    assert found.target == pytest.approx(((rows[vivo] - found.center) @ found.read).mean())
    same = unit_means(rows, np.zeros((2, 1)), np.arange(600) % 2, means.design)
    flat = replace(same, hidden=np.tile(same.hidden.mean(0), (2, 1)))
    with pytest.raises(UserError, match="the conditions have the same mean"):
        leace(flat, ("blood",))


def test_leace_equals_its_authors_library() -> None:
    rows, vivo, means = erasure_data()
    found = leace(means, ("blood",))
    fitter = LeaceFitter.fit(
        torch.from_numpy(rows),
        torch.from_numpy(vivo.astype(np.int64)),
        method="leace",
        shrinkage=False,
    )
    theirs = fitter.eraser(torch.from_numpy(rows)).numpy()
    ours = rows - np.outer((rows - found.center) @ found.read, found.write)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_replaced_tokens_reach_the_in_vivo_coordinate(toy: tuple) -> None:
    probed, _, test, _, means = toy
    found = leace(means, LINEAGES)
    states = test.reference
    tokens = states.tokens().double().numpy()
    moved = tokens + 0.5 * np.outer(
        found.target - (tokens - found.center) @ found.read, found.write
    )
    hidden = states.hidden.clone()
    hidden[:, CROP : CROP + BINS] = torch.from_numpy(moved).float().reshape(len(hidden), BINS, -1)
    expected = probed.run(None, resume=(LAYER, hidden)).prediction[..., 0].detach().numpy()
    np.testing.assert_allclose(
        steer_replaced(probed, states, found, 0.5), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(steer_replaced(probed, states, found, 0.0), states.prediction)
    other = np.eye(len(found.write))[0]
    assert not np.allclose(steer_replaced(probed, states, found, 0.5, other), expected)


def test_directions_are_brought_to_one_length(toy: tuple) -> None:
    *_, means = toy
    vector = mean_difference(means, LINEAGES)
    scaled = of_length(vector, means.spread)
    assert np.linalg.norm(scaled) == pytest.approx(np.sqrt(np.trace(means.covariance)))
    assert scaled @ vector == pytest.approx(np.linalg.norm(scaled) * np.linalg.norm(vector))
    np.testing.assert_array_equal(of_length(np.zeros(3), 2.0), np.zeros(3))


def test_run_tunes_on_tune_and_reads_once_on_test(toy: tuple, steering: Steering) -> None:
    probed, tune, test, _, means = toy
    table = steering.table.set_index(["stratum", "origin", "method"]).sort_index()
    methods = {
        "sae_additive",
        "difference_of_means",
        "single_pair",
        "linear_probe",
        "leace",
        "label_shuffled",
        "published",
    }
    for lineage in LINEAGES:
        for origin in ("own", "others"):
            assert set(table.loc[lineage, origin].index) == methods
        assert table.loc[(lineage, "none", "floor"), "gc"] == 0.0
        assert set(table.loc[lineage, "none"].index) == {
            "floor",
            "reconstruction",
            "swap",
            "feature_swap",
        }
    row = table.loc[("liver", "own", "difference_of_means")]
    grid = steering.grid.query(
        "stratum == 'liver' and origin == 'own' and method == 'difference_of_means'"
    )
    assert row["alpha"] == grid.loc[grid["gc"].idxmax(), "alpha"]
    vector = of_length(mean_difference(means, ("liver",)), means.spread)
    part = test.only("liver")
    expected = gaps(steer_added(probed, part.reference, vector, row["alpha"]), part)
    assert row["gc"] == pytest.approx(gap_closure(expected.remaining, expected.gap), abs=1e-6)
    on_tune = gaps(
        steer_added(probed, tune.only("liver").reference, vector, row["alpha"]), tune.only("liver")
    )
    assert row["tuned_gc"] == pytest.approx(gap_closure(on_tune.remaining, on_tune.gap), abs=1e-6)
    assert row["gc_minus_random"] == pytest.approx(row["gc"] - row["gc_random"])
    assert row["gc_minus_random_low"] <= row["gc_minus_random"] <= row["gc_minus_random_high"]
    assert row["worse"] == pytest.approx((expected.remaining > expected.gap).mean())
    assert row["rows"] == 6
    assert row["at_edge"] == {0.05: "lowest", 0.4: "highest"}.get(row["alpha"], "")
    assert table.loc[("liver", "own", "label_shuffled"), "alpha"] == row["alpha"]


def test_leave_one_lineage_out_never_sees_the_lineage(toy: tuple, steering: Steering) -> None:
    probed, _, test, _, means = toy
    row = steering.table.query(
        "stratum == 'lymph' and origin == 'others' and method == 'difference_of_means'"
    ).iloc[0]
    vector = of_length(mean_difference(means, ("blood", "liver")), means.spread)
    part = test.only("lymph")
    expected = gaps(steer_added(probed, part.reference, vector, row["alpha"]), part)
    assert row["gc"] == pytest.approx(gap_closure(expected.remaining, expected.gap), abs=1e-6)


def test_the_real_direction_beats_chance(steering: Steering) -> None:
    table = steering.table.query("method == 'difference_of_means' and origin == 'own'")
    assert (table["gc"] > table["gc_random"]).all()
    again = steering.table.query("method == 'swap'")
    assert (again["gc"] > 0.5).all()


def test_bad_input_is_refused(toy: tuple) -> None:
    probed, tune, test, sae, means = toy
    crossed = Pairs(
        test.reference, test.target.subset(np.arange(len(test.target.prediction))[::-1])
    )
    with pytest.raises(UserError, match=r"rows differ in window.*same window"):
        compare_methods(
            probed, sae, tune=tune, test=crossed, means=means, selected=np.arange(3), plan=PLAN
        )
    with pytest.raises(UserError, match="no test row belongs to a stratum"):
        compare_methods(
            probed,
            sae,
            tune=tune,
            test=test.only("skin"),
            means=means,
            selected=np.arange(3),
            plan=PLAN,
        )
    with pytest.raises(UserError, match="blood_in_vitro_1 has no token"):
        unit_means(np.ones((3, 2)), np.ones((12, 2)), np.zeros(3, int), design())
