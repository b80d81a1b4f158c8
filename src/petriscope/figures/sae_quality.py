"""Held-out quality of each autoencoder against the gate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, panels
from petriscope.run.params import Gate


def draw(quality: pd.DataFrame, gate: Gate) -> Figure:
    """``quality``: stage sae's table, one row per layer and seed."""
    figure, axes = panels(4, width=2.5)
    limits = {
        "fvu": [gate.fvu],
        "l0": [gate.l0_low, gate.l0_high],
        "dead_fraction": [gate.dead],
        "cosine": [],
    }
    titles = {
        "fvu": "FVU",
        "l0": "L0 (active latents per token)",
        "dead_fraction": "dead latents",
        "cosine": "cosine of h and ĥ",
    }
    for panel, name in zip(axes, limits):
        for _, frame in quality.groupby("seed"):
            panel.plot(frame.layer, frame[name], "o-", color=CORRECTED, alpha=0.8, ms=4)
        for limit in limits[name]:
            panel.axhline(limit, color="#c8553d", ls="--", lw=0.8)
        panel.set(title=titles[name], xlabel="layer")
        panel.set_xticks(sorted(quality.layer.unique()))
        if name != "cosine":
            panel.set_ylim(bottom=0)
    axes[0].set_ylabel("held-out tokens (dashed: gate)")
    return figure
