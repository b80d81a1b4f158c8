"""The ledger's rule evaluator against Python's own arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from petriscope.claims.rules import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNTESTABLE,
    as_markdown,
    evaluate,
    evaluate_rule,
    read_rules,
)
from petriscope.errors import UserError

METRICS = {
    "a": {"x": 2.0, "none": None, "list": [1.0, 2.0, 3.0], "ok": True, "no": False, "text": "two"},
    "b": {"y": [0.5, 1.0, 2.0]},
}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("a.x > 1 and a.x <= 2", True),
        ("a.x > 1 and not a.ok", False),
        ("a.x * 2 - 1 == 3", True),
        ("-a.x < -1.5", True),
        ("rises(a.list) and above(a.list, b.y)", True),
        ("above(b.y, a.list)", False),
        ("min(a.list) >= 1 and max(a.list) < 3", False),
        ("len(a.list) == 3 or a.no", True),
        ("a.none < 1", False),
        ("a.none >= 0", False),
        ("rises(a.none)", False),
    ],
)
def test_rules_are_arithmetic_and_a_missing_value_supports_nothing(rule, holds):
    assert evaluate_rule(rule, METRICS) is holds


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("__import__('os').system('true')", "not allowed in a rule"),
        ("a.x > ", "cannot be parsed"),
        ("a.z > 1", "no stage wrote a.z"),
        ("open(a.x)", "not allowed in a rule"),
        ("1 < a.x < 3", "not allowed in a rule"),
    ],
)
def test_anything_else_is_refused(rule, message):
    with pytest.raises(UserError, match=message):
        evaluate_rule(rule, METRICS)


def _entry(**changes):
    entry = dict.fromkeys(
        (
            "source",
            "statement",
            "published",
            "definition_published",
            "definition_corrected",
            "control",
        ),
        "words",
    )
    entry |= {
        "id": "c",
        "as_published": None,
        "corrected": "a.text",
        "interval": None,
        "needs": ["a.ok"],
        "control_results": [],
    }
    return entry | {"reason": "a.text", "rule": "a.x > 1"} | changes


def test_verdicts():
    rules = [_entry(), _entry(rule="a.x > 5"), _entry(needs=["a.no"])]
    claims = evaluate(rules, METRICS)
    assert [claim.verdict for claim in claims] == [SUPPORTED, NOT_SUPPORTED, UNTESTABLE]
    assert claims[2].why == "two"
    page = as_markdown(claims, "Ledger", ["a note"])
    assert page.count(f"**{NOT_SUPPORTED}**") == 1 and "- a note" in page


def test_shipped_ledger_is_complete_and_a_wrong_field_is_named(tmp_path):
    shipped = Path(__file__).resolve().parents[2] / "claims.yaml"
    ids = [entry["id"] for entry in read_rules(shipped)]
    wanted = [
        "ctx-count",
        "sae-qc",
        "ablation",
        "ablation-curve",
        "steering",
        "tf-liver",
        "tf-blood",
        "tf-lymph",
        "chromhmm",
        "gobp",
    ]
    assert [i for i in ids if i in wanted] == wanted
    copy = tmp_path / "claims.yaml"
    copy.write_text(
        shipped.read_text()
        .replace("  verdict", "")
        .replace("  control: the gate", "  contrl: the gate")
    )
    with pytest.raises(UserError, match=r"claims\[1\].control: is missing or unknown"):
        read_rules(copy)


def test_what_the_controls_measured_stands_beside_the_verdict():
    measured, silent = evaluate(
        [_entry(control_results=["a.text", "a.none", "a.x"]), _entry(id="d", needs=["a.no"])],
        METRICS,
    )
    assert measured.control_results == "two; 2.0"
    assert silent.control_results == "-"
    assert "- controls measured: two; 2.0" in as_markdown([measured], "Claims", [])
    with pytest.raises(UserError, match=r"no stage wrote a\.absent"):
        evaluate([_entry(control_results=["a.absent"])], METRICS)
