"""Reference: CKA by its definition over centered kernels, a loop over genes, a jackknife by hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats

from petriscope.contrast.effects import bootstrap_counts
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes
from petriscope.studies.cells.crossmodel import (
    Pairs,
    Terms,
    groups_of,
    jackknifed,
    left_out,
    likeness,
    likeness_above,
    linear_cka,
    matched_features,
    products,
    shared_terms,
    shared_tokens,
    shares_above,
    within_gene,
)


@pytest.fixture(scope="module")
def states() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models of 40 cells x 10 genes, and the cell of each token."""
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(400, 3))
    x = cause @ rng.normal(size=(3, 5)) + 0.5 * rng.normal(size=(400, 5)) + 4
    y = cause @ rng.normal(size=(3, 7)) + 0.5 * rng.normal(size=(400, 7)) - 2
    return x, y, np.repeat(np.arange(40), 10)


def by_kernels(x: np.ndarray, y: np.ndarray) -> float:
    center = np.eye(len(x)) - 1 / len(x)
    k, m = center @ x @ x.T @ center, center @ y @ y.T @ center
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_cka_is_that_of_kernels(states: tuple[np.ndarray, ...]) -> None:
    x, y, cell = states
    sums = products(x, y, groups_of(cell, 8), 8)
    assert linear_cka(sums) == pytest.approx(by_kernels(x, y))
    kept = groups_of(cell, 8) != 3
    assert left_out(sums)[3] == pytest.approx(by_kernels(x[kept], y[kept]))
    same = products(
        x, 2 * x @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0], cell, 40
    )
    assert linear_cka(same) == pytest.approx(1)
    assert np.isnan(linear_cka(products(0 * x, y, cell, 40)))


def test_jackknife(states: tuple[np.ndarray, ...]) -> None:
    x, y, cell = states
    values = np.array([0.4, 0.5, 0.45, 0.7])
    error = np.sqrt(3 / 4 * ((values - values.mean()) ** 2).sum())
    found = jackknifed(values, 0.5)
    half = stats.t.ppf(0.975, 3) * error
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    noise = np.random.default_rng(2).normal(size=x.shape)
    group = groups_of(cell, 10)
    pair, other = products(x, y, group, 10), products(noise, y, group, 10)
    above = likeness_above(pair, other)
    assert above.low > 0 and above.value == pytest.approx(linear_cka(pair) - linear_cka(other))
    alone = likeness(pair)
    assert alone.low < linear_cka(pair) == alone.value < alone.high
    same = likeness_above(pair, pair)
    assert same.low == same.value == same.high == 0


def test_models_that_know_genes_alone_are_alike_until_gene_means_go() -> None:
    rng = np.random.default_rng(3)
    gene, cell = np.tile(np.arange(25), 40), np.repeat(np.arange(40), 25)
    x, y = (rng.normal(size=(25, d))[gene] + 0.1 * rng.normal(size=(1000, d)) for d in (30, 40))
    group = groups_of(cell)
    assert linear_cka(products(x, y, group, 20)) > 0.5
    left = [within_gene(rows, gene) for rows in (x, y)]
    for g in (0, 13):
        np.testing.assert_allclose(left[0][gene == g], x[gene == g] - x[gene == g].mean(0))
    assert linear_cka(products(*left, group, 20)) < 0.1


def test_tokens_that_both_models_have() -> None:
    """The second drops a gene of cell 1, has special tokens and another order."""
    windows = pd.DataFrame({"split": ["train", "test", "test"], "block": [0, 1, 2]})
    cell, gene = np.repeat([0, 1, 2], 4), np.array([5, 6, 7, -1] * 3)
    first = Tokens.ragged(windows, 1, cell, 0 * cell, np.tile(np.arange(4), 3)), gene
    other = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2])
    theirs = np.array([-1, 5, -1, 7, 5, -1, 7, 6, 5])
    second = Tokens.ragged(windows, 1, other, 0 * other, np.arange(9)), theirs
    found = shared_tokens(first, second, "test")
    np.testing.assert_array_equal(gene[found.first], theirs[found.second])
    np.testing.assert_array_equal(cell[found.first], other[found.second])
    pairs = list(zip(found.cell.tolist(), found.gene.tolist()))
    assert pairs == [(1, 5), (1, 7), (2, 5), (2, 6), (2, 7)]
    fewer = shared_tokens(first, second, "test", most=3)
    assert len(fewer.first) == 3 and set(fewer.first) <= set(found.first)


def test_groups_are_of_whole_cells(states: tuple[np.ndarray, ...]) -> None:
    group = groups_of(states[2] + 100, 7)
    assert all(len(set(group[states[2] == c])) == 1 for c in range(40))
    assert sorted(np.bincount(group) // 10) == [5, 5, 6, 6, 6, 6, 6]


def test_terms_that_both_models_have() -> None:
    one = pd.DataFrame({"collection": ["go", "go", "re"], "term": ["a", "b", "a"]})
    other = pd.DataFrame({"collection": ["go", "re", "re"], "term": ["a", "b", "b"]})
    assert shared_terms({"x": one, "y": other}) == Terms(3, 2, 1, 0.25)
    assert shared_terms({"x": one[:0], "y": one[:0]}).jaccard == 0


def coded(dense: np.ndarray) -> Codes:
    made = sp.csr_matrix(dense.astype(np.float32))
    return Codes(made.indptr.astype(np.int64), made.indices, made.data, dense.shape[1])


class Two(NamedTuple):
    mine: np.ndarray
    theirs: np.ndarray
    gene: np.ndarray
    group: np.ndarray


def two_models(alike: bool, seed: int = 2) -> Two:
    """60 cells of 8 genes in 12 groups. Feature j of one model is feature 11 - j of the other, or
    shares no more than its gene; the partner of the last fires nowhere."""
    rng = np.random.default_rng(seed)
    gene = np.repeat(np.arange(8), 60)
    likes = rng.random((8, 12)) ** 2  # how often a feature fires on a gene, in both models
    fires = rng.random((480, 12)) < likes[gene]
    mine = fires * rng.uniform(1, 2, fires.shape)
    again = fires if alike else rng.random((480, 12)) < likes[gene]
    theirs = (again * rng.uniform(1, 2, fires.shape))[:, ::-1]
    theirs[:, 0] = 0  # its partner finds no feature that fires
    return Two(mine, theirs, gene, np.tile(np.arange(60) % 12, 8))


def matched(two: Two, seed: int = 0) -> Pairs:
    mine, theirs, gene, group = two
    return matched_features(coded(mine), coded(theirs), gene, group, min_count=5, seed=seed)


@pytest.mark.parametrize("alike", [True, False])
def test_features_are_matched_beyond_their_genes(alike: bool) -> None:
    mine, theirs, _, _ = two = two_models(alike)
    found = matched(two)
    table = found.table.set_index("feature")
    assert len(table) == 11  # one to one
    if alike:
        own = table.drop(index=11, errors="ignore")
        assert (own.other_feature == 11 - own.index).all() and found.above > 0.8
        assert (own.p == 1 / 12).all()
        j = own.index[0]
        both = (mine[:, j] > 0) & (theirs[:, 11 - j] > 0)
        assert own.tokens[j] == both.sum()
        residual = [
            np.concatenate([part - part.mean() for part in np.split(one, 8)])
            for one in (mine[:, j], theirs[:, 11 - j])
        ]
        assert own.r[j] == pytest.approx(stats.pearsonr(*residual).statistic)
    else:
        # genes alone make the models alike, and nothing is left beyond them
        plain = np.corrcoef(mine[:, 3], theirs[:, 8])[0, 1]
        assert plain > 0.1 and found.above < 0.5 and table.r.max() < 0.3


def test_no_feature_fires_often_enough_to_be_matched() -> None:
    silent = coded(np.zeros((6, 3)))
    two = np.arange(6) // 2
    found = matched_features(silent, silent, two, two, min_count=1, seed=0)
    assert found.table.empty and np.isnan(found.null) and np.isnan(found.above)
    assert shares_above(found, found, 10, 0) is None


def residuals(values: np.ndarray, gene: np.ndarray) -> np.ndarray:
    return values - pd.DataFrame(values).groupby(gene).transform("mean").to_numpy()


def test_a_resample_of_groups_of_cells_repeats_their_tokens() -> None:
    """Reference: Pearson's r, without centering anew, of the tokens written out as often as their
    group is drawn."""
    mine, theirs, gene, group = two = two_models(alike=True)
    found = matched(two)
    counts = np.stack([np.ones(12), np.r_[2, 0, 1, 3, 0, 0, 1, 1, 1, 0, 2, 1]])
    r = found.found.correlations(counts)
    np.testing.assert_allclose(r[0], found.table.r)
    x = residuals(mine, gene)[:, found.table.feature]
    y = residuals(theirs, gene)[:, found.table.other_feature]
    rows = np.repeat(np.arange(480), counts[1].astype(int)[group])
    own = (x[rows] * y[rows]).sum(0) / np.sqrt((x[rows] ** 2).sum(0) * (y[rows] ** 2).sum(0))
    np.testing.assert_allclose(r[1], own, rtol=1e-5)
    limits = np.quantile(found.dealt.correlations(counts), 0.99, axis=1)
    assert limits[0] == pytest.approx(found.null)
    np.testing.assert_allclose(found.drawn(counts), (r > limits[:, None]).mean(1))


def test_the_interval_of_the_matched_share() -> None:
    alike, unlike = matched(two_models(alike=True)), matched(two_models(alike=False))
    known = shares_above(alike, unlike, 400, 0)
    assert known is not None
    mine, other, less = known
    assert 0.4 < mine.low <= mine.value == alike.above <= mine.high <= 1
    assert 0 <= other.low <= other.value == unlike.above <= other.high
    assert less.low > 0.1 and less.value == pytest.approx(mine.value - other.value)
    counts = bootstrap_counts(12, 400, 0)
    half = stats.t.ppf(0.975, 11) * np.std(alike.drawn(counts), ddof=1)
    assert mine.low == pytest.approx(mine.value - half)
    assert mine.high == pytest.approx(min(1, mine.value + half))
    same = shares_above(alike, alike, 400, 0)
    assert same is not None and same[2].low == same[2].high == 0


def test_the_share_lies_in_its_interval_where_many_pairs_are_barely_alike() -> None:
    """Percentiles of the resamples would lie below it."""
    rng = np.random.default_rng(0)
    gene, group = np.repeat(np.arange(8), 200), np.tile(np.arange(200) % 20, 8)
    fires = rng.random((1600, 60)) < 0.2
    same = rng.random(fires.shape) < rng.uniform(0.02, 0.3, 60)
    again = np.where(same, fires, rng.random(fires.shape) < 0.2)
    found = matched(Two(fires.astype(float), again.astype(float), gene, group))
    drawn = found.drawn(bootstrap_counts(20, 300, 0))
    assert np.quantile(drawn, 0.9) < found.above
    (mine, *_) = shares_above(found, found, 300, 0) or ()
    assert mine.low < found.above < mine.high


def test_cells_that_share_nothing_keep_a_share_of_chance_in_resamples() -> None:
    """A limit that stayed that of all cells would be passed by many pairs of a resample, whose r
    spread more widely than those of the data."""
    found = [matched(two_models(False, seed), seed) for seed in range(8)]
    counts = bootstrap_counts(12, 200, 1)
    drawn = np.mean([one.drawn(counts).mean() for one in found])
    fixed = np.mean([(one.found.correlations(counts) > one.null).mean() for one in found])
    assert drawn < 0.12 and fixed > 0.15
