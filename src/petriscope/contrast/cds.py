"""The Context Divergence Score is computed as published (mean difference over windows) and
corrected (contrastive t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from petriscope.contrast.design import Design, Level, Words
from petriscope.contrast.evidence import (
    CombinedEvidence,
    StratumEvidence,
    Variance,
    combine_loci,
    locus_evidence,
    unit_test,
)
from petriscope.contrast.inference import PermutationP, conjunction, one_sample, sign_flip, union
from petriscope.contrast.results import ContrastResult, Family, adjust_all, untested
from petriscope.errors import UserError
from petriscope.sae.moments import Moments

FINEST = 5e-4
"""A permutation p that can be at least this small is the p of record; coarser ones stand beside the
t's."""


@dataclass(frozen=True)
class CdsT:
    """The corrected score: one result per stratum, their signed combination, their conjunction and
    their union."""

    strata: dict[str, ContrastResult]
    combined: ContrastResult
    conjunction: ContrastResult
    """every stratum differs: the largest p."""
    union: ContrastResult
    """some stratum differs, in whichever direction: the smallest p, Šidák-corrected for the
    strata."""
    permutation: PermutationP | None
    """of the combined statistic; None where no stratum can be tested. Its ``null_max`` serves maxT
    over layers."""

    def frame(self) -> pd.DataFrame:
        """All results one below the other."""
        results = [*self.strata.values(), self.combined, self.conjunction, self.union]
        return pd.concat([result.frame() for result in results], ignore_index=True)


def cds_meandiff(
    window_means: np.ndarray,
    design: Design,
    *,
    permutations: int = 10_000,
    seed: int = 0,
    pairing: Literal["first", "pooled"] = "first",
    chunk: int = 1024,
) -> ContrastResult:
    """Published score: CDS_f = mean over strata of mean_w(z_target - z_reference), run as its
    authors did.

    ``window_means`` (W, S, m): mean activation per window and unit. ``pairing``: the first
    unit of each condition stands for a stratum (as published), or the mean of all. One sign per
    window is flipped for all strata; strata without one of the conditions are left out. p =
    #{|null| >= |observed|}/N, which can be zero; Bonferroni over all m latents, dead ones included.
    Anti-conservative by construction: windows of one unit are not replicates of a condition.
    """
    windows, units, m = window_means.shape
    design.check(units)
    differences, per_stratum = np.zeros((windows, m)), {}
    reasons = {stratum: design.why_untestable(stratum, "locus") for stratum in design.strata}
    usable = [stratum for stratum in design.strata if reasons[stratum] is None]
    if not usable:
        what = "; ".join(str(reason) for reason in reasons.values())
        remedy = f"The published score needs one {design.words.stratum} with both contexts."
        raise UserError(what, file=design.words.units, remedy=remedy)
    for stratum in usable:
        reference, target = design.sides(stratum)
        if pairing == "first":
            reference, target = reference[:1], target[:1]
        difference = window_means[:, target].mean(1, dtype=np.float64) - window_means[
            :, reference
        ].mean(1, dtype=np.float64)
        if not np.isfinite(difference).all():
            raise UserError(
                f"window means of {design.words.stratum} {stratum} hold NaN or Inf",
                remedy="Harvest activations again.",
            )
        differences += difference / len(usable)
        per_stratum[stratum] = difference.mean(0)
    estimate = differences.mean(0)
    low, high = one_sample(differences).interval()
    p = np.empty(m)
    for start in range(0, m, chunk):
        columns = slice(start, start + chunk)
        null = sign_flip(differences[:, columns], permutations, seed, studentise=False)
        p[columns] = null.p if null.exact else np.rint(null.p * (null.n + 1) - 1) / null.n
    direction = np.sign(np.stack(list(per_stratum.values()))).sum(0)
    return ContrastResult(
        method=f"mean difference, {pairing} {design.words.unit} pair; sign-flip over windows, "
        "p = #/N (published)",
        level="window",
        scope="combined",
        n={"windows": windows, design.words.strata: len(usable)},
        family=Family(f"all {m} latents, dead ones included", m),
        features=np.arange(m),
        estimate=estimate,
        low=low,
        high=high,
        interval="95 % by t over windows as if independent (published form)",
        statistic=estimate,
        p=p,
        adjusted=adjust_all(p),
        extra={f"cds_{stratum}": values for stratum, values in per_stratum.items()}
        | {"sign_consistent": np.abs(direction) == len(usable)},
    )


def cds_t(
    moments: Moments,
    design: Design,
    *,
    level: Level = "unit",
    variance: Variance = "moderated",
    min_events: float = 0.0,
    permutations: int = 10_000,
    seed: int = 0,
    where: str = "",
) -> CdsT:
    """Corrected score: a t per stratum over independent units, combined by signed Stouffer and by
    conjunction.

    *unit* level: per-unit means; contrasts of one linear model with a mean per stratum
    and context, the design's covariates and a moderated variance that follows mean
    activation, or Welch's t stratum by stratum. It speaks of new units. *locus* level: per-block
    differences, t = mean(d_B)/(sd(d_B)/sqrt(n_B)); strata share blocks, so Stouffer accounts for
    their correlation. It speaks of new loci of the same units. Features that fire on fewer
    than ``min_events`` tokens of a unit are outside the family and the result; where none
    fires as often, nothing can be tested, and the (empty) results say so. The combined p is the
    permutation p where relabellings resolve it to 0.0005 (three strata of three against three
    units do): it needs exchangeable units alone, while the moderated t also takes
    features for independent, which a common donor factor breaks. Otherwise it is Stouffer's; the
    columns p_stouffer and p_permutation hold both. ``where`` names the data in the family's text.
    Strata that cannot be tested say so and are left out of the combination. Permutations relabel
    units within strata, or flip the signs of blocks.
    """
    moments.check()
    design.check(moments.sum.shape[1])
    features = np.flatnonzero(moments.alive(min_events))
    alive = moments.features(features)
    evidence: dict[str, StratumEvidence] = {}
    combined, silent = None, None
    if not len(features):
        method, units, silent = (
            "none",
            "",
            f"no feature fires on {max(min_events, 1):g} tokens of a {design.words.unit}",
        )
    elif level == "unit":
        means = alive.unit_means()
        evidence, combined = unit_test(
            means, design, variance, permutations=permutations, seed=seed
        )
        method = "Welch t" if variance == "welch" else "moderated t"
        units = design.words.units
        if combined and combined.adjusted:
            method += f" adjusted for {', '.join(combined.adjusted)}"
    else:
        evidence = locus_evidence(alive.block_means(), design, design.strata)
        combined = combine_loci(evidence, permutations, seed) if evidence else None
        method, units = "paired t over blocks", "blocks"
    words = f"{where + ', ' if where else ''}{len(features)} alive features"
    label = _Label(method, units, level, features, words, design.words)
    strata = _per_stratum(evidence, alive, design, label, silent)
    if combined is None:
        reasons = [str(result.reason) for result in strata.values()]
        reason = "; ".join(dict.fromkeys(reasons))
        estimate = np.stack([result.estimate for result in strata.values()]).mean(0)
        return CdsT(
            strata,
            _untested(reason, label, "combined", estimate),
            _untested(reason, label, "conjunction", estimate),
            _untested(reason, label, "union", estimate),
            None,
        )
    return CdsT(
        strata,
        _combined(evidence, combined, label),
        _extreme(evidence, combined, label, "conjunction"),
        _extreme(evidence, combined, label, "union"),
        combined.permutation,
    )


@dataclass(frozen=True)
class _Label:
    """What all results of one call share."""

    method: str
    units: str
    level: Level
    features: np.ndarray
    family_words: str
    words: Words

    @property
    def level_name(self) -> str:
        """The level, as the table of units calls it."""
        return self.words.unit if self.level == "unit" else self.level

    def family(self, strata: int = 1) -> Family:
        what = self.family_words
        text = f"{what} x {strata} {self.words.strata}" if strata > 1 else what
        return Family(text, len(self.features) * strata)


def _untested(
    reason: str, label: _Label, scope: str, estimate: np.ndarray, n: dict[str, int] | None = None
) -> ContrastResult:
    return untested(
        reason,
        method=label.method,
        level=label.level_name,
        scope=scope,
        n=n or {},
        family=label.family(),
        features=label.features,
        estimate=estimate,
    )


def _per_stratum(
    evidence: dict[str, StratumEvidence],
    alive: Moments,
    design: Design,
    label: _Label,
    why_none: str | None,
) -> dict[str, ContrastResult]:
    adjusted = adjust_all(np.stack([line.test.p for line in evidence.values()])) if evidence else {}
    rows = {stratum: row for row, stratum in enumerate(evidence)}
    results = {}
    for stratum in design.strata:
        if stratum not in evidence:
            reason = (
                why_none
                or design.why_untestable(stratum, label.level)
                or f"fewer than two blocks hold tokens of all {design.words.units}"
            )
            reference, target = design.sides(stratum)
            n = design.counts(stratum)
            if min(n.values()):
                means = alive.unit_means()
                estimate = means[target].mean(0) - means[reference].mean(0)
            else:
                estimate = np.full(len(label.features), np.nan)
            results[stratum] = _untested(reason, label, stratum, estimate, n)
            continue
        line = evidence[stratum]
        low, high = line.test.interval()
        results[stratum] = ContrastResult(
            method=label.method,
            level=label.level_name,
            scope=stratum,
            n=line.n,
            units=sum(line.n.values()),
            family=label.family(len(evidence)),
            features=label.features,
            estimate=line.test.estimate,
            low=low,
            high=high,
            interval=f"95 % by t over {label.units}",
            statistic=line.test.t,
            p=line.test.p,
            adjusted={name: values[rows[stratum]] for name, values in adjusted.items()},
            extra={"df": line.test.df},
        )
    return results


def _combined(
    evidence: dict[str, StratumEvidence], combined: CombinedEvidence, label: _Label
) -> ContrastResult:
    stouffer_p = 2 * special.ndtr(-np.abs(combined.z))
    low, high = combined.mean.interval()
    null = combined.permutation
    by_permutation = max(2 / combined.resolution, 1 / (null.n + 1)) <= FINEST
    p = null.p if by_permutation else stouffer_p
    if label.level == "locus":
        relabelled = "signs of blocks flipped"
    elif combined.adjusted:
        relabelled = f"residuals of {label.words.stratum} and covariates rotated"
    else:
        relabelled = f"{label.words.units} within {label.words.strata} relabelled"
    return ContrastResult(
        method=f"signed Stouffer of {label.method}, p by "
        f"{'permutation' if by_permutation else 'the normal'}; "
        f"{null.n} permutations ({'all' if null.exact else 'drawn'}), {relabelled}",
        level=label.level_name,
        scope="combined",
        n=_total(evidence, label),
        covariates=combined.adjusted,
        units=_units(evidence),
        family=label.family(),
        features=label.features,
        estimate=combined.mean.estimate,
        low=low,
        high=high,
        interval=f"95 % by t over {label.units}, mean of {label.words.strata}",
        statistic=combined.z,
        p=p,
        adjusted=adjust_all(p) | {"maxt": null.max_t},
        extra={
            "p_stouffer": stouffer_p,
            "p_permutation": null.p,
            "sign_consistent": _consistent(evidence),
        },
    )


def _extreme(
    evidence: dict[str, StratumEvidence],
    combined: CombinedEvidence,
    label: _Label,
    scope: Literal["conjunction", "union"],
) -> ContrastResult:
    """The stratum with the largest p (all differ) or the smallest (some differs)."""
    each = np.stack([line.test.p for line in evidence.values()])
    z = np.stack([line.test.z() for line in evidence.values()])
    if scope == "conjunction":
        p, row, what = conjunction(each), np.abs(z).argmin(0), "largest p"
    else:
        p, row, what = union(each), np.abs(z).argmax(0), "smallest p"
    corrected = ", Šidák" if scope == "union" else ""
    low, high = combined.mean.interval()
    return ContrastResult(
        method=f"{scope} of {label.method}: {what} over {label.words.strata}{corrected}",
        level=label.level_name,
        scope=scope,
        n=_total(evidence, label),
        units=_units(evidence),
        family=label.family(),
        features=label.features,
        estimate=combined.mean.estimate,
        low=low,
        high=high,
        interval=f"95 % by t over {label.units}, mean of {label.words.strata}",
        statistic=np.take_along_axis(z, row[None], axis=0)[0],
        p=p,
        adjusted=adjust_all(p),
        extra={"sign_consistent": _consistent(evidence)},
    )


def _total(evidence: dict[str, StratumEvidence], label: _Label) -> dict[str, int]:
    lines = list(evidence.values())
    n = (
        {name: sum(line.n[name] for line in lines) for name in lines[0].n}
        if "blocks" not in lines[0].n
        else lines[0].n
    )
    return {**n, label.words.strata: len(lines)}


def _units(evidence: dict[str, StratumEvidence]) -> int:
    """Units of all strata, or the blocks that they share."""
    lines = list(evidence.values())
    shared = "blocks" in lines[0].n
    return sum(lines[0].n.values()) if shared else sum(sum(line.n.values()) for line in lines)


def _consistent(evidence: dict[str, StratumEvidence]) -> np.ndarray:
    """(m,) bool: the difference has the same sign in every tested stratum (chance for three
    strata: 25 %)."""
    direction = np.sign(np.stack([line.test.estimate for line in evidence.values()]))
    return np.abs(direction.sum(0)) == len(direction)
