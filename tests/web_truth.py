"""Every number that a page shows, and every number that the SQLite atlas holds as the program prints
it: what a page shows beyond those must be stated."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from statsmodels.stats.proportion import proportion_confint
from web_pilot import Visit
from web_reader import value as chunk

from petriscope.atlas.show import axis, bound, show

FORMS = ("count", "number", "signed", "p", "share", "percent", "text")
NUMBER = re.compile(r"(?<![\w.,])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
NAME = re.compile(r"\bL\d+/\d+\b|\bdoi:\S+|\bGO:\d+|\S+…")  # the last: a name cut to its place
STATED = {
    # examples of what can be written
    "#/features": {"37,500,000", "37,600,000"},
    # versions and years of data sources, the first rows of a sorting
    "#/graph": {".85"},  # damping
    "#/about": {"2024", "43", "14504049", "2025.12", "4.0", "1.0", "38", "64"},
}
"""Numbers in the words of a page, which are no data."""
# Texts of a page in the order of the document; ticks of an axis are round numbers of the drawing,
# and the footer says the address.
TEXTS = """
() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (parent.closest("script, style, kbd, noscript, option, .address")) continue;
    if (parent.matches("g.axis > g > path + text")) continue;
    const block = parent.closest("td, th, p, li, dd, dt, text, title, h1, h2, h3, caption, summary, a, button, label, span, div");
    if (found.length && found[found.length - 1][0] === block) found[found.length - 1][1] += node.data;
    else found.push([block, node.data]);
  }
  return found.map(([, text]) => text.replace(/\\s+/g, " ").trim()).filter((text) => /\\d/.test(text));
}
"""


def numbers_in(text: str) -> list[str]:
    """The numbers of a text as they stand; names of features are none."""
    plain = NAME.sub(" ", text).replace("−", "-")
    return [found for found in NUMBER.findall(plain) if any(c.isdigit() for c in found)]


def shown(page: Any) -> list[tuple[str, str]]:
    """Every number on a page with the text that it stands in."""
    return [(number, text) for text in page.evaluate(TEXTS) for number in numbers_in(text)]


def is_in(number: str, known: set[str]) -> bool:
    """Whether a number is known, whatever sign it is shown with."""
    return number in known or number.lstrip("+-") in known


def faults(visit: Visit, address: str, known: set[str]) -> list[tuple[Any, ...]]:
    """What is wrong with an open page: no head, blank, an error, a number that is neither known nor
    in the address, or whatever the browser said since."""
    wrong: list[tuple[Any, ...]] = []
    heads = visit.page.locator("main h1").count()
    if heads != 1:
        wrong.append((address, "heads", heads))
    wrong += [(address, text) for text in visit.page.locator(".error").all_inner_texts()]
    if len(visit.text()) < 60:
        wrong.append((address, "blank", visit.text()))
    place = re.search(r":([\d,]+)-([\d,]+)$", unquote(address))
    ends = [int(end.replace(",", "")) for end in place.groups()] if place else [0, 0]
    stated = (
        known
        | printed([ends[1] - ends[0] + 1])
        | set(numbers_in(unquote(address)))
        | printed(ends)
        | STATED.get(address.partition("?")[0], set())
    )
    wrong += [(address, *pair) for pair in shown(visit.page) if not is_in(pair[0], stated)]
    wrong += [(address, text) for text in visit.wrong()]
    visit.said.clear()
    visit.asked.clear()
    return wrong


def of_graph(web: Path) -> set[str]:
    """PageRank and its null, links between modules and their expected number: what an export
    computes of the atlas's edges and links (tests/web/test_graphs.py has the reference)."""
    found: set[str] = set()
    for path in sorted((web / "data" / "graph").glob("*.js")):
        graph = chunk(web, f"graph/{path.stem}")
        found |= printed(_flat(graph))
        if path.stem == "kg":  # how many there are, and PageRank over its null
            found |= printed([len(graph["a"]), len(graph["kind"])])
            ranks = zip(graph["pagerank"], graph["null_pagerank"], strict=True)
            found |= {show(rank / null, "number") for rank, null in ranks if rank and null}
        elif path.stem.startswith("flow"):  # links over those expected
            found |= {show(n / null, "number") for *_, n, null in graph["modules"] if null}
    return found


def _flat(value: Any) -> Iterable[Any]:
    """The cells of nested lists and mappings."""
    if isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _flat(part)
    elif value is not None:
        yield value


def printed(values: Iterable[Any]) -> set[str]:
    """How the program prints values: numbers in every form, and the numbers inside texts."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, str):
            found.update(numbers_in(value))
            if value.startswith("[["):  # of a map
                found |= printed(cell for row in json.loads(value) for cell in row)
        elif isinstance(value, int | float):
            for form in FORMS:
                found.update(numbers_in(show(value, form)))
            found.update((axis(value), bound(value)))
    return found


def of_atlas(path: Path) -> set[str]:
    """Every cell of every table, printed."""
    with closing(sqlite3.connect(path)) as connection:
        values = {
            cell
            for name in _tables(connection)
            for row in connection.execute(f'SELECT * FROM "{name}"')
            for cell in row
            if cell is not None
        }
        return printed(values | _from_one(connection)) | _derived(connection)


def of_feature(path: Path, identifier: int) -> set[str]:
    """What the atlas holds of one feature: its own rows, those of its partners, and the tables of
    names and layers that it refers to."""
    with closing(sqlite3.connect(path)) as connection:
        values: set[Any] = set()
        partners = {identifier}
        for name in _tables(connection):
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
            ends = [column for column in ("id", "other") if column in columns]
            if name in {"units", "thresholds", "run", "layers", "modules", "documents"}:
                rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            elif "id" not in columns:
                continue
            else:
                where = " OR ".join(f"{end} = {identifier}" for end in ends)
                rows = connection.execute(f'SELECT * FROM "{name}" WHERE {where}').fetchall()
                partners.update(row[columns.index(end)] for end in ends for row in rows)
            values.update(cell for row in rows for cell in row if cell is not None)
        asked = ", ".join(map(str, partners))
        for sql in (
            f"SELECT q, label, lineage FROM features WHERE id IN ({asked})",
            f"SELECT c.* FROM top t JOIN contexts c USING (context) WHERE t.id = {identifier}",
            f"SELECT t.name FROM annotations a JOIN terms t USING (term) WHERE a.id = {identifier}",
        ):
            values.update(c for row in connection.execute(sql) for c in row if c is not None)
        sql = f"SELECT chrom, start, end FROM top JOIN contexts USING (context) WHERE id = {identifier}"
        known = printed(values) | _derived(connection)
        for chrom, start, end in connection.execute(sql).fetchall():
            if chrom is not None:
                known |= _around(connection, chrom, start, end)
        return known


def _around(connection: sqlite3.Connection, chrom: str, start: int, end: int) -> set[str]:
    """A context's start as people count, the distance of genes from its middle in kb, and the
    motif occurrences inside."""
    found = printed([start, start + 1, end])
    middle = (start + end) // 2
    tables = _tables(connection)
    if "genes" in tables:
        near = f"chrom = '{chrom}' AND tss BETWEEN {start - 100_000} AND {end + 100_000}"
        for symbol, tss in connection.execute(f"SELECT symbol, tss FROM genes WHERE {near}"):
            found |= printed([symbol, tss]) | {f"{(tss - middle) / 1000:+.1f}"}
    if "motif_hits" in tables:
        inside = f"chrom = '{chrom}' AND start < {end} AND \"end\" > {start}"
        for hit in connection.execute(f"SELECT * FROM motif_hits WHERE {inside}"):
            found |= printed(cell for cell in hit if cell is not None)
    return found


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in names if not re.search("_fts|^sqlite_|^orders$", name)]


def _from_one(connection: sqlite3.Connection) -> set[Any]:
    """Starts of intervals as people count, from 1."""
    found = set()
    places = {"contexts": "start", "motif_hits": "start", "documents": "start", "genes": "tss"}
    for table in set(_tables(connection)) & set(places):
        name = places[table]
        rows = connection.execute(f'SELECT "{name}" FROM "{table}" WHERE "{name}" IS NOT NULL')
        found.update(start + 1 for (start,) in rows)
    return found


def _derived(connection: sqlite3.Connection) -> set[str]:
    """What pages make of the atlas's numbers, one statement each."""
    found: set[str] = set()
    for name, value in connection.execute("SELECT name, value FROM thresholds"):
        if name == "alpha":  # ablations beat this share of random features; intervals are of it
            found |= printed([1 - value, 100 * (1 - value)])
    for (decade,) in connection.execute("SELECT DISTINCT decade FROM density_histogram"):
        for edge in (10**decade, 10 ** (decade + 0.5)):  # of its bins
            found |= {f"{edge:.3g}".replace("e-0", "e-"), f"{edge:.2e}".replace("e-0", "e-")}
    for (p,) in connection.execute("SELECT p FROM features WHERE p IS NOT NULL"):
        found.add(f"{100 * (1 - p):.2f}")  # the percentile of a score in its null
    for k, n in connection.execute("SELECT continued, features FROM layer_flow WHERE features"):
        for edge in proportion_confint(k, n, method="wilson"):  # of a share
            found |= printed([float(edge)])
    if "numbers" in _tables(connection):  # in per cent, as a figure's axis has them
        for row in connection.execute('SELECT value, lo, hi, "null" FROM numbers'):
            found |= {show(100 * x, "number") for x in row if isinstance(x, float)}
    for row in connection.execute("SELECT * FROM layers"):
        found |= {show(100 * x, "number") for x in row if isinstance(x, float)}
    enriched = (
        "SELECT COUNT(DISTINCT id), l.alive FROM annotations JOIN features USING (id) "
        "JOIN layers l USING (layer), thresholds t WHERE t.name = 'alpha' AND NOT COALESCE(annotations.q, 0) >= t.value "
        "AND l.alive GROUP BY layer, kind"
    )
    for count, alive in connection.execute(enriched):  # share of alive features, of each kind
        found |= printed([count / alive]) | {show(100 * count / alive, "number")}
    if "feature_genes" in _tables(connection):
        found |= _expected(connection)
    elif "genes" in _tables(connection):
        found |= _within_reach(connection)
    same = "a.analysis = b.analysis AND a.layer IS b.layer AND a.lineage IS b.lineage AND a.x = b.x"
    for difference, *_ in connection.execute(  # of an arm and the random one at the same place
        f"SELECT a.estimate - b.estimate FROM curves a JOIN curves b ON {same} "
        "WHERE a.id IS NULL AND b.id IS NULL AND b.arm LIKE '%random%'"
    ):
        if difference is not None:
            found |= {show(abs(difference), form) for form in ("number", "signed")}
    return found | {"95", "100"}  # "95 % interval"; "within 100 kb"


def _within_reach(connection: sqlite3.Connection) -> set[str]:
    """The surroundings of each gene, 100 kb to both sides, and how many top contexts lie in them."""
    found: set[str] = set()
    inside = "c.chrom = ? AND c.start < ? AND c.end > ?"
    count = f"SELECT COUNT(*) FROM top t JOIN contexts c USING (context) WHERE {inside}"
    for chrom, tss in connection.execute("SELECT chrom, tss FROM genes").fetchall():
        start, end = max(tss - 100_000, 0), tss + 100_000
        found |= printed(
            [start + 1, end, *connection.execute(count, (chrom, end, start)).fetchone()]
        )
    return found


def _expected(connection: sqlite3.Connection) -> set[str]:
    """Features that list a gene, spread over the layers as all alive features are."""
    sizes = [n for (n,) in connection.execute("SELECT alive FROM layers WHERE alive IS NOT NULL")]
    genes = connection.execute("SELECT COUNT(DISTINCT id) FROM feature_genes GROUP BY gene")
    counts = {n for (n,) in genes}
    return {show(n * size / sum(sizes), "number") for n in counts for size in sizes}
