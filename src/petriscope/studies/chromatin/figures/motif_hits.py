"""Each lineage's best motifs: the library's logo, the letters at its hits, and where the hits lie
round the bin's center."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from petriscope.figures.logos import draw_logo
from petriscope.figures.style import CONTROL, CORRECTED, nothing, panels

MOST = 8


def draw(logos: pd.DataFrame, positions: pd.DataFrame) -> Figure:
    """``logos``, ``positions``: stage motifs' tables (columns group, name); one row of panels per
    group and motif."""
    shown = [] if logos.empty else list(dict.fromkeys(zip(logos.group, logos.name)))[:MOST]
    if not shown:
        figure, axes = panels(1)
        nothing(axes[0], "no motif is enriched in any lineage")
        return figure
    figure, grid = plt.subplots(len(shown), 3, figsize=(9.6, 1.5 * len(shown)), squeeze=False)
    for (group, name), (library, hits, place) in zip(shown, grid):
        mine = logos[(logos.group == group) & (logos.name == name)]
        for panel, source in ((library, "motif"), (hits, "hits")):
            draw_logo(
                panel,
                mine[mine.source == source].sort_values("position")[list("ACGT")].to_numpy(float),
            )
            panel.tick_params(labelsize=6)
        library.set_title(f"{group}: {name.split('/')[0]}", fontsize=8)
        n, r = int(mine.n.iloc[0]), float(mine.correlation.iloc[0])
        hits.set_title(f"letters at {n} hits, r {r:.2f}", fontsize=8)
        here = positions[(positions.group == group) & (positions.name == name)]
        step = float(here.offset.diff().median())
        place.step(here.offset + step / 2, 1000 * here.background, where="mid", color=CONTROL)
        place.step(here.offset + step / 2, 1000 * here.target, where="mid", color=CORRECTED)
        place.axvspan(-64, 64, color="#000000", alpha=0.05, linewidth=0)
        place.set_ylim(bottom=0)
        place.tick_params(labelsize=6)
    grid[0][2].set_title("hits per kb (dark), in background (pale)", fontsize=8)
    grid[-1][2].set_xlabel("bp from the bin's center (shaded: the bin)")
    return figure
