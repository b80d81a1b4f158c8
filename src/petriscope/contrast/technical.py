"""Technical covariates of the biosample-level model: what makes libraries differ whatever their
context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

ADJUSTABLE = {"depth": "fragments", "frip": "frip"}
"""What can be adjusted for (`cds.adjust`), and the column of the biosample table that holds it."""


def covariates(
    frame: pd.DataFrame, adjust: Sequence[str] = tuple(ADJUSTABLE)
) -> dict[str, np.ndarray]:
    """Covariates of the biosamples, (S,) each, the most needed first.

    *depth*: log2 fragments, and last its square, since the effect of depth levels off. *frip*: log2
    of the fraction of reads in peaks, the field's measure of signal to noise (ENCODE ATAC-seq
    standards; Landt et al. 2012), counted with the peaks' flanks: a covariate must not depend on
    context itself, and bare borders do where elements differ in width
    (`data.coverage.share_in_peaks`). A covariate that is unknown for one biosample is left out for
    all.
    """
    wanted = {name: _log2(frame, column) for name, column in ADJUSTABLE.items() if name in adjust}
    known = {name: values for name, values in wanted.items() if values is not None}
    if "depth" in known:
        known["depth squared"] = (known["depth"] - known["depth"].mean()) ** 2
    return known


def _log2(frame: pd.DataFrame, column: str) -> np.ndarray | None:
    if column not in frame or frame[column].isna().any() or (frame[column] <= 0).any():
        return None
    return np.log2(frame[column].to_numpy(dtype=np.float64))
