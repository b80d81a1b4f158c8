"""The verdict on "the model holds minimal regulatory logic", which can fall either way.

"Minimal" is a claim that something is not there, and a test that could not have found it supports
nothing. It is supported only where a planted regulon is found with power .8 at this number of
cells, the expression data themselves show known regulons, and the model does not show them: the
features that respond to knock-downs are specific for no more TFs than a randomly initialized
model's (whose codes change because its input does), and what the model predicts for a knock-down
agrees with the observed change no better than with those of other TFs. Where the model exceeds
either null, the claim is not supported, whatever the power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as st

from petriscope.contrast.results import adjust
from petriscope.studies.cells.regulons import POWER, Specific


@dataclass(frozen=True)
class Regulation:
    """One model's evidence."""

    power: float | None
    """of finding the largest planted regulon; None where none could be planted"""
    ceiling: int
    """regulons that the expression data show"""
    specific: int
    """TFs whose responding features are those of their regulon"""
    random_specific: int | None
    """the same of the randomly initialized model; None where it did not run"""
    specific_p: float | None
    """exact one-sided McNemar: more TFs in the trained model than in the random one"""
    agreement_p: float | None
    """D against the swap null; None where too few TFs were knocked down"""
    alpha: float

    @property
    def responds(self) -> bool:
        """Whether B exceeds its nulls."""
        return self.specific > 0 and self.specific_p is not None and self.specific_p < self.alpha

    @property
    def predicts(self) -> bool:
        """Whether D exceeds its null."""
        return self.agreement_p is not None and self.agreement_p < self.alpha

    @property
    def exceeds(self) -> bool:
        """Whether the model shows regulatory logic by either."""
        return self.responds or self.predicts

    @property
    def untestable(self) -> str | None:
        """Why the absence of regulatory logic would mean nothing; None where it would, or where
        the model shows it."""
        why: str | None = None
        if self.exceeds:
            return None
        if self.power is None or self.power < POWER:
            found = "none could be planted" if self.power is None else f"power {self.power:.2f}"
            why = f"a planted regulon is not found with power {POWER:g} at this n ({found})"
        elif self.ceiling < 1:
            why = "the expression data themselves show no known regulon: no model can be blamed"
        elif self.random_specific is None and self.specific > 0:
            why = (
                "responding features are specific, and no randomly initialized model says whether "
                "their input alone makes them so"
            )
        elif self.agreement_p is None:
            why = "too few TFs could be knocked down in silico"
        return why

    @property
    def minimal(self) -> bool:
        """Whether the claim is supported for this model."""
        return not self.exceeds and self.untestable is None


@dataclass(frozen=True)
class Verdict:
    """Over the models that ran."""

    untestable: str | None
    """why no model can be judged"""
    reasons: dict[str, str]
    """model to why it cannot be"""
    judged: int
    """models that can"""
    exceeding: int
    """of these, those that show regulatory logic"""


def verdict(models: Mapping[str, Regulation]) -> Verdict:
    """The claim is about every model that can be judged; the others are named."""
    reasons = {name: one.untestable for name, one in models.items() if one.untestable}
    judged = len(models) - len(reasons)
    why = None
    if not judged:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        why = why or "no model was probed"
    exceeding = sum(one.exceeds for one in models.values())
    return Verdict(why, {k: str(v) for k, v in reasons.items()}, judged, exceeding)


def specific_names(found: Sequence[Specific], alpha: float) -> set[str]:
    """TFs with q below alpha."""
    q = adjust(np.array([one.p for one in found]), "bh") if found else np.zeros(0)
    return {one.name for one, value in zip(found, q) if value < alpha}


def more_specific(trained: Sequence[Specific], random: Sequence[Specific], alpha: float) -> float:
    """One-sided exact p that more TFs are specific in ``trained`` than in ``random``, over TFs that
    both tested."""
    both = {one.name for one in trained} & {one.name for one in random}
    mine, other = (specific_names(found, alpha) & both for found in (trained, random))
    gained, lost = len(mine - other), len(other - mine)
    if not gained + lost:
        return 1.0
    return float(st.binom.sf(gained - 1, gained + lost, 0.5))
