"""The figures of causation in study cells: how specific features are beside matched gene sets, and
chance, ceiling and models side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from petriscope.figures.style import (
    CONTEXT,
    CONTROL,
    CORRECTED,
    PUBLISHED,
    beside,
    nothing,
    panels,
    whiskers,
)

FAMILIES = ("geneformer", "scgpt")
MODELS = {True: CORRECTED, False: CONTROL}
"""trained, and randomly initialized"""
MEASURES = {
    "published rule, random features": "chance, published rule",
    "published rule": "published rule",
    "data ceiling": "ceiling: expression data",
    "responding features": "responding features (B)",
    "in silico": "in silico (C)",
}
"""of stage perturbation's counts, in the order of the picture"""
HOW = {"lowest": "token moved last", "deleted": "token taken out", "correlation": "correlation"}


def draw_specificity(features: pd.DataFrame, nulls: pd.DataFrame) -> Figure:
    """Distribution of the features' ratio beside that of matched gene sets, by model; last, both
    arms of choice. ``features``, ``nulls``: stage causal's tables."""
    figure, axes = panels(len(FAMILIES) + 1)
    if features.empty:
        for panel in axes:
            nothing(panel, "causal: not run")
        return figure
    for panel, family in zip(axes, FAMILIES):
        mine = features[(features.model == family) & (features.arm == "random")]
        if mine.empty:
            nothing(panel, f"{family}: no feature could be judged")
            continue
        for trained, color in MODELS.items():
            part = np.sort(mine[mine.trained == trained].ratio)
            if len(part):
                name = "features" if trained else "features, random weights"
                share = np.arange(1, len(part) + 1) / len(part)
                panel.step(part, share, where="post", color=color, label=f"{name} ({len(part)})")
        null = nulls[(nulls.model == family) & nulls.trained]
        panel.plot(null.ratio, null["quantile"], ":", color=PUBLISHED, label="matched gene sets")
        panel.axvline(1, color="#000000", lw=0.5)
        panel.set(title=family, xlabel="effect on targets / matched genes", xscale="log")
        panel.xaxis.set_major_locator(LogLocator(2))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
    beside(figure, axes[0])
    axes[0].set_ylabel("share of features")
    _arms(axes[-1], features)
    return figure


def _arms(panel: Axes, features: pd.DataFrame) -> None:
    """Median ratio and quartiles of every choice of features."""
    panel.set(title="Other choices", xlabel="effect on targets / matched genes")
    groups = list(features[features.trained].groupby(["model", "arm"], sort=False))
    for y, (_, part) in enumerate(groups):
        low, middle, high = part.ratio.quantile([0.25, 0.5, 0.75])
        error = whiskers([middle], [low], [high])
        panel.errorbar([middle], [y], xerr=error, fmt="o", ms=4, color=CORRECTED)
    panel.axvline(1, color="#000000", lw=0.5)
    panel.set_yticks(range(len(groups)), [f"{m}\n{a}" for (m, a), _ in groups], fontsize=6)
    panel.invert_yaxis()


def draw_regulation(counts: pd.DataFrame, agreement: pd.DataFrame) -> Figure:
    """Chance, ceiling and models in one picture: TFs found by each measure, and the rank of the own
    knock-down. ``counts``, ``agreement``: stage perturbation's tables."""
    figure, axes = panels(2, width=4.4, height=3.6)
    if counts.empty:
        for panel in axes:
            nothing(panel, "perturbation: not run")
        return figure
    panel, labels = axes[0], list[str]()
    present = [name for name in MEASURES if (counts.measure == name).any()]
    for measure in present:
        rows = counts[counts.measure == measure]
        for row in rows.itertuples():
            of = max(1, row.of)
            color = _color(str(row.model), measure)
            error = whiskers([row.found / of], [row.low / of], [row.high / of])
            panel.barh(len(labels), row.found / of, color=color, height=0.7)
            panel.errorbar(
                [row.found / of], [len(labels)], xerr=error, fmt="none", ecolor="#333333", lw=0.8
            )
            named = "" if row.model == "data" else f", {row.model}"
            labels.append(f"{MEASURES[measure]}{named}")
    panel.set_yticks(range(len(labels)), labels, fontsize=6)
    panel.invert_yaxis()
    panel.set(title="Regulons found", xlabel="share of TFs (line: exact 95 %)", xlim=(0, 1.02))
    _ranks(axes[1], agreement)
    return figure


def _color(model: str, measure: str) -> str:
    if measure == "data ceiling":
        return CONTEXT["in_vivo"]
    if measure.startswith("published rule"):
        return PUBLISHED
    return CONTROL if model.endswith(" random") else CORRECTED


def _ranks(panel: Axes, agreement: pd.DataFrame) -> None:
    """Cumulative share of TFs by the rank of their own observed change; the diagonal is chance."""
    panel.set_title("Own knock-down among all (D)")
    if agreement.empty:
        nothing(panel, "too few TFs were knocked down")
        return
    most = 1
    styles = {"lowest": "-", "deleted": "--", "correlation": ":"}
    for (model, trained, how), part in agreement.groupby(["model", "trained", "how"], sort=False):
        if not trained and how != "lowest":
            continue
        n = int(part["of"].iloc[0])
        most = max(most, n)
        rank = np.arange(1, n + 1)
        share = [(part["rank"] <= r).mean() for r in rank]
        color = MODELS[bool(trained)] if model != "data" else PUBLISHED
        if model == "scgpt" and trained:
            color = CONTEXT["in_vitro"]
        name = HOW[str(how)] if model == "data" else f"{model}, {HOW[str(how)]}"
        panel.plot(
            rank,
            share,
            styles[str(how)],
            color=color,
            label=name if trained else f"{model}, random weights",
        )
    panel.plot([0, most], [0, 1], color="#000000", lw=0.5)
    panel.set(xlabel="rank at most", ylabel="share of TFs", ylim=(0, 1.02))
    panel.legend(fontsize=5, loc="lower right")
