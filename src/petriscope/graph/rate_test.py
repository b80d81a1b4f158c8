"""Two classes of sequences are compared by how often each latent fires per token, with labels
permuted only among sequences that could have been in either class.

Exchangeable units. Members of a group (one locus, homologous sequences) are no independent
observations, so a group is permuted as a whole: its members of one class are one unit, their counts
and tokens summed. Groups of one class are exchanged within strata (a length bin, and whatever else
is held fixed). In a group with both classes, only what lies in one stratum is exchanged, the two
classes with each other; a sequence without a partner there says nothing.

Statistic. With labels y and rates r centered within strata, β = Σ y r / Σ y² and its t are those of
the least-squares fit of the rate on class and strata. A permutation within strata changes neither
Σ y² nor Σ r², so t is monotone in Σ y r, and one matrix product gives all relabellings of all
latents. Rates per token, not shares of a sequence: shares sum to one, so a latent that gains takes
from all others (the closure trap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.contrast.inference import ROWS, p_two_sided, permutation_p
from petriscope.contrast.results import adjust
from petriscope.graph.bipartite import Incidence

PSEUDO = 0.5
"""tokens added to each class's count in the rate ratio"""
DENSE = 0.03
"""share of filled entries above which a dense product is faster"""
DENSE_BYTES = 1 << 30


class Exchange(NamedTuple):
    """Which sequences form a unit, and which units may trade labels."""

    unit_of: np.ndarray
    """int (sequences,) unit of each sequence"""
    target: np.ndarray
    """bool (units,)"""
    stratum: np.ndarray
    """int (units,), from 0"""
    mixed: int
    """groups with both classes"""

    @property
    def informative(self) -> np.ndarray:
        """bool (units,): whether the unit's stratum holds both classes."""
        both = np.bincount(self.stratum, self.target) * np.bincount(self.stratum, ~self.target)
        return both[self.stratum] > 0


def exchange(
    target: np.ndarray, strata: Sequence[np.ndarray], group: np.ndarray | None = None
) -> Exchange:
    """Units of ``target`` bool (sequences,) within ``strata``, each int (sequences,), and ``group``
    int (sequences,), every sequence its own unless given.

    A group of one class lies in the stratum of its first sequence. Of a group with both classes,
    those of one stratum and class are a unit.
    """
    target = np.asarray(target, bool)
    keys = np.stack([np.asarray(one) for one in (*strata, np.zeros(len(target), int))])
    cell = np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)
    group = np.arange(len(target)) if group is None else np.unique(group, return_inverse=True)[1]
    mixed = (np.bincount(group, target) > 0) & (np.bincount(group, ~target) > 0)
    within = np.where(mixed[group], cell * 2 + target, -1)  # what of its group a sequence joins
    key = group * (2 * len(target) + 1) + within
    _, first, unit_of = np.unique(key, return_index=True, return_inverse=True)
    inside = group[first] * (len(target) + 1) + cell[first]
    stratum = np.where(mixed[group[first]], -1 - inside, cell[first])
    number = np.unique(stratum, return_inverse=True)[1]
    return Exchange(unit_of, target[first], number, int(mixed.sum()))


class RateTest(NamedTuple):
    """One test per latent, target minus reference. Arrays (m,); NaN where nothing was tested."""

    target: np.ndarray
    """share of the target class's tokens on which the latent fires"""
    reference: np.ndarray
    log_ratio: np.ndarray
    """natural log of the rates' ratio, `PSEUDO` tokens added to each count"""
    low: np.ndarray
    high: np.ndarray
    """95 % limits of it, over independent units (ratio estimator, normal)"""
    difference: np.ndarray
    """of mean rates within strata"""
    t: np.ndarray
    """of that difference, over units"""
    p_t: np.ndarray
    """two-sided, of Student's t"""
    p: np.ndarray
    """two-sided, by permutation of labels within strata"""
    p_maxt: np.ndarray
    """Westfall-Young step-down, over tested latents"""
    q: np.ndarray
    """Benjamini-Hochberg of ``p``"""
    tested: int
    units: int
    """in strata with both classes"""
    strata: int
    permutations: int

    def frame(self) -> pd.DataFrame:
        """The arrays as columns."""
        return pd.DataFrame({n: v for n, v in self._asdict().items() if isinstance(v, np.ndarray)})


def rate_test(
    found: Incidence,
    plan: Exchange,
    *,
    permutations: int,
    seed: int,
    min_tokens: float = 1,
) -> RateTest:
    """Compare the rates of ``found`` between the classes of ``plan``.

    Latents that fire on fewer than ``min_tokens`` tokens are not tested. Nothing is where no
    stratum holds both classes.
    """
    units = len(plan.target)
    member = sp.csr_matrix(
        (np.ones(len(plan.unit_of)), (plan.unit_of, np.arange(len(plan.unit_of)))),
        shape=(units, len(plan.unit_of)),
    )
    counts = sp.csr_matrix(member @ found.counts.astype(np.float64))
    tokens = member @ found.tokens.astype(np.float64)
    sides = [_rate(counts, tokens, side) for side in (plan.target, ~plan.target)]
    log_ratio = sides[0].log - sides[1].log
    half = 1.959963984540054 * np.sqrt(sides[0].variance + sides[1].variance)
    alive = np.asarray(counts.sum(0)).ravel() >= max(min_tokens, 1)
    used = np.flatnonzero(plan.informative & (tokens > 0))
    # a unit without tokens may leave its stratum with one class
    inner = Exchange(used, plan.target[used], plan.stratum[used], plan.mixed)
    used = used[inner.informative]
    m = counts.shape[1]
    empty = np.full(m, np.nan)
    shown = (sides[0].rate, sides[1].rate, log_ratio, log_ratio - half, log_ratio + half)
    if not len(used):
        return RateTest(*shown, empty, empty, empty, empty, empty, empty, 0, 0, 0, 0)
    rates = sp.csr_matrix(sp.diags(1 / tokens[used]) @ counts[used])
    stratum = np.unique(plan.stratum[used], return_inverse=True)[1]
    label = _centered(plan.target[used].astype(np.float64), stratum)
    inside = _within(rates, stratum)
    slope = np.asarray(rates.T @ label).ravel()
    scale = np.sqrt(inside * (label**2).sum())
    varies = alive & (
        inside > 1e-12 * np.maximum(np.asarray(rates.multiply(rates).sum(0)).ravel(), 1e-300)
    )
    correlation = np.where(varies, slope / np.where(varies, scale, 1), np.nan)
    degrees = max(len(used) - int(stratum.max()) - 2, 1)
    t = correlation * np.sqrt(degrees / np.maximum(1 - correlation**2, 1e-15))
    found_p = permutation_p(
        correlation,
        _Null(rates, scale, plan.target[used], stratum, permutations, seed),
        exact=False,
    )
    return RateTest(
        *shown,
        np.where(varies, slope / (label**2).sum(), np.nan),
        t,
        p_two_sided(t, degrees),
        found_p.p,
        found_p.max_t,
        adjust(found_p.p, "bh"),
        int(varies.sum()),
        len(used),
        int(stratum.max()) + 1,
        permutations,
    )


class _Side(NamedTuple):
    rate: np.ndarray
    log: np.ndarray
    variance: np.ndarray
    """of ``log``"""


def _rate(counts: sp.csr_matrix, tokens: np.ndarray, side: np.ndarray) -> _Side:
    """The ratio of sums of one class, and the variance of its log over units (linearized)."""
    c, n, units = counts[side], tokens[side], max(int(side.sum()), 2)
    total, all_tokens = np.asarray(c.sum(0)).ravel(), max(n.sum(), 1.0)
    rate = total / all_tokens
    squares = np.asarray(c.multiply(c).sum(0)).ravel()
    spread = squares - 2 * rate * np.asarray(c.T @ n).ravel() + rate**2 * (n**2).sum()
    padded = total + PSEUDO
    variance = np.maximum(spread, 0) * units / (units - 1) / padded**2
    # without any count the linearization knows no spread: a Poisson count of PSEUDO has 1/PSEUDO
    return _Side(rate, np.log(padded / all_tokens), np.maximum(variance, (total == 0) / padded))


class _Null:
    """The null of `permutation_p`: correlations under labels permuted within strata."""

    def __init__(
        self,
        rates: sp.csr_matrix,
        scale: np.ndarray,
        target: np.ndarray,
        stratum: np.ndarray,
        permutations: int,
        seed: int,
    ) -> None:
        self.order = np.argsort(stratum, kind="stable")
        self.rates, self.scale = rates[self.order], scale
        self.target, self.sizes = target[self.order], np.bincount(stratum)
        share = np.bincount(stratum, target) / self.sizes
        self.mean = np.repeat(share, self.sizes).astype(np.float32)
        self.permutations, self.seed = permutations, seed

    def __call__(self, columns: np.ndarray) -> Iterator[np.ndarray]:
        chosen = self.rates[:, columns] @ sp.diags(1 / self.scale[columns])
        chosen = sp.csr_matrix(chosen, dtype=np.float32)
        cells = chosen.shape[0] * chosen.shape[1]
        if chosen.nnz > DENSE * cells and 4 * cells <= DENSE_BYTES:
            dense = chosen.toarray()
            yield from (labels @ dense for labels in self.labels())
        else:
            turned = sp.csr_matrix(chosen.T)
            for labels in self.labels():
                yield np.ascontiguousarray((turned @ np.ascontiguousarray(labels.T)).T)

    def labels(self) -> Iterator[np.ndarray]:
        """float32 (at most `ROWS`, units) of permuted labels, centered within strata.

        Each stratum's labels are the last bits of random numbers, which are then sorted: far faster
        than moving the labels themselves.
        """
        rng = np.random.default_rng(self.seed)
        starts = np.r_[0, self.sizes.cumsum()[:-1]]
        alike = [
            starts[self.sizes == n][:, None] + np.arange(n) for n in np.unique(self.sizes)
        ]  # strata of one size are shuffled in one call
        bits = self.target.astype(np.uint32)
        for first in range(0, self.permutations, ROWS):
            rows = min(ROWS, self.permutations - first)
            found = np.empty((rows, len(bits)), np.float32)
            for places in alike:
                key = rng.integers(0, 1 << 31, (rows, *places.shape), np.uint32)
                key = np.sort((key << 1) | bits[places], axis=2)
                found[:, places.ravel()] = (key & 1).reshape(rows, -1)
            yield found - self.mean


def _centered(values: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    return values - (np.bincount(stratum, values) / np.bincount(stratum))[stratum]


def _within(rates: sp.csr_matrix, stratum: np.ndarray) -> np.ndarray:
    """(m,) sum of squares of each column around its strata's means."""
    sizes = np.bincount(stratum)
    member = sp.csr_matrix(
        (1 / np.sqrt(sizes)[stratum], (stratum, np.arange(len(stratum)))),
        shape=(len(sizes), len(stratum)),
    )
    sums = sp.csr_matrix(member @ rates)
    return np.asarray(rates.multiply(rates).sum(0) - sums.multiply(sums).sum(0)).ravel()
