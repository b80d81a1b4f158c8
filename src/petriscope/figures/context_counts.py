"""Context features per layer: counts as published, share of alive as corrected, and the random-init
curve beside it."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import (
    CONTROL,
    CORRECTED,
    PUBLISHED,
    lineage_colors,
    nothing,
    panels,
    whiskers,
)


def draw(
    layers: pd.DataFrame, random_layers: pd.DataFrame | None, lineages: list[str], tested: bool
) -> Figure:
    """``layers`` and ``random_layers``: tables of `layer_summary`."""
    figure, (left, middle, right) = panels(3)
    left.plot(layers.layer, layers.published_count, "o-", color=PUBLISHED, label="trained model")
    if random_layers is not None:
        left.plot(
            random_layers.layer,
            random_layers.published_count,
            "o--",
            color=CONTROL,
            label="random init",
        )
    left.set(title="As published", xlabel="layer", ylabel="Bonferroni-significant features")
    left.set_ylim(bottom=0)
    left.legend()
    if tested:
        error = whiskers(layers.context_fraction, layers.context_low, layers.context_high)
        middle.errorbar(
            layers.layer,
            layers.context_fraction,
            error,
            fmt="o-",
            color=CORRECTED,
            label="trained model",
        )
        if random_layers is not None:
            share = random_layers.context_fraction
            spread = whiskers(share, random_layers.context_low, random_layers.context_high)
            middle.errorbar(
                random_layers.layer, share, spread, fmt="o--", color=CONTROL, label="random init"
            )
        for lineage, color in lineage_colors(lineages).items():
            right.plot(
                layers.layer, layers[f"{lineage}_fraction"], "o-", color=color, label=lineage
            )
        middle.legend()
        right.legend()
        middle.set_ylim(bottom=0)
        right.set_ylim(bottom=0)
        middle.set(title="Corrected", xlabel="layer", ylabel="share of alive features, BH q < α")
        right.set(title="By lineage", xlabel="layer", ylabel="share of alive features, BH q < α")
    else:
        nothing(middle, "no biosample-level test:\nno replicates in this data set")
        right.plot(layers.layer, layers.locus_count, "o-", color=CORRECTED)
        right.set(title="Locus level (secondary)", xlabel="layer", ylabel="features, BH q < α")
    for axes in (left, middle, right):
        axes.set_xticks(layers.layer)
    return figure
