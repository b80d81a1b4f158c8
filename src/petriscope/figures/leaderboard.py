"""The autoencoder's latents against simpler bases: three read-outs, lineage by lineage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import lineage_colors, nothing, panels, whiskers

ENTRANTS = {
    "sae": "SAE latents",
    "frozen_decoder_sae": "SAE, random decoder",
    "pca": "principal components",
    "raw_neurons": "raw neurons",
    "difference_of_means": "difference of means",
    "linear_probe": "linear probe",
}
READOUTS = (
    ("auroc", "Telling contexts apart", "AUROC on test tokens", 0.5),
    ("effect", "Removing the latents", "mean |Δ prediction|", 0.0),
    ("gc_minus_random", "Steering", "gap closure minus random", 0.0),
)


def draw(board: pd.DataFrame) -> Figure:
    """``board``: stage leaderboard's table (lineage, entrant and each read-out with its limits)."""
    figure, axes = panels(3, width=3.6, height=3.0)
    if board.empty:
        for panel in axes:
            nothing(panel, "leaderboard: not run")
        return figure
    colors = lineage_colors(list(dict.fromkeys(board.lineage)))
    width = 0.8 / len(colors)
    for panel, (column, title, label, chance) in zip(axes, READOUTS):
        for i, (lineage, color) in enumerate(colors.items()):
            part = board[board.lineage == lineage].set_index("entrant").reindex(ENTRANTS)
            x = np.arange(len(ENTRANTS)) + (i - (len(colors) - 1) / 2) * width
            value = part[column].to_numpy(float)
            error = whiskers(value, part[f"{column}_low"], part[f"{column}_high"])
            panel.errorbar(x, value, error, fmt="o", ms=4, lw=0.8, color=color, label=lineage)
        panel.axhline(chance, color="#555555", lw=0.6)
        panel.set_xticks(np.arange(len(ENTRANTS)), ENTRANTS.values(), rotation=35, ha="right")
        panel.set(title=title, ylabel=label)
    axes[0].set_title(f"Telling contexts apart (layer {int(board.layer.iloc[0])})")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure
