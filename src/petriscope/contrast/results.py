"""The result of a contrast holds estimate, interval, units, family, method and adjusted p."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

METHODS = MappingProxyType(
    {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh", "by": "fdr_by"}
)


@dataclass(frozen=True)
class Family:
    """The tests that one adjusted p-value answers for."""

    name: str
    """in words: 'select tokens, 701 alive features x 3 strata'."""
    size: int


def adjust(p: np.ndarray, method: str) -> np.ndarray:
    """Adjusted p of any shape by 'bonferroni', 'holm', 'bh' or 'by'; NaN stays NaN and is not
    counted in the family."""
    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        one = p[tested]
        adjusted[tested] = (
            _holm(one) if method == "holm" else multipletests(one, method=METHODS[method])[1]
        )
    return adjusted


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p (n,), bit for bit that of statsmodels, which collects
    garbage each time: a tenth of a second with all libraries in its sight."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def adjust_all(p: np.ndarray) -> dict[str, np.ndarray]:
    """All four adjustments of ``p`` by name."""
    return {name: adjust(p, name) for name in METHODS}


@dataclass(frozen=True)
class ContrastResult:
    """One test per feature, target minus reference. Arrays (m,) over ``features``; printing shows a
    summary."""

    method: str
    """'moderated t', 'Welch t', 'sign-flip over windows, p = #/N (published)', ..."""
    level: str
    """what the table calls a unit (generalizes to new ones), 'locus' (to new loci of these units)
    or 'window' (published)."""
    scope: str
    """a stratum, 'combined' (signed Stouffer) or 'conjunction' (largest p over strata)."""
    n: Mapping[str, int]
    """independent units: {'control': 3, 'treated': 3} units, {'blocks': 41}, {'windows':
    900}."""
    family: Family
    features: np.ndarray
    estimate: np.ndarray
    """mean activation target minus reference; the mean over strata where scope is combined."""
    low: np.ndarray
    high: np.ndarray
    """95 % limits of the estimate."""
    interval: str
    """how the limits were computed."""
    statistic: np.ndarray
    p: np.ndarray
    adjusted: Mapping[str, np.ndarray] = field(default_factory=dict)
    """adjusted p by method: bonferroni, holm, bh, by, maxt."""
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    """further columns (m,), e.g. df, p_permutation, sign_consistent, cds_blood."""
    covariates: tuple[str, ...] = ()
    """what was adjusted for."""
    units: int | None = None
    """how many units of both sides, or blocks, the test rests on."""
    reason: str | None = None
    """why no test exists; then statistic, limits and p are NaN and stand for no test."""

    @property
    def tested(self) -> bool:
        """Whether a test exists."""
        return self.reason is None

    @property
    def status(self) -> str:
        """'tested', or 'cannot be tested: <reason>'."""
        return "tested" if self.reason is None else f"cannot be tested: {self.reason}"

    def rejected(self, method: str, *, alpha: float) -> int:
        """How many features have an adjusted p at most alpha."""
        return int((self.adjusted[method] <= alpha).sum()) if self.tested else 0

    def frame(self) -> pd.DataFrame:
        """One row per feature; method, level, scope, units and family on each row, so that no p
        travels alone."""
        columns: dict[str, object] = {
            "feature": self.features,
            "scope": self.scope,
            "level": self.level,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "statistic": self.statistic,
            "p": self.p,
        }
        columns.update({f"p_{name}": values for name, values in self.adjusted.items()})
        columns.update(self.extra)
        columns["method"] = self.method
        columns["interval"] = self.interval
        columns["n"] = ", ".join(f"{count} {unit}" for unit, count in self.n.items())
        columns["family"] = self.family.name
        columns["family_size"] = self.family.size
        columns["status"] = self.status
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        units = ", ".join(f"{count} {unit}" for unit, count in self.n.items())
        family = f"{self.family.name} ({self.family.size})"
        head = f"{self.scope}: {self.method}, {self.level} level, {units}; family: {family}"
        if not self.tested:
            return f"{head}\n{self.status}"
        least = "  ".join(
            f"{name} {np.nanmin(p, initial=1.0):.2g}" for name, p in self.adjusted.items()
        )
        return f"{head}\nsmallest adjusted p: {least}"


def untested(
    reason: str,
    *,
    method: str,
    level: str,
    scope: str,
    n: Mapping[str, int],
    family: Family,
    features: np.ndarray,
    estimate: np.ndarray | None = None,
) -> ContrastResult:
    """A result that says why no test exists; the estimate is kept where one can be computed."""
    nothing = np.full(len(features), np.nan)
    return ContrastResult(
        method=method,
        level=level,
        scope=scope,
        n=n,
        family=family,
        features=features,
        estimate=nothing if estimate is None else estimate,
        low=nothing,
        high=nothing,
        interval="none",
        statistic=nothing,
        p=nothing,
        units=sum(n.values()) or None,
        reason=reason,
    )
