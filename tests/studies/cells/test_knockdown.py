"""Knock-downs in silico. References: a linear model whose answer is known, sklearn-like AUROC by pairs,
permutations written out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from cells_linear_model import LINEAR, PADDING, LinearModel, tokens_of
from scipy import stats

from petriscope.studies.cells.knockdown import (
    Predicted,
    Virtual,
    agreement,
    beyond_others,
    correlation_predictor,
    count_falls,
    falls,
    in_silico,
    knock_down,
    set_auroc,
)
from petriscope.studies.cells.readings import CellTokensOf, collate, masked_cell, read_cells
from petriscope.studies.cells.regulons import Regulon


def cell(read: tuple[int, ...] = (2,)) -> CellTokensOf:
    gene = np.array([-1, 4, 7, 1, 9, -1])
    mask = np.isin(np.arange(6), read)
    return CellTokensOf(3, gene + 10, gene, np.arange(6.0), mask)


def test_a_token_is_taken_out_or_put_behind_all_genes() -> None:
    assert knock_down(cell(), 4, "deleted", bins=False).gene.tolist() == [-1, 7, 1, 9, -1]
    moved = knock_down(cell(), 4, "lowest", bins=False)
    assert moved.gene.tolist() == [-1, 7, 1, 9, 4, -1]
    assert moved.read.tolist() == [False, True, False, False, False, False]
    lowered = knock_down(cell(), 9, "lowest", bins=True)
    assert lowered.gene.tolist() == cell().gene.tolist()
    assert lowered.values.tolist() == [0, 1, 2, 3, 1, 5]


def test_a_share_of_the_genes_is_masked_and_never_a_special_token() -> None:
    tokens = tokens_of(6, 40, seed=0)
    one = masked_cell(tokens, 2, 0.15, 5)
    assert one.read.sum() == 6 and not one.read[one.gene < 0].any()
    again = masked_cell(tokens, 2, 0.15, 5)
    np.testing.assert_array_equal(one.read, again.read)
    assert (one.read != masked_cell(tokens, 2, 0.15, 6).read).any()
    assert (one.read != masked_cell(tokens, 3, 0.15, 5).read).any()


def test_cells_of_unlike_length_are_read_as_one_by_one() -> None:
    model, tokens = LinearModel(), tokens_of(9, 40, seed=1, uneven=True)
    cells = [masked_cell(tokens, c, 0.2, 0) for c in range(9)]
    found = read_cells(model, cells, PADDING)
    for one, values in zip(cells, found):
        made = collate(model, [one], PADDING)
        alone = model.readout(made.batch, made.true)[0][torch.from_numpy(one.read)]
        np.testing.assert_allclose(values, alone, rtol=1e-5)


class Knocked(NamedTuple):
    predicted: Predicted
    regulons: list[Regulon]


def knocked(how: str = "deleted") -> Knocked:
    """TFs 0 and 1 of the linear model raise the reading of genes 10-15 and 16-21; TF 2 does
    nothing."""
    model, tokens = LinearModel(), tokens_of(120, 40, seed=2)
    asked = Virtual(tokens, PADDING, np.arange(120), 60, 0.2, 40, False, 0)
    predicted = in_silico(model, asked, [("a", 0), ("b", 1), ("c", 2), ("rare", 39)], how)
    regulons = [
        Regulon("a", 0, np.arange(10, 16), np.ones(6, int)),
        Regulon("b", 1, np.arange(16, 22), -np.ones(6, int)),
        Regulon("c", 2, np.arange(22, 28), np.ones(6, int)),
    ]
    return Knocked(predicted, regulons)


def test_the_change_is_what_the_model_says_of_a_cell_without_the_token() -> None:
    predicted = knocked().predicted
    assert predicted.names == ("a", "b", "c")  # too few cells hold the last
    assert (predicted.cells == 60).all()
    # by the model: a target loses EFFECT of its factor, whatever else is in the cell
    np.testing.assert_allclose(predicted.change[0, 10:16], -LINEAR.effect, rtol=1e-4)
    np.testing.assert_allclose(predicted.change[1, 16:22], LINEAR.effect, rtol=1e-4)
    others = np.r_[10:39]
    rest = predicted.change[2, others]
    np.testing.assert_allclose(rest[np.isfinite(rest)], 0, atol=1e-5)


def test_targets_that_fall_are_told_from_others() -> None:
    predicted, regulons = knocked()
    usable, axes = np.ones(40, bool), np.zeros((40, 1))
    found = falls(predicted, regulons, axes, usable, draws=199, seed=0)
    by = {one.name: one for one in found}
    assert by["a"].auroc == 1 and by["a"].p == 1 / 200
    assert by["b"].auroc == 1 and by["b"].mean == pytest.approx(-LINEAR.effect, rel=1e-4)
    wrong = regulons[1]._replace(sign=np.ones(6, int))  # said to be activated, but rises
    assert falls(predicted, [wrong], axes, usable, draws=199, seed=0)[0].auroc == 0
    assert by["c"].p > 0.05
    count = count_falls(found, 0.05)
    assert (count.tfs, count.found) == (3, 2)


def test_genes_that_fall_whichever_tf_does_are_no_targets() -> None:
    predicted, regulons = knocked()
    usable, axes = np.ones(40, bool), np.zeros((40, 1))
    change = predicted.change.copy()
    change[:, 22:28] -= 5.0  # genes of a level, such as those that TF c is said to drive
    falling = predicted._replace(change=change)
    found = {one.name: one for one in falls(falling, regulons, axes, usable, draws=199, seed=0)}
    assert found["c"].p > 0.05 and found["a"].p == found["b"].p == 1 / 200
    known = np.isfinite(change[1:]).any(0)
    expected = change[0, known] - np.nanmean(change[1:, known], axis=0)
    np.testing.assert_allclose(beyond_others(change)[0, known], expected, rtol=1e-9)
    alone = predicted._replace(names=("a",), tf=predicted.tf[:1], change=change[:1])
    assert falls(alone, regulons, axes, usable, draws=199, seed=0)[0].auroc > 0.5


def test_auroc_of_sets_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    change, read = rng.normal(size=50).round(1), rng.random(50) < 0.9
    sets = np.stack([rng.choice(np.flatnonzero(read), 7, replace=False) for _ in range(5)])
    found = set_auroc(change, read, sets, np.ones(7, bool))
    for members, value in zip(sets, found):
        rest = np.setdiff1d(np.flatnonzero(read), members)
        below = (change[members][:, None] < change[rest][None]).mean()
        ties = (change[members][:, None] == change[rest][None]).mean()
        assert value == pytest.approx(below + ties / 2)
    up = set_auroc(change, read, sets, np.zeros(7, bool))
    np.testing.assert_allclose(up, 1 - found, rtol=1e-12)


def test_agreement_takes_the_gene_means_off_and_leaves_own_genes_out() -> None:
    rng = np.random.default_rng(4)
    p, genes = 8, 200
    tf = np.arange(p)
    common = 5 * rng.normal(size=genes)  # what every knock-down does alike
    signal = rng.normal(size=(p, genes))
    predicted = signal + common + rng.normal(size=(p, genes))
    observed = signal - common + rng.normal(size=(p, genes))
    predicted[tf, tf] -= 1e3
    observed[tf, tf] -= 1e3
    usable, names = np.ones(genes, bool), [f"t{i}" for i in range(p)]
    found = agreement(names, predicted, observed, tf, usable, draws=999, seed=0)
    assert found is not None and found.genes == genes - p
    kept = np.arange(p, genes)
    a, b = (x[:, kept] - x[:, kept].mean(0) for x in (predicted, observed))
    for i in (0, 3):
        for j in (1, 5):
            theirs = stats.pearsonr(a[i], b[j]).statistic
            assert found.matrix[i, j] == pytest.approx(theirs)
    assert found.p < 0.01 and found.rank.mean() < 1.5
    assert found.excess > 0.3 and found.mean == pytest.approx(np.diag(found.matrix).mean())
    swapped = observed[np.roll(np.arange(p), 1)]
    other = agreement(names, predicted, swapped, tf, usable, draws=999, seed=0)
    assert other is not None and other.p > 0.2
    assert (
        agreement(names[:3], predicted[:3], observed[:3], tf[:3], usable, draws=9, seed=0) is None
    )


def test_a_prediction_that_is_the_same_for_every_factor_agrees_with_none() -> None:
    rng = np.random.default_rng(5)
    observed = rng.normal(size=(6, 90)) + 3 * rng.normal(size=90)
    same = np.tile(observed.mean(0), (6, 1))
    names, tf = list("abcdef"), np.full(6, -1)
    found = agreement(names, same, observed, tf, np.ones(90, bool), draws=99, seed=0)
    assert found is not None and found.p > 0.05


def test_the_swap_null_keeps_its_level() -> None:
    rng = np.random.default_rng(6)
    p = []
    for seed in range(200):
        one, two = rng.normal(size=(2, 6, 40))
        found = agreement(
            list("abcdef"), one, two, np.full(6, -1), np.ones(40, bool), draws=99, seed=seed
        )
        assert found is not None
        p.append(found.p)
    assert stats.binomtest(int((np.array(p) <= 0.05).sum()), 200, 0.05).pvalue > 0.01


def test_correlation_predicts_a_fall_of_what_goes_with_the_factor() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(80, 6))
    y[:, 1] += 2 * y[:, 0]
    y[:, 5] = 3
    found = correlation_predictor(sp.csr_matrix(y), np.arange(60), np.array([0]))
    expected = [-stats.pearsonr(y[:60, 0], y[:60, j]).statistic for j in range(5)]
    np.testing.assert_allclose(found[0, :5], expected, rtol=1e-9)
    assert found[0, 5] == 0
