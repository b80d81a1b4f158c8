"""Reference: the SQLite atlas. The page's filters, search and sortings, bundled and run in node on
an exported atlas, answer as `atlas.filters` and `atlas.query` do, wrong terms word for word."""

from __future__ import annotations

import random
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from web_node import TOYS, Answered, answered
from web_queries import Grammar

from petriscope.atlas.filters import FilterError
from petriscope.atlas.query import Atlas, search
from petriscope.atlas.records import Found
from petriscope.errors import UserError

FILTERS, SEARCHES, WORDS = 1_000, 200, 400


@pytest.fixture(scope="module", params=TOYS)
def engine(
    request: pytest.FixtureRequest,
    made_once: Callable[[str, Callable[[Path], None]], Path],
) -> Answered:
    return answered(made_once, request.param, "engine", questions)


def questions(atlas: Atlas) -> dict[str, list[Any]]:
    """Filters, searches and sortings of an atlas, and misspelt words."""
    grammar = Grammar(atlas, 5)
    draw = random.Random(6)
    columns = list(atlas.columns)
    letters = ["".join(draw.choices("abcé", k=draw.randrange(9))) for _ in range(WORDS)]
    return {
        "filters": ["", " ", "\0", *(grammar.filter() for _ in range(FILTERS))],
        "searches": ["", *(grammar.search() for _ in range(SEARCHES))],
        "sorts": [[name, down] for name in (*columns, "none") for down in (False, True)],
        "words": [
            *([grammar.misspelt(), columns] for _ in range(WORDS)),
            *([word, letters[:60]] for word in letters),
            ["ab" * 120, ["ab" * 110, "ba" * 110, "a" * 230]],
        ],
    }


def told(ask: Callable[..., Any], *questions: object) -> Any:
    """The answer, or the words of the error."""
    try:
        return ask(*questions)
    except UserError as error:
        return str(error)


def test_filters_agree(engine: Answered) -> None:
    atlas = engine.atlas
    wrong, errors, found = [], 0, 0
    for text, got in zip(engine.asked["filters"], engine.answers["filters"], strict=True):
        expected = told(atlas.order, text)
        if isinstance(expected, str):
            errors += 1
        else:
            expected = expected.tolist()
            found += 0 < len(expected) < atlas.total
        if got != expected:
            wrong.append((text, expected, got))
    assert not wrong, f"{len(wrong)} differ, first {wrong[0]}"
    if atlas.total > 5:  # the texts tell something
        assert errors > 150 and found > 150, (errors, found)


def test_searches_agree(engine: Answered) -> None:
    atlas = engine.atlas
    many = 0
    for text, got in zip(engine.asked["searches"], engine.answers["searches"], strict=True):
        expected = told(search, atlas, text)
        if isinstance(expected, str):
            assert got == expected, text
            continue
        assert [Found(x["kind"], x["name"], x["features"], x["query"]) for x in got] == expected, (
            text
        )
        assert [x["href"] for x in got] == [page_of(x) for x in expected]
        many += len(expected) > 3
    assert many > 20 or atlas.total == 5


def page_of(found: Found) -> str:
    """Where a search result leads, percent-encoded as browsers do."""
    if found.kind == "label":
        return "#/features?" + urlencode({"f": found.query}, safe="*-._")
    name = quote(found.name, safe="/!~*'()")
    if found.kind in ("feature", "gene", "region"):
        return f"#/{found.kind}/{name}"
    return f"#/term/{found.kind}%3A{name}"


def test_sortings_agree(engine: Answered) -> None:
    for (name, down), got in zip(engine.asked["sorts"], engine.answers["sorts"], strict=True):
        expected = told(engine.atlas.order, "", name, down)
        assert got == (expected if name == "none" else expected.tolist()), (name, down)


def test_closest_words_are_those_of_difflib(engine: Answered) -> None:
    for (word, choices), got in zip(engine.asked["words"], engine.answers["words"], strict=True):
        assert [got] == (get_close_matches(word, choices, 1) or [None]), word


def test_the_toys_hold_what_is_hard(engine: Answered) -> None:
    """The comparison would be empty without wrong terms and gaps."""
    with pytest.raises(FilterError):
        engine.atlas.order("nocolumn:3")
    if engine.atlas.total > 5:
        assert engine.atlas.count("label!=fl") > engine.atlas.count("is:annotated") - 30
        assert 0 < engine.atlas.count("tiny<1e-50") < engine.atlas.total
