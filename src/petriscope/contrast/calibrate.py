"""Every test of the contrast on data where nothing differs, seed by seed: what stage calibration
tabulates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.calibration import ErrorRate, Uniformity, table, uniformity
from petriscope.contrast.moments import Design, Moments
from petriscope.contrast.null_runs import (
    biosample_nulls,
    block_coverage,
    published_nulls,
    sign_nulls,
)
from petriscope.contrast.nulls import (
    gaussian,
    independent_sets,
    replicates,
    shuffled,
    without_contrast,
)
from petriscope.parallel import in_processes

PERMUTATIONS = 499
PUBLISHED_SETS = 20
FITTED, REPLICATES, SHUFFLED = (
    "no contrast, fitted to the data",
    "replicate versus replicate",
    "labels shuffled",
)
UNADJUSTED = "depth and FRiP not adjusted"
CORRECTED = "corrected"
RECORD = f"{CORRECTED}, permutation"
"""The p of record."""


class Nulls(NamedTuple):
    """What the null data sets of all seeds said."""

    rates: pd.DataFrame
    """one row per seed, test and null: `Uniformity` or `ErrorRate` in columns."""
    histogram: pd.DataFrame
    """columns seed, test, p (middle of the bin), share."""


def calibrate(
    moments: Moments,
    everywhere: Moments,
    window_means: np.ndarray,
    design: Design,
    *,
    sets: int,
    seeds: list[int],
    alpha: float,
) -> Nulls:
    """All null runs. ``moments`` of the split's blocks and ``everywhere`` of all blocks, alive
    features only; ``window_means`` (W, S, m) of the split; ``sets`` null data sets of each kind and
    seed; ``alpha`` the level of significance that every test is judged at."""

    def one(seed: int) -> Nulls:
        summaries: list[Uniformity | ErrorRate] = []
        histograms = []
        for rows, p in _one_seed(moments, everywhere, window_means, design, sets, seed, alpha):
            summaries += rows
            histograms += [_histogram(test, values) for test, values in p.items()]
        return Nulls(
            table(summaries).assign(seed=seed),
            pd.concat(histograms, ignore_index=True).assign(seed=seed),
        )

    parts = zip(*in_processes(one, seeds, "null data sets", unit="seed"))
    return Nulls(*(pd.concat(part, ignore_index=True) for part in parts))


def _one_seed(
    moments: Moments,
    everywhere: Moments,
    window_means: np.ndarray,
    design: Design,
    sets: int,
    seed: int,
    alpha: float,
) -> Iterator[tuple[list[Uniformity | ErrorRate], dict[str, np.ndarray]]]:
    means = moments.biosample_means()
    shared: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": seed, "alpha": alpha}
    fitted = list(gaussian(means, design, sets, seed))
    model = biosample_nulls(((null, design) for null in fitted), **shared)
    yield model.summaries(CORRECTED, FITTED, alpha=alpha), {CORRECTED: model.p_permutation}
    if design.covariates is not None:
        plain = replace(design, covariates=None)
        raw = biosample_nulls(((null, plain) for null in fitted[: max(20, sets // 4)]), **shared)
        test = f"{UNADJUSTED}, permutation"
        yield [uniformity(raw.p_permutation, test=test, null=FITTED, alpha=alpha)], {}
    flat = without_contrast(means, design)
    for name, kind, data, designs in (
        (REPLICATES, "replicates", means, replicates(design, sets, seed)),
        (SHUFFLED, "shuffled", flat, shuffled(design, sets, seed)),
    ):
        run = biosample_nulls(((data, null) for null in designs), **shared)
        if len(run.p):
            independent = independent_sets(design, kind)
            rows = run.summaries(CORRECTED, name, alpha=alpha, independent=independent)
            yield rows, {f"corrected, {kind}": run.p_permutation}
    blocks = moments.block_means()
    signs = sign_nulls(blocks, design, max(20, sets // 4), **shared)
    if len(signs.p):
        yield (
            [
                uniformity(
                    signs.p_permutation,
                    test="locus level, permutation",
                    null="signs of blocks drawn",
                    alpha=alpha,
                )
            ],
            {},
        )
    population = everywhere.block_means()
    for lineage in design.lineages:
        if design.why_untestable(lineage, "locus") is None:
            vitro, vivo = design.sides(lineage)
            difference = population[:, vivo].mean(1) - population[:, vitro].mean(1)
            difference = difference[np.isfinite(difference).all(1)]
            yield list(block_coverage(difference, 60, size=len(blocks), seed=seed)), {}
            break
    p = published_nulls(
        window_means, replicates(design, PUBLISHED_SETS, seed), permutations=1000, seed=seed
    )
    yield [uniformity(p, test="published", null=REPLICATES, alpha=alpha)], {"published": p}


def _histogram(test: str, p: np.ndarray, bins: int = 20) -> pd.DataFrame:
    """Share of p-values per bin of width 1/bins."""
    values = p[np.isfinite(p)]
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return pd.DataFrame(
        {"test": test, "p": (edges[:-1] + edges[1:]) / 2, "share": counts / max(len(values), 1)}
    )
