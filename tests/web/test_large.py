"""The web atlas of a whole model, 110,010 features with every table filled: files, bytes and
requests within the budget of docs/atlas.md. Milliseconds are benchmarks/web_atlas.py's to print."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from web_pilot import Compressed, Visit, loaded, served
from web_reader import value

from petriscope.atlas.build import build_atlas
from petriscope.web.export import MANIFEST, export_atlas
from petriscope.web.verify import verify_web

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
FEATURES = 110_010
FILES, LARGEST = 10_000, 512 * 1024
PAINT, REQUESTS, WHOLE, COLUMNS, FILTER = 150, 6, 150, 3 * 1024, 800
"""Kilobytes and requests until the first paint; kilobytes beyond them for a page, for all columns
and facets of the feature browser, and for a filter that uses its data for the first time."""
PAGES = ("#/", "#/feature/L12/345", "#/gene/GENE1000", "#/module/pmi/12/1")
QUERIES = (
    "is:context is:annotated",
    "q<1e-6 lineage:liver",
    "motif:GATA",
    "go:*",
    "gene:APOL1",
    "celltype:monocyte",
    "chr22:37,000,000-38,000,000",
)


@pytest.fixture(scope="module")
def folder(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The exported atlas."""

    def make(folder: Path) -> None:
        made = loaded(REPOSITORY / "benchmarks" / "synthetic_web.py")
        build_atlas(folder / "atlas.sqlite", made.web_tables())
        export_atlas(folder / "atlas.sqlite", folder / "web")

    return made_once("web atlas of 110,010 features", make) / "web"


@pytest.fixture(scope="module")
def large(folder: Path) -> Iterator[str]:
    """Its address on a host that compresses, as static hosts do."""
    with served(folder, Compressed) as address:
        yield address


def test_files_are_few_and_small(folder: Path) -> None:
    """The manifest, which no page reads, is the one file that may be larger."""
    assert value(folder, "home")["total"] == FEATURES
    told = json.loads((folder / MANIFEST).read_text())["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == {*told, MANIFEST} and len(there) <= FILES
    assert max(one["size"] for one in told.values()) <= LARGEST
    assert verify_web(folder) == (len(told), [])


def test_the_first_paint_is_small(folder: Path) -> None:
    needed = ("index.html", "app.js", "app.css", "data/home.js")
    sizes = [len(gzip.compress((folder / name).read_bytes(), 6)) for name in needed]
    assert sum(sizes) <= PAINT * 1024 and len(sizes) <= REQUESTS, dict(zip(needed, sizes))


@pytest.mark.parametrize("address", PAGES)
def test_a_page_asks_for_little(chromium: Any, large: str, address: str) -> None:
    with Visit(chromium, large) as visit:
        visit.open(address)
        assert visit.page.locator("main .error").count() == 0, visit.text()
        assert visit.bytes <= (PAINT + WHOLE) * 1024, visit.asked
        assert visit.wrong() == []


def test_the_feature_browser_and_its_filters(chromium: Any, large: str) -> None:
    with Visit(chromium, large) as visit:
        visit.open("#/features")
        visit.page.locator("main .total[data-shows]", has_text=f"{FEATURES:,} of").wait_for()
        assert visit.bytes <= (PAINT + COLUMNS) * 1024
        asked = {}
        for query in QUERIES:
            before = visit.bytes
            visit.go(f"#/features?f={quote(query)}")
            visit.page.locator(f"main .total[data-shows='{query} rows/layer']").wait_for()
            asked[query] = (visit.bytes - before) / 1024
        assert max(asked.values()) <= FILTER, asked
        assert visit.wrong() == []
