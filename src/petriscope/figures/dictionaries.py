"""Figures of the dictionaries show each autoencoder against its gate and against simpler bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, lineage_colors, nothing, panels, whiskers


def draw_sae_quality(quality: pd.DataFrame, gate: Mapping[str, Sequence[float]]) -> Figure:
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


def draw_leaderboard(board: pd.DataFrame) -> Figure:
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
