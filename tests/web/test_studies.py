"""The web atlas of every study in headless Chromium: tiny runs, exported, every page from a cold
address; every number on a page is the SQLite atlas's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import web_truth
from stage_trace import Trace
from web_pilot import Visit, browser, loaded, needs_browser, served

from petriscope.run.workspace import Workspace
from petriscope.web.export import export_atlas

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("study", ["chromatin", "dna", "cells"])
def test_every_page_of_a_study_opens_cold(
    study: str,
    traced_tiny_runs: Callable[[str], tuple[Workspace, dict[str, Trace]]],
    tmp_path: Path,
) -> None:
    needs_browser()
    atlas = traced_tiny_runs(study)[0].atlas
    export_atlas(atlas, tmp_path / "web", workers=1)
    pages = loaded(REPOSITORY / "docs" / "web_screenshots.py").addresses(tmp_path / "web")
    known = web_truth.of_atlas(atlas) | web_truth.of_graph(tmp_path / "web")
    wrong = []
    with browser() as chromium, served(tmp_path / "web") as site, Visit(chromium, site) as visit:
        for address in pages.values():
            wrong += web_truth.faults(visit.open(address), address, known)
    assert not wrong, "\n".join(map(str, wrong))
