"""The web atlas in headless Chromium, against the SQLite atlas that it was exported from: every page
from a cold address, over http and from the disk."""

from __future__ import annotations

import base64
import csv
import functools
import gzip
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import numpy as np
import pytest
import web_truth
from PIL import Image
from web_pilot import Compressed, Visit, browser, loaded, needs_browser, served

from petriscope.atlas.build import build_atlas
from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import feature_name, parse_feature
from petriscope.atlas.show import show
from petriscope.web.export import export_atlas

REPOSITORY = Path(__file__).resolve().parents[2]
FEATURE = "L1/3"
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
PAINT, MORE, REQUESTS, SCRIPT = 150, 150, 6, 90
"""Kilobytes until the first paint of any page and for the rest of a page, requests until then, and
of the compressed script."""


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


@pytest.mark.parametrize("way", ["http", "file"])
def test_every_page_opens_cold(
    way: str, chromium: Any, site: str, workspace: Path, pages: list[str]
) -> None:
    root = site if way == "http" else (workspace / "web").as_uri() + "/"
    known = web_truth.of_atlas(workspace / "atlas.sqlite")
    with Visit(chromium, root) as visit:
        for address in pages:
            visit.open(address)
            assert visit.page.locator("main h1").count() == 1, address
            assert visit.page.locator(".error").count() == 0, (address, visit.text(".error"))
            assert len(visit.text()) > 60, address
            stated = known | set(web_truth.numbers_in(unquote(address)))
            unknown = [pair for pair in web_truth.shown(visit.page) if not _is_in(pair[0], stated)]
            assert not unknown, (address, unknown)
            assert visit.wrong() == [], address


def _is_in(number: str, known: set[str]) -> bool:
    return number in known or number.lstrip("+-") in known
