"""The ledger's text of study dna: what every rule must hold, whatever the numbers."""

from __future__ import annotations

import ast

import pytest

from petriscope.claims.rules import evaluate_rule, read_rules
from petriscope.run.workspace import template
from petriscope.studies.dna.study import STUDY

RULES = read_rules(template("claims.yaml", STUDY))


@pytest.mark.parametrize("entry", RULES, ids=[entry["id"] for entry in RULES])
def test_random_weights_support_no_claim(entry: dict[str, object]) -> None:
    """Either the claim cannot be tested on a model that learned nothing, or its rule is false
    there whatever else holds."""
    if "model" in entry["needs"]:  # type: ignore[operator]
        return
    rule = ast.parse(str(entry["rule"]), mode="eval").body
    assert isinstance(rule, ast.BoolOp) and isinstance(rule.op, ast.And)
    assert ast.unparse(rule.values[0]) == "model.learned"
    first = ast.unparse(rule.values[0])
    assert not evaluate_rule(f"{first} and 1 > 0", {"model": {"learned": False}})
