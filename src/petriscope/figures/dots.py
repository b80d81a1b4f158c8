"""Dot plot of terms by group: size is −log10 p, color is fold, a ring marks q < alpha. Serves
motifs and gene sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.enrich.tails import CONTROLS, below
from petriscope.figures.style import nothing, panels


def draw(
    table: pd.DataFrame,
    term: str,
    ln_p: str,
    q: str,
    alpha: float,
    per_group: int = 4,
    always: tuple[str, ...] = (),
) -> Figure:
    """``table``: long enrichment of the groups to show (columns group, kind, fold); terms are the
    best of every group of features, so that raw peaks and random bins are judged on the same
    terms."""
    groups = list(dict.fromkeys(table.group))
    features = table[~table.kind.isin(CONTROLS)]
    best = features.sort_values(ln_p, kind="stable").groupby("group", sort=False).head(per_group)
    wanted = {*best[term], *always}
    chosen = [name for name in dict.fromkeys(features[term]) if name in wanted]
    figure, axes = panels(
        1, width=max(4.5, 0.28 * len(groups) + 3.6), height=max(3.0, 0.19 * len(chosen) + 1.4)
    )
    panel = axes[0]
    if not chosen:
        nothing(panel, "nothing was tested")
        return figure
    shown = table[table[term].isin(chosen)]
    x = shown.group.map({name: i for i, name in enumerate(groups)})
    y = shown[term].map({name: i for i, name in enumerate(chosen)})
    strength = np.minimum(-shown[ln_p].to_numpy(float) / np.log(10), 30)
    significant = (shown[q] < alpha).to_numpy()
    dots = panel.scatter(
        x,
        y,
        s=3 + 4 * strength,
        c=np.log2(np.clip(shown.fold.to_numpy(float), 0.125, 8)),
        cmap="RdBu_r",
        vmin=-3,
        vmax=3,
        edgecolors=["#111111" if found else "#dddddd" for found in significant],
        linewidths=[0.7 if found else 0.2 for found in significant],
    )
    panel.set_xticks(range(len(groups)), groups, rotation=60, ha="right")
    panel.set_yticks(range(len(chosen)), [name[:60] for name in chosen])
    panel.set_xlim(-0.7, len(groups) - 0.3)
    panel.set_ylim(len(chosen) - 0.4, -0.6)
    panel.tick_params(labelsize=6)
    legend = f"log2 fold\n(size: −log10 p, ring: {below(alpha)})"
    figure.colorbar(dots, ax=panel, shrink=0.5, label=legend)
    return figure
