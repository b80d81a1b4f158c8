"""RO-Crate, citation and licenses: read back through the rocrate library, held to the run's records
and to sources.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from petriscope import __version__
from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.files import read_json, sha256
from petriscope.run.crate import PROFILE, write_crate
from petriscope.run.workspace import create_workspace

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_crate_holds_results_records_and_an_action_per_stage(tiny_run, tmp_path, capsys):
    rocrate = pytest.importorskip("rocrate.rocrate")
    out = tmp_path / "a crate ü"
    assert main(["crate", str(out), "--workspace", str(tiny_run.root)]) == 0
    crate = rocrate.ROCrate(out)
    assert crate.root_dataset["conformsTo"][0].id == PROFILE
    actions = {a["name"]: a for a in crate.contextual_entities if a.type == "CreateAction"}
    records = sorted(tiny_run.root.glob("results/provenance/*.json"))
    assert set(actions) == {f"petriscope stage {path.stem}" for path in records}
    figures = actions["petriscope stage figures"]
    assert any("results/cds" in item.id for item in figures["object"])
    table = next(p for p in out.rglob("table1_context_features.csv"))
    assert sha256(table) == sha256(tiny_run.figures / "tables/table1_context_features.csv")
    graph = json.loads((out / "ro-crate-metadata.json").read_text())["@graph"]
    raw = next(entity for entity in graph if entity.get("name") == "data/tiny")
    assert (
        raw["sha256"] == read_json(tiny_run.provenance("windows"))["inputs"]["data/tiny"]["sha256"]
    )
    assert "CC BY 4.0" in raw["license"]
    with pytest.raises(UserError, match=r"exists already. Name a new folder"):
        write_crate(tiny_run, out)


def test_an_unfinished_run_makes_no_crate(tmp_path):
    pytest.importorskip("rocrate.rocrate")
    with pytest.raises(UserError, match=r"no record of windows"):
        write_crate(create_workspace(tmp_path / "w"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_citation_has_what_the_format_demands():
    """Required by CFF 1.2.0: cff-version, message, title, authors with a name."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"]
    assert all(
        {"name"} <= set(author) or {"family-names"} <= set(author) for author in citation["authors"]
    )
    assert str(citation["version"]) == __version__ and citation["license"] == "MIT"


def test_every_license_of_the_sources_is_on_the_page():
    page = (REPOSITORY / "docs/data-licenses.md").read_text()
    sources = yaml.safe_load(
        (REPOSITORY / "src/petriscope/studies/chromatin/data/sources.yaml").read_text()
    )
    for key, text in sources["licences"].items():
        words = [
            w
            for w in ("CC BY 4.0", "MIT", "unrestricted", "open access", "doi:10.1038/nature14248")
            if w in text
        ]
        assert words and all(word in page for word in words), key
    used = {entry["licence"] for entry in sources["sources"]}
    assert used <= set(sources["licences"])
