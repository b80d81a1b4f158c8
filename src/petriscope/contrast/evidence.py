"""The independent units of a contrast, one test per lineage from them, and what all lineages say
together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from petriscope.contrast.inference import TTest, one_sample, pool, stouffer, welch
from petriscope.contrast.linear import Layout, fit, layout, permute, relabellings
from petriscope.contrast.moments import Design
from petriscope.contrast.permutation import PermutationP, sign_flip, stratified_labels

Level = Literal["biosample", "locus"]
Variance = Literal["moderated", "welch"]


class LineageEvidence(NamedTuple):
    """What one lineage says."""

    test: TTest
    n: dict[str, int]
    units: np.ndarray
    """Its units' values: biosample means (n0 + n1, m), in vitro first, or block differences (B,
    m)."""


class CombinedEvidence(NamedTuple):
    """What all testable lineages say together."""

    mean: TTest
    """mean difference over lineages, for its interval."""
    z: np.ndarray
    """(m,) signed Stouffer score."""
    permutation: PermutationP
    resolution: int
    """distinct relabellings there are; the permutation p means little where they are few."""
    adjusted: tuple[str, ...]
    """technical covariates that were adjusted for."""


def usable_lineages(design: Design, least: int = 2) -> tuple[str, ...]:
    """Lineages with ``least`` biosamples a side (and three in all, without which nothing
    varies)."""
    sizes = {lineage: [len(side) for side in design.sides(lineage)] for lineage in design.lineages}
    return tuple(x for x in design.lineages if min(sizes[x]) >= least and sum(sizes[x]) >= 3)


def biosample_evidence(
    means: np.ndarray, design: Design, variance: Variance, lineages: tuple[str, ...]
) -> dict[str, LineageEvidence]:
    """One test per lineage that has two biosamples a side. ``means`` (S, m).

    Moderated: contrasts of one linear model over all those lineages (`linear.fit`). Welch: each
    lineage by itself, covariates ignored.
    """
    usable = tuple(x for x in lineages if x in usable_lineages(design))
    return _lines(means, design, variance, usable) if usable else {}


def _lines(
    means: np.ndarray, design: Design, variance: Variance, lineages: tuple[str, ...]
) -> dict[str, LineageEvidence]:
    tests = fit(means, layout(design, lineages)).lineages if variance == "moderated" else {}
    found = {}
    for lineage in lineages:
        vitro, vivo = design.sides(lineage)
        test = tests[lineage] if variance == "moderated" else welch(means[vivo], means[vitro])
        n = {"in_vitro": len(vitro), "in_vivo": len(vivo)}
        found[lineage] = LineageEvidence(test, n, means[np.concatenate([vitro, vivo])])
    return found


def biosample_test(
    means: np.ndarray,
    design: Design,
    variance: Variance,
    *,
    permutations: int,
    seed: int,
    least: int = 2,
) -> tuple[dict[str, LineageEvidence], CombinedEvidence | None]:
    """Every lineage with ``least`` biosamples a side, and their combination (None where there is
    none).

    Lineages have biosamples of their own. Moderated scores share one variance, which
    `Layout.direction` accounts for; Welch scores are independent.
    """
    lineages = usable_lineages(design, least)
    if not lineages:
        return {}, None
    lines = _lines(means, design, variance, lineages)
    shape: Layout = layout(design, lineages)
    if variance == "moderated":
        fitted = fit(means, shape)
        null = permute(means, shape, fitted, permutations, seed)
        together = CombinedEvidence(
            fitted.mean, fitted.combined.z(), null, relabellings(shape), adjusted=shape.adjusted
        )
        return lines, together
    strata = [np.split(line.units, [line.n["in_vitro"]]) for line in lines.values()]
    null = stratified_labels(
        lambda a, b: welch(a, b).z(), [(a, b) for a, b in strata], permutations, seed
    )
    z = np.stack([line.test.z() for line in lines.values()])
    mean = pool([line.test for line in lines.values()])
    return lines, CombinedEvidence(mean, stouffer(z), null, relabellings(shape), adjusted=())


def locus_evidence(
    block_means: np.ndarray, design: Design, lineages: tuple[str, ...]
) -> dict[str, LineageEvidence]:
    """One paired test over blocks per lineage: d_B = mean in vivo minus mean in vitro.
    ``block_means`` (B, S, m).

    Blocks that lack tokens of any biosample are left out for all lineages.
    """
    whole = np.isfinite(block_means).all((1, 2))
    block_means = block_means[whole]
    found = {}
    for lineage in lineages:
        if design.why_untestable(lineage, "locus") or len(block_means) < 2:
            continue
        sides = design.sides(lineage)
        difference = block_means[:, sides.vivo].mean(1) - block_means[:, sides.vitro].mean(1)
        found[lineage] = LineageEvidence(
            one_sample(difference), {"blocks": len(difference)}, difference
        )
    return found


def combine_loci(
    evidence: Mapping[str, LineageEvidence], permutations: int, seed: int
) -> CombinedEvidence:
    """Signed Stouffer over lineages at locus level: they share blocks, so their correlation enters,
    and the sign of a block is flipped for all lineages at once."""
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
    """(m, L, L) correlation over blocks of the lineages' differences (L, B, m); constant ones are
    uncorrelated."""
    centred = differences - differences.mean(1, keepdims=True)
    norm = np.sqrt((centred**2).sum(1, keepdims=True))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    correlation = np.einsum("ibm,jbm->mij", unit, unit)
    diagonal = np.arange(len(differences))
    correlation[:, diagonal, diagonal] = 1.0
    return correlation
