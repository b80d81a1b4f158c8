"""Regulons of responding features. References: hypergeometric and Clopper-Pearson of scipy and statsmodels,
brute force over all outcomes of McNemar's test, planted answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.proportion import proportion_confint

from petriscope.sae.codes import Codes
from petriscope.studies.cells.gene_table import gene_table
from petriscope.studies.cells.matching import matched_genes, share_as_large
from petriscope.studies.cells.perturbation import Cohort
from petriscope.studies.cells.regulons import (
    Asked,
    Material,
    Regulon,
    counted,
    degrees,
    directed,
    exact_share,
    gene_scores,
    mcnemar,
    planted_power,
    regulon_specificity,
    regulons_of,
    respond,
    score_shares,
    smallest_detectable,
    why_no_regulons,
)

GENES, TFS = 90, 6
NAMES = [f"g{i}" for i in range(GENES)]
REGULONS = [Regulon(f"g{i}", i, 10 + 8 * i + np.arange(8), np.ones(8, int)) for i in range(TFS)]


def test_matched_sets_resemble_the_set_and_hold_none_of_it() -> None:
    rng = np.random.default_rng(0)
    axes = np.column_stack([rng.normal(size=400), 10 * rng.normal(size=400)])
    members = np.argsort(axes[:, 0])[-12:]
    sets = matched_genes(members, axes, np.arange(400), 500, 1)
    assert sets.shape == (500, 12) and not np.isin(sets, members).any()
    assert all(len(set(row)) == 12 for row in sets)
    # the highest of one axis: their counterparts are the next highest, whatever its unit
    assert axes[sets, 0].mean() > np.quantile(axes[:, 0], 0.85)
    assert len(np.unique(sets, axis=0)) > 490
    with pytest.raises(ValueError, match="are to be matched"):
        matched_genes(members, axes, np.arange(5), 10, 1)
    assert share_as_large(np.array([1.0, 2.0, 3.0]), 2.0) == 0.75


def test_a_set_as_large_as_the_pool_is_still_drawn_without_repeats() -> None:
    axes = np.arange(13, dtype=float)[:, None]
    sets = matched_genes(np.arange(6), axes, np.arange(13), 40, 0)
    assert all(len(set(row)) == 6 for row in sets) and sets.min() >= 6


def test_regulons_are_read_in_one_direction_and_without_the_factor_itself() -> None:
    network = pd.DataFrame(
        {
            "source": ["g0", "g0", "g0", "g0", "g1", "g1", "g1", "gone"],
            "target": ["g5", "g6", "g7", "g0", "g5", "absent", "g8", "g9"],
            "sign": [1, -1, 1, 1, 0, 1, 1, 1],
        }
    )
    second = pd.DataFrame({"source": ["g0", "g1"], "target": ["g7", "g9"], "sign": [-1, 1]})
    found = regulons_of({"a": network, "b": second}, NAMES, ["g0", "g1"])
    assert [r.name for r in found] == ["g0", "g1"]
    assert found[0].genes.tolist() == [5, 6, 7] and found[0].sign.tolist() == [1, -1, 0]
    assert found[1].genes.tolist() == [5, 8, 9] and found[1].tf == 1
    assert regulons_of({"a": network}, NAMES, ["g1"]) == []
    count = degrees({"a": network, "b": second}, NAMES)
    assert count[5] == 2 and count[7] == 1 and count[9] == 2 and count[1] == 0


def test_a_network_of_pairs_names_no_regulon() -> None:
    signed = pd.DataFrame({"source": ["tf1"], "target": ["b"], "sign": [-1.0]})
    pairs = signed.assign(sign=np.nan)
    found = directed({"trrust": signed, "string": pairs, "plain": pairs.drop(columns="sign")})
    assert list(found) == ["trrust"]
    assert found["trrust"].source.tolist() == ["TF1"] and found["trrust"].target.tolist() == ["B"]
    assert why_no_regulons({}) == "the data set has no network"
    assert why_no_regulons({"string": pairs}) == (
        "the network string gives no edge a sign (column sign, mode, mor), so that nothing "
        "tells which gene regulates which"
    )
    assert why_no_regulons({"a": pairs, "b": pairs}).startswith("the networks a, b give no edge")
    assert why_no_regulons({"trrust": signed, "string": pairs}) == (
        "no network with signs (trrust) names 3 measured targets of a knocked-down gene"
    )


def test_a_gene_on_which_a_feature_fires_once_does_not_lead_it() -> None:
    gene = np.array([0] * 40 + [1] * 40 + [2] * 2 + [-1] * 5)
    dense = np.zeros((len(gene), 1), np.float32)
    dense[:20] = 1.0
    dense[80] = 50.0
    z = sp.csr_matrix(dense)
    codes = Codes(z.indptr.astype(np.int64), z.indices, z.data, 1)
    table = gene_table(codes, gene, 4)
    score = gene_scores(table, 5)
    assert score.toarray()[0].tolist() == [
        20 / 80,
        0,
        0,
        0,
    ]  # n_g + n0 with n0 the median of 40, 40, 2
    assert gene_scores(table, 1)[0, 2] == pytest.approx(50 / 42)
    shares = score_shares(sp.csr_matrix([[1.0, 3.0], [0.0, 0.0]]))
    assert shares.toarray().tolist() == [[0.25, 0.75], [0, 0]]


def specific_world() -> tuple[sp.csr_matrix, np.ndarray]:
    """Features 0…5 score on the regulon of that TF, 6…59 on genes at random."""
    rng = np.random.default_rng(3)
    score = rng.random((60, GENES)) * (rng.random((60, GENES)) < 0.1)
    for i, regulon in enumerate(REGULONS):
        score[i, regulon.genes] += 3
    return score_shares(sp.csr_matrix(score)), rng.normal(size=(GENES, 2))


def test_responding_features_of_the_regulon_are_told_from_others() -> None:
    shares, axes = specific_world()
    usable = np.ones(GENES, bool)
    responding = {"g0": np.array([0, 20]), "g1": np.array([1]), "g2": np.array([0, 1, 3])}
    responding |= {"g3": np.array([], int), "g4": np.array([30, 31, 32])}
    found = regulon_specificity(shares, responding, REGULONS, axes, usable, draws=999, seed=0)
    by = {one.name: one for one in found}
    assert set(by) == {"g0", "g1", "g2", "g3", "g4"}  # g5 was not knocked down
    assert by["g0"].p < 0.01 and by["g1"].p < 0.01
    assert by["g0"].swap_p == pytest.approx(1 / 6) and by["g0"].share > 2 * by["g0"].null
    assert by["g2"].p > 0.2 and by["g4"].p > 0.05
    assert by["g3"].p == 1 and by["g3"].features == 0
    count = counted(found, 0.05)
    assert (count.specific, count.tfs, count.responding_tfs) == (2, 5, 4)
    assert count.low == pytest.approx(proportion_confint(2, 5, method="beta")[0])
    assert count.high == pytest.approx(proportion_confint(2, 5, method="beta")[1])
    assert count.chance == pytest.approx(0.25)
    assert count.nominal_p == pytest.approx(1 - stats.binom.cdf(count.nominal - 1, 5, 0.05))


def test_a_factors_own_gene_neither_counts_nor_stands_for_others() -> None:
    """All the score lies on the TF's own gene: nothing is said of its regulon."""
    shares = sp.csr_matrix(([1.0], ([0], [0])), (1, GENES))
    axes = np.random.default_rng(0).normal(size=(GENES, 2))
    one = regulon_specificity(
        shares, {"g0": np.array([0])}, REGULONS, axes, np.ones(GENES, bool), draws=99, seed=0
    )[0]
    assert one.share == 0 and one.null == 0 and one.p == 1


def test_random_responding_features_are_specific_as_often_as_alpha_says() -> None:
    rng = np.random.default_rng(8)
    _, axes = specific_world()
    p = []
    for seed in range(60):
        shares = score_shares(sp.csr_matrix(rng.random((20, GENES)) ** 4))
        responding = {r.name: rng.choice(20, 4, replace=False) for r in REGULONS}
        usable = np.ones(GENES, bool)
        found = regulon_specificity(shares, responding, REGULONS, axes, usable, draws=99, seed=seed)
        p += [one.p for one in found]
    assert stats.binomtest(int((np.array(p) <= 0.05).sum()), len(p), 0.05).pvalue > 0.01
    assert 0.4 < np.mean(p) < 0.6


def test_published_limits() -> None:
    """Clopper-Pearson of 3 and of 5 in 48: 1.3 to 17.2 %, 3.5 to 22.7 %."""
    for k, low, high in ((3, 0.013, 0.172), (5, 0.035, 0.227)):
        share = exact_share(k, 48)
        assert round(share.low, 3) == low and round(share.high, 3) == high
    assert exact_share(0, 0) == (0, 0, 0.0, 1.0)


def test_mcnemar() -> None:
    before, after = np.zeros(48, bool), np.zeros(48, bool)
    before[:3], after[3:8] = True, True  # five gained and three lost: p .73 of the design
    found = mcnemar(before, after, 0.05)
    assert (found.gained, found.lost, found.both, found.neither) == (5, 3, 0, 40)
    theirs = sm_mcnemar([[0, 3], [5, 40]], exact=True).pvalue
    assert found.p == pytest.approx(theirs) and round(found.p, 2) == 0.73
    assert mcnemar(before, before, 0.05).p == 1


def test_the_smallest_detectable_difference_has_the_power_it_says() -> None:
    n, lost = 30, 2
    found = smallest_detectable(n, lost, 0.05)
    assert found is not None
    rng = np.random.default_rng(0)

    def power(gain: float) -> float:
        draws = rng.multinomial(n, [gain, lost / n, 1 - gain - lost / n], 2000)
        hits = [g > k and stats.binomtest(int(g), int(g + k)).pvalue < 0.05 for g, k, _ in draws]
        return float(np.mean(hits))

    assert power(found + lost / n) == pytest.approx(0.8, abs=0.04)
    assert power(found + lost / n - 0.06) < 0.78
    assert smallest_detectable(4, 0, 0.05) is None  # four pairs: p is never below 1/8
    assert smallest_detectable(0, 0, 0.05) is None


def planted_world(specific: bool) -> tuple[Material, Cohort]:
    """200 control cells of all genes; a feature fires on the genes of each regulon, or (not
    ``specific``) features fire wherever they like."""
    rng = np.random.default_rng(0)
    cells, features = 200, 24
    gene, cell = np.tile(np.arange(GENES), cells), np.repeat(np.arange(cells), GENES)
    chance = np.full((features, GENES), 0.08)
    if specific:
        for i, regulon in enumerate(REGULONS):
            chance[i] = 0.02
            chance[i, regulon.genes] = 0.8
    dense = np.where(rng.random((len(gene), features)) < chance.T[gene], 1.0, 0.0)
    dense *= rng.random(dense.shape) + 0.5
    z = sp.csr_matrix(dense.astype(np.float32))
    codes = Codes(z.indptr.astype(np.int64), z.indices, z.data, features)
    who = Cohort(
        np.concatenate([np.zeros(140, int), np.repeat(np.arange(1, 7), 10)]),
        tuple(r.name for r in REGULONS),
        np.zeros(cells, int),
        np.column_stack([GENES + 9 * rng.normal(size=cells), rng.normal(size=cells)]),
    )
    return Material(codes, gene, cell), who


@pytest.mark.parametrize("specific", [True, False])
def test_power_rises_with_the_genes_that_move_where_features_can_show_them(specific: bool) -> None:
    material, who = planted_world(specific)
    asked = Asked(5, 20, 20, 199, 0.05, 0)
    scored = who.group == 0
    found = respond(material, who, scored, REGULONS, np.zeros(GENES), asked)
    np.testing.assert_allclose(
        found.cells.means.toarray(),
        material.codes.dense().reshape(200, GENES, -1).mean(1),
        rtol=1e-5,
    )
    assert found.table.tokens.tolist() == [140] * GENES  # scores are of unperturbed cells
    table = planted_power(material, found, who, REGULONS, asked, sizes=[1, 8], tries=10)
    assert table.genes.tolist() == [1, 8] and (table.tries == 10).all()
    if specific:
        assert table.power[1] == 1 and table.responding[1] >= 1
        assert table.power[1] > table.power[0] or table.power[0] == 1
    else:
        assert table.power[1] < 0.5
