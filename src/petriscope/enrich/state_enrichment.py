"""Chromatin states of features: odds ratios with Woolf intervals, Fisher's exact test, and a
circular-shift test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import norm

from petriscope.enrich.background import MatchedBackground
from petriscope.enrich.states import one_hot
from petriscope.enrich.tails import Alternative, benjamini_hochberg, log_fisher
from petriscope.errors import UserError


@dataclass(frozen=True, eq=False)
class StateEnrichment:
    """F features x S states; NaN where a feature was not tested."""

    odds_ratio: np.ndarray
    """(F, S) with 0.5 added to every cell (Haldane–Anscombe)."""
    low: np.ndarray
    """(F, S) lower end of Woolf's interval."""
    high: np.ndarray
    """(F, S) upper end."""
    ln_p: np.ndarray
    """(F, S) ln p of Fisher's exact test."""
    q: np.ndarray
    """(F, S) Benjamini–Hochberg over all tested features x states."""
    share: np.ndarray
    """(F, S) share of the foreground in each state."""
    background_share: np.ndarray
    """(F, S) share of the (weighted) background."""
    targets: np.ndarray
    """(F,) assigned foreground bins."""
    tested: np.ndarray
    """(F,) bool."""
    level: float
    alternative: str

    def table(
        self, states: Sequence[str], features: Sequence[object] | None = None
    ) -> pd.DataFrame:
        """Long table of the tested features, a row per feature and state."""
        f, s = np.nonzero(np.broadcast_to(self.tested[:, None], self.q.shape))
        columns = ("odds_ratio", "low", "high", "ln_p", "q", "share", "background_share")
        return pd.DataFrame(
            {
                "feature": np.asarray(features)[f] if features is not None else f,
                "state": np.asarray(states, dtype=object)[s],
                **{name: getattr(self, name)[f, s] for name in columns},
                "targets": self.targets[f],
            }
        )


def state_enrichment(
    membership: sparse.spmatrix,
    states: np.ndarray,
    n_states: int,
    background: MatchedBackground | None = None,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    min_targets: int = 20,
) -> StateEnrichment:
    """Odds of each state inside a feature's foreground against outside.

    ``membership`` (F, n) sparse bool; ``states`` (n,) state index, -1 = unassigned, which takes no
    part. Without ``background`` every other assigned bin is the background and Fisher's p is exact;
    with one its weighted counts are rounded to whole numbers first. Features with fewer than
    ``min_targets`` assigned foreground bins are not tested.
    """
    if membership.shape[1] != len(states):
        raise UserError(
            f"membership has {membership.shape[1]} bins but {len(states)} states are given",
            remedy="Give both over the same universe of bins",
        )
    onehot = one_hot(states, n_states)
    if background is None:
        member = sparse.csr_matrix(membership, dtype=bool).astype(np.float64)
        inside = member @ onehot.astype(np.float64)
        outside = onehot.sum(axis=0)[None, :] - inside
    else:
        counts = background.counts(onehot)
        inside, outside = counts.target, np.rint(counts.background)
    fore, back = inside.sum(axis=1, keepdims=True), outside.sum(axis=1, keepdims=True)
    tested = (fore[:, 0] >= min_targets) & (back[:, 0] >= 1)
    a, b, c, d = inside[tested], (fore - inside)[tested], outside[tested], (back - outside)[tested]
    h = [cell + 0.5 for cell in (a, b, c, d)]
    log_or = np.log(h[0]) - np.log(h[1]) - np.log(h[2]) + np.log(h[3])
    width = norm.ppf(0.5 + level / 2) * np.sqrt(sum(1 / cell for cell in h))

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full(inside.shape, np.nan)
        full[tested] = values
        return full

    ln_p = spread(log_fisher(a, a + b + c + d, a + c, a + b, alternative=alternative))
    return StateEnrichment(
        odds_ratio=spread(np.exp(log_or)),
        low=spread(np.exp(log_or - width)),
        high=spread(np.exp(log_or + width)),
        ln_p=ln_p,
        q=benjamini_hochberg(ln_p),
        share=spread(a / fore[tested]),
        background_share=spread(c / back[tested]),
        targets=fore[:, 0].astype(np.int64),
        tested=tested,
        level=level,
        alternative=alternative,
    )


def shift_p(
    membership: sparse.spmatrix,
    states: np.ndarray,
    n_states: int,
    segment: np.ndarray,
    *,
    rng: np.random.Generator,
    n_shifts: int = 200,
) -> np.ndarray:
    """(F, S) one-sided p of each state's foreground count when the states are shifted round each
    genome segment.

    Bins must be in genome order; ``segment`` (n,) numbers the stretches (windows, or contiguous
    runs on a chromosome) round which states move, all by the same random share of their length.
    Both sides keep their runs, so clustered firing does not pass for enrichment. p = (b + 1) / (N +
    1).
    """
    segment = np.asarray(segment)
    edges = np.flatnonzero(np.concatenate([[True], segment[1:] != segment[:-1], [True]]))
    if len(np.unique(segment)) != len(edges) - 1:
        raise UserError(
            "the bins of a segment are not together", remedy="Sort the bins by chromosome and start"
        )
    first, length = np.repeat(edges[:-1], np.diff(edges)), np.repeat(np.diff(edges), np.diff(edges))
    member = sparse.csr_matrix(membership, dtype=bool).astype(np.float64)
    seen = member @ one_hot(states, n_states).astype(np.float64)
    as_high = np.zeros(seen.shape)
    place = np.arange(len(states)) - first
    for _ in range(n_shifts):
        step = 1 + np.floor(rng.uniform(0, 1) * (length - 1)).astype(np.int64)
        moved = states[first + (place + step) % length]
        as_high += member @ one_hot(moved, n_states).astype(np.float64) >= seen
    return (as_high + 1) / (n_shifts + 1)
