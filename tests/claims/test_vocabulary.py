"""A verdict has the same word in the ledger, the atlas, the terminal UI and every JSON file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from petriscope.atlas.schema import TABLES
from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE, VERDICTS
from petriscope_tui.theme import DARK

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_shipped_ledger_says_the_words() -> None:
    claims = json.loads((REPOSITORY / "paper_figures/claims.json").read_text(encoding="utf-8"))
    assert {claim["verdict"] for claim in claims["claims"]} <= set(VERDICTS)


def test_the_atlas_and_the_colors_take_them_from_the_rules() -> None:
    (column,) = [c for c in TABLES["claims"] if c.name == "verdict"]
    assert all(word in column.text for word in VERDICTS)
    colors = [DARK.verdict(word) for word in (SUPPORTED, NOT_SUPPORTED, UNTESTABLE)]
    assert colors == [DARK.supported, DARK.not_supported, DARK.untestable]


def test_no_other_word_for_a_verdict_in_the_code() -> None:
    other = re.compile(
        r"undecided|[\"']not_supported[\"']|[\"']cannot be tested on this data set[\"']"
    )
    places = [
        f"{path.relative_to(REPOSITORY)}: {found.group()}"
        for folder in ("src", "tui", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*.py")
        if (found := other.search(path.read_text(encoding="utf-8")))
    ]
    assert places == []
