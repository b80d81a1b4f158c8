"""AUROC of the best feature for each planted programme, chosen on select and read on test."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, PUBLISHED, nothing, panels


def draw(best: pd.DataFrame, context: pd.DataFrame | None) -> Figure:
    """``best``: best of all features per programme; ``context``: best of the context features."""
    figure, (panel,) = panels(1, width=5.0)
    if best.empty:
        nothing(panel, "no planted truth in this data set")
        return figure
    names = best.programme.tolist()
    x = np.arange(len(names))
    panel.bar(x - 0.2, best.auroc_test, 0.38, color=PUBLISHED, label="best feature")
    if context is not None:
        values = context.set_index("programme").reindex(names).auroc_test
        panel.bar(x + 0.2, values, 0.38, color=CORRECTED, label="best context feature")
    panel.axhline(0.5, color="#c8553d", ls="--", lw=0.8, label="chance")
    panel.set_xticks(x, names, rotation=45, ha="right")
    panel.set(ylim=(0.4, 1.12), ylabel="AUROC on test", title="Planted programmes")
    panel.legend(ncols=3, loc="upper right")
    return figure
