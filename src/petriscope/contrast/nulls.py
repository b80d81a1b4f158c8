"""A null contrast compares where nothing differs: null data sets are made here, and the tests of
the contrast run on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

from petriscope.contrast.cds import cds_meandiff
from petriscope.contrast.design import Design
from petriscope.contrast.effects import mean_limits
from petriscope.contrast.evidence import (
    CombinedEvidence,
    StratumEvidence,
    Variance,
    combine_loci,
    fit,
    layout,
    locus_evidence,
    residuals,
    unit_test,
    usable_strata,
)
from petriscope.contrast.inference import TTest, one_sample, squeeze, union
from petriscope.contrast.rates import ErrorRate, Uniformity, coverage, uniformity


def shuffled(design: Design, sets: int, seed: int) -> Iterator[Design]:
    """Designs with the condition labels permuted within each stratum, never the observed contrast
    or its mirror image.

    Real differences stay in the data, so a feature that has one is no null for a t test of these
    designs (the permutation test is exact all the same): judge the t on features without one, where
    truth is known.
    """
    rng = np.random.default_rng(seed)
    balanced = any(_mixable(design, stratum) for stratum in range(len(design.strata)))
    while sets > 0 and balanced:
        target = design.is_target.copy()
        for stratum in range(len(design.strata)):
            rows = np.flatnonzero(design.stratum_of == stratum)
            target[rows] = rng.permutation(target[rows])
        changed = [
            (target != design.is_target)[design.stratum_of == i] for i in range(len(design.strata))
        ]
        if all(change.all() or not change.any() for change in changed):
            continue
        sets -= 1
        yield design.relabelled(target)


def replicates(design: Design, sets: int, seed: int) -> Iterator[Design]:
    """Designs that contrast replicates of one condition: every stratum x condition becomes a
    stratum of its own.

    Within each condition of n >= 2 units, floor(n/2) drawn ones play target against the rest.
    Conditions with one unit keep one label, so that no test of them exists.
    """
    rng = np.random.default_rng(seed)
    names: list[str] = []
    condition = np.zeros(len(design.units), int)
    for i, stratum in enumerate(design.strata):
        for name, side in ((design.words.reference, False), (design.words.target, True)):
            condition[(design.stratum_of == i) & (design.is_target == side)] = len(names)
            names.append(f"{stratum} {name} replicates")
    for _ in range(sets):
        target = np.zeros(len(design.units), bool)
        for c in range(len(names)):
            rows = np.flatnonzero(condition == c)
            target[rng.permutation(rows)[: len(rows) // 2]] = True
        yield design.restratified(names, condition, target)


def without_contrast(means: np.ndarray, design: Design) -> np.ndarray:
    """Unit means (S, m) with the fitted difference of the conditions taken out of each stratum
    that can be tested: donors, depth and noise stay as they are, so that shuffled labels meet no
    real difference."""
    strata = usable_strata(design)
    result = means.astype(np.float64)
    if not strata:
        return result
    shape = layout(design, strata)
    at = 0
    for size, weights in zip(shape.sizes, shape.weights):
        rows = shape.rows[at : at + sum(size)]
        half = weights @ means[shape.rows] / 2
        result[rows] += np.where(design.is_target[rows][:, None], -half, half)
        at += sum(size)
    return result


def gaussian(means: np.ndarray, design: Design, sets: int, seed: int) -> Iterator[np.ndarray]:
    """Null unit means (S, m) in the observed layout, from the fitted model of the moderated t.

    No contrast; the observed stratum averages and the observed effect of the covariates (depth
    differs between the conditions as it does in the data); variances drawn from their posterior
    (moderated, along the mean); the correlation between features that replicates of a condition
    show, shrunk for its own noise. All sets are independent of each other, which relabellings of
    the same few units are not. Strata without replicates are constant.
    """
    rng = np.random.default_rng(seed)
    strata = usable_strata(design)
    if not strata:
        return
    shape = layout(design, strata)
    values = means[shape.rows]
    within = residuals(values, shape.columns)
    variance = (within**2).sum(0) / shape.df
    prior = fit(means, shape).prior
    degrees = min(shape.df + prior.df, 1e6)
    posterior = squeeze(variance, shape.df, prior)
    names = np.repeat(np.eye(len(strata)), [sum(size) for size in shape.sizes], axis=0)
    covariates = shape.columns[:, shape.columns.shape[1] - shape.covariates :]
    centered = covariates - names @ np.linalg.lstsq(names, covariates, rcond=None)[0]
    slope = np.linalg.lstsq(shape.columns, values, rcond=None)[0][
        shape.columns.shape[1] - shape.covariates :
    ]
    expected = names @ np.linalg.lstsq(names, values, rcond=None)[0] + centered @ slope
    norm = np.sqrt((within**2).sum(0))
    common = np.divide(within, norm, out=np.zeros_like(within), where=norm > 0)
    squared = ((common @ common.T) ** 2).sum() / max(1, (norm > 0).sum()) ** 2
    kept = max(0.0, 1 - 1 / (shape.df * squared)) ** 0.5 if squared else 0.0
    for _ in range(sets):
        null = means.copy()
        spread = np.sqrt(posterior * degrees / rng.chisquare(degrees, len(variance)))
        together = rng.normal(size=(len(values), len(common))) @ common
        alone = rng.normal(size=values.shape)
        null[shape.rows] = (
            expected + (np.sqrt(kept) * together + np.sqrt(1 - kept) * alone) * spread
        )
        yield null


def independent_sets(design: Design, null: str) -> float:
    """How many independent null sets of a kind ('shuffled' or 'replicates') the units hold.

    It is the number of contrasts that can be orthogonal to each other; more relabellings repeat the
    same donors.
    """
    per_stratum = []
    for stratum in design.strata:
        reference, target = design.sides(stratum)
        if null == "shuffled":
            per_stratum.append(len(reference) + len(target) - 1)
        else:
            per_stratum += [len(side) - 1 for side in (reference, target) if len(side) > 1]
    return float(np.mean(per_stratum)) if per_stratum else 0.0


def _mixable(design: Design, stratum: int) -> bool:
    """Whether some relabelling of a stratum is neither the observed contrast nor its mirror
    image."""
    target = design.is_target[design.stratum_of == stratum]
    return 0 < target.sum() < len(target) and len(target) > 2


Case = tuple[dict[str, StratumEvidence], CombinedEvidence | None]


FAMILY_ERROR = "maxT family-wise error"
COVERAGE_OF_MEAN = "coverage of the 95 % interval of the mean"
BLOCK_COVERAGE = "effect sizes, coverage of the 95 % block-bootstrap interval"
"""Names of error rates, which follow the test's; the last has one test."""


class NullRun(NamedTuple):
    """What a test said of R null data sets of m features in L strata."""

    p: np.ndarray
    """(R, m) combined (Stouffer)."""
    p_permutation: np.ndarray
    """(R, m)"""
    p_stratum: np.ndarray
    """(R, L * m) of the single strata."""
    p_union: np.ndarray
    """(R, m) smallest over strata, Šidák."""
    family_error: np.ndarray
    """(R,) bool: maxT rejected something at the run's alpha."""
    covered: np.ndarray
    """(R, L * m) bool: the 95 % interval of the stratum's difference holds its true value 0."""
    covered_mean: np.ndarray
    """(R, m) bool: that of the mean difference over strata does."""

    def summaries(
        self,
        test: str,
        null: str,
        *,
        alpha: float,
        stratum: str = "stratum",
        independent: float | None = None,
    ) -> list[Uniformity | ErrorRate]:
        """Uniformity of all p-values (``independent``: see `uniformity`); error rates of maxT and
        of the intervals. ``stratum``: what the table of units calls one."""
        kinds = {
            f"per {stratum}": self.p_stratum,
            f"some {stratum}": self.p_union,
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
                what=f"{test}, coverage of the 95 % interval per {stratum}",
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


def unit_nulls(
    cases: Iterable[tuple[np.ndarray, Design]],
    *,
    variance: Variance = "moderated",
    permutations: int = 999,
    seed: int = 0,
    alpha: float,
) -> NullRun:
    """The unit-level test on null cases (unit means (S, m), design).

    The moderated test accepts strata with one unit on a side and three in all (replicates of
    one condition).
    """
    least = 2 if variance == "welch" else 1
    return _run(
        (
            unit_test(
                means, design, variance, permutations=permutations, seed=seed + i, least=least
            )
            for i, (means, design) in enumerate(cases)
        ),
        alpha,
    )


def sign_nulls(
    block_means: np.ndarray,
    design: Design,
    sets: int,
    *,
    permutations: int = 999,
    seed: int = 0,
    alpha: float,
) -> NullRun:
    """The locus-level test under its own null: the condition that a block's values carry is drawn
    block by block."""
    rng = np.random.default_rng(seed)
    observed = locus_evidence(block_means, design, design.strata)

    def evidence() -> Iterator[dict[str, StratumEvidence]]:
        for _ in range(sets):
            flips = rng.choice([-1.0, 1.0], size=(next(iter(observed.values())).n["blocks"], 1))
            yield {
                stratum: line._replace(
                    test=one_sample(line.units * flips), units=line.units * flips
                )
                for stratum, line in observed.items()
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
    slack = 1e-9 * np.abs(differences).max(0)  # a limit that is the truth but for rounding holds it
    by_t, by_bootstrap = [], []
    drawn = np.random.default_rng(seed).integers(0, len(differences), (draws, blocks))
    for i, rows in enumerate(drawn):
        sample = differences[rows]
        low, high = one_sample(sample).interval()
        by_t.append((low - slack <= truth) & (truth <= high + slack))
        low, high = mean_limits(sample, resamples, seed + 1 + i)
        held = (low - slack <= truth) & (truth <= high + slack)
        by_bootstrap.append(held | np.isnan(low))
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
    cases: Iterable[dict[str, StratumEvidence]], permutations: int, seed: int
) -> Iterator[Case]:
    for i, lines in enumerate(cases):
        yield lines, combine_loci(lines, permutations, seed + i) if lines else None


def _run(cases: Iterable[Case], alpha: float) -> NullRun:
    p, p_permutation, p_stratum, p_union, family_error, covered, covered_mean = (
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
        p_stratum.append(np.concatenate([test.p for test in tests]))
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
        np.stack(p_stratum),
        np.stack(p_union),
        np.array(family_error),
        np.stack(covered),
        np.stack(covered_mean),
    )


def _holds_zero(test: TTest) -> np.ndarray:
    low, high = test.interval()
    return np.asarray((low <= 0) & (high >= 0))
