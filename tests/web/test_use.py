"""The web atlas in headless Chromium as people use it: by keyboard, with a screen reader, on paper,
taking figures and rows away; and what it costs them."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from PIL import Image
from web_pilot import FEATURE, Compressed, Visit, served

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import feature_name

PAINT, MORE, REQUESTS, SCRIPT = 150, 150, 6, 90
"""Kilobytes until the first paint of any page and for the rest of a page, requests until then, and
of the compressed script."""


def _axe(visit: Visit, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds wrong on the page, all of its rules or some."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found = Axe().run(visit.page, options=options).response["violations"]
    return [f"{v['id']}: {node['html'][:160]}" for v in found for node in v["nodes"]]


def test_anybody_can_read_it(chromium: Any, site: str, pages: list[str]) -> None:
    """axe-core, all rules in the light theme, contrast in the dark one; a planted fault is found."""
    wrong = []
    with Visit(chromium, site, color_scheme="light") as visit:
        for address in pages:
            visit.open(address)
            wrong += [(address, "light", text) for text in _axe(visit)]
            visit.page.emulate_media(color_scheme="dark")
            wrong += [(address, "dark", text) for text in _axe(visit, ["color-contrast"])]
            visit.page.emulate_media(color_scheme="light")
        visit.page.evaluate(
            """() => {
              const planted = document.createElement("p");
              planted.textContent = "too pale to read";
              planted.style.color = "#ccc";
              planted.style.background = "#fff";
              const image = document.createElement("img");
              document.querySelector("main").append(planted, image);
            }"""
        )
        planted = _axe(visit)
    assert not wrong, "\n".join(map(str, wrong))
    assert {text.partition(":")[0] for text in planted} == {"color-contrast", "image-alt"}


def _tab_to(visit: Visit, holds: str) -> None:
    """Tab until the focused element matches a selector."""
    for _ in range(400):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("(holds) => document.activeElement.matches(holds)", holds):
            return
    raise AssertionError(f"no {holds} takes the focus")


def _total(visit: Visit, count: int) -> None:
    """Until the feature browser says that so many features pass."""
    visit.page.get_by_role("status").filter(has_text=re.compile(rf"^{count:,} of ")).wait_for()


def test_by_keyboard_alone(chromium: Any, site: str, atlas: Atlas) -> None:
    """Search, filter, row, feature, neighbor, and back; a reload gives the same screen."""
    query = "is:context"
    found = list(atlas.order(query, "layer"))
    with Visit(chromium, site) as visit:
        page = visit.open("#/").page
        page.keyboard.press("/")
        page.keyboard.type("GATA1")
        page.locator(".hits li[aria-selected]").first.wait_for()
        page.keyboard.press("Enter")
        page.locator("main h1", has_text="GATA1").wait_for()
        page.keyboard.press("Escape")
        page.locator("main").focus()
        page.keyboard.press("f")
        page.locator("#filter:focus").wait_for()
        page.keyboard.type(query)
        _total(visit, len(found))
        assert f"f={quote(query)}" in page.url
        _tab_to(visit, "[role=grid] *")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        name = feature_name(found[2])
        page.locator("main h1", has_text=name).wait_for()
        visit.settle()
        listed = visit.text("main")
        page.keyboard.press("]")
        page.locator("main h1", has_text=feature_name(found[3])).wait_for()
        page.keyboard.press("[")
        page.locator("main h1", has_text=name).wait_for()
        visit.settle()
        assert visit.text("main") == listed
        _tab_to(visit, "td a[href^='#/feature/'], td a.id")
        page.keyboard.press("Enter")
        page.locator("main h1", has_not_text=name).wait_for()
        page.go_back()
        page.locator("main h1", has_text=name).wait_for()
        page.go_back()
        page.go_back()
        page.go_back()
        _total(visit, len(found))
        before = visit.text("main")
        page.reload()
        _total(visit, len(found))
        visit.settle()
        assert visit.text("main") == before and page.locator("#filter").input_value() == query
        assert visit.wrong() == []


def test_filtered_rows_are_saved(chromium: Any, site: str, atlas: Atlas) -> None:
    """CSV of the feature browser: the rows that the atlas gives for the filter, in its order, and
    its numbers to six digits."""
    query, sort = "is:alive layer:1..2 q<.5", "cds"
    found = list(atlas.order(query, sort, descending=True))
    with Visit(chromium, site, accept_downloads=True) as visit:
        visit.open(f"#/features?f={quote(query)}&s={sort}&d=1")
        _total(visit, len(found))
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name=re.compile("^CSV")).click()
        lines = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    told = [line for line in lines if line.startswith("#")]
    assert any(query in line for line in told)
    rows = list(csv.DictReader(lines[len(told) :]))
    names = [name for name in rows[0] if name != "id"]
    assert [row["id"] for row in rows] == [feature_name(i) for i in found]
    for row, values in zip(rows, atlas.rows(found, names), strict=True):
        for name, value in zip(names, values[-len(names) :], strict=True):
            if isinstance(value, float):
                assert float(row[name]) == pytest.approx(value, rel=1e-5), name
            else:
                assert row[name] == ("" if value is None else str(value)), name


def test_figures_are_saved(chromium: Any, site: str, atlas: Atlas) -> None:
    """SVG is XML with where it came from, PNG is twice as large, CSV holds the table's rows."""
    run = atlas.run()
    with Visit(chromium, site, accept_downloads=True) as visit:
        visit.open(f"#/feature/{FEATURE}")
        figure = visit.page.locator("figure").first
        saved = {}
        for kind in ("SVG", "PNG", "CSV"):
            with visit.page.expect_download() as download:
                figure.get_by_role("button", name=kind).click()
            saved[kind] = Path(download.value.path()).read_bytes()
        figure.get_by_role("button", name=re.compile("^data")).click()
        rows = figure.locator("tbody tr").count()
        assert visit.wrong() == []
    drawn = ElementTree.fromstring(saved["SVG"])
    text = " ".join(drawn.itertext())
    for told in (run["dataset"], run["seed"], f"#/feature/{FEATURE}"):
        assert told and told in text
    assert drawn.find(".//*[@class]") is None and drawn.find(".//{*}text") is not None
    width, height = Image.open(io.BytesIO(saved["PNG"])).size
    assert (width, height) == (2 * float(drawn.get("width", 0)), 2 * float(drawn.get("height", 0)))
    lines = saved["CSV"].decode("utf-8-sig").splitlines()
    told = [line for line in lines if line.startswith("#")]
    assert any(str(run["dataset"]) in line for line in told)
    assert len(list(csv.reader(lines[len(told) :]))) == rows + 1


def test_paper_has_the_address_and_no_navigation(chromium: Any, site: str) -> None:
    with Visit(chromium, site) as visit:
        visit.open(f"#/feature/{FEATURE}")
        pdf = visit.page.pdf(format="A4")
        visit.page.emulate_media(media="print")
        for hidden in ("nav.pages", "input", "button.theme", ".tools"):
            assert not visit.page.locator(hidden).first.is_visible(), hidden
        address = visit.page.locator("footer .address")
        assert address.is_visible() and f"#/feature/{FEATURE}" in address.inner_text()
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page") > 1


@pytest.mark.parametrize("address", ["#/", f"#/feature/{FEATURE}", "#/gene/GATA1", "#/features"])
def test_little_is_asked_for(chromium: Any, workspace: Path, address: str) -> None:
    """Bytes and requests as a static host sends them, until the page is whole."""
    with served(workspace / "web", Compressed) as root, Visit(chromium, root) as visit:
        visit.open(address)
        first = [url for url in visit.asked if re.search(r"index.html|app\.|data/home\.js", url)]
        assert len(first) == len(set(first)) <= REQUESTS
        assert visit.bytes < (PAINT + MORE) * 1024
    assert len(gzip.compress((workspace / "web" / "app.js").read_bytes(), 6)) < SCRIPT * 1024
