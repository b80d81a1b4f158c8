"""Figures of what annotation finds are a dot plot of terms by group and a motif's sequence logo."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from petriscope.enrich.tails import CONTROLS, below
from petriscope.figures.style import nothing, panels


def draw_dots(
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


COLOURS = {"A": "#109648", "C": "#255c99", "G": "#f7b32b", "T": "#d62839"}
"""Letter colors, the usual green, blue, orange, red."""
_FONT = FontProperties(family="DejaVu Sans", weight="bold")


def letter_heights(matrix: np.ndarray) -> np.ndarray:
    """(L, 4) height of each letter in bits: probability times the position's information content 2
    + Σ p log2 p."""
    p = matrix / matrix.sum(axis=1, keepdims=True)
    bits = 2.0 + np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1, keepdims=True)
    return p * bits


def draw_logo(
    axes: Axes, matrix: np.ndarray, *, smallest: float = 0.02, bare: bool = False
) -> None:
    """Draw the logo of an (L, 4) probability matrix; no letters below ``smallest`` bits; ``bare``
    hides the axes."""
    heights = letter_heights(np.asarray(matrix, dtype=np.float64))
    for position, column in enumerate(heights):
        floor = 0.0
        for letter in np.argsort(column, kind="stable"):
            height = float(column[letter])
            if height >= smallest:
                axes.add_patch(_letter("ACGT"[letter], position, floor, height))
            floor += height
    axes.set_xlim(0, len(heights))
    axes.set_ylim(0, 2)
    if bare:
        axes.set_axis_off()
        return
    axes.set_yticks([0, 1, 2])
    axes.set_ylabel("bits")
    axes.set_xticks(np.arange(len(heights)) + 0.5, [str(i + 1) for i in range(len(heights))])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _letter(letter: str, x: float, y: float, height: float) -> PathPatch:
    """One letter stretched to fill its cell."""
    path = TextPath((0, 0), letter, size=1, prop=_FONT)
    box = path.get_extents()
    stretch = (
        Affine2D()
        .translate(-box.x0, -box.y0)
        .scale(0.94 / box.width, height / box.height)
        .translate(x + 0.03, y)
    )
    return PathPatch(path.transformed(stretch), facecolor=COLOURS[letter], linewidth=0)
