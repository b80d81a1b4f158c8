"""A made-up atlas with every table filled, exported, and a browser to look at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from web_pilot import FEATURE, browser, loaded, needs_browser, served

from petriscope.atlas.build import build_atlas
from petriscope.atlas.query import Atlas
from petriscope.web.export import export_atlas

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (
    "#/",
    "#/layers",
    "#/layer/1",
    "#/features",
    "#/features?f=is:context&s=cds&d=1",
    f"#/feature/{FEATURE}",
    "#/map",
    "#/modules",
    "#/module/1/MODULE",
    "#/flow",
    "#/flow?a=0&b=1",
    "#/graph",
    "#/compare",
    f"#/compare?a=L0/1&b={FEATURE}",
    "#/causal",
    "#/controls",
    "#/crispr",
    "#/about",
    "#/gene/GATA1",
    "#/term/motif:GATA1",
    "#/region/REGION",
)


@pytest.fixture(scope="module")
def workspace(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A made-up atlas with every table filled, and its export."""

    def make(folder: Path) -> None:
        made = loaded(REPOSITORY / "benchmarks" / "synthetic_web.py")
        tables = made.web_tables(layers=3, per_layer=70, bins=4, genes=300, terms=60)
        build_atlas(folder / "atlas.sqlite", tables)
        export_atlas(folder / "atlas.sqlite", folder / "web", workers=1)

    return made_once("web atlas ü", make)


@pytest.fixture(scope="module")
def atlas(workspace: Path) -> Iterator[Atlas]:
    opened = Atlas(workspace / "atlas.sqlite")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(workspace: Path) -> list[str]:
    """Addresses of every page, with a module and a place that exist."""
    with closing(sqlite3.connect(workspace / "atlas.sqlite")) as connection:
        (module,) = connection.execute("SELECT module FROM modules WHERE layer = 1").fetchone()
        sql = "SELECT chrom, tss FROM genes WHERE symbol = 'GATA1'"
        chrom, tss = connection.execute(sql).fetchone()
    region = f"{chrom}:{tss - 50_000:,}-{tss + 50_000:,}"
    return [page.replace("MODULE", str(module)).replace("REGION", region) for page in PAGES]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    needs_browser()
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def site(workspace: Path) -> Iterator[str]:
    with served(workspace / "web") as address:
        yield address
