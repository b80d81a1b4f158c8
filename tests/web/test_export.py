"""Reference: the SQLite file itself, by SQL or by what the terminal UI asks of it; the folder is
read without our code (web_reader)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import web_reader
from web_reader import features, items, value

from petriscope.atlas import schema
from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.evidence import checks
from petriscope.atlas.query import Atlas
from petriscope.errors import UserError
from petriscope.studies.chromatin.atlas import DECLARED
from petriscope.web.export import MANIFEST, export_atlas

THRESHOLDS = schema.Thresholds(0.05, 0.7)
DTYPES = {"f32": "<f4", "f64": "<f8", "u16": "<u2", "i32": "<i4", "code": "<u2", "code32": "<u4"}


class Exported:
    """An atlas and its folder."""

    def __init__(self, folder: Path, tables: AtlasTables) -> None:
        build_atlas(folder / "atlas.sqlite", tables)
        self.atlas = Atlas(folder / "atlas.sqlite")
        self.path, self.out = folder / "atlas.sqlite", folder / "out"
        export_atlas(self.path, self.out, assets=False, workers=1)
        self.home = value(self.out, "home")
        self.ids = [i for (i,) in self.atlas.select("SELECT id FROM features ORDER BY id")]

    def column(self, name: str) -> list[object]:
        """Values of a column as a page has them."""
        (told,) = (c for c in self.home["columns"] if c["name"] == name)
        if not told["filled"]:
            return [None] * len(self.ids)
        found = items(self.out, f"col/{name}", DTYPES[told["store"]]).tolist()
        if told["kind"] == "text":
            words = value(self.out, f"dict/{name}")
            return [words[code - 1] if code else None for code in found]
        missing = {"u16": 65535, "i32": -(2**31)}.get(told["store"])
        return [None if v == missing or math.isnan(v) else v for v in found]

    def feature(self, identifier: int) -> dict:
        """A feature's evidence."""
        found = web_reader.feature(self.out, self.ids.index(identifier), self.home)
        assert found["id"] == identifier
        return found


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("genome"), web_reader.synthetic(3, 60))


def close(a: object, b: object) -> bool:
    """Equal, numbers to five digits."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return a is not None and b is not None and math.isclose(a, b, rel_tol=6e-6)
    return a == b


def test_columns_equal_the_table(genome: Exported) -> None:
    for name, column in genome.atlas.columns.items():
        expected = [v for (v,) in genome.atlas.select(f'SELECT "{name}" FROM features ORDER BY id')]
        if column.kind == "real":
            expected = [None if v is None else float(np.float32(v)) for v in expected]
        assert genome.column(name) == expected, name


def test_flags_equal_the_filters(genome: Exported) -> None:
    flags = items(genome.out, "flags", "u1")
    for name, bit in (
        ("alive", 1),
        ("context", 2),
        ("stable", 4),
        ("causal", 8),
        ("annotated", 16),
    ):
        passed = [i for i, flag in zip(genome.ids, flags) if flag & bit]
        assert passed == sorted(genome.atlas.order(f"is:{name}")), name
        assert genome.home["counts"][name] == len(passed)
    tested = [
        i for (i,) in genome.atlas.select("SELECT id FROM features WHERE q IS NOT NULL ORDER BY id")
    ]
    assert [i for i, flag in zip(genome.ids, flags) if flag & 32] == tested


def test_kinds_equal_the_filters(genome: Exported) -> None:
    bits = items(genome.out, "kinds", "u1")
    told = [kind["filters"][0] for kind in genome.home["kinds"]]
    held = 0
    for k, word in enumerate(told):
        passed = [i for i, held in zip(genome.ids, bits) if held & (1 << k)]
        assert passed == sorted(genome.atlas.order(f"{word}:*")), word
        held += bool(passed)
    assert held > 2


@pytest.mark.parametrize("name", ["layer", "q", "label", "cds", "module"])
@pytest.mark.parametrize("down", [False, True])
def test_first_rows_equal_the_sorting(genome: Exported, name: str, down: bool) -> None:
    found = value(genome.out, f"rows/{name}-down" if down else f"rows/{name}")
    ids = genome.atlas.order("", name, down)[:64].tolist()
    assert found["ids"] == ids
    assert found["rows"] == [list(row) for row in genome.atlas.rows(ids, found["columns"])]


def test_a_pack_holds_what_the_terminal_shows(genome: Exported) -> None:
    atlas = genome.atlas
    number = {unit.name: i for i, unit in enumerate(atlas.units)}
    for identifier in genome.ids[::17]:
        found, told = genome.feature(identifier), atlas.feature(identifier)
        assert close(found["values"], {k: v for k, v in told.values.items() if k != "id"})
        assert close(found["effects"], [e._asdict() for e in told.lineages])
        expected = checks(told, atlas.thresholds, atlas.declared)
        assert found["checks"] == [check._asdict() for check in expected]
        assert [(a["unit"], a["histogram"]) for a in found["activation"]] == [
            (number[a.unit.name], a.histogram) for a in told.activation
        ]
        assert found["contexts_total"] == len(told.contexts)
        assert close(
            [
                (c["unit"], c["rank"], c["activation"], c["name"], c["values"])
                for c in found["contexts"]
            ],
            [(number[c.unit.name], c.rank, c.activation, c.name, c.values) for c in told.contexts][
                :64
            ],
        )
        for kind in ("chromhmm", "motif", "geneset"):
            given = [a._asdict() for a in atlas.annotations(identifier, kind)]
            got = [
                {k: v for k, v in a.items() if k != "enriched"}
                for a in found["annotations"].get(kind, [])
            ]
            assert close(got, [{k: v for k, v in a.items() if k != "rank"} for a in given])
        assert {kind: [n["id"] for n in of] for kind, of in found["neighbors"].items()} == {
            kind: [n.id for n in of] for kind, of in told.neighbors.items()
        }
        assert close(found["ablation"], [p._asdict() for p in told.ablation])
        assert close(found["steering"], [p._asdict() for p in told.steering])


def test_contexts_know_what_lies_near(genome: Exported) -> None:
    sites = genome.atlas.select("SELECT symbol, chrom, tss, strand FROM genes ORDER BY tss, gene")
    hits = genome.atlas.select('SELECT motif, start, "end", strand, score, chrom FROM motif_hits')
    seen = 0
    for context in (c for i in genome.ids[:40] for c in genome.feature(i)["contexts"]):
        low, high = context["start"] - 100_000, context["end"] + 100_000
        near = [
            [s, tss, strand]
            for s, chrom, tss, strand in sites
            if chrom == context["chrom"] and low <= tss < high
        ]
        assert context["genes"] == near
        inside = {
            (h[0], h[1])
            for h in hits
            if h[5] == context["chrom"] and h[1] < context["end"] and h[2] > context["start"]
        }
        assert {(m, start) for m, start, *_ in context["hits"]} == inside
        seen += len(inside)
    assert seen > 0


def test_posts_equal_the_enriched(genome: Exported) -> None:
    terms = value(genome.out, "terms")
    found = dict(
        zip(zip(terms["kind"], terms["name"]), zip(range(10**6), terms["chunk"], terms["features"]))
    )
    assert [
        tuple(row)
        for row in genome.atlas.select("SELECT kind, name FROM terms WHERE kind <> 'gene'")
    ] == list(found)
    for (kind, name), (number, chunk, count) in found.items():
        expected = genome.atlas.enriched(kind, name, 10**6)
        if chunk < 0:
            assert not expected and not count
            continue
        post = value(genome.out, f"post/{chunk}")[str(number)]
        assert [genome.ids[row] for row in post["row"]] == [e.id for e in expected]
        assert close(post["q"], [e.q for e in expected]) and post["total"] == len(expected)


def test_a_long_post_keeps_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petriscope.web.terms.TOLD", 5)
    one = Exported(tmp_path, web_reader.synthetic(2, 60))
    terms, long = value(one.out, "terms"), 0
    for number, chunk in enumerate(terms["chunk"]):
        if chunk >= 0:
            post = value(one.out, f"post/{chunk}")[str(number)]
            sql = "SELECT id FROM annotations WHERE term = ? AND q < .05 ORDER BY q, id"
            ids = [i for (i,) in one.atlas.select(sql, (number,))]
            assert [one.ids[row] for row in post["row"][:5]] == ids[:5]
            assert sorted(one.ids[row] for row in post["row"]) == sorted(ids)
            assert len(post["q"]) == min(5, len(ids)) and post["total"] == len(ids)
            long += len(ids) > 5
    assert long > 3


def test_places_and_genes(genome: Exported) -> None:
    rows = []
    for number, (chrom, first, last, end) in enumerate(genome.home["places"]):
        place = value(genome.out, f"place/{number}")
        assert set(place["chrom"]) == {chrom} and max(place["end"]) == end
        assert (place["start"][0], place["start"][-1]) == (first, last)
        rows += zip(
            place["chrom"],
            place["start"],
            place["end"],
            [genome.ids[r] for r in place["row"]],
            place["unit"],
        )
    sql = 'SELECT chrom, start, "end", id, unit FROM top JOIN contexts USING (context)'
    assert sorted(rows) == sorted(genome.atlas.select(sql))
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    genes = value(genome.out, "genes")
    for name, count in list(zip(genes["name"], genes["features"]))[::20]:
        assert count == genome.atlas.count(f'gene:"{name}"'), name


def test_home_tells_the_run(genome: Exported) -> None:
    home, atlas = genome.home, genome.atlas
    assert home["run"] == atlas.run() and home["total"] == atlas.total
    assert close(home["claims"], [c._asdict() for c in atlas.claims()])
    assert close(home["flow"], [f._asdict() for f in atlas.flow()])
    for told, layer in zip(home["layers"], atlas.layers()):
        known = layer._asdict()
        assert close(told["values"], {k: known[k] for k in told["values"]})
        assert told["contiguous"] and told["size"] == 60
        assert genome.ids[told["first"]] == layer.layer * 1_000_000
        for kind, count in told["annotated"].items():
            sql = "SELECT COUNT(DISTINCT id) FROM annotations WHERE kind = ? AND q < .05 AND id / 1000000 = ?"
            assert atlas.select(sql, (kind, layer.layer)) == [(count,)]
    assert {"terms", "genes", "place", "curves", "kg"} <= set(home["has"])
    assert len(json.dumps(home)) > 5_000
    assert (genome.out / "data" / "home.js").stat().st_size <= 45_000


def test_no_file_is_too_large_and_all_are_listed(genome: Exported) -> None:
    told = json.loads((genome.out / MANIFEST).read_text())["files"]
    there = {p.relative_to(genome.out).as_posix() for p in genome.out.rglob("*") if p.is_file()}
    assert there == {*told, MANIFEST}
    assert max(one["size"] for one in told.values()) <= 512 * 1024


def test_two_exports_are_equal_byte_for_byte(genome: Exported, tmp_path: Path) -> None:
    export_atlas(genome.path, tmp_path / "again", assets=False, workers=2)
    first, second = (
        {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (genome.out, tmp_path / "again")
    )
    assert first == second


# Partial atlases
# ------------------------------------------------------------------------------------------------


def test_features_alone(tmp_path: Path) -> None:
    one = Exported(tmp_path, AtlasTables(features(), THRESHOLDS))
    assert one.home["has"] == [] and one.home["places"] == [] and one.home["total"] == 3
    assert {
        "",
        "map",
        "modules",
        "flow",
        "gene",
        "term",
        "region",
        "causal",
        "crispr",
        "contrast",
    } <= set(one.home["empty"])
    assert all(sentence.endswith(".") for sentence in one.home["empty"].values())
    found = one.feature(1_000_000)
    assert (
        found["contexts"] == found["effects"] == found["links"] == [] and found["annotations"] == {}
    )


def test_no_feature_at_all(tmp_path: Path) -> None:
    one = Exported(tmp_path, AtlasTables(features().iloc[:0], THRESHOLDS))
    assert one.home["total"] == 0 and one.home["layers"] == []
    assert "features" in one.home["empty"]


def test_nothing_is_alive(tmp_path: Path) -> None:
    one = Exported(tmp_path, AtlasTables(features(alive=0, density=0.0), THRESHOLDS))
    assert one.home["counts"] == dict.fromkeys(one.home["counts"], 0)
    assert one.column("alive") == [0, 0, 0]


def test_gaps_in_a_layer_are_told(tmp_path: Path) -> None:
    frame = pd.DataFrame({"layer": [0, 0, 4], "feature": [2, 7, 0], "label": ["b", "B", None]})
    one = Exported(tmp_path, AtlasTables(frame, THRESHOLDS))
    assert [(x["layer"], x["first"], x["size"], x["contiguous"]) for x in one.home["layers"]] == [
        (0, 0, 2, False),
        (4, 2, 1, True),
    ]
    assert one.column("feature") == [2, 7, 0] and one.column("label") == ["b", "B", None]


ODD = ['a "quoted" <b>&</b>', "</script><!--", "naïve µ 細胞\u2028", "100 % d\\x'"]


def test_odd_names_come_through(tmp_path: Path) -> None:
    frame = pd.DataFrame({"layer": 0, "feature": range(4), "label": ODD, "alive": 1, "q": 0.01})
    frame = frame.assign(**{"t_B cell/<é>": [1.0, 2.0, None, 4.0]})
    at = {"layer": 0, "feature": range(4)}
    one = Exported(
        tmp_path,
        AtlasTables(
            frame,
            THRESHOLDS,
            annotations=pd.DataFrame({**at, "kind": "geneset", "term": ODD, "q": 0.01}),
            units=pd.DataFrame({"unit": ODD}),
            contexts=pd.DataFrame(
                {**at, "unit": ODD, "activation": 1.0, "name": ODD, "sequence": ODD}
            ),
            feature_genes=pd.DataFrame({**at, "rank": 1, "gene": ODD}),
            run=pd.DataFrame({"key": ["dataset"], "value": [ODD[1]]}),
            declared=DECLARED,
        ),
    )
    assert one.column("label") == ODD
    assert value(one.out, "terms")["name"] == sorted(ODD)
    assert value(one.out, "genes")["name"] == sorted(ODD)
    for i, name in enumerate(ODD):
        found = one.feature(i)
        assert found["contexts"][0]["name"] == found["contexts"][0]["values"]["sequence"] == name
        assert found["annotations"]["geneset"][0]["term"] == found["genes"][0]["gene"] == name
        assert found["values"]["label"] == name
    path = one.out / "data" / "col" / "t_B~20cell" / "~3c~c3~a9~3e.js"
    assert path.read_text(encoding="ascii").startswith('P("col/t_B~20cell/~3c~c3~a9~3e","')


def test_extremes_are_kept(tmp_path: Path) -> None:
    frame = features(
        p=[1e-300, 0.5, None],
        density=[1e-40, 1.0, 0.0],
        n_units=[70_000, -1, None],
        module=[1, 2, 65_535],
    )
    one = Exported(tmp_path, AtlasTables(frame, THRESHOLDS))
    assert one.column("p") == [1e-300, 0.5, None] and one.column("density") == [1e-40, 1.0, 0.0]
    assert one.column("n_units") == [70_000, -1, None] and one.column("module") == [1, 2, 65_535]


def test_a_foreign_folder_stays(tmp_path: Path) -> None:
    build_atlas(tmp_path / "a.sqlite", AtlasTables(features(), THRESHOLDS))
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        export_atlas(tmp_path / "a.sqlite", out, assets=False)
    assert (out / "thesis.txt").read_text() == "years"


def test_without_the_page_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_atlas(tmp_path / "a.sqlite", AtlasTables(features(), THRESHOLDS))
    monkeypatch.setattr("petriscope.web.export.ASSETS", ("absent.html",))
    with pytest.raises(UserError, match="npm run build"):
        export_atlas(tmp_path / "a.sqlite", tmp_path / "out")
    assert not (tmp_path / "out").exists()
