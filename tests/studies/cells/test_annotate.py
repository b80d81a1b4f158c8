"""Annotation as published against the authors' output (bio_sae_methods), the corrected test against
scipy, statsmodels and gseapy, and worlds of which the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_golden_methods import LAYERS, results, table
from scipy import stats
from statsmodels.stats.multitest import multipletests

from petriscope.enrich.genesets import read_gmt
from petriscope.enrich.lists import rank_lists, strata_of
from petriscope.studies.cells.annotate import (
    PublishedAnnotations,
    PublishedRule,
    annotated,
    matched_shares,
    members,
    published_annotations,
    shuffled_shares,
    term_table,
)
from petriscope.studies.cells.catalog import published_catalog

SIZES = (5, 500)
COLLECTIONS = {"GO_BP": "go_bp", "KEGG": "kegg", "Reactome": "reactome"}
NETWORKS = {"STRING_edges": "string", "TRRUST_edges": "trrust"}


def networks(world: dict[str, Any]) -> dict[str, pd.DataFrame]:
    pairs = [pair for tier in world["ppi"].values() for pair in tier]
    string = pd.DataFrame(pairs, columns=["source", "target"])
    trrust = pd.DataFrame([row[:2] for row in world["trrust"]], columns=["source", "target"])
    return {"string": string, "trrust": trrust}


def as_published(shared: Path, layer: int) -> PublishedAnnotations:
    world = results(shared)["world"]
    sets = {name: world["onto"][f"{key}_gene_sets"] for name, key in COLLECTIONS.items()}
    names = [name.upper() for name in world["genes"]]
    rule = PublishedRule.of(sets, networks(world), names)
    lists = published_catalog(table(shared, layer)).lists.incidence()
    return published_annotations(lists, rule, names, 0.05)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_published_annotations_are_the_authors(shared: Path, layer: int) -> None:
    wanted, found = results(shared)[f"annotations_{layer}"], as_published(shared, layer)
    assert len(found.tests) == wanted["summary"]["total_tests"]
    assert found.tests.significant.sum() == wanted["summary"]["n_significant_tests"]
    assert found.annotated.sum() == wanted["summary"]["n_annotated"]
    assert (
        sorted(map(int, wanted["feature_annotations"])) == np.flatnonzero(found.annotated).tolist()
    )
    theirs = pd.DataFrame(wanted["all_significant_tests"])
    ours = found.tests[found.tests.significant]
    both = ours.merge(
        theirs,
        left_on=["feature", "collection", "term"],
        right_on=["feature_idx", "ontology", "term"],
    )
    assert len(both) == len(theirs) == len(ours)
    np.testing.assert_allclose(both.p, both.p_value, rtol=1e-12)
    np.testing.assert_allclose(both.q, both.p_adjusted, rtol=1e-12)
    np.testing.assert_allclose(both.odds_ratio_x, both.odds_ratio_y.astype(float), rtol=1e-12)
    assert (both.overlap_x == both.n_overlap).all() and (both.term_size_x == both.term_size_y).all()
    assert (both.genes == both.overlap_y.map(lambda g: ";".join(sorted(g)))).all()
    edges = pd.DataFrame(wanted["edge_enrichments"]).replace({"ontology": NETWORKS})
    mine = found.edges.merge(
        edges, left_on=["feature", "network"], right_on=["feature_idx", "ontology"]
    )
    assert len(mine) == len(edges) == len(found.edges)
    assert (mine.edges == mine.n_edges_within).all() and (mine.possible == mine.n_possible).all()
    np.testing.assert_allclose(mine.density_x, mine.density_y, rtol=1e-12)


@pytest.mark.parametrize(
    ("file", "layer", "published", "corrected"),
    [("geneformer_L17", 17, 0.34, 0.015), ("scgpt_L00", 0, 0.29, 0.073)],
)
def test_the_released_lists_are_annotated_as_the_design_recomputed(
    shared: Path, file: str, layer: int, published: float, corrected: float
) -> None:
    # design 0.3: the same lists by GO 2021 and Reactome, shares of the alive features of the layer
    folder = shared / "data" / "single_cell"
    given = pd.read_csv(
        folder / "published_atlas" / f"{file}_annotations.tsv.gz", sep="\t", low_memory=False
    )
    given = given[given.kind == "gene"]
    names, gene = np.unique(given.name.astype(str).str.upper(), return_inverse=True)
    features, row = np.unique(given.feature, return_inverse=True)
    lists = sp.csr_matrix((np.ones(len(gene)), (row, gene)), shape=(len(features), len(names)))
    lists.data[:] = 1.0
    model = file.partition("_")[0]
    all_features = pd.read_csv(
        folder / "published_atlas" / f"{model}_features.tsv.gz", sep="\t", usecols=["layer", "dead"]
    )
    alive = ((all_features.layer == layer) & (all_features.dead == 0)).sum()
    go = shared / "data" / "real" / "genesets" / "GO_Biological_Process_2021.gmt.gz"
    sets = {"all": {**read_gmt(go).sets, **read_gmt(folder / "reactome_pathways.gmt.gz").sets}}
    rule = PublishedRule.of(sets, {}, names.tolist())
    assert rule.annotated(lists, 0.05).sum() / alive == pytest.approx(published, abs=0.025)
    own = members(sets, names.tolist(), SIZES)
    assert annotated(lists, own, 0.05).sum() / alive == pytest.approx(corrected, rel=0.05)


def world(
    rng: np.random.Generator,
    genes: int = 300,
    features: int = 60,
    *,
    spread: float = 1.2,
    programmes: bool = True,
) -> tuple[sp.csr_matrix, dict[str, dict[str, list[str]]], list[str]]:
    """Half of the features list a programme's genes, the others genes by their popularity; terms
    are six programmes and decoys drawn as popular genes are."""
    names = [f"G{i:03d}" for i in range(genes)]
    popular = rng.lognormal(0, spread, genes)
    popular /= popular.sum()
    modules = [rng.choice(genes, 15, replace=False) for _ in range(6)]
    rows = []
    for f in range(features):
        if f % 2 and programmes:
            own = rng.choice(modules[f % 6], 9, replace=False)
            rest = np.setdiff1d(np.arange(genes), own)
            more = rng.choice(rest, 11, replace=False, p=popular[rest] / popular[rest].sum())
            rows.append(np.concatenate([own, more]))
        else:
            rows.append(rng.choice(genes, 20, replace=False, p=popular))
    lists = sp.csr_matrix(
        (np.ones(20 * features), (np.repeat(np.arange(features), 20), np.concatenate(rows))),
        shape=(features, genes),
    )
    terms = {f"P{i}": [names[g] for g in own] for i, own in enumerate(modules)}
    decoys = {
        f"D{i}": [names[g] for g in rng.choice(genes, 15, replace=False, p=popular)]
        for i in range(24)
    }
    return lists, {"go": terms | decoys}, names


def test_the_family_holds_every_list_and_term() -> None:
    lists, sets, names = world(np.random.default_rng(0))
    found = members(sets, names, SIZES)
    p = np.ones((lists.shape[0], len(found.term)))
    for f in range(lists.shape[0]):
        mine = {names[g] for g in lists[f].indices}
        for t, term in enumerate(found.term):
            shared = len(mine & set(sets["go"][term]))
            p[f, t] = stats.hypergeom.sf(shared - 1, len(names), 15, 20)
    q = multipletests(p.ravel(), method="fdr_bh")[1].reshape(p.shape)
    terms = term_table(lists, found, names, np.arange(lists.shape[0]), 0.05)
    at = (terms.feature.to_numpy(), terms.term.map({t: i for i, t in enumerate(found.term)}))
    np.testing.assert_allclose(np.exp(terms.ln_p.astype(float)), p[at], rtol=1e-10)
    np.testing.assert_allclose(terms.q, q[at], rtol=1e-10)
    assert (annotated(lists, found, 0.05) == (q < 0.05).any(1)).all()
    kept = set(zip(terms.feature, terms.term))
    assert {(f, found.term[t]) for f, t in zip(*np.nonzero(q < 0.05))} <= kept
    first = terms[terms.feature == 1].iloc[0]
    assert set(first.genes.split(";")) <= set(sets["go"][first.term]) and first.term == "P1"


def test_one_list_is_as_gseapy_says() -> None:
    gseapy = pytest.importorskip("gseapy")
    lists, sets, names = world(np.random.default_rng(1))
    terms = term_table(lists, members(sets, names, SIZES), names, np.arange(60), 0.05)
    for feature in (0, 1, 3):
        query = [names[g] for g in lists[feature].indices]
        result = gseapy.enrich(query, sets["go"], background=names, outdir=None, no_plot=True)
        theirs = result.results.set_index("Term")["P-value"]
        mine = terms[terms.feature == feature].set_index("term")
        np.testing.assert_allclose(
            np.exp(mine.ln_p.astype(float)), theirs[mine.index].astype(float), rtol=1e-9
        )


def test_sets_are_cut_to_the_background() -> None:
    names = [f"G{i}" for i in range(20)]
    kept = np.arange(20) < 10
    sets = {"a": {"in": ["g0", "g1", "g2", "g15"], "out": ["G11", "G12", "G13"]}}
    found = members(sets, names, (3, 5), kept)
    assert found.term.tolist() == ["in"] and found.matrix.shape == (20, 1)
    assert np.flatnonzero(found.matrix.toarray()).tolist() == [0, 1, 2]


def test_the_excess_of_programmes_is_seen_over_shuffled_lists() -> None:
    lists, sets, names = world(np.random.default_rng(2), spread=0.3)
    found = members(sets, names, SIZES)
    observed = annotated(lists, found, 0.05)
    assert observed[1::2].mean() > 0.9
    null = shuffled_shares(lists, lambda one: annotated(one, found, 0.05), 40, 3)
    assert null.share.mean() < 0.15 < observed.mean() - np.quantile(null.share, 0.975)
    np.testing.assert_allclose(null.rate.mean(), null.share.mean())
    stratum = strata_of(np.asarray(lists.sum(0)).ravel())
    matched = matched_shares(lists, lambda one: annotated(one, found, 0.05), stratum, 40, 3)
    assert matched.share.mean() < 0.3


def test_popular_genes_in_popular_terms_are_no_excess() -> None:
    # design 0.4: a uniform list is never annotated, a list of the same genes' degrees is
    lists, sets, names = world(np.random.default_rng(2), programmes=False)
    found = members(sets, names, SIZES)
    observed = annotated(lists, found, 0.05).mean()
    rng = np.random.default_rng(7)
    uniform = sp.csr_matrix(
        (
            np.ones(lists.nnz),
            np.concatenate([rng.choice(300, 20, replace=False) for _ in range(60)]),
            lists.indptr,
        ),
        shape=lists.shape,
    )
    assert observed > 0.3 and annotated(uniform, found, 0.05).mean() < 0.05
    null = shuffled_shares(lists, lambda one: annotated(one, found, 0.05), 60, 3)
    assert np.quantile(null.share, 0.025) <= observed <= np.quantile(null.share, 0.975)


def test_untested_pairs_change_what_is_called_annotated() -> None:
    # design 0.3: with overlaps below 2 left out of the family, chance lists are annotated
    rng = np.random.default_rng(4)
    genes, features = 2000, 400
    names = [f"G{i}" for i in range(genes)]
    rows = np.concatenate([rng.choice(genes, 20, replace=False) for _ in range(features)])
    lists = sp.csr_matrix(
        (np.ones(len(rows)), (np.repeat(np.arange(features), 20), rows)), shape=(features, genes)
    )
    sets = {"go": {f"T{i}": rng.choice(names, 6, replace=False).tolist() for i in range(600)}}
    rule = PublishedRule.of(sets, {}, names)
    published = rule.annotated(lists, 0.05).mean()
    corrected = annotated(lists, members(sets, names, SIZES), 0.05).mean()
    assert published > 0.5 and corrected < 0.02


def test_a_table_with_a_negative_corner_has_p_1() -> None:
    names = ["A", "B", "C", "D"]
    sets = {"go": {"T": ["A", "B", "X1", "X2", "X3", "X4", "X5"]}}
    rule = PublishedRule.of(sets, {}, names)
    lists = sp.csr_matrix(np.array([[1.0, 1, 1, 0]]))
    assert rule.tests(lists)[0].ln_p.tolist() == [0.0]


def test_published_sets_are_not_cut_and_regulators_are() -> None:
    names = [f"G{i:02d}" for i in range(40)]
    sets = {"go": {"T": [*names[:4], "X1", "X2", "X3"]}}
    network = pd.DataFrame({"source": [*names[2:6], "Y1"], "target": [*names[10:14], "Y2"]})
    rule = PublishedRule.of(sets, {"trrust": network}, names)
    matrix = np.zeros((3, 40))
    matrix[0, [0, 1, 2, 3, 4]] = matrix[1, 5:15] = matrix[2, 15:25] = 1  # 25 of the 40 are listed
    table, listed = rule.tests(sp.csr_matrix(matrix))
    assert listed == 25 and table.term_size.tolist() == [7, 4] and table.overlap.tolist() == [4, 3]
    for row, (a, size) in zip(table.itertuples(), ((4, 7), (3, 4))):
        corners = [[a, 5 - a], [size - a, 25 - 5 - size + a]]
        wanted = stats.fisher_exact(corners, alternative="greater")[1]
        assert np.exp(row.ln_p) == pytest.approx(wanted, rel=1e-12)


def test_ranked_terms_join_the_table() -> None:
    rng = np.random.default_rng(5)
    lists, sets, names = world(rng)
    found = members(sets, names, SIZES)
    scores = sp.csr_matrix(lists.multiply(rng.random(lists.shape)))
    stratum = strata_of(np.asarray(lists.sum(0)).ravel())
    ranked = rank_lists(scores, found.matrix, stratum, 99, 0)
    terms = term_table(lists, found, names, np.arange(60), 0.05, ranked)
    best = terms[terms.term.str.startswith("P") & (terms.feature % 2 == 1)]
    own = best[best.term == "P" + (best.feature % 6).astype(str)]
    assert (own.p_ranked < 0.05).mean() > 0.9
    lost = ~pd.Index(list(zip(*np.nonzero(ranked.p < 0.05)))).isin(
        list(zip(terms.feature, terms.term.map({t: i for i, t in enumerate(found.term)})))
    )
    assert not lost.any()
