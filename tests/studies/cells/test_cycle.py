"""The cell cycle as a covariate. References: the definition over a pandas table, gene by gene; OLS
by statsmodels; the lists of Seurat 4.3 by their numbers of genes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm

from petriscope.studies.cells.cycle import BINS, LEAST, PHASES, cell_cycle
from petriscope.studies.cells.perturbation import (
    CellMeans,
    Cohort,
    group_sums,
    plain_fits,
    responses,
)

OTHERS = tuple(f"X{i}" for i in range(400))


class World(NamedTuple):
    expression: sp.csr_matrix
    names: list[str]
    group: np.ndarray
    phase: np.ndarray
    """(n, 2) how far each cell is in S and in G2/M"""


def world(seed: int = 0, slowed: float = 1.5) -> World:
    """300 control cells and 150 whose knock-down takes them out of both phases; 12 genes of S by
    their newer symbols and one by its older, 15 of G2/M."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1], [300, 150])
    phase = rng.normal(size=(450, 2)) - slowed * group[:, None]
    s, g2m = (list(genes[:n]) for genes, n in zip(PHASES, (12, 15)))
    names = [*s, "MLF1IP", *g2m, *OTHERS]
    follows = np.zeros((2, len(names)))
    follows[0, :13] = follows[1, 13:28] = 0.8
    level = rng.uniform(-1, 2, len(names))
    counts = rng.poisson(np.exp(level + phase @ follows))
    return World(sp.csr_matrix(np.log1p(counts)), names, group, phase)


def test_the_lists_are_those_of_the_source() -> None:
    assert [len(set(genes)) for genes in PHASES] == [len(genes) for genes in PHASES] == [43, 54]
    assert not set(PHASES[0]) & set(PHASES[1])
    assert "CENPU/MLF1IP" in PHASES[0] and {"FAM64A", "HN1"} <= {
        old for gene in PHASES[1] for old in gene.split("/")[1:]
    }


def test_a_score_is_the_mean_of_genes_less_those_of_their_bin() -> None:
    expression, names, _, phase = world()
    names = [*names[:-1], "CDK1"]  # a second column of the name: the first counts
    found = cell_cycle(expression, names, ["X3", "MCM5"])
    assert found.numbers.adjusted and (found.numbers.s, found.numbers.g2m) == (12, 15)
    table = pd.DataFrame(expression.toarray())
    mean = table.mean().to_numpy()
    bins = np.argsort(np.argsort(mean, kind="stable")) * BINS // len(mean)
    own = [*range(1, 13)]  # MCM5 is a target
    other = [*range(13, 28)]
    free = [g for g in range(len(names)) if g not in (0, names.index("X3"), *own, *other)]
    for column, rows in enumerate((own, other)):
        parts = []
        for gene in rows:
            controls = [g for g in free if bins[g] == bins[gene]]
            parts.append(table[gene] - table[controls].mean(axis=1))
        np.testing.assert_allclose(found.scores[:, column], pd.concat(parts, axis=1).mean(axis=1))
        assert np.corrcoef(found.scores[:, column], phase[:, column])[0, 1] > 0.8


def test_too_few_measured_genes_adjust_nothing_and_say_how_many() -> None:
    expression, names, *_ = world()
    names = [f"Y{name}" if 4 <= row < 13 else name for row, name in enumerate(names)]
    found = cell_cycle(expression, names, [])
    assert found.scores.shape == (450, 0) and not found.numbers.adjusted
    assert (found.numbers.s, found.numbers.s_of) == (4, 43) and found.numbers.least == LEAST
    assert (found.numbers.g2m, found.numbers.g2m_of) == (15, 54)


def test_what_follows_the_cycle_responds_less_once_it_is_adjusted_for() -> None:
    """Features 0 to 19 follow the cycle, 20 to 29 the target, the others nothing. A score of a few
    genes is the cycle with noise, so that something of the cycle is left."""
    expression, names, group, phase = world(seed=4)
    rng = np.random.default_rng(5)
    y = rng.normal(size=(450, 60))
    y[:, :20] += 0.3 * phase[:, :1] + 0.3 * phase[:, 1:]
    y[:, 20:30] -= group[:, None]
    scores = cell_cycle(expression, names, []).scores
    who = Cohort(group, ("a",), np.zeros(450, np.int64), scores)
    means = CellMeans(sp.csr_matrix(y), sp.csr_matrix(np.ones(y.shape, np.int64)), np.full(450, 9))
    blind = responses(means, who._replace(covariates=scores[:, :0]), min_control_firing=20)
    given = responses(means, who, min_control_firing=20)
    before, after = (set(one.responding(0, 0.05).tolist()) for one in (blind, given))
    assert set(range(30)) <= before and set(range(20, 30)) <= after
    assert len(after & set(range(20))) <= 8
    moved = np.abs(given.t[0, :20]).mean() / np.abs(blind.t[0, :20]).mean()
    assert moved < 0.5
    fits = plain_fits(group_sums(y, group, who.nuisance()))
    for f in (0, 25, 40):
        theirs = sm.OLS(y[:, f], np.column_stack([group, np.ones(450), scores])).fit()
        assert fits.estimate[0, f] == pytest.approx(theirs.params[0], rel=1e-9)
        error = np.sqrt(fits.variance[0, f] * fits.scale[0])
        assert error == pytest.approx(theirs.bse[0], rel=1e-9)
        assert fits.df[0] == theirs.df_resid
