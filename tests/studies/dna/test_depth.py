"""Best features by layer in a world where it is known which layers carry which track."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import f1_score, roc_auc_score

from petriscope.studies.dna.depth import (
    drop_with_depth,
    equivalence,
    score_model,
    token_axis_of,
)
from petriscope.studies.dna.stages.tracks import summarize

N = 2400


def _runs(rng: np.random.Generator, share: float) -> np.ndarray:
    return np.repeat(rng.uniform(size=N) < share, rng.integers(1, 12, N))[50 : 50 + N].astype(float)


@pytest.fixture(scope="module")
def world():
    """Layer 1 carries track *true*; layer 2 less; layer 0 and the random model do not. Latent 3 is
    a function of the token, and so is track *identity*."""
    rng = np.random.default_rng(11)
    identity = rng.integers(0, 30, N)
    tracks = {"true": _runs(rng, 0.2), "identity": (identity < 4) * 1.0, "decoy": _runs(rng, 0.2)}
    frame = pd.DataFrame(
        {"contig": np.repeat([0, 1], N // 2), "block": np.arange(N) // 100, "id": identity}
    )

    def codes(strength: float) -> sp.csr_matrix:
        dense = np.where(rng.uniform(size=(N, 8)) < 0.15, rng.exponential(size=(N, 8)), 0)
        dense[:, 2] += strength * tracks["true"]
        dense[:, 3] = tracks["identity"]
        dense[:, 7] = 0
        return sp.csr_matrix(dense)

    trained = {0: codes(0), 1: codes(1.5), 2: codes(0.6)}
    random = {0: codes(0), 1: codes(0), 2: codes(0)}
    axis = token_axis_of(
        frame, rng.uniform(size=N), shifts=99, min_shift=100, bootstrap=200, seed=3
    )
    scores = {
        "trained": score_model(trained, tracks, axis, 20),
        "random_init": score_model(random, tracks, axis, 20),
    }
    return trained, tracks, axis, scores


def test_what_carries_a_track_is_found_and_nothing_else(world) -> None:
    _, tracks, _, scores = world
    found = summarize(scores, list(tracks), ["decoy"], alpha=0.05)
    rows = {row["track"]: row for row in found["tracks"]}
    assert rows["true"]["trained_layers"] == [1, 2] == rows["true"]["beyond_random"]
    assert rows["true"]["random_init_layers"] == [] and rows["true"]["best_layer"] == 1
    assert rows["identity"]["trained_layers"] == [0, 1, 2]
    assert rows["identity"]["beyond_random"] == []  # the random model has it too
    assert rows["identity"]["trained_partial_layers"] == []  # and it is the token's own identity
    assert rows["true"]["trained_partial_layers"] == [1, 2]
    assert rows["decoy"]["trained_layers"] == [] and found["decoys_found"] == 0
    assert (found["decoys"], found["found"], found["early_beyond_random"]) == (1, 2, 1)


def test_a_track_that_the_random_model_finds_in_another_early_layer_is_not_beyond_it(
    world,
) -> None:
    trained, tracks, axis, scores = world
    embedding = {**trained, 0: trained[1], 1: trained[0], 2: trained[0]}  # found in layer 0 alone
    both = {**scores, "random_init": score_model(embedding, tracks, axis, 20)}
    found = summarize(both, list(tracks), ["decoy"], alpha=0.05)
    row = next(row for row in found["tracks"] if row["track"] == "true")
    assert (row["random_init_layers"], row["trained_layers"]) == ([0], [1, 2])
    assert row["beyond_random"] == [1, 2]
    assert found["early_beyond_random"] == 0


def test_the_drop_with_depth_has_its_interval(world) -> None:
    _, _, _, scores = world
    held = scores["trained"].held_out
    drop = drop_with_depth(held, np.array([0]))
    assert drop is not None and drop.low < drop.value < drop.high < 0
    assert drop.value == pytest.approx(held[2][0, 0] - held[1][0, 0])
    level = drop_with_depth(scores["random_init"].held_out, np.array([0]))
    assert level is not None and level.low < 0 < level.high
    assert drop_with_depth(held, np.array([], int)) is None
    assert drop_with_depth({0: held[0], 1: held[1]}, np.array([0])) is None
    five = {k: np.full((4, 1), float(k)) for k in range(6)}  # 4, 5 less 1, 2
    assert drop_with_depth(five, np.array([0])).value == 3


def test_the_tables_say_how_well_a_latent_tells_the_track(world) -> None:
    trained, tracks, axis, scores = world
    table = scores["trained"].correlations
    row = table[(table.layer == 1) & (table.track == "true")].iloc[0]
    assert row.latent == 2
    y, z = tracks["true"] > 0, trained[1][:, 2].toarray().ravel()
    train = np.isin(axis.block, axis.train)
    assert row.r == pytest.approx(np.corrcoef(z, y)[0, 1])
    assert row.auroc == pytest.approx(roc_auc_score(y[~train], z[~train]))
    best = max(np.unique(z[train & (z > 0)]), key=lambda t: f1_score(y[train], z[train] >= t))
    assert row.f1 == pytest.approx(f1_score(y[~train], z[~train] >= best))
    layers = scores["trained"].by_layer
    assert (layers.alive == 7).all()  # latent 7 is silent
    silent = layers[(layers.track == "decoy")]
    assert (silent.best_r < silent.null_95 * 1.5).all() and (
        silent.null_median < silent.null_95
    ).all()


def test_expansions_are_the_same_only_where_the_whole_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0.4, 0.05, 300)
    near, far = base + rng.normal(0.001, 0.003, 300), base + rng.normal(0.001, 0.03, 300)
    table = equivalence({8: base, 16: near, 32: far})
    assert table[["factor", "than"]].to_numpy().tolist() == [[16, 8], [32, 8], [32, 16]]
    wide = table[["low", "high"]].abs().max(axis=1) < 0.02
    assert wide.tolist() == [True, False, False]
    assert equivalence({8: base}).empty
