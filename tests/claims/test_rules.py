"""The ledger's rule evaluator against Python's own arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from petriscope.claims.rules import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNTESTABLE,
    as_markdown,
    evaluate,
    evaluate_rule,
    intervals,
    names,
    read_rules,
    stages_of,
)
from petriscope.errors import UserError

METRICS = {
    "a": {
        "x": 2.0,
        "none": None,
        "list": [1.0, 2.0, 3.0],
        "gap": [0.1, None, 2.0],
        "ok": True,
        "no": False,
        "text": "two",
        "said": "three",
    },
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
        ("max(a.none) < 3", False),
        ("not rises(a.none)", False),
        ("a.none * 2 < 3 or -a.none < 3", False),
        ("lowest(a.list, b.y, 1.5) == 1 and highest(a.list, b.y, 1.5) == 2", True),
        ("lowest(a.list, b.y, 0.5) > 100 and highest(a.list, b.y, 0.5) < -100", True),
        ("lowest(a.list, a.gap, 9) > 0 or highest(a.gap, a.list, 9) < 9", False),
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
        ),
        "words",
    )
    entry |= {
        "id": "c",
        "as_published": None,
        "corrected": "a.text",
        "interval": None,
        "needs": ["a.ok"],
        "controls": [{"text": "another", "metrics": ["a.x"]}],
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
        .replace("  controls:\n  - text: the gate", "  contrls:\n  - text: the gate")
    )
    with pytest.raises(UserError, match=r"claims\[1\].controls: is missing or unknown"):
        read_rules(copy)


def test_what_the_controls_measured_stands_beside_the_verdict():
    measured, silent = evaluate(
        [
            _entry(
                controls=[
                    {"text": "one", "metrics": ["a.x"], "printed": ["a.text", "a.none", "a.said"]},
                    {"text": "two", "printed": ["a.x"]},
                ]
            ),
            _entry(id="d", needs=["a.no"], controls=[{"text": "none", "metrics": ["a.no"]}]),
        ],
        METRICS,
    )
    assert (measured.control, silent.control) == ("one; printed only: two", "none")
    assert measured.control_results == "three; 2.0"
    assert silent.control_results == "-"
    assert "- controls measured: three; 2.0" in as_markdown([measured], "Claims", [])
    with pytest.raises(UserError, match=r"no stage wrote a\.absent"):
        evaluate([_entry(controls=[{"text": "x", "printed": ["a.absent"]}])], METRICS)


def test_the_names_of_a_rule_are_those_it_reads():
    rule = "above(cds.a, motifs.liver.others.q) and not sae.ok or 2 * -model.r_1 < max(cds.a)"
    assert names(rule) == ["cds.a", "motifs.liver.others.q", "sae.ok", "model.r_1"]
    with pytest.raises(UserError, match=r"claims.yaml: c: rule: cannot be parsed"):
        names("a.x >", "claims.yaml: c")
    entry = _entry(
        rule="run.x > 0.5", needs=["needs.ok"], reason="why.text", as_published="old.text",
        controls=[{"text": "t", "printed": ["printed.text"]}], corrected="new.text",
    )  # fmt: skip
    assert stages_of(entry) == ["run", "needs", "printed", "old", "new", "why"]


SHIPPED = {entry["id"]: entry for entry in read_rules(Path(__file__).parents[2] / "claims.yaml")}
CURVES = [0.1, 0.2, 0.3]


def _factors(lineage):
    """A lineage whose two factors lead, and stand low or weakly elsewhere."""
    others = {"rank": [2, 7, 5, 30], "q": [0.4, 0.01, 0.2, 1.0], "log2_fold": [1.9, 0.9, 1.8, None]}
    own = {"untestable": None, "best_rank": 1, "best_q": 1e-9, "best_log2_fold": 2.0}
    return {"motifs": {"lineages": {lineage: own | {"others": others}}}}


def _elsewhere(lineage, **changes):
    """The same where the control speaks: one factor in another lineage changes."""
    others = _factors(lineage)["motifs"]["lineages"][lineage]["others"]
    worse = {name: [value, *others[name][1:]] for name, value in changes.items()}
    return {"motifs": {"lineages": {lineage: {"others": others | worse}}}}


TRUE_WORLD = {
    "ctx-count": {
        "cds": {
            "untestable": None,
            "rise_low": 0.05,
            "stable_rise_low": 0.01,
            "context_fraction": [0.2, 0.4],
            "strata_rising": 3,
        },
        "random_init": {"untestable": None, "context_fraction": [0.1, 0.1]},
        "label_shuffle": {"untestable": None, "shuffled_fraction_high": [0.05, 0.05]},
    },
    "sae-qc": {"sae": {"gate_passed": True}},
    "ablation": {
        "ablation": {
            "untestable": None,
            "g_low": 0.4,
            "excess_low": 0.01,
            "random_percentile": 99.0,
        }
    },
    "ablation-curve": {
        "ablation": {
            "untestable": None,
            "curve_cds": CURVES,
            "curve_random": [0.05, 0.1, 0.1],
            "curve_top_activation": [0.09, 0.19, 0.2],
        }
    },
    "steering": {"steering": {"untestable": None, "excess_low": 0.02, "closure": 0.1}},
    "tf-liver": _factors("liver"),
    "tf-blood": _factors("blood"),
    "tf-lymph": _factors("lymph"),
    "chromhmm": {
        "chromhmm": {"untestable": None, "active_odds_low": 2.0, "random_significant_share": 0.04}
    },
    "gobp": {
        "genesets": {
            "untestable": None,
            "powered": True,
            "significant_groups": 3,
            "random_significant_share": 0.05,
        }
    },
    "model": {"model": {"untestable": None, "r_all": 0.7, "r_specific": 0.4}},
    "calibration": {
        "calibration": {
            "untestable": None,
            "calibrated": True,
            "fwer_worst": 0.07,
            "coverage_low": 0.94,
            "coverage_high": 0.96,
        }
    },
    "planted-truth": {"recovery": {"untestable": None, "auroc_min": 0.8}},
    "planted-fdr": {"truth": {"untestable": None, "false_discovery": 0.1}},
    "planted-power": {"truth": {"strong": {"untestable": None}, "power_strong": 0.9}},
}
KILLED = [
    ("ctx-count", 0, {"random_init": {"context_fraction": [0.1, 0.5]}}),
    ("ctx-count", 1, {"label_shuffle": {"shuffled_fraction_high": [0.3, 0.05]}}),
    ("ctx-count", 2, {"cds": {"strata_rising": 1}}),
    ("sae-qc", 0, {"sae": {"gate_passed": False}}),
    ("ablation", 0, {"ablation": {"excess_low": -0.01}}),
    ("ablation", 0, {"ablation": {"random_percentile": 80.0}}),
    ("ablation-curve", 0, {"ablation": {"curve_random": [0.05, 0.3, 0.1]}}),
    ("ablation-curve", 1, {"ablation": {"curve_top_activation": [0.2, 0.1, 0.1]}}),
    ("steering", 0, {"steering": {"excess_low": -0.01}}),
    *(
        (f"tf-{lineage}", 0, _elsewhere(lineage, **changes))
        for lineage in ("liver", "blood", "lymph")
        for changes in (
            {"rank": 5, "q": 0.01, "log2_fold": 0.1},
            {"rank": 20, "q": 0.01, "log2_fold": 1.0},
            {"rank": 20, "q": None},
            {"q": 0.01, "rank": None},
        )
    ),
    ("chromhmm", 0, {"chromhmm": {"random_significant_share": 0.06}}),
    ("chromhmm", 0, {"chromhmm": {"random_significant_share": None}}),
    ("gobp", 0, {"genesets": {"random_significant_share": 0.2}}),
    ("gobp", 1, {"genesets": {"powered": False, "untestable": "no power"}}),
    ("model", 0, {"model": {"r_specific": 0.1}}),
    ("calibration", 0, {"calibration": {"fwer_worst": 0.09}}),
    ("calibration", 0, {"calibration": {"coverage_low": 0.9}}),
    ("calibration", 0, {"calibration": {"coverage_high": 0.99}}),
    ("calibration", 0, {"calibration": {"calibrated": False}}),
    ("planted-truth", 0, {"recovery": {"auroc_min": 0.6}}),
    ("planted-fdr", 0, {"truth": {"false_discovery": 0.2}}),
]


def _verdict(claim, changes=None):
    """The verdict on the invented metrics of a true world with ``changes``; words are not read."""
    entry = SHIPPED[claim]
    wordless = dict.fromkeys(("as_published", "corrected", "interval"))
    controls = [{**control, "printed": []} for control in entry["controls"]]
    metrics = {"cds": {"alpha": 0.05}}
    for world in (TRUE_WORLD[claim], changes or {}):
        metrics = _merged(metrics, world)
    stage = entry["reason"].partition(".")[0] if entry["reason"] else "cds"
    metrics = _merged({stage: {"why_untestable": None}}, metrics)
    reason = entry["reason"] and f"{stage}.why_untestable"
    return evaluate([entry | wordless | {"controls": controls, "reason": reason}], metrics)[0]


def _merged(one, other):
    return one | {
        key: _merged(one[key], value) if isinstance(value, dict) and key in one else value
        for key, value in other.items()
    }


@pytest.mark.parametrize("claim", list(SHIPPED))
def test_the_rule_of_every_claim_reads_the_controls_that_it_names(claim):
    entry = SHIPPED[claim]
    assert entry["controls"]
    decides = {*names(entry["rule"]), *entry["needs"]}
    killed = {(name, which) for name, which, _ in KILLED}
    for which, control in enumerate(entry["controls"]):
        assert set(control.get("metrics", [])) <= decides, control["text"]
        if control.get("metrics"):
            assert (claim, which) in killed, f"no world that this kills: {control['text']}"
        else:
            assert control["printed"], control["text"]


@pytest.mark.parametrize("claim", list(SHIPPED))
def test_a_true_world_supports_every_claim(claim):
    assert _verdict(claim).verdict == SUPPORTED


@pytest.mark.parametrize(("claim", "control", "changes"), KILLED)
def test_a_control_that_fails_kills_the_claim(claim, control, changes):
    assert _verdict(claim, changes).verdict in (NOT_SUPPORTED, UNTESTABLE)
    assert (_verdict(claim, changes).verdict == UNTESTABLE) is ("powered" in str(changes))


def test_rules_follow_the_alpha_of_the_run():
    strict = {"cds": {"alpha": 0.01}}
    for claim in ("chromhmm", "gobp", "calibration", "planted-fdr"):
        assert _verdict(claim, strict).verdict == NOT_SUPPORTED, claim
    weak = {"motifs": {"lineages": {"liver": {"best_q": 0.03}}}}
    assert _verdict("tf-liver", weak).verdict == SUPPORTED
    assert _verdict("tf-liver", weak | strict).verdict == NOT_SUPPORTED


def test_a_named_control_that_no_rule_reads_is_refused(tmp_path):
    """As tf-liver was: the text names the other lineages, the rule reads its own rank and q."""
    shipped = (Path(__file__).parents[2] / "claims.yaml").read_text()
    rule = SHIPPED["tf-liver"]["rule"]
    blind = "motifs.lineages.liver.best_rank <= 5 and motifs.lineages.liver.best_q < 0.05"
    (tmp_path / "claims.yaml").write_text(shipped.replace(rule, blind))
    with pytest.raises(
        UserError, match=r"controls\[0\].metrics: names motifs.lineages.liver.others.rank"
    ):
        read_rules(tmp_path / "claims.yaml")
    bare = yaml.safe_load(shipped)
    del bare["claims"][1]["controls"][1]["printed"]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(bare))
    with pytest.raises(UserError, match=r"claims\[1\].controls\[1\]: is not a control"):
        read_rules(tmp_path / "claims.yaml")


def test_intervals_are_the_pairs_that_a_claim_prints_or_decides_by() -> None:
    entry = {
        "interval": "{{ a.x_low | number }}; {{ b.rows | each('{name} {gc_low}') | join }}; {{ a.n }}",
        "rule": "a.y_low > 0 and a.alone_low > 0 and c.rise > 0",
    }
    metrics = {
        "a": {"x_low": 1, "x_high": 2.5, "y_low": -1.0, "y_high": None, "alone_low": 0.0, "n": 3},
        "b": {"rows": [{"name": "p", "gc_low": 0.1, "gc_high": 0.2}, {"name": "q"}]},
        "c": {"rise": 1.0, "rise_low": 0.5, "rise_high": 1.5},
    }
    assert intervals(entry, metrics) == {"a.x": [1.0, 2.5], "b.rows[0].gc": [0.1, 0.2]}
    metrics["a"]["y_high"] = 4
    assert intervals(entry, metrics)["a.y"] == [-1.0, 4.0]
