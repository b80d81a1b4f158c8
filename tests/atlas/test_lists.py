"""Reference: the frames that went in. Tables that not every study fills, and what refers to them."""

from __future__ import annotations

import gzip
import sqlite3
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from petriscope.atlas import schema
from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.filters import FilterError
from petriscope.atlas.query import Atlas, search
from petriscope.errors import UserError

AT = {"layer": [0, 0, 1], "feature": [0, 1, 0]}
TABLES = AtlasTables(
    pd.DataFrame({"layer": [0, 0, 1, 100], "feature": [0, 1, 0, 0], "alive": 1, "label": "x"}),
    schema.Thresholds(0.05, 0.7),
    layers=pd.DataFrame(
        {"layer": [0, 1, 100], "model": ["G", "G", "S"], "depth": [0, 1, 0], "alive": 1}
    ),
    annotations=pd.DataFrame(
        {**AT, "kind": "geneset", "term": ["t", "t", "u"], "q": [0.01, 0.5, None]}
    ),
    feature_genes=pd.DataFrame(
        {
            "layer": 0,
            "feature": [0, 0, 1],
            "rank": [2, 1, 1],
            "gene": ["CDK1", "ACTB", "CDK1"],
            "fires": [1, 7, None],
        }
    ),
    modules=pd.DataFrame(
        {"graph": ["pmi", "z", "pmi", "pmi"], "layer": 0, "module": [0, 0, 1, 2], "size": [2, 1, 0, 0]}
    ),
    module_members=pd.DataFrame(
        {"graph": ["z", "pmi", "pmi"], "layer": 0, "module": 0, "feature": [1, 1, 0]}
    ),
    module_edges=pd.DataFrame(
        {"graph": "pmi", "layer": 0, "module": [2, 0, 1], "other_module": [0, 1, 2],
         "weight": [3.0, 2.0, 1.0], "null_weight": [2.5, 0.5, 4.0]}
    ),
    layout=pd.DataFrame({**AT, "x": [1.0, -1.0, 0.5], "y": [0.0, 2.0, 0.25]}).iloc[::-1],
    layout_made=pd.DataFrame(
        {"method": ["by hand"], "seed": 0, "parameters": "3 x 2", "share_x": 0.5, "share_y": 0.25}
    ),
    links=pd.DataFrame(
        {**AT, "other_layer": [1, 1, 0], "other_feature": [0, 0, 1], "kind": "z",
         "value": [4.0, 9.0, 1.0], "p": [0.5, 0.01, None]}
    ),
    numbers=pd.DataFrame(
        {"name": ["annotated", "highways"], "layer": [0, 0], "other_layer": [None, 1],
         "value": [0.5, 0.9], "null": [0.1, None], "n": [2, 2]}
    ),
    perturbations=pd.DataFrame({"target": ["TF1", "TF2"], "layer": 1, "known": [3, 4]}),
    responses=pd.DataFrame(
        {"target": ["TF2", "TF2", "TF1"], "layer": 1, "feature": [0, 0, 0], "effect": [1, 1, 2]}
    ).drop_duplicates("target"),
    celltypes=pd.DataFrame(
        {"layer": 0, "feature": [0, 0, 1], "cell_type": ["B cell", "T cell", "T cell"],
         "effect": [1.0, -2.0, 3.0], "q": [0.04, 0.01, 0.9]}
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = tmp_path_factory.mktemp("lists") / "a.sqlite"
    build_atlas(path, TABLES)
    return Atlas(path)


def test_all_comes_back(atlas: Atlas) -> None:
    assert atlas.tables == set(schema.OPTIONAL) - {
        *("motif_hits", "genes", "chromhmm_states", "documents", "edges", "maps")
    }
    assert [(g.gene, g.rank, g.fires) for g in atlas.listed(0)] == [("ACTB", 1, 7), ("CDK1", 2, 1)]
    assert [(g.id, g.rank) for g in atlas.listing("cdk1")] == [(1, 1), (0, 2)]
    assert [(r.layer, r.rank, r.features) for r in atlas.ranks("CDK1")] == [(0, 1, 1), (0, 2, 1)]
    assert [(m.graph, atlas.members(m.number)) for m in atlas.modules()] == [
        ("pmi", [0, 1]),
        ("z", [1]),
        ("pmi", []),
        ("pmi", []),
    ]
    assert [tuple(e) for e in atlas.module_edges(0)] == [
        (0, 2, 2.0, 0.5),
        (0, 3, 3.0, 2.5),
        (2, 3, 1.0, 4.0),
    ]
    assert len(atlas.module_edges()) == 3 and not atlas.module_edges(1)
    assert atlas.layout() == [(0, 1.0, 0.0), (1, -1.0, 2.0), (1_000_000, 0.5, 0.25)]
    assert atlas.layout_made == ("by hand", 0, "3 x 2", 0.5, 0.25)
    between = [(k.id, k.other, k.value) for k in atlas.links_between(0, 1)]
    assert between == [(1, 1_000_000, 9.0), (0, 1_000_000, 4.0)]
    assert {(k.id, k.other) for k in atlas.links(1)} == {(1, 1_000_000), (1_000_000, 1)}
    assert atlas.linked_layers() == [(0, 1), (1, 0)]
    assert [(n.name, n.null, n.n) for n in atlas.numbers(0)] == [("annotated", 0.1, 2)]
    assert len(atlas.numbers()) == 2
    assert [(p.target, p.known) for p in atlas.perturbations()] == [("TF1", 3), ("TF2", 4)]
    assert [r.target for r in atlas.responses(identifier=1_000_000)] == ["TF1", "TF2"]
    assert [r.effect for r in atlas.responses(number=1)] == [1]
    assert [c.cell_type for c in atlas.celltypes(0)] == ["T cell", "B cell"]
    assert [x.features for x in atlas.annotated("geneset", "t")] == [1]
    assert [(e.id, e.q) for e in atlas.enriched("geneset", "t")] == [(0, 0.01)]
    assert [(e.id, e.q) for e in atlas.enriched("geneset", "u")] == [(1_000_000, None)]
    assert atlas.named(["gene"], "cd") == [("gene", "CDK1", 2)]
    assert atlas.layer_names == {0: "G 0", 1: "G 1", 100: "S 0"}
    assert [f.name for f in search(atlas, "L0/0")] == ["L0/0", "L100/0"]


def test_filters(atlas: Atlas) -> None:
    assert list(atlas.order("gene:cdk1")) == [0, 1] and list(atlas.order("gene:ACTB")) == [0]
    # the second is lower in T cells, the third is not significant
    assert list(atlas.order("celltype:cell")) == [0] and not atlas.order('celltype:"T cell"')


def test_tables_that_are_absent(tmp_path: Path) -> None:
    build_atlas(tmp_path / "a", AtlasTables(TABLES.features, TABLES.thresholds))
    atlas = Atlas(tmp_path / "a")
    assert atlas.tables == frozenset() and not atlas.has_graph and not atlas.has_motif_hits
    assert atlas.modules() == atlas.links(0) == atlas.celltypes(0) == atlas.perturbations() == []
    assert atlas.listed(0) == atlas.numbers() == atlas.gene("CDK1") == [] == atlas.members(0)
    assert atlas.module_edges() == atlas.layout() == [] and atlas.layout_made is None
    assert not atlas.order("gene:CDK1") and atlas.state_colors() == {}
    with pytest.raises(FilterError, match="no column celltype"):
        atlas.order("celltype:monocyte")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"modules": None, "module_edges": None},
            "module_members: refers to the table modules, which is absent",
        ),
        (
            {"modules": TABLES.modules[:1], "module_edges": None},
            "module_members: z, 0, 0 is not in the table modules",
        ),
        (
            {"modules": None, "module_members": None},
            "module_edges: refers to the table modules, which is absent",
        ),
        (
            {"module_edges": TABLES.module_edges.assign(other_module=5)},
            "module_edges: pmi, 0, 5 is",
        ),
        (
            {"module_edges": TABLES.module_edges.assign(module=1, other_module=0)},
            "module_edges: row number=0, other=2 is given twice",
        ),
        ({"layout_made": None}, "layout: refers to the table layout_made, which is absent"),
        ({"layout": None}, "layout_made: refers to the table layout, which is absent"),
        ({"layout_made": TABLES.layout_made[:0]}, "layout_made: has not one row"),
        ({"layout": TABLES.layout.assign(feature=8)}, "layout: L0/8"),
        ({"layout": TABLES.layout.assign(layer=0, feature=0)}, "layout: row id=0 is given twice"),
        ({"links": TABLES.links.assign(other_feature=9)}, "table links: L0/9"),
        ({"responses": TABLES.responses[:1].assign(target="TF9")}, "responses: TF9, 1 is not in"),
        ({"feature_genes": TABLES.feature_genes.assign(rank=1)}, "feature_genes: row id=0, rank=1"),
        ({"celltypes": TABLES.celltypes.assign(cell_type="T")}, "celltypes: row id=0, cell_type=T"),
    ],
)
def test_a_row_that_leads_nowhere_is_named(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(UserError) as error:
        build_atlas(tmp_path / "a", replace(TABLES, **change))
    assert said in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_file_of_format_8_opens_without_what_it_lacks(tmp_path: Path) -> None:
    # written by the version before format 9, from tables of this module
    stored = Path(__file__).parents[1] / "fixtures/atlas_format_8.sqlite.gz"
    (tmp_path / "a.sqlite").write_bytes(gzip.decompress(stored.read_bytes()))
    atlas = Atlas(tmp_path / "a.sqlite")
    assert atlas.format == 8
    assert atlas.tables == {
        *("feature_genes", "modules", "module_members", "links", "numbers"),
        *("perturbations", "responses", "celltypes"),
    }
    assert [(m.graph, atlas.members(m.number)) for m in atlas.modules()] == [
        ("pmi", [0, 1]),
        ("z", [1]),
    ]
    assert {(k.id, k.other, k.p) for k in atlas.links(1)} == {
        (1, 1_000_000, 0.01),
        (1_000_000, 1, None),
    }
    assert atlas.module_edges() == atlas.layout() == [] and atlas.layout_made is None


def test_a_format_too_old_says_what_to_do(tmp_path: Path) -> None:
    build_atlas(tmp_path / "a", TABLES)
    sqlite3.connect(tmp_path / "a").executescript("PRAGMA user_version=7;")
    remedy = "format 7, this program reads 8 and 9. Run the stage atlas again"
    with pytest.raises(UserError, match=remedy):
        Atlas(tmp_path / "a")
