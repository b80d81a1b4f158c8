"""Reference: the atlas's own answers (petriscope.atlas.query); real key presses and clicks through
Textual's Pilot."""

from __future__ import annotations

import csv
import importlib.util
import random
import sys
from pathlib import Path

import pytest
from atlas.test_build import study_of_kmers
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, SelectionList, TextArea
from tui_pilot import press, settle, until

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import VERSION, feature_name
from petriscope.errors import UserError
from petriscope_tui.app import PetriscopeApp, run
from petriscope_tui.glyphs import ASCII, UNICODE, Glyphs
from petriscope_tui.widgets.nav import Nav
from petriscope_tui.widgets.table import VirtualTable
from petriscope_tui.workspace import config_folder, save_columns, short_path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    "overview",
    "features",
    "feature",
    "compare",
    "layers",
    "causal",
    "pipeline",
    "figures",
    "search",
    "controls",
]
PIPELINE = "stages:\n  one: {cmd: sleep 30, params: [seed], outs: [x]}\n  two: {cmd: echo b, deps: [x], outs: [y]}\n"


@pytest.fixture(scope="session")
def tables() -> AtlasTables:
    spec = importlib.util.spec_from_file_location(
        "synthetic_atlas", REPOSITORY / "benchmarks" / "synthetic_atlas.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.synthetic_tables(layers=3, per_layer=200)


@pytest.fixture(scope="session")
def atlas_file(tables: AtlasTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "atlas.sqlite"
    build_atlas(path, tables)
    return path


@pytest.fixture
def workspace(atlas_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "work"
    (root / "results").mkdir(parents=True)
    (root / "results" / "atlas.sqlite").symlink_to(atlas_file)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    (root / "paper_figures").mkdir()
    Image.new("RGB", (60, 40), "navy").save(root / "paper_figures" / "fig1.png")
    (root / "paper_figures" / "table1.csv").write_text("layer,fraction\n0,0.25\n")
    return root


def app_of(root: Path, feature: str | None = None, glyphs: Glyphs = UNICODE) -> PetriscopeApp:
    return PetriscopeApp(root, feature, glyphs=glyphs)


def screen_text(app: PetriscopeApp) -> str:
    """What the terminal shows, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def typed(pilot: Pilot, text: str) -> None:
    names = {
        " ": "space",
        ">": "greater_than_sign",
        "=": "equals_sign",
        ".": "full_stop",
        ":": "colon",
        "<": "less_than_sign",
    }
    await press(pilot, *(names.get(c, c) for c in text))


def table(app: PetriscopeApp, name: str) -> VirtualTable:
    return app.screen.query_one(f"#{name}", VirtualTable)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_page_draws_at_every_size(workspace: Path, size: tuple[int, int]) -> None:
    app = app_of(workspace, "L1/7")
    async with app.run_test(size=size) as pilot:
        for number, page in enumerate(PAGES, 1):
            if isinstance(app.focused, Input):
                await press(pilot, "escape")
            await press(pilot, str(number % 10))
            assert page == app.screen.NAME  # type: ignore[attr-defined]
            lines = screen_text(app).split("\n")
            assert len(lines) == size[1] and all(len(line) == size[0] for line in lines)
            assert "? Help" in lines[-1]


async def test_overview_shows_claims_with_verdicts_and_the_null(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(140, 50)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        for words in (
            "Context features grow with depth",
            "1 not supported",
            "1 cannot be tested",
            "randomly initialized",
            "95 %",
        ):
            assert words in text
        assert "synthetic" in text
        await press(pilot, "y")
        assert app.clipboard.startswith("ctx-count\tnot supported")
        await pilot.click(Nav, offset=(50, 0))
        await settle(pilot)
        assert app.screen.NAME != "overview"  # type: ignore[attr-defined]


async def test_features_filter_sort_scroll_open(workspace: Path, atlas_file: Path) -> None:
    atlas = Atlas(atlas_file)
    app = app_of(workspace)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "2")
        page = app.screen
        assert list(page.order) == list(atlas.order())  # type: ignore[attr-defined]
        await press(pilot, "end")
        assert table(app, "table").cursor == 599 and "L2/199" in screen_text(app)
        await press(pilot, "home", "pagedown", "j", "k", "right", "left")
        await press(pilot, "f")
        await typed(pilot, "layer>=1 q<.5")
        await settle(pilot)
        expected = list(atlas.order("layer>=1 q<.5"))
        assert list(page.order) == expected and f"{len(expected):,} of 600" in screen_text(app)  # type: ignore[attr-defined]
        page.set_filter("layer>=1 q<.5 nocolumn:3")  # type: ignore[attr-defined]
        await settle(pilot)
        assert "no column nocolumn" in screen_text(app) and list(page.order) == expected  # type: ignore[attr-defined]
        await press(pilot, "escape", "escape")
        assert len(page.order) == 600  # type: ignore[attr-defined]
        await press(pilot, "s")
        await typed(pilot, "cds")
        await settle(pilot)
        options = app.screen.query_one(OptionList)
        assert options.option_count >= 2
        await press(pilot, "escape")
        page.sort_by("cds")  # type: ignore[attr-defined]
        assert list(page.order) == list(atlas.order("", "cds", True))  # type: ignore[attr-defined]
        await press(pilot, "S")
        assert list(page.order) == list(atlas.order("", "cds", False))  # type: ignore[attr-defined]
        await pilot.click("#table", offset=(3, 0))
        await settle(pilot)
        assert list(page.order) == list(atlas.order())  # type: ignore[attr-defined]
        await press(pilot, "y")
        assert app.clipboard == "L0/0"
        await press(pilot, "down", "enter")
        assert app.screen.NAME == "feature" and app.current_feature == 1  # type: ignore[attr-defined]
        await press(pilot, "backspace")
        assert app.screen is page


async def test_features_columns_saved_filters_export(
    workspace: Path, atlas_file: Path, tmp_path: Path
) -> None:
    atlas = Atlas(atlas_file)
    app = app_of(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "2", "c")
        choice = app.screen.query_one(SelectionList)
        choice.deselect("label")
        choice.select("module")
        await settle(pilot)
        marked = {
            line.split("▌")[1].split()[0]: "▐X▌" in line
            for line in screen_text(app).split("\n")
            if "▐" in line
        }
        assert marked["density"] and not marked["layer"] and len(marked) > 15
        await press(pilot, "enter")
        page = app.screen
        assert "module" in page.shown and "label" not in page.shown  # type: ignore[attr-defined]
        page.set_filter("is:context")  # type: ignore[attr-defined]
        await press(pilot, "w")
        app.screen.query_one(Input).value = "mine"
        await press(pilot, "enter")
        page.set_filter("")  # type: ignore[attr-defined]
        await press(pilot, "v")
        await typed(pilot, "mine")
        await press(pilot, "enter")
        wanted = list(atlas.order("is:context"))
        assert list(page.order) == wanted  # type: ignore[attr-defined]
        for kind in ("csv", "bed", "bedgraph"):
            page._export(kind)  # type: ignore[attr-defined]
        rows = list(csv.DictReader((workspace / "features.csv").open()))
        assert [r["name"] for r in rows] == [feature_name(i) for i in wanted]
        assert float(rows[0]["q"]) == atlas.rows(wanted[:1], ["q"])[0][0]
        bed = [line.split("\t") for line in (workspace / "features.bed").read_text().splitlines()]
        assert len(bed) == sum(len(atlas.contexts(i)) for i in wanted) and all(
            len(b) == 6 and 0 <= int(b[4]) <= 1000 for b in bed
        )
        lines = (workspace / "features.bedgraph").read_text().splitlines()
        assert lines[0].startswith("track type=bedGraph") and len(lines) > 1
    again = app_of(workspace)
    async with again.run_test(size=(120, 40)) as pilot:
        await press(pilot, "2")
        assert "module" in again.screen.shown  # type: ignore[attr-defined]


async def test_feature_page_shows_evidence_and_leads_on(
    workspace: Path, atlas_file: Path, tables: AtlasTables
) -> None:
    key = tables.annotations.iloc[40]
    name = f"L{key.layer}/{key.feature}"
    app = app_of(workspace, name)
    async with app.run_test(size=(130, 100)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        for words in (
            name,
            "measured checks hold",
            "corrected",
            "published",
            "null percentile",
            "blood_vitro_1",
            "Chromatin states",
        ):
            assert words in text, words
        record = Atlas(atlas_file).feature(app.current_feature or 0)
        assert record.contexts[0].chrom in text and "kb" in text
        await press(pilot, "y")
        assert app.clipboard == name
        await press(pilot, "Y")
        assert app.clipboard.startswith("chr22:")
        before = app.current_feature
        await press(pilot, "n")
        assert app.current_feature == (before or 0) + 1
        await press(pilot, "p")
        assert app.current_feature == before
        table(app, "neighbors").focus()
        await press(pilot, "enter")
        assert app.current_feature == record.neighbors["decoder"][0].id
        table(app, "motifs").focus()
        await press(pilot, "enter")
        assert app.screen.NAME == "features" and app.screen.query_text.startswith("motif:")  # type: ignore[attr-defined]
        await press(pilot, "3", "e")
        await press(pilot, "enter")
        assert list(workspace.glob("L*.bed"))


async def test_compare_by_marks_and_by_name(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(120, 50)) as pilot:
        await press(pilot, "2", "m", "down", "m")
        assert app.screen.NAME == "compare" and app.compared == (0, 1)  # type: ignore[attr-defined]
        text = screen_text(app)
        assert "L0/0 and L0/1" in text and "Hedges g" in text and "motifs of both" in text
        await press(pilot, "s")
        assert app.compared == (1, 0)
        await press(pilot, "a")
        app.screen.query_one(Input).value = "L2/5"
        await press(pilot, "enter")
        assert app.compared == (2_000_005, 0)
        await press(pilot, "b")
        app.screen.query_one(Input).value = "nonsense"
        await press(pilot, "enter")
        assert app.compared == (2_000_005, 0)
        await press(pilot, "5", "c", "enter")
        assert "Layers 0 and 1" in screen_text(app) and "FVU, held out" in screen_text(app)


async def test_layers_and_causal(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(120, 60)) as pilot:
        await press(pilot, "5", "down")
        text = screen_text(app)
        assert (
            "Feature density, layer 1" in text
            and "Flow between layers" in text
            and "recovered" in text
        )
        await press(pilot, "y")
        assert app.clipboard.startswith("layer\tfvu")
        await press(pilot, "enter")
        assert app.screen.query_text == "layer:1"  # type: ignore[attr-defined]
        await press(pilot, "6")
        text = screen_text(app)
        for words in (
            "matched random",
            "top activation",
            "reconstruction",
            "norm matched random",
            "minus matched random",
        ):
            assert words in text
        await press(pilot, "n", "g", "t")
        text = screen_text(app)
        assert "layer 1" in text and "liver" in text and "Points of steering" in text


async def test_search_by_every_kind(workspace: Path, atlas_file: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(140, 40)) as pilot:
        await press(pilot, "slash")
        line = app.screen.query_one("#needle", Input)
        for text, expected in (
            ("hnf4", "HNF4A.1"),
            ("lipid meta", "lipid metabolic"),
            ("apol", "Top bins in chr22:"),
            ("chr22:37,500,000-37,600,000", "Top bins in chr22:37,500,000-37,600,000"),
            ("TssA", "state:TssA"),
            ("L1/20", "L1/20"),
            ("zzzz", "no match"),
            ("", "terms that most features are enriched for"),
            ("chr1:9-3", "empty or out of range"),
        ):
            line.value = text
            await settle(pilot)
            assert expected in screen_text(app), text
        line.value = "chr22:37,500,000-37,600,000"
        await settle(pilot)
        await press(pilot, "enter", "enter")
        await press(pilot, "enter")
        assert app.screen.NAME == "feature"  # type: ignore[attr-defined]
        await press(pilot, "slash")
        line.value = "GATA1"
        await press(pilot, "enter", "a")
        assert app.screen.NAME == "features" and app.screen.query_text == "gene:GATA1"  # type: ignore[attr-defined]


async def test_pipeline_page_states_menu_and_refusals(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "7")
        await until(pilot, lambda: "not up to date" in screen_text(app))
        text = screen_text(app)
        assert (
            "2 of 2 stages are not up to date" in text
            and "never run" in text
            and "sleep 30" in text
        )
        await press(pilot, "down")
        assert "echo b" in screen_text(app) and "needs" in screen_text(app)
        await press(pilot, "enter")
        assert "run two and whatever stale it needs" in screen_text(app)
        await press(pilot, "escape", "u")
        assert any("not a DVC workspace" in str(n.message) for n in app._notifications)
        await press(pilot, "F")
        assert "Force two?" in screen_text(app)
        await press(pilot, "n", "x")
        assert any("no run to cancel" in str(n.message) for n in app._notifications)


async def test_parameter_editor_checks_before_it_saves(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(120, 50)) as pilot:
        await press(pilot, "7", "P")
        area = app.screen.query_one(TextArea)
        area.text = area.text.replace("seed: 17", "seed: x")
        await settle(pilot)
        assert "not valid" in screen_text(app)
        await press(pilot, "ctrl+s")
        assert "seed: 17" in (workspace / "params.yaml").read_text()
        area.text = area.text.replace("seed: x", "seed: 18")
        await settle(pilot)
        assert "seed: 17 -> 18" in screen_text(
            app
        ) and "invalidates 2 stages: one, two" in screen_text(app)
        await press(pilot, "escape")
        assert app.screen.query_one(TextArea)
        await press(pilot, "ctrl+s")
        assert (
            "seed: 18" in (workspace / "params.yaml").read_text() and app.screen.NAME == "pipeline"
        )  # type: ignore[attr-defined]


async def test_controls_show_what_their_stages_wrote(workspace: Path) -> None:
    (workspace / "dvc.yaml").write_text(
        "stages:\n  plain: {cmd: x, params: [seed], outs: [x]}\n"
        "  random_init: {cmd: x, meta: {control: true}, outs: [y]}\n"
        "  depth_matched: {cmd: x, meta: {control: true}, outs: [z]}\n"
        "  leaderboard: {cmd: x, meta: {control: true}, outs: [w]}\n"
    )
    metrics = workspace / "results" / "metrics"
    metrics.mkdir()
    (metrics / "random_init.json").write_text(
        '{"untestable": null, "alive": [3, 1234], "context_fraction": [0.128, 0.25]}'
    )
    (metrics / "depth_matched.json").write_text('{"untestable": "switched off"}')
    (workspace / "results" / "random_init").mkdir()
    (workspace / "results" / "random_init" / "layers.csv").write_text(
        "layer,share\n0,0.123456\n1,0.5\n"
    )
    app = app_of(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "0")
        text = screen_text(app)
        assert (
            "plain" not in text and "context_fraction 0.128 0.25" in text and "switched off" in text
        )
        assert (
            "1,234" in text
            and "randomly initialized model" in text
            and "layers.csv" in text
            and "0.123" in text
        )
        await press(pilot, "y")
        assert app.clipboard.startswith(
            "random_init.untestable\tNone\nrandom_init.alive\t[3, 1234]"
        )
        await press(pilot, "end")
        assert "not run: press 7 and u on leaderboard" in screen_text(app)
        (workspace / "dvc.yaml").write_text("stages: [")
        await press(pilot, "r")
        assert "YAML" in screen_text(app)


async def test_figures_preview_and_copy(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workspace / "elsewhere"))  # paths below home are shortened
    app = app_of(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "8")
        text = screen_text(app)
        assert "fig1.png" in text and "▀" in text and str(workspace / "paper_figures")[:40] in text
        await press(pilot, "y")
        assert app.clipboard.endswith("fig1.png")
        await press(pilot, "down")
        assert "layer  fraction" in screen_text(app)
        (workspace / "paper_figures" / "fig0.png").write_bytes(b"broken")
        await press(pilot, "r", "home")
        assert "cannot show the picture" in screen_text(app)


async def test_help_theme_palette_and_quit(workspace: Path) -> None:
    app = app_of(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "question_mark")
        assert "The filter language" in screen_text(app)
        await press(pilot, "escape", "T")
        assert app.theme == "petriscope-light" and not app.current_theme.dark
        await press(pilot, "ctrl+o")
        assert type(app.screen).__name__ == "CommandPalette"
        await press(pilot, "escape")
        await press(pilot, "q")
    assert app.return_code == 0


async def test_the_pages_use_the_words_of_the_study_that_made_the_atlas(workspace: Path) -> None:
    path = workspace / "results" / "atlas.sqlite"
    path.unlink()
    build_atlas(path, study_of_kmers())
    app = app_of(workspace)
    shown = {}
    async with app.run_test(size=(130, 50)) as pilot:
        await settle(pilot)
        for number, page in enumerate(PAGES, 1):
            if isinstance(app.focused, Input):
                await press(pilot, "escape")
            await press(pilot, str(number % 10))
            shown[page] = screen_text(app)
    assert "colors: unbound bound" in shown["overview"] and "sequences" in shown["overview"]
    assert "Contrast: bound against unbound" in shown["feature"]
    assert "Activation by sequence" in shown["feature"]
    assert "same direction in 2 length classs" not in shown["feature"]
    assert "same direction in 2 length classes or more" in shown["feature"]
    assert "seqA:3 TTGACA" in shown["feature"]
    for page in ("overview", "feature", "compare", "layers", "causal"):
        for word in ("biosample", "in vivo", "in vitro", "lineage"):
            assert word not in shown[page].lower(), (page, word)


def unwrapped(app: PetriscopeApp) -> str:
    """The screen's words, wherever its lines end: that depends on the length of the path shown."""
    return " ".join(screen_text(app).replace("│", " ").split())


async def test_no_atlas_says_what_to_do(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "Run the pipeline as far" in unwrapped(app))
        assert "petriscope reproduce" in unwrapped(app)
        for number in "23479":
            if isinstance(app.focused, Input):
                await press(pilot, "escape")
            await press(pilot, number)
        (tmp_path / "dvc.yaml").write_text(PIPELINE)
        await press(pilot, "escape", "1")
        await press(pilot, "r")
        assert "runs all of it" in screen_text(app)


async def test_atlas_of_another_version_and_partial_atlas(
    tmp_path: Path, tables: AtlasTables
) -> None:
    import sqlite3

    path = tmp_path / "results" / "atlas.sqlite"
    build_atlas(
        path, AtlasTables(tables.features.loc[:, ["layer", "feature", "alive"]], tables.thresholds)
    )
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA user_version=10;")
    connection.close()
    app = app_of(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        other = f"format 10, this program reads 8 and {VERSION}"
        await until(pilot, lambda: other in unwrapped(app))
        build_atlas(
            path,
            AtlasTables(tables.features.loc[:, ["layer", "feature", "alive"]], tables.thresholds),
        )
        await press(pilot, "r")
        await until(pilot, lambda: "no claims were evaluated" in screen_text(app))
        for number, words in (
            ("2", "600 of 600"),
            ("3", "no ChromHMM annotation"),
            ("5", "Feature density, layer 0"),
            ("6", "no ablation in this atlas"),
        ):
            await press(pilot, number)
            assert words in screen_text(app), number


async def test_unknown_feature_and_read_only_folder(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"'x' is no feature\. Write for example L6/1234"):
        run(workspace, "x")
    app = app_of(workspace, "L99/1")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "no feature L99/1" in screen_text(app)
        monkeypatch.setattr("petriscope_tui.workspace.os.access", lambda *_: False)
        await press(pilot, "7")
        assert "read-only folder" in screen_text(app)


async def test_ascii_and_no_color(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(workspace, glyphs=ASCII)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert "x Context features grow" in text and "+ Context features are causal" in text
        assert not any("⠀" <= c <= "⣿" for c in text)
        assert app.no_color


@pytest.mark.parametrize("presses", [60, pytest.param(2000, marks=pytest.mark.slow)])
async def test_soak_of_random_keys(workspace: Path, presses: int) -> None:
    """Any order of keys is survived (no exception reaches the app)."""
    keys = [
        *"1234567890fscvemMyYnpgtabrTSlzjk?/",
        "enter",
        "escape",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
    ]
    keys += ["pagedown", "tab", "shift+tab", "backspace", "space", "ctrl+o"]
    chance = random.Random(11)
    app = app_of(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(presses):
            await pilot.press(chance.choice(keys))
        for _ in range(4):
            await press(pilot, "escape")
        assert app.is_running


def test_nothing_heavy_is_imported() -> None:
    """The UI with its first page drawn has not loaded torch, numpy, pandas or dvc."""
    import subprocess

    code = (
        "import sys, asyncio; from pathlib import Path; from petriscope_tui.app import "
        "PetriscopeApp\n"
        "async def main():\n"
        "    app = PetriscopeApp(Path(sys.argv[1]))\n"
        "    async with app.run_test() as pilot:\n"
        "        for key in '12345678':\n"
        "            await pilot.press(key)\n"
        "            await pilot.pause()\n"
        "asyncio.run(main())\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'dvc', 'scipy', 'matplotlib') if m in "
        "sys.modules])"
    )
    path = f"{REPOSITORY / 'src'}:{REPOSITORY / 'tui'}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(REPOSITORY)],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_user_without_entry_and_home_gets_whole_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert short_path(tmp_path / "x") == "~/x"
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert short_path(tmp_path / "x") == str(tmp_path / "x")
    assert config_folder().name == "petriscope"
    assert "kept for this session only" in (save_columns(["label"]) or "")
