"""Motif enrichment of thousands of features at once: one scan of the universe, then sparse
algebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.enrich.background import Counts, MatchedBackground
from petriscope.enrich.homer import Statistic, fold, log_p
from petriscope.enrich.tails import benjamini_hochberg


@dataclass(frozen=True, eq=False)
class FeatureEnrichment:
    """Enrichment of M columns (motifs, or any property of bins) in F features; NaN where a feature
    was not tested."""

    ln_p: np.ndarray
    """(F, M) ln of the one-sided p."""
    q: np.ndarray
    """(F, M) Benjamini–Hochberg over all tested features x columns."""
    fold: np.ndarray
    """(F, M) share of foreground over share of background."""
    counts: Counts
    tested: np.ndarray
    """(F,) bool: the feature had enough foreground and a background."""
    statistic: str

    @property
    def family(self) -> int:
        """Number of tests corrected together."""
        return int(self.tested.sum()) * self.ln_p.shape[1]

    def table(
        self,
        names: Sequence[str],
        features: Sequence[object] | None = None,
        max_q: float | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Long table, best first within each feature.

        ``names`` (M,) and ``features`` (F,) label columns and rows; rows above ``max_q`` and beyond
        ``top`` are left out, where given.
        """
        order = np.lexsort((-self.fold, self.ln_p), axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(
            rank, order, np.broadcast_to(np.arange(1, order.shape[1] + 1), order.shape), axis=1
        )
        keep = self.tested[:, None] & (rank <= (top or order.shape[1]))
        if max_q is not None:
            keep &= self.q <= max_q
        f, m = np.nonzero(keep)
        by_rank = np.lexsort((rank[f, m], f))
        f, m = f[by_rank], m[by_rank]
        counts = self.counts
        with np.errstate(divide="ignore", invalid="ignore"):
            return pd.DataFrame(
                {
                    "feature": np.asarray(features)[f] if features is not None else f,
                    "rank": rank[f, m],
                    "name": np.asarray(names, dtype=object)[m],
                    "ln_p": self.ln_p[f, m],
                    "q": self.q[f, m],
                    "fold": self.fold[f, m],
                    "target_hits": counts.target[f, m],
                    "targets": counts.targets[f],
                    "target_percent": 100 * counts.target[f, m] / counts.targets[f],
                    "background_percent": 100 * counts.background[f, m] / counts.total[f],
                }
            )


def enrich_features(
    hits: np.ndarray,
    background: MatchedBackground,
    statistic: Statistic = "hypergeo",
    min_targets: int = 20,
) -> FeatureEnrichment:
    """Test every column of ``hits`` (n_bins, M) bool in every feature of ``background``.

    The statistic is HOMER's on weighted counts cut to whole numbers. Hypergeometric is the default:
    with matched strata the background can be as small as the foreground, and the binomial would
    take its rate for known. Features with fewer than ``min_targets`` matched foreground bins are
    not tested.
    """
    counts = background.counts(hits)
    tested = (counts.targets >= min_targets) & (counts.total >= 1)
    ln_p = np.full(counts.target.shape, np.nan)
    ratio = np.full(counts.target.shape, np.nan)
    targets, total = counts.targets[tested, None], counts.total[tested, None]
    ln_p[tested] = log_p(
        counts.target[tested], counts.background[tested], targets, total, statistic
    )
    ratio[tested] = fold(counts.target[tested], counts.background[tested], targets, total)
    return FeatureEnrichment(ln_p, benjamini_hochberg(ln_p), ratio, counts, tested, statistic)
