"""A toy atlas is exported, and a part of the page is asked about it in node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import web_toy

from petriscope.atlas.build import build_atlas
from petriscope.atlas.query import Atlas

WEB = Path(__file__).resolve().parents[1] / "web"
ESBUILD = WEB / "node_modules" / ".bin" / "esbuild"
TOYS = {
    "genome": web_toy.genome_tables,
    "cells": web_toy.cells_tables,
    "bare": web_toy.bare_tables,
}


class Answered(NamedTuple):
    """An atlas, what was asked of it, and what the page answered."""

    atlas: Atlas
    asked: dict[str, list[Any]]
    answers: dict[str, list[Any]]


def answered(
    made_once: Callable[[str, Callable[[Path], None]], Path],
    toy: str,
    entry: str,
    questions: Callable[[Atlas], dict[str, list[Any]]],
) -> Answered:
    """What ``web/test/ENTRY.ts`` answers to the questions about a toy atlas."""
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    if not ESBUILD.exists():
        pytest.skip("the page's packages are not installed (npm ci in web/)")
    from petriscope.web.export import export_atlas

    def make(folder: Path) -> None:
        path = folder / "atlas.sqlite"
        build_atlas(path, TOYS[toy]())
        export_atlas(path, folder / "web", assets=False, workers=1)
        bundle, asked, answers = (folder / n for n in ("page.mjs", "asked.json", "answers.json"))
        asked.write_text(json.dumps(questions(Atlas(path))), encoding="utf-8")
        source = WEB / "test" / f"{entry}.ts"
        build = [str(ESBUILD), str(source), "--bundle", "--format=esm", f"--outfile={bundle}"]
        subprocess.run([*build, "--log-level=error"], check=True, cwd=WEB)
        places = (WEB / "test" / "run.mjs", bundle, folder / "web", asked, answers)
        subprocess.run(["node", *(str(place) for place in places)], check=True)

    folder = made_once(f"{entry}-{toy}", make)
    asked, answers = (json.loads((folder / f"{n}.json").read_text()) for n in ("asked", "answers"))
    return Answered(Atlas(folder / "atlas.sqlite"), asked, answers)
