"""A direction should move units of the reference condition toward the target; it comes from
features, from means, from probes, or from chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.probe.harvest import Hidden
from petriscope.shown import INK, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def two_sided(design: Design) -> tuple[str, ...]:
    """Strata with units on both sides."""
    return tuple(name for name in design.strata if design.why_untestable(name, "locus") is None)


@dataclass(frozen=True)
class UnitMeans:
    """What directions are learned from: means over tokens of each unit, on data that no read-out
    sees."""

    hidden: np.ndarray
    """(S, d) mean hidden state per unit."""
    features: np.ndarray
    """(S, m) mean activation per unit."""
    covariance: np.ndarray
    """(d, d) covariance of hidden states within units."""
    design: Design

    @property
    def spread(self) -> float:
        """Root mean square distance of a token from the mean of its unit: the unit of a steering
        strength."""
        return float(np.sqrt(np.trace(self.covariance)))

    def difference(self, values: np.ndarray, strata: tuple[str, ...]) -> np.ndarray:
        """Mean over ``strata`` of target minus reference, each the mean over its units, of values
        (S, ...)."""
        parts = []
        for stratum in strata:
            reason = self.design.why_untestable(stratum, "locus")
            if reason:
                raise UserError(reason, field="design", remedy="A direction needs both conditions.")
            reference, target = self.design.sides(stratum)
            parts.append(values[target].mean(0) - values[reference].mean(0))
        return np.asarray(np.mean(parts, axis=0))


class Learned(NamedTuple):
    """A vector added to the residual stream of reference rows."""

    method: str
    vector: np.ndarray
    """(d,)"""


def unit_means(
    hidden: np.ndarray, features: np.ndarray, unit: np.ndarray, design: Design
) -> UnitMeans:
    """Means and within-unit covariance of tokens: ``hidden`` (n, d), ``unit`` (n,) row of the
    design.

    ``features`` (S, m) are the mean activations, e.g. `Moments.unit_means()`.
    """
    rows, d = np.asarray(hidden, np.float64), hidden.shape[1]
    means, within = np.zeros((len(design.units), d)), np.zeros((d, d))
    for s, name in enumerate(design.units):
        part = rows[unit == s]
        if len(part) == 0:
            raise UserError(f"{name} has no token", field="unit", remedy="Take more windows.")
        means[s] = part.mean(0)
        centered = part - means[s]
        within += centered.T @ centered
    return UnitMeans(means, features, within / max(1, len(rows) - len(design.units)), design)


def mean_difference(means: UnitMeans, strata: tuple[str, ...]) -> np.ndarray:
    """(d,) mean target minus mean reference hidden state, averaged over strata."""
    return means.difference(means.hidden, strata)


def single_pair(means: UnitMeans, strata: tuple[str, ...]) -> np.ndarray:
    """(d,) the difference between the first unit of either side, averaged over strata (no
    replicate)."""
    sides = [means.design.sides(stratum) for stratum in strata]
    return np.mean(
        [means.hidden[side.target[0]] - means.hidden[side.reference[0]] for side in sides], axis=0
    )


def sae_additive(
    means: UnitMeans, directions: np.ndarray, selected: np.ndarray, strata: tuple[str, ...]
) -> np.ndarray:
    """(d,) sum over the selected features of (mean target - mean reference activation) times their
    direction (m, d)."""
    return means.difference(means.features, strata)[selected] @ directions[selected]


def linear_probe(means: UnitMeans, strata: tuple[str, ...], *, ridge: float = 1e-2) -> np.ndarray:
    """(d,) normal of the ridge discriminant between conditions, as long as it must be to close the
    gap of the means.

    w = (C + ridge tr(C)/d I)^-1 (mu_target - mu_reference), the vector is w times (w . gap)/(w .
    w).
    """
    gap = mean_difference(means, strata)
    d = len(gap)
    shrunk = means.covariance + ridge * np.trace(means.covariance) / d * np.eye(d)
    w = np.linalg.solve(shrunk, gap)
    return w * float(w @ gap) / float(w @ w)


def random_like(vector: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(draws, d) random directions of the norm of ``vector``."""
    drawn = np.random.default_rng(seed).normal(size=(draws, len(vector)))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.linalg.norm(vector)


def shuffled_means(means: UnitMeans, strata: tuple[str, ...], draws: int, seed: int) -> np.ndarray:
    """(draws, d) differences of means with the condition labels permuted within strata, at their
    own norm."""
    rng, design = np.random.default_rng(seed), means.design
    result = []
    for _ in range(draws):
        target = design.is_target.copy()
        for stratum in range(len(design.strata)):
            rows = np.flatnonzero(design.stratum_of == stratum)
            target[rows] = rng.permutation(target[rows])
        shuffled = replace(means, design=design.relabelled(target))
        result.append(mean_difference(shuffled, strata))
    return np.stack(result)


class Replacement(NamedTuple):
    """Least-squares concept erasure, and what is put in place of the concept: h' = h + (target -
    read . (h - center)) write."""

    read: np.ndarray
    """(d,) reads the condition's coordinate of a token."""
    write: np.ndarray
    """(d,) changes that coordinate by one, and least of everything else."""
    center: np.ndarray
    """(d,)"""
    target: float
    """mean coordinate of target tokens; 0 erases the condition."""


def leace(means: UnitMeans, strata: tuple[str, ...]) -> Replacement:
    """LEACE (arXiv 2306.03819, theorem 4.3) of a binary condition over the units of ``strata``,
    from their means.

    With s = Cov(h, condition) and the covariance S of tokens (within units plus between them),
    erasure is h - s (S^-1 s)' (h - mu) / (s' S^-1 s): no linear probe finds the condition
    afterwards, and h moves as little as it can.
    """
    rows = np.concatenate([np.concatenate(means.design.sides(stratum)) for stratum in strata])
    points, target = means.hidden[rows], means.design.is_target[rows].astype(np.float64)
    center = points.mean(0)
    centered = points - center
    cross = centered.T @ (target - target.mean()) / len(rows)
    read = (
        np.linalg.pinv(means.covariance + centered.T @ centered / len(rows), hermitian=True) @ cross
    )
    scale = float(read @ cross)
    if not scale > 0:
        raise UserError(
            "the conditions have the same mean",
            field="steering",
            remedy="There is nothing to erase.",
        )
    read = read / scale
    return Replacement(read, cross, center, float(read @ (points[target > 0].mean(0) - center)))


def of_length(vector: np.ndarray, length: float) -> np.ndarray:
    """``vector`` (d,) at another length; zero stays zero."""
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > 0 else vector


def all_directions(
    means: UnitMeans, directions: np.ndarray, selected: np.ndarray, strata: tuple[str, ...]
) -> list[Learned]:
    """Every learned direction by name: sae_additive, difference_of_means, single_pair,
    linear_probe.

    Each at its own length, which differs tenfold between methods: `of_length` brings them to one
    unit of strength.
    """
    return [
        Learned("sae_additive", sae_additive(means, directions, selected, strata)),
        Learned("difference_of_means", mean_difference(means, strata)),
        Learned("single_pair", single_pair(means, strata)),
        Learned("linear_probe", linear_probe(means, strata)),
    ]


@dataclass(frozen=True, repr=False)
class Direction(Printed):
    """A direction at one layer, and what it was learned from.

    Examples
    --------
    >>> toward.vector.shape == (hidden.d,)
    True
    """

    method: str
    vector: np.ndarray
    """(d,) target minus reference, at its own length."""
    layer: int
    spread: float
    """Root mean square distance of a token from the mean of its unit: the unit of a steering
    strength."""
    design: Design
    strata: tuple[str, ...]
    """those it was averaged over"""

    @property
    def heading(self) -> str:
        """Method, layer and what it was learnt from, in one line."""
        return f"{self.method} at layer {self.layer}, mean over {', '.join(self.strata)}"

    def table(self) -> pd.DataFrame:
        """One row: layer, d, norm, spread and norm_in_spreads, norm over spread."""
        norm = float(np.linalg.norm(self.vector))
        row = {"layer": self.layer, "d": len(self.vector), "norm": norm, "spread": self.spread}
        return pd.DataFrame([row | {"norm_in_spreads": norm / self.spread}])

    def plot(self) -> Figure:
        """The coordinates of the vector in the basis of the residual stream, as the model has
        them."""
        figure, axes = panel()
        axes.bar(np.arange(len(self.vector)), self.vector, color=INK, width=1)
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set(xlabel="coordinate of the residual stream", ylabel="target minus reference")
        return figure


def difference_of_means(hidden: Hidden, design: Design) -> Direction:
    """Mean of the target's hidden states minus that of the reference.

    Parameters
    ----------
    hidden : Hidden
        Hidden states (n, d) of one layer with their token axis. Windows of split ``test`` are left
        out: there a verb reads.
    design : Design
        Which units are target and reference, and in which strata.

    Returns
    -------
    Direction
        Tokens are averaged to units, units to the two sides of a stratum, and the differences over
        the strata that have both sides. Units without a token are left out.

    Raises
    ------
    UserError
        Where no stratum has units on both sides.

    Examples
    --------
    >>> toward = ps.difference_of_means(hidden, design)
    >>> toward.strata == tuple(design.strata)
    True
    """
    tokens = hidden.tokens
    design.check(tokens.units, "tokens")
    rows = np.flatnonzero(tokens.split != "test")
    rows = rows if len(rows) else np.arange(len(tokens))
    present, unit = np.unique(tokens.unit[rows], return_inverse=True)
    seen = design.of_units(present)
    strata = two_sided(seen)
    if not strata:
        raise UserError(
            f"has no {design.words.stratum} with units of both conditions",
            field="design",
            remedy="Choose other strata or none, or harvest more windows.",
        )
    blank = np.zeros((len(seen.units), 1))
    means = unit_means(np.asarray(hidden.values[rows]), blank, unit, seen)
    vector = mean_difference(means, strata)
    return Direction("difference of means", vector, hidden.layer, means.spread, design, strata)
