"""Directions that should move units of the reference condition toward the target: from features,
from means, from probes, and by chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.probe.harvest import Hidden


class Groups(NamedTuple):
    """Which unit belongs to which stratum and side: all that directions need of a design."""

    units: tuple[str, ...]
    strata: tuple[str, ...]
    stratum_of: np.ndarray
    """(S,) index into ``strata``."""
    target: np.ndarray
    """(S,) bool: the unit's condition is the target; every other is the reference."""

    @classmethod
    def of(cls, design: Design) -> Groups:
        """The groups of a design."""
        return cls(design.units, design.strata, design.stratum_of, design.is_target)

    def sides(self, stratum: str) -> Sides:
        """Row indices of a stratum's units on either side. Raises `UserError` where one is
        empty."""
        if stratum not in self.strata:
            raise UserError(
                f"{stratum!r} is not in the data set",
                field="stratum",
                remedy=f"It has {list(self.strata)}.",
            )
        member = self.stratum_of == self.strata.index(stratum)
        sides = Sides(np.flatnonzero(member & ~self.target), np.flatnonzero(member & self.target))
        for name, rows in zip(Sides._fields, sides):
            if len(rows) == 0:
                raise UserError(
                    f"{stratum} has no unit of the {name} condition",
                    field="stratum",
                    remedy="A direction needs both conditions.",
                )
        return sides

    def only(self, rows: np.ndarray) -> Groups:
        """Some of the units."""
        names = tuple(self.units[row] for row in rows)
        return Groups(names, self.strata, self.stratum_of[rows], self.target[rows])

    def both(self) -> tuple[str, ...]:
        """Strata with units on both sides."""
        found = [
            {bool(side) for side in self.target[self.stratum_of == number]}
            for number in range(len(self.strata))
        ]
        return tuple(name for name, sides in zip(self.strata, found) if len(sides) == 2)


class Sides(NamedTuple):
    """Row indices of the two sides of one stratum."""

    reference: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class UnitMeans:
    """What directions are learnt from: means over tokens of each unit, on data that no read-out
    sees."""

    hidden: np.ndarray
    """(S, d) mean hidden state per unit."""
    features: np.ndarray
    """(S, m) mean activation per unit."""
    covariance: np.ndarray
    """(d, d) covariance of hidden states within units."""
    groups: Groups

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
            reference, target = self.groups.sides(stratum)
            parts.append(values[target].mean(0) - values[reference].mean(0))
        return np.asarray(np.mean(parts, axis=0))


class Learnt(NamedTuple):
    """A vector added to the residual stream of reference rows."""

    method: str
    vector: np.ndarray
    """(d,)"""


def unit_means(
    hidden: np.ndarray, features: np.ndarray, unit: np.ndarray, groups: Groups
) -> UnitMeans:
    """Means and within-unit covariance of tokens: ``hidden`` (n, d), ``unit`` (n,) row of the
    groups.

    ``features`` (S, m) are the mean activations, e.g. `Moments.unit_means()`.
    """
    rows, d = np.asarray(hidden, np.float64), hidden.shape[1]
    means, within = np.zeros((len(groups.units), d)), np.zeros((d, d))
    for s, name in enumerate(groups.units):
        part = rows[unit == s]
        if len(part) == 0:
            raise UserError(f"{name} has no token", field="unit", remedy="Take more windows.")
        means[s] = part.mean(0)
        centred = part - means[s]
        within += centred.T @ centred
    return UnitMeans(means, features, within / max(1, len(rows) - len(groups.units)), groups)


def mean_difference(means: UnitMeans, strata: tuple[str, ...]) -> np.ndarray:
    """(d,) mean target minus mean reference hidden state, averaged over strata."""
    return means.difference(means.hidden, strata)


def single_pair(means: UnitMeans, strata: tuple[str, ...]) -> np.ndarray:
    """(d,) the difference between the first unit of either side, averaged over strata (no
    replicate)."""
    sides = [means.groups.sides(stratum) for stratum in strata]
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

    w = (C + ridge tr(C)/d I)^-1 (mu_target - mu_reference), the vector is w times (w . gap)/(w . w).
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
    rng, groups = np.random.default_rng(seed), means.groups
    result = []
    for _ in range(draws):
        target = groups.target.copy()
        for stratum in range(len(groups.strata)):
            rows = np.flatnonzero(groups.stratum_of == stratum)
            target[rows] = rng.permutation(target[rows])
        shuffled = replace(means, groups=groups._replace(target=target))
        result.append(mean_difference(shuffled, strata))
    return np.stack(result)


class Replacement(NamedTuple):
    """Least-squares concept erasure, and what is put in place of the concept: h' = h + (target -
    read . (h - centre)) write."""

    read: np.ndarray
    """(d,) reads the condition's coordinate of a token."""
    write: np.ndarray
    """(d,) changes that coordinate by one, and least of everything else."""
    centre: np.ndarray
    """(d,)"""
    target: float
    """mean coordinate of target tokens; 0 erases the condition."""


def leace(means: UnitMeans, strata: tuple[str, ...]) -> Replacement:
    """LEACE (arXiv 2306.03819, theorem 4.3) of a binary condition over the units of ``strata``,
    from their means.

    With s = Cov(h, condition) and the covariance S of tokens (within units plus between them),
    erasure is h - s (S^-1 s)' (h - mu) / (s' S^-1 s): no linear probe finds the condition afterwards,
    and h moves as little as it can.
    """
    rows = np.concatenate([np.concatenate(means.groups.sides(stratum)) for stratum in strata])
    points, target = means.hidden[rows], means.groups.target[rows].astype(np.float64)
    centre = points.mean(0)
    centred = points - centre
    cross = centred.T @ (target - target.mean()) / len(rows)
    read = (
        np.linalg.pinv(means.covariance + centred.T @ centred / len(rows), hermitian=True) @ cross
    )
    scale = float(read @ cross)
    if not scale > 0:
        raise UserError(
            "the conditions have the same mean",
            field="steering",
            remedy="There is nothing to erase.",
        )
    read = read / scale
    return Replacement(read, cross, centre, float(read @ (points[target > 0].mean(0) - centre)))


def of_length(vector: np.ndarray, length: float) -> np.ndarray:
    """``vector`` (d,) at another length; zero stays zero."""
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > 0 else vector


def all_directions(
    means: UnitMeans, directions: np.ndarray, selected: np.ndarray, strata: tuple[str, ...]
) -> list[Learnt]:
    """Every learnt direction by name: sae_additive, difference_of_means, single_pair, linear_probe.

    Each at its own length, which differs tenfold between methods: `of_length` brings them to one
    unit of strength.
    """
    return [
        Learnt("sae_additive", sae_additive(means, directions, selected, strata)),
        Learnt("difference_of_means", mean_difference(means, strata)),
        Learnt("single_pair", single_pair(means, strata)),
        Learnt("linear_probe", linear_probe(means, strata)),
    ]


@dataclass(frozen=True)
class Direction:
    """A direction at one layer, and what it was learnt from."""

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

    def __str__(self) -> str:
        return (
            f"{self.method} at layer {self.layer}, {len(self.vector)} wide: norm "
            f"{np.linalg.norm(self.vector):.3g}, {np.linalg.norm(self.vector) / self.spread:.3g} "
            f"of a token's spread; mean over {', '.join(self.strata)}"
        )


def difference_of_means(hidden: Hidden, design: Design) -> Direction:
    """Mean of the target's hidden states minus that of the reference.

    Parameters
    ----------
    hidden
        Hidden states of one layer with their token axis. Windows of split ``test`` are left out:
        there a verb reads.
    design
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
    >>> toward = ps.difference_of_means(hidden, design)  # doctest: +SKIP
    """
    groups, tokens = Groups.of(design), hidden.tokens
    if tokens.units != len(groups.units):
        raise UserError(
            f"describes {len(groups.units)} units, the token axis has {tokens.units}",
            field="design",
            remedy="The rows of the unit table must be the units of the tokens, in order.",
        )
    rows = np.flatnonzero(tokens.split != "test")
    rows = rows if len(rows) else np.arange(len(tokens))
    present, unit = np.unique(tokens.unit[rows], return_inverse=True)
    seen = groups.only(present)
    strata = seen.both()
    if not strata:
        raise UserError(
            "has no stratum with units of both conditions",
            field="design",
            remedy="Choose other strata or none, or harvest more windows.",
        )
    blank = np.zeros((len(present), 1))
    means = unit_means(np.asarray(hidden.values[rows]), blank, unit, seen)
    vector = mean_difference(means, strata)
    return Direction("difference of means", vector, hidden.layer, means.spread, design, strata)
