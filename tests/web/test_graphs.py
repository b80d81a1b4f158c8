"""Reference: scipy and networkx, and a count over every graph with the same degrees; the atlas
itself for what is only copied."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import fisher_exact
from scipy.stats.contingency import expected_freq

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import Declared, Thresholds
from petriscope.web import flows, knowledge, modules

LAYERS, SIZE, DEAD = 2, 12, 11
SHARED = ("motif", "GATA1")


def tables() -> AtlasTables:
    """Two layers of twelve features, the last of them dead, in three modules of four; the motif
    GATA1 in all of module 0, another in every second feature."""
    key = [(layer, f) for layer in range(LAYERS) for f in range(SIZE)]
    features = pd.DataFrame(key, columns=["layer", "feature"])
    features["alive"] = (features.feature != DEAD).astype(int)
    features["label"] = [None if f % 2 else f"label {f // 4}" for _, f in key]
    features["density"] = 0.01
    features["module"] = features.feature // 4
    having = [(layer, f, "GATA1") for layer, f in key if f < 4 or f == DEAD]
    having += [(layer, f, "SPI1") for layer, f in key if f % 2 == 0]
    annotations = pd.DataFrame(having, columns=["layer", "feature", "term"])
    annotations = annotations.assign(kind="motif", p=0.001, q=0.01)
    annotations.loc[annotations.feature == 2, "q"] = 0.5
    return AtlasTables(features, Thresholds(0.05, 0.7), annotations=annotations)


def listed(tables: AtlasTables) -> AtlasTables:
    """With modules, links between them, and links between the layers; every third is significant."""
    members = tables.features[["layer", "feature", "module"]].assign(graph="gene")
    found = members[["graph", "layer", "module"]].drop_duplicates().assign(size=4, density=0.5)
    edges = pd.DataFrame({"graph": "gene", "layer": 1, "module": [0, 0], "other_module": [1, 2],
                          "weight": [6.0, 1.0], "null_weight": [2.5, 3.5]})  # fmt: skip
    links = pd.DataFrame(
        [(0, a, 1, (a + b) % SIZE, 10.0 - b, 0.01 if b == 0 else 0.5)
         for a in range(SIZE) for b in range(3)],
        columns=["layer", "feature", "other_layer", "other_feature", "value", "p"],
    )  # fmt: skip
    more = {"modules": found, "module_members": members, "module_edges": edges}
    return AtlasTables(**{**vars(tables), **more, "links": links.assign(kind="z")})


def built(path: Path, of: AtlasTables) -> Atlas:
    build_atlas(path / "atlas.sqlite", of)
    return Atlas(path / "atlas.sqlite")


def test_terms_of_a_module_beside_a_draw_of_alive_features(tmp_path: Path) -> None:
    atlas = built(tmp_path, tables())
    (graph,) = modules.graphs_of(atlas)
    assert graph.name == modules.PHI and modules.summary([graph]) == [("phi", 0, 3), ("phi", 1, 3)]
    ((name, chunk),) = modules.module_chunks(atlas, [graph], 1)
    assert name == "graph/modules-phi-1" and chunk["edges"] == []
    first = chunk["modules"][0]
    assert first["members"] == [1_000_000 + f for f in range(4)] and first["size"] == 4
    assert first["label"] == "label 0 (2)" and first["labels"] == ["label 0", None] * 2
    terms = {(kind, term): rest for kind, term, *rest in first["terms"]}
    # GATA1: 3 of module 0 (feature 2 is not enriched, the dead one does not count), 3 in the layer
    inside, layer, chance, p = terms[SHARED]
    table = [[3, 1], [0, 7]]
    assert (inside, layer) == (3, 3) and chance == pytest.approx(expected_freq(table)[0, 0], 1e-5)
    assert p == pytest.approx(fisher_exact(table, alternative="greater").pvalue, 1e-5)
    last = {term: rest for _, term, *rest in chunk["modules"][2]["terms"]}
    # three alive features are left of four, two of which hold SPI1; it has five in the layer
    table = [[2, 1], [3, 5]]
    assert "GATA1" not in last and last["SPI1"][:2] == [2, 5]
    assert last["SPI1"][2] == pytest.approx(expected_freq(table)[0, 0], 1e-5)
    assert last["SPI1"][3] == pytest.approx(fisher_exact(table, alternative="greater").pvalue, 1e-5)


def test_stored_links_between_modules_are_those_of_the_atlas(tmp_path: Path) -> None:
    atlas = built(tmp_path, listed(tables()))
    graphs = modules.graphs_of(atlas)
    chunks = {name: of for k in (0, 1) for name, of in modules.module_chunks(atlas, graphs, k)}
    assert set(chunks) == {"graph/modules-gene-0", "graph/modules-gene-1"}
    assert chunks["graph/modules-gene-0"]["edges"] == []
    assert chunks["graph/modules-gene-1"]["edges"] == [(0, 1, 6.0, 2.5), (0, 2, 1.0, 3.5)]
    places = {(m["x"], m["y"]) for m in chunks["graph/modules-gene-1"]["modules"]}
    assert len(places) == 3 and all(0 <= v <= 1 for place in places for v in place)
    again = dict(modules.module_chunks(atlas, modules.graphs_of(atlas), 1))
    assert again["graph/modules-gene-1"] == chunks["graph/modules-gene-1"]


def test_links_between_layers_count_what_is_significant(tmp_path: Path) -> None:
    atlas = built(tmp_path, listed(tables()))
    assert flows.pairs_of(atlas) == [(0, 1)]
    ((name, chunk),) = flows.flow_chunks(atlas, modules.graphs_of(atlas), [(0, 1)])
    assert name == "graph/flow-0-1" and (chunk["total"], chunk["significant"]) == (36, 12)
    # p < alpha joins each feature with that of its own number
    assert chunk["modules"] == [[k, k, 4, pytest.approx(4 * 4 / 12, 1e-5)] for k in range(3)]
    values = [link["value"] for link in chunk["links"]]
    assert values == sorted(values, reverse=True) and chunk["links"][0]["label"] == "label 0"


def test_nearest_decoders_are_links_where_there_are_no_others(tmp_path: Path) -> None:
    rows = [(0, f, 1, other, value) for f in range(3) for other, value in ((5, 0.5), (f, 0.9))]
    columns = ["layer", "feature", "other_layer", "other_feature", "value"]
    similar = pd.DataFrame(rows, columns=columns).assign(kind="decoder")
    atlas = built(tmp_path, AtlasTables(**{**vars(tables()), "similar": similar}))
    assert flows.pairs_of(atlas) == [(0, 1)]
    ((_, chunk),) = flows.flow_chunks(atlas, modules.graphs_of(atlas), [(0, 1)])
    assert [(k["id"], k["other"]) for k in chunk["links"]] == [(f, 1_000_000 + f) for f in range(3)]
    assert chunk["significant"] is None and chunk["modules"] == [[0, 0, 3, 3.0]]


def test_expected_links_are_those_of_a_contingency_table() -> None:
    rng = np.random.default_rng(5)
    ends = list(zip(rng.integers(-1, 3, 80).tolist(), rng.integers(-1, 4, 80).tolist()))
    table = np.zeros((4, 5))
    for a, b in ends:
        table[a, b] += 1
    expected = expected_freq(table)
    found = flows.expected(ends)
    assert sum(n for _, _, n, _ in found) == 80
    for a, b, n, chance in found:
        assert n == table[a, b] and chance == pytest.approx(expected[a, b], 1e-5)


def knowledge_tables() -> AtlasTables:
    spans = [(f, name, f + 1) for f, name in ((0, "x"), (0, "y"), (1, "x"), (5, "z"))]
    edges = pd.DataFrame(spans, columns=["feature", "document", "tokens"]).assign(layer=0)
    documents = pd.DataFrame({"name": ["x", "y", "z", "quiet"]})
    genes = pd.DataFrame({"layer": 1, "feature": 0, "rank": range(1, 9)})
    genes["gene"] = [f"G{rank}" for rank in genes["rank"]]
    more = {"edges": edges, "documents": documents, "feature_genes": genes}
    return AtlasTables(**{**vars(tables()), **more, "declared": Declared(document="text")})


def test_the_graph_and_its_pagerank(tmp_path: Path) -> None:
    found = knowledge.knowledge_graph(built(tmp_path, knowledge_tables()))
    assert found is not None and found["kinds"] == ["feature", "text", "motif", "gene"]
    named = [f"{found['kinds'][k]}:{n}" for k, n in zip(found["kind"], found["name"])]
    assert "text:quiet" not in named and len(set(named)) == len(named)
    edges = {(named[a], named[b]): w for a, b, w in zip(found["a"], found["b"], found["weight"])}
    assert edges["feature:L0/0", "text:y"] == 1 and edges["feature:L0/5", "text:z"] == 6
    assert edges["feature:L1/1", "motif:GATA1"] == 1
    assert ("feature:L1/2", "motif:GATA1") not in edges  # q is above alpha
    assert ("feature:L1/0", "gene:G5") in edges and "gene:G6" not in named
    graph = nx.DiGraph((source, feature) for feature, source in edges)
    assert dict(zip(named, found["degree"])) == dict(graph.degree())
    ranks = nx.pagerank(graph, tol=1e-12, max_iter=1000)
    assert dict(zip(named, found["pagerank"])) == pytest.approx(ranks, rel=1e-5)
    assert found == knowledge.knowledge_graph(Atlas(tmp_path / "atlas.sqlite"))


def test_the_null_of_pagerank_is_the_mean_over_all_graphs_of_these_degrees() -> None:
    joined = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0]])
    rows, columns = joined.sum(1), joined.sum(0)
    every = [
        np.array(table)
        for table in product(*([[int(i in c) for i in range(4)] for c in combinations(range(4), k)]
                               for k in rows))
        if (np.array(table).sum(0) == columns).all()
    ]  # fmt: skip
    assert len(every) > 10
    ranks = []
    for table in every:
        graph = nx.DiGraph((f"s{s}", f) for s, f in zip(*np.nonzero(table)))
        of = nx.pagerank(graph, tol=1e-12, max_iter=1000)
        ranks.append([of[f] for f in range(4)])
    found = knowledge.rewired_ranks(sp.csr_matrix(joined, dtype=np.int32), np.zeros(4, int), 1500)
    spread = np.std(ranks, axis=0) / np.sqrt(1500)
    assert (np.abs(found.mean - np.mean(ranks, axis=0)) < 5 * spread + 1e-9).all()
    assert (found.low <= found.mean + 1e-12).all() and (found.mean <= found.high + 1e-12).all()
    # feature 0 is in every source: no graph gives it another rank than its sources' degrees do
    assert found.low[0] == pytest.approx(found.high[0])


def test_a_graph_too_large_keeps_features_of_every_layer() -> None:
    degrees = {**dict.fromkeys(range(50), 5), **{1_000_000 + f: 1 for f in range(3)}}
    kept = knowledge.chosen(degrees, most=20)
    assert len(kept) == 20 and {1_000_000, 1_000_001, 1_000_002} <= kept
    assert knowledge.chosen(degrees) == set(degrees)


def test_an_atlas_without_any_of_it(tmp_path: Path) -> None:
    bare = pd.DataFrame({"layer": [0], "feature": [0]})
    atlas = built(tmp_path, AtlasTables(bare, Thresholds(0.05, 0.7)))
    assert modules.graphs_of(atlas) == [] and flows.pairs_of(atlas) == []
    assert knowledge.knowledge_graph(atlas) is None
