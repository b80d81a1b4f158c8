"""Reference: tests/snapshots/*.svg, looked at by a person; PETRISCOPE_UPDATE_SNAPSHOTS=1 draws them
anew.

Skipped under another Textual version than the one that drew them: its own widgets may differ by a
cell.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
from pathlib import Path

import pytest
import textual

from petriscope.atlas.build import build_atlas

HERE = Path(__file__).resolve().parent
DRAWN_WITH = "8.2.8"
PAGES = ("overview", "features", "feature", "compare", "layers", "causal", "search")


def load(path: Path):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    textual.__version__ != DRAWN_WITH, reason=f"snapshots were drawn with Textual {DRAWN_WITH}"
)
async def test_pages_look_as_approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    tables = load(HERE.parents[1] / "benchmarks" / "synthetic_atlas.py").synthetic_tables(
        layers=3, per_layer=200
    )
    build_atlas(tmp_path / "w" / "results" / "atlas.sqlite", tables)
    monkeypatch.chdir(tmp_path)
    here = Path("/proc/self/cwd/w")  # the path is on the picture: the same text on every machine
    pictures = await load(HERE.parents[1] / "docs" / "screenshots.py").draw(here, PAGES, (110, 36))
    for page, picture in pictures.items():
        picture = re.sub(r"terminal-\d+", "terminal", picture)
        path = HERE / "snapshots" / f"{page}.svg.gz"
        if os.environ.get("PETRISCOPE_UPDATE_SNAPSHOTS"):
            path.write_bytes(gzip.compress(picture.encode(), mtime=0))
        approved = gzip.decompress(path.read_bytes()).decode()
        if picture != approved:
            (tmp_path / f"{page}.svg").write_text(picture)
        assert picture == approved, (
            f"{page} looks different: compare {tmp_path / page}.svg with {path}"
        )
