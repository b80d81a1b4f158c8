"""Groups of features without annotation against the authors' output (bio_sae_methods; leidenalg),
their null in worlds with and without groups, and chance association by enumeration."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from cells_golden_methods import LAYERS, results, table

from petriscope.studies.cells.catalog import published_catalog
from petriscope.studies.cells.novel import (
    association,
    counts,
    jaccard_graph,
    novel_clusters,
    novel_null,
    published_novel,
    sample,
)


def leidenalg_labels(graph: sp.csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """As the authors cluster."""
    igraph, leidenalg = pytest.importorskip("igraph"), pytest.importorskip("leidenalg")
    upper = sp.triu(graph, 1).tocoo()
    order = np.lexsort((upper.col, upper.row))
    edges = list(zip(upper.row[order].tolist(), upper.col[order].tolist()))
    made = igraph.Graph(n=graph.shape[0], edges=edges, directed=False)
    made.es["weight"] = upper.data[order].tolist()
    found = leidenalg.find_partition(
        made,
        leidenalg.RBConfigurationVertexPartition,
        weights="weight",
        resolution_parameter=resolution,
        n_iterations=-1,
        seed=seed,
    )
    return np.array(found.membership)


def components(graph: sp.csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """Connected components: enough where groups lie apart."""
    return np.asarray(sp.csgraph.connected_components(graph, directed=False)[1])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_published_groups_are_the_authors(shared: Path, layer: int) -> None:
    golden = results(shared)
    wanted = golden[f"novel_{layer}"]
    catalog = published_catalog(table(shared, layer))
    features = len(catalog.features)
    annotated = np.zeros(features, bool)
    annotated[[int(f) for f in golden[f"annotations_{layer}"]["feature_annotations"]]] = True
    module = np.full(features, -1)
    for one in golden[f"coactivation_{layer}"]["modules"]:
        module[one["features"]] = one["module_id"]
    found = published_novel(
        catalog.lists.incidence(),
        annotated,
        catalog.features.frequency.to_numpy(),
        module,
        golden["world"]["genes"],
        leidenalg_labels,
    )
    for name, value in {**wanted["summary"], **wanted["categories"]}.items():
        assert found.summary[name] == pytest.approx(value, rel=1e-12), name
    theirs = {tuple(c["features"]): c for c in wanted["novel_clusters"]}
    assert len(theirs) == len(found.clusters.table)
    for row in found.clusters.table.itertuples():
        mine = theirs[tuple(map(int, row.features.split(";")))]
        assert row.n_features == mine["n_features"] and row.genes == mine["n_unique_genes"]
        assert row.n_consensus == mine["n_consensus_genes"]
        assert set(row.consensus.split(";")) == set(mine["consensus_genes"])
        assert row.jaccard == pytest.approx(mine["mean_jaccard"], rel=1e-12)
    linked = found.associated.set_index("feature")
    for feature, one in wanted["guilt_by_association_sample"].items():
        row = linked.loc[int(feature)]
        assert row.module == one["module_id"] and row.module_size == one["module_size"]
        assert row.annotated == one["n_annotated_in_module"]


def listed(rows: list[np.ndarray], genes: int) -> sp.csr_matrix:
    matrix = np.zeros((len(rows), genes))
    for row, mine in zip(matrix, rows):
        row[mine] = 1
    return sp.csr_matrix(matrix)


def test_the_index_is_shared_over_united_and_the_threshold_counts() -> None:
    rows = [np.arange(20), np.arange(14, 34), np.arange(15, 35), np.arange(100, 120)]
    graph = jaccard_graph(listed(rows, 200), 6 / 34)
    wanted = np.zeros((4, 4))
    for one, other in combinations(range(3), 2):
        a, b = set(rows[one]), set(rows[other])
        ratio = len(a & b) / len(a | b)
        wanted[one, other] = wanted[other, one] = ratio * (np.float32(ratio) >= 6 / 34)
    np.testing.assert_allclose(graph.toarray(), wanted, rtol=1e-6)
    assert graph[0, 2] == 0 < graph[0, 1]


def test_planted_groups_exceed_shuffled_lists_and_popular_genes_do_not() -> None:
    rng = np.random.default_rng(0)
    genes, features = 1500, 90
    kernels = [rng.choice(genes, 14, replace=False) for _ in range(6)]
    planted = [
        np.concatenate([kernels[f % 6], rng.choice(genes, 6)])
        if f < 48
        else rng.choice(genes, 20, replace=False)
        for f in range(features)
    ]
    lists, everyone = listed(planted, genes), np.arange(features)
    observed = counts(lists, components, 0.15)
    null = novel_null(lists, everyone, components, 20, 1)
    assert observed.clusters == 6 and observed.features == 48
    assert null.clusters.max() < 6 and null.features.max() < 48
    table_of = novel_clusters(lists, everyone, [f"G{i}" for i in range(genes)], components).table
    assert {g for row in table_of.consensus for g in row.split(";")} >= {
        f"G{g}" for g in kernels[0]
    }
    popular = rng.lognormal(0, 2.5, genes)
    drawn = [rng.choice(genes, 20, replace=False, p=popular / popular.sum()) for _ in everyone]
    alike = listed(drawn, genes)
    seen = counts(alike, components, 0.15)
    chance = novel_null(alike, everyone, components, 30, 2)
    assert seen.features > 0  # groups there are, by popularity alone
    assert np.quantile(chance.features, 0.01) <= seen.features <= chance.features.max()


def test_no_edge_no_group() -> None:
    lists = listed([np.arange(i * 20, i * 20 + 20) for i in range(5)], 100)
    assert counts(lists, components, 0.15) == (0, 0, 0)
    assert novel_clusters(lists, np.arange(5), [""] * 100, components).table.empty


def test_too_many_are_sampled_as_published() -> None:
    features = np.arange(0, 6000, 2)
    drawn = np.random.RandomState(42).choice(3000, 2000, replace=False)
    drawn.sort()
    assert sample(features, 2000).tolist() == features[drawn].tolist()
    assert sample(features[:5], 2000).tolist() == features[:5].tolist()


def test_chance_of_association_is_that_of_all_labelings() -> None:
    module = np.array([0, 0, 0, 1, 1, -1, 2, -1])
    alive = np.array([True, True, True, True, True, True, True, False])
    annotated = np.zeros(8, bool)
    annotated[[0, 3]] = True
    found = association(module, annotated, alive, draws=500, seed=1)
    shares = []
    for chosen in combinations(range(7), 2):
        free = [f for f in range(7) if f not in chosen]
        near = [
            any(module[f] == module[c] for c in chosen) if module[f] >= 0 else False for f in free
        ]
        shares.append(np.mean(near))
    assert found.share == pytest.approx(3 / 5)
    assert found.expected == pytest.approx(np.mean(shares))
    assert found.p == pytest.approx(np.mean(np.array(shares) >= 3 / 5 - 1e-12), abs=0.08)
    assert found.table.feature.tolist() == [1, 2, 4]
    assert found.table.annotated.tolist() == [1, 1, 1] and found.table.module_size[0] == 3
