"""Whether a feature of one layer lives on in another: as published, by the cosine of decoders; and
by what it does, held against how well a second dictionary of the same layer finds it again.

The blocks of both models end in a layer norm with free gains, so no two layers share a basis and a
decoder direction may turn while the feature stays. What stays is what fires where: the correlation
of activations on the same tokens, one to one. Its ceiling is a second seed on the same layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from petriscope.contrast.effects import bootstrap_counts
from petriscope.graph.within_strata import correlation
from petriscope.sae.codes import Codes


class PublishedTracking(NamedTuple):
    """Decoder directions followed through layers."""

    adjacent: pd.DataFrame
    """columns from_layer, to_layer, alive, matches, share, mean_cosine (of matches),
    high_matches"""
    reference: pd.DataFrame
    """columns to_layer, matches, share, mean_cosine: of the first layer's features"""
    layers: np.ndarray
    """int64 (features,) in how many layers each alive feature of the first has a match, itself
    included; 0 for the others"""


def published_tracking(
    decoders: Sequence[np.ndarray],
    alive: Sequence[np.ndarray],
    *,
    cosine: float = 0.7,
    high: float = 0.9,
) -> PublishedTracking:
    """Follow features by the largest |cosine| with any feature of another layer.

    ``decoders``: (features, d) of each layer in turn; ``alive``: bool (features,) of each.
    Source: BS:src/06_cross_layer.py:88-120,175-330; several features may share a match.
    """
    steps = []
    for layer in range(len(decoders) - 1):
        best = _best(decoders[layer], alive[layer], decoders[layer + 1], alive[layer + 1])
        row = _matched(best, cosine)
        steps.append({"from_layer": layer, "to_layer": layer + 1, "alive": len(best), **row})
        steps[-1]["high_matches"] = int((best >= high).sum())
    seen = np.zeros(len(alive[0]), np.int64)
    mine, far = np.flatnonzero(alive[0]), []
    for layer in range(len(decoders)):
        best = _best(decoders[0], alive[0], decoders[layer], alive[layer])
        far.append({"to_layer": layer, **_matched(best, cosine)})
        seen[mine] += (best >= cosine) if layer else 1
    return PublishedTracking(pd.DataFrame(steps), pd.DataFrame(far), seen)


def _best(
    decoder: np.ndarray, alive: np.ndarray, other: np.ndarray, other_alive: np.ndarray
) -> np.ndarray:
    """(alive,) largest |cosine| with an alive feature of the other layer."""
    one, two = _unit(decoder[alive]), _unit(other[other_alive])
    return np.asarray(np.abs(one @ two.T).max(axis=1, initial=0.0))


def _matched(best: np.ndarray, cosine: float) -> dict[str, float]:
    found = best[best >= cosine]
    return {
        "matches": len(found),
        "share": len(found) / max(len(best), 1),
        "mean_cosine": float(found.mean()) if len(found) else 0.0,
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10)


class Matched(NamedTuple):
    """Features matched one to one (Hungarian). Arrays (m,)."""

    partner: np.ndarray
    """int64, -1 for none"""
    value: np.ndarray
    """likeness with the partner; NaN for none"""


def matched(likeness: np.ndarray, first: np.ndarray, second: np.ndarray) -> Matched:
    """Match the features ``first`` bool (m,) with those of ``second`` bool (m',) so that the summed
    ``likeness`` (m, m') is largest."""
    rows, columns = np.flatnonzero(first), np.flatnonzero(second)
    partner, value = np.full(len(first), -1), np.full(len(first), np.nan)
    at, to = linear_sum_assignment(likeness[np.ix_(rows, columns)], maximize=True)
    partner[rows[at]] = columns[to]
    value[rows[at]] = likeness[rows[at], columns[to]]
    return Matched(partner, value)


def carried(
    decoder: np.ndarray, source: np.ndarray, target: np.ndarray, ridge: float = 1e-6
) -> np.ndarray:
    """Directions (m, d) of one layer as the best linear map makes them in another: (m, d').

    ``source`` (n, d), ``target`` (n, d'): hidden states of the same tokens, on which the map is
    fitted by least squares after their means are taken away; ``ridge`` times the mean variance
    keeps it defined.
    """
    x, y = (
        np.asarray(rows, np.float64) - rows.mean(0, dtype=np.float64) for rows in (source, target)
    )
    spread = x.T @ x
    spread += ridge * np.trace(spread) / len(spread) * np.eye(len(spread))
    return np.asarray(decoder @ np.linalg.solve(spread, x.T @ y))


def _centered(rows: np.ndarray) -> np.ndarray:
    values = np.asarray(rows, np.float64)
    return values - values.mean(0)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(m, m') cosine of each row with each."""
    return np.asarray(_unit(first) @ _unit(second).T)


class Alive(NamedTuple):
    """Codes of some tokens and which features fire on enough of them."""

    codes: Codes
    alive: np.ndarray
    """bool (m,)"""

    @classmethod
    def of(cls, codes: Codes, min_count: float) -> Alive:
        """Features that fire on ``min_count`` of the tokens."""
        return cls(codes, np.bincount(codes.indices, minlength=codes.m) >= min_count)


def code_matches(one: Alive, other: Alive, stratum: np.ndarray | None = None) -> Matched:
    """Match features by the correlation of their activations; within the strata of the tokens (int
    (n,), from 0), where given."""
    strata = 1 if stratum is None else int(stratum.max(initial=-1)) + 1
    likeness = correlation(one.codes, other.codes, stratum, strata)
    return matched(likeness, one.alive, other.alive)


@dataclass(frozen=True)
class Below:
    """A share less its ceiling, with its interval."""

    share: float
    ceiling: float
    difference: float
    low: float
    high: float


def below_ceiling(
    persists: np.ndarray, found_again: np.ndarray, *, resamples: int, seed: int
) -> Below:
    """Share of features that persist less that of the same features which a second seed finds
    again, both bool (features,); 95 % interval by bootstrap over features."""
    difference = persists.astype(np.float64) - found_again
    n = len(difference)
    low, high = np.quantile(bootstrap_counts(n, resamples, seed) @ difference / n, [0.025, 0.975])
    return Below(
        float(persists.mean()),
        float(found_again.mean()),
        float(difference.mean()),
        float(low),
        float(high),
    )
