"""What a feature should meet before one believes it: five checks, each beside what it is compared
with (standard library only: the terminal and the web page show the same)."""

from __future__ import annotations

from typing import NamedTuple

from petriscope.atlas.records import Feature
from petriscope.atlas.schema import Declared, Thresholds
from petriscope.atlas.show import bound, plural, show


class Check(NamedTuple):
    """One requirement: what it asks, what was found, whether it holds (None: not measured), and
    what the found number is compared with."""

    ask: str
    found: str
    holds: bool | None
    null: str


def checks(feature: Feature, thresholds: Thresholds, words: Declared) -> list[Check]:
    """Five requirements a context feature should meet at the run's own thresholds."""
    v = feature.values
    strata = plural(words.stratum)
    signs = [e.t > 0 for e in feature.lineages if e.t is not None]
    same = sum(s == (v["direction"] == words.target) for s in signs)
    return [
        Check(
            "fires often enough to compare",
            show(v["density"], "share"),
            None if v["alive"] is None else bool(v["alive"]),
            "the fewest firing tokens that a comparison takes (cds.min_events)",
        ),
        Check(
            f"q < {bound(thresholds.alpha)}",
            show(v["q"], "p"),
            None if v["q"] is None else v["q"] < thresholds.alpha,
            f"q < {bound(thresholds.alpha)} over all alive features, layers and {strata}",
        ),
        Check(
            f"same direction in 2 {strata} or more",
            f"{same} of {len(signs)}" if signs else "·",
            same >= 2 if len(signs) >= 2 and v["direction"] else None,
            # The direction is the sign of the strata's sum, so chance gives half or more.
            f"half of the {strata} or more agree by chance",
        ),
        Check(
            f"found again by other seeds (≥ {bound(thresholds.stable)})",
            show(v["stability"], "number"),
            _at_least(v["stability"], thresholds.stable),
            f"a decoder cosine of {bound(thresholds.stable)} with the best match of other seeds",
        ),
        Check(
            f"ablation beats {100 * thresholds.causal:g} % of random",
            show(v["causal_percentile"], "share"),
            _at_least(v["causal_percentile"], thresholds.causal),
            f"{100 * thresholds.causal:g} % of matched random features",
        ),
    ]


def _at_least(value: float | None, bound: float) -> bool | None:
    return None if value is None else value >= bound
