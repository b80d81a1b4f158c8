"""Over-representation against gseapy and scipy's hypergeometric; GREAT's binomial against scipy;
GMT reader."""

from __future__ import annotations

import gseapy
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests

from petriscope.enrich.genes import Links
from petriscope.enrich.genesets import GeneSets, enrich_gene_sets, enrich_genes, read_gmt
from petriscope.enrich.tails import benjamini_hochberg
from petriscope.errors import UserError


@pytest.fixture
def collection():
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(600)]
    sets = {
        f"term{t}": tuple(rng.choice(genes, rng.integers(3, 80), replace=False)) for t in range(60)
    }
    return rng, genes, GeneSets(sets, ())


def test_one_list_equals_gseapy_and_scipy(collection):
    rng, genes, sets = collection
    background = genes[:500]
    query = [*rng.choice(genes, 90, replace=False), "NOT_A_GENE"]
    ours = enrich_genes(query, sets, background, min_size=1).set_index("term")
    result = gseapy.enrich(
        gene_list=query,
        gene_sets={k: list(v) for k, v in sets.sets.items()},
        background=background,
        outdir=None,
    ).results.set_index("Term")
    np.testing.assert_allclose(
        np.exp(ours["ln_p"].reindex(result.index)), result["P-value"].astype(float), rtol=1e-9
    )
    assert (ours.loc[ours.index.difference(result.index), "ln_p"] == 0).all()
    asked = set(query) & set(background)
    for term in list(sets.sets)[:20]:
        members = set(sets.sets[term]) & set(background)
        k = len(members & asked)
        p = stats.hypergeom.sf(k - 1, 500, len(members), len(asked))
        assert np.exp(ours.loc[term, "ln_p"]) == pytest.approx(p, rel=1e-9)
        assert set(filter(None, ours.loc[term, "genes"].split(";"))) == members & asked
    np.testing.assert_allclose(ours["q"], multipletests(np.exp(ours["ln_p"]), method="fdr_bh")[1])
    assert (
        ours["q"].reindex(result.index) >= result["Adjusted P-value"].astype(float) - 1e-12
    ).all()


def test_gseapy_engine_gives_the_same_table(collection):
    rng, genes, sets = collection
    query = list(rng.choice(genes, 60, replace=False))
    exact = enrich_genes(query, sets, genes)
    pd.testing.assert_frame_equal(
        enrich_genes(query, sets, genes, engine="gseapy"), exact, rtol=1e-8
    )


def test_features_equal_single_lists_and_scipy_binomial(collection):
    rng, genes, sets = collection
    n = 3000
    matrix = sparse.random(n, 600, density=0.001, random_state=1, format="csr")
    matrix.data[:] = 1
    links = Links(matrix, genes)
    member = sparse.csr_matrix(rng.uniform(size=(5, n)) < 0.02)
    universe = rng.uniform(size=n) < 0.8
    result = enrich_gene_sets(member, links, sets, universe=universe, features=list("abcde"))
    background = [
        genes[g] for g in np.flatnonzero(np.asarray(matrix[universe].sum(axis=0)).ravel())
    ]
    assert result.background == len(background) and result.family == 5 * len(result.terms)
    for i, name in enumerate("abcde"):
        fires = (member[i].toarray().ravel() > 0) & universe
        query = [genes[g] for g in np.flatnonzero(np.asarray(matrix[fires].sum(axis=0)).ravel())]
        single = enrich_genes(query, sets, background).set_index("term")
        mine = result.table[result.table["feature"] == name].set_index("term")
        np.testing.assert_allclose(mine["ln_p"], single.loc[mine.index, "ln_p"], rtol=1e-10)
        assert set(single.index[single["overlap"] > 0]) == set(mine.index)
        term = mine.index[0]
        column = np.isin(genes, sets.sets[term])
        near = np.asarray(matrix @ column.astype(float)).ravel() > 0
        k, p = (near & fires).sum(), (near & universe).sum() / universe.sum()
        assert mine.loc[term, "region_hits"] == k
        assert np.exp(mine.loc[term, "region_ln_p"]) == pytest.approx(
            stats.binom.sf(k - 1, fires.sum(), p), rel=1e-9
        )
    full = np.ones(result.family)
    full[: len(result.table)] = np.exp(result.table["ln_p"])
    np.testing.assert_allclose(
        result.table["q"], multipletests(full, method="fdr_bh")[1][: len(result.table)]
    )


def test_a_planted_process_is_first(collection):
    rng, genes, sets = collection
    n = 2400
    links = Links(
        sparse.csr_matrix((np.ones(n), (np.arange(n), np.arange(n) % 600)), shape=(n, 600)), genes
    )
    planted = np.isin(np.array(genes)[np.arange(n) % 600], sets.sets["term3"]) & (
        rng.uniform(size=n) < 0.5
    )
    fires = sparse.csr_matrix(
        np.stack([planted | (rng.uniform(size=n) < 0.02), rng.uniform(size=n) < 0.05])
    )
    table = enrich_gene_sets(fires, links, sets).table
    assert table.iloc[0][["feature", "rank", "term"]].tolist() == [0, 1, "term3"]
    assert table.iloc[0]["q"] < 1e-6 and table.iloc[0]["region_q"] < 1e-6
    assert (table.loc[table["feature"] == 1, "q"] > 0.05).all()


def test_adjusted_chances_sum_to_the_genes_seen_and_give_the_binomial(collection):
    rng, genes, sets = collection
    bins = np.repeat(np.arange(600), rng.integers(1, 40, 600))
    n = len(bins)
    links = Links(sparse.csr_matrix((np.ones(n), (np.arange(n), bins)), shape=(n, 600)), genes)
    fires = rng.uniform(size=n) < 0.03
    row = enrich_gene_sets(sparse.csr_matrix(fires[None, :]), links, sets).table.iloc[0]
    b = np.bincount(bins)
    seen = len(np.unique(bins[fires]))
    rate = brentq(lambda r: (1 - (1 - r) ** b).sum() - seen, 1e-9, 0.9)
    chance = 1 - (1 - rate) ** b[np.isin(genes, sets.sets[row["term"]])]
    assert row["query"] == seen and row["expected"] == pytest.approx(chance.sum(), rel=1e-6)
    p = stats.binom.sf(row["overlap"] - 1, len(chance), chance.mean())
    assert np.exp(row["adjusted_ln_p"]) == pytest.approx(p, rel=1e-6)


def test_random_bins_find_nothing_although_genes_differ_in_bins(collection):
    """200 draws; terms made of genes with many bins. The plain gene test is fooled; the adjusted
    and the region test not."""
    rng, genes, _ = collection
    size = np.where(np.arange(600) < 150, 60, 5)
    bins = np.repeat(np.arange(600), size)
    n = len(bins)
    links = Links(sparse.csr_matrix((np.ones(n), (np.arange(n), bins)), shape=(n, 600)), genes)
    large = {f"large{t}": tuple(rng.choice(genes[:150], 30, replace=False)) for t in range(15)}
    mixed = {f"mixed{t}": tuple(rng.choice(genes, 30, replace=False)) for t in range(45)}
    draws = sparse.csr_matrix(rng.uniform(size=(200, n)) < 0.02)
    result = enrich_gene_sets(draws, links, GeneSets(large | mixed, ()))
    found = {}
    for column in ("ln_p", "adjusted_ln_p", "region_ln_p", "ranked_ln_p"):
        by_draw = result.table.groupby("feature")[column]
        found[column] = sum(
            (benjamini_hochberg(values.to_numpy(), 60) < 0.05).any() for _, values in by_draw
        )
    assert found["ln_p"] > 150
    assert (
        max(found[x] for x in ("adjusted_ln_p", "region_ln_p", "ranked_ln_p")) <= 16
    )  # 99 % limit of 5 % of 200


def test_gmt_mends_and_says_so(tmp_path):
    path = tmp_path / "x.gmt"
    path.write_text("a\td\tTP53\ttp53\tMYC,1.0\nb\t\tKit\nb\t\tABL1\nempty\tx\n\n")
    sets = read_gmt(path)
    assert sets.sets == {"a": ("TP53", "MYC"), "b": ("KIT", "ABL1")}
    assert [note.split(":")[0] for note in sets.notes] == [
        "2 symbols were not in upper case",
        "1 symbols occurred twice in their set",
        "1 lines repeat a term",
        "1 terms hold no gene (first 'empty')",
    ]


@pytest.mark.parametrize(
    ("text", "message"), [("term only\n", r"x.gmt: line 1"), ("", r"holds no gene set")]
)
def test_bad_gmt(tmp_path, text, message):
    path = tmp_path / "x.gmt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_gmt(path)


def test_mismatched_symbols_are_named(collection):
    _, genes, sets = collection
    links = Links(sparse.identity(600, format="csr"), [f"ENSG{i}" for i in range(600)])
    with pytest.raises(UserError, match="same symbols"):
        enrich_gene_sets(sparse.csr_matrix(np.ones((1, 600))), links, sets)
    with pytest.raises(UserError, match="same kind of symbol"):
        enrich_genes(["X"], sets, genes)
    with pytest.raises(UserError, match="same bins"):
        enrich_gene_sets(sparse.csr_matrix(np.ones((1, 5))), links, sets)


def test_real_go_collection(shared):
    sets = read_gmt(shared / "data" / "real" / "genesets" / "GO_Biological_Process_2021.gmt.gz")
    assert len(sets.sets) == 6036


def test_ranked_genes_are_scipys_binomial_and_see_what_presence_does_not(collection):
    rng, genes, sets = collection
    n = 4000
    links = Links(
        sparse.csr_matrix((np.ones(n), (np.arange(n), np.sort(rng.integers(0, 600, n)))), (n, 600)),
        genes,
    )
    large = max(sets.sets, key=lambda term: len(sets.sets[term]))
    inside = np.isin(genes, sets.sets[large])
    chance = np.full((2, n), 0.2)
    chance[1, np.asarray(links.matrix[:, inside].sum(axis=1)).ravel() > 0] = 0.35
    fires = rng.uniform(size=(2, n)) < chance
    table = enrich_gene_sets(sparse.csr_matrix(fires), links, sets, min_size=1).table.set_index(
        ["feature", "term"]
    )
    size = np.asarray(links.matrix.sum(axis=0)).ravel()
    known = size > 0
    observed = (fires[1] @ links.matrix)[known]
    law = stats.binom(size[known], observed.sum() / n)
    u = law.cdf(observed) - law.pmf(observed) / 2
    for term in list(sets.sets)[:10]:
        members = np.isin(np.array(genes)[known], sets.sets[term])
        spread = u.var() * members.sum() * (~members).sum() / (known.sum() - 1)
        z = (u[members].sum() - u.mean() * members.sum()) / np.sqrt(spread)
        assert np.exp(table.loc[(1, term), "ranked_ln_p"]) == pytest.approx(
            stats.norm.sf(z), rel=0.05
        )
    assert table.loc[(1, large), "ranked_q"] < 1e-4 and (table.loc[0, "ranked_q"] > 0.05).all()
    assert table.loc[(1, large), "ranked_ln_p"] < 2 * table.loc[(1, large), "ln_p"]
