"""Error rates say whether a null p lies below alpha as often as alpha says: uniformity, family-wise
error and coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Uniformity:
    """How p-values behave where nothing is to be found."""

    test: str
    null: str
    sets: int
    """null data sets."""
    tests: int
    """p-values in all."""
    effective: float
    """independent p-values that would vary as much between null sets as these do (features share
    units)."""
    share: float
    """of p <= alpha."""
    low: float
    high: float
    """95 % binomial interval around alpha for the effective number."""
    ks: float
    """largest distance of the distribution of p from the uniform."""
    ks_p: float
    alpha: float

    @property
    def calibrated(self) -> bool:
        """The share lies in the interval."""
        return self.low <= self.share <= self.high


@dataclass(frozen=True)
class ErrorRate:
    """A share of cases with its exact (Clopper-Pearson) 95 % interval."""

    what: str
    null: str
    cases: int
    share: float
    low: float
    high: float


def uniformity(
    p: np.ndarray, *, test: str, null: str, alpha: float, independent: float | None = None
) -> Uniformity:
    """Summarize null p-values (R sets, m features); NaN (untestable) are left out.

    The interval is binomial for the effective number of tests: alpha(1-alpha) over the variance of
    the share between null sets, times the number of ``independent`` sets (R unless given:
    relabellings of few units are fewer). With one set it is the plain binomial interval.
    """
    usable = np.isfinite(p)
    tests = int(usable.sum())
    if tests == 0:
        return Uniformity(test, null, len(p), 0, 0.0, np.nan, np.nan, np.nan, np.nan, np.nan, alpha)
    per_set = np.array([(row[ok] <= alpha).mean() for row, ok in zip(p, usable) if ok.any()])
    share = float((p[usable] <= alpha).mean())
    effective = effective_number(per_set, alpha, tests, independent)
    low, high = stats.binom.ppf([0.025, 0.975], max(1, round(effective)), alpha) / max(
        1, round(effective)
    )
    distance = float(stats.kstest(p[usable], "uniform").statistic)
    ks_p = float(stats.kstwo.sf(distance, max(1, round(effective))))
    return Uniformity(
        test, null, len(p), tests, effective, share, float(low), float(high), distance, ks_p, alpha
    )


def coverage(
    covered: np.ndarray, *, what: str, null: str, independent: float | None = None
) -> ErrorRate:
    """How often intervals hold the truth: ``covered`` (R sets, m) bool. ``cases`` and limits are of
    as many independent intervals as would vary as much between sets as these do (see
    `uniformity`)."""
    share = float(covered.mean()) if covered.size else np.nan
    effective = (
        effective_number(covered.mean(1), share, covered.size, independent) if covered.size else 0.0
    )
    n = max(1, round(effective))
    if not covered.size:
        return ErrorRate(what, null, 0, share, np.nan, np.nan)
    k = share * n
    low = float(stats.beta.ppf(0.025, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return ErrorRate(what, null, n, share, low, high)


def effective_number(
    per_set: np.ndarray, share: float, tests: int, independent: float | None = None
) -> float:
    """Independent cases whose share varies as much as ``per_set`` (R,) does: share (1 - share) sets
    / variance.

    ``independent``: sets that are independent of each other, where fewer than R; at most ``tests``.
    """
    variance = float(np.var(per_set, ddof=1)) if len(per_set) > 1 else 0.0
    if variance <= 0:
        return float(tests)
    sets = len(per_set) if independent is None else min(independent, len(per_set))
    return min(float(tests), share * (1 - share) * sets / variance)


def table(rows: Sequence[Uniformity | ErrorRate]) -> pd.DataFrame:
    """One row per summary; columns of the other kind are empty."""
    return pd.DataFrame(
        [
            asdict(row) | ({"calibrated": row.calibrated} if isinstance(row, Uniformity) else {})
            for row in rows
        ]
    )
