"""Edits of features under a head. References: the edited hidden states themselves, read by the
whole head; statsmodels' clustered least squares; the planted world's truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats as sps
import statsmodels.api as sm
import torch
from edit_world import MOTIF, World, world

from petriscope.causal.edits import Firing
from petriscope.errors import UserError
from petriscope.studies.dna.edit_effects import (
    Judged,
    Plan,
    alike,
    choose_features,
    dose_slopes,
    firing_rates,
    judge,
)
from petriscope.studies.dna.head import CNNHead, Ragged, Training, logits, margins, train_head
from petriscope.studies.dna.interventions import (
    GRID,
    Along,
    Edited,
    GridForm,
    Reader,
    Setting,
    along_another,
    clamped,
    published_grid,
    reconstruction,
    scaled,
    together,
    without_features,
)

DOSES = (0, 0.25, 0.5, 1, 2, 4, 10)


@pytest.fixture(scope="module")
def small() -> Edited:
    return world(planted=True, sequences=24).edited(np.arange(24))


def read(network: CNNHead, edited: Edited, hidden: np.ndarray) -> np.ndarray:
    """Log odds of the sequences with other hidden states, by the whole head."""
    streams = Ragged(hidden.astype(np.float32), np.arange(len(hidden)), edited.streams.offsets)
    return margins(logits(network, streams))


@pytest.mark.parametrize("padded", [None, 100])
def test_an_edit_is_what_the_edited_stream_gives(small: Edited, padded: int | None) -> None:
    torch.manual_seed(0)
    network = CNNHead(32, padded).eval()
    hidden = small.streams.values[small.streams.rows]
    z, d = small.codes.toarray(), small.directions
    reader = Reader(network, small)
    close = {"atol": 1e-4}
    np.testing.assert_allclose(reader.margin, read(network, small, hidden), **close)
    f = MOTIF
    for dose in DOSES:
        edited = hidden + (dose - 1) * np.outer(z[:, f], d[f])
        found = reader.shifted(scaled(small, f), (dose - 1,))[0]
        np.testing.assert_allclose(found, read(network, small, edited), **close)
    edited = hidden + np.outer(np.maximum(z[:, f], 3) - z[:, f], d[f])
    found = reader.shifted(clamped(small, f, 3))[0]
    np.testing.assert_allclose(found, read(network, small, edited), **close)
    several = np.array([1, f, 9])
    edited = hidden - z[:, several] @ d[several]
    found = reader.shifted(together(small, several), (-1,))[0]
    np.testing.assert_allclose(found, read(network, small, edited), **close)
    only = hidden - z @ d + np.outer(z[:, f], d[f])
    rest = Reader(network, small, without_features(small))
    np.testing.assert_allclose(
        rest.shifted(scaled(small, f))[0], read(network, small, only), **close
    )
    other = np.arange(32.0)
    moved = hidden - np.outer(z[:, f] * np.linalg.norm(d[f]), other / np.linalg.norm(other))
    found = reader.shifted(along_another(small, f, other), (-1,))[0]
    np.testing.assert_allclose(found, read(network, small, moved), **close)


@pytest.mark.parametrize("form", [GridForm(b, e) for b in (True, False) for e in (True, False)])
def test_the_published_grid(small: Edited, form: GridForm) -> None:
    torch.manual_seed(0)
    network = CNNHead(32, 64).eval()
    biased = Edited(small.streams, small.codes, small.directions, np.linspace(-1, 1, 32))
    hidden = biased.streams.values[biased.streams.rows]
    z, d, b = biased.codes.toarray(), biased.directions, biased.bias
    found = published_grid(network, biased, np.array([MOTIF]), GRID, form)[0]
    for setting, margin in zip(GRID, found):
        changed = z * (1 / setting.alpha if setting.alpha else 0)
        changed[:, MOTIF] = np.maximum(z[:, MOTIF], setting.delta) * (setting.alpha or 1)
        stream = changed @ d + (0 if form.bias_dropped else b)
        if not form.error_dropped:
            stream = hidden + (changed - z) @ d
        np.testing.assert_allclose(margin, read(network, biased, stream), atol=2e-3)
    dropped = Reader(network, biased, reconstruction(biased, bias_dropped=True)).margin
    np.testing.assert_allclose(dropped, read(network, biased, z @ d), atol=1e-4)


def test_only_sequences_that_are_reached_change(small: Edited) -> None:
    reader = Reader(CNNHead(32).eval(), small)
    coefficient = np.zeros(len(small.streams.rows))
    coefficient[small.streams.offsets[5]] = 4.0
    found = reader.shifted(Along.one(coefficient, small.directions[0]))[0]
    assert np.flatnonzero(found != reader.margin).tolist() == [5]
    assert (reader.shifted(scaled(small, MOTIF), (0,))[0] == reader.margin).all()


@pytest.mark.parametrize(
    ("feature", "said"),
    [(40, "is 40, the dictionary has features 0 to 39"), (-1, "is -1"), (MOTIF, "3 is silent")],
)
def test_features_that_cannot_be_edited(feature: int, said: str) -> None:
    w = world(planted=True)
    negatives = w.edited(np.flatnonzero(~w.label))  # on which the motif never fires
    with pytest.raises(UserError, match=said):
        negatives.check_features([feature])


@pytest.mark.parametrize("setting", [Setting(-1, 0), Setting(0.1, np.nan), Setting(1, np.inf)])
def test_strengths_that_are_refused(small: Edited, setting: Setting) -> None:
    with pytest.raises(UserError, match="finite number that is not negative"):
        published_grid(CNNHead(32), small, np.array([1]), [setting])
    with pytest.raises(UserError, match=r"interventions.doses: is -0.5"):
        Plan((0, 1, -0.5), 10, 0.05, 100, 0).check()
    with pytest.raises(UserError, match="too few"):
        Plan((0, 1, 1), 10, 0.05, 100, 0).check()


def test_a_dictionary_of_something_else(small: Edited) -> None:
    assert small.check_scale() is small
    with pytest.raises(UserError, match="unexplained"):  # of a stream ten times as large
        Edited(small.streams, small.codes, 10 * small.directions, small.bias).check_scale()
    with pytest.raises(UserError, match="unexplained"):  # of another layer
        shuffled = small.directions[::-1].copy()
        Edited(small.streams, small.codes, shuffled, small.bias).check_scale()
    with pytest.raises(UserError, match="sae: has width 31"):
        Edited(small.streams, small.codes, small.directions[:, :31], small.bias)
    with pytest.raises(UserError, match="codes: have shape"):
        Edited(small.streams, small.codes[:-1], small.directions, small.bias)


def test_features_are_chosen_by_clustered_least_squares() -> None:
    rng = np.random.default_rng(0)
    n = 200
    group, stratum = np.arange(n) // 4, rng.integers(0, 3, n)
    label = rng.random(n) < 0.3 + 0.2 * stratum
    rate = rng.random((n, 5)) + 0.3 * stratum[:, None] + np.outer(label, [0, 0.3, -0.3, 0, 0])
    found = choose_features(rate, label, group, stratum, np.array([1, 1, 1, 1, 0], bool))
    assert set(found.feature) == {0, 1, 2, 3}
    design = np.column_stack([label, pd.get_dummies(stratum)]).astype(float)
    for row in found.itertuples():
        fit = sm.OLS(rate[:, row.feature], design).fit(
            cov_type="cluster",
            cov_kwds={"groups": group, "use_correction": False},
            use_t=True,
        )
        assert row.difference == pytest.approx(fit.params[0])
        assert row.t == pytest.approx(fit.tvalues[0] * np.sqrt(49 / 50))  # G/(G-1)
    assert found[found.q < 0.05].feature.isin([1, 2]).all() and len(found[found.q < 0.05]) == 2


def test_lengths_apart_leave_nothing_to_choose_on() -> None:
    label = np.array([True, False] * 10)
    with pytest.raises(UserError, match="no length bin"):
        choose_features(
            np.random.default_rng(0).random((20, 3)), label, np.arange(20), label, np.ones(3, bool)
        )
    with pytest.raises(UserError, match="one class"):
        choose_features(
            np.ones((4, 3)), np.ones(4, bool), np.arange(4), np.ones(4), np.ones(3, bool)
        )


def test_slopes_on_the_dose() -> None:
    doses = np.array(DOSES)
    shift = np.stack([3 * doses - 3, 0 * doses])[:, :, None]
    np.testing.assert_allclose(dose_slopes(shift, DOSES), [[3], [0]], atol=1e-12)


def judged(w: World, seed: int) -> tuple[Judged, np.ndarray]:
    """The world judged as the stage does: trained on train, chosen on select, judged on test."""
    train, select, test = (np.flatnonzero(w.split == s) for s in ("train", "select", "test"))
    training = Training(40, 8, seed=seed, patience=12)
    head = train_head(w.streams(), w.label, train, select, training)
    seen = w.edited(select)
    rate = firing_rates(seen.codes, seen.place[0], len(select))
    stratum = np.zeros(len(select))
    table = choose_features(rate, w.label[select], w.group[select], stratum, rate.sum(0) > 0)
    sides = {"positive": table[table.t > 0].feature.to_numpy()[:3]}
    sides["negative"] = table[table.t < 0].feature.to_numpy()[:3]
    plan = Plan(DOSES, 60, 0.05, 200, seed)
    other = {"another": w.directions[MOTIF] + 0.2}
    found = judge(
        head.network, w.edited(test), w.label[test], w.group[test], sides, other, plan,
        np.array([20]),
    )  # fmt: skip
    return found, sides["positive"]


@pytest.fixture(scope="module")
def planted() -> tuple[Judged, np.ndarray]:
    return judged(world(planted=True, seed=1), 0)


def test_the_planted_latent_is_an_off_switch_and_a_dimmer(
    planted: tuple[Judged, np.ndarray],
) -> None:
    found, positive = planted
    assert positive[0] == MOTIF == found.drop_feature
    assert found.off_switch and found.dimmer
    assert found.drop_p < 1e-6 and found.drop.value > found.drop_control > 0

    def of(feature: int, arm: str, dose: float) -> pd.Series:
        rows = found.effects
        rows = rows[(rows.feature == feature) & (rows.arm == arm) & (rows.dose == dose)]
        return rows.iloc[0]

    cut = of(MOTIF, "suppress", 0.0)
    assert cut.shift_positives < -1 and cut.auc_change_high < 0 and cut.g_high < 0
    # h − z d is the dose 0, and the dose 1 is nothing at all
    assert of(MOTIF, "scale", 1.0)["shift"] == 0
    # its matched controls do not lower the probability of positives
    row = found.controls.set_index("feature").loc[MOTIF]
    assert row.auc_drop > 5 * row.control_95 and row.p == pytest.approx(1 / (1 + row.controls))
    control = of(20, "suppress the most active", 0.0)
    assert abs(control.shift_positives) < 0.2 * abs(cut.shift_positives)
    random = found.effects[
        (found.effects.feature == MOTIF) & found.effects.arm.str.contains("random")
    ]
    assert len(random) == 20 and random["shift"].abs().mean() < 0.5 * abs(cut["shift"])
    lost = found.copresence
    assert lost.present.is_monotonic_increasing and lost.lost.iloc[-1] > lost.lost.iloc[0]


def test_a_drop_is_held_against_features_like_it(planted: tuple[Judged, np.ndarray]) -> None:
    """The prediction interval of one value more, by statsmodels; Bonferroni over the features."""
    table = planted[0].controls.set_index("feature")
    row, tested = table.loc[MOTIF], int(table.judged.sum())
    n, sd = row.controls, row.control_sd * np.sqrt(row.controls / (row.controls - 1))
    model = sm.OLS(np.full(int(n), 0.0), np.ones(int(n))).fit()
    t = (row.auc_drop - row.control_mean) / (sd * np.sqrt(1 + model.normalized_cov_params[0, 0]))
    assert planted[0].drop_p == pytest.approx(tested * sps.t.sf(t, model.df_resid), rel=1e-6)


def test_features_alike_are_within_a_factor_of_two() -> None:
    rate = np.array([0.1, 0.11, 0.19, 0.21, 0.1, 0.0, 0.051])
    stats = Firing(rate, np.array([1.0, 1.0, 1.5, 1.0, 2.1, 1.0, 0.6]))
    assert alike(0, np.array([0]), stats).tolist() == [1, 2, 6]
    assert alike(0, np.array([0, 1]), stats).tolist() == [2, 6]


def test_every_number_has_its_limits(planted: tuple[Judged, np.ndarray]) -> None:
    effects = planted[0].effects
    for name in ("shift", "auc_change"):
        assert (effects[f"{name}_low"] <= effects[name] + 1e-9).mean() > 0.98
        assert (effects[f"{name}_high"] >= effects[name] - 1e-9).mean() > 0.98
    assert effects[["chance", "calibration_error"]].notna().all().all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_labels_support_nothing(seed: int) -> None:
    found, _ = judged(world(planted=False, seed=seed), seed)
    assert not found.off_switch and not found.dimmer and not found.asymmetry


def test_the_same_bytes_again(planted: tuple[Judged, np.ndarray]) -> None:
    again, _ = judged(world(planted=True, seed=1), 0)
    pd.testing.assert_frame_equal(again.effects, planted[0].effects)
    assert again.drop == planted[0].drop and again.dose == planted[0].dose
