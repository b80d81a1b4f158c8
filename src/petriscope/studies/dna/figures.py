"""The paper's figures and tables of study dna say here what each is drawn by, and from which files
of which stages. A figure whose stage did not run says so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.sources import Drawn
from petriscope.figures.style import (
    CONTEXT,
    CONTROL,
    CORRECTED,
    LINEAGES,
    PUBLISHED,
    beside,
    nothing,
    panels,
    whiskers,
)

CLASSES = {"positive": CONTEXT["in_vitro"], "negative": CONTEXT["in_vivo"]}
MODELS = {"trained": CORRECTED, "random_init": CONTROL}
SHOWN_MAPS = 4
BASES_APART = 12
"""pixels between two maps' ticks"""
MATCHED, NULL = "length matched", "curveball of length matched"
"""Graphs of stage graph that are many draws."""
Tables = Mapping[str, pd.DataFrame]


def draw_tracks(by_layer: pd.DataFrame) -> Figure:
    """Best correlation of a feature with each track by layer, held out, beside the null of the
    largest over all features. ``by_layer``: stage tracks' table."""
    names = [] if by_layer.empty else list(dict.fromkeys(by_layer.track))
    figure, axes = panels(max(1, min(len(names), 5)), width=2.6, rows=max(1, -(-len(names) // 5)))
    if not names:
        nothing(axes[0], "tracks: not run")
        return figure
    for panel, name in zip(axes, names):
        for model, color in MODELS.items():
            mine = by_layer[(by_layer.track == name) & (by_layer.model == model)]
            if mine.empty:
                continue
            named = model.replace("_", " ")
            error = whiskers(mine.held_out_r, mine.low, mine.high)
            panel.errorbar(
                *(mine.layer, mine.held_out_r, error),
                fmt="o-",
                ms=3,
                color=color,
                label=f"{named}, held out",
            )
            given = f"{named}, given token and GC"
            panel.plot(mine.layer, mine.partial_best, ":", color=color, lw=1, label=given)
            panel.fill_between(
                *(mine.layer, 0, mine.null_95),
                color=color,
                alpha=0.15,
                lw=0,
                label=f"{named}, 95 % of\nshifted annotation",
            )
        panel.set(title=name, xlabel="layer", ylim=(min(0, panel.get_ylim()[0]), None))
        panel.set_xticks(sorted(set(by_layer.layer)))
    for panel in axes[len(names) :]:
        panel.set_axis_off()
    axes[0].set_ylabel("best r of a feature")
    beside(figure, axes[0])
    return figure


def draw_fragmentation(curves: pd.DataFrame, graphs: pd.DataFrame) -> Figure:
    """Components and density while features are removed by falling PageRank; graph sizes beside.
    ``curves``, ``graphs``: stage graph's tables."""
    figure, axes = panels(3)
    if curves.empty:
        for panel in axes:
            nothing(panel, "graph: not run")
        return figure
    styles = {"as published": ":", "corrected": "-", MATCHED: "-", NULL: "--"}
    for panel, value in ((axes[0], "components"), (axes[1], "density")):
        for (graph, side), mine in curves.groupby(["graph", "class"], sort=False):
            drawn = graph in (MATCHED, NULL) if value == "components" else graph in styles
            if not drawn and graph != "as published":
                continue
            color = CLASSES.get(str(side), CONTROL)
            line = styles.get(str(graph), "-")
            panel.plot(mine.removed, mine[value], line, color=color, lw=1, label=f"{graph}, {side}")
            if value == "components" and graph in (MATCHED, NULL):
                panel.fill_between(
                    mine.removed,
                    mine.components_low,
                    mine.components_high,
                    color=color,
                    alpha=0.15,
                    lw=0,
                )
        panel.set(xlabel="features removed", ylabel=value)
    axes[0].set_title("Fragmentation")
    axes[1].set(title="Density", yscale="log")
    beside(figure, axes[0])
    _features(axes[2], graphs)
    return figure


def _features(panel: Axes, graphs: pd.DataFrame) -> None:
    """Features that each class uses: as published, corrected, length-matched with its band."""
    panel.set_title("Features used")
    rows = {str(name): part.set_index("class") for name, part in graphs.groupby("graph")}
    single: tuple[str, ...] = ("as published", "corrected")
    names = [name for name in single if name in rows]
    names += [name for name in (MATCHED, NULL) if f"{name}, median" in rows]
    for y, name in enumerate(names):
        for offset, (side, color) in zip((-0.13, 0.13), CLASSES.items()):
            suffix = ", median" if f"{name}, median" in rows else ""
            value = float(rows[name + suffix].features.get(side, np.nan))
            panel.plot(value, y + offset, "o", ms=4, color=color, label=None if y else side)
            if suffix:
                ends = [
                    float(rows[f"{name}, {end}"].features.get(side, np.nan))
                    for end in ("low", "high")
                ]
                panel.plot(ends, [y + offset] * 2, color=color, lw=1.5)
    panel.set_yticks(range(len(names)), [name.replace(" of ", "\nof ") for name in names])
    panel.invert_yaxis()
    panel.set_xlabel("features (line: 95 % of draws)")
    panel.legend()


def draw_cores(cores: pd.DataFrame) -> Figure:
    """Sequences and features in each k-core, both classes. ``cores``: stage graph's table."""
    figure, axes = panels(2)
    if cores.empty:
        for panel in axes:
            nothing(panel, "graph: not run")
        return figure
    for panel, graph in zip(axes, ("as published", "corrected")):
        for side, color in CLASSES.items():
            mine = cores[(cores.graph == graph) & (cores["class"] == side)]
            panel.step(
                mine.k, mine.sequences, where="post", color=color, label=f"{side}, sequences"
            )
            panel.step(
                mine.k, mine.features, where="post", color=color, ls="--", label=f"{side}, features"
            )
        panel.set(title=f"Cores, {graph}", xlabel="k", yscale="symlog", ylabel="in the k-core")
    axes[0].legend()
    return figure


def draw_rates(features: pd.DataFrame, alpha: float, top: int) -> Figure:
    """The ``top`` features on either side by t of the rate test, with the interval of their rate
    ratio; crosses: the published fold change. ``features``: stage graph's table."""
    figure, (panel,) = panels(1, width=5.0, height=5.0)
    known = features[features.t.notna()] if len(features) else features
    if known.empty:
        nothing(panel, "graph: not run, or nothing to compare")
        return figure
    order = known.sort_values("t", ascending=False, kind="stable")
    half = min(top, len(order) // 2)
    shown = pd.concat([order.head(half), order.tail(half)])
    y = np.arange(len(shown))
    passes = (shown.p_maxt < alpha).to_numpy()
    error = whiskers(shown.log_ratio, shown.low, shown.high)
    for chosen, color, name in (
        (passes, CORRECTED, f"maxT p < {alpha:g}"),
        (~passes, CONTROL, "not so"),
    ):
        panel.errorbar(
            shown.log_ratio[chosen],
            y[chosen],
            xerr=error[:, chosen],
            fmt="o",
            ms=3,
            lw=1,
            color=color,
            label=name,
        )
    published = shown.fold_change_published * np.log(10)
    panel.plot(published, y, "x", ms=4, color=PUBLISHED, label="published: ratio of PageRank")
    panel.axvline(0, color="#000000", lw=0.5)
    panel.set_yticks(y, [f"f{int(feature)}" for feature in shown.feature], fontsize=5)
    panel.invert_yaxis()
    panel.set(xlabel="ln rate ratio, positive over negative class", title="Rates per token")
    panel.legend(loc="lower right")
    return figure


def draw_doses(effects: pd.DataFrame, controls: pd.DataFrame) -> Figure:
    """What edits of the chosen features do to the head: by dose, by arm, and suppression beside
    matched features. ``effects``, ``controls``: stage interventions' tables."""
    figure, axes = panels(3, height=3.6)
    if effects.empty:
        for panel in axes:
            nothing(panel, "interventions: not run")
        return figure
    side = dict(zip(controls.feature, controls.side)) if len(controls) else {}
    alone = effects[effects.feature >= 0]
    scaled = alone[alone.arm.isin(["suppress", "scale"])]
    for feature, mine in scaled.groupby("feature"):
        mine = mine.sort_values("dose")
        color = CLASSES.get(side.get(feature, ""), CONTROL)
        error = whiskers(mine["shift"], mine.shift_low, mine.shift_high)
        axes[0].errorbar(mine.dose, mine["shift"], error, fmt="o-", ms=2, lw=0.8, color=color)
    for name, color in CLASSES.items():
        axes[0].plot([], [], "o-", ms=3, color=color, label=f"{name} features")
    axes[0].axhline(0, color="#000000", lw=0.5)
    axes[0].set(title="Dose", xlabel="activation times", ylabel="change of log odds")
    axes[0].legend()
    arms = [arm for arm in dict.fromkeys(alone.arm) if arm != "scale"]
    rng = np.random.default_rng(0)
    for x, arm in enumerate(arms):
        mine = alone[alone.arm == arm]
        spread = x + rng.uniform(-0.15, 0.15, len(mine))
        colors = [CLASSES.get(side.get(f, ""), CONTROL) for f in mine.feature]
        axes[1].scatter(spread, mine["shift"], s=8, c=colors, linewidths=0)
    axes[1].axhline(0, color="#000000", lw=0.5)
    axes[1].set_xticks(range(len(arms)), arms, rotation=40, ha="right", fontsize=6)
    axes[1].set(title="Arms", ylabel="change of log odds")
    axes[2].set_title("One feature suppressed")
    if controls.empty:
        nothing(axes[2], "no feature has matched controls")
        return figure
    rows = controls.sort_values(["side", "auc_drop"], ascending=[True, False], kind="stable")
    y = np.arange(len(rows))
    axes[2].barh(y, rows.control_95, color=CONTROL, height=0.6, label="95 % of matched features")
    colors = [CLASSES.get(str(name), CONTROL) for name in rows.side]
    axes[2].scatter(rows.auc_drop, y, s=12, c=colors, zorder=3)
    axes[2].set_yticks(y, [f"f{int(feature)}" for feature in rows.feature], fontsize=6)
    axes[2].invert_yaxis()
    axes[2].set_xlabel("drop of AUC on test groups")
    axes[2].legend()
    return figure


def draw_maps(maps: Mapping[str, np.ndarray], decay: pd.DataFrame) -> Figure:
    """Corrected dependency maps of the strongest features in one sequence, the substituted token's
    own block grayed, and the decay of dependency with distance. ``maps``: arrays of stage
    dependency's maps.npz; ``decay``: its table."""
    count = 0 if not maps else min(SHOWN_MAPS, maps["maps"].shape[1])
    figure, axes = panels(count + 1, width=2.6, height=2.6)
    for i in range(count):
        panel, values = axes[i], maps["maps"][0, i].astype(float)
        own = maps["own_block"][0]
        away = np.where(own, np.nan, values)
        scale = np.nanmax(np.abs(away)) if np.isfinite(away).any() else 1.0
        panel.imshow(away, cmap="magma_r", vmin=0, vmax=scale or 1.0, interpolation="none")
        gray = np.where(own, 1.0, np.nan)
        panel.imshow(gray, cmap="Greys", vmin=0, vmax=3, interpolation="none")
        panel.set_title(f"f{int(maps['features'][i])}, {maps['ids'][0]}", fontsize=7)
        panel.set_xticks(range(0, len(values), BASES_APART))
        panel.set_yticks(range(0, len(values), BASES_APART))
        panel.tick_params(labelsize=5)
        panel.set_xlabel("base read", fontsize=6)
    if count:
        axes[0].set_ylabel("base substituted (own token gray)", fontsize=6)
    panel = axes[-1]
    if decay.empty:
        nothing(panel, "dependency: not run")
        return figure
    for model, color in MODELS.items():
        mine = decay[(decay.model == model) & (decay.distance > 0)]
        panel.plot(mine.distance, mine.change, color=color, label=model.replace("_", " "))
    panel.set(title="Decay", xlabel="tokens away", ylabel="|change|, sd", yscale="log")
    panel.legend()
    return figure


def draw_entropy(by_k: pd.DataFrame, partition: pd.DataFrame) -> Figure:
    """Entropy by length of context as published and corrected, and what explains the strongest
    features. ``by_k``, ``partition``: stage entropy's tables."""
    figure, axes = panels(2)
    if by_k.empty:
        for panel in axes:
            nothing(panel, "entropy: not run")
        return figure
    panel = axes[0]
    for column, color, name in (
        ("published_entropy", PUBLISHED, "published: own occurrence counted"),
        ("leave_one_out", LINEAGES[1], "own occurrence left out"),
        ("held_out", CORRECTED, "held-out sequences"),
    ):
        panel.plot(by_k.k, by_k[column], "o-", ms=3, color=color, label=name)
    panel.plot(by_k.k, 2 * by_k.singletons, ":", color=CONTROL, label="contexts seen once (of 2)")
    panel.set(title="Entropy", xlabel="k, bases before", ylabel="bits a base", ylim=(0, None))
    panel.legend(fontsize=5)
    panel = axes[1]
    panel.set_title("What explains features")
    if partition.empty:
        nothing(panel, "no feature is alive")
        return figure
    chosen = partition[partition.kind.isin(["whole", "unique"])]
    names = list(dict.fromkeys(chosen.predictor))
    for offset, (model, color) in zip((-0.15, 0.15), MODELS.items()):
        mine = chosen[chosen.model == model].set_index("predictor").reindex(names)
        error = whiskers(mine.share, mine.low, mine.high)
        y = np.arange(len(names)) + offset
        panel.errorbar(
            mine.share, y, xerr=error, fmt="o", ms=3, color=color, label=model.replace("_", " ")
        )
    panel.axvline(0, color="#000000", lw=0.5)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set_xlabel("share of variance (below all: lost without it)")
    panel.legend()
    return figure


def draw_concepts(wins: pd.DataFrame) -> Figure:
    """Share of concepts that the dictionary tells better than each baseline, by layer. ``wins``:
    stage concepts' table."""
    figure, axes = panels(2, width=3.8)
    if wins.empty:
        for panel in axes:
            nothing(panel, "concepts: not run")
        return figure
    for panel, metric in zip(axes, ("f1", "auroc")):
        mine = wins[(wins.metric == metric) & (wins.kind == "all")]
        for color, (baseline, part) in zip(LINEAGES, mine.groupby("baseline", sort=False)):
            share = part.better / part.concepts
            error = whiskers(
                share, part.better_low / part.concepts, part.better_high / part.concepts
            )
            panel.errorbar(part.layer, share, error, fmt="o-", ms=3, color=color, label=baseline)
        panel.axhline(0.5, color="#000000", lw=0.5, ls="--")
        panel.set_xticks(sorted(set(mine.layer)))
        title = f"Concepts told better ({metric.upper()})"
        panel.set(title=title, xlabel="layer", ylim=(0, 1.02), ylabel="share of concepts")
    axes[0].legend()
    return figure


def draw_dictionaries(expansions: pd.DataFrame, quality: pd.DataFrame) -> Figure:
    """Unexplained variance and firing of every layer and size. ``expansions``: stage expansions'
    quality.csv; ``quality``: stage sae's, whose first seed is probed."""
    figure, axes = panels(3)
    probed = quality.drop_duplicates("layer") if len(quality) else quality
    if len(probed):
        axes[0].plot(probed.layer, probed.fvu, "s--", ms=3, color="#000000", label="probed")
    drawn = expansions[expansions.factor > 0] if len(expansions) else expansions
    for panel, column in zip(axes, ("fvu", "l0", "firing_median")):
        panel.set(xlabel="layer", title=TITLES[column])
        if not len(drawn):
            nothing(panel, "expansions: not run")
            continue
        factors = sorted(set(drawn.factor))
        kinds = drawn.drop_duplicates(["form", "variant"])[["form", "variant"]]
        styles = dict(zip(kinds.itertuples(index=False, name=None), ("-", "--", ":", "-.")))
        for (form, variant, factor), mine in drawn.groupby(["form", "variant", "factor"]):
            color = LINEAGES[factors.index(factor) % len(LINEAGES)]
            line = f"o{styles.get((form, variant), '-')}"
            name = f"{form} {variant} x{factor}"
            panel.plot(mine.layer, mine[column], line, ms=2, lw=0.8, color=color, label=name)
        panel.set_yscale("log")
        panel.set_xticks(sorted(set(drawn.layer)))
    beside(figure, axes[0])
    return figure


TITLES = {
    "fvu": "Variance unexplained",
    "l0": "Latents per token",
    "firing_median": "Median firing rate",
}


def draw_bases(reductions: pd.DataFrame) -> Figure:
    """One feature base by base: the map's reductions as published and corrected. ``reductions``:
    stage dependency's table."""
    if reductions.empty:
        figure, axes = panels(1)
        nothing(axes[0], "dependency: not run")
        return figure
    feature = reductions.feature.iloc[0]
    mine = reductions[reductions.feature == feature]
    names = list(dict.fromkeys(mine.reduction))
    figure, axes = panels(1, width=6.5, height=1.2, rows=len(names))
    for panel, name in zip(axes, names):
        for form, color in (("published", PUBLISHED), ("corrected", CORRECTED)):
            part = mine[(mine.reduction == name) & (mine.form == form)]
            top = part.value.abs().max()
            panel.step(part.base, part.value / (top or 1.0), where="mid", color=color, label=form)
        panel.set_title(name.replace("_", " "), fontsize=7)
        panel.tick_params(labelsize=5)
    axes[0].legend(ncols=2)
    axes[-1].set_xlabel(f"base (feature {int(feature)}; each scaled to its largest value)")
    return figure


TABLES = {
    "table1_sequences": "model/history.csv",
    "table2_sae_quality": "sae/quality.csv",
    "table3_dictionaries": "expansions/quality.csv",
    "table4_tracks": "tracks/by_layer.csv",
    "table5_concepts": "concepts/wins.csv",
    "table6_graphs": "graph/graphs.csv",
    "table7_features": "graph/features.csv",
    "table8_graph_controls": "graph/controls.csv",
    "table9_heads": "head/rivals.csv",
    "table10_edits": "interventions/effects.csv",
    "table11_edit_controls": "interventions/controls.csv",
    "table12_locality": "dependency/locality.csv",
    "table13_entropy": "entropy/by_k.csv",
    "table14_terms_published": "go/published.csv",
    "table15_terms": "go/terms.csv",
    "table16_multiplicity": "claims/ledger.csv",
}
DRAWN: dict[str, Drawn] = {
    "fig1_tracks": (draw_tracks, ("tracks/by_layer.csv",)),
    "fig2_fragmentation": (
        draw_fragmentation,
        ("graph/fragmentation.csv", "graph/graphs.csv"),
    ),
    "fig3_cores": (draw_cores, ("graph/cores.csv",)),
    "fig4_rates": (draw_rates, ("graph/features.csv",)),
    "fig5_doses": (draw_doses, ("interventions/effects.csv", "interventions/controls.csv")),
    "fig6_maps": (draw_maps, ("dependency/maps.npz", "dependency/decay.csv")),
    "fig7_entropy": (draw_entropy, ("entropy/by_k.csv", "entropy/partition.csv")),
    "fig8_concepts": (draw_concepts, ("concepts/wins.csv",)),
    "fig9_dictionaries": (draw_dictionaries, ("expansions/quality.csv", "sae/quality.csv")),
    "fig10_bases": (draw_bases, ("dependency/reductions.csv",)),
}
"""Figure → what draws it, and the files it is given in that order."""
