"""Foregrounds, lineage activity and families against dense numpy loops and statsmodels'
Benjamini–Hochberg."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from statsmodels.stats.multitest import multipletests

from petriscope.enrich.background import Strata
from petriscope.enrich.foregrounds import (
    Foregrounds,
    beyond_others,
    condition_scores,
    feature_bins,
    feature_scores,
    membership,
    strongest,
)
from petriscope.enrich.tails import with_q

SHAPE = (3, 4, 5)


@pytest.fixture
def dense():
    rng = np.random.default_rng(0)
    return rng.random((np.prod(SHAPE), 6)) * (rng.random((np.prod(SHAPE), 6)) < 0.3)


def test_feature_bins_take_the_strongest_of_the_biosamples_asked_for(dense):
    scores = feature_scores(sparse.csc_matrix(dense), 2, SHAPE)
    by_sample = dense[:, 2].reshape(SHAPE).transpose(1, 0, 2).reshape(SHAPE[1], -1)
    np.testing.assert_allclose(scores.toarray(), by_sample, rtol=1e-6)
    for chosen in ([True, True, True, True], [False, True, False, True]):
        best = by_sample[np.array(chosen)].max(axis=0)
        found = feature_bins(scores, np.array(chosen), most=4)
        assert found.tolist() == np.argsort(-best, kind="stable")[:4].tolist()
        assert (best[found] > 0).all()
    assert len(feature_bins(scores, np.zeros(4, dtype=bool), most=4)) == 0


def test_condition_scores_are_weighted_means(dense):
    weight = np.array([0, 1.0, 0, 2.0, 0, 0.5])
    names = ["a x", "b x", "a x", "b y"]
    scores = condition_scores(sparse.csr_matrix(dense), weight, SHAPE, names)
    activity = (dense @ weight).reshape(SHAPE)
    assert list(scores) == ["a x", "b x", "b y"]
    np.testing.assert_allclose(scores["a x"], activity[:, [0, 2]].mean(axis=1).ravel())
    specific = beyond_others(scores, "b x")
    np.testing.assert_allclose(specific, scores["b x"] - np.maximum(scores["a x"], scores["b y"]))


def test_strongest_leaves_out_zero_and_breaks_ties_by_index():
    assert strongest(np.array([0.0, 2.0, -1.0, 2.0, 3.0]), 10).tolist() == [4, 1, 3]
    assert strongest(np.zeros(3), 2).tolist() == []


def test_membership_rows_are_groups():
    rows = [np.array([3, 1]), np.array([2])]
    np.testing.assert_array_equal(membership(rows, 4).toarray(), [[0, 1, 0, 1], [0, 0, 1, 0]])
    assert membership([], 4).shape == (0, 4)


def test_foregrounds_are_read_back_as_they_were_saved(tmp_path):
    fore = Foregrounds(
        membership([np.array([3, 1]), np.array([2])], 4),
        pd.DataFrame({"group": ["x", "r"], "kind": ["feature", "random"], "size": [2, 1], "dropped": 0.0}),
        pd.DataFrame({"chrom": "c", "start": range(4)}),
        Strata(np.array([0, 0, 1, -1]), ["a", "b"]),
        {"liver": membership([np.array([1])], 4)},
        pd.DataFrame({"group": ["x", "x"], "bin": [3, 1]}),
        pd.DataFrame({"covariate": ["gc"], "smd_after": [0.25]}),
    )  # fmt: skip
    fore.save(tmp_path / "f")
    again = Foregrounds.load(tmp_path / "f")
    np.testing.assert_array_equal(again.matrix.toarray(), fore.matrix.toarray())
    np.testing.assert_array_equal(again.firing["liver"].toarray(), [[0, 1, 0, 0]])
    for name in ("groups", "bins", "top", "imbalance"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(fore, name))
    assert again.strata.code.tolist() == [0, 0, 1, -1] and again.strata.names == ["a", "b"]
    assert again.of_features().group.tolist() == ["x"]
    assert again.about().columns.tolist() == ["group", "kind"]


def test_a_control_is_its_own_family_and_untested_terms_count():
    rng = np.random.default_rng(1)
    p = rng.random(30) ** 3
    table = pd.DataFrame(
        {
            "group": ["f1"] * 10 + ["f2"] * 10 + ["r"] * 10,
            "kind": ["feature"] * 20 + ["random"] * 10,
        }
    )
    table["ln_p"] = np.log(p)
    q = with_q(table).q.to_numpy()
    np.testing.assert_allclose(q[:20], multipletests(p[:20], method="fdr_bh")[1], rtol=1e-12)
    np.testing.assert_allclose(q[20:], multipletests(p[20:], method="fdr_bh")[1], rtol=1e-12)
    larger = with_q(table, tests_per_group=50).q.to_numpy()
    padded = multipletests(np.concatenate([p[:20], np.ones(80)]), method="fdr_bh")[1][:20]
    np.testing.assert_allclose(larger[:20], padded, rtol=1e-12)
