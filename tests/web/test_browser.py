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
    """No error, no request elsewhere, nothing that the policy blocks, and no number that is not
    the atlas's."""
    root = site if way == "http" else (workspace / "web").as_uri() + "/"
    known = web_truth.of_atlas(workspace / "atlas.sqlite")
    wrong = []
    with Visit(chromium, root) as visit:
        for address in pages:
            visit.open(address)
            if visit.page.locator("main h1").count() != 1:
                wrong.append((address, "heads", visit.page.locator("main h1").count()))
            wrong += [(address, text) for text in visit.page.locator(".error").all_inner_texts()]
            if len(visit.text()) < 60:
                wrong.append((address, "blank", visit.text()))
            stated = known | set(web_truth.numbers_in(unquote(address)))
            numbers = web_truth.shown(visit.page)
            wrong += [(address, *pair) for pair in numbers if not _is_in(pair[0], stated)]
            wrong += [(address, text) for text in visit.wrong()]
            visit.said.clear()
            visit.asked.clear()
    assert not wrong, "\n".join(map(str, wrong))


def _is_in(number: str, known: set[str]) -> bool:
    return number in known or number.lstrip("+-") in known


# Visits many features in the page itself: the texts of the tables' cells, row by row.
READ = """
async (names) => {
  const found = {};
  for (const name of names) {
    location.hash = `#/feature/${name}`;
    await new Promise((resolve) => {
      const there = () => document.querySelector("main h1")?.textContent.includes(name)
        && !document.querySelector(".wait");
      if (there()) { resolve(); return; }
      const observer = new MutationObserver(() => {
        if (there()) { observer.disconnect(); resolve(); }
      });
      observer.observe(document, { childList: true, subtree: true, characterData: true });
    });
    found[name] = {
      text: document.querySelector("main").textContent,
      rows: [...document.querySelectorAll("main tbody tr")].map((row) =>
        [...row.children].map((cell) => cell.textContent.trim())),
    };
  }
  return found;
}
"""


def test_a_page_says_what_the_atlas_says(chromium: Any, site: str, atlas: Atlas) -> None:
    """200 random features: every row of every table of the record is a row on the page."""
    chosen = np.random.default_rng(0).permutation(list(atlas.order()))[:200].tolist()
    with Visit(chromium, site) as visit:
        visit.open(f"#/feature/{FEATURE}")
        read = visit.page.evaluate(READ, [feature_name(i) for i in chosen])
    wrong = []
    for identifier in chosen:
        page = read[feature_name(identifier)]
        rows = [set(row) for row in page["rows"]]
        for told in _rows_of(atlas, identifier):
            if not any(told <= row for row in rows):
                wrong.append((feature_name(identifier), told))
    assert not wrong, f"{len(wrong)}: " + "\n".join(map(str, wrong[:20]))


def _rows_of(atlas: Atlas, identifier: int) -> Iterator[set[str]]:
    """What must stand in one row of a table of a feature's page, by the atlas's own forms."""
    feature = atlas.feature(identifier, contexts=8, neighbors=12)
    for name, column in atlas.columns.items():
        value = feature.values[name]
        if value is not None:
            yield {column.head, show(value, column.form)}
    for e in feature.lineages:
        yield {e.lineage, show(e.t, "signed"), show(e.p, "p"), show(e.q, "p")}
    for a in feature.activation:
        if a.density is not None:
            pass
    for context in atlas.contexts(identifier, per_unit=8):
        yield {context.name, show(context.activation, "number"), context.unit.name}
    for kind in atlas.kinds:
        for term in atlas.annotations(identifier, kind):
            yield {term.term, show(term.estimate, "number"), show(term.p, "p"), show(term.q, "p")}
    for near in (n for kind in feature.neighbors.values() for n in kind):
        yield {feature_name(near.id), show(near.value, "number"), show(near.q, "p")}
    for gene in atlas.listed(identifier):
        yield {gene.gene, show(gene.value, "number"), show(gene.fires, "count")}
    for cell in atlas.celltypes(identifier):
        yield {cell.cell_type, show(cell.effect, "signed"), show(cell.p, "p"), show(cell.q, "p")}
    for link in atlas.links(identifier):
        other = link.other if link.id == identifier else link.id
        yield {feature_name(other), show(link.value, "number"), show(link.p, "p")}
    for edge in atlas.documents_of(identifier):
        yield {edge.document, show(edge.tokens, "count"), show(edge.activation, "number")}


def test_a_changed_number_is_found(chromium: Any, workspace: Path, tmp_path: Path) -> None:
    """The search for numbers can fail: of one feature on the page, one is not the atlas's."""
    shutil.copytree(workspace / "web", tmp_path / "web")
    name = f"f/{_pack_of(workspace, FEATURE)}"
    pack = _read(tmp_path / "web", name)
    identifier = parse_feature(FEATURE)
    feature = next(f for f in pack["features"] if f["id"] == identifier)
    feature["effects"][0]["t"] = 123.456
    _write(tmp_path / "web", name, pack)
    known = web_truth.of_feature(workspace / "atlas.sqlite", identifier)
    with served(tmp_path / "web") as root, Visit(chromium, root) as visit:
        visit.open(f"#/feature/{FEATURE}")
        numbers = {number for number, _ in web_truth.shown(visit.page)}
    unknown = {number for number in numbers if not _is_in(number, known)}
    assert unknown == {"+123.46"}


def _pack_of(workspace: Path, name: str) -> int:
    """The number of the pack that holds a feature."""
    home = _read(workspace / "web", "home")
    identifier = parse_feature(name)
    assert identifier is not None
    layer = next(one for one in home["layers"] if one["layer"] == identifier // 1_000_000)
    return int((layer["first"] + identifier % 1_000_000) // home["pack"])


def _read(web: Path, name: str) -> Any:
    text = (web / "data" / f"{name}.js").read_text()
    return json.loads(gzip.decompress(base64.b64decode(text.split('"')[3])))


def _write(web: Path, name: str, value: object) -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()
    (web / "data" / f"{name}.js").write_text(f'P("{name}","{packed}")\n')


def _newer(web: Path) -> None:
    _write(web, "home", {**_read(web, "home"), "format": 99})


def _cut(name: str, web: Path) -> None:
    path = web / "data" / f"{name}.js"
    path.write_bytes(path.read_bytes()[:-200])


def _damaged(name: str, web: Path) -> None:
    path = web / "data" / f"{name}.js"
    head, text = path.read_text().split(',"')
    path.write_text(f'{head},"{text[:40]}AAAA{text[44:]}')


def _foreign(name: str, web: Path) -> None:
    (web / "data" / f"{name}.js").write_text("<!doctype html><title>Not found</title>")


def _missing(name: str, web: Path) -> None:
    (web / "data" / f"{name}.js").unlink()


@pytest.mark.parametrize("way", ["http", "file"])
def test_a_broken_folder_is_named(way: str, chromium: Any, workspace: Path, tmp_path: Path) -> None:
    """A sentence that names the file, where the page needs it; the rest stays usable."""
    pack = f"f/{_pack_of(workspace, FEATURE)}"
    cases: list[tuple[Callable[[Path], None], str, str]] = [
        (_newer, "#/", "format 99"),
        (functools.partial(_missing, "home"), "#/", "data/home.js: is missing"),
        *(
            (functools.partial(how, pack), f"#/feature/{FEATURE}", f"data/{pack}.js: is")
            for how in (_cut, _damaged, _foreign, _missing)
        ),
        (functools.partial(_cut, "numbers"), "#/layers", "data/numbers.js: is"),
    ]
    wrong = []
    for number, (spoil, address, words) in enumerate(cases):
        web = tmp_path / f"{number} ü"
        shutil.copytree(workspace / "web", web)
        spoil(web)
        with served(web) as site:
            root = site if way == "http" else web.as_uri() + "/"
            with Visit(chromium, root) as visit:
                visit.page.goto(root + "index.html" + address)
                said = visit.page.locator(".error").first
                said.wait_for()
                if words not in said.inner_text():
                    wrong.append((spoil, said.inner_text()))
                if "home" not in words and "99" not in words:
                    visit.go("#/controls")
                    assert visit.page.locator("main h1").count() == 1
                assert not visit.page.evaluate("() => window.violations")
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("#/nonsense", "nonsense"),
        ("#/feature/L99/1", "L99/1"),
        ("#/feature/L1/999999", "L1/999999"),
        ("#/feature/rubbish", "rubbish"),
        ("#/feature", "L6/1234"),
        ("#/layer/99", "99"),
        ("#/module/1/9999", "9999"),
        ("#/gene/NOSUCHGENE", "NOSUCHGENE"),
        ("#/term/motif:NOSUCH", "NOSUCH"),
        ("#/term/nokind:x", "nokind"),
        ("#/region/chrQ:1-2", "chrQ"),
        ("#/region/rubbish", "rubbish"),
        ("#/flow?a=7&b=9", "7"),
        ("#/compare?a=L0/1&b=rubbish", "rubbish"),
        ("#/features?f=nonsense%3A%3A1", "nonsense"),
        ("#/features?f=q%3C", "q"),
        ("#/features?s=nocolumn", ""),
        ("#/%E0%A4%A", ""),
        ("#/gene/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "<script>alert(1)</script>"),
        ("#/feature/%3Cimg%20src=x%20onerror=alert(1)%3E", "<img"),
    ],
)
def test_what_is_not_there_is_said(chromium: Any, site: str, address: str, words: str) -> None:
    with Visit(chromium, site) as visit:
        visit.open(address)
        text = visit.text()
        assert words in text and len(text) > 20, text
        assert visit.wrong() == [], text


def test_names_are_text(chromium: Any, site: str, atlas: Atlas) -> None:
    """Quotes, markup and letters of any script, in a term's name, stay what they are."""
    made = loaded(REPOSITORY / "benchmarks" / "synthetic_web.py")
    with Visit(chromium, site) as visit:
        for name in made.ODD:
            visit.open(f"#/term/geneset:{quote(name, safe='')}")
            assert name in visit.text("main h1")
            assert visit.page.locator("main script").count() == 0
            assert visit.text().count("L") > 0 and visit.wrong() == []
            feature = atlas.enriched("geneset", name)[0].id
            visit.open(f"#/feature/{feature_name(feature)}")
            assert visit.page.locator("main td", has_text=name).count() > 0


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
        _tab_to(visit, ".grid *")
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
    links = re.findall(rb"/URI \(([^)]*)\)", pdf)  # links of what is printed
    assert links and not any(link.endswith(b"#/controls") for link in links)


@pytest.mark.parametrize("address", ["#/", f"#/feature/{FEATURE}", "#/gene/GATA1", "#/features"])
def test_little_is_asked_for(chromium: Any, workspace: Path, address: str) -> None:
    """Bytes and requests as a static host sends them, until the page is whole."""
    with served(workspace / "web", Compressed) as root, Visit(chromium, root) as visit:
        visit.open(address)
        first = [url for url in visit.asked if re.search(r"index.html|app\.|data/home\.js", url)]
        assert len(first) == len(set(first)) <= REQUESTS
        assert visit.bytes < (PAINT + MORE) * 1024
    assert len(gzip.compress((workspace / "web" / "app.js").read_bytes(), 6)) < SCRIPT * 1024
