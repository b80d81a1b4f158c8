"""Reference: the SQLite atlas. What the pages of features, genes, terms and regions read from an
exported atlas, bundled and run in node, is what `atlas.query` answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import web_toy
from web_node import TOYS, Answered, answered

from petriscope.atlas.filters import parse_region
from petriscope.atlas.query import Atlas
from petriscope.enrich.kinds import SCORED

EVERYTHING = 1_000_000


@pytest.fixture(scope="module", params=TOYS)
def pages(
    request: pytest.FixtureRequest,
    made_once: Callable[[str, Callable[[Path], None]], Path],
) -> Answered:
    return answered(made_once, request.param, "evidence", questions)


def questions(atlas: Atlas) -> dict[str, list[Any]]:
    """Features that are there and one that is not, steps through orders, places, names."""
    draw = random.Random(3)
    ids = list(atlas.order())
    columns = [name for name in atlas.columns if name in atlas.filled]
    filters = ["", "layer:0", "density>.05", "is:alive"]
    steps = [
        [draw.choice(ids), draw.choice(filters), draw.choice(["", *columns]), draw.random() < 0.5]
        for _ in range(80)
    ]
    places = [draw.randrange(1, 1_000_000) for _ in range(40)]
    terms = atlas.select("SELECT kind, name FROM terms WHERE kind <> 'gene' ORDER BY term")
    return {
        "features": [*ids[:: max(len(ids) // 40, 1)], 99_000_001],
        "steps": [*steps, [ids[0], "", "", False], [ids[-1], "", "", False]],
        "regions": [
            f"{draw.choice(('chr1', 'chr22', 'scaffold_1'))}:{at}-{at + draw.choice((0, 500, 200_000))}"
            for at in places
        ],
        "genes": [*web_toy.GENES, "apoB", "NOBODY"],
        "terms": [*(f"{kind}:{name}" for kind, name in terms), "motif:NOBODY", "nothing", "go:"],
    }


def near(value: float | None) -> Any:
    """Stored numbers are rounded to six digits."""
    return None if value is None else pytest.approx(value, rel=1e-5)


def test_features_agree(pages: Answered) -> None:
    atlas = pages.atlas
    for identifier, got in zip(pages.asked["features"], pages.answers["features"], strict=True):
        if not atlas.has(identifier):
            assert "There is no feature L99/1 in this atlas" in got
            continue
        assert got["id"] == identifier
        for kind, rows in got["annotations"].items():
            expected = atlas.annotations(identifier, kind)
            assert [(a["term"], a["scope"]) for a in rows] == [(a.term, a.scope) for a in expected]
            alpha, scored = atlas.thresholds.alpha, kind in {k.name for k in SCORED}
            assert [a["enriched"] for a in rows] == [
                scored if a.q is None else a.q < alpha for a in expected
            ]


def test_steps_agree(pages: Answered) -> None:
    atlas, inside = pages.atlas, 0
    for (identifier, text, sort, down), got in zip(
        pages.asked["steps"], pages.answers["steps"], strict=True
    ):
        order = list(atlas.order(text, sort or "layer", down))
        held = identifier in order
        place = order.index(identifier) + 1 if held else None
        if not held:
            order = list(atlas.order())
        at = order.index(identifier)
        assert got == {
            "before": order[at - 1] if at else None,
            "after": order[at + 1] if at + 1 < len(order) else None,
            "place": place,
            "of": len(order),
        }, (identifier, text, sort, down)
        inside += held and bool(text)
    assert inside > 10 or atlas.total == 5


def test_regions_agree(pages: Answered) -> None:
    atlas, found = pages.atlas, 0
    for text, got in zip(pages.asked["regions"], pages.answers["regions"], strict=True):
        region = parse_region(text)
        assert region is not None
        expected = [
            (c.id, c.unit.name, c.chrom, c.start, c.end, c.activation)
            for c in atlas.region(region, EVERYTHING)
        ]
        assert [row[5] for row in got] == sorted((row[5] for row in got), reverse=True)
        for mine, theirs in zip(sorted(map(tuple, got)), sorted(expected), strict=True):
            assert mine == (*theirs[:5], near(theirs[5]))
        found += bool(expected)
    assert found > 5 or not atlas.select("SELECT 1 FROM contexts WHERE chrom IS NOT NULL LIMIT 1")


def test_genes_agree(pages: Answered) -> None:
    atlas, listed = pages.atlas, 0
    for text, got in zip(pages.asked["genes"], pages.answers["genes"], strict=True):
        sites, lists = atlas.gene(text), atlas.listing(text, EVERYTHING)
        assert (got is None) == (not sites and not lists), text
        if got is None:
            continue
        known = sorted((s["chrom"], s["tss"], s["strand"]) for s in got["sites"])
        assert known == sorted((s.chrom, s.tss, s.strand) for s in sites)
        one = got["listed"]
        assert (one is None) == (not lists)
        if one:
            assert list(zip(one["row"], one["rank"], one["fires"], one["tokens"])) == [
                (x.id, x.rank, x.fires, x.tokens) for x in lists
            ]
            assert one["value"] == [near(x.value) for x in lists]
            listed += 1
    assert listed > 3 or "feature_genes" not in atlas.tables


def test_terms_agree(pages: Answered) -> None:
    atlas, enriched = pages.atlas, 0
    for text, got in zip(pages.asked["terms"], pages.answers["terms"], strict=True):
        kind, _, name = text.partition(":")
        expected = atlas.enriched(kind, name, EVERYTHING)
        if not atlas.select("SELECT 1 FROM terms WHERE kind = ? AND name = ?", (kind, name)):
            assert got is None, text
            continue
        assert got["name"] == name
        assert (got["post"] is None) == (not expected)
        if not expected:
            continue
        post = got["post"]
        assert list(zip(post["row"], post["scope"])) == [(x.id, x.scope) for x in expected]
        assert post["estimate"] == [near(x.estimate) for x in expected]
        assert post["q"] == [near(x.q) for x in expected]
        enriched += 1
    assert enriched > 20 or not atlas.kinds
