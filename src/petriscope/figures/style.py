"""The figures share one visual language: colors with meaning, sizes, the provenance stamp,
deterministic files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CONTEXT = {"in_vitro": "#c8553d", "in_vivo": "#2a7f62"}
LINEAGES = ("#b03a5b", "#c98a1b", "#3b6ea8", "#6b5b95", "#4f8f8b", "#8a8a8a")
MARKDOWN_ROWS = 60
PUBLISHED, CORRECTED, CONTROL = "#8c8c8c", "#1f3a5f", "#c9c9c9"
RC: dict[Any, Any] = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
for _name, _value in RC.items():
    plt.rcParams[_name] = _value


def panels(
    columns: int, width: float = 3.2, height: float = 2.7, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with rows x columns axes in the house style."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False
    )
    return figure, list(axes.ravel())


def lineage_colors(lineages: list[str]) -> dict[str, str]:
    """One color per lineage, in order."""
    return {name: LINEAGES[i % len(LINEAGES)] for i, name in enumerate(lineages)}


def whiskers(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """(2, n) distances to the limits for `errorbar`; a limit that rounding puts on the wrong side
    of its value is the value."""
    center = np.asarray(value, dtype=float)
    return np.stack(
        [center - np.asarray(low, dtype=float), np.asarray(high, dtype=float) - center]
    ).clip(min=0)


def beside(figure: Figure, axes: Axes) -> None:
    """The legend of ``axes``, for all panels of ``figure``, right of them: it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper")


def nothing(axes: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(
        0.5,
        0.5,
        why,
        ha="center",
        va="center",
        wrap=True,
        fontsize=8,
        color="#555555",
        transform=axes.transAxes,
    )
    axes.set_axis_off()


def save(figure: Figure, folder: Path, name: str, stamp: str, dpi: int) -> None:
    """Write name.png and name.pdf with the stamp along the lower edge; the same input gives the
    same bytes."""
    figure.supxlabel(stamp, fontsize=5, color="#777777", x=0.995, ha="right")
    figure.savefig(folder / f"{name}.png", dpi=dpi, metadata={"Software": None})
    figure.savefig(
        folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None}
    )
    plt.close(figure)


def none_if_empty(frame: pd.DataFrame) -> pd.DataFrame | None:
    """None for a table its stage left empty or never wrote."""
    return None if frame.empty else frame


def as_markdown(frame: pd.DataFrame, title: str) -> str:
    """A table as Markdown, the first rows of a long one."""
    shown = frame.head(MARKDOWN_ROWS)
    cells = shown.map(
        lambda value: f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
    )
    lines = [
        f"# {title}",
        "",
        "| " + " | ".join(cells.columns) + " |",
        "|" + "---|" * cells.shape[1],
    ]
    lines += ["| " + " | ".join(row) + " |" for row in cells.to_numpy().tolist()]
    if len(frame) > len(shown):
        lines += ["", f"{len(frame) - len(shown)} further rows in the CSV file."]
    return "\n".join(lines) + "\n"
