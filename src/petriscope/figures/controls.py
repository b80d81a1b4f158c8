"""The figure of controls sets each beside the curve it could take away: random model, shuffled
labels, equal depth, inputs, other seeds."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.style import CONTROL, CORRECTED, PUBLISHED, nothing, panels, whiskers

ACCENTS = ("#c8553d", "#c98a1b", "#6b5b95", "#4f8f8b", "#3b6ea8", "#b03a5b", "#8a8a8a")


def draw_controls(
    layers: pd.DataFrame,
    random_init: pd.DataFrame,
    shuffles: pd.DataFrame,
    depth: pd.DataFrame,
    inputs: pd.DataFrame,
    stable: pd.DataFrame,
) -> Figure:
    """Tables: ``layers`` of stage cds, and of the control stages; an empty one leaves its panel
    saying "not run".

    ``stable``: columns layer, share (of the context features that other seeds find again) and
    share_alive.
    """
    figure, axes = panels(4, width=3.1, rows=2)
    _fractions(axes[0], layers, random_init)
    _shuffles(axes[1], shuffles)
    _published(axes[2], shuffles)
    _depth(axes[3], depth)
    motif = inputs[(inputs.dna == "real") & (inputs.atac == "real")] if len(inputs) else inputs
    crossed = inputs[inputs.motif == "real"] if len(inputs) else inputs
    _inputs(axes[4], motif, "context_fraction", "Motif vector", "share of alive features")
    _inputs(axes[5], crossed, "auroc", "DNA × accessibility", "AUROC of context features (test)")
    _accuracy(axes[6], inputs)
    _stable(axes[7], stable)
    return figure


def _layers(axes: Axes, numbers: pd.Series, room: float = 1.45) -> None:
    """Layer ticks, and room for the legend above the curves."""
    axes.set_xticks(sorted(set(numbers.astype(int))))
    axes.set_xlabel("layer")
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + room * (high - low))
    axes.legend(loc="upper right", fontsize=6)


def _fractions(axes: Axes, layers: pd.DataFrame, random_init: pd.DataFrame) -> None:
    axes.set_title("Random model")
    if random_init.empty:
        return nothing(axes, "random model: not run")
    for table, color, name in (
        (layers, CORRECTED, "trained model"),
        (random_init, CONTROL, "randomly initialized"),
    ):
        error = whiskers(table.context_fraction, table.context_low, table.context_high)
        axes.errorbar(
            table.layer, table.context_fraction, error, fmt="o-", ms=3, color=color, label=name
        )
    axes.set(ylabel="share of alive features, BH q < α", ylim=(0, None))
    _layers(axes, layers.layer)


def _shuffles(axes: Axes, shuffles: pd.DataFrame) -> None:
    axes.set_title("Shuffled labels, corrected test")
    if shuffles.empty:
        return nothing(axes, "label shuffles: not run")
    observed = shuffles.drop_duplicates("layer")
    axes.plot(
        observed.layer, observed.fraction_observed, "o-", ms=3, color=CORRECTED, label="observed"
    )
    for (name, part), color in zip(shuffles.groupby("null", sort=False), (PUBLISHED, ACCENTS[1])):
        axes.plot(
            part.layer,
            part.fraction,
            "o--",
            ms=3,
            color=color,
            label=f"{name}, mean of {part.draws.iloc[0]}",
        )
        axes.fill_between(
            part.layer, part.fraction_low, part.fraction_high, color=color, alpha=0.2, lw=0
        )
    axes.set(ylabel="share of alive features, BH q < α", ylim=(0, None))
    _layers(axes, observed.layer)


def _published(axes: Axes, shuffles: pd.DataFrame) -> None:
    axes.set_title("Shuffled labels, published test")
    if shuffles.empty:
        return nothing(axes, "label shuffles: not run")
    observed = shuffles.drop_duplicates("layer")
    axes.plot(
        observed.layer, observed.published_observed, "o-", ms=3, color=CORRECTED, label="observed"
    )
    for (name, part), color in zip(shuffles.groupby("null", sort=False), (PUBLISHED, ACCENTS[1])):
        axes.plot(part.layer, part.published, "o--", ms=3, color=color, label=str(name))
        axes.fill_between(
            part.layer, part.published_low, part.published_high, color=color, alpha=0.2, lw=0
        )
    axes.set(ylabel="Bonferroni-significant features", ylim=(0, None))
    _layers(axes, observed.layer)


def _depth(axes: Axes, depth: pd.DataFrame) -> None:
    axes.set_title("Equal sequencing depth")
    if depth.empty:
        return nothing(axes, "equal depth: not run")
    share = depth.context_fraction_main
    error = whiskers(share, depth.context_low_main, depth.context_high_main)
    axes.errorbar(
        depth.layer, share, error, fmt="o-", ms=3, color=CORRECTED, label="each at its own depth"
    )
    error = whiskers(depth.context_fraction, depth.context_low, depth.context_high)
    label = f"all at {int(depth.fragments.iloc[0]):,} fragments"
    axes.errorbar(
        depth.layer, depth.context_fraction, error, fmt="o--", ms=3, color=ACCENTS[0], label=label
    )
    axes.set(ylabel="share of alive features, BH q < α", ylim=(0, None))
    _layers(axes, depth.layer)


def _inputs(axes: Axes, table: pd.DataFrame, column: str, title: str, label: str) -> None:
    axes.set_title(title)
    if table.empty:
        return nothing(axes, "input controls: not run")
    for (name, part), color in zip(table.groupby("variant", sort=False), (CORRECTED, *ACCENTS)):
        style = "o-" if name == "real" else "o--"
        axes.plot(part.layer, part[column], style, ms=3, color=color, label=str(name))
    if column == "auroc":
        axes.axhline(0.5, color="#555555", lw=0.6)
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(f"{label}\n{int(table.windows.iloc[0])} test windows", fontsize=7)
    _layers(axes, table.layer, 1.8 if column == "auroc" else 1.45)


def _accuracy(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_title("What the model needs")
    if table.empty:
        return nothing(axes, "input controls: not run")
    once = table.drop_duplicates("variant")
    height = range(len(once))
    axes.barh([y - 0.2 for y in height], once.model_r, 0.36, color=CORRECTED, label="all bins")
    axes.barh(
        [y + 0.2 for y in height],
        once.model_r_condition,
        0.36,
        color=PUBLISHED,
        label="condition-specific",
    )
    axes.set_yticks(list(height), once.variant, fontsize=6)
    axes.invert_yaxis()
    axes.axvline(0, color="#555555", lw=0.6)
    axes.set_xlabel("r of masked prediction")
    axes.legend(fontsize=6)


def _stable(axes: Axes, stable: pd.DataFrame) -> None:
    axes.set_title("Other autoencoder seeds")
    if stable.empty:
        return nothing(axes, "stability not measured: one seed")
    axes.plot(stable.layer, stable.share, "o-", ms=3, color=CORRECTED, label="context features")
    axes.plot(
        stable.layer, stable.share_alive, "o--", ms=3, color=CONTROL, label="all alive features"
    )
    axes.set(ylabel="share found again by other seeds", ylim=(0, 1.02))
    _layers(axes, stable.layer, 1.3)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
