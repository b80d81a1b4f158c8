"""The screen Graph on an atlas made by hand: real key presses through Textual's Pilot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from atlas.test_build import study_of_kmers
from tui_pilot import press, settle

from petriscope.atlas.build import build_atlas
from petriscope.atlas.query import Atlas
from petriscope.errors import UserError
from petriscope_tui.app import PetriscopeApp
from petriscope_tui.evidence import dependency
from petriscope_tui.glyphs import ASCII, UNICODE, Glyphs
from petriscope_tui.theme import DARK
from petriscope_tui.widgets.table import VirtualTable

DOCUMENTS = pd.DataFrame(
    {
        "name": ["seqA", "seqB"],
        "side": ["unbound", "bound"],
        "detail": ["12 bp", "9 bp"],
        "content": ["ACGTACGTACGT", "TTTTTTCCC"],
        "degree": [2, 5],
    }
)
EDGES = pd.DataFrame(
    {
        "layer": 0,
        "feature": [0, 1, 0],
        "document": ["seqA", "seqA", "seqB"],
        "tokens": [1, 4, 2],
        "activation": [1.0, 4.0, 2.5],
        "spans": ["6-12", "0-12", "0-6,6-7"],
    }
)
ANNOTATIONS = pd.DataFrame(
    {"layer": 0, "feature": [0], "kind": "concept", "term": "exon", "estimate": [0.7]}
)
MAPS = pd.DataFrame(
    {
        "layer": 0,
        "feature": [0],
        "document": "seqA",
        "pieces": "ACGTAC GTACGT",
        "cells": "[[null, 0.5], [0.0, null]]",
    }
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tables = study_of_kmers()
    declared = tables.declared._replace(document="sequence")
    tables = replace(
        tables,
        documents=DOCUMENTS,
        edges=EDGES,
        annotations=ANNOTATIONS,
        maps=MAPS,
        declared=declared,
    )
    build_atlas(tmp_path / "results" / "atlas.sqlite", tables)
    return tmp_path


def text(app: PetriscopeApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def test_edges_are_found_from_both_ends(workspace: Path) -> None:
    atlas = Atlas(workspace / "results/atlas.sqlite")
    assert (
        atlas.has_graph and atlas.kinds == {"concept"} and list(atlas.order("concept:exon")) == [0]
    )
    assert [(e.document, e.tokens, e.degree) for e in atlas.documents_of(0)] == [
        ("seqB", 2, 5),
        ("seqA", 1, 2),
    ]
    assert [e.id for e in atlas.features_in("seqA")] == [1, 0]
    assert atlas.dependency(0).cells == [[None, 0.5], [0.0, None]] and atlas.dependency(1) is None
    assert atlas.document("seqB").content == "TTTTTTCCC" and atlas.document("none") is None


def test_an_edge_to_nowhere_is_named(tmp_path: Path) -> None:
    tables = replace(study_of_kmers(), documents=DOCUMENTS[:1], edges=EDGES)
    with pytest.raises(UserError, match="document 'seqB' is not in the documents table"):
        build_atlas(tmp_path / "a.sqlite", tables)
    tables = replace(tables, documents=DOCUMENTS, edges=EDGES.assign(feature=77))
    with pytest.raises(UserError, match="L0/77"):
        build_atlas(tmp_path / "a.sqlite", tables)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("size", [(80, 30), (130, 44)])
async def test_walk_from_a_feature_through_a_sequence_to_another(
    workspace: Path, size: tuple[int, int], glyphs: Glyphs
) -> None:
    app = PetriscopeApp(workspace, "L0/0", glyphs=glyphs)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        assert "Graph" in text(app).split("\n")[-1]
        concepts = app.screen.query_one("#concepts", VirtualTable)
        assert concepts.display and concepts.row(0)[0].term == "exon"
        assert not app.screen.query_one("#drawn").display
        assert not app.screen.query_one("#tracks").display
        await press(pilot, "G")
        shown = text(app)
        assert app.screen.NAME == "graph" and "Around L0/0" in shown and "Sequences" in shown
        # the tokens on which it fires stand out in the sequence
        assert "TTTTTTCcc" in shown
        await press(pilot, "down")
        assert "acgtacGTACGT" in text(app) and "Features in seqA" in text(app)
        await press(pilot, "enter", "enter")
        assert "Around L0/1" in text(app) and app.current_feature == 1
        await press(pilot, "o")
        assert app.screen.NAME == "feature" and app.screen.feature.id == 1


async def test_without_a_graph_the_page_says_so(tmp_path: Path) -> None:
    build_atlas(tmp_path / "results" / "atlas.sqlite", study_of_kmers())
    app = PetriscopeApp(tmp_path, "L0/0", glyphs=UNICODE)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        assert "Graph" not in text(app).split("\n")[-1]
        await press(pilot, "G")
        assert "holds no graph" in text(app)
        assert len(app.screen.query_one("#documents", VirtualTable).rows) == 0


def test_the_largest_cell_of_a_map_is_the_darkest(workspace: Path) -> None:
    found = Atlas(workspace / "results/atlas.sqlite").dependency(0)
    lines = dependency(found, DARK, UNICODE, 60).plain.split("\n")
    assert lines[:2] == ["ACGTAC ──██", "GTACGT   ──"]
    narrow = dependency(found, DARK, ASCII, 10).plain.split("\n")
    assert narrow[0] == "ACGTAC -#"
