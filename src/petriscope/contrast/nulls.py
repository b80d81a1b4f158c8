"""Null data sets: contrasts between biosamples that differ in nothing but the donor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from petriscope.contrast.evidence import usable_lineages
from petriscope.contrast.inference import squeeze
from petriscope.contrast.linear import fit, layout, residuals
from petriscope.contrast.moments import Design


def shuffled(design: Design, sets: int, seed: int) -> Iterator[Design]:
    """Designs with the context labels permuted within each lineage, never the observed contrast or
    its mirror image.

    Real differences stay in the data, so a feature that has one is no null for a t test of these
    designs (the permutation test is exact all the same): judge the t on features without one, where
    truth is known.
    """
    rng = np.random.default_rng(seed)
    balanced = any(_mixable(design, lineage) for lineage in range(len(design.lineages)))
    while sets > 0 and balanced:
        vivo = design.vivo.copy()
        for lineage in range(len(design.lineages)):
            rows = np.flatnonzero(design.lineage_of == lineage)
            vivo[rows] = rng.permutation(vivo[rows])
        changed = [
            (vivo != design.vivo)[design.lineage_of == i] for i in range(len(design.lineages))
        ]
        if all(change.all() or not change.any() for change in changed):
            continue
        sets -= 1
        yield replace(design, vivo=vivo)


def replicates(design: Design, sets: int, seed: int) -> Iterator[Design]:
    """Designs that contrast replicates of one condition: every lineage x context becomes a lineage
    of its own.

    Within each condition of n >= 2 biosamples, floor(n/2) drawn ones play in vivo against the rest.
    Conditions with one biosample keep one label, so that no test of them exists.
    """
    rng = np.random.default_rng(seed)
    names: list[str] = []
    condition = np.zeros(len(design.biosamples), int)
    for i, lineage in enumerate(design.lineages):
        for context, side in (("in_vitro", False), ("in_vivo", True)):
            condition[(design.lineage_of == i) & (design.vivo == side)] = len(names)
            names.append(f"{lineage} {context} replicates")
    for _ in range(sets):
        vivo = np.zeros(len(design.biosamples), bool)
        for c in range(len(names)):
            rows = np.flatnonzero(condition == c)
            vivo[rng.permutation(rows)[: len(rows) // 2]] = True
        yield Design(
            design.biosamples, tuple(names), condition, vivo, design.covariates, design.adjust
        )


def without_contrast(means: np.ndarray, design: Design) -> np.ndarray:
    """Biosample means (S, m) with the fitted difference of the contexts taken out of each lineage
    that can be tested: donors, depth and noise stay as they are, so that shuffled labels meet no
    real difference."""
    lineages = usable_lineages(design)
    result = means.astype(np.float64)
    if not lineages:
        return result
    shape = layout(design, lineages)
    at = 0
    for size, weights in zip(shape.sizes, shape.weights):
        rows = shape.rows[at : at + sum(size)]
        half = weights @ means[shape.rows] / 2
        result[rows] += np.where(design.vivo[rows][:, None], -half, half)
        at += sum(size)
    return result


def gaussian(means: np.ndarray, design: Design, sets: int, seed: int) -> Iterator[np.ndarray]:
    """Null biosample means (S, m) in the observed layout, from the fitted model of the moderated t.

    No contrast; the observed lineage averages and the observed effect of the covariates (depth
    differs between the contexts as it does in the data); variances drawn from their posterior
    (moderated, along the mean); the correlation between features that replicates of a condition
    show, shrunk for its own noise. All sets are independent of each other, which relabellings of
    the same few biosamples are not. Lineages without replicates are constant.
    """
    rng = np.random.default_rng(seed)
    lineages = usable_lineages(design)
    if not lineages:
        return
    shape = layout(design, lineages)
    values = means[shape.rows]
    within = residuals(values, shape.columns)
    variance = (within**2).sum(0) / shape.df
    prior = fit(means, shape).prior
    degrees = min(shape.df + prior.df, 1e6)
    posterior = squeeze(variance, shape.df, prior)
    names = np.repeat(np.eye(len(lineages)), [sum(size) for size in shape.sizes], axis=0)
    covariates = shape.columns[:, shape.columns.shape[1] - shape.covariates :]
    centred = covariates - names @ np.linalg.lstsq(names, covariates, rcond=None)[0]
    slope = np.linalg.lstsq(shape.columns, values, rcond=None)[0][
        shape.columns.shape[1] - shape.covariates :
    ]
    expected = names @ np.linalg.lstsq(names, values, rcond=None)[0] + centred @ slope
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
    """How many independent null sets of a kind ('shuffled' or 'replicates') the biosamples hold.

    It is the number of contrasts that can be orthogonal to each other; more relabellings repeat the
    same donors.
    """
    per_lineage = []
    for lineage in design.lineages:
        vitro, vivo = design.sides(lineage)
        if null == "shuffled":
            per_lineage.append(len(vitro) + len(vivo) - 1)
        else:
            per_lineage += [len(side) - 1 for side in (vitro, vivo) if len(side) > 1]
    return float(np.mean(per_lineage)) if per_lineage else 0.0


def _mixable(design: Design, lineage: int) -> bool:
    """Whether some relabelling of a lineage is neither the observed contrast nor its mirror
    image."""
    vivo = design.vivo[design.lineage_of == lineage]
    return 0 < vivo.sum() < len(vivo) and len(vivo) > 2
