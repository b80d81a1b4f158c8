"""Reference: the authors' program run on fixed latents, the notebook's statements and networkx, as
the fixture holds them; and the same fixture damaged."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petriscope.errors import UserError
from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna.parity.graph import KINDS


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden/hsg_graph.json"


def failed(path: Path, entries: Any) -> set[str]:
    """Arrays beyond their tolerance, by the kind that knows the entries."""
    (kind,) = (kind for kind in KINDS if kind.holds <= set(entries))
    return {one.array for one in kind.compare(path, entries) if not one.error <= one.allowed}


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_every_value_is_the_originals(golden: Path, suffix: str) -> None:
    path = golden.with_suffix(suffix)
    entries = read_fixture(path)
    (kind,) = (kind for kind in KINDS if kind.holds <= set(entries))
    found = kind.compare(path, entries)
    assert len(found) == 23
    assert not failed(path, entries)


def damaged(entries: dict[str, Any], name: str) -> dict[str, Any]:
    entries = copy.deepcopy(entries)
    part = entries["classes"]["P"]
    node = next(iter(part["pagerank_converged"]))
    match name:
        case "nodes":
            next(_annotations(part[name]))["end"] += 10_000
        case "edges":
            part[name][3][1] += 1
        case "weighted":
            part[name][5][2] += 1
        case "multigraph" | "digraph":
            part[name][2] += 1e-9
        case "pagerank_default_tol":
            part[name][node] += 3e-9
        case "pagerank_converged":
            part[name][node] += 3e-12
        case "core_number":
            part[name][node] += 1
        case "fragmentation_order":
            part[name][:2] = part[name][1::-1]
        case "fragmentation":
            part[name][7][1] += 1
        case "log10_fold_change_shared":
            entries[name]["0"] += 3e-9
        case "unique":
            entries[name]["P"].pop()
    return entries


def _annotations(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (one for node in nodes for one in node.get("annotations", {}).values())


@pytest.mark.parametrize(
    "name",
    [
        *("nodes", "edges", "weighted", "multigraph", "digraph", "pagerank_default_tol"),
        *("pagerank_converged", "core_number", "fragmentation_order", "fragmentation"),
        *("log10_fold_change_shared", "unique"),
    ],
)
def test_a_damaged_value_fails(golden: Path, name: str) -> None:
    found = failed(golden, damaged(read_fixture(golden), name))
    assert any(name in array for array in found)


def test_damaged_latents_fail(golden: Path) -> None:
    path = golden.with_suffix(".npz")
    entries = read_fixture(path)
    entries["P0_val"] = np.roll(entries["P0_val"], 1)
    assert "P.edges" in failed(path, entries)


def test_the_other_half_must_lie_beside(golden: Path, tmp_path: Path) -> None:
    alone = tmp_path / golden.name
    shutil.copy(golden, alone)
    with pytest.raises(UserError, match=r"hsg_graph\.npz beside"):
        failed(alone, json.loads(alone.read_text(encoding="utf-8")))
