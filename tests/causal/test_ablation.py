"""Reference: direct forward passes of the model with one edit, set by set, and scipy's paired t
test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import BINS, CROP, M, autoencoder, held, model
from scipy import stats

from petriscope import parallel
from petriscope.causal.ablation import (
    Ablation,
    AblationArms,
    ablation_edit,
    against_random,
    against_random_by_stratum,
    compare_arms,
    curves,
    dose_response,
    published_arms,
    published_effect,
)
from petriscope.causal.directions import random_like
from petriscope.causal.edits import as_matrix, firing, matched_sets, usable_ks
from petriscope.causal.leaderboard import (
    condition_order,
    principal_components,
    raw_neurons,
    single_direction,
)
from petriscope.causal.single import scaled_feature_effects, single_feature_effects
from petriscope.errors import UserError
from petriscope.probe.states import States, gather, predict, predict_edited
from petriscope.sae.coder import SAE

LAYER = 1


@pytest.fixture(scope="module")
def toy() -> tuple[torch.nn.Module, States, SAE]:
    probed = model()
    states = held(probed, LAYER, context="in_vitro")
    return probed, states, autoencoder(states)


@pytest.fixture(scope="module")
def ablation(toy: tuple) -> Ablation:
    probed, states, sae = toy
    toward = held(probed, LAYER, context="in_vivo").prediction - states.prediction
    components = principal_components(states.tokens().numpy()).basis.numpy()
    arms = AblationArms(
        ks=[2, 5, 10, 500], random_sets=12, direction_draws=3, published_random=2, seed=0
    )
    ranking = np.random.default_rng(0).permutation(M)
    return compare_arms(
        probed, sae, states, ranking, arms, toward=toward, components=components
    )  # fmt: skip


def inner(states: States) -> torch.Tensor:
    return states.hidden[:, CROP : CROP + BINS]


def direct(probed: torch.nn.Module, states: States, replaced: torch.Tensor) -> np.ndarray:
    """Forward pass with the predicted tokens replaced by ``replaced`` (N, T', d)."""

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        edited = hidden.clone()
        edited[:, CROP : CROP + BINS] = replaced
        return edited

    with torch.inference_mode():
        return (
            probed.run(None, edits={LAYER: edit}, resume=(LAYER, states.hidden))
            .prediction[..., 0]
            .numpy()
        )


def test_resuming_equals_the_full_forward_pass(toy: tuple) -> None:
    probed, states, _ = toy
    np.testing.assert_allclose(
        predict(probed, LAYER, states.hidden, 5), states.prediction, rtol=1e-5, atol=1e-6
    )


def test_every_set_equals_a_direct_forward_pass(toy: tuple, ablation: Ablation) -> None:
    probed, states, sae = toy
    z = sae.encode_dense(inner(states))
    for _, row in ablation.sets[ablation.sets["k"] == 5].iterrows():
        kept = z.clone()
        kept[..., [int(f) for f in row["features"].split()]] = 0
        replaced = sae.decode_dense(kept)
        if not row["arm"].startswith("published"):
            replaced = replaced + inner(states) - sae.decode_dense(z)
        change = np.abs(direct(probed, states, replaced) - states.prediction)
        found = ablation.effects.query("arm == @row.arm and k == 5 and draw == @row.draw")
        for block, value in zip(found["block"], found["effect"]):
            rows = states.labels.block == block
            expected = change[rows][states.read[rows]].mean()
            assert value == pytest.approx(expected, abs=1e-6, rel=1e-4), (row["arm"], row["draw"])


def test_processes_do_not_change_a_bit(
    monkeypatch: pytest.MonkeyPatch, toy: tuple, ablation: Ablation
) -> None:
    probed, states, sae = toy
    toward = held(probed, LAYER, context="in_vivo").prediction - states.prediction
    components = principal_components(states.tokens().numpy()).basis.numpy()
    arms = AblationArms(
        ks=[2, 5, 10, 500], random_sets=12, direction_draws=3, published_random=2, seed=0
    )
    ranking = np.random.default_rng(0).permutation(M)
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: set(range(3)))
    again = compare_arms(
        probed, sae, states, ranking, arms, toward=toward, components=components
    )  # fmt: skip
    pd.testing.assert_frame_equal(again.effects, ablation.effects, check_exact=True)
    pd.testing.assert_frame_equal(again.strata, ablation.strata, check_exact=True)
    pd.testing.assert_frame_equal(again.sets, ablation.sets)


def test_a_stratum_is_read_on_its_own_rows(toy: tuple, ablation: Ablation) -> None:
    probed, states, sae = toy
    features = np.array(
        ablation.sets.query("arm == 'cds' and k == 5")["features"].iloc[0].split(), np.int64
    )
    change = np.abs(
        direct(probed, states, ablation_edit(sae, features)(inner(states))) - states.prediction
    )
    found = (
        ablation.only("liver").effects.query("arm == 'cds' and k == 5").set_index("block")["effect"]
    )
    for block in np.unique(states.labels.block):
        rows = (states.labels.block == block) & (states.labels.stratum == "liver")
        assert found[block] == pytest.approx(change[rows][states.read[rows]].mean(), abs=1e-6)
    table = against_random_by_stratum(ablation, ["liver", "lymph", "skin"])
    assert table["stratum"].unique().tolist() == ["liver", "lymph"]
    row = table.query("stratum == 'liver' and arm == 'cds' and k == 5").iloc[0]
    assert row["value"] == pytest.approx(found.mean())


def test_shift_is_signed_toward_the_other_context(toy: tuple, ablation: Ablation) -> None:
    probed, states, sae = toy
    other = held(probed, LAYER, context="in_vivo").prediction
    features = [
        int(f) for f in ablation.sets.query("arm == 'cds' and k == 10")["features"].iloc[0].split()
    ]
    change = (
        direct(probed, states, ablation_edit(sae, np.array(features))(inner(states)))
        - states.prediction
    )
    signed = change * np.sign(other - states.prediction)
    found = ablation.effects.query("arm == 'cds' and k == 10 and block == 0")["shift"].iloc[0]
    rows = states.labels.block == 0
    assert found == pytest.approx(signed[rows][states.read[rows]].mean(), abs=1e-6)


def test_nothing_ablated_is_bitwise_nothing(toy: tuple) -> None:
    probed, states, sae = toy
    codes = as_matrix(sae.encode(states.tokens()), M)
    silent = np.flatnonzero(np.bincount(codes.indices, minlength=M) == 0)
    for features in (np.zeros(0, int), silent):
        edited = ablation_edit(sae, features)(states.hidden)
        assert torch.equal(edited, states.hidden)
    nothing = torch.zeros_like(states.tokens())
    assert predict_edited(probed, states, nothing).tobytes() == states.prediction.tobytes()
    one_row = nothing.reshape(len(states.prediction), BINS, -1).clone()
    one_row[3, 4, 0] = 3.0
    prediction = predict_edited(probed, states, one_row.reshape(nothing.shape))
    unchanged = np.arange(len(prediction)) != 3
    assert prediction[unchanged].tobytes() == states.prediction[unchanged].tobytes()
    assert not np.allclose(prediction[3], states.prediction[3])


def test_tokens_where_no_ablated_feature_fires_stay_bit_for_bit(toy: tuple) -> None:
    _, states, sae = toy
    feature = int(
        np.argmax(firing(as_matrix(sae.encode(states.tokens()), M), sae.directions.numpy()).rate)
    )
    z = sae.encode_dense(states.tokens())[:, feature]
    edited = ablation_edit(sae, np.array([feature]))(states.tokens())
    assert torch.equal(edited[z == 0], states.tokens()[z == 0])
    expected = states.tokens()[z > 0] - z[z > 0, None] * sae.directions[feature]
    torch.testing.assert_close(edited[z > 0], expected)


def test_controls_have_the_norm_of_the_edit(ablation: Ablation) -> None:
    mean = ablation.effects.groupby(["arm", "k"])["edit"].mean()
    for k in (2, 5, 10):
        for arm in ("random_direction", "pca"):
            assert mean[arm, k] == pytest.approx(mean["cds", k], rel=1e-4)


def test_every_arm_runs_at_every_k_capped_at_the_alive_features(ablation: Ablation) -> None:
    ks = sorted(ablation.effects.loc[ablation.effects["k"] > 0, "k"].unique())
    assert ks == [2, 5, 10, ablation.alive // 2]
    draws = ablation.effects.groupby(["arm", "k"])["draw"].nunique()
    for k in ks:
        assert draws["random", k] == 12
        assert draws["random_direction", k] == 3
        assert draws["published_random", k] == 2
        for arm in ("cds", "top_activation", "pca", "published"):
            assert draws[arm, k] == 1
    assert draws["reconstruction", 0] == 1


def test_matched_sets_match_and_avoid_the_target(toy: tuple) -> None:
    rng = np.random.default_rng(1)
    m = 400
    rate = rng.lognormal(-4, 1.0, m).clip(0, 1)
    stats_ = firing(
        as_matrix(toy[2].encode(toy[1].tokens()), M), toy[2].directions.numpy()
    )._replace(rate=rate, weight=rate * rng.lognormal(0, 0.3, m))
    target = np.argsort(-rate)[30:50]
    sets = matched_sets(target, stats_, 50, 0)
    assert sets.shape == (50, 20)
    assert not np.isin(sets, target).any()
    assert all(len(set(row)) == 20 for row in sets)
    chosen = np.log(rate[sets]).mean(1)
    assert abs(chosen.mean() - np.log(rate[target]).mean()) < 0.25
    assert abs(np.log(rate).mean() - np.log(rate[target]).mean()) > 1
    assert len({tuple(sorted(row)) for row in sets}) == 50
    np.testing.assert_array_equal(sets, matched_sets(target, stats_, 50, 0))
    giant = stats_._replace(
        weight=np.where(np.arange(m) == np.setdiff1d(np.arange(m), target)[0], 1e3, stats_.weight)
    )
    assert not (matched_sets(target, giant, 50, 0) == np.setdiff1d(np.arange(m), target)[0]).any()
    with pytest.raises(
        UserError, match=r"390 features are to be matched but only 10 other.*smaller k"
    ):
        matched_sets(np.arange(390), stats_, 3, 0)


def test_ks_are_capped_and_impossible_ones_refused() -> None:
    assert usable_ks([5, 10, 50, 100], 30) == [5, 10, 15]
    with pytest.raises(UserError, match="1 feature"):
        usable_ks([5], 1)


def test_paired_tests_equal_scipy(ablation: Ablation) -> None:
    table = against_random(ablation, permutations=500, resamples=300)
    row = table.query("arm == 'cds' and k == 5").iloc[0]
    effects = ablation.effects[ablation.effects["k"] == 5]
    values = effects[effects["arm"] == "cds"].set_index("block")["effect"]
    random = effects[effects["arm"] == "random"].groupby("block")["effect"].mean()
    theirs = stats.ttest_rel(values, random)
    assert row["t"] == pytest.approx(theirs.statistic)
    assert row["p"] == pytest.approx(theirs.pvalue)
    assert row["blocks"] == 3
    assert row["p_permutation"] >= 2 / 8
    assert row["random_sets"] == 12
    assert row["edit_random"] == pytest.approx(effects[effects["arm"] == "random"]["edit"].mean())
    assert row["family_size"] == len(table) == 4 * 7
    assert table["p_bh"].notna().all()
    shift = against_random(ablation, measure="shift", permutations=100, resamples=100)
    assert (shift["measure"] == "shift").all()


def test_a_strong_arm_stands_out_and_dose_response_rises() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for k in (5, 10, 20):
        for block in range(10):
            rows.append(("cds", k, 0, block, 0.5 * np.log2(k) + rng.normal(0, 0.05)))
            rows += [("random", k, draw, block, 0.1 + rng.normal(0, 0.05)) for draw in range(20)]
    frame = pd.DataFrame(rows, columns=["arm", "k", "draw", "block", "effect"]).assign(
        shift=0.0, edit=1.0, rows=1
    )
    made = Ablation(frame, pd.DataFrame(), 100, 1)
    table = against_random(made, permutations=2000)
    assert (table["p_bonferroni"] < 1e-6).all()
    assert (table["p_rank"] == 1 / 21).all()
    assert (table["g_av_low"] > 1).all()
    slope = dose_response(made).query("arm == 'cds' and measure == 'effect'").iloc[0]
    assert slope["low"] < 0.5 < slope["high"]
    curve = curves(made).query("arm == 'cds'")
    assert (curve["effect_low"] < curve["effect"]).all()
    assert curve["effect"].is_monotonic_increasing


def test_published_statistic_gives_the_published_number(shared: Path, ablation: Ablation) -> None:
    released = pd.read_csv(shared / "data" / "published" / "effects.tsv", sep="\t")
    targeted = released[released["ablation_type"] == "targeted"].set_index("k")["delta_mean"]
    random = released[released["ablation_type"] == "random"].rename(
        columns={"delta_mean": "effect"}
    )
    found = published_effect(targeted, random)
    assert found.d == pytest.approx(1.7885663439509796, rel=1e-12)
    assert found.p == pytest.approx(2.9802322387695312e-08, rel=1e-12)
    assert found.pairs == 25
    assert published_effect(*published_arms(ablation)).pairs == 4 * 2


def test_single_features_change_their_own_bins(toy: tuple) -> None:
    probed, states, sae = toy
    rate = firing(as_matrix(sae.encode(states.tokens()), M), sae.directions.numpy()).rate
    features = np.argsort(-np.where(rate < 0.2, rate, 0))[:4]
    table = single_feature_effects(probed, sae, states, features, max_rows=5, resamples=100)
    z = sae.encode_dense(inner(states))[..., features[0]]
    rows = np.sort(np.argsort(-z.sum(1).numpy(), kind="stable")[:5])
    change = (
        direct(probed, states, ablation_edit(sae, features[:1])(inner(states))) - states.prediction
    )
    own = np.abs(change[rows][z[rows].numpy() > 0]).mean()
    assert table["own"].iloc[0] == pytest.approx(own, rel=1e-4, abs=1e-6)
    assert (table["specificity"] > 1).mean() >= 0.5
    strongest = np.sort(np.argsort(-z.sum(1).numpy(), kind="stable")[:3])
    active = z[strongest].numpy() > 0
    by_chance = []
    for along in random_like(sae.directions[features[0]].numpy(), 6, int(features[0])):
        hidden = states.hidden[strongest].clone()
        hidden[:, CROP : CROP + BINS] -= z[strongest][..., None] * torch.from_numpy(along).float()
        drawn = probed.run(None, resume=(states.layer, hidden)).prediction[..., 0].detach().numpy()
        by_chance.append(np.abs(drawn - states.prediction[strongest])[active].mean())
    few = single_feature_effects(
        probed, sae, states, features[:1], max_rows=5, null_draws=6, null_rows=3
    ).iloc[0]
    assert few["null_own"] == pytest.approx(np.mean(by_chance), rel=1e-3, abs=1e-6)
    observed = np.abs(change[strongest][active]).mean()
    assert few["null_percentile"] == pytest.approx(
        100 * (1 - (1 + np.sum(np.array(by_chance) >= observed)) / 7)
    )
    silent = np.flatnonzero(rate == 0)
    if len(silent):
        nothing = single_feature_effects(probed, sae, states, silent[:1]).iloc[0]
        assert nothing["bins"] == 0
        assert np.isnan(nothing["own"])


def test_scaling_a_feature_is_a_direct_pass_with_its_activation_multiplied(toy: tuple) -> None:
    probed, states, sae = toy
    rate = firing(as_matrix(sae.encode(states.tokens()), M), sae.directions.numpy()).rate
    feature = int(np.argsort(-np.where(rate < 0.2, rate, 0))[0])
    asked = np.array([feature, *np.flatnonzero(rate == 0)[:1]])
    table = scaled_feature_effects(
        probed, sae, states, asked, factors=(0.0, 1.0, 3.0), rows=4, resamples=100
    )
    assert set(table.feature) == {feature}  # one that is silent everywhere is left out
    z = sae.encode_dense(inner(states))[..., feature]
    rows = np.sort(np.argsort(-z.sum(1).numpy(), kind="stable")[:4])
    active = z[rows].numpy() > 0
    for factor, mine in table.groupby("factor"):
        hidden = states.hidden[rows].clone()
        hidden[:, CROP : CROP + BINS] += (factor - 1) * z[rows][..., None] * sae.directions[feature]
        edited = probed.run(None, resume=(states.layer, hidden)).prediction[..., 0].detach().numpy()
        change = edited - states.prediction[rows]
        found = mine.set_index("bins").change
        assert found["own"] == pytest.approx(change[active].mean(), rel=1e-4, abs=1e-6)
        assert found["silent"] == pytest.approx(change[~active].mean(), rel=1e-4, abs=1e-6)
    assert (table[table.factor == 1].change == 0).all()
    assert (table.low <= table.change + 1e-9).all()


def test_bases_reconstruct_and_take_the_place_of_an_autoencoder(toy: tuple) -> None:
    probed, states, _ = toy
    rows = states.tokens().numpy()
    whole = principal_components(rows)
    np.testing.assert_allclose(whole.decode(whole.encode(rows)), rows, atol=1e-4)
    np.testing.assert_allclose(
        raw_neurons(rows).decode(raw_neurons(rows).encode(rows)), rows, atol=1e-4
    )
    np.testing.assert_allclose(whole.basis @ whole.basis.T, np.eye(16), atol=1e-5)
    variances = (rows - rows.mean(0)) @ whole.basis.numpy().T
    assert (np.diff(variances.var(0)) <= 1e-6).all()
    one = single_direction(3 * np.eye(16)[2], rows)
    assert one.directions.shape == (2, 16)
    means = np.zeros((4, 16), np.float32)
    means[2:] = whole.basis[5].numpy()
    assert condition_order(whole, means, np.array([False, False, True, True]), np.ones(16))[0] == 5
    arms = AblationArms(ks=[3], random_sets=4, direction_draws=1, published_random=1)
    made = compare_arms(
        probed, whole, states, np.arange(32), arms,
        toward=np.ones_like(states.prediction), components=whole.basis.numpy(),
    )  # fmt: skip
    assert made.effects["effect"].notna().all()


def test_bad_input_is_refused(toy: tuple) -> None:
    probed, states, sae = toy
    with pytest.raises(UserError, match="layer 9 does not exist"):
        gather(probed, [], 9, states.read, states.labels, CROP)
    arms = AblationArms(ks=[2], random_sets=1)
    with pytest.raises(UserError, match="no ranked feature fires"):
        compare_arms(
            probed, sae, states, np.zeros(0, int), arms, toward=states.prediction, components=np.eye(16),
            )  # fmt: skip
