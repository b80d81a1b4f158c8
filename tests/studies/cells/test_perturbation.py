"""Knock-downs against controls. References: the authors' script 09 on the shared golden; OLS by
statsmodels on each target's own cells; `scipy.stats.ttest_ind`; limma's moderation through
`moderated`, itself held against limma."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
from scipy import stats

from petriscope.contrast.inference import fit_prior, moderated, squeeze
from petriscope.errors import UserError
from petriscope.sae.codes import Codes
from petriscope.studies.cells import perturbation
from petriscope.studies.cells.perturbation import (
    Baseline,
    CellMeans,
    Cohort,
    cell_means,
    cohort,
    group_sums,
    moderated_fits,
    own_feature,
    plain_fits,
    published_chance,
    published_responses,
    responses,
    target_position_means,
)


def test_a_published_response_is_specific_by_the_target_or_a_known_target_of_it() -> None:
    """Four features fire in the perturbed positions alone: effects at the floor of the variance."""
    z = sp.csr_matrix(np.eye(4, dtype=np.float32)[[0, 1, 2, 3]] * 1e-3)
    codes = Codes(z.indptr.astype(np.int64), z.indices, z.data, 5)
    silent = Baseline(np.zeros(5), np.zeros(5), np.zeros(5))
    top = {0: {"TF", "A"}, 1: {"B"}, 2: {"C"}, 4: {"TF"}}
    found = published_responses(silent, {"TF": codes, "X": codes}, top, {"TF": {"B", "D"}})
    mine, other = found
    np.testing.assert_allclose(mine.effect[:4], 1e-3 / 4 / 1e-5, rtol=1e-6)
    assert mine.changed.tolist() == [0, 1, 2, 3] and len(mine.responding) == 4
    assert mine.own.tolist() == [True, False, False, False]
    assert mine.known.tolist() == [0, 1, 0, 0]
    assert mine.specific == 2 and other.specific == 0


class World(NamedTuple):
    y: np.ndarray
    who: Cohort


def world(batches: int = 2, seed: int = 0) -> World:
    """260 cells, three targets and controls; a covariate and a batch that matter."""
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.zeros(140, int), np.repeat([1, 2, 3], 40)])
    batch = rng.integers(0, batches, len(group))
    covariates = rng.normal(size=(len(group), 2)) + group[:, None] * 0.3
    y = rng.normal(size=(len(group), 30)) + 0.7 * covariates[:, :1] + 1.5 * batch[:, None]
    y[group == 2, :5] += 1.0
    return World(y, Cohort(group, ("a", "b", "c"), batch, covariates))


def test_a_target_is_fitted_as_by_ordinary_least_squares_on_its_own_cells() -> None:
    y, who = world()
    sums = group_sums(sp.csr_matrix(y), who.group, who.nuisance())
    found = plain_fits(sums)
    for place in (1, 2, 3):
        rows = np.isin(who.group, (0, place))
        design = np.column_stack(
            [who.group[rows] == place, np.eye(2)[who.batch[rows]], who.covariates[rows]]
        ).astype(float)
        estimate, variance, scale, df = (values[place - 1] for values in found)
        for f in (0, 3, 17):
            fit = sm.OLS(y[rows, f], design).fit()
            np.testing.assert_allclose(estimate[f], fit.params[0], rtol=1e-9)
            np.testing.assert_allclose(np.sqrt(variance[f] * scale), fit.bse[0], rtol=1e-9)
            assert df == fit.df_resid


def test_without_batches_and_covariates_it_is_the_t_test_of_two_groups() -> None:
    y, who = world(batches=1)
    who = who._replace(covariates=np.zeros((len(y), 0)))
    sums = group_sums(y, who.group, who.nuisance())
    estimate, variance, scale, _ = (values[0] for values in plain_fits(sums, slice(1, 2)))
    theirs = stats.ttest_ind(y[who.group == 2], y[who.group == 0]).statistic
    np.testing.assert_allclose(estimate / np.sqrt(variance * scale), theirs, rtol=1e-9)
    mine = moderated_fits(sums)
    limma = moderated(y[who.group == 2], y[who.group == 0])
    np.testing.assert_allclose(mine.t[1], limma.t, rtol=1e-7)
    np.testing.assert_allclose(mine.p[1], limma.p, rtol=1e-6)


def test_a_target_in_a_batch_of_its_own_cannot_be_told_from_the_batch() -> None:
    y, who = world()
    who = who._replace(batch=np.where(who.group == 3, 2, who.batch))
    found = moderated_fits(group_sums(y, who.group, who.nuisance()))
    assert np.isnan(found.p[2]).all() and np.isfinite(found.p[:2]).all()


def test_all_targets_at_once_are_each_target_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula of one target, written out: least squares by numpy, the prior of its own
    variances, scipy's tail; cells in any order, some of no group, blocks that cut groups."""
    y, who = world(seed=3)
    y[:, 7] = 0.25  # a constant feature
    y = np.vstack([y, np.full((9, 30), 99.0)])
    order = np.random.default_rng(0).permutation(len(y))
    group = np.append(who.group, np.full(9, -1))[order]
    batch = np.append(who.batch, np.zeros(9, int))[order]
    covariates = np.vstack([who.covariates, np.zeros((9, 2))])[order]
    y, who = y[order], Cohort(group, who.targets, batch, covariates)
    monkeypatch.setattr(perturbation, "_CELLS_AT_ONCE", 33)
    monkeypatch.setattr(perturbation, "_ENTRIES_AT_ONCE", 60)  # two targets at once
    nuisance = who.nuisance()
    found = moderated_fits(group_sums(sp.csr_matrix(y), group, nuisance))
    for place in (1, 2, 3):
        rows = np.isin(group, (0, place))
        x = np.column_stack([group[rows] == place, nuisance[rows]]).astype(float)
        solution, _, rank, _ = np.linalg.lstsq(x, y[rows], rcond=None)
        df = rows.sum() - rank
        variance = ((y[rows] - x @ solution) ** 2).sum(0) / df
        variance[7] = 0.0  # rounding
        prior = fit_prior(variance, df)
        total = min(prior.df + df, df * 30.0)
        error = np.sqrt(squeeze(variance, df, prior) * np.linalg.pinv(x.T @ x)[0, 0])
        t = solution[0] / error
        varies = np.arange(30) != 7
        for mine, theirs in (
            (found.estimate, solution[0]),
            (found.error, error),
            (found.t, t),
            (found.p, 2 * stats.t.sf(np.abs(t), total)),
        ):
            np.testing.assert_allclose(mine[place - 1, varies], theirs[varies], rtol=1e-9)
        np.testing.assert_allclose(found.df[place - 1], total, rtol=1e-9)


def test_depth_alone_moves_no_feature_once_it_is_adjusted_for() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat([0, 1], 200)
    depth = rng.normal(size=400) + 2 * group
    y = depth[:, None] + rng.normal(size=(400, 60))
    who = Cohort(group, ("a",), np.zeros(400, int), depth[:, None])
    means = CellMeans(sp.csr_matrix(y), sp.csr_matrix(np.ones((400, 60), int)), np.full(400, 9))
    assert (responses(means, who, min_control_firing=20).q < 0.05).sum() <= 1
    blind = who._replace(covariates=np.zeros((400, 0)))
    assert (responses(means, blind, min_control_firing=20).q < 0.05).all()


def test_cell_means_are_those_of_the_dense_codes() -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((50, 7)) < 0.3, rng.random((50, 7)), 0).astype(np.float32)
    z = sp.csr_matrix(dense)
    codes = Codes(z.indptr.astype(np.int64), z.indices, z.data, 7)
    cell, rows = np.repeat(np.arange(5), 10), rng.random(50) < 0.8
    found = cell_means(codes, cell, 6, rows)
    for c in range(5):
        mine = dense[(cell == c) & rows]
        np.testing.assert_allclose(found.means[c].toarray()[0], mine.mean(0), rtol=1e-6)
        np.testing.assert_array_equal(found.fires[c].toarray()[0], (mine > 0).sum(0))
    assert found.tokens[5] == 0 and found.means[5].nnz == 0
    gene = np.tile(np.arange(10), 5)
    some = target_position_means(codes, cell, gene, 6, np.array([2, 3]))
    mine = dense[np.isin(gene, [2, 3]) & (cell == 1)]
    np.testing.assert_allclose(some.means[1].toarray()[0], mine.mean(0), rtol=1e-6)


def obs(n: int = 60) -> pd.DataFrame:
    target = np.array(["ctrl"] * 30 + ["A"] * 20 + ["B"] * 4 + [None] * 6, object)[:n]
    return pd.DataFrame(
        {"target": target, "n_genes": np.arange(n) + 50, "n_counts": np.arange(n) + 1000}
    )


def test_a_cohort_holds_controls_and_targets_with_enough_cells() -> None:
    found = cohort(obs(), "ctrl", min_cells=10)
    assert not isinstance(found, str) and found.targets == ("A",)
    assert found.sizes().tolist() == [20] and len(found.control) == 30
    assert (found.group == -1).sum() == 10
    assert isinstance(cohort(obs(), "nt", min_cells=10), str)
    assert isinstance(cohort(obs().drop(columns="target"), "ctrl", min_cells=10), str)
    few = np.arange(60) < 35
    assert isinstance(cohort(obs(), "ctrl", min_cells=10, cells=few), str)


def test_a_genes_own_feature() -> None:
    score = np.array([[0.0, 1.0, 3.0], [0.0, 2.0, 0.1], [5.0, 0.0, 0.0]])
    shares = sp.csc_matrix(score / score.sum(1, keepdims=True))
    assert own_feature(shares, 1, np.ones(3, bool)) == 1
    assert own_feature(shares, 1, np.array([True, False, True])) == 0
    assert own_feature(shares, 1, np.array([False, False, True])) is None


# --- the golden ---------------------------------------------------------------------------------


class Golden(NamedTuple):
    world: dict[str, Any]
    control: Codes
    perturbed: dict[str, Codes]
    top: dict[int, set[str]]
    known: dict[str, set[str]]
    expected: list[dict[str, Any]]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    """The authors' inputs, through their model and dictionary again (transformers)."""
    pytest.importorskip("transformers")
    from cells_published_world import PublishedWorld

    made = PublishedWorld.load(shared / "golden" / "single_cell")
    with gzip.open(shared / "golden/single_cell/bio_sae_methods.json.gz", "rt") as handle:
        expected = json.load(handle)["perturbation_1"]
    perturbed = made.perturbed_codes(1, expected["target_results"])
    return Golden(
        made.json["world"],
        made.codes(1, made.arrays["acts_1"]),
        perturbed,
        made.top_genes(1),
        made.known_targets(),
        expected["target_results"],
    )


def test_the_published_effects_come_out_exactly(golden: Golden) -> None:
    baseline = Baseline.of(golden.control)
    found = published_responses(baseline, golden.perturbed, golden.top, golden.known)
    for mine, theirs in zip(found, golden.expected, strict=True):
        assert mine.target == theirs["target_gene"]
        assert mine.positions == theirs["n_positions"]
        listed = theirs["top_changed_features"]
        assert mine.changed.tolist() == [row["feature_idx"] for row in listed]
        np.testing.assert_allclose(
            mine.effect[mine.changed], [row["effect_size"] for row in listed], rtol=1e-4
        )
        assert mine.known.tolist() == [row["n_overlaps_known_targets"] for row in listed]
        assert mine.own.tolist() == [row["overlaps_target_gene"] for row in listed]
        assert len(mine.responding) == theirs["n_responding_features"]
        assert mine.specific == theirs["n_specific_responding"]
        np.testing.assert_allclose(np.abs(mine.effect).max(), theirs["max_abs_effect"], rtol=1e-4)


def test_the_effect_of_a_near_dead_feature_vanishes(golden: Golden) -> None:
    """80.8 of a feature that fires once in 20 cells and never in controls: it is not tested."""
    largest = max(golden.expected, key=lambda row: row["max_abs_effect"])
    assert largest["max_abs_effect"] > 80
    feature = largest["top_changed_features"][0]["feature_idx"]
    control, cells = golden.control, 60
    cell = np.arange(control.n) % cells  # any sixty cells: it fires in none of them
    perturbed = golden.perturbed[largest["target_gene"]]
    other = np.arange(perturbed.n) % 20 + cells
    joined = sp.vstack([control.scipy(), perturbed.scipy()]).tocsr()
    codes = Codes(joined.indptr.astype(np.int64), joined.indices, joined.data, control.m)
    where = np.concatenate([cell, other])
    means = cell_means(codes, where, cells + 20, np.ones(len(where), bool))
    group = np.repeat([0, 1], (cells, 20))
    nothing = np.zeros((cells + 20, 0))
    who = Cohort(group, ("it",), np.zeros(cells + 20, int), nothing)
    found = responses(means, who, min_control_firing=20)
    assert not found.tested[feature] and np.isnan(found.t[0, feature])
    assert found.tested.sum() > 40 and np.nanmax(np.abs(found.t)) < 8
    with pytest.raises(UserError, match="no feature fires in"):
        responses(means, who, min_control_firing=10_000)


def test_the_chance_of_the_published_rule(golden: Golden) -> None:
    baseline = Baseline.of(golden.control)
    found = published_responses(baseline, golden.perturbed, golden.top, golden.known)
    alive = np.flatnonzero(baseline.frequency > 0)
    chance = published_chance(found, golden.top, golden.known, alive, draws=4000, seed=1)
    share = []
    for one in found:
        if one.target in golden.known:
            wanted = golden.known[one.target] | {one.target}
            hits = sum(bool(golden.top.get(int(f), set()) & wanted) for f in alive)
            r = len(one.responding)
            share.append(1 - stats.hypergeom.pmf(0, len(alive), hits, r))
    assert chance.found == 0 and chance.tfs == 6
    assert chance.expected == pytest.approx(sum(share), abs=0.05)
    assert chance.p == 1.0
