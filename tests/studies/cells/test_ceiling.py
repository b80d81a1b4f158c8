"""What the data show. References: `scipy.stats.ttest_ind`; the t values of section 4(i) of the design on
the real Papalexi cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats

from petriscope.studies.cells.ceiling import (
    Moved,
    ceiling,
    ceiling_table,
    log_normalized,
    moved_genes,
    permuted_size,
)
from petriscope.studies.cells.perturbation import Cohort
from petriscope.studies.cells.regulons import Regulon


def cohort_of(group: np.ndarray, names: tuple[str, ...]) -> Cohort:
    nothing = np.zeros((len(group), 0))
    return Cohort(group, names, np.zeros(len(group), int), nothing)


def test_all_targets_in_one_pass_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(2, (90, 12)))
    y = log_normalized(counts, np.asarray(counts.sum(1)).ravel(), 50)
    group = np.repeat([0, 1, 2, -1], (40, 20, 15, 15))
    found = moved_genes(y, cohort_of(group, ("a", "b")))
    for row in (0, 1):
        theirs = stats.ttest_ind(
            y.toarray()[group == row + 1], y.toarray()[group == 0], equal_var=False
        )
        np.testing.assert_allclose(found.t[row], theirs.statistic, rtol=1e-8)
        order = np.argsort(theirs.pvalue)
        scaled = theirs.pvalue[order] * 12 / np.arange(1, 13)
        np.testing.assert_allclose(
            found.q[row][order], np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1), rtol=1e-6
        )


def table_of(
    moved: Moved,
    tfs: list[Regulon],
    axes: np.ndarray,
    usable: np.ndarray,
    y: np.ndarray,
    who: Cohort,
) -> pd.DataFrame:
    return ceiling_table(
        moved,
        tfs,
        axes,
        usable,
        expression=sp.csr_matrix(y),
        who=who,
        draws=300,
        alpha=0.05,
        seed=0,
    )


def test_labels_are_permuted_within_batches() -> None:
    """Brute force: Welch's t of scipy for each permutation; a difference of batches is none."""
    rng = np.random.default_rng(2)
    target = np.repeat([False, True], 30)
    batch = np.where(rng.random(60) < 0.3, 1, target).astype(int)
    y = rng.normal(size=(60, 4)) + 4 * batch[:, None]
    drawn = permuted_size(y, target, batch, 3, 7)
    label, again = np.tile(target, (3, 1)), np.random.default_rng(7)
    for one in (0, 1):
        mine = np.flatnonzero(batch == one)
        label[:, mine] = again.permuted(label[:, mine], axis=1)
        assert (label[:, mine].sum(1) == target[mine].sum()).all()
    for value, row in zip(drawn, label):
        theirs = stats.ttest_ind(y[row], y[~row], equal_var=False).statistic
        assert value == pytest.approx(np.abs(theirs).mean())
    observed = np.abs(stats.ttest_ind(y[target], y[~target], equal_var=False).statistic).mean()
    assert observed < drawn.max() + 1 and drawn.min() > 4  # all of it is the batches


def test_genes_that_vary_together_are_not_shown_by_chance() -> None:
    """Co-expressed regulons that no knock-down moves: matched sets alone would show many."""
    rng = np.random.default_rng(3)
    group, genes, n_tf = np.repeat(np.arange(21), [200, *[40] * 20]), 300, 20
    y = rng.normal(size=(len(group), genes))
    tfs = [Regulon(f"tf{i}", i, 20 + 8 * i + np.arange(8), np.ones(8, int)) for i in range(n_tf)]
    for regulon in tfs:
        y[:, regulon.genes] += 2 * rng.normal(size=(len(group), 1))
    who = cohort_of(group, tuple(r.name for r in tfs))
    axes, usable = np.zeros((genes, 1)), np.ones(genes, bool)
    table = table_of(moved_genes(y, who), tfs, axes, usable, y, who)
    assert (table.p_sets <= 0.05).sum() >= 4  # a fifth or more where one in twenty is right
    assert (table.p_labels <= 0.05).sum() <= 3 and (table.q < 0.05).sum() == 0


def test_a_regulon_that_moves_is_shown_and_one_that_does_not_is_not() -> None:
    rng = np.random.default_rng(1)
    group, genes = np.repeat(np.arange(5), 60), 120
    y = rng.normal(size=(300, genes)) - 0.1 * (group[:, None] > 0)
    tfs = [Regulon(f"tf{i}", i, 10 + 6 * i + np.arange(6), np.ones(6, int)) for i in range(4)]
    for i in (0, 1):
        y[np.ix_(group == i + 1, tfs[i].genes)] -= 0.8
        y[group == i + 1, i] -= 3
    who = cohort_of(group, ("tf0", "tf1", "tf2", "tf3"))
    moved = moved_genes(y, who)
    usable, axes = np.ones(genes, bool), rng.normal(size=(genes, 2))
    table = table_of(moved, tfs, axes, usable, y, who)
    assert (table.q < 0.05).tolist() == [True, True, False, False]
    assert (table.moved[:2] >= 5).all() and (table.moved[2:] == 0).all()
    rest = np.delete(np.arange(genes), 0)
    rest = np.setdiff1d(rest, tfs[0].genes)
    level = np.abs(moved.t[0] - np.median(moved.t[0, np.r_[rest, tfs[0].genes]]))
    assert table["size"][0] == pytest.approx(level[tfs[0].genes].mean())
    found = ceiling(table, 0.05)
    assert (found.tfs, found.shown, found.own_measured, found.own_falls) == (4, 2, 4, 2)


def test_the_real_knock_outs_of_papalexi(shared: Path) -> None:
    """Guides with four fifths of a cell's guide counts; log(1 + 100 · share) of 299 genes."""
    anndata = pytest.importorskip("anndata")
    cells = anndata.read_h5ad(shared / "data/single_cell/papalexi_lowmoi.h5ad")
    clear = (cells.obs.grna_umis / cells.obs.grna_umis_total > 0.8).to_numpy()
    cells = cells[clear]
    target, names = cells.obs.target.astype(str).to_numpy(), list(cells.var_names)
    targets = tuple(sorted(set(target) - {"non-targeting"}))
    group = np.array([0 if t == "non-targeting" else 1 + targets.index(t) for t in target])
    counts = sp.csr_matrix(cells.X)
    y = log_normalized(counts, np.asarray(counts.sum(1)).ravel(), 100)
    found = moved_genes(y, cohort_of(group, targets))

    def t(tf: str, gene: str) -> float:
        return float(found.t[targets.index(tf), names.index(gene)])

    for gene, value in zip(
        ("PSMB9", "JAK2", "STAT2", "STAT3", "STAT1"), (-21.5, -17.5, -13.9, -4.0, -30.9)
    ):
        assert t("STAT1", gene) == pytest.approx(value, abs=0.05)
    assert t("IRF1", "PSMB9") == pytest.approx(-5.4, abs=0.05)
    measured = [name for name in targets if name in names]
    own = [t(name, name) for name in measured]
    assert len(measured) == 9 and max(own) < -4.9
    trrust = pd.read_csv(shared / "data/single_cell/trrust_v2_human.tsv.gz", sep="\t")
    for tf in ("ATF2", "ETV7", "IRF7"):
        known = trrust[(trrust.tf == tf) & trrust.target.isin(names)].target
        rows = [names.index(gene) for gene in set(known)]
        assert not (found.q[targets.index(tf), rows] < 0.05).any()
