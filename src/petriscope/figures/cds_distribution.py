"""Distribution of the score over alive features, by layer: published against corrected."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CONTEXT, CORRECTED, PUBLISHED, panels


def draw(features: pd.DataFrame, level: str, alpha: float) -> Figure:
    """``features``: the table of stage cds; ``level``: biosample or locus."""
    figure, (left, right) = panels(2, width=4.2)
    alive = features[features.alive]
    layers = sorted(alive.layer.unique())
    for axes, column, color in (
        (left, "cds_published", PUBLISHED),
        (right, f"z_{level}", CORRECTED),
    ):
        values = [alive.loc[alive.layer == layer, column].dropna().to_numpy() for layer in layers]
        shown = [value if len(value) else np.zeros(1) for value in values]
        parts = axes.violinplot(shown, positions=layers, widths=0.8, showextrema=False)
        for body in parts["bodies"]:  # type: ignore[attr-defined]
            body.set_facecolor(color)
            body.set_alpha(0.5)
        axes.axhline(0, color="#999999", lw=0.6)
        axes.set_xticks(layers)
        axes.set_xlabel("layer")
    significant = alive[alive[f"q_{level}"] < alpha]
    offset = np.random.default_rng(0).uniform(-0.15, 0.15, len(significant))
    colors = [CONTEXT["in_vivo" if z > 0 else "in_vitro"] for z in significant[f"z_{level}"]]
    right.scatter(significant.layer + offset, significant[f"z_{level}"], s=3, c=colors, lw=0)
    left.set(title="As published", ylabel="mean difference in vivo − in vitro")
    right.set(
        title=f"Corrected, {level} level",
        ylabel="signed Stouffer z",
        xlabel="layer (points: q < α, p by resampling)",
    )
    return figure
