"""The web atlas in headless Chromium, against the SQLite atlas that it was exported from: every page
from a cold address, over http and from the disk."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import web_truth
from web_pilot import FEATURE, Visit, loaded, served
from web_reader import value

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import feature_name, parse_feature
from petriscope.atlas.show import show

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("way", ["http", "file"])
def test_every_page_opens_cold(
    way: str, chromium: Any, site: str, workspace: Path, pages: list[str]
) -> None:
    """No error, no request elsewhere, nothing that the policy blocks, and no number that is not
    the atlas's."""
    root = site if way == "http" else (workspace / "web").as_uri() + "/"
    known = web_truth.of_atlas(workspace / "atlas.sqlite") | web_truth.of_graph(workspace / "web")
    wrong = []
    with Visit(chromium, root) as visit:
        for address in pages:
            wrong += web_truth.faults(visit.open(address), address, known)
    assert not wrong, "\n".join(map(str, wrong))


# Visits many features in the page itself: the texts of the tables' cells, row by row.
READ = """
async (names) => {
  const found = {};
  for (const name of names) {
    location.hash = `#/feature/${name}`;
    await new Promise((resolve) => {
      const there = () => document.querySelector("main h1")?.textContent.match(/L\\d+\\/\\d+/)?.[0] === name
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
    pack = value(tmp_path / "web", name)
    identifier = parse_feature(FEATURE)
    effects = pack["tables"]["effects"]
    place = pack["id"].index(identifier)
    effects["t"][effects["ends"][place - 1] if place else 0] = 123.456
    _write(tmp_path / "web", name, pack)
    known = web_truth.of_feature(workspace / "atlas.sqlite", identifier)
    with served(tmp_path / "web") as root, Visit(chromium, root) as visit:
        visit.open(f"#/feature/{FEATURE}")
        numbers = {number for number, _ in web_truth.shown(visit.page)}
    unknown = {number for number in numbers if not web_truth.is_in(number, known)}
    assert unknown == {"+123.46"}


def _pack_of(workspace: Path, name: str) -> int:
    """The number of the pack that holds a feature."""
    home = value(workspace / "web", "home")
    identifier = parse_feature(name)
    assert identifier is not None
    layer = next(one for one in home["layers"] if one["layer"] == identifier // 1_000_000)
    return int((layer["first"] + identifier % 1_000_000) // home["pack"])


def _write(web: Path, name: str, what: object) -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(what).encode())).decode()
    (web / "data" / f"{name}.js").write_text(f'P("{name}","{packed}")\n')


def _newer(web: Path) -> None:
    _write(web, "home", {**value(web, "home"), "format": 99})


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
    made, seen = loaded(REPOSITORY / "benchmarks" / "synthetic_web.py"), 0
    with Visit(chromium, site) as visit:
        for name in made.ODD:
            visit.open(f"#/term/geneset:{quote(name, safe='')}")
            assert name in visit.text("main h1")
            assert visit.page.locator("main script").count() == 0
            assert visit.wrong() == []
            found = [one.id for one in atlas.enriched("geneset", name)]
            assert ("No feature" in visit.text()) == (not found)
            seen += len(found[:1])
            for feature in found[:1]:
                visit.open(f"#/feature/{feature_name(feature)}")
                assert visit.page.locator("main td", has_text=name).count() > 0
    assert seen
