"""The Context Divergence Score, as published (mean difference over windows) and corrected
(contrastive t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from petriscope.contrast.evidence import (
    CombinedEvidence,
    Level,
    LineageEvidence,
    Variance,
    biosample_test,
    combine_loci,
    locus_evidence,
)
from petriscope.contrast.inference import conjunction, one_sample, union
from petriscope.contrast.moments import Design, Moments
from petriscope.contrast.multiplicity import Family, adjust_all
from petriscope.contrast.permutation import PermutationP, sign_flip
from petriscope.contrast.results import ContrastResult, untested
from petriscope.errors import UserError

FINEST = 5e-4
"""A permutation p that can be at least this small is the p of record; coarser ones stand beside the
t's."""


@dataclass(frozen=True)
class CdsT:
    """The corrected score: one result per lineage, their signed combination, their conjunction and
    their union."""

    lineages: dict[str, ContrastResult]
    combined: ContrastResult
    conjunction: ContrastResult
    """every lineage differs: the largest p."""
    union: ContrastResult
    """some lineage differs, in whichever direction: the smallest p, Šidák-corrected for the
    lineages."""
    permutation: PermutationP | None
    """of the combined statistic; None where no lineage can be tested. Its ``null_max`` serves maxT
    over layers."""

    def frame(self) -> pd.DataFrame:
        """All results one below the other."""
        results = [*self.lineages.values(), self.combined, self.conjunction, self.union]
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
    """Published score: CDS_f = mean over lineages of mean_w(z_vivo - z_vitro), as its authors ran
    it.

    ``window_means`` (W, S, m): mean activation per window and biosample. ``pairing``: the first
    biosample of each context stands for a lineage (as published), or the mean of all. One sign per
    window is flipped for all lineages; Lineages without one of the contexts are left out. p =
    #{|null| >= |observed|}/N, which can be zero; Bonferroni over all m latents, dead ones included.
    Anti-conservative by construction: windows of one biosample are not replicates of a context.
    """
    windows, biosamples, m = window_means.shape
    design.check(biosamples)
    differences, per_lineage = np.zeros((windows, m)), {}
    reasons = {lineage: design.why_untestable(lineage, "locus") for lineage in design.lineages}
    usable = [lineage for lineage in design.lineages if reasons[lineage] is None]
    if not usable:
        what = "; ".join(str(reason) for reason in reasons.values())
        remedy = "The published score needs one lineage with both contexts."
        raise UserError(what, file="biosamples", remedy=remedy)
    for lineage in usable:
        vitro, vivo = design.sides(lineage)
        if pairing == "first":
            vitro, vivo = vitro[:1], vivo[:1]
        difference = window_means[:, vivo].mean(1, dtype=np.float64) - window_means[:, vitro].mean(
            1, dtype=np.float64
        )
        if not np.isfinite(difference).all():
            raise UserError(
                f"window means of lineage {lineage} hold NaN or Inf",
                remedy="Harvest activations again.",
            )
        differences += difference / len(usable)
        per_lineage[lineage] = difference.mean(0)
    estimate = differences.mean(0)
    low, high = one_sample(differences).interval()
    p = np.empty(m)
    for start in range(0, m, chunk):
        columns = slice(start, start + chunk)
        null = sign_flip(differences[:, columns], permutations, seed, studentise=False)
        p[columns] = null.p if null.exact else np.rint(null.p * (null.n + 1) - 1) / null.n
    direction = np.sign(np.stack(list(per_lineage.values()))).sum(0)
    return ContrastResult(
        method=f"mean difference, {pairing} biosample pair; sign-flip over windows, p = #/N "
        f"(published)",
        level="window",
        scope="combined",
        n={"windows": windows, "lineages": len(usable)},
        family=Family(f"all {m} latents, dead ones included", m),
        features=np.arange(m),
        estimate=estimate,
        low=low,
        high=high,
        interval="95 % by t over windows as if independent (published form)",
        statistic=estimate,
        p=p,
        adjusted=adjust_all(p),
        extra={f"cds_{lineage}": values for lineage, values in per_lineage.items()}
        | {"sign_consistent": np.abs(direction) == len(usable)},
    )


def cds_t(
    moments: Moments,
    design: Design,
    *,
    level: Level = "biosample",
    variance: Variance = "moderated",
    min_events: float = 0.0,
    permutations: int = 10_000,
    seed: int = 0,
    where: str = "",
) -> CdsT:
    """Corrected score: a t per lineage over independent units, combined by signed Stouffer and by
    conjunction.

    *biosample* level: per-biosample means; contrasts of one linear model with a mean per lineage
    and context, the design's covariates (depth, FRiP) and a moderated variance that follows mean
    activation, or Welch's t lineage by lineage. It speaks of new donors. *locus* level: per-block
    differences, t = mean(d_B)/(sd(d_B)/sqrt(n_B)); lineages share blocks, so Stouffer accounts for
    their correlation. It speaks of new loci of the same biosamples. Features that fire on fewer
    than ``min_events`` tokens of a biosample are outside the family and the result; where none
    fires as often, nothing can be tested, and the (empty) results say so. The combined p is the
    permutation p where relabellings resolve it to 0.0005 (three lineages of three against three
    biosamples do): it needs exchangeable biosamples alone, while the moderated t also takes
    features for independent, which a common donor factor breaks. Otherwise it is Stouffer's; the
    columns p_stouffer and p_permutation hold both. ``where`` names the data in the family's text.
    Lineages that cannot be tested say so and are left out of the combination. Permutations relabel
    biosamples within lineages, or flip the signs of blocks.
    """
    moments.check()
    design.check(moments.sum.shape[1])
    features = np.flatnonzero(moments.alive(min_events))
    alive = moments.features(features)
    evidence: dict[str, LineageEvidence] = {}
    combined, silent = None, None
    if not len(features):
        method, units, silent = (
            "none",
            "",
            f"no feature fires on {max(min_events, 1):g} tokens of a biosample",
        )
    elif level == "biosample":
        means = alive.biosample_means()
        evidence, combined = biosample_test(
            means, design, variance, permutations=permutations, seed=seed
        )
        method, units = ("Welch t" if variance == "welch" else "moderated t"), "biosamples"
        if combined and combined.adjusted:
            method += f" adjusted for {', '.join(combined.adjusted)}"
    else:
        evidence = locus_evidence(alive.block_means(), design, design.lineages)
        combined = combine_loci(evidence, permutations, seed) if evidence else None
        method, units = "paired t over blocks", "blocks"
    words = f"{where + ', ' if where else ''}{len(features)} alive features"
    label = _Label(method, units, level, features, words)
    lineages = _per_lineage(evidence, alive, design, label, silent)
    if combined is None:
        reasons = [str(result.reason) for result in lineages.values()]
        reason = "; ".join(dict.fromkeys(reasons))
        estimate = np.stack([result.estimate for result in lineages.values()]).mean(0)
        return CdsT(
            lineages,
            _untested(reason, label, "combined", estimate),
            _untested(reason, label, "conjunction", estimate),
            _untested(reason, label, "union", estimate),
            None,
        )
    return CdsT(
        lineages,
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
    words: str

    def family(self, lineages: int = 1) -> Family:
        text = f"{self.words} x {lineages} lineages" if lineages > 1 else self.words
        return Family(text, len(self.features) * lineages)


def _untested(
    reason: str, label: _Label, scope: str, estimate: np.ndarray, n: dict[str, int] | None = None
) -> ContrastResult:
    return untested(
        reason,
        method=label.method,
        level=label.level,
        scope=scope,
        n=n or {},
        family=label.family(),
        features=label.features,
        estimate=estimate,
    )


def _per_lineage(
    evidence: dict[str, LineageEvidence],
    alive: Moments,
    design: Design,
    label: _Label,
    why_none: str | None,
) -> dict[str, ContrastResult]:
    adjusted = adjust_all(np.stack([line.test.p for line in evidence.values()])) if evidence else {}
    rows = {lineage: row for row, lineage in enumerate(evidence)}
    results = {}
    for lineage in design.lineages:
        if lineage not in evidence:
            reason = (
                why_none
                or design.why_untestable(lineage, label.level)
                or "fewer than two blocks hold tokens of all biosamples"
            )
            vitro, vivo = design.sides(lineage)
            n = {"in_vitro": len(vitro), "in_vivo": len(vivo)}
            if min(n.values()):
                means = alive.biosample_means()
                estimate = means[vivo].mean(0) - means[vitro].mean(0)
            else:
                estimate = np.full(len(label.features), np.nan)
            results[lineage] = _untested(reason, label, lineage, estimate, n)
            continue
        line = evidence[lineage]
        low, high = line.test.interval()
        results[lineage] = ContrastResult(
            method=label.method,
            level=label.level,
            scope=lineage,
            n=line.n,
            family=label.family(len(evidence)),
            features=label.features,
            estimate=line.test.estimate,
            low=low,
            high=high,
            interval=f"95 % by t over {label.units}",
            statistic=line.test.t,
            p=line.test.p,
            adjusted={name: values[rows[lineage]] for name, values in adjusted.items()},
            extra={"df": line.test.df},
        )
    return results


def _combined(
    evidence: dict[str, LineageEvidence], combined: CombinedEvidence, label: _Label
) -> ContrastResult:
    stouffer_p = 2 * special.ndtr(-np.abs(combined.z))
    low, high = combined.mean.interval()
    null = combined.permutation
    by_permutation = max(2 / combined.resolution, 1 / (null.n + 1)) <= FINEST
    p = null.p if by_permutation else stouffer_p
    if label.level == "locus":
        relabelled = "signs of blocks flipped"
    elif combined.adjusted:
        relabelled = "residuals of lineage and covariates rotated"
    else:
        relabelled = "biosamples within lineages relabelled"
    return ContrastResult(
        method=f"signed Stouffer of {label.method}, p by "
        f"{'permutation' if by_permutation else 'the normal'}; "
        f"{null.n} permutations ({'all' if null.exact else 'drawn'}), {relabelled}",
        level=label.level,
        scope="combined",
        n=_total(evidence),
        family=label.family(),
        features=label.features,
        estimate=combined.mean.estimate,
        low=low,
        high=high,
        interval=f"95 % by t over {label.units}, mean of lineages",
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
    evidence: dict[str, LineageEvidence],
    combined: CombinedEvidence,
    label: _Label,
    scope: Literal["conjunction", "union"],
) -> ContrastResult:
    """The lineage with the largest p (all differ) or the smallest (some differs)."""
    each = np.stack([line.test.p for line in evidence.values()])
    z = np.stack([line.test.z() for line in evidence.values()])
    if scope == "conjunction":
        p, row, what = conjunction(each), np.abs(z).argmin(0), "largest p over lineages"
    else:
        p, row, what = union(each), np.abs(z).argmax(0), "smallest p over lineages, Šidák"
    low, high = combined.mean.interval()
    return ContrastResult(
        method=f"{scope} of {label.method}: {what}",
        level=label.level,
        scope=scope,
        n=_total(evidence),
        family=label.family(),
        features=label.features,
        estimate=combined.mean.estimate,
        low=low,
        high=high,
        interval=f"95 % by t over {label.units}, mean of lineages",
        statistic=np.take_along_axis(z, row[None], axis=0)[0],
        p=p,
        adjusted=adjust_all(p),
        extra={"sign_consistent": _consistent(evidence)},
    )


def _total(evidence: dict[str, LineageEvidence]) -> dict[str, int]:
    lines = list(evidence.values())
    n = (
        {name: sum(line.n[name] for line in lines) for name in lines[0].n}
        if "blocks" not in lines[0].n
        else lines[0].n
    )
    return {**n, "lineages": len(lines)}


def _consistent(evidence: dict[str, LineageEvidence]) -> np.ndarray:
    """(m,) bool: the difference has the same sign in every tested lineage (chance for three
    lineages: 25 %)."""
    direction = np.sign(np.stack([line.test.estimate for line in evidence.values()]))
    return np.abs(direction.sum(0)) == len(direction)
