"""Figures of causal tests set ablation and steering beside random sets and random directions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.claims import UNTESTABLE
from petriscope.figures.style import (
    CONTROL,
    CORRECTED,
    PUBLISHED,
    lineage_colors,
    nothing,
    panels,
    whiskers,
)

ARMS = {
    "cds": ("context features", CORRECTED, "-"),
    "top_activation": ("top-activation features", "#c98a1b", "-"),
    "random": ("matched random sets", PUBLISHED, "-"),
    "random_direction": ("random directions, same norm", CONTROL, "--"),
    "pca": ("principal directions, same norm", "#6b5b95", "--"),
}


def draw_ablation(curve: pd.DataFrame) -> Figure:
    """``curve``: stage ablation's table (arm, k, effect and shift with limits)."""
    figure, (left, middle, right) = panels(3, width=3.4)
    if curve.empty:
        for axes in (left, middle, right):
            nothing(axes, UNTESTABLE)
        return figure
    for axes, measure, label in (
        (left, "effect", "mean |Δ prediction| at masked bins"),
        (middle, "shift", "shift toward other context"),
    ):
        for arm, (name, color, line) in ARMS.items():
            part = curve[curve.arm == arm].sort_values("k")
            axes.plot(part.k, part[measure], line, marker="o", ms=3, color=color, label=name)
            axes.fill_between(
                part.k,
                part[f"{measure}_low"],
                part[f"{measure}_high"],
                color=color,
                alpha=0.15,
                lw=0,
            )
        axes.set(xscale="log", xlabel="features ablated, k", ylabel=label)
    left.set_title(f"Corrected (layer {int(curve.layer.iloc[0])})")
    middle.set_title("Signed shift")
    middle.axhline(0, color="#999999", lw=0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    for arm, name, color in (
        ("published", "targeted", CORRECTED),
        ("published_random", "random", PUBLISHED),
    ):
        part = curve[curve.arm == arm].sort_values("k")
        right.plot(part.k, part.effect, "o-", ms=3, color=color, label=name)
    reconstruction = curve[curve.arm == "reconstruction"].effect
    if len(reconstruction):
        right.axhline(
            float(reconstruction.iloc[0]),
            color="#c8553d",
            ls="--",
            lw=0.8,
            label="reconstruction alone",
        )
    right.set(
        title="As published (error injected)",
        xscale="log",
        xlabel="features ablated, k",
        ylabel="mean |Δ prediction|",
    )
    right.legend()
    ks = sorted(k for k in curve.k.unique() if k > 0)
    for axes in (left, middle, right):
        axes.minorticks_off()
        axes.set_xticks(ks, ks)
    return figure


METHODS = {
    "sae_additive": "SAE-additive",
    "difference_of_means": "difference of means",
    "single_pair": "single pair",
    "linear_probe": "linear probe",
    "leace": "LEACE",
    "label_shuffled": "label-shuffled",
    "published": "published form",
}


def draw_steering(table: pd.DataFrame) -> Figure:
    """``table``: stage steering's read-out, own direction and leave-one-lineage-out."""
    figure, axes = panels(2, width=5.0, height=3.2)
    if table.empty:
        for panel in axes:
            nothing(panel, UNTESTABLE)
        return figure
    lineages = list(dict.fromkeys(table.lineage))
    colors = lineage_colors(lineages)
    for panel, origin, title in zip(
        axes,
        ("own", "others"),
        ("Direction of the lineage itself", "Learned on the other lineages"),
    ):
        width = 0.8 / len(lineages)
        for i, lineage in enumerate(lineages):
            part = (
                table[(table.lineage == lineage) & (table.origin == origin)]
                .set_index("method")
                .reindex(METHODS)
            )
            x = np.arange(len(METHODS)) + (i - (len(lineages) - 1) / 2) * width
            error = whiskers(part.gc, part.gc_low, part.gc_high)
            panel.bar(
                x,
                part.gc,
                0.9 * width,
                color=colors[lineage],
                label=lineage,
                yerr=error,
                error_kw={"lw": 0.6},
            )
            panel.scatter(x, part.gc_random, marker="_", s=40, color="#222222", lw=1.2, zorder=3)
        panel.axhline(0, color="#555555", lw=0.6)
        panel.set_xticks(np.arange(len(METHODS)), METHODS.values(), rotation=30, ha="right")
        panel.set(title=title, ylabel="gap closure on test windows")
    shown = table[table.method.isin(METHODS)]
    low = float(np.nanmin(shown[["gc", "gc_random"]].to_numpy(float)))
    high = float(np.nanmax(shown[["gc", "gc_high"]].to_numpy(float)))
    room = 0.3 * (high - low)  # for the lines of text above the bars
    for panel in axes:
        panel.set_ylim(max(-1.5, low - 0.3 * room), high + room)
    words = {
        "swap": "ceiling, state swapped",
        "feature_swap": "codes of the selected features swapped token by token",
    }
    lines = []
    for method, name in words.items():
        part = table[table.method == method]
        lines.append(
            f"{name}: " + ", ".join(f"{row.lineage} {row.gc:.2f}" for row in part.itertuples())
        )
    axes[0].text(0.02, 0.98, "\n".join(lines), va="top", fontsize=7, transform=axes[0].transAxes)
    axes[0].scatter([], [], marker="_", s=40, color="#222222", label="norm-matched random")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=5)
    return figure
