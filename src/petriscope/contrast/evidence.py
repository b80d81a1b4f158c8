"""The independent units of a contrast, and one test per lineage from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from petriscope.contrast.inference import TTest, moderated, one_sample, pool, stouffer, welch
from petriscope.contrast.moments import Design
from petriscope.contrast.permutation import PermutationP, sign_flip, stratified_labels

Level = Literal["biosample", "locus"]
Variance = Literal["moderated", "welch"]


class LineageEvidence(NamedTuple):
    """What one lineage says."""

    test: TTest
    n: dict[str, int]
    vitro: np.ndarray
    """(n0, m) per-biosample means; empty at locus level."""
    vivo: np.ndarray
    """(n1, m) per-biosample means; at locus level the (B, m) per-block differences."""


class CombinedEvidence(NamedTuple):
    """What all testable lineages say together."""

    mean: TTest
    """mean difference over lineages, for its interval."""
    z: np.ndarray
    """(m,) signed Stouffer score."""
    permutation: PermutationP


def log_mean(mean: np.ndarray) -> np.ndarray:
    """Log of mean activation (m,), silent features at the smallest value there is: the axis of variance trends."""
    floor = mean[mean > 0].min() if (mean > 0).any() else 1.0
    return np.log(np.maximum(mean, floor))


def two_sample(variance: Variance, mean: np.ndarray) -> Callable[[np.ndarray, np.ndarray], TTest]:
    """The biosample-level test; the prior variance of the moderated one follows log mean activation ``mean`` (m,)."""
    if variance == "welch":
        return welch
    covariate = log_mean(mean)
    return lambda a, b: moderated(a, b, covariate)


def biosample_evidence(
    means: np.ndarray, design: Design, variance: Variance, lineages: tuple[str, ...]
) -> dict[str, LineageEvidence]:
    """One two-sample test per lineage that has two biosamples a side. ``means`` (S, m)."""
    found = {}
    for lineage in lineages:
        if design.why_untestable(lineage, "biosample"):
            continue
        sides = design.sides(lineage)
        vitro, vivo = means[sides.vitro], means[sides.vivo]
        test = two_sample(variance, np.concatenate([vitro, vivo]).mean(0))(vivo, vitro)
        found[lineage] = LineageEvidence(test, {"in_vitro": len(vitro), "in_vivo": len(vivo)}, vitro, vivo)
    return found


def locus_evidence(block_means: np.ndarray, design: Design, lineages: tuple[str, ...]) -> dict[str, LineageEvidence]:
    """One paired test over blocks per lineage: d_B = mean in vivo minus mean in vitro. ``block_means`` (B, S, m).

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
        test = one_sample(difference)
        found[lineage] = LineageEvidence(test, {"blocks": len(difference)}, difference[:0], difference)
    return found


def combine(
    evidence: Mapping[str, LineageEvidence], level: Level, variance: Variance, permutations: int, seed: int
) -> CombinedEvidence:
    """Signed Stouffer over lineages with its permutation null.

    Lineages have biosamples of their own, so their scores are independent at biosample level; they share blocks, so at
    locus level their correlation enters, and the sign of a block is flipped for all lineages at once.
    """
    lines = list(evidence.values())
    z = np.stack([line.test.z() for line in lines])
    if level == "biosample":

        def score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return two_sample(variance, np.concatenate([a, b]).mean(0))(a, b).z()

        null = stratified_labels(score, [(line.vitro, line.vivo) for line in lines], permutations, seed)
        return CombinedEvidence(pool([line.test for line in lines]), stouffer(z), null)
    differences = np.stack([line.vivo for line in lines])
    mean = differences.mean(0)
    null = sign_flip(mean, permutations, seed)
    return CombinedEvidence(one_sample(mean), stouffer(z, _correlation(differences)), null)


def _correlation(differences: np.ndarray) -> np.ndarray:
    """(m, L, L) correlation over blocks of the lineages' differences (L, B, m); constant ones are uncorrelated."""
    centred = differences - differences.mean(1, keepdims=True)
    norm = np.sqrt((centred**2).sum(1, keepdims=True))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    correlation = np.einsum("ibm,jbm->mij", unit, unit)
    diagonal = np.arange(len(differences))
    correlation[:, diagonal, diagonal] = 1.0
    return correlation
