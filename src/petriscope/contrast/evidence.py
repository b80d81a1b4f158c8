"""The evidence of a contrast comes from its independent units: a linear model fits a mean per
stratum and condition and technical covariates, with one moderated variance per feature, gives one
test per stratum, and says what all strata say together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from petriscope.contrast.design import Design
from petriscope.contrast.inference import (
    ROWS,
    PermutationP,
    Prior,
    TTest,
    fit_prior,
    label_splits,
    log_mean,
    normal_score,
    one_sample,
    permutation_p,
    pool,
    sign_flip,
    squeeze,
    stouffer,
    stratified_labels,
    t_test,
    welch,
)


class Layout(NamedTuple):
    """What the linear model makes of a design; the same for every feature."""

    rows: np.ndarray
    """(n,) units of the strata that are tested, reference before target, stratum by
    stratum."""
    strata: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """reference and target units of each stratum."""
    columns: np.ndarray
    """(n, p) design matrix: one indicator per stratum and condition, then centered covariates."""
    weights: np.ndarray
    """(L, n) weights of the units in each stratum's contrast, target minus reference."""
    direction: np.ndarray
    """(n,) unit vector of the combined contrast: the strata's contrasts, each divided by its
    standard error, added. All strata share one variance, so its t is the signed Stouffer score of
    theirs, their correlation accounted for."""
    df: int
    """residual degrees of freedom."""
    adjusted: tuple[str, ...]
    """covariates that could be taken in: the last columns of ``columns``."""

    @property
    def covariates(self) -> int:
        """Columns of ``columns`` that are covariates."""
        return len(self.adjusted)


class LinearFit(NamedTuple):
    """The model fitted to m features."""

    strata: dict[str, TTest]
    mean: TTest
    """mean of the strata's differences."""
    combined: TTest
    """along `Layout.direction`; its z is the signed Stouffer score."""
    prior: Prior
    """of the residual variances, fitted to these labels."""


def layout(design: Design, strata: Sequence[str]) -> Layout:
    """The model of some strata, each with a unit on both sides.

    A covariate that varies only between strata and conditions cannot be told from them and is left
    out, as is one that would leave fewer than two residual degrees of freedom.
    """
    sides = [design.sides(stratum) for stratum in strata]
    rows = np.concatenate([np.concatenate([side.reference, side.target]) for side in sides])
    sizes = tuple((len(side.reference), len(side.target)) for side in sides)
    columns = np.zeros((len(rows), 2 * len(sides)))
    at = 0
    for i, (reference, target) in enumerate(sizes):
        columns[at : at + reference, 2 * i] = 1
        columns[at + reference : at + reference + target, 2 * i + 1] = 1
        at += reference + target
    adjusted = []
    for name, covariate in zip(
        design.adjust, () if design.covariates is None else design.covariates[rows].T
    ):
        wider = np.column_stack([columns, covariate - covariate.mean()])
        spread = np.ptp(covariate)
        within = wider[:, -1] - columns @ np.linalg.lstsq(columns, wider[:, -1], rcond=None)[0]
        if spread > 0 and np.abs(within).max() > 1e-6 * spread and len(rows) - wider.shape[1] >= 2:
            columns = wider
            adjusted.append(name)
    # estimate of contrast c: c' (X'X)^-1 X' y = c' X^+ y; its variance is s^2 |c' X^+|^2
    contrast = np.zeros((len(sides), columns.shape[1]))
    for i in range(len(sides)):
        contrast[i, 2 * i : 2 * i + 2] = (-1, 1)
    weights = contrast @ np.linalg.pinv(columns)
    direction = (weights / np.linalg.norm(weights, axis=1, keepdims=True)).sum(0)
    return Layout(
        rows,
        tuple(strata),
        sizes,
        columns,
        weights,
        direction / np.linalg.norm(direction),
        len(rows) - columns.shape[1],
        tuple(adjusted),
    )


def residuals(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What least squares on ``columns`` (n, p) leaves of values (n, m)."""
    return np.asarray(values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0])


def fit(means: np.ndarray, shape: Layout) -> LinearFit:
    """Least squares of the unit means (S, m), variances moderated along log mean activation
    (limma-trend).

    Source: Smyth 2004; limma `lmFit`, `contrasts.fit`, `eBayes(trend=TRUE)`.
    """
    values = means[shape.rows]
    # s^2 = RSS/d; the posterior (d0 s0^2 + d s^2)/(d0 + d) on d0 + d degrees of freedom, at most
    # the pooled ones of all features (Smyth 2004, sections 3 to 6)
    variance = (residuals(values, shape.columns) ** 2).sum(0) / shape.df
    prior = fit_prior(variance, shape.df, log_mean(values.mean(0)))
    df = np.full(len(variance), min(prior.df + shape.df, shape.df * float(len(variance))))
    spread = np.sqrt(squeeze(variance, shape.df, prior))

    def along(weights: np.ndarray) -> TTest:
        return t_test(weights @ values, spread * np.linalg.norm(weights), df)

    strata = {stratum: along(weights) for stratum, weights in zip(shape.strata, shape.weights)}
    return LinearFit(strata, along(shape.weights.mean(0)), along(shape.direction), prior)


def permute(means: np.ndarray, shape: Layout, fitted: LinearFit, n: int, seed: int) -> PermutationP:
    """Resampling p of the combined score and its maximum over features, the features' correlation
    kept.

    Without covariates: units relabelled within strata, every relabelling where at most ``n``
    exist. With covariates relabelling is no longer exact (depth goes with the label), so the
    residuals of the model without conditions are turned by ``n`` random rotations of the space that
    intercepts and covariates leave: exact for normal errors (Langsrud 2005; limma's `roast`). The
    whole model is fitted anew each time, but the prior stays the one of the observed labels: fitted
    to shuffled ones it would take other features' real differences for variance, and make the null
    narrower than the data. ``null_max`` is on the z scale, comparable between layers.
    """
    values = means[shape.rows]
    intercepts = np.repeat(np.eye(len(shape.sizes)), [sum(size) for size in shape.sizes], axis=0)
    nuisance = np.column_stack(
        [intercepts, shape.columns[:, shape.columns.shape[1] - shape.covariates :]]
    )
    # reduced-model residuals, which are what is permuted or rotated (Freedman and Lane 1983;
    # Langsrud 2005), scaled to length 1: every statistic below is a function of their direction
    left = residuals(values, nuisance)
    norm = np.sqrt((left**2).sum(0))
    unit = np.divide(
        left, norm, out=np.zeros_like(left), where=norm > 1e-12 * (1e-300 + np.abs(values).max(0))
    )
    if shape.covariates:
        placed, exact = _rotations(nuisance, len(shape.sizes), n, seed), False
    else:
        placed, exact = _relabelled(shape, residuals(shape.columns, nuisance), n, seed)
    prior_df, df, flat = fitted.prior.df, shape.df, math.isinf(fitted.prior.df)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(norm > 0, fitted.prior.variance / norm**2, 0.0)

    def null(columns: np.ndarray) -> Iterator[np.ndarray]:
        working, floor = unit[:, columns].astype(np.float32), scale[columns].astype(np.float32)
        for start in range(0, placed.shape[1], ROWS):
            rows = slice(start, start + ROWS)
            # With |r| = 1, RSS = 1 - (v'r)^2 - sum of (v_j'r)^2 over the other contrasts, so
            # v'r / sqrt(1 + d0 s0^2/|r|^2 - sum of (v_j'r)^2) = t / sqrt(t^2 + d + d0)
            estimate = placed[0, rows] @ working
            variance = np.broadcast_to(floor if flat else 1 + prior_df * floor, estimate.shape)
            for vectors in () if flat else placed[1:]:
                variance = variance - (vectors[rows] @ working) ** 2
            yield np.divide(
                estimate, np.sqrt(variance), out=np.zeros_like(estimate), where=variance > 0
            )

    # Not t itself but t / sqrt(t² + d), a monotone function of it: no small difference of large
    # float32 numbers.
    t = fitted.combined.t
    found = permutation_p(t if flat else t / np.sqrt(t**2 + df + prior_df), null, exact=exact)
    largest = found.null_max.astype(float)
    if not flat:
        largest = largest * np.sqrt((df + prior_df) / np.maximum(1 - largest**2, 1e-7))
    return found._replace(
        null_max=normal_score(largest, fitted.combined.df[0]), statistic=fitted.combined.z()
    )


def relabellings(shape: Layout) -> int:
    """Distinct ways to name the conditions within strata: what a permutation p can resolve at
    best."""
    return math.prod(math.comb(reference + target, target) for reference, target in shape.sizes)


def _rotations(nuisance: np.ndarray, contexts: int, n: int, seed: int) -> np.ndarray:
    """(contexts, n, units) float32: where the condition's directions lie after each rotation, the
    combined one first."""
    whole = np.linalg.svd(nuisance, full_matrices=True)
    free = whole[0][:, np.linalg.matrix_rank(nuisance) :]
    draws = np.random.default_rng(seed).normal(size=(n, free.shape[1], contexts))
    frames = np.linalg.qr(draws)[0]
    return np.ascontiguousarray(np.einsum("uf,nfc->cnu", free, frames), dtype=np.float32)


def _relabelled(shape: Layout, within: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, bool]:
    """The same for relabellings, and whether these are all there are. ``within`` (n, p): context
    columns, centered."""
    others = within - np.outer(shape.direction, shape.direction @ within)
    left, sizes, _ = np.linalg.svd(others, full_matrices=False)
    basis = np.column_stack([shape.direction, left[:, sizes > 1e-9 * max(1.0, float(sizes[0]))]])
    orders, exact = _orders(shape, n, seed)
    placed = np.empty((basis.shape[1], *orders.shape), np.float32)
    for target, vector in zip(placed, basis.T):
        np.put_along_axis(
            target, orders, np.broadcast_to(vector.astype(np.float32), orders.shape), axis=1
        )
    return placed, exact


def _orders(shape: Layout, n: int, seed: int) -> tuple[np.ndarray, bool]:
    """(N, n) which unit's residual lands in each row, and whether these are all
    relabellings."""
    starts = np.concatenate([[0], np.cumsum([sum(size) for size in shape.sizes])])
    if relabellings(shape) <= n:
        tables = []
        for (reference, target), start in zip(shape.sizes, starts):
            splits = label_splits(reference, target, n, seed)[0]
            tables.append(start + np.argsort(splits, axis=1, kind="stable"))
        index = np.unravel_index(np.arange(relabellings(shape)), [len(table) for table in tables])
        return np.concatenate([table[i] for table, i in zip(tables, index)], axis=1), True
    rng = np.random.default_rng(seed)
    parts = [rng.permuted(np.tile(np.arange(a, b), (n, 1)), axis=1) for a, b in pairwise(starts)]
    return np.concatenate(parts, axis=1), False


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
