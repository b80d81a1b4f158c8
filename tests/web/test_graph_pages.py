"""Reference: statsmodels' binomial intervals, networkx for what lies around a node, and texts marked
letter by letter; the page's own code runs in node."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from statsmodels.stats.proportion import proportion_confint

WEB = Path(__file__).resolve().parents[2] / "web"
ESBUILD = WEB / "node_modules" / ".bin" / "esbuild"
COUNTS = [(0, 7), (7, 7), (3, 12), (1, 1), (50, 2000), (0, 0)]
SPANS = [
    ("ACGTACGTAC", "2-4,3-6,8-20"),
    ("ACGT", None),
    ("ACGT", ""),
    ("ACGT", "0-4"),
    ("ACGT", "3-2,1-2"),
    ("", "0-3"),
]


def knowledge() -> dict[str, Any]:
    """300 features around 40 motifs, of which the first has 200, and one feature alone."""
    draw = random.Random(3)
    edges = [(f, 301 + (0 if f < 200 else draw.randrange(40))) for f in range(300)]
    edges += [(f, 301 + draw.randrange(1, 40)) for f in range(300)]
    edges = list(dict.fromkeys(edges))
    return {
        "kinds": ["feature", "chromhmm"],
        "kind": [0] * 301 + [1] * 40,
        "name": [*(f"L{f % 3}/{f}" for f in range(301)), *(f"a:{t}" for t in range(40))],
        "a": [a for a, _ in edges],
        "b": [b for _, b in edges],
        "weight": [draw.randrange(1, 9) for _ in edges],
    }


@pytest.fixture(scope="module")
def answers(made_once: Callable[[str, Callable[[Path], None]], Path]) -> dict[str, Any]:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    if not ESBUILD.exists():
        pytest.skip("the page's packages are not installed (npm ci in web/)")

    def make(folder: Path) -> None:
        asked = {
            "counts": COUNTS,
            "graph": knowledge(),
            "kinds": [{"name": "chromhmm", "filters": ["state", "chromhmm"]}],
            "nodes": ["chromhmm:a:0", "state:a:0", "L0/0", "feature:L0/0", "l0.0", "L0/300",
                      "motif:a:0", "L9/9", ""],
            "spans": SPANS,
        }  # fmt: skip
        (folder / "asked.json").write_text(json.dumps(asked))
        bundle, files = folder / "graphs.mjs", [folder / f"{n}.json" for n in ("asked", "answers")]
        build = [ESBUILD, WEB / "test" / "graphs.ts", "--bundle", "--format=esm"]
        jsx = ["--jsx=automatic", "--jsx-import-source=preact"]
        build += [*jsx, f"--outfile={bundle}", "--log-level=error"]
        subprocess.run(build, check=True, cwd=WEB)
        subprocess.run(["node", WEB / "test" / "run.mjs", bundle, folder, *files], check=True)

    return json.loads((made_once("graph-pages", make) / "answers.json").read_text())


def test_intervals_are_wilsons(answers: dict[str, Any]) -> None:
    for (k, n), found in zip(COUNTS, answers["intervals"], strict=True):
        if n == 0:
            assert found is None
        else:
            expected = proportion_confint(k, n, method="wilson")
            assert found == pytest.approx(expected, abs=1e-12)


def test_a_node_has_one_name_and_many_ways_to_be_asked_for(answers: dict[str, Any]) -> None:
    state, alias, feature, named, dotted, alone, *unknown = answers["nodes"]
    assert state == alias and state["key"] == "chromhmm:a:0"
    assert feature == named == dotted and feature["key"] == "L0/0"
    assert unknown == [None, None, None]
    assert alone["chosen"] == [300] and alone["edges"] == []
    assert alone["places"] == [{"x": 0.5, "y": 0.5}]


def test_the_drawn_part_is_small_and_near(answers: dict[str, Any]) -> None:
    graph = knowledge()
    whole = nx.Graph()
    whole.add_weighted_edges_from(zip(graph["a"], graph["b"], graph["weight"]))
    for found in (answers["nodes"][0], answers["nodes"][2]):
        chosen = found["chosen"]
        assert len(set(chosen)) == len(chosen) <= 60
        distance = nx.single_source_shortest_path_length(whole, chosen[0])
        assert max(distance[n] for n in chosen) <= 2
        part = whole.subgraph(chosen)
        drawn = {(*sorted((chosen[e["a"]], chosen[e["b"]])), e["weight"]) for e in found["edges"]}
        assert drawn == {(*sorted((a, b)), w) for a, b, w in part.edges(data="weight")}
        assert all(-1e-9 <= p[axis] <= 1 + 1e-9 for p in found["places"] for axis in "xy")
    # the heaviest neighbors of a node with 200 of them are there
    state = answers["nodes"][0]["chosen"]
    weights = sorted((whole[state[0]][n]["weight"] for n in whole[state[0]]), reverse=True)
    assert [whole[state[0]][n]["weight"] for n in state[1:25]] == weights[:24]


def test_spans_are_marked(answers: dict[str, Any]) -> None:
    for (text, spans), found in zip(SPANS, answers["spans"], strict=True):
        at = [tuple(map(int, part.split("-"))) for part in (spans or "").split(",") if part]
        parts = "".join(part if isinstance(part, str) else part[0] for part in found)
        assert parts == text
        marks = [not isinstance(part, str) for part in found for _ in "".join(part)]
        assert marks == [any(a <= i < b for a, b in at) for i in range(len(text))]
        assert all(found)
