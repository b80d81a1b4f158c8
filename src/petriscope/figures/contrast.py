"""Figures of the contrast set what is published beside what is corrected: context features per
layer, the distribution of the score, and p-values where nothing differs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.style import (
    CONTEXT,
    CONTROL,
    CORRECTED,
    PUBLISHED,
    lineage_colors,
    nothing,
    panels,
    whiskers,
)


def draw_context_counts(
    layers: pd.DataFrame, random_layers: pd.DataFrame | None, lineages: list[str], tested: bool
) -> Figure:
    """``layers`` and ``random_layers``: tables of `layer_summary`."""
    figure, (left, middle, right) = panels(3)
    left.plot(layers.layer, layers.published_count, "o-", color=PUBLISHED, label="trained model")
    if random_layers is not None:
        left.plot(
            random_layers.layer,
            random_layers.published_count,
            "o--",
            color=CONTROL,
            label="random init",
        )
    left.set(title="As published", xlabel="layer", ylabel="Bonferroni-significant features")
    left.set_ylim(bottom=0)
    left.legend()
    if tested:
        error = whiskers(layers.context_fraction, layers.context_low, layers.context_high)
        middle.errorbar(
            layers.layer,
            layers.context_fraction,
            error,
            fmt="o-",
            color=CORRECTED,
            label="trained model",
        )
        if random_layers is not None:
            share = random_layers.context_fraction
            spread = whiskers(share, random_layers.context_low, random_layers.context_high)
            middle.errorbar(
                random_layers.layer, share, spread, fmt="o--", color=CONTROL, label="random init"
            )
        for lineage, color in lineage_colors(lineages).items():
            right.plot(
                layers.layer, layers[f"{lineage}_fraction"], "o-", color=color, label=lineage
            )
        middle.legend()
        right.legend()
        middle.set_ylim(bottom=0)
        right.set_ylim(bottom=0)
        middle.set(title="Corrected", xlabel="layer", ylabel="share of alive features, BH q < α")
        right.set(title="By lineage", xlabel="layer", ylabel="share of alive features, BH q < α")
    else:
        nothing(middle, "no biosample-level test:\nno replicates in this data set")
        right.plot(layers.layer, layers.locus_count, "o-", color=CORRECTED)
        right.set(title="Locus level (secondary)", xlabel="layer", ylabel="features, BH q < α")
    for axes in (left, middle, right):
        axes.set_xticks(layers.layer)
    return figure


def draw_cds_distribution(features: pd.DataFrame, level: str, alpha: float) -> Figure:
    """``features``: the table of stage cds; ``level``: biosample or locus."""
    figure, (left, right) = panels(2, width=4.2)
    alive = features[features.alive]
    layers = sorted(alive.layer.unique())
    for axes, column, color in (
        (left, "cds_published", PUBLISHED),
        (right, f"z_{level}", CORRECTED),
    ):
        values = [alive.loc[alive.layer == layer, column].dropna().to_numpy() for layer in layers]
        shown = [value if len(value) else np.zeros(1) for value in values]
        parts = axes.violinplot(shown, positions=layers, widths=0.8, showextrema=False)
        for body in parts["bodies"]:  # type: ignore[attr-defined]
            body.set_facecolor(color)
            body.set_alpha(0.5)
        axes.axhline(0, color="#999999", lw=0.6)
        axes.set_xticks(layers)
        axes.set_xlabel("layer")
    significant = alive[alive[f"q_{level}"] < alpha]
    offset = np.random.default_rng(0).uniform(-0.15, 0.15, len(significant))
    colors = [CONTEXT["in_vivo" if z > 0 else "in_vitro"] for z in significant[f"z_{level}"]]
    right.scatter(significant.layer + offset, significant[f"z_{level}"], s=3, c=colors, lw=0)
    left.set(title="As published", ylabel="mean difference in vivo − in vitro")
    right.set(
        title=f"Corrected, {level} level",
        ylabel="signed Stouffer z",
        xlabel="layer (points: q < α, p by resampling)",
    )
    return figure


CALIBRATION_TESTS = (
    ("published", PUBLISHED),
    ("corrected, replicates", CORRECTED),
    ("corrected", CORRECTED),
)
CALIBRATION_TITLES = (
    "Published, replicate contrasts",
    "Corrected, replicate contrasts",
    "Corrected, fitted null",
)
FITTED_NULL = "no contrast, fitted to the data"
CALIBRATION_RATES = (
    ("corrected, permutation", FITTED_NULL, False, "p < α (p of record)"),
    (
        "depth and FRiP not adjusted, permutation",
        FITTED_NULL,
        False,
        "p < α, depth, FRiP not adjusted",
    ),
    ("corrected, maxT family-wise error", FITTED_NULL, False, "maxT family-wise error"),
    (
        "corrected, coverage of the 95 % interval of the mean",
        FITTED_NULL,
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


def draw_calibration(p_values: pd.DataFrame, rates: pd.DataFrame, alpha: float) -> Figure:
    """``p_values``: stage calibration's histogram table (seed, test, p, share); ``rates``: its
    table of rates."""
    figure, axes = panels(4, width=2.8)
    for panel, (test, color), title in zip(axes, CALIBRATION_TESTS, CALIBRATION_TITLES):
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
    for key, null, is_coverage, label in CALIBRATION_RATES:
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
