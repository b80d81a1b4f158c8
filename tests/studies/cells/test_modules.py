"""Reference: the authors' own output (bio_sae_methods), igraph's modularity of their modules,
numpy's logarithms, planted groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from bio_sae import LAYERS, Golden
from codes_toy import of_dense

from petriscope.graph.cofiring import cofiring
from petriscope.graph.leiden import leiden, modularity
from petriscope.studies.cells.modules import (
    GENE,
    Asked,
    Communities,
    agreement_across,
    as_graph,
    excess_edges,
    excess_within,
    graph_row,
    judge,
    mean_agreement,
    modules_of,
    pointwise,
    published_coactivation,
    published_modules,
    surviving,
)

ASKED = Asked(resolutions=(0.25, 1.0, 4.0), seeds=4, rewirings=5, seed=1)


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return Golden(shared)


@pytest.mark.parametrize("layer", LAYERS)
def test_published_edges_are_the_authors(golden: Golden, layer: int) -> None:
    made = golden.made[f"coactivation_{layer}"]
    columns = ["feature", "other", "pmi", "count"]
    theirs = pd.DataFrame(made["top_pmi_edges"], columns=columns)
    ours = published_coactivation(golden.codes(layer))
    assert len(ours) == made["summary"]["n_pmi_edges"]
    key = ["feature", "other"]
    ours, theirs = (one.sort_values(key, ignore_index=True) for one in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layer", LAYERS)
def test_published_modules_reach_the_authors_modularity(golden: Golden, layer: int) -> None:
    edges = published_coactivation(golden.codes(layer))
    found = published_modules(edges, 96)
    theirs = np.full(96, -1)
    for module in golden.made[f"coactivation_{layer}"]["modules"]:
        theirs[module["features"]] = module["module_id"]
    weights = as_graph(edges, 96, "pmi")
    # their communities of one or two features, which the file leaves out: what hangs together
    rest = np.flatnonzero(theirs < 0)
    theirs[rest] = 96 + sp.csgraph.connected_components(weights[rest][:, rest])[1]
    ours, reached = (modularity(weights, one) for one in (leiden(weights, seed=42), theirs))
    assert ours == pytest.approx(reached, abs=1e-3)
    assert (found >= 0).sum() == golden.made[f"coactivation_{layer}"]["summary"][
        "n_features_in_modules"
    ]
    assert np.bincount(found[found >= 0]).min() >= 3


def test_no_published_edge_of_an_untrained_model_outlives_its_genes(golden: Golden) -> None:
    codes = golden.codes(1)
    published = published_coactivation(codes)
    excess = excess_within(codes, golden.gene)
    ratio = excess.observed / np.maximum(excess.expected, 1e-9)
    assert np.median(ratio[published.feature, published.other]) == pytest.approx(1, abs=0.02)
    assert surviving(published, excess_edges(excess, z=4, min_count=50)) == 0


def test_pointwise_mutual_information() -> None:
    together, own = np.array([[8, 0], [2, 5]]), np.array([10, 6])
    found = pointwise(together, own, own, 40)
    expected = np.log2((8 / 40) / (10 / 40 * 10 / 40))
    assert found[0, 0] == pytest.approx(expected) and found[0, 1] == -np.inf
    assert found[1, 0] == pytest.approx(np.log2(2 * 40 / 60))


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Firing (tokens, 30) and the gene of each token: features 0-9 follow one hidden state of the
    cell, 10-19 another, 20-29 the gene alone."""
    rng = np.random.default_rng(3)
    gene = np.tile(np.arange(40), 150)
    state = np.repeat(rng.random((150, 2)) < 0.5, 40, axis=0)
    rate = np.full((6000, 30), 0.02)
    rate[:, :10] += 0.3 * state[:, [0]]
    rate[:, 10:20] += 0.3 * state[:, [1]]
    rate[:, 20:] += 0.5 * (gene % 5 == 0)[:, None]
    return rng.random((6000, 30)) < rate, gene


def test_planted_modules_and_a_trap_of_genes(planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Features of one gene are a module of the published graph and of no other."""
    codes, gene = of_dense(planted[0].astype(float)), planted[1]
    published = published_modules(published_coactivation(codes, pmi=0.3), 30)
    assert len(set(published[20:])) == 1 and published[20] >= 0
    excess = excess_within(codes, gene)
    edges = excess_edges(excess, z=4, min_count=50)
    assert excess_edges(excess, z=4, min_count=10**4).empty and edges["count"].min() >= 50
    found = judge(as_graph(edges, 30, "z"), ASKED)
    assert not found.communities.joined[20:].any() and (found.communities.modules[20:] == -1).all()
    assert found.communities.modules[:10].tolist() == [found.communities.modules[0]] * 10
    assert found.communities.modules[10:20].tolist() == [found.communities.modules[10]] * 10
    assert found.modularity > found.rewired.max() + 0.1 and found.agreement == 1
    # two equal modules: an edge inside is worth 1/2 more than a random one; none outside
    dealt = found.modularity - found.rewired.mean()
    assert found.excess[:20].mean() == pytest.approx(dealt, abs=0.02)
    assert (found.excess[20:] == 0).all()
    row = graph_row(GENE, found, edges, alive=30)
    assert (row["modules"], row["covered"], row["coverage"]) == (2, 20, 20 / 30)
    assert row["rewired_most"] == found.rewired.max()
    assert row["least_modules"] <= 2 <= row["most_modules"]
    # by hand: count, expectation and z of one edge
    i, j = edges.feature[0], edges.other[0]
    assert edges["count"][0] == cofiring(codes)[i, j] == (planted[0][:, i] & planted[0][:, j]).sum()
    expected = sum(
        planted[0][gene == g, i].sum() * planted[0][gene == g, j].sum() / 150 for g in range(40)
    )
    assert edges.expected[0] == pytest.approx(expected) and edges.z[0] == excess.z[i, j] >= 4


def test_a_graph_without_groups_is_no_better_than_graphs_dealt_out_anew() -> None:
    drawn = np.triu(np.random.default_rng(4).random((80, 80)) < 0.15, 1).astype(float)
    found = judge(sp.csr_matrix(drawn + drawn.T), ASKED._replace(rewirings=20))
    assert abs(found.modularity - found.rewired.mean()) < 0.03
    assert found.agreement < 0.6 and abs(found.excess.mean()) < 0.03


def test_a_graph_without_edges() -> None:
    found = judge(sp.csr_matrix((5, 5)), ASKED)
    assert np.isnan([found.modularity, found.agreement, *found.rewired]).all()
    assert (found.communities.modules == -1).all() and not found.communities.joined.any()
    assert (found.excess == 0).all()


def test_agreement_across_dictionaries() -> None:
    """The second dictionary has the same modules in another order of features."""
    blocks = sp.block_diag([np.ones((6, 6)), np.ones((8, 8))]).toarray() - np.eye(14)
    order = np.random.default_rng(5).permutation(14)
    one = Communities.of(sp.csr_matrix(blocks), 1)
    other = Communities.of(sp.csr_matrix(blocks[np.ix_(order, order)]), 1)
    match = np.argsort(order)
    assert agreement_across(one, other, match) == 1
    assert agreement_across(one, other, np.arange(14)) < 0.5
    partly = np.where(np.arange(14) < 13, match, -1)
    assert agreement_across(one, other, partly) == 1
    assert np.isnan(agreement_across(one, other, np.full(14, -1)))


def test_an_interval_is_over_the_modules_of_a_layer() -> None:
    features = pd.DataFrame(
        {"layer": [1, 1, 1, 1, 2, 2, 2], "feature": [0, 1, 2, 3, 0, 1, 2]}
    ).assign(module=[0, 0, -1, -1, 0, 1, -1])
    block = modules_of(features)
    assert block[0] == block[1] and len(set(block)) == 6


def test_mean_agreement_is_over_all_pairs() -> None:
    one, two = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    pair = mean_agreement([one, two])
    assert mean_agreement([one, one, two]) == pytest.approx((1 + 2 * pair) / 3)


def test_surviving_edges() -> None:
    frame = pd.DataFrame({"feature": [0, 1, 2], "other": [3, 4, 5]})
    assert surviving(frame, frame.iloc[1:]) == pytest.approx(2 / 3)
    assert np.isnan(surviving(frame.iloc[:0], frame))
