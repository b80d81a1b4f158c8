"""The paper's figures and tables say here what each is drawn by, and from which files of which
stages; the figures that only the chromatin study has come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from petriscope.enrich.tails import below
from petriscope.figures.annotation import draw_dots, draw_logo
from petriscope.figures.causal import draw_ablation, draw_steering
from petriscope.figures.contrast import draw_calibration, draw_cds_distribution, draw_context_counts
from petriscope.figures.controls import draw_controls
from petriscope.figures.dictionaries import draw_leaderboard, draw_sae_quality
from petriscope.figures.style import CONTROL, CORRECTED, PUBLISHED, none_if_empty, nothing, panels
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params

KINDS = ("condition", "top_activation", "planted", "peaks", "random")


def draw_states(enrichment: pd.DataFrame, layer: int, alpha: float) -> Figure:
    """``enrichment``: stage chromhmm's table; groups of ``layer``, raw peaks and three random
    draws; * is q < ``alpha``."""
    shown = enrichment[(enrichment.kind.isin(KINDS)) & (enrichment.layer.isin([layer, -1]))]
    random = shown[shown.kind == "random"].group.drop_duplicates()
    shown = shown[~shown.group.isin(random[3:])]
    vocabularies = list(dict.fromkeys(shown.vocabulary))
    figure, axes = panels(
        max(1, len(vocabularies)), width=6.0 / max(1, len(vocabularies)) + 2.5, height=5.0
    )
    if shown.empty:
        nothing(axes[0], "no segmentation in this data set")
        return figure
    for panel, vocabulary in zip(axes, vocabularies):
        part = shown[shown.vocabulary == vocabulary]
        states, groups = list(dict.fromkeys(part.state)), list(dict.fromkeys(part.group))
        table = part.pivot(index="group", columns="state", values="odds_ratio").loc[groups, states]
        q = (
            part.pivot(index="group", columns="state", values="q")
            .loc[groups, states]
            .to_numpy(float)
        )
        image = panel.imshow(
            np.log2(table.to_numpy(float)), cmap="RdBu_r", vmin=-4, vmax=4, aspect="auto"
        )
        for row, column in np.argwhere(q < alpha):
            panel.text(column, row, "*", ha="center", va="center", fontsize=6)
        panel.set_xticks(range(len(states)), states, rotation=90)
        panel.set_yticks(range(len(groups)), groups)
        panel.tick_params(labelsize=6)
        own = vocabulary in ("file", "states file")
        panel.set_title("states of the data set" if own else f"{vocabulary} states")
    figure.colorbar(image, ax=axes, shrink=0.5, label=f"log2 odds ratio (* {below(alpha)})")
    return figure


MOST_MOTIFS = 8


def draw_motif_hits(logos: pd.DataFrame, positions: pd.DataFrame) -> Figure:
    """``logos``, ``positions``: stage motifs' tables (columns group, name); one row of panels per
    group and motif."""
    shown = [] if logos.empty else list(dict.fromkeys(zip(logos.group, logos.name)))[:MOST_MOTIFS]
    if not shown:
        figure, axes = panels(1)
        nothing(axes[0], "no motif is enriched in any lineage")
        return figure
    figure, grid = plt.subplots(len(shown), 3, figsize=(9.6, 1.5 * len(shown)), squeeze=False)
    for (group, name), (library, hits, place) in zip(shown, grid):
        mine = logos[(logos.group == group) & (logos.name == name)]
        for panel, source in ((library, "motif"), (hits, "hits")):
            draw_logo(
                panel,
                mine[mine.source == source].sort_values("position")[list("ACGT")].to_numpy(float),
            )
            panel.tick_params(labelsize=6)
        library.set_title(f"{group}: {name.split('/')[0]}", fontsize=8)
        n, r = int(mine.n.iloc[0]), float(mine.correlation.iloc[0])
        hits.set_title(f"letters at {n} hits, r {r:.2f}", fontsize=8)
        here = positions[(positions.group == group) & (positions.name == name)]
        step = float(here.offset.diff().median())
        place.step(here.offset + step / 2, 1000 * here.background, where="mid", color=CONTROL)
        place.step(here.offset + step / 2, 1000 * here.target, where="mid", color=CORRECTED)
        place.axvspan(-64, 64, color="#000000", alpha=0.05, linewidth=0)
        place.set_ylim(bottom=0)
        place.tick_params(labelsize=6)
    grid[0][2].set_title("hits per kb (dark), in background (pale)", fontsize=8)
    grid[-1][2].set_xlabel("bp from the bin's center (shaded: the bin)")
    return figure


def draw_recovery(best: pd.DataFrame, context: pd.DataFrame | None) -> Figure:
    """``best``: best of all features per programme; ``context``: best of the context features."""
    figure, (panel,) = panels(1, width=5.0)
    if best.empty:
        nothing(panel, "no planted truth in this data set")
        return figure
    names = best.programme.tolist()
    x = np.arange(len(names))
    panel.bar(x - 0.2, best.auroc_test, 0.38, color=PUBLISHED, label="best feature")
    if context is not None:
        values = context.set_index("programme").reindex(names).auroc_test
        panel.bar(x + 0.2, values, 0.38, color=CORRECTED, label="best context feature")
    panel.axhline(0.5, color="#c8553d", ls="--", lw=0.8, label="chance")
    panel.set_xticks(x, names, rotation=45, ha="right")
    panel.set(ylim=(0.4, 1.12), ylabel="AUROC on test", title="Planted programmes")
    panel.legend(ncols=3, loc="upper right")
    return figure


TABLES = {
    "table1_context_features": ("cds", "layers.csv"),
    "table2_sae_quality": ("sae", "quality.csv"),
    "table3_calibration": ("calibration", "nulls.csv"),
    "table4_ablation": ("ablation", "tests.csv"),
    "table5_ablation_curve": ("ablation", "curve.csv"),
    "table6_steering": ("steering", "readout.csv"),
    "table7_claimed_factors": ("motifs", "factors.csv"),
    "table8_labels": ("labels", "labels.csv"),
    "table9_recovery": ("recovery", "programmes.csv"),
    "table10_random_init": ("random_init", "layers.csv"),
    "table11_leaderboard": ("leaderboard", "leaderboard.csv"),
    "table12_input_controls": ("input_controls", "layers.csv"),
    "table13_depth_matched": ("depth_matched", "layers.csv"),
    "table14_label_shuffle": ("label_shuffle", "layers.csv"),
    "table15_single_features": ("ablation", "features.csv"),
    "table16_lineage_motifs": ("motifs", "lineages.csv"),
    "table17_motif_hits": ("motifs", "comparisons.csv"),
    "table18_multiplicity": ("claims", "ledger.csv"),
    "table19_planted_truth": ("truth", "scores.csv"),
}
DRAWN: dict[str, Callable[..., Figure]] = {
    "fig1_context_features": draw_context_counts,
    "fig2_cds_distributions": draw_cds_distribution,
    "fig3_sae_quality": draw_sae_quality,
    "fig4_calibration": draw_calibration,
    "fig5_ablation": draw_ablation,
    "fig6_steering": draw_steering,
    "fig7_chromhmm": draw_states,
    "fig8_motifs": draw_dots,
    "fig9_genesets": draw_dots,
    "fig10_recovery": draw_recovery,
    "fig11_controls": draw_controls,
    "fig12_leaderboard": draw_leaderboard,
    "fig13_motif_hits": draw_motif_hits,
}
"""What draws each figure."""


@dataclass
class Tables:
    """The tables of a run by stage and file; remembers which were read, so that a figure can name
    its sources."""

    workspace: Workspace
    read: list[str] = field(default_factory=list)

    def __call__(self, stage: str, name: str) -> pd.DataFrame:
        """One CSV table; empty where its stage wrote nothing."""
        self.read.append(f"{stage}/{name}")
        path = self.workspace.table(stage) / name
        try:
            return pd.read_csv(path) if path.is_file() else pd.DataFrame()
        except pd.errors.EmptyDataError:
            return pd.DataFrame()

    def features(self) -> pd.DataFrame:
        """The feature table of stage cds."""
        self.read.append("cds/features.parquet")
        return pd.read_parquet(self.workspace.table("cds") / "features.parquet")


def figure(
    name: str, table: Tables, params: Params, lineages: list[str], level: str, layer: int
) -> Figure:
    """Draw one figure of `DRAWN`.

    Parameters: ``level`` at which features were tested (biosample or locus); ``layer`` on which
    annotation claims are read.
    """
    draw, alpha = DRAWN[name], params.cds.alpha
    match name:
        case "fig1_context_features":
            random = none_if_empty(table("random_init", "layers.csv"))
            return draw(table("cds", "layers.csv"), random, lineages, level == "biosample")
        case "fig2_cds_distributions":
            return draw(table.features(), level, alpha)
        case "fig3_sae_quality":
            return draw(table("sae", "quality.csv"), params.sae.gate.limits())
        case "fig4_calibration":
            p_values, nulls = (
                table("calibration", "p_values.csv"),
                table("calibration", "nulls.csv"),
            )
            return draw(p_values, nulls, alpha)
        case "fig5_ablation":
            return draw(table("ablation", "curve.csv"))
        case "fig6_steering":
            return draw(table("steering", "readout.csv"))
        case "fig7_chromhmm":
            return draw(table("chromhmm", "enrichment.csv"), layer, alpha)
        case "fig8_motifs":
            claimed = tuple(sorted(set(table("motifs", "factors.csv").get("name", []))))
            shown = for_dots(table("motifs", "enrichment.csv"), layer)
            return draw(shown, "name", "ln_p", "q", alpha, always=claimed)
        case "fig9_genesets":
            shown = for_dots(table("genesets", "enrichment.csv"), layer)
            return draw(shown, "term", "ranked_ln_p", "ranked_q", alpha, per_group=3)
        case "fig10_recovery":
            context = none_if_empty(table("recovery", "context_programmes.csv"))
            return draw(table("recovery", "programmes.csv"), context)
        case "fig11_controls":
            stages = ("cds", "random_init", "label_shuffle", "depth_matched", "input_controls")
            layers = [table(stage, "layers.csv") for stage in stages]
            return draw(*layers, stable_context(table.features(), f"q_{level}", alpha))
        case "fig12_leaderboard":
            return draw(table("leaderboard", "leaderboard.csv"))
        case "fig13_motif_hits":
            return draw(table("motifs", "logos.csv"), table("motifs", "positions.csv"))
    raise KeyError(name)


def stable_context(features: pd.DataFrame, q: str, alpha: float) -> pd.DataFrame:
    """Share of context features, and of all alive ones, that other seeds find again: layer, share,
    share_alive. Empty where one seed ran; a layer without context features has no share."""
    known = features[features.alive & features.stable.notna()]
    context = known[known[q] < alpha]
    shares = {"share": context, "share_alive": known}
    table = pd.DataFrame(
        {
            name: frame.stable.astype(float).groupby(frame.layer).mean()
            for name, frame in shares.items()
        }
    )
    return table.rename_axis("layer").reset_index()


def for_dots(enrichment: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Groups a dot plot shows: lineages, conditions and top-activation features of one layer, and
    the controls: planted elements, raw peaks of every biosample, three random draws."""
    of_layer = enrichment.kind.isin(["lineage", "condition", "top_activation"]) & (
        enrichment.layer == layer
    )
    random = enrichment[enrichment.kind == "random"].group.drop_duplicates().head(3)
    controls = enrichment.kind.isin(["peaks", "planted"]) | enrichment.group.isin(random)
    return enrichment[of_layer | controls]
