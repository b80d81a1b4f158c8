"""Heat map of log2 odds of each chromatin state where each lineage's features fire, beside raw
peaks and random bins."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.enrich.tails import below
from petriscope.figures.style import nothing, panels

KINDS = ("condition", "top_activation", "planted", "peaks", "random")


def draw(enrichment: pd.DataFrame, layer: int, alpha: float) -> Figure:
    """``enrichment``: stage chromhmm's table; groups of ``layer``, raw peaks and three random
    draws; * is q < ``alpha``."""
    shown = enrichment[(enrichment.kind.isin(KINDS)) & (enrichment.layer.isin([layer, -1]))]
    random = shown[shown.kind == "random"].group.drop_duplicates()
    shown = shown[~shown.group.isin(random[3:])]
    vocabularies = list(dict.fromkeys(shown.vocabulary))
    figure, axes = panels(
        max(1, len(vocabularies)), width=6.0 / max(1, len(vocabularies)) + 2.5, height=5.0
    )
    if shown.empty:
        nothing(axes[0], "no segmentation in this data set")
        return figure
    for panel, vocabulary in zip(axes, vocabularies):
        part = shown[shown.vocabulary == vocabulary]
        states, groups = list(dict.fromkeys(part.state)), list(dict.fromkeys(part.group))
        table = part.pivot(index="group", columns="state", values="odds_ratio").loc[groups, states]
        q = (
            part.pivot(index="group", columns="state", values="q")
            .loc[groups, states]
            .to_numpy(float)
        )
        image = panel.imshow(
            np.log2(table.to_numpy(float)), cmap="RdBu_r", vmin=-4, vmax=4, aspect="auto"
        )
        for row, column in np.argwhere(q < alpha):
            panel.text(column, row, "*", ha="center", va="center", fontsize=6)
        panel.set_xticks(range(len(states)), states, rotation=90)
        panel.set_yticks(range(len(groups)), groups)
        panel.tick_params(labelsize=6)
        own = vocabulary in ("file", "states file")
        panel.set_title("states of the data set" if own else f"{vocabulary} states")
    figure.colorbar(image, ax=axes, shrink=0.5, label=f"log2 odds ratio (* {below(alpha)})")
    return figure
