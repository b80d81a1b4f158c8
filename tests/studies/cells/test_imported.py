"""The imported atlas against the released files, read here with json and the standard library."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from petriscope.atlas.query import Atlas, search
from petriscope.atlas.schema import feature_name, parse_feature
from petriscope.cli import main
from petriscope.commands import atlas as verb
from petriscope.errors import UserError
from petriscope.run.studies import Audit
from petriscope.studies.cells.audit import audit_folder
from petriscope.studies.cells.imported import released_atlas
from petriscope.studies.cells.released import FILES


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    return shared / "data/single_cell/published_atlas"


@pytest.fixture(scope="module")
def atlas(released_workspace: Path) -> Atlas:
    return Atlas(released_workspace / "results/atlas.sqlite")


def lines(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        names = next(handle).rstrip("\n").split("\t")
        for line in handle:
            yield dict(zip(names, line.rstrip("\n").split("\t")))


def test_every_feature_is_there_and_genomic_tables_are_not(atlas: Atlas) -> None:
    assert atlas.total == 82_944 + 24_576
    assert atlas.count("is:alive") == 82_525 + 24_527
    assert atlas.count("is:annotated") == 43_268 + 7_595
    assert atlas.count("model:scgpt") == 24_576
    assert atlas.tables.isdisjoint({"genes", "motif_hits", "chromhmm_states", "documents"})
    assert "celltypes" not in atlas.tables and atlas.celltypes(0) == []
    made = {name for (name,) in atlas.select("SELECT name FROM sqlite_master")}
    assert "motif_hits" not in made and "modules" in made
    assert len(atlas.layers()) == 30 and atlas.layer_names[111] == "scGPT 11"


def test_search_finds_the_features_of_the_files(atlas: Atlas, published: Path) -> None:
    """CDK1, L11/64 and ribosome."""
    listed: set[str] = set()
    ribosome: set[str] = set()
    for family, first in (("geneformer", 0), ("scgpt", 100)):
        full = {5, 17} if family == "geneformer" else {0, 11}
        for row in lines(published / f"{family}_features.tsv.gz"):
            name = f"L{int(row['layer']) + first}/{row['feature']}"
            if "CDK1" in row["top5_genes"].split(";"):
                listed.add(name)
            if "ribosome" in row["label"].casefold() and int(row["layer"]) not in full:
                ribosome.add(name)
        for layer in full:
            for row in lines(published / f"{family}_L{layer:02d}_annotations.tsv.gz"):
                name = f"L{layer + first}/{row['feature']}"
                if row["kind"] == "gene" and row["name"] == "CDK1":
                    listed.add(name)
                if row["kind"] not in ("gene", "STRING_edges", "TRRUST_edges"):
                    ribosome |= {name} if "ribosome" in row["name"].casefold() else set()
    gene = search(atlas, "cdk1")[0]
    assert (gene.kind, gene.name, gene.features) == ("gene", "CDK1", len(listed))
    assert {feature_name(i) for i in atlas.order(gene.query)} == listed
    assert {feature_name(g.id) for g in atlas.listing("CDK1")} == listed
    assert sum(x.features for x in atlas.ranks("CDK1")) == len(listed)
    assert [one.name for one in search(atlas, "L11/64")] == ["L11/64", "L111/64"]
    label = atlas.feature(parse_feature("L11/64")).values["label"]
    assert label == "Cell Cycle, Mitotic R-HSA-69278"
    found = [one for one in search(atlas, "ribosome") if one.kind == "geneset"]
    assert {"Ribosome", "Ribosome Biogenesis (GO:0042254)"} <= {one.name for one in found}
    assert {feature_name(i) for i in atlas.order("go:ribosome")} == ribosome
    term = "Ribosome Biogenesis (GO:0042254)"
    assert sum(x.features for x in atlas.annotated("geneset", term)) == atlas.count(f'go:"{term}"')


def test_a_feature_with_all_its_parts(atlas: Atlas, published: Path) -> None:
    identifier = parse_feature("L5/4")
    rows = [
        r for r in lines(published / "geneformer_L05_annotations.tsv.gz") if r["feature"] == "4"
    ]
    genes = [(r["name"], float(r["value"]), int(r["count"])) for r in rows if r["kind"] == "gene"]
    assert [(g.gene, g.value, g.fires) for g in atlas.listed(identifier)] == genes
    terms = {(r["name"], r["kind"], float(r["value"])) for r in rows if r["kind"] != "gene"}
    found = atlas.annotations(identifier, "geneset")
    assert {(a.term, a.scope, a.q) for a in found} == terms
    assert [a.q for a in found] == sorted(a.q for a in found)
    edges = [r for r in lines(published / "scgpt_L11_annotations.tsv.gz") if r["feature"] == "7"]
    assert {r["kind"] for r in edges} >= {"STRING_edges"}
    assert [a.term for a in atlas.annotations(parse_feature("L111/7"), "network")] == ["STRING"]
    assert atlas.count("network:STRING layer:5") == 216


def test_modules_links_and_responses(atlas: Atlas, published: Path) -> None:
    def read(name: str) -> object:
        return json.loads(gzip.open(published / f"{name}.json.gz").read())

    modules = atlas.modules()
    assert len(modules) == 141 + 76 and len(atlas.modules(0)) == 6
    first = read("geneformer_modules")[0]
    assert (modules[0].size, len(atlas.members(0))) == (first["n"], len(first["features"]))
    assert modules[0].label.startswith("Ribosome Biogenesis (GO:0042254) (2); ")
    last = read("scgpt_modules")[-1]
    assert atlas.members(modules[-1].number) == [
        (100 + last["layer"]) * 1_000_000 + f for f in last["features"]
    ]
    graph = read("geneformer_cross_layer_graph")
    wanted = [(d["a"], x["b"], x["pmi"]) for d in graph["L05_L11"]["deps"] for x in d["deps"]]
    got = atlas.links_between(5, 11, 10_000)
    assert Counter((k.id - 5_000_000, k.other - 11_000_000, k.value) for k in got) == Counter(
        wanted
    )
    assert atlas.linked_layers() == [(0, 5), (5, 11), (11, 17), (100, 104), (104, 108), (108, 111)]
    assert {k.kind for k in atlas.links(got[0].other)} == {"pmi"}
    (share,) = [n for n in atlas.numbers() if n.name == "highways" and n.layer == 5]
    assert share.value == pytest.approx(4401 / 4542) and share.n == 4542
    targets = read("geneformer_perturbation_response")["targets"]
    perturbed = atlas.perturbations()
    assert [(p.target, p.responding, p.specific) for p in perturbed] == [
        (t["gene"], t["nr"], t["ns"]) for t in targets
    ]
    srf = next(p for p in perturbed if p.target == "SRF")
    assert srf.specific == 1 and 0 < srf.null < 1
    assert sum(p.null or 0 for p in perturbed) == pytest.approx(1.91, abs=0.01)
    responses = atlas.responses(number=srf.number)
    assert responses[0].id == parse_feature("L11/64") and responses[0].effect > 0.5
    assert "SRF" in {r.target for r in atlas.responses(identifier=parse_feature("L11/64"))}
    causal = atlas.feature(parse_feature("L11/1023")).values
    assert (causal["specificity"], causal["target_change"]) == (7.63, -2.799)


def test_the_claims_are_those_of_the_audit(atlas: Atlas) -> None:
    claims = {c.claim: c for c in atlas.claims()}
    coverage = claims["scgpt-alive-features-in-a-module"]
    assert (coverage.published, coverage.as_published) == ("96.3", "88.246")
    assert coverage.verdict == "not supported"
    assert claims["crispri-factors-with-a-specific-response"].verdict == "not supported"
    assert claims["geneformer-alive-features"].as_published == "82,525"


def test_the_verb(published: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    audit = Audit(FILES, audit_folder, released_atlas)
    monkeypatch.setattr(verb, "audits", lambda: {"cells": audit})
    folder, out = tmp_path / "tables", tmp_path / "out"
    folder.mkdir()
    shutil.copy(published / "scgpt_modules.json.gz", folder)
    assert main(["atlas", "import", str(folder), "--out", str(out)]) == 2
    assert "lacks geneformer_features.tsv.gz" in capsys.readouterr().err
    with gzip.open(published / "scgpt_features.tsv.gz", "rt") as handle:
        head = handle.readlines()[:2049]
    (folder / "scgpt_features.tsv.gz").write_bytes(gzip.compress("".join(head).encode()))
    (folder / "scgpt_modules.json.gz").unlink()
    for _ in range(2):  # an earlier atlas is replaced
        assert main(["atlas", "import", str(folder), "--out", str(out)]) == 0
    assert "2,048 features: petriscope tui" in capsys.readouterr().out
    atlas = Atlas(out / "results/atlas.sqlite")
    tables = {"feature_genes", "layout", "layout_made", "numbers"}
    assert atlas.total == 2048 and atlas.tables == tables
    assert atlas.modules() == [] == atlas.perturbations() == atlas.links(0)
    (out / "results/atlas.sqlite").write_text("mine")
    assert main(["atlas", "import", str(folder), "--out", str(out)]) == 2
    assert "exists and is not an atlas" in capsys.readouterr().err
    monkeypatch.setattr(verb, "audits", lambda: {"cells": audit._replace(atlas=None)})
    assert main(["atlas", "import", str(folder), "--out", str(out)]) == 2
    assert "released no features" in capsys.readouterr().err


def test_a_damaged_file_is_one_line(published: Path, tmp_path: Path) -> None:
    for name in ("scgpt_features.tsv.gz", "scgpt_cross_layer_graph.json.gz"):
        shutil.copy(published / name, tmp_path)
    (tmp_path / "scgpt_cross_layer_graph.json.gz").write_text('{"L00_L04": {"deps": [{"a": 1}]}}')
    with pytest.raises(UserError, match=r"cross_layer_graph.json.gz: lacks L00_L04\.") as error:
        released_atlas(tmp_path)
    assert "\n" not in str(error.value)
