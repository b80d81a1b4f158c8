"""Sequence logos drawn with matplotlib: letters as paths, height = information content."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

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
