"""The tests of the contrast, corrected and published, run on many null data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

from petriscope.contrast.calibration import ErrorRate, Uniformity, coverage, uniformity
from petriscope.contrast.cds import cds_meandiff
from petriscope.contrast.effects import mean_limits
from petriscope.contrast.evidence import (
    CombinedEvidence,
    LineageEvidence,
    Variance,
    biosample_test,
    combine_loci,
    locus_evidence,
)
from petriscope.contrast.inference import TTest, one_sample, union
from petriscope.contrast.moments import Design

Case = tuple[dict[str, LineageEvidence], CombinedEvidence | None]

FAMILY_ERROR = "maxT family-wise error"
COVERAGE_OF_MEAN = "coverage of the 95 % interval of the mean"
BLOCK_COVERAGE = "effect sizes, coverage of the 95 % block-bootstrap interval"
"""Names of error rates, which follow the test's; the last has one test."""


class NullRun(NamedTuple):
    """What a test said of R null data sets of m features in L lineages."""

    p: np.ndarray
    """(R, m) combined (Stouffer)."""
    p_permutation: np.ndarray
    """(R, m)"""
    p_lineage: np.ndarray
    """(R, L * m) of the single lineages."""
    p_union: np.ndarray
    """(R, m) smallest over lineages, Šidák."""
    family_error: np.ndarray
    """(R,) bool: maxT rejected something at the run's alpha."""
    covered: np.ndarray
    """(R, L * m) bool: the 95 % interval of the lineage's difference holds its true value 0."""
    covered_mean: np.ndarray
    """(R, m) bool: that of the mean difference over lineages does."""

    def summaries(
        self, test: str, null: str, *, alpha: float, independent: float | None = None
    ) -> list[Uniformity | ErrorRate]:
        """Uniformity of all p-values (``independent``: see `uniformity`); error rates of maxT and
        of the intervals."""
        kinds = {
            "per lineage": self.p_lineage,
            "some lineage": self.p_union,
            "Stouffer": self.p,
            "permutation": self.p_permutation,
        }
        return [
            *(
                uniformity(
                    p, test=f"{test}, {kind}", null=null, alpha=alpha, independent=independent
                )
                for kind, p in kinds.items()
            ),
            coverage(
                self.family_error[:, None],
                what=f"{test}, {FAMILY_ERROR}",
                null=null,
                independent=independent,
            ),
            coverage(
                self.covered,
                what=f"{test}, coverage of the 95 % interval per lineage",
                null=null,
                independent=independent,
            ),
            coverage(
                self.covered_mean,
                what=f"{test}, {COVERAGE_OF_MEAN}",
                null=null,
                independent=independent,
            ),
        ]


def biosample_nulls(
    cases: Iterable[tuple[np.ndarray, Design]],
    *,
    variance: Variance = "moderated",
    permutations: int = 999,
    seed: int = 0,
    alpha: float,
) -> NullRun:
    """The biosample-level test on null cases (biosample means (S, m), design).

    The moderated test accepts lineages with one biosample on a side and three in all (replicates of
    one condition).
    """
    least = 2 if variance == "welch" else 1
    return _run(
        (
            biosample_test(
                means, design, variance, permutations=permutations, seed=seed + i, least=least
            )
            for i, (means, design) in enumerate(cases)
        ),
        alpha,
    )


def locus_nulls(
    block_means: np.ndarray,
    designs: Iterable[Design],
    *,
    permutations: int = 999,
    seed: int = 0,
    alpha: float,
) -> NullRun:
    """The locus-level test on null designs over block means (B, S, m).

    Between replicates of one condition it measures what a locus-level p leaves out: donors differ
    at every locus.
    """
    cases = (locus_evidence(block_means, design, design.lineages) for design in designs)
    return _run(_combine_all(cases, permutations, seed), alpha)


def sign_nulls(
    block_means: np.ndarray,
    design: Design,
    sets: int,
    *,
    permutations: int = 999,
    seed: int = 0,
    alpha: float,
) -> NullRun:
    """The locus-level test under its own null: the context that a block's values carry is drawn
    block by block."""
    rng = np.random.default_rng(seed)
    observed = locus_evidence(block_means, design, design.lineages)

    def evidence() -> Iterator[dict[str, LineageEvidence]]:
        for _ in range(sets):
            flips = rng.choice([-1.0, 1.0], size=(next(iter(observed.values())).n["blocks"], 1))
            yield {
                lineage: line._replace(
                    test=one_sample(line.units * flips), units=line.units * flips
                )
                for lineage, line in observed.items()
            }

    return _run(_combine_all(evidence(), permutations, seed), alpha)


def published_nulls(
    window_means: np.ndarray, designs: Iterable[Design], *, permutations: int = 1000, seed: int = 0
) -> np.ndarray:
    """(R, m) p of the published test on null designs over window means (W, S, m); silent features
    are NaN."""
    rows = []
    for design in designs:
        result = cds_meandiff(window_means, design, permutations=permutations, seed=seed)
        rows.append(np.where(result.low < result.high, result.p, np.nan))
    return np.stack(rows)


def block_coverage(
    differences: np.ndarray,
    draws: int,
    *,
    size: int | None = None,
    resamples: int = 400,
    seed: int = 0,
) -> list[ErrorRate]:
    """Coverage of the two locus-level intervals where the blocks (B, m) are the whole population of
    known mean.

    ``draws`` samples of ``size`` blocks (B unless given) are drawn with replacement; counted is how
    often the t interval and the symmetric bootstrap-t interval hold the population mean.
    """
    blocks = size or len(differences)
    truth = differences.mean(0)
    by_t, by_bootstrap = [], []
    drawn = np.random.default_rng(seed).integers(0, len(differences), (draws, blocks))
    for i, rows in enumerate(drawn):
        sample = differences[rows]
        low, high = one_sample(sample).interval()
        by_t.append((low <= truth) & (truth <= high))
        low, high = mean_limits(sample, resamples, seed + 1 + i)
        by_bootstrap.append((low <= truth) & (truth <= high) | np.isnan(low))
    null = f"samples of {blocks} out of {len(differences)} blocks"
    return [
        coverage(np.stack(by_t), what="locus level, coverage of the 95 % t interval", null=null),
        coverage(
            np.stack(by_bootstrap),
            what=BLOCK_COVERAGE,
            null=null,
        ),
    ]


def _combine_all(
    cases: Iterable[dict[str, LineageEvidence]], permutations: int, seed: int
) -> Iterator[Case]:
    for i, lines in enumerate(cases):
        yield lines, combine_loci(lines, permutations, seed + i) if lines else None


def _run(cases: Iterable[Case], alpha: float) -> NullRun:
    p, p_permutation, p_lineage, p_union, family_error, covered, covered_mean = (
        [],
        [],
        [],
        [],
        [],
        [],
        [],
    )
    for lines, combined in cases:
        if combined is None:
            continue
        p.append(2 * special.ndtr(-np.abs(combined.z)))
        p_permutation.append(combined.permutation.p)
        family_error.append(bool((combined.permutation.max_t <= alpha).any()))
        tests = [line.test for line in lines.values()]
        p_lineage.append(np.concatenate([test.p for test in tests]))
        p_union.append(union(np.stack([test.p for test in tests])))
        covered.append(np.concatenate([_holds_zero(test) for test in tests]))
        covered_mean.append(_holds_zero(combined.mean))
    if not p:
        nothing = np.zeros((0, 0))
        none = nothing.astype(bool)
        return NullRun(nothing, nothing, nothing, nothing, np.zeros(0, bool), none, none)
    return NullRun(
        np.stack(p),
        np.stack(p_permutation),
        np.stack(p_lineage),
        np.stack(p_union),
        np.array(family_error),
        np.stack(covered),
        np.stack(covered_mean),
    )


def _holds_zero(test: TTest) -> np.ndarray:
    low, high = test.interval()
    return np.asarray((low <= 0) & (high >= 0))
