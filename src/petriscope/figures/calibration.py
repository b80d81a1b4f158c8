"""p-values where nothing differs: the published and the corrected test side by side."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, PUBLISHED, nothing, panels

SHOWN = (("published", PUBLISHED), ("corrected, replicates", CORRECTED), ("corrected", CORRECTED))
TITLES = ("Published, replicate contrasts", "Corrected, replicate contrasts", "Corrected, fitted null")


def draw(p_values: pd.DataFrame, alpha: float) -> Figure:
    """``p_values``: stage calibration's histogram table (test, p, share)."""
    figure, axes = panels(3, width=2.8)
    for panel, (test, colour), title in zip(axes, SHOWN, TITLES):
        frame = p_values[p_values.test == test]
        if frame.empty:
            nothing(panel, "cannot be tested:\nno replicates in this data set")
            continue
        width = float(frame.p.diff().median())
        panel.bar(frame.p, frame.share, width=0.9 * width, color=colour)
        panel.axhline(width, color="#333333", ls="--", lw=0.8)
        panel.axvline(alpha, color="#c8553d", lw=0.8)
        panel.set(title=title, xlabel="p under the null", ylabel="share of features (dashed: uniform)")
        panel.set_ylim(0, max(0.1, float(frame.share.max()) * 1.1))
    return figure
