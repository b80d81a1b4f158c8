"""A result shows itself as a table in a terminal, as HTML in a notebook, as a figure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

INK, ACCENT, GREY = "#1f3a5f", "#c8553d", "#c9c9c9"
"""Colors of what is shown, of what stands out, and of chance."""


class Estimate(NamedTuple):
    """A number with its 95 % limits over independent units.

    Attributes
    ----------
    name : str
        What it is.
    value, low, high : float
        The estimate and its limits, NaN where there are too few units.
    n : int
        Independent units.
    unit : str
        What they are called.

    Examples
    --------
    >>> print(Estimate("gap closed", 0.31, 0.2, 0.41, 12, "blocks"))
    gap closed 0.31 [0.2, 0.41] over 12 blocks
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str

    def __str__(self) -> str:
        return (
            f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}] over {self.n} "
            f"{self.unit}"
        )


class Printed:
    """A result that prints as a heading and a table."""

    @property
    def heading(self) -> str:
        """What was done, a line or a few."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The result as a frame."""
        raise NotImplementedError

    def _shown(self) -> pd.DataFrame:
        """The part of the table that is printed."""
        return self.table()

    def __str__(self) -> str:
        return f"{self.heading}\n{self._shown().to_string(index=False, float_format=_short)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = "<br>".join(escape(line) for line in self.heading.split("\n"))
        return f"<p>{lines}</p>{self._shown().to_html(index=False, float_format=_short)}"


def _short(value: float) -> str:
    return f"{value:.4g}"


def panel(width: float = 4.2, height: float = 3.0) -> tuple[Figure, Axes]:
    """A figure with one panel, in whatever backend the caller uses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def intervals(
    axes: Axes, names: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike
) -> None:
    """Estimates with their limits, one a row, the first on top; a missing limit is not drawn."""
    centre = np.asarray(value, float)
    at = np.arange(len(centre))[::-1]
    away = np.stack([centre - np.asarray(low, float), np.asarray(high, float) - centre])
    axes.axvline(0, color="black", linewidth=0.5)
    axes.errorbar(centre, at, xerr=np.nan_to_num(away).clip(min=0), fmt="o", color=INK)
    axes.set_yticks(at, list(np.asarray(names, object)))
    axes.set_ylim(-0.6, len(centre) - 0.4)
