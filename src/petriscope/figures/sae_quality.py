"""Held-out quality of each autoencoder against the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, panels


def draw(quality: pd.DataFrame, gate: Mapping[str, Sequence[float]]) -> Figure:
    """``quality``: stage sae's table, one row per layer and seed; ``gate``: the limits of some of
    its columns."""
    figure, axes = panels(4, width=2.5)
    titles = {
        "fvu": "FVU",
        "l0": "L0 (active latents per token)",
        "dead_fraction": "dead latents",
        "cosine": "cosine of h and ĥ",
    }
    for panel, name in zip(axes, titles):
        for _, frame in quality.groupby("seed"):
            panel.plot(frame.layer, frame[name], "o-", color=CORRECTED, alpha=0.8, ms=4)
        for limit in gate.get(name, ()):
            panel.axhline(limit, color="#c8553d", ls="--", lw=0.8)
        panel.set(title=titles[name], xlabel="layer")
        panel.set_xticks(sorted(quality.layer.unique()))
        if name != "cosine":
            panel.set_ylim(bottom=0)
    axes[0].set_ylabel("held-out tokens (dashed: gate)")
    return figure
