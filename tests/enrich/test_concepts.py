"""Concept scores against scikit-learn's f1_score, roc_auc_score and PCA, and against a loop over
all thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score, roc_auc_score

from petriscope.enrich.concepts import (
    best_units,
    compare,
    lookup_scores,
    principal_components,
    score,
    weighted_auroc,
    weighted_f1,
)
from petriscope.enrich.correlation import block_weights


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    concepts = rng.uniform(size=(160, 4)) < [0.3, 0.1, 0.5, 0.02]
    concepts[3, 3] = concepts[100, 3] = True
    values = np.where(rng.uniform(size=(160, 6)) < 0.3, rng.integers(1, 6, (160, 6)) / 4, 0.0)
    values[:, 1] = np.where(concepts[:, 0], values[:, 1] + 0.7, values[:, 1])
    values[:, 3] = 0
    return values, concepts, np.arange(160) // 10


@pytest.mark.parametrize("dense", [False, True])
def test_scores_are_those_of_scikit_learn(world, dense) -> None:
    values, concepts, _ = world
    given = values - 0.5 * (values == 0) if dense else sp.csr_matrix(values)
    shown = given if dense else values
    found = score(given, concepts)
    for f in range(6):
        for c in range(4):
            thresholds = np.unique(shown[:, f]) if dense else np.unique(shown[shown[:, f] > 0, f])
            every = [f1_score(concepts[:, c], shown[:, f] >= t) for t in thresholds]
            assert found.f1[f, c] == pytest.approx(max(every, default=0))
            auroc = roc_auc_score(concepts[:, c], shown[:, f])
            assert found.auroc[f, c] == pytest.approx(auroc)
            if every:
                reached = f1_score(concepts[:, c], shown[:, f] >= found.threshold[f, c])
                assert reached == pytest.approx(max(every))
    assert dense or np.isnan(found.threshold[3]).all()


def test_weighted_scores_are_those_of_the_rows_repeated(world) -> None:
    values, concepts, block = world
    weights = block_weights(np.arange(16), 16, 12, seed=4)
    f1 = weighted_f1(values[:, 1] >= 0.7, concepts[:, 0], block, weights)
    auroc = weighted_auroc(values[:, 1], concepts[:, 0], block, weights)
    for i, row in enumerate(weights):
        rows = np.concatenate([np.tile(np.flatnonzero(block == b), int(row[b])) for b in range(16)])
        yes, z = concepts[rows, 0], values[rows, 1]
        assert f1[i] == pytest.approx(f1_score(yes, z >= 0.7))
        assert auroc[i] == pytest.approx(roc_auc_score(yes, z))
    none = np.zeros((1, 16))
    assert weighted_auroc(values[:, 1], concepts[:, 0], block, none).tolist() == [0.5]


@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray])
def test_units_are_chosen_on_train_rows_and_read_on_test_rows(world, form) -> None:
    values, concepts, block = world
    train = block % 2 == 0
    values = values.copy()
    values[:, 5] = np.where(train & concepts[:, 2], 9, values[:, 5])  # good on train rows alone
    weights = block_weights(np.arange(1, 16, 2), 16, 30, seed=4)
    best = best_units(form(values), concepts, train, ~train, block, weights)
    assert best.unit[0] == 1 and best.unit[2] == 5
    assert best.train_f1[2] > best.f1[0, 2] + 0.2
    calls = values[~train, 1] >= best.threshold[0]
    assert best.f1[0, 0] == pytest.approx(f1_score(concepts[~train, 0], calls))
    unit = best.unit_auroc[0]
    expected = roc_auc_score(concepts[~train, 0], values[~train, unit])
    assert best.auroc[0, 0] == pytest.approx(expected)


def test_a_unit_that_is_silent_on_a_concept_is_turned_around() -> None:
    rng = np.random.default_rng(0)
    yes = rng.uniform(size=(200, 1)) < 0.5
    values = sp.csr_matrix(np.where(yes, 0, rng.uniform(size=(200, 1))))
    block = np.arange(200) // 20
    weights = block_weights(np.arange(1, 10, 2), 10, 5, seed=0)
    best = best_units(values, yes, block % 2 == 0, block % 2 == 1, block, weights)
    assert best.auroc[0, 0] == 1.0


def test_the_lookup_reads_the_category_and_no_label_of_its_own_row() -> None:
    rng = np.random.default_rng(2)
    category = rng.integers(0, 400, 800)
    noise = rng.uniform(size=(800, 1)) < 0.5
    told = (category % 2 == 0)[:, None]
    train, fold = np.arange(800) < 600, np.arange(800) // 10 % 2
    found = lookup_scores(category, np.c_[noise, told], fold, train)
    assert abs(roc_auc_score(noise[train, 0], found[train, 0]) - 0.5) < 0.08
    seen = np.isin(category, category[train])
    assert roc_auc_score(told[seen, 0], found[seen, 1]) > 0.9


def test_comparison_counts_and_intervals() -> None:
    rng = np.random.default_rng(1)
    one = np.c_[np.full(201, 0.9), rng.normal(0.5, 0.1, 201), np.full(201, 0.1)]
    one[0] = [0.9, 0.52, 0.1]
    wins = compare(one, np.tile([0.5, 0.5, 0.5], (201, 1)))
    assert (wins.better, wins.surely_better, wins.surely_worse) == (2, 1, 1)
    assert wins.better_low == 1 and wins.better_high == 2
    assert wins.low[1] < 0 < wins.high[1]


def test_principal_components_are_scikit_learns() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(120, 5)) @ rng.normal(size=(5, 5)) + 3
    train = np.arange(120) < 80
    found = principal_components(values.astype(np.float16), train)
    wanted = PCA(5).fit(values[train]).transform(values)
    for j in range(5):
        assert abs(np.corrcoef(found[:, j], wanted[:, j])[0, 1]) > 0.9999
