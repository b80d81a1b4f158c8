"""Many tests, one family: adjusted p-values through statsmodels, and a ledger of every family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
    """in words: 'select tokens, 701 alive features x 3 lineages'."""
    size: int


def adjust(p: np.ndarray, method: str) -> np.ndarray:
    """Adjusted p of any shape by 'bonferroni', 'holm', 'bh' or 'by'; NaN stays NaN and is not
    counted in the family."""
    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method=METHODS[method])[1]
    return adjusted


def adjust_all(p: np.ndarray) -> dict[str, np.ndarray]:
    """All four adjustments of ``p`` by name."""
    return {name: adjust(p, name) for name in METHODS}


def ledger(rows: Iterable[tuple[Family, str, np.ndarray]], alpha: float) -> pd.DataFrame:
    """The multiplicity ledger: one row per (family, method, adjusted p): size, tested, rejected at
    ``alpha``."""
    return pd.DataFrame(
        [
            {
                "family": family.name,
                "size": family.size,
                "method": method,
                "tested": int(np.isfinite(adjusted).sum()),
                "rejected": int((adjusted <= alpha).sum()),
                "alpha": alpha,
            }
            for family, method, adjusted in rows
        ]
    )
