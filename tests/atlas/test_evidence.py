"""Reference: the requirements read off the values by hand."""

from __future__ import annotations

import pytest

from petriscope.atlas.evidence import checks
from petriscope.atlas.records import Feature, LineageEffect
from petriscope.atlas.schema import Declared, Thresholds

WORDS = Declared(stratum="length class", reference="unbound", target="bound")
NOTHING = dict.fromkeys(("density", "alive", "q", "direction", "stability", "causal_percentile"))


def feature(ts=(), **values):
    nothing = [None] * (len(LineageEffect._fields) - 2)
    effects = [LineageEffect(f"s{i}", t, *nothing) for i, t in enumerate(ts)]
    return Feature(1, {**NOTHING, **values}, effects, [], [], {}, [], [])


def test_each_check_holds_at_the_run_s_own_threshold():
    good = feature(
        (2.0, 3.0, -1.0),
        density=0.002,
        alive=1,
        q=0.0999,
        direction="bound",
        stability=0.6,
        causal_percentile=0.9,
    )
    found = checks(good, Thresholds(0.1, 0.6), WORDS)
    assert [c.holds for c in found] == [True] * 5
    assert [c.found for c in found] == ["0.20 %", "0.100", "2 of 3", "0.600", "90.0 %"]
    assert [c.null for c in found] == [
        "the fewest firing tokens that a comparison takes (cds.min_events)",
        "q < .1 over all alive features, layers and length classes",
        "half of the length classes or more agree by chance",
        "a decoder cosine of .6 with the best match of other seeds",
        "90 % of matched random features",
    ]


def test_the_same_values_fail_where_the_run_asked_more():
    values = {"alive": 0, "q": 0.05, "direction": "unbound", "stability": 0.69}
    weak = feature((2.0, -1.0), **values, causal_percentile=0.9499)
    found = checks(weak, Thresholds(0.05, 0.7), WORDS)
    assert [c.holds for c in found] == [False] * 5
    assert found[2].found == "1 of 2"


@pytest.mark.parametrize("ts", [(), (2.0,)])
def test_what_was_not_measured_neither_holds_nor_fails(ts):
    found = checks(feature(ts), Thresholds(0.05, 0.7), WORDS)
    assert [c.holds for c in found] == [None] * 5
    assert all(c.null for c in found)
