"""Every test of the contrast is run on data where nothing differs, seed by seed; stage calibration
tabulates what comes out, and the claims ledger reads it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.cds import cds_meandiff
from petriscope.contrast.design import Design
from petriscope.contrast.features import Scoring
from petriscope.contrast.nulls import (
    BLOCK_COVERAGE,
    COVERAGE_OF_MEAN,
    FAMILY_ERROR,
    block_coverage,
    gaussian,
    independent_sets,
    published_nulls,
    replicates,
    shuffled,
    sign_nulls,
    unit_nulls,
    without_contrast,
)
from petriscope.contrast.rates import ErrorRate, Uniformity, table, uniformity
from petriscope.contrast.results import adjust
from petriscope.parallel import in_processes
from petriscope.sae.moments import Moments

PERMUTATIONS = 499
PUBLISHED_SETS = 20
FITTED, REPLICATES, SHUFFLED = (
    "no contrast, fitted to the data",
    "replicate versus replicate",
    "labels shuffled",
)
CORRECTED = "corrected"
RECORD = f"{CORRECTED}, permutation"
"""The p of record."""


class Nulls(NamedTuple):
    """What the null data sets of all seeds said."""

    rates: pd.DataFrame
    """one row per seed, test and null: `Uniformity` or `ErrorRate` in columns."""
    histogram: pd.DataFrame
    """columns seed, test, p (middle of the bin), share."""


@dataclass(frozen=True)
class Calibration:
    """The p of record over all seeds; of each error rate, every seed's and the worst."""

    untestable: str | None
    layer: int
    alpha: float
    share: float | None = None
    """of null p-values at most alpha; between ``share_low`` and ``share_high`` if calibrated."""
    share_low: float | None = None
    share_high: float | None = None
    calibrated: bool | None = None
    seeds: int | None = None
    seeds_calibrated: int | None = None
    shares: list[float] | None = None
    fwer: float | None = None
    """family-wise error of maxT; over ``fwer_sets`` null sets."""
    fwer_worst: float | None = None
    fwers: list[float] | None = None
    fwer_sets: int | None = None
    coverage_low: float | None = None
    """of the 95 % interval of the mean difference, over units: lowest, highest and each seed."""
    coverage_high: float | None = None
    coverages: list[float] | None = None
    block_coverage_low: float | None = None
    """the same over blocks."""
    block_coverage_high: float | None = None
    block_coverages: list[float] | None = None
    published_share: float | None = None
    replicate_share: float | None = None
    """of the p of record where replicates of one condition are held against each other."""
    replicate_shares: list[float] | None = None
    unadjusted_share: float | None = None
    """without the design's covariates."""
    unadjusted_shares: list[float] | None = None


def without(covariates: str) -> str:
    """Name of the test without the design's covariates, which are called so in words."""
    return f"{covariates} not adjusted, permutation"


def summarize(rates: pd.DataFrame, alpha: float, layer: int, covariates: str) -> Calibration:
    """The numbers of all null runs (`Nulls.rates`); ``covariates`` as in `Words`."""
    fitted = rates[rates.null == FITTED]
    record = fitted[fitted.test == RECORD]
    share = float(np.average(record.share, weights=record.tests))
    # binomial interval of alpha for the effective number of tests
    spread = 1.96 * np.sqrt(alpha * (1 - alpha) / record.effective.sum())
    fwer = fitted[fitted.what == f"{CORRECTED}, {FAMILY_ERROR}"]
    covered = fitted[fitted.what == f"{CORRECTED}, {COVERAGE_OF_MEAN}"]
    blocks = rates[rates.what == BLOCK_COVERAGE]
    between = rates[(rates.test == RECORD) & (rates.null == REPLICATES)]
    unadjusted = rates[rates.test == without(covariates)]
    return Calibration(
        untestable=None,
        layer=layer,
        alpha=alpha,
        share=share,
        share_low=float(alpha - spread),
        share_high=float(alpha + spread),
        calibrated=bool(abs(share - alpha) <= spread),
        seeds=len(record),
        seeds_calibrated=int(record.calibrated.sum()),
        shares=record.share.tolist(),
        fwer=float(np.average(fwer.share, weights=fwer.cases)),
        fwer_worst=float(fwer.share.max()),
        fwers=fwer.share.tolist(),
        fwer_sets=int(fwer.cases.sum()),
        coverage_low=float(covered.share.min()),
        coverage_high=float(covered.share.max()),
        coverages=covered.share.tolist(),
        block_coverage_low=float(blocks.share.min()),
        block_coverage_high=float(blocks.share.max()),
        block_coverages=blocks.share.tolist(),
        published_share=float(rates[rates.test == "published"].share.mean()),
        replicate_share=float(between.share.mean()),
        replicate_shares=between.share.tolist(),
        unadjusted_share=float(unadjusted.share.mean()) if len(unadjusted) else None,
        unadjusted_shares=unadjusted.share.tolist() if len(unadjusted) else None,
    )


class Data(NamedTuple):
    """What null data sets are made of, and how many."""

    moments: Moments
    """of the split's blocks, alive features only."""
    everywhere: Moments
    """of all blocks."""
    window_means: np.ndarray
    """(W, S, m) of the split."""
    design: Design
    sets: int
    """null data sets of each kind and seed."""


def calibrate(data: Data, *, seeds: list[int], alpha: float) -> Nulls:
    """All null runs; ``alpha`` is the level of significance that every test is judged at."""
    one = functools.partial(calibrate_seed, data, alpha=alpha)
    return joined(in_processes(one, seeds, "null data sets", unit="seed"))


def calibrate_seed(data: Data, seed: int, *, alpha: float) -> Nulls:
    """The null runs of one seed."""
    summaries: list[Uniformity | ErrorRate] = []
    histograms = []
    for rows, p in _one_seed(data, seed, alpha):
        summaries += rows
        histograms += [_histogram(test, values) for test, values in p.items()]
    return Nulls(
        table(summaries).assign(seed=seed),
        pd.concat(histograms, ignore_index=True).assign(seed=seed),
    )


def joined(parts: Iterable[Nulls]) -> Nulls:
    """The null runs of several seeds in one."""
    return Nulls(*(pd.concat(part, ignore_index=True) for part in zip(*parts)))


def _one_seed(
    data: Data, seed: int, alpha: float
) -> Iterator[tuple[list[Uniformity | ErrorRate], dict[str, np.ndarray]]]:
    design, sets, few = data.design, data.sets, max(20, data.sets // 4)
    means = data.moments.unit_means()
    shared: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": seed, "alpha": alpha}
    judged: dict[str, Any] = {"alpha": alpha, "stratum": design.words.stratum}
    fitted = list(gaussian(means, design, sets, seed))
    model = unit_nulls(((null, design) for null in fitted), **shared)
    yield model.summaries(CORRECTED, FITTED, **judged), {CORRECTED: model.p_permutation}
    if design.covariates is not None:
        plain = design.unadjusted()
        raw = unit_nulls(((null, plain) for null in fitted[:few]), **shared)
        test = without(design.words.covariates)
        yield [uniformity(raw.p_permutation, test=test, null=FITTED, alpha=alpha)], {}
    flat = without_contrast(means, design)
    for name, kind, values, designs in (
        (REPLICATES, "replicates", means, replicates(design, sets, seed)),
        (SHUFFLED, "shuffled", flat, shuffled(design, sets, seed)),
    ):
        run = unit_nulls(((values, null) for null in designs), **shared)
        if len(run.p):
            independent = independent_sets(design, kind)
            rows = run.summaries(CORRECTED, name, independent=independent, **judged)
            yield rows, {f"{CORRECTED}, {kind}": run.p_permutation}
    blocks = data.moments.block_means()
    signs = sign_nulls(blocks, design, few, **shared)
    if len(signs.p):
        test, null = "locus level, permutation", "signs of blocks drawn"
        yield [uniformity(signs.p_permutation, test=test, null=null, alpha=alpha)], {}
    population = data.everywhere.block_means()
    for stratum in design.strata:
        if design.why_untestable(stratum, "locus") is None:
            reference, target = design.sides(stratum)
            difference = population[:, target].mean(1) - population[:, reference].mean(1)
            difference = difference[np.isfinite(difference).all(1)]
            yield list(block_coverage(difference, 60, size=len(blocks), seed=seed)), {}
            break
    designs = replicates(design, PUBLISHED_SETS, seed)
    p = published_nulls(data.window_means, designs, permutations=1000, seed=seed)
    yield [uniformity(p, test="published", null=REPLICATES, alpha=alpha)], {"published": p}


def _histogram(test: str, p: np.ndarray, bins: int = 20) -> pd.DataFrame:
    """Share of p-values per bin of width 1/bins."""
    values = p[np.isfinite(p)]
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return pd.DataFrame(
        {"test": test, "p": (edges[:-1] + edges[1:]) / 2, "share": counts / max(len(values), 1)}
    )


WINDOW_PERMUTATIONS = 1000
"""Of the published test on shuffled labels, whose p has no +1 and may be 0: fewer make it no more
conservative under Bonferroni."""


def null_p(
    moments: Moments,
    window_means: np.ndarray,
    designs: Sequence[Design],
    how: Scoring,
    alpha: float,
) -> pd.DataFrame | None:
    """Columns draw, feature, p, published: both tests of the alive features of one layer under each
    null's labels.

    ``moments`` of the layer, ``window_means`` (W, S, m). p is that of the combined unit-level test:
    by relabelling where a null's units resolve it as finely as the observed ones, else of the
    combined t's. ``published`` is adjusted by Bonferroni over all latents. None where the nulls
    have too few units for any test.
    """
    alive = np.flatnonzero(moments.alive(how.min_events))
    means = moments.unit_means()[:, alive]
    found = unit_nulls(
        ((means, null) for null in designs),
        permutations=how.permutations,
        seed=how.seed,
        alpha=alpha,
    )
    if len(found.p) < len(designs):
        return None
    fine = not any(null.untestable("unit") for null in designs)
    frames = []
    for draw, null in enumerate(designs):
        published = cds_meandiff(
            window_means, null, permutations=WINDOW_PERMUTATIONS, seed=how.seed
        )
        columns = {
            "draw": draw,
            "feature": alive,
            "p": (found.p_permutation if fine else found.p)[draw],
            "published": published.adjusted["bonferroni"][alive],
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def null_counts(p: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Columns null, draw, layer, alive, count, published: BH over all layers of a draw, as for the
    observed labels."""
    family = p.groupby(["null", "draw"]).p
    p = p.assign(q=family.transform(lambda values: adjust(values.to_numpy(), "bh")))
    rows = p.groupby(["null", "draw", "layer"], sort=False)
    return rows.agg(
        alive=("feature", "size"),
        count=("q", lambda values: int((values < alpha).sum())),
        published=("published", lambda values: int((values < alpha).sum())),
    ).reset_index()


def beside_observed(counts: pd.DataFrame, observed: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Columns null, layer, draws, alive; for count, fraction and published the mean, low, high (2.5
    and 97.5 % over draws) and the observed value."""
    counts = counts.assign(fraction=counts["count"] / counts.alive.clip(lower=1))
    rows = []
    for (null, layer), frame in counts.groupby(["null", "layer"], sort=False):
        mine = observed[observed.layer == layer]
        passed = int((mine.context & mine.alive).sum())
        real = {
            "count": passed,
            "fraction": passed / max(int(mine.alive.sum()), 1),
            "published": int((mine.p_published_bonferroni < alpha).sum()),
        }
        row: dict[str, object] = {
            "null": null,
            "layer": layer,
            "draws": len(frame),
            "alive": int(frame.alive.iloc[0]),
        }
        for name, value in real.items():
            low, high = np.quantile(frame[name], [0.025, 0.975])
            row |= {
                name: frame[name].mean(),
                f"{name}_low": low,
                f"{name}_high": high,
                f"{name}_observed": value,
            }
        rows.append(row)
    return pd.DataFrame(rows)
