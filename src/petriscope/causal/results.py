"""The result of a verb prints as a table in a terminal, as HTML in a notebook, and draws as a
plot."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A number with its 95 % limits over independent units."""

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
        """What was done, in one line."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The result as a frame."""
        raise NotImplementedError

    def __str__(self) -> str:
        table = self.table().to_string(index=False, float_format=lambda value: f"{value:.4g}")
        return f"{self.heading}\n{table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}")
        return f"<p>{escape(self.heading)}</p>{table}"

    def panel(self) -> tuple[Figure, Axes]:
        """A figure with one panel, in whatever backend the caller uses."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 3), layout="constrained")
        return figure, figure.add_subplot()
