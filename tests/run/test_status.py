"""Reference: DVC's own word on a small pipeline, the shipped graph against a screen, and files
written here as stages write them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from petriscope.cli import main
from petriscope.commands.status import as_lines, clipped
from petriscope.run.graph import load_graph
from petriscope.run.status import (
    StageStatus,
    control_stages,
    flat,
    headline,
    metrics,
    purpose,
    recorded_seconds,
    tables,
)
from petriscope.run.workspace import create_workspace

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 100, 40
PIPELINE = """\
stages:
  first: {cmd: cp source.txt first.txt, deps: [source.txt], outs: [first.txt]}
  left: {cmd: cp first.txt left.txt, deps: [first.txt], outs: [left.txt]}
  right: {cmd: cp first.txt right.txt, deps: [first.txt], outs: [right.txt]}
  last: {cmd: cat left.txt right.txt > last.txt, deps: [left.txt, right.txt], outs: [last.txt]}
"""


@pytest.fixture
def reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four stages, up to date."""
    root = create_workspace(tmp_path / "w").root
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "source.txt").write_text("a\n")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    return root


def drawn(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["status", "--graph"]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_shipped_graph_fits_a_screen_and_shows_every_stage():
    graph = load_graph(REPOSITORY)
    why = tuple(f"dependency results/{name} changed" for name in graph.stages)
    lines = list(
        as_lines(graph, [StageStatus(name, "upstream", why) for name in graph.stages], {}, COLUMNS)
    )
    assert len(lines) + 2 <= ROWS and max(map(len, lines)) <= COLUMNS
    assert [line.split("waits")[0].split()[-1] for line in lines] == list(graph.stages)
    assert all(
        "dependency results/data.dvc ch" in line for line in lines
    )  # room is left for a reason


def test_the_drawing_of_the_documentation_is_of_the_shipped_graph():
    page = (REPOSITORY / "docs/dvc.md").read_text()
    shown = page.split("```text\n")[1].split("```")[0].splitlines()
    graph = load_graph(REPOSITORY)
    drawn = as_lines(graph, [StageStatus(name, "changed") for name in graph.stages], {}, COLUMNS)
    assert [re.split(r"  +(?:up|changed|waits)", line)[0] for line in shown] == [
        line.removesuffix("changed").rstrip() for line in drawn
    ]
    assert max(map(len, shown)) <= COLUMNS


def test_states_and_reasons_follow_the_files_as_dvc_does(reproduced: Path, capsys):
    assert [line.endswith("  up to date") for line in drawn(capsys)[:4]] == [True] * 4
    (reproduced / "source.txt").write_text("b\n")
    (reproduced / "right.txt").unlink()
    assert drawn(capsys) == [
        "●   first  changed          dependency source.txt changed",
        "├─● left   waits for input  after first",
        "● │ right  missing          output missing: right.txt",
        "●─┘ last   changed          dependency right.txt is missing",
        "",
        "4 nodes: 2 changed, 1 waits for input, 1 missing",
    ]
    command = [sys.executable, "-m", "dvc", "status"]
    said = subprocess.run(
        command, cwd=reproduced, capture_output=True, text=True, check=True
    ).stdout
    assert [line for line in said.splitlines() if line[:1].isalpha()] == [
        "first:",
        "right:",
        "last:",
    ]


def test_a_terminal_without_line_drawing_gets_plain_characters(reproduced: Path):
    command = [sys.executable, "-m", "petriscope", "status", "--graph"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        command, cwd=reproduced, env=environment, capture_output=True, check=True
    )
    assert result.stdout.decode("ascii").splitlines()[1:4] == [
        "+-o left   up to date",
        "o | right  up to date",
        "o-+ last   up to date",
    ]


def test_what_does_not_fit_is_marked():
    assert (
        clipped("abcdef", 6) == "abcdef"
        and clipped("abcdefg", 6) == "abcde…"
        and clipped("ab   ", 3) == "ab"
    )


def test_purpose_is_the_docstring_of_the_stage() -> None:
    assert (
        purpose("sae").startswith("one sparse autoencoder per layer") and purpose("nowhere") == ""
    )
    graph = load_graph(REPOSITORY)
    purposes = [purpose(name) for name, stage in graph.stages.items() if not stage.is_data]
    assert all(text.endswith(".") and "\n" not in text for text in purposes)  # wrapped ones whole


def test_controls_of_the_shipped_pipeline() -> None:
    found = control_stages(load_graph(REPOSITORY))
    assert {"calibration", "recovery", "random_init", "label_shuffle"} <= set(found)
    assert not {"sae", "cds", "figures"} & set(found)


def test_metrics_as_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "metrics"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('{"x": {"y": 1, "z": [1, 2]}, "rows": [{"k": 5}], "gone": null}')
    (folder / "b.json").write_text("{")
    (folder / "c.json").write_text("[]")
    found = metrics(tmp_path, "a")
    assert found is not None
    assert list(flat(found)) == [("x.y", 1), ("x.z", [1, 2]), ("rows.0.k", 5), ("gone", None)]
    assert (
        metrics(tmp_path, "b") is None
        and metrics(tmp_path, "c") is None
        and metrics(tmp_path, "d") is None
    )


def test_headline_prefers_a_share() -> None:
    assert headline({"n": 3, "fine": True, "share": 0.12345}) == "share 0.123"
    assert (
        headline({"alive": [1, 2], "x": {"context_fraction": [0.5, 0.25]}})
        == "x.context_fraction 0.5 0.25"
    )
    assert headline({"run": True, "why": None}) == ""


def test_seconds_and_tables(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "provenance"
    folder.mkdir(parents=True)
    (folder / "one.json").write_text('{"seconds": 1.5}')
    (folder / "two.json").write_text('{"seconds": "soon"}')
    (folder / "three.json").write_text("broken")
    assert recorded_seconds(tmp_path) == {"one": 1.5}
    (tmp_path / "results" / "one").mkdir()
    (tmp_path / "results" / "one" / "b.csv").write_text("x\n")
    (tmp_path / "results" / "one" / "a.csv").write_text("x\n")
    assert [p.name for p in tables(tmp_path, "one")] == ["a.csv", "b.csv"] and tables(
        tmp_path, "two"
    ) == []
