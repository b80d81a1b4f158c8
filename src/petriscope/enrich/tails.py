"""Tails in log space (enrichments reach far below the smallest double), adjusted p-values, and
families: what is corrected together. A control draw is a family of its own, as one query is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlog1py, xlogy

_CONVERGED = 1e-16
_TABLE = 1 << 24
"""places of a table that finds distinct triples without sorting"""
_SAME = 1 + 1e-14  # masses this close count as equal in the two-sided test, as in scipy
Alternative = Literal["greater", "less", "two-sided"]


class _Counts(ABC):
    """A family of distributions on integers, one per array entry."""

    def __init__(self, *parameters: np.ndarray) -> None:
        self.parameters = parameters

    def at(self, where: np.ndarray) -> Self:
        """The members selected."""
        return type(self)(*(a[where] for a in self.parameters))

    @property
    @abstractmethod
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest possible count."""

    @property
    @abstractmethod
    def mean(self) -> np.ndarray:
        """Expected count."""

    @abstractmethod
    def log_mass(self, x: np.ndarray) -> np.ndarray:
        """ln P(X = x)."""

    @abstractmethod
    def rise(self, x: np.ndarray) -> np.ndarray:
        """P(X = x + 1) / P(X = x)."""


class _Binomial(_Counts):
    """Parameters n, p."""

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        n, p = self.parameters
        return np.where(p >= 1, n, 0.0), np.where(p <= 0, 0.0, n)

    @property
    def mean(self) -> np.ndarray:
        n, p = self.parameters
        return n * p

    def log_mass(self, x: np.ndarray) -> np.ndarray:
        n, p = self.parameters
        return (
            gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1) + xlogy(x, p) + xlog1py(n - x, -p)
        )

    def rise(self, x: np.ndarray) -> np.ndarray:
        n, p = self.parameters
        return (n - x) / (x + 1) * (p / (1 - p))


class _Hypergeometric(_Counts):
    """Parameters population, marked, drawn."""

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        population, marked, drawn = self.parameters
        return np.maximum(0.0, drawn + marked - population), np.minimum(marked, drawn)

    @property
    def mean(self) -> np.ndarray:
        population, marked, drawn = self.parameters
        return marked * drawn / np.maximum(population, 1)

    def log_mass(self, x: np.ndarray) -> np.ndarray:
        population, marked, drawn = self.parameters
        return (
            _choose(marked, x)
            + _choose(population - marked, drawn - x)
            - _choose(population, drawn)
        )

    def rise(self, x: np.ndarray) -> np.ndarray:
        population, marked, drawn = self.parameters
        return (marked - x) * (drawn - x) / ((x + 1) * (population - marked - drawn + x + 1))


def log_binomial_tail(k: ArrayLike, n: ArrayLike, p: ArrayLike) -> np.ndarray:
    """ln P(X ≥ k) for X ~ Binomial(n, p); arrays broadcast; below the support 0, above it -inf."""
    seen, trials, rate = (np.asarray(a, dtype=np.float64) for a in np.broadcast_arrays(k, n, p))
    return _upper(seen.ravel(), _Binomial(trials.ravel(), rate.ravel())).reshape(seen.shape)


def log_hypergeometric_tail(
    k: ArrayLike, population: ArrayLike, marked: ArrayLike, drawn: ArrayLike
) -> np.ndarray:
    """ln P(X ≥ k), X the marked ones among ``drawn`` of a ``population`` that holds ``marked``;
    arrays broadcast."""
    return log_fisher(k, population, marked, drawn, alternative="greater")


def tabulated_hypergeometric_tail(
    k: np.ndarray, population: int, marked: np.ndarray, drawn: np.ndarray
) -> np.ndarray:
    """As `log_hypergeometric_tail` for whole numbers ``k``, ``marked`` and ``drawn`` (E,) out of
    one population, evaluated once per distinct triple: overlaps of many lists with many sets are
    millions, the triples hundreds."""
    parts = [np.asarray(part, np.int64) for part in (k, marked, drawn)]
    if not len(parts[0]):
        return np.zeros(0)
    least = [int(part.min()) for part in parts]
    sizes = tuple(int(part.max()) - low + 1 for part, low in zip(parts, least))
    key = parts[0] - least[0]
    for part, low, size in zip(parts[1:], least[1:], sizes[1:]):
        key = key * size + (part - low)
    if math.prod(sizes) <= _TABLE:
        place = np.zeros(math.prod(sizes), np.int64)
        place[key] = 1
        distinct = np.flatnonzero(place)
        place[distinct] = np.arange(len(distinct))
        which = place[key]
    else:
        distinct, which = np.unique(key, return_inverse=True)
    k, marked, drawn = (
        part + low for part, low in zip(np.unravel_index(distinct, sizes), least, strict=True)
    )
    return log_hypergeometric_tail(k, population, marked, drawn)[which]


def log_fisher(
    k: ArrayLike,
    population: ArrayLike,
    marked: ArrayLike,
    drawn: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
) -> np.ndarray:
    """ln p of Fisher's exact test of the 2 x 2 table with these margins and ``k`` in its corner;
    arrays broadcast.

    Two-sided sums every table no likelier than the one seen (scipy.stats.fisher_exact's
    definition).
    """
    seen, *margins = (
        np.asarray(a, dtype=np.float64) for a in np.broadcast_arrays(k, population, marked, drawn)
    )
    counts = _Hypergeometric(*(margin.ravel() for margin in margins))
    test = {"greater": _upper, "less": _lower, "two-sided": _both_sides}[alternative]
    return test(seen.ravel(), counts).reshape(seen.shape)


def benjamini_hochberg(ln_p: np.ndarray, family: int | None = None) -> np.ndarray:
    """Benjamini–Hochberg adjusted p of log p-values of any shape; NaN entries are outside the
    family and stay NaN.

    ``family`` is the number of tests where more were made than are given; the others must have p =
    1.
    """
    ln_p = np.asarray(ln_p, dtype=np.float64)
    q = np.full(ln_p.shape, np.nan)
    tested = np.isfinite(ln_p) | np.isneginf(ln_p)
    values = ln_p[tested]
    if not values.size:
        return q
    order = np.argsort(values, kind="stable")
    steps = values[order] + np.log(family or len(values)) - np.log(np.arange(1, len(values) + 1))
    adjusted = np.minimum.accumulate(steps[::-1])[::-1]
    back = np.empty(len(values))
    back[order] = np.exp(np.minimum(adjusted, 0.0))
    q[tested] = back
    return q


def homer_q(ln_p: np.ndarray) -> np.ndarray:
    """q as HOMER prints it: p·n/rank, ties take the last rank, running maximum from the smallest p
    up, capped at 1."""
    ln_p = np.asarray(ln_p, dtype=np.float64)
    order = np.argsort(ln_p, kind="stable")
    ranks = np.searchsorted(ln_p[order], ln_p[order], side="right")
    q = np.empty(len(ln_p))
    q[order] = np.minimum(np.maximum.accumulate(np.exp(ln_p[order]) * len(ln_p) / ranks), 1.0)
    return q


def _choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _sum(start: np.ndarray, counts: _Counts, up: bool) -> np.ndarray:
    """ln of the mass from ``start`` outwards, away from the mean: a series of falling terms."""
    total = np.ones(len(start))
    term = np.ones(len(start))
    low, high = counts.bounds
    alive = np.flatnonzero(start < high) if up else np.flatnonzero(start > low)
    x, members, term_alive = start[alive].copy(), counts.at(alive), term[alive]
    while alive.size:
        term_alive = term_alive * members.rise(x) if up else term_alive / members.rise(x - 1)
        x = x + 1 if up else x - 1
        total[alive] += term_alive
        low, high = members.bounds
        going = (term_alive > _CONVERGED * total[alive]) & ((x < high) if up else (x > low))
        if not going.all():
            alive, x, term_alive, members = (
                alive[going],
                x[going],
                term_alive[going],
                members.at(going),
            )
    return counts.log_mass(start) + np.log(total)


def _one_sided(k: np.ndarray, counts: _Counts, up: bool) -> np.ndarray:
    """ln P(X ≥ k) or ln P(X ≤ k): the series of the side that falls, or the complement of the other
    one."""
    low, high = counts.bounds
    out = np.zeros(len(k))
    beyond, whole = (k > high, k <= low) if up else (k < low, k >= high)
    out[beyond] = -np.inf
    direct = ~beyond & ~whole & ((k > counts.mean) if up else (k < counts.mean))
    rest = ~beyond & ~whole & ~direct
    if direct.any():
        out[direct] = np.minimum(_sum(k[direct], counts.at(direct), up), 0.0)
    if rest.any():
        other = _sum(k[rest] - 1 if up else k[rest] + 1, counts.at(rest), not up)
        out[rest] = np.log1p(-np.exp(np.minimum(other, -_CONVERGED)))
    return out


def _upper(k: np.ndarray, counts: _Counts) -> np.ndarray:
    return _one_sided(k, counts, up=True)


def _lower(k: np.ndarray, counts: _Counts) -> np.ndarray:
    return _one_sided(k, counts, up=False)


def _both_sides(k: np.ndarray, counts: _Counts) -> np.ndarray:
    """Own tail plus the far tail from where the mass falls to that of ``k`` (bisection on either
    side of the mode)."""
    population, marked, drawn = counts.parameters
    low, high = counts.bounds
    mode = np.clip(np.floor((drawn + 1) * (marked + 1) / (population + 2)), low, high)
    seen = counts.log_mass(k) + np.log(_SAME)
    above = k > mode
    far_left = (
        _first(lambda x: counts.log_mass(x) > seen, low, mode) - 1
    )  # last x below the mode no likelier than k
    far_right = _first(lambda x: counts.log_mass(x) <= seen, mode, high + 1)
    own = np.where(above, _upper(k, counts), _lower(k, counts))
    far = np.where(above, _lower(far_left, counts), _upper(far_right, counts))
    at_mode = counts.log_mass(mode) <= seen
    return np.where(at_mode, 0.0, np.minimum(np.logaddexp(own, far), 0.0))


def _first(
    holds: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Smallest integer in [low, high) where the monotone ``holds`` is true, else ``high``."""
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        true = holds(np.minimum(middle, np.maximum(high - 1, low)))
        open_ = low < high
        high = np.where(open_ & true, middle, high)
        low = np.where(open_ & ~true, middle + 1, low)
    return low


CONTROLS = ("peaks", "random", "planted", "top_activation")
SHOWN_DRAWS = 5
"""Random draws that stay in a table on disk; the share of significant draws is taken over all of
them."""


def for_disk(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with the first few random draws only."""
    random = table[table.kind == "random"].group.drop_duplicates()
    return table[~table.group.isin(random[SHOWN_DRAWS:])]


def below(alpha: float, name: str = "q") -> str:
    """The condition as a sentence or a legend writes it: 'q < .1'."""
    return f"{name} < {alpha:g}".replace(" 0.", " .")


def share_of_draws(table: pd.DataFrame, draws: int, *, alpha: float, q: str = "q") -> float | None:
    """Share of all random draws that have any term with ``q`` below alpha; None where none were
    drawn."""
    random = table[table.kind == "random"]
    return float((random.groupby("group")[q].min() < alpha).sum() / draws) if draws else None


def with_q(
    table: pd.DataFrame, tests_per_group: int | None = None, ln_p: str = "ln_p", q: str = "q"
) -> pd.DataFrame:
    """Add Benjamini–Hochberg ``q`` to a long table of groups (columns group, kind, and ``ln_p``).

    All features, lineages and conditions form one family; each control (raw peaks, random draw,
    planted elements, top-activation features) is its own, so that true findings elsewhere do not
    raise a control's cut-off. ``tests_per_group``: tests made per group where the table leaves out
    those without overlap (their p is 1).
    """
    family = np.where(table.kind.isin(CONTROLS), table.group, "features")
    values = np.full(len(table), np.nan)
    for _, rows in pd.Series(range(len(table))).groupby(family):
        here = table[ln_p].to_numpy(float)[rows]
        made = (
            None if tests_per_group is None else table.group.iloc[rows].nunique() * tests_per_group
        )
        values[rows] = benjamini_hochberg(here, family=made)
    return table.assign(**{q: values})
