"""The independent units of a contrast, one test per stratum from them, and what all strata say
together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from petriscope.contrast.design import Design
from petriscope.contrast.inference import TTest, one_sample, pool, stouffer, welch
from petriscope.contrast.linear import Layout, fit, layout, permute, relabellings
from petriscope.contrast.permutation import PermutationP, sign_flip, stratified_labels

Variance = Literal["moderated", "welch"]


class StratumEvidence(NamedTuple):
    """What one stratum says."""

    test: TTest
    n: dict[str, int]
    units: np.ndarray
    """Its units' values: unit means (n0 + n1, m), reference first, or block differences (B,
    m)."""


class CombinedEvidence(NamedTuple):
    """What all testable strata say together."""

    mean: TTest
    """mean difference over strata, for its interval."""
    z: np.ndarray
    """(m,) signed Stouffer score."""
    permutation: PermutationP
    resolution: int
    """distinct relabellings there are; the permutation p means little where they are few."""
    adjusted: tuple[str, ...]
    """technical covariates that were adjusted for."""


def usable_strata(design: Design, least: int = 2) -> tuple[str, ...]:
    """Strata with ``least`` units a side (and three in all, without which nothing
    varies)."""
    sizes = {stratum: [len(side) for side in design.sides(stratum)] for stratum in design.strata}
    return tuple(x for x in design.strata if min(sizes[x]) >= least and sum(sizes[x]) >= 3)


def unit_evidence(
    means: np.ndarray, design: Design, variance: Variance, strata: tuple[str, ...]
) -> dict[str, StratumEvidence]:
    """One test per stratum that has two units a side. ``means`` (S, m).

    Moderated: contrasts of one linear model over all those strata (`linear.fit`). Welch: each
    stratum by itself, covariates ignored.
    """
    usable = tuple(x for x in strata if x in usable_strata(design))
    return _lines(means, design, variance, usable) if usable else {}


def _lines(
    means: np.ndarray, design: Design, variance: Variance, strata: tuple[str, ...]
) -> dict[str, StratumEvidence]:
    tests = fit(means, layout(design, strata)).strata if variance == "moderated" else {}
    found = {}
    for stratum in strata:
        reference, target = design.sides(stratum)
        test = tests[stratum] if variance == "moderated" else welch(means[target], means[reference])
        n = design.counts(stratum)
        found[stratum] = StratumEvidence(test, n, means[np.concatenate([reference, target])])
    return found


def unit_test(
    means: np.ndarray,
    design: Design,
    variance: Variance,
    *,
    permutations: int,
    seed: int,
    least: int = 2,
) -> tuple[dict[str, StratumEvidence], CombinedEvidence | None]:
    """Every stratum with ``least`` units a side, and their combination (None where there is
    none).

    Strata have units of their own. Moderated scores share one variance, which
    `Layout.direction` accounts for; Welch scores are independent.
    """
    strata = usable_strata(design, least)
    if not strata:
        return {}, None
    lines = _lines(means, design, variance, strata)
    shape: Layout = layout(design, strata)
    if variance == "moderated":
        fitted = fit(means, shape)
        null = permute(means, shape, fitted, permutations, seed)
        together = CombinedEvidence(
            fitted.mean, fitted.combined.z(), null, relabellings(shape), adjusted=shape.adjusted
        )
        return lines, together
    values = [np.split(line.units, [line.n[design.words.reference]]) for line in lines.values()]
    null = stratified_labels(
        lambda a, b: welch(a, b).z(), [(a, b) for a, b in values], permutations, seed
    )
    z = np.stack([line.test.z() for line in lines.values()])
    mean = pool([line.test for line in lines.values()])
    return lines, CombinedEvidence(mean, stouffer(z), null, relabellings(shape), adjusted=())


def locus_evidence(
    block_means: np.ndarray, design: Design, strata: tuple[str, ...]
) -> dict[str, StratumEvidence]:
    """One paired test over blocks per stratum: d_B = mean target minus mean reference.
    ``block_means`` (B, S, m).

    Blocks that lack tokens of any unit are left out for all strata.
    """
    whole = np.isfinite(block_means).all((1, 2))
    block_means = block_means[whole]
    found = {}
    for stratum in strata:
        if design.why_untestable(stratum, "locus") or len(block_means) < 2:
            continue
        sides = design.sides(stratum)
        difference = block_means[:, sides.target].mean(1) - block_means[:, sides.reference].mean(1)
        found[stratum] = StratumEvidence(
            one_sample(difference), {"blocks": len(difference)}, difference
        )
    return found


def combine_loci(
    evidence: Mapping[str, StratumEvidence], permutations: int, seed: int
) -> CombinedEvidence:
    """Signed Stouffer over strata at locus level: they share blocks, so their correlation enters,
    and the sign of a block is flipped for all strata at once."""
    lines = list(evidence.values())
    z = np.stack([line.test.z() for line in lines])
    differences = np.stack([line.units for line in lines])
    mean = differences.mean(0)
    null = sign_flip(mean, permutations, seed)
    resolution = 2 ** min(differences.shape[1], 62)
    return CombinedEvidence(
        one_sample(mean), stouffer(z, _correlation(differences)), null, resolution, adjusted=()
    )


def _correlation(differences: np.ndarray) -> np.ndarray:
    """(m, L, L) correlation over blocks of the strata's differences (L, B, m); constant ones are
    uncorrelated."""
    centered = differences - differences.mean(1, keepdims=True)
    norm = np.sqrt((centered**2).sum(1, keepdims=True))
    unit = np.divide(centered, norm, out=np.zeros_like(centered), where=norm > 0)
    correlation = np.einsum("ibm,jbm->mij", unit, unit)
    diagonal = np.arange(len(differences))
    correlation[:, diagonal, diagonal] = 1.0
    return correlation
