"""Reference: the files themselves, written here as stages write them, and the shipped graph and
stage modules."""

from __future__ import annotations

from pathlib import Path

from petriscope.run.findings import (
    control_stages,
    flat,
    headline,
    metrics,
    purpose,
    recorded_seconds,
    tables,
)
from petriscope.run.graph import load_graph

REPOSITORY = Path(__file__).resolve().parents[2]


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
