"""The pages of lists on the imported atlas of the authors: real key presses through Textual's
Pilot. What they must show was read off the released files (`tests/studies/cells/test_imported.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from atlas.test_build import study_of_kmers
from tui_pilot import press, settle

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.schema import Thresholds, parse_feature
from petriscope_tui.app import PetriscopeApp
from petriscope_tui.glyphs import ASCII, UNICODE
from petriscope_tui.widgets.nav import FURTHER
from petriscope_tui.widgets.table import VirtualTable

SIZE = (150, 44)


def text(app: PetriscopeApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def table(app: PetriscopeApp, name: str) -> VirtualTable:
    return app.screen.query_one(f"#{name}", VirtualTable)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


async def test_overview_and_the_further_pages(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=(150, 115)) as pilot:
        await settle(pilot)
        shown = text(app)
        assert "Annotated features by layer" in shown and "M Modules" in shown
        assert "G Graph" not in shown and "K Knock-downs" in shown
        claims = {row[0].claim: row[0] for row in table(app, "claims").rows.rows}
        assert claims["scgpt-alive-features-in-a-module"].published == "96.3"
        assert "s scGPT annotated, by the published rule" in shown
        assert [page for page, *_ in app.further()] == [page for page, *_ in FURTHER][1:]
        await press(pilot, "5", "end")
        assert "scGPT 11" in text(app) and len(table(app, "layer-table").rows) == 30


async def test_linked_modules_stand_beside_what_degrees_give(tmp_path: Path) -> None:
    features = pd.DataFrame({"layer": [0] * 3 + [1], "feature": [0, 1, 2, 0], "alive": 1})
    modules = pd.DataFrame({"graph": "phi", "layer": 0, "module": [1, 2, 3], "size": 1})
    edges = pd.DataFrame(
        {"graph": "phi", "layer": 0, "module": [1, 1], "other_module": [2, 3],
         "weight": [3.0, 1200.0], "null_weight": [4.25, 12.5]}
    )  # fmt: skip
    tables = AtlasTables(
        features, Thresholds(0.05, 0.7), modules=modules, module_edges=edges,
        module_members=features[:3][["layer", "feature"]].assign(graph="phi", module=[1, 2, 3]),
    )  # fmt: skip
    (tmp_path / "results").mkdir()
    build_atlas(tmp_path / "results/atlas.sqlite", tables)
    app = PetriscopeApp(tmp_path, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "M")
        said = "links of module 1 with others (by their degrees alone):   3: 1,200 (12.5)   2: 3 (4.25)"
        assert said in text(app)
        await press(pilot, "down")
        assert "links of module 2 with others (by their degrees alone):   1: 3 (4.25)" in text(app)


async def test_modules(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "M")
        assert "217 modules, all layers" in text(app) and "Ribosome Biogenesis" in text(app)
        assert "1,215 features" in table(app, "found").border_title
        await press(pilot, "right_square_bracket")
        assert "6 modules, layer Geneformer 0" in text(app)
        await press(pilot, "s", "down")
        sizes = [row[0].size for row in table(app, "things").rows.rows]
        assert sizes == sorted(sizes, reverse=True)
        await press(pilot, "enter", "enter")
        assert app.screen.NAME == "feature" and app.current_feature < 1_000_000
        await press(pilot, "M", "shift+tab")
        await press(pilot, "a")
        assert app.screen.NAME == "features" and "module:" in text(app)


async def test_flow(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "L")
        shown = text(app)
        assert "98.3 %" in shown and "a link does not say that" in shown
        assert "L0/542" in shown and "L5/989" in shown and "11.1" in shown
        await press(pilot, "down", "tab", "enter")
        assert app.current_feature == parse_feature("L5/1426")
        links = table(app, "links")
        assert links.rows.rows[0][0].other == parse_feature("L11/1071")
        links.focus()
        await press(pilot, "enter")
        assert app.current_feature == parse_feature("L11/1071")


async def test_genes(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "N", *"cdk1")
        assert table(app, "things").rows.rows[0][0].name == "CDK1"
        lists = table(app, "things").rows.rows[0][0].features
        assert f"{lists} features list CDK1" in text(app) and "CDK1 by layer and rank" in text(app)
        assert len(table(app, "found").rows) == lists
        await press(pilot, "enter", "a")
        assert app.screen.NAME == "features" and "gene:CDK1" in text(app)
        await press(pilot, "backspace", "enter", "enter", "enter")
        assert app.screen.NAME == "feature"
        assert "CDK1" in {row[0].gene for row in table(app, "listed").rows.rows}


async def test_pathways(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "W", *"ribosome b")
        first = table(app, "things").rows.rows[0][0]
        assert first.name == "Ribosome Biogenesis (GO:0042254)"
        assert f"{first.features} features, smallest q first" in text(app)
        q = [row[0].q for row in table(app, "found").rows.rows if row[0].q is not None]
        assert q == sorted(q) and q
        await press(pilot, "enter", "enter", "enter")
        assert app.screen.NAME == "feature"


async def test_perturbation(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=UNICODE)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "K")
        shown = " ".join(text(app).split())
        assert "3 of 48 transcription factors" in shown and "1.91 are expected if random" in shown
        await press(pilot, "s")
        assert {row[0].target for row in table(app, "things").rows.rows[:3]} == {
            *("SRF", "MAX", "PHB2")
        }
        targets = [row[0].target for row in table(app, "things").rows.rows]
        await press(pilot, *["down"] * targets.index("SRF"))
        assert "L11/64" in text(app)
        await press(pilot, "enter", "enter")
        assert app.current_feature == parse_feature("L11/64")
        assert "SRF" in {row[0].target for row in table(app, "responses").rows.rows}


async def test_search_opens_the_feature_of_either_model(released_workspace: Path) -> None:
    app = PetriscopeApp(released_workspace, glyphs=ASCII)
    async with app.run_test(size=(110, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "9", *"L11/64")
        assert [row[0].name for row in table(app, "found").rows.rows] == ["L11/64", "L111/64"]
        await press(pilot, "enter", "enter")
        assert app.current_feature == parse_feature("L11/64")
        assert app.screen.query_one("#own").display and app.screen.query_one("#lists").display
        assert not app.screen.query_one("#bins-card").display


@pytest.mark.parametrize("key", [key for _, key, _, _ in FURTHER])
async def test_an_atlas_without_the_tables_says_so(tmp_path: Path, key: str) -> None:
    build_atlas(tmp_path / "results" / "atlas.sqlite", study_of_kmers())
    app = PetriscopeApp(tmp_path, "L0/0", glyphs=UNICODE)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        assert app.further() == []
        assert not app.screen.query_one("#lists").display
        await press(pilot, key)
        assert "this atlas holds no" in text(app)
    shutil.rmtree(tmp_path / "results")
