"""Reference: the frames that went in, queried with pandas; the file must give them back exactly."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from petriscope.atlas import schema
from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.filters import Region
from petriscope.atlas.query import Atlas
from petriscope.errors import UserError

LIMITS = schema.Thresholds(alpha=0.05, stable=0.7)
GENERATOR = Path(__file__).resolve().parents[2] / "benchmarks" / "synthetic_atlas.py"


def synthetic_tables(**sizes: int) -> AtlasTables:
    """Frames made by the benchmark's generator."""
    spec = importlib.util.spec_from_file_location("synthetic_atlas", GENERATOR)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.synthetic_tables(**sizes)


@pytest.fixture(scope="module")
def tables() -> AtlasTables:
    return synthetic_tables(layers=2, per_layer=60)


@pytest.fixture(scope="module")
def atlas(tables: AtlasTables, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = tmp_path_factory.mktemp("atlas") / "atlas.sqlite"
    build_atlas(path, tables)
    return Atlas(path)


def test_every_feature_comes_back(atlas: Atlas, tables: AtlasTables) -> None:
    for row in tables.features.to_dict("records"):
        values = atlas.feature(schema.feature_id(row["layer"], row["feature"])).values
        for name, value in row.items():
            expected = None if pd.isna(value) else value
            assert values[name] == expected, name


def test_contexts_ranked_within_unit(atlas: Atlas, tables: AtlasTables) -> None:
    frame = tables.contexts
    one = frame[(frame.layer == 1) & (frame.feature == frame.feature.max())]
    got = atlas.contexts(schema.feature_id(1, int(one.feature.iloc[0])))
    expected = one.sort_values("activation", ascending=False)
    assert [b.activation for b in got] == expected.activation.tolist()
    assert [(b.chrom, b.start, b.end, b.values["sequence"], b.unit.name) for b in got] == list(
        zip(expected.chrom, expected.start, expected.end, expected.sequence, expected.unit)
    )
    for name, group in expected.groupby("unit"):
        assert [b.rank for b in got if b.unit.name == name] == list(range(1, len(group) + 1))


def test_annotations_and_neighbors(atlas: Atlas, tables: AtlasTables) -> None:
    key = tables.annotations.iloc[0]
    mine = (tables.annotations.layer == key.layer) & (tables.annotations.feature == key.feature)
    expected = tables.annotations[mine & (tables.annotations.kind == "motif")].sort_values(
        ["q", "p"]
    )
    got = atlas.annotations(schema.feature_id(key.layer, key.feature), "motif")
    assert [a.term for a in got] == expected.term.tolist()
    assert [a.estimate for a in got] == expected.estimate.tolist()
    assert [a.rank for a in got] == list(range(1, len(got) + 1))
    near = atlas.neighbors(schema.feature_id(key.layer, key.feature))["decoder"]
    same = tables.similar[
        (tables.similar.layer == key.layer) & (tables.similar.feature == key.feature)
    ]
    assert [n.value for n in near] == sorted(same[same.kind == "decoder"].value, reverse=True)


def test_flow_and_histograms_add_up(atlas: Atlas, tables: AtlasTables) -> None:
    for layer in (0, 1):
        mine = tables.features[tables.features.layer == layer]
        assert sum(n for _, n in atlas.density_histogram(layer)) == int((mine.density > 0).sum())
    frame = tables.similar[
        (tables.similar.kind == "decoder")
        & (tables.similar.layer == 0)
        & (tables.similar.other_layer == 1)
    ]
    best = frame.sort_values("value").drop_duplicates("feature", keep="last")
    key = ["layer", "feature", "q", "direction"]
    best = best.merge(tables.features[key], on=["layer", "feature"])
    there = tables.features[key].rename(
        columns={"layer": "other_layer", "feature": "other_feature"}
    )
    best = best.merge(there, on=["other_layer", "other_feature"], suffixes=("", "_there"))
    close, context = best.value >= atlas.thresholds.stable, best.q < atlas.thresholds.alpha
    same = (best.q_there < atlas.thresholds.alpha) & (best.direction == best.direction_there)
    flow = next(f for f in atlas.flow() if (f.layer, f.other_layer) == (0, 1))
    assert flow.features == len(best) > flow.continued == close.sum() > 0
    assert (
        flow.context_features
        == context.sum()
        > flow.context_continued
        == (close & context & same).sum()
    )
    assert flow.mean_cosine == pytest.approx(best.value.mean())


def test_same_tables_same_bytes(tables: AtlasTables, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_atlas(tmp_path / name, tables)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_partial_run(tmp_path: Path) -> None:
    features = pd.DataFrame(
        {"layer": [0, 0, 3], "feature": [5, 2, 1], "alive": [1, 0, 1], "q": [0.01, None, 0.2]}
    )
    build_atlas(tmp_path / "atlas.sqlite", AtlasTables(features, LIMITS))
    atlas = Atlas(tmp_path / "atlas.sqlite")
    assert list(atlas.order()) == [2, 5, 3_000_001]
    assert [(x.layer, x.alive, x.n_context, x.fvu) for x in atlas.layers()] == [
        (0, 1, 1, None),
        (3, 1, 0, None),
    ]
    page = atlas.feature(5)
    assert (
        page.values["cds"] is None
        and page.activation == []
        and page.neighbors == {}
        and page.contexts == []
    )
    assert atlas.claims() == [] and atlas.run() == {} and atlas.lineages == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"features": lambda f: f.drop(columns="layer")},
            "features: layer: required column is missing",
        ),
        (
            {"features": lambda f: f.assign(denstiy=1)},
            "denstiy: unknown column. Did you mean density?",
        ),
        (
            {"features": lambda f: pd.concat([f, f.head(1)])},
            "row layer=0, feature=0 is given twice",
        ),
        ({"similar": lambda f: f.assign(other_feature=999)}, "similar: L0/999"),
        (
            {"contexts": lambda f: f.assign(unit="nobody")},
            "unit 'nobody' is not in the units table",
        ),
        (
            {"annotations": lambda f: f.assign(kind="motive")},
            "unknown kind 'motive'. Use chromhmm, motif, geneset",
        ),
        (
            {"annotations": lambda f: f.assign(term=None)},
            "annotations: term: required column has empty cells",
        ),
    ],
)
def test_mistakes_name_table_and_column(
    tables: AtlasTables, tmp_path: Path, change: dict, message: str
) -> None:
    ((name, edit),) = change.items()
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        build_atlas(
            tmp_path / "atlas.sqlite", replace(tables, **{name: edit(getattr(tables, name))})
        )
    assert list(tmp_path.iterdir()) == []


def study_of_kmers() -> AtlasTables:
    """An atlas as a study of sequences would make it: no genome, no lineage, columns of its own."""
    declared = schema.Declared(
        unit="sequence",
        stratum="length class",
        condition="binding",
        reference="unbound",
        target="bound",
        units=(
            schema.Column("length", "integer", "bp", "count", "bases"),
            schema.Column("binding", "text", "binding", "text", "by cisplatin"),
        ),
        contexts=(
            schema.Column("position", "integer", "position", "count", "of the k-mer", True),
            schema.Column("flank", "text", "flank", "text", "bases around it"),
        ),
        features=(
            schema.Column("degree", "real", "degree", "number", "in the graph", indexed=True),
        ),
    )
    features = pd.DataFrame(
        {"layer": 0, "feature": range(3), "alive": 1, "degree": [2.0, 7.0, None]}
    )
    contexts = pd.DataFrame(
        {
            "layer": 0,
            "feature": [0, 0, 1],
            "unit": ["seqB", "seqA", "seqB"],
            "activation": [1.0, 3.0, 2.0],
            "name": ["seqB:12 ACGTAC", "seqA:3 TTGACA", "seqB:12 ACGTAC"],
            "position": [12, 3, 12],
            "flank": ["gg", "cc", "gg"],
        }
    )
    units = pd.DataFrame(
        {"unit": ["seqB", "seqA"], "length": [600, 900], "binding": ["bound", "unbound"]}
    )
    return AtlasTables(features, LIMITS, units=units, contexts=contexts, declared=declared)


def test_a_study_brings_its_own_columns_and_words(tmp_path: Path) -> None:
    build_atlas(tmp_path / "a.sqlite", study_of_kmers())
    atlas = Atlas(tmp_path / "a.sqlite")
    assert atlas.declared.unit == "sequence" and atlas.lineages == []
    assert [(u.name, u.values) for u in atlas.units] == [
        ("seqB", {"length": 600, "binding": "bound"}),
        ("seqA", {"length": 900, "binding": "unbound"}),
    ]
    strongest, weaker = atlas.contexts(0)
    assert (strongest.name, strongest.unit.name, strongest.activation) == (
        "seqA:3 TTGACA",
        "seqA",
        3,
    )
    assert strongest.values == {"position": 3, "flank": "cc"} and strongest.chrom is None
    assert weaker.values["position"] == 12 and atlas.contexts(1)[0].name == weaker.name
    assert list(atlas.order("degree>5")) == [1]
    assert list(atlas.order(sort="degree", descending=True)) == [1, 0, 2]
    assert (atlas.columns["degree"].head, atlas.columns["degree"].text) == (
        "degree",
        "in the graph",
    )
    assert list(atlas.order("region:chr1:1-1000")) == [] == atlas.region(Region("chr1", 0, 1000))


def test_columns_that_no_one_declared_or_two_did_are_refused(tmp_path: Path) -> None:
    tables = study_of_kmers()
    undeclared = replace(tables, declared=schema.Declared())
    with pytest.raises(UserError, match="atlas table features: degree: unknown column"):
        build_atlas(tmp_path / "a.sqlite", undeclared)
    double = (*tables.declared.contexts, schema.Column("name", "text"))
    with pytest.raises(UserError, match="atlas table contexts: name: is declared twice"):
        build_atlas(
            tmp_path / "a.sqlite",
            replace(tables, declared=tables.declared._replace(contexts=double)),
        )
    missing = replace(tables, contexts=tables.contexts.drop(columns="position"))
    with pytest.raises(UserError, match="contexts: position: required column is missing"):
        build_atlas(tmp_path / "a.sqlite", missing)


def test_files_that_are_no_atlas(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no atlas here\. Run the pipeline"):
        Atlas(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("x" * 5000)
    with pytest.raises(UserError, match="not a readable atlas"):
        Atlas(tmp_path / "text")
    sqlite3.connect(tmp_path / "other").executescript("CREATE TABLE t(x); PRAGMA user_version=1;")
    with pytest.raises(UserError, match="not a Petriscope atlas"):
        Atlas(tmp_path / "other")
    build_atlas(tmp_path / "new", AtlasTables(pd.DataFrame({"layer": [0], "feature": [0]}), LIMITS))
    sqlite3.connect(tmp_path / "new").executescript("PRAGMA user_version=10;")
    newer = (
        "the atlas has format 10, this program reads 8 and 9. Open it with the version that wrote"
    )
    with pytest.raises(UserError, match=newer):
        Atlas(tmp_path / "new")
    build_atlas(
        tmp_path / "odd name?#.sqlite",
        AtlasTables(pd.DataFrame({"layer": [0], "feature": [0]}), LIMITS),
    )
    assert Atlas(tmp_path / "odd name?#.sqlite").count() == 1


def test_state_colors_as_in_bed_or_hex(tables: AtlasTables, tmp_path: Path) -> None:
    states = pd.DataFrame(
        {"name": ["a", "b", "c"], "number": [1, 2, 3], "colour": ["194,225,5", "#FF4500", None]}
    )
    build_atlas(tmp_path / "atlas.sqlite", replace(tables, chromhmm_states=states))
    assert Atlas(tmp_path / "atlas.sqlite").state_colors() == {"a": "#c2e105", "b": "#ff4500"}
    with pytest.raises(UserError, match=r"'red' is no color\. Write #ff4500"):
        build_atlas(
            tmp_path / "atlas.sqlite", replace(tables, chromhmm_states=states.assign(colour="red"))
        )


def test_atlas_cannot_be_written(atlas: Atlas) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        atlas.select("INSERT INTO run VALUES('a', 'b')")
