"""Enrichment of thousands of features at once (one scan of the universe, then sparse algebra), and
how specific it is to one lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from petriscope.enrich.background import Counts, MatchedBackground
from petriscope.enrich.homer import Statistic, fold, log_p
from petriscope.enrich.tails import benjamini_hochberg
from petriscope.errors import UserError


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


class Specificity(NamedTuple):
    """Difference of log2 odds, own lineage minus the mean of the others, per feature and column."""

    difference: np.ndarray
    """(F, M) log2."""
    low: np.ndarray
    """(F, M) lower end of the interval."""
    high: np.ndarray
    """(F, M) upper end."""
    level: float


def feature_specificity(
    counts: Mapping[str, Counts], own: Sequence[str], level: float = 0.95
) -> Specificity:
    """Per feature: log2 odds of each column in its own lineage's foreground minus the mean over the
    other lineages.

    ``counts``: lineage → counts of the same F features (``MatchedBackground.counts`` on where they
    fire in that lineage); ``own`` (F,) each feature's lineage. Odds have 0.5 added to each cell;
    the interval takes the lineages as independent (variance = Woolf's of the own + Σ of the others
    / (n − 1)²), which is wide where they share bins.
    """
    lineages = list(counts)
    if len(lineages) < 2 or set(own) - set(lineages):
        raise UserError(
            f"lineages given: {', '.join(lineages)}; features belong to: "
            f"{', '.join(sorted(set(own)))}",
            remedy="Give counts for every lineage a feature belongs to, and for at least two",
        )
    odds, variance = (
        np.stack(part) for part in zip(*(_log_odds(counts[name]) for name in lineages))
    )
    mine = np.array([lineages.index(name) for name in own])
    feature = np.arange(len(mine))
    n_others = len(lineages) - 1
    difference = odds[mine, feature] - (odds.sum(axis=0) - odds[mine, feature]) / n_others
    spread = (
        variance[mine, feature] + (variance.sum(axis=0) - variance[mine, feature]) / n_others**2
    )
    width = norm.ppf(0.5 + level / 2) * np.sqrt(spread)
    low, high = difference - width, difference + width
    return Specificity(difference / np.log(2), low / np.log(2), high / np.log(2), level)


def lineage_contrast(
    log2_fold: np.ndarray,
    lineage: Sequence[str],
    names: Sequence[str],
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Per lineage and column: mean log2 fold over the lineage's features minus the mean over the
    others' features.

    ``log2_fold`` (F, M), NaN rows (untested features) left out; ``lineage`` (F,). The interval is a
    percentile bootstrap over features. Columns: lineage, name, difference, low, high, own_mean,
    other_mean, own_features, other_features, rank (by difference within the lineage).
    """
    tested = np.isfinite(log2_fold).all(axis=1)
    values, of = log2_fold[tested], np.asarray(lineage, dtype=object)[tested]
    parts = []
    for name in sorted(set(map(str, lineage))):
        own, other = values[of == name], values[of != name]
        if not len(own) or not len(other):
            continue
        draws = np.stack(
            [_mean_of_draw(own, rng) - _mean_of_draw(other, rng) for _ in range(n_bootstrap)]
        )
        low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        part = pd.DataFrame(
            {
                "lineage": name,
                "name": list(names),
                "difference": own.mean(axis=0) - other.mean(axis=0),
                "low": low,
                "high": high,
                "own_mean": own.mean(axis=0),
                "other_mean": other.mean(axis=0),
                "own_features": len(own),
                "other_features": len(other),
            }
        ).sort_values("difference", ascending=False, kind="stable", ignore_index=True)
        part["rank"] = np.arange(1, len(part) + 1)
        parts.append(part)
    if not parts:
        raise UserError(
            "no lineage has tested features beside another's",
            remedy="Annotate features of two lineages",
        )
    return pd.concat(parts, ignore_index=True)


def _mean_of_draw(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over rows drawn with replacement."""
    weight = np.bincount(rng.integers(0, len(values), len(values)), minlength=len(values))
    return weight @ values / len(values)


def _log_odds(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Log odds ratio and Woolf's variance, 0.5 added to each cell."""
    cells = (
        counts.target,
        counts.targets[:, None] - counts.target,
        counts.background,
        counts.total[:, None] - counts.background,
    )
    a, b, c, d = (np.maximum(cell, 0) + 0.5 for cell in cells)
    return np.log(a * d / (b * c)), 1 / a + 1 / b + 1 / c + 1 / d
