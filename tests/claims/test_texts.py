"""Sentences of the ledger against strings written by hand, and what a template may not do."""

from __future__ import annotations

import pytest

from petriscope.claims.rules import UNTESTABLE, evaluate, stages_of
from petriscope.claims.texts import names, render
from petriscope.errors import UserError

METRICS = {
    "cut": {
        "layer": 2,
        "g": -1.9449,
        "p": 5.5e-225,
        "share": 0.0123,
        "none": None,
        "curve": [1.33, 2.3, None],
        "others": [0.5, 1.0, 2.0],
        "low": {"blood": -0.003, "liver": -0.091},
        "closure": {"blood": 0.01, "liver": -0.0291},
        "values": [3, 1, 2],
        "factors": [
            {"name": "SPI1", "rank": 1, "q": 4.5e-235},
            {"name": "Runx1", "rank": 2, "q": None},
        ],
        "nested": {"text": "words"},
    }
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("cut.nested.text", "words"),
        ("cut.none", "-"),
        ("layer {{ cut.layer }}: g {{ cut.g | number('.2f') }}", "layer 2: g -1.94"),
        ("p {{ cut.p | p }}, {{ cut.share | percent(1) }}", "p 5.5e-225, 1.2%"),
        ("{{ cut.share | percent }}", "1%"),
        ("{{ cut.curve | each('{:.3g}') | join(' -> ') }}", "1.33 -> 2.3 -> -"),
        ("{{ cut.curve | each('{:.3g} of {}', cut.others) | join(' ') }}", "1.33 of 0.5 2.3 of 1.0 - of 2.0"),
        ("{{ cut.closure | each('{} {:+.3f} [{:+.3f}]', cut.low) | join }}", "blood +0.010 [-0.003]; liver -0.029 [-0.091]"),
        ("{{ cut.factors | each('{name}: rank {rank}, q {q:.1e}') | join }}", "SPI1: rank 1, q 4.5e-235; Runx1: rank 2, q -"),
        ("{{ cut.values | join(', ') }} & <b>", "3, 1, 2 & <b>"),
        ("{{ cut.values | max }}", "3"),
        ("kept {{ cut.none | number('.2f') | dash }}", "kept -"),
        ("lost {{ cut.none | number('.2f') }}", "-"),
        ("{% if cut.none is none %}not drawn{% else %}{{ cut.none | percent }}{% endif %}", "not drawn"),
        ("{% for x in cut.values %}{{ x }}{{ '; ' if not loop.last }}{% endfor %}", "3; 1; 2"),
        ("{% for name, value in cut.low | items %}{{ name }} {{ value }} {% endfor %}", "blood -0.003 liver -0.091 "),
    ],
)  # fmt: skip
def test_a_text_is_the_sentence_with_its_numbers(template, text):
    assert render(template, METRICS) == text


def test_the_names_that_a_text_reads_are_those_of_metrics_only():
    template = "{% for x in cut.values %}{{ x.y }} {{ sae.dead[0] }}{% endfor %} {{ cds.a.b | each('{x.y}', sae.z) }}"
    assert names(template) == ["cut.values", "sae.dead", "cds.a.b", "sae.z"]
    assert names("cut.nested.text") == ["cut.nested.text"]
    assert names("plain words, no numbers") == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ cut.absent | number }}", "no stage wrote cut.absent"),
        ("{% if false %}{{ other.g }}{% endif %}", "no stage wrote other.g"),
        ("{% for f in cut.factors %}{{ f.fold }}{% endfor %}", "has no attribute 'fold'"),
        ("{{ cut.g | nonsense }}", "o filter named 'nonsense'"),
        ("{{ cut.g", "is no template"),
        ("{{ cut.nested.text | number('.2f') }}", "Unknown format code 'f'"),
        ("{{ cut.curve | each('{0.real}') }}", "neither a place nor a name"),
        ("{{ cut.curve | each('{} {}') }}", "{1} stands for nothing"),
        ("{{ cut.low.__class__ }}", "no stage wrote cut.low.__class__"),
        ("{{ cut['low'].items() }}", "has no attribute 'items'"),
    ],
)
def test_a_mistake_names_file_claim_field_and_what_is_missing(template, message):
    with pytest.raises(UserError) as error:
        render(template, METRICS, "claims.yaml: ablation", "corrected")
    told = str(error.value)
    assert message in told and "claims.yaml: ablation" in told and "corrected" in told


def _entry(**changes):
    words = ("source", "statement", "published", "definition_published", "definition_corrected")
    entry = dict.fromkeys(words, "words") | {"id": "c", "rule": "a.g > 1"}
    entry |= {"as_published": "g {{ a.old }}", "corrected": "g {{ a.g }}", "interval": None}
    controls = [{"text": "b", "printed": ["n {{ b.n }}", "corrected"]}]
    return entry | {"needs": ["a"], "reason": None, "controls": controls} | changes


@pytest.mark.parametrize(("old", "text"), [(3, "g 3"), (None, "-")])
def test_what_a_stage_calls_untestable_is_the_reason(old, text):
    metrics = {"a": {"untestable": "one donor", "g": None, "old": old}, "b": {"n": None}}
    (claim,) = evaluate([_entry()], metrics)
    assert (claim.verdict, claim.why) == (UNTESTABLE, "one donor")
    assert (claim.as_published, claim.corrected, claim.control_results) == (text, "-", "-")
    metrics["a"] |= {"untestable": None, "g": 2}
    (claim,) = evaluate([_entry()], metrics)
    assert (claim.verdict, claim.corrected) == ("supported", "g 2")
    nested = {"a": {"one": {"untestable": "no motif"}, "g": 2, "old": 1}, "b": {"n": 4}}
    (claim,) = evaluate([_entry(needs=["a.one"])], nested)
    assert (claim.why, claim.control_results) == ("no motif", "n 4")
    with pytest.raises(UserError, match=r"no stage wrote b\.untestable"):
        evaluate([_entry(needs=["b"])], nested)


def test_the_ledger_names_the_claim_and_field_of_a_text_that_fails():
    with pytest.raises(
        UserError, match=r"rules.yaml: c: controls\[0\].printed: no stage wrote b\.n"
    ):
        evaluate([_entry(needs=[])], {"a": {"g": 2, "old": 1}, "b": {}}, "rules.yaml")


def test_the_stages_that_a_claim_reads_are_those_of_its_templates_too():
    entry = _entry(interval="{{ c.low | number }} of {{ a.g }}", reason="d.why")
    assert stages_of(entry) == ["a", "b", "c", "d"]
