"""Directions that should turn a dish into a body: from features, from means, from probes, and by
chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from petriscope.contrast.moments import Design
from petriscope.errors import UserError


@dataclass(frozen=True)
class ContextMeans:
    """What directions are learnt from: means over tokens of each biosample, on data that no
    read-out sees."""

    hidden: np.ndarray
    """(S, d) mean hidden state per biosample."""
    features: np.ndarray
    """(S, m) mean activation per biosample."""
    covariance: np.ndarray
    """(d, d) covariance of hidden states within biosamples."""
    design: Design

    @property
    def spread(self) -> float:
        """Root mean square distance of a token from the mean of its biosample: the unit of a
        steering strength."""
        return float(np.sqrt(np.trace(self.covariance)))

    def difference(self, values: np.ndarray, lineages: tuple[str, ...]) -> np.ndarray:
        """Mean over ``lineages`` of in vivo minus in vitro, each the mean over its biosamples, of
        values (S, ...)."""
        parts = []
        for lineage in lineages:
            reason = self.design.why_untestable(lineage, "locus")
            if reason:
                raise UserError(
                    reason, file="biosamples", remedy="A direction needs both contexts."
                )
            vitro, vivo = self.design.sides(lineage)
            parts.append(values[vivo].mean(0) - values[vitro].mean(0))
        return np.asarray(np.mean(parts, axis=0))


class Direction(NamedTuple):
    """A vector added to the residual stream of in vitro rows."""

    method: str
    vector: np.ndarray
    """(d,)"""


def context_means(
    hidden: np.ndarray, features: np.ndarray, biosample: np.ndarray, design: Design
) -> ContextMeans:
    """Means and within-biosample covariance of tokens: ``hidden`` (n, d), ``biosample`` (n,) row of
    the design.

    ``features`` (S, m) are the mean activations, e.g. `Moments.biosample_means()`.
    """
    rows, d = np.asarray(hidden, np.float64), hidden.shape[1]
    means, within = np.zeros((len(design.biosamples), d)), np.zeros((d, d))
    for s, name in enumerate(design.biosamples):
        part = rows[biosample == s]
        if len(part) == 0:
            raise UserError(
                f"biosample {name} has no token", field="steering", remedy="Take more windows."
            )
        means[s] = part.mean(0)
        centred = part - means[s]
        within += centred.T @ centred
    return ContextMeans(
        means, features, within / max(1, len(rows) - len(design.biosamples)), design
    )


def difference_of_means(means: ContextMeans, lineages: tuple[str, ...]) -> np.ndarray:
    """(d,) mean in vivo minus mean in vitro hidden state, averaged over lineages."""
    return means.difference(means.hidden, lineages)


def single_pair(means: ContextMeans, lineages: tuple[str, ...]) -> np.ndarray:
    """(d,) the difference between the first biosample of either context, averaged over lineages (no
    replicate)."""
    sides = [means.design.sides(lineage) for lineage in lineages]
    return np.mean(
        [means.hidden[side.vivo[0]] - means.hidden[side.vitro[0]] for side in sides], axis=0
    )


def sae_additive(
    means: ContextMeans, directions: np.ndarray, selected: np.ndarray, lineages: tuple[str, ...]
) -> np.ndarray:
    """(d,) sum over the selected features of (mean in vivo - mean in vitro activation) times their
    direction (m, d)."""
    return means.difference(means.features, lineages)[selected] @ directions[selected]


def linear_probe(
    means: ContextMeans, lineages: tuple[str, ...], *, ridge: float = 1e-2
) -> np.ndarray:
    """(d,) normal of the ridge discriminant between contexts, as long as it must be to close the
    gap of the means.

    w = (C + ridge tr(C)/d I)^-1 (mu_vivo - mu_vitro), the vector is w times (w . gap)/(w . w).
    """
    gap = difference_of_means(means, lineages)
    d = len(gap)
    shrunk = means.covariance + ridge * np.trace(means.covariance) / d * np.eye(d)
    w = np.linalg.solve(shrunk, gap)
    return w * float(w @ gap) / float(w @ w)


def random_like(vector: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(draws, d) random directions of the norm of ``vector``."""
    drawn = np.random.default_rng(seed).normal(size=(draws, len(vector)))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.linalg.norm(vector)


def shuffled_means(
    means: ContextMeans, lineages: tuple[str, ...], draws: int, seed: int
) -> np.ndarray:
    """(draws, d) differences of means with the context labels permuted within lineages, at their
    own norm."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(draws):
        vivo = means.design.vivo.copy()
        for lineage in range(len(means.design.lineages)):
            rows = np.flatnonzero(means.design.lineage_of == lineage)
            vivo[rows] = rng.permutation(vivo[rows])
        result.append(
            difference_of_means(replace(means, design=replace(means.design, vivo=vivo)), lineages)
        )
    return np.stack(result)


class Replacement(NamedTuple):
    """Least-squares concept erasure, and what is put in place of the concept: h' = h + (target -
    read . (h - centre)) write."""

    read: np.ndarray
    """(d,) reads the context coordinate of a token."""
    write: np.ndarray
    """(d,) changes that coordinate by one, and least of everything else."""
    centre: np.ndarray
    """(d,)"""
    target: float
    """mean coordinate of in vivo tokens; 0 erases the context."""


def leace(means: ContextMeans, lineages: tuple[str, ...]) -> Replacement:
    """LEACE (arXiv 2306.03819, theorem 4.3) of a binary context over the biosamples of
    ``lineages``, from their means.

    With s = Cov(h, context) and the covariance S of tokens (within biosamples plus between them),
    erasure is h - s (S^-1 s)' (h - mu) / (s' S^-1 s): no linear probe finds the context afterwards,
    and h moves as little as it can.
    """
    rows = np.concatenate([np.concatenate(means.design.sides(lineage)) for lineage in lineages])
    difference_of_means(means, lineages)  # refuses lineages with one context
    points, vivo = means.hidden[rows], means.design.vivo[rows].astype(np.float64)
    centre = points.mean(0)
    centred = points - centre
    cross = centred.T @ (vivo - vivo.mean()) / len(rows)
    read = (
        np.linalg.pinv(means.covariance + centred.T @ centred / len(rows), hermitian=True) @ cross
    )
    scale = float(read @ cross)
    if not scale > 0:
        raise UserError(
            "the contexts have the same mean", field="steering", remedy="There is nothing to erase."
        )
    read = read / scale
    return Replacement(read, cross, centre, float(read @ (points[vivo > 0].mean(0) - centre)))


def of_length(vector: np.ndarray, length: float) -> np.ndarray:
    """``vector`` (d,) at another length; zero stays zero."""
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > 0 else vector


def all_directions(
    means: ContextMeans, directions: np.ndarray, selected: np.ndarray, lineages: tuple[str, ...]
) -> list[Direction]:
    """Every learnt direction by name: sae_additive, difference_of_means, single_pair, linear_probe.

    Each at its own length, which differs tenfold between methods: `of_length` brings them to one
    unit of strength.
    """
    return [
        Direction("sae_additive", sae_additive(means, directions, selected, lineages)),
        Direction("difference_of_means", difference_of_means(means, lineages)),
        Direction("single_pair", single_pair(means, lineages)),
        Direction("linear_probe", linear_probe(means, lineages)),
    ]
