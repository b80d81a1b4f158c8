"""What a feature should meet before one believes it: five checks, each beside what it is compared
with (standard library only: the terminal and the web page show the same)."""

from __future__ import annotations

from functools import cache
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
    signs = [e.t > 0 for e in feature.lineages if e.t is not None]
    same = sum(s == (v["direction"] == words.target) for s in signs)
    found = (
        (show(v["density"], "share"), None if v["alive"] is None else bool(v["alive"])),
        (show(v["q"], "p"), None if v["q"] is None else v["q"] < thresholds.alpha),
        (
            f"{same} of {len(signs)}" if signs else "·",
            same >= 2 if len(signs) >= 2 and v["direction"] else None,
        ),
        (show(v["stability"], "number"), _at_least(v["stability"], thresholds.stable)),
        (
            show(v["causal_percentile"], "share"),
            _at_least(v["causal_percentile"], thresholds.causal),
        ),
    )
    asked = _asked(thresholds, plural(words.stratum))
    return [Check(ask, told, holds, null) for (ask, null), (told, holds) in zip(asked, found)]


@cache
def _asked(thresholds: Thresholds, strata: str) -> tuple[tuple[str, str], ...]:
    """What each check asks, and what it compares with."""
    alpha, stable = bound(thresholds.alpha), bound(thresholds.stable)
    causal = f"{100 * thresholds.causal:g} %"
    return (
        (
            "fires often enough to compare",
            "the fewest firing tokens that a comparison takes (cds.min_events)",
        ),
        (f"q < {alpha}", f"q < {alpha} over all alive features, layers and {strata}"),
        (
            f"same direction in 2 {strata} or more",
            # The direction is the sign of the strata's sum, so chance gives half or more.
            f"half of the {strata} or more agree by chance",
        ),
        (
            f"found again by other seeds (≥ {stable})",
            f"a decoder cosine of {stable} with the best match of other seeds",
        ),
        (f"ablation beats {causal} of random", f"{causal} of matched random features"),
    )


def _at_least(value: float | None, bound: float) -> bool | None:
    return None if value is None else value >= bound
