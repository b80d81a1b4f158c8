"""Reference: the files on disk, and the frames that the atlas was made from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.schema import Thresholds
from petriscope.errors import UserError
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.stages import web
from petriscope.web import export

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A finished atlas, and a page that needs no build."""
    monkeypatch.setattr(export, "read_assets", lambda: {"index.html": b"<!doctype html>"})
    made = Workspace(tmp_path)
    features = pd.DataFrame(
        {"layer": [0] * 40 + [1] * 7, "feature": [*range(40), *range(7)], "alive": 1, "q": 0.5}
    )
    made.results.mkdir()
    build_atlas(made.atlas, AtlasTables(features, Thresholds(0.05, 0.7)))
    return made


@pytest.mark.parametrize("study", [".", "studies/dna", "studies/cells"])
def test_numbers_are_those_of_the_folder_in_every_study(workspace: Workspace, study: str) -> None:
    params = load_params(REPOSITORY / study / "params.yaml")
    found = web.run(workspace, params)
    files = [p for p in workspace.web.rglob("*") if p.is_file() and p.name != export.MANIFEST]
    assert (found.files, found.bytes) == (len(files), sum(p.stat().st_size for p in files))
    assert found.features == 47 and (workspace.web / "index.html").is_file()
    before = {p: p.read_bytes() for p in files}
    assert web.run(workspace, params) == found
    assert {p: p.read_bytes() for p in files} == before


def test_a_folder_of_something_else_stays(workspace: Workspace) -> None:
    workspace.web.mkdir()
    (workspace.web / "mine.txt").write_text("x")
    with pytest.raises(UserError):
        web.run(workspace, load_params(REPOSITORY / "params.yaml"))
    assert [p.name for p in workspace.web.iterdir()] == ["mine.txt"]
