"""The atlas's filter language, ``layer>=4 cds_q<.01 lineage:liver motif:HNF4A``, is compiled to
parameterized SQL; a region of the genome is read as people type it (standard library only).

Terms are separated by spaces and all must hold; ``-`` before a term negates it; commas inside a
value mean "any of".

| term | meaning |
|---|---|
| ``q<.01`` ``layer:3..5`` ``layer:2,4`` | comparison, closed range, any of (``%``: hundredths) |
| ``lineage:liver`` ``label=GATA1`` | text contains / equals, ignoring case |
| ``motif:HNF4A`` ``go:lipid`` ``state:Tss`` | enriched at q < alpha for a term with that text |
| ``concept:exon`` ``track:H3K27ac`` | its best concepts, its tracks (maxT p < alpha) |
| ``gene:APOB`` ``chr22:37,500,000-37,600,000`` | a top bin within 100 kb of a TSS / in there |
| ``gene:CDK1`` ``celltype:monocyte`` | where features list genes: those that list it / tell it |
| ``is:alive`` ``is:context`` ... | alive, dead, context (q < alpha), stable, causal, ... |
| ``L6/1234`` or any other word | that feature / label or enriched term contains the word |

Alpha, and what counts as stable and causal, are the run's own (`schema.Thresholds`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from petriscope.atlas.schema import Column, Thresholds, parse_feature
from petriscope.enrich.kinds import KINDS
from petriscope.errors import UserError

MIN_SHIFT = 14
DEPTH = 5
MAX_END = 1 << (MIN_SHIFT + 3 * DEPTH)
_REGION = re.compile(r"([A-Za-z][\w.]*):(\d[\d,_]*)(?:(?:-|\.\.|–)(\d[\d,_]*))?")


class Region(NamedTuple):
    """A half-open, 0-based interval."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        """The browser's form: 1-based, both ends included."""
        return f"{self.chrom}:{self.start + 1:,}-{self.end:,}"


def parse_region(text: str) -> Region | None:
    """``chr22:37,500,000-37,600,000`` (1-based, inclusive; one position alone is allowed), or None
    if it is not one.

    Raises UserError where it has the form of a region but its end precedes its start or lies beyond
    512 Mb.
    """
    match = _REGION.fullmatch(text.strip())
    if not match:
        return None
    first = int(re.sub("[,_]", "", match[2]))
    last = int(re.sub("[,_]", "", match[3])) if match[3] else first
    if first < 1 or last < first or last > MAX_END:
        raise UserError(
            f"region {text!r} is empty or out of range", remedy="Write chr22:37,500,000-37,600,000"
        )
    return Region(match[1], first - 1, last)


def bin_of(start: int, end: int) -> int:
    """Number of the smallest bin that holds [start, end): the BAI scheme (SAM specification,
    section 5.3)."""
    last = max(end - 1, start)
    for level in range(DEPTH, 0, -1):
        shift = MIN_SHIFT + 3 * (DEPTH - level)
        if start >> shift == last >> shift:
            return ((1 << 3 * level) - 1) // 7 + (start >> shift)
    return 0


def bin_ranges(start: int, end: int) -> list[tuple[int, int]]:
    """Inclusive ranges of bin numbers, one per level, that can hold intervals overlapping [start,
    end)."""
    last = max(end - 1, start)
    ranges = [(0, 0)]
    for level in range(1, DEPTH + 1):
        shift = MIN_SHIFT + 3 * (DEPTH - level)
        offset = ((1 << 3 * level) - 1) // 7
        ranges.append((offset + (start >> shift), offset + (last >> shift)))
    return ranges


GENE_REACH = 100_000
ALIASES = {
    "cds_q": "q",
    "cds_p": "p",
    "g": "effect",
    "context": "direction",
    "mean": "mean_activation",
    "units": "n_units",
}
TERM_KINDS = {word: kind.name for kind in KINDS for word in kind.filters}
FLAGS = {
    "alive": ("alive = 1",),
    "dead": ("alive = 0",),
    "context": ("q < ?", "alpha"),
    "stable": ("stability >= ?", "stable"),
    "causal": ("causal_percentile >= ?", "causal"),
    "annotated": ("label IS NOT NULL",),
    "vivo": ("direction = 'in_vivo'",),
    "vitro": ("direction = 'in_vitro'",),
}
"""Of each flag the SQL and the names of the thresholds it asks for."""
_TERM = re.compile(r'-?(?:[^\s"]|"[^"]*"?)+')
_COMPARISON = re.compile(r"([A-Za-z_]\w*)(>=|<=|!=|==|>|<|=|:)(.*)", re.DOTALL)


class FilterError(UserError):
    """A term of the filter that means nothing; the message names it and what was probably meant."""


class Clause(NamedTuple):
    """A WHERE expression over ``features`` and its parameters."""

    sql: str
    values: tuple[object, ...]


def compile_filter(
    text: str,
    columns: Mapping[str, Column],
    thresholds: Thresholds,
    tables: Collection[str] = ("genes",),
) -> Clause:
    """The WHERE clause of ``text``; an empty filter is ``1``. ``tables`` are those of
    ``schema.OPTIONAL`` that the file holds. Raises FilterError naming the offending term."""
    clauses = [
        _term(term, columns, thresholds, tables) for term in _TERM.findall(text.replace("\0", " "))
    ]
    if not clauses:
        return Clause("1", ())
    return Clause(
        " AND ".join(f"({c.sql})" for c in clauses), tuple(v for c in clauses for v in c.values)
    )


def region_clause(region: Region) -> Clause:
    """Features with a top context that overlaps ``region``."""
    place = overlap_clause(region)
    return Clause(
        "id IN (SELECT id FROM top WHERE context IN"
        f" (SELECT context FROM contexts WHERE {place.sql}))",
        place.values,
    )


def overlap_clause(region: Region) -> Clause:
    """Rows of an indexed interval table (chrom, start, end, gbin) that overlap ``region``."""
    ranges = bin_ranges(region.start, region.end)
    bins = " OR ".join("gbin BETWEEN ? AND ?" for _ in ranges)
    values = (region.chrom, *(bound for pair in ranges for bound in pair), region.end, region.start)
    return Clause(f'chrom = ? AND ({bins}) AND start < ? AND "end" > ?', values)


def _term(
    term: str, columns: Mapping[str, Column], thresholds: Thresholds, tables: Collection[str]
) -> Clause:
    if term.startswith("-") and len(term) > 1:
        inner = _term(term[1:], columns, thresholds, tables)
        return Clause(f"NOT COALESCE(({inner.sql}), 0)", inner.values)
    region = parse_region(term) if term.lower().startswith("chr") else None
    if region:
        return region_clause(region)
    feature = parse_feature(term)
    if feature is not None:
        return Clause("id = ?", (feature,))
    match = _COMPARISON.fullmatch(term)
    if not match:
        return _word(term.replace('"', ""), thresholds.alpha)
    name, operator, value = match[1].lower(), match[2], match[3]
    name = ALIASES.get(name, name)
    if not value.replace('"', ""):
        raise FilterError(f"filter term {term!r} has no value")
    if name == "is":
        return _flag(term, value, thresholds)
    if name in TERM_KINDS:
        return _any(value, lambda text: _annotated(TERM_KINDS[name], text, thresholds.alpha))
    if name == "gene":
        return _any(value, lambda symbol: _gene(symbol, tables))
    if name == "celltype" and "celltypes" in tables:
        return _any(value, lambda text: _of_cell_type(text, thresholds.alpha))
    if name == "region":
        region = parse_region(value.replace('"', ""))
        if not region:
            raise FilterError(
                f"{value!r} is not a region", remedy="Write region:chr22:37,500,000-37,600,000"
            )
        return region_clause(region)
    if name not in columns:
        near = get_close_matches(name, [*columns, *ALIASES, *TERM_KINDS, "gene", "is", "region"], 1)
        remedy = f"Did you mean {near[0]}?" if near else "Press ? for the columns and terms"
        raise FilterError(f"filter term {term!r}: no column {name}", remedy=remedy)
    column = columns[name]
    if column.kind == "text":
        return _text(term, name, operator, value)
    return _numeric(term, name, operator, value)


def _numeric(term: str, name: str, operator: str, value: str) -> Clause:
    if operator in (":", "=", "=="):
        if ".." in value:
            low, _, high = value.partition("..")
            return Clause(f'"{name}" BETWEEN ? AND ?', (_number(term, low), _number(term, high)))
        choices = [_number(term, item) for item in value.split(",") if item]
        return Clause(f'"{name}" IN ({", ".join("?" * len(choices))})', tuple(choices))
    return Clause(f'"{name}" {operator} ?', (_number(term, value),))


def _number(term: str, text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise FilterError(
            f"filter term {term!r}: {text!r} is not a number", remedy="Write for example q<.01"
        ) from None


def _text(term: str, name: str, operator: str, value: str) -> Clause:
    if operator == ":" and name == "label":
        return _any(value, _labelled)
    if operator == ":":
        return _any(value, lambda text: Clause(f"\"{name}\" LIKE ? ESCAPE '\\'", (_like(text),)))
    if operator in ("=", "=="):
        return _any(value, lambda text: Clause(f'"{name}" = ? COLLATE NOCASE', (text,)))
    if operator == "!=":
        return Clause(
            f'"{name}" IS NULL OR "{name}" <> ? COLLATE NOCASE', (value.replace('"', ""),)
        )
    raise FilterError(f"filter term {term!r}: {name} is text", remedy=f"Write {name}:{value}")


def _labelled(text: str) -> Clause:
    if len(text) < 3 or "*" in text:
        return Clause("label LIKE ? ESCAPE '\\'", (_like(text),))
    phrase = '"' + text + '"'
    return Clause("id IN (SELECT rowid FROM labels_fts WHERE labels_fts MATCH ?)", (phrase,))


def _flag(term: str, value: str, thresholds: Thresholds) -> Clause:
    if value not in FLAGS:
        near = get_close_matches(value, FLAGS, 1)
        raise FilterError(
            f"filter term {term!r}: unknown flag",
            remedy=f"Use is:{near[0]}" if near else "One of " + ", ".join(FLAGS),
        )
    sql, *names = FLAGS[value]
    return Clause(sql, tuple(getattr(thresholds, name) for name in names))


def _annotated(kind: str, text: str, alpha: float) -> Clause:
    return Clause(
        "id IN (SELECT id FROM annotations WHERE NOT COALESCE(q, 0) >= ? AND term IN"
        " (SELECT term FROM terms WHERE kind = ? AND name LIKE ? ESCAPE '\\'))",
        (alpha, kind, _like(text)),
    )


def _near_gene(symbol: str) -> Clause:
    return Clause(
        "id IN (SELECT t.id FROM genes g CROSS JOIN contexts b ON b.chrom = g.chrom AND b.start < "
        "g.tss + ?"
        ' AND b."end" > g.tss - ?'
        " CROSS JOIN top t ON t.context = b.context WHERE g.symbol = ?)",
        (GENE_REACH, GENE_REACH, symbol),
    )


def _gene(symbol: str, tables: Collection[str]) -> Clause:
    """Features whose gene list holds it; without lists, those with a top bin near it."""
    if "feature_genes" not in tables:
        return _near_gene(symbol) if "genes" in tables else Clause("0", ())
    return Clause(
        "id IN (SELECT g.id FROM terms t JOIN feature_genes g ON g.gene = t.term"
        " WHERE t.kind = 'gene' AND t.name = ? COLLATE NOCASE)",
        (symbol,),
    )


def _of_cell_type(text: str, alpha: float) -> Clause:
    """Features that are higher in a cell type."""
    return Clause(
        "id IN (SELECT id FROM celltypes WHERE q < ? AND effect > 0"
        " AND cell_type LIKE ? ESCAPE '\\')",
        (alpha, _like(text)),
    )


def _word(text: str, alpha: float) -> Clause:
    """Label or enriched term contains the word; words too short for the trigram index match the
    start of the label."""
    if len(text) < 3:
        return Clause("label BETWEEN ? AND ?", (text, text + "\U0010ffff"))
    phrase = '"' + text.replace('"', '""') + '"'
    return Clause(
        "id IN (SELECT rowid FROM labels_fts WHERE labels_fts MATCH ? UNION ALL SELECT id FROM "
        "annotations"
        " WHERE NOT COALESCE(q, 0) >= ? AND term IN"
        " (SELECT t.term FROM terms_fts f JOIN terms t ON t.term = f.rowid WHERE terms_fts MATCH "
        "?))",
        (phrase, alpha, phrase),
    )


def _any(value: str, one: Callable[[str], Clause]) -> Clause:
    """The clause of any of the comma-separated items of ``value``; quotes keep commas."""
    items = [value.replace('"', "")] if '"' in value else value.split(",")
    clauses = [one(item) for item in items if item]
    if not clauses:
        raise FilterError(f"{value!r} names nothing")
    return Clause(" OR ".join(c.sql for c in clauses), tuple(v for c in clauses for v in c.values))


def _like(text: str) -> str:
    escaped = re.sub(r"([%_\\])", r"\\\1", text).replace("*", "%")
    return f"%{escaped}%"
