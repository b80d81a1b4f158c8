"""p-values where nothing differs, published and corrected side by side, and each seed's error
rates."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.style import CORRECTED, PUBLISHED, nothing, panels

SHOWN = (("published", PUBLISHED), ("corrected, replicates", CORRECTED), ("corrected", CORRECTED))
TITLES = (
    "Published, replicate contrasts",
    "Corrected, replicate contrasts",
    "Corrected, fitted null",
)
FITTED = "no contrast, fitted to the data"
RATES = (
    ("corrected, permutation", FITTED, False, "p < α (p of record)"),
    (
        "depth and FRiP not adjusted, permutation",
        FITTED,
        False,
        "p < α, depth, FRiP not adjusted",
    ),
    ("corrected, maxT family-wise error", FITTED, False, "maxT family-wise error"),
    (
        "corrected, coverage of the 95 % interval of the mean",
        FITTED,
        True,
        "1 - coverage, biosamples",
    ),
    (
        "effect sizes, coverage of the 95 % block-bootstrap interval",
        None,
        True,
        "1 - coverage, blocks",
    ),
)
"""(name in the table, its null, whether it is a coverage, label); None: of whatever null it has."""


def draw(p_values: pd.DataFrame, rates: pd.DataFrame, alpha: float) -> Figure:
    """``p_values``: stage calibration's histogram table (seed, test, p, share); ``rates``: its
    table of rates."""
    figure, axes = panels(4, width=2.8)
    for panel, (test, color), title in zip(axes, SHOWN, TITLES):
        frame = p_values[p_values.test == test]
        if frame.empty:
            nothing(panel, "cannot be tested:\nno replicates in this data set")
            continue
        by_seed = frame.pivot_table(index="p", columns="seed", values="share")
        width = float(by_seed.index.to_series().diff().median())
        panel.bar(by_seed.index, by_seed.mean(axis=1), width=0.9 * width, color=color)
        for seed in by_seed:
            panel.step(
                by_seed.index, by_seed[seed], where="mid", color="#333333", lw=0.5, alpha=0.6
            )
        panel.axhline(width, color="#333333", ls="--", lw=0.8)
        panel.axvline(alpha, color="#c8553d", lw=0.8)
        panel.set(
            title=title,
            xlabel="p under the null (lines: seeds)",
            ylabel="share of features (dashed: uniform)",
        )
        panel.set_ylim(0, max(0.1, float(by_seed.to_numpy().max()) * 1.1))
    _rates(axes[3], rates, alpha)
    return figure


def _rates(panel: Axes, rates: pd.DataFrame, alpha: float) -> None:
    """One row per rate, one point per seed; all should lie on the dashed line."""
    if rates.empty:
        nothing(panel, "cannot be tested:\nno replicates in this data set")
        return
    name = rates["test"].fillna(rates["what"])
    labels: list[str] = []
    for key, null, is_coverage, label in RATES:
        mine = rates[(name == key) & (True if null is None else rates["null"] == null)]
        if mine.empty:
            continue
        values = 1 - mine.share if is_coverage else mine.share
        panel.plot(values, [len(labels)] * len(values), "o", ms=4, alpha=0.7, color=CORRECTED)
        labels.append(label)
    panel.axvline(alpha, color="#333333", ls="--", lw=0.8)
    panel.set_yticks(range(len(labels)), labels)
    panel.invert_yaxis()
    panel.set(title="Each seed", xlabel="rate (dashed: nominal)")
    panel.set_xlim(left=0)
