"""Dose–response of every ablation arm, error-preserving beside the published form."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from petriscope.claims.rules import UNTESTABLE
from petriscope.figures.style import CONTROL, CORRECTED, PUBLISHED, nothing, panels

ARMS = {
    "cds": ("context features", CORRECTED, "-"),
    "top_activation": ("top-activation features", "#c98a1b", "-"),
    "random": ("matched random sets", PUBLISHED, "-"),
    "random_direction": ("random directions, same norm", CONTROL, "--"),
    "pca": ("principal directions, same norm", "#6b5b95", "--"),
}


def draw(curve: pd.DataFrame) -> Figure:
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
