"""Rivals of the head. References: scikit-learn's logistic regression and areas, the authors' one-hot
network by its own layers, numbers known of the cisplatin set."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from petriscope.studies.dna import rivals
from petriscope.studies.dna.areas import (
    area_draws,
    area_under_roc,
    calibration,
    group_weights,
    interval,
    weighted_areas,
)
from petriscope.studies.dna.rivals import (
    Budget,
    OneHotNet,
    compare_scores,
    cross_fitted,
    encoded,
    fit_logistic,
    gc_share,
    grouped_folds,
    kmer_shares,
    one_hot_margin,
    sequence_columns,
)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_the_logistic_regression_is_that_of_scikit_learn(
    standardize: bool, strength: float
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12)) * rng.gamma(2, 1, 12) + 3
    label = rng.random(300) < 1 / (1 + np.exp(-(x[:, 0] - 3) * 2 - 1))
    found = fit_logistic(x, label, strength, standardize=standardize)
    z = (x - x.mean(0)) / (x.std(0) if standardize else 1)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(z, label)
    np.testing.assert_allclose(found.margin(x), theirs.decision_function(z), atol=2e-5)


def test_the_logistic_regression_ends_where_classes_part() -> None:
    x = np.array([[0.0, 1], [1, 1], [2, 1], [3, 1]])  # separable, and a column that is constant
    found = fit_logistic(x, np.array([False, False, True, True]))
    assert np.isfinite(found.weight).all() and np.diff(found.margin(x)).min() > 0


def test_areas_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    score, label = rng.integers(0, 9, 200).astype(float), rng.random(200) < 0.4  # many ties
    weights = rng.integers(0, 4, (5, 200)).astype(float)
    assert area_under_roc(score, label) == pytest.approx(roc_auc_score(label, score))
    for found, w in zip(weighted_areas(score, label, weights), weights):
        assert found == pytest.approx(roc_auc_score(label, score, sample_weight=w))
    assert np.isnan(area_under_roc(score, np.ones(200, bool)))


def test_intervals_follow_groups_not_sequences() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat(rng.random(60) < 0.5, 10)
    score = np.repeat(rng.normal(size=60), 10) + label
    group = np.repeat(np.arange(60), 10)
    wide, narrow = (
        interval(area_draws(score[None], label, g, 400, 0)[0], 60) for g in (group, np.arange(600))
    )
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    for weights in group_weights(group, 3, 0):
        assert (weights.reshape(-1, 60, 10).std(2) == 0).all() and (weights.sum(1) == 600).all()


def test_the_lead_is_paired() -> None:
    rng = np.random.default_rng(3)
    label, group = rng.random(400) < 0.5, np.arange(400)
    score = rng.normal(size=400) + label
    near = score + 0.05 * rng.normal(size=400)
    compared = compare_scores({"head": score, "near": near}, label, group, 300, 0)
    lead, area = compared.lead["near"], compared.areas["head"]
    assert lead.high - lead.low < 0.2 * (area.high - area.low)
    assert compared.table().reads.tolist() == ["head", "near"]


def test_calibration() -> None:
    chance = np.array([0.05, 0.05, 0.95, 0.95])
    good, bad = calibration(chance, chance > 0.5), calibration(chance, chance < 0.5)
    assert good.shift == bad.shift == pytest.approx(0)
    assert (good.error, bad.error) == (pytest.approx(0.05), pytest.approx(0.95))


def test_kmers_and_gc() -> None:
    codes = encoded(["ACGTN", "GGCC", "A"])
    assert codes[0].tolist() == [0, 1, 2, 3, 4]
    two = kmer_shares(codes, 2)
    assert two[0].nonzero()[0].tolist() == [1, 6, 11] and two[0].sum() == pytest.approx(1)
    assert two[2].sum() == 0  # shorter than k
    assert gc_share(codes).tolist() == [0.5, 1.0, 0.0]


def test_folds_keep_groups_together() -> None:
    group = np.repeat(np.arange(40), np.arange(40) % 7 + 1)
    fold = grouped_folds(group, 4, 0)
    assert all(len(set(fold[group == g])) == 1 for g in range(40))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 7
    assert (grouped_folds(group, 4, 0) == fold).all() and (grouped_folds(group, 4, 1) != fold).any()


def test_no_rival_sees_its_own_fold() -> None:
    # labels that only the groups tell: learnt by heart in random folds, by chance in grouped ones
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(60), 6)
    label = (rng.random(60) < 0.5)[group]
    x = np.eye(60)[group] + 0.01 * rng.normal(size=(360, 60))
    for fold, told in ((grouped_folds(group, 3, 0), False), (np.arange(360) % 3, True)):
        found = cross_fitted({"x": x}, None, label, group, fold, Budget(1), 0)["x"]
        assert (area_under_roc(found, label) > 0.9) == told


def test_a_constant_rival_knows_nothing() -> None:
    rng = np.random.default_rng(5)
    group, label = np.arange(300), rng.random(300) < 0.3
    fold = grouped_folds(group, 5, 0)
    found = cross_fitted({"length": np.ones((300, 1))}, None, label, group, fold, Budget(1), 0)
    assert area_under_roc(found["length"], label) == 0.5


def test_the_one_hot_network_is_that_of_the_authors() -> None:
    torch.manual_seed(0)
    network = OneHotNet(100)
    x = torch.zeros(3, 4, 100)
    x[:, 1, ::3] = 1
    theirs = nn.Sequential(
        network.conv1, nn.ReLU(), nn.MaxPool1d(2), network.conv2, nn.ReLU(), nn.MaxPool1d(2),
        nn.Flatten(), network.fc,
    )  # fmt: skip
    wanted = theirs(x)[:, 0]
    found = network(x, torch.full((3,), 100))
    torch.testing.assert_close(found, wanted)
    assert network.fc.in_features == 64 * 25


def test_the_one_hot_network_reads_no_length() -> None:
    torch.manual_seed(0)
    network = OneHotNet(None).eval()
    short = encoded(["ACGTTGCAACGTACGTACGTACGT"])
    long = encoded(["ACGTTGCAACGTACGTACGTACGT" + "A" * 40])
    alone = rivals._one_hot_margins(network, short, np.array([0]), "cpu")
    beside = rivals._one_hot_margins(network, short + long, np.array([0, 1]), "cpu")
    np.testing.assert_allclose(alone[0], beside[0], atol=1e-6)


def test_the_one_hot_network_finds_a_planted_word() -> None:
    rng = np.random.default_rng(6)
    label = rng.random(240) < 0.5
    texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in label]
    for i in np.flatnonzero(label):
        at = rng.integers(0, 48)
        texts[i] = texts[i][:at] + "GATTACAGATTA" + texts[i][at + 12 :]
    codes, half = encoded(texts), np.arange(240)
    args = (codes, label, half[:120], half[120:180], Budget(12, 8), 0)
    margin = one_hot_margin(*args)
    assert area_under_roc(margin[180:], label[180:]) > 0.7
    np.testing.assert_array_equal(margin, one_hot_margin(*args))


def test_composition_of_the_cisplatin_set(shared: Path) -> None:
    # README of the data: GC .741 and 4-mers .777 on all rows, 30 % of which are held back; there the
    # penalty acts on shares as they are
    with gzip.open(shared / "data" / "hsg" / "cisplatin_100bp.tsv.gz", "rt") as handle:
        frame = pd.read_csv(handle, sep="\t")
    label, group = frame.label.to_numpy() == 1, frame.group.to_numpy()
    fold = grouped_folds(group, 5, 17) == 0
    columns = sequence_columns(frame.sequence.tolist(), np.full(len(frame), 21))
    assert area_under_roc(columns["gc"][:, 0], label) == pytest.approx(0.741, abs=0.01)
    x = columns["kmer"]
    raw, own = (
        area_under_roc(
            fit_logistic(x[~fold], label[~fold], standardize=s).margin(x[fold]), label[fold]
        )
        for s in (False, True)
    )
    assert raw == pytest.approx(0.777, abs=0.015) and own > raw
