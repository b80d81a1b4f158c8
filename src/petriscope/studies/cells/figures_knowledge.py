"""Figures of what features know, drawn from the tables of stages annotate and celltypes: shares by
layer beside their nulls, and the curve over depth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.style import CONTROL, CORRECTED, PUBLISHED, nothing, panels

RULES = {"published": PUBLISHED, "corrected": CORRECTED}


def draw_annotation(layers: pd.DataFrame) -> Figure:
    """Share of annotated features by layer, as published and corrected, beside lists dealt out anew
    (band: 95 % of them) and the randomly initialized model. ``layers``: stage annotate's table; a
    panel per model."""
    figure, axes = panels(max(1, _models(layers)))
    for panel, model, mine in _each(axes, layers, "annotate"):
        for rule, color in RULES.items():
            own = mine[(mine.rule == rule) & mine.trained.astype(bool)]
            _profile(panel, own, color, rule)
        random = mine[(mine.rule == "corrected") & ~mine.trained.astype(bool)]
        if len(random):
            panel.plot(random.layer, random.share, "x:", ms=4, color=CONTROL, label="random init")
        panel.set(title=model, xlabel="layer", ylim=(0, 1), yticks=np.linspace(0, 1, 5))
    axes[0].set_ylabel("share of features annotated\n(band: lists dealt out anew)")
    if not layers.empty:
        axes[0].legend()
    return figure


def draw_depth(features: pd.DataFrame, alpha_words: str = "q below alpha") -> Figure:
    """The corrected share less that of shuffled lists by layer, and by decile of firing frequency:
    what bends the one may be the other. ``features``: stage annotate's table of latents."""
    figure, axes = panels(2)
    axes[0].set(title="By depth", xlabel="layer", ylabel="share less shuffled lists")
    axes[1].set(title="By firing frequency", xlabel="decile of firing frequency")
    if features.empty:
        for panel in axes:
            nothing(panel, "annotate: not run")
        return figure
    alive = features[features.alive.astype(bool) & (features.layer > 0)]
    alive = alive.assign(beyond=alive.annotated.astype(float) - alive.null)
    colors = {True: CORRECTED, False: CONTROL}
    styles = dict(zip(dict.fromkeys(alive.model), ("o-", "s--")))
    for (model, trained), mine in alive.groupby(["model", "trained"], sort=False):
        label = f"{model}{'' if trained else ' random'}"
        own = mine.groupby("layer").beyond.mean()
        axes[0].plot(
            own.index, own, styles[model], ms=3, lw=1, color=colors[bool(trained)], label=label
        )
        decile = np.ceil(mine.frequency.rank(pct=True) * 10)
        shares = mine.groupby(decile).beyond.mean()
        axes[1].plot(shares.index, shares, styles[model], ms=3, lw=1, color=colors[bool(trained)])
    for panel in axes:
        panel.axhline(0, color="#000000", lw=0.5)
    axes[0].set_xticks(sorted(set(alive.layer)))
    axes[0].legend(title=alpha_words, title_fontsize=6)
    return figure


def draw_celltypes(layers: pd.DataFrame) -> Figure:
    """Share of features that mark a cell type by layer, over cells as published and over donors,
    beside permuted labels (band). ``layers``: stage celltypes' table; a panel per model."""
    figure, axes = panels(max(1, _models(layers)))
    for panel, model, mine in _each(axes, layers, "celltypes"):
        own = mine[mine.trained.astype(bool)]
        panel.plot(own.layer, own.published, "o-", ms=3, color=PUBLISHED, label="published: cells")
        if own.share.notna().any():
            _profile(panel, own, CORRECTED, "over donors")
        else:
            note = "donors: cannot be tested"
            panel.text(0.5, 0.5, note, transform=panel.transAxes, ha="center", fontsize=7)
        panel.set(title=model, xlabel="layer", ylim=(0, 1.02))
    axes[0].set_ylabel("share of features with a cell type\n(band: labels permuted within donors)")
    if not layers.empty:
        axes[0].legend()
    return figure


def _models(layers: pd.DataFrame) -> int:
    return 0 if layers.empty else layers.model.nunique()


def _each(
    axes: list[Axes], layers: pd.DataFrame, stage: str
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """A panel, the model it shows, and its rows by layer; one that says so where there are none."""
    if layers.empty:
        nothing(axes[0], f"{stage}: not run")
        return
    for panel, (model, mine) in zip(axes, layers.groupby("model", sort=False)):
        yield panel, str(model), mine.sort_values("layer")


def _profile(panel: Axes, own: pd.DataFrame, color: str, label: str) -> None:
    """A share by layer and the band of its null."""
    panel.plot(own.layer, own.share, "o-", ms=3, color=color, label=label)
    low, high = (own[name].astype(float) for name in ("null_low", "null_high"))
    panel.fill_between(own.layer, low, high, color=color, alpha=0.2, lw=0)
    panel.plot(own.layer, own.null.astype(float), ":", lw=1, color=color)
    panel.set_xticks(sorted(own.layer.unique())[:: max(1, own.layer.nunique() // 9)])
