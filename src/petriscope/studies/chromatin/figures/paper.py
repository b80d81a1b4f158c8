"""The paper's figures and tables: what each is drawn by, and from which files of which stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures import (
    ablation,
    calibration,
    cds_distribution,
    context_counts,
    controls,
    dots,
    leaderboard,
    sae_quality,
    steering,
)
from petriscope.figures.style import none_if_empty
from petriscope.files import read_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.figures import chromhmm as chromhmm_figure
from petriscope.studies.chromatin.figures import motif_hits, recovery
from petriscope.studies.chromatin.params import Params

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
    "fig1_context_features": context_counts.draw,
    "fig2_cds_distributions": cds_distribution.draw,
    "fig3_sae_quality": sae_quality.draw,
    "fig4_calibration": calibration.draw,
    "fig5_ablation": ablation.draw,
    "fig6_steering": steering.draw,
    "fig7_chromhmm": chromhmm_figure.draw,
    "fig8_motifs": dots.draw,
    "fig9_genesets": dots.draw,
    "fig10_recovery": recovery.draw,
    "fig11_controls": controls.draw,
    "fig12_leaderboard": leaderboard.draw,
    "fig13_motif_hits": motif_hits.draw,
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
            return read_csv(path) if path.is_file() else pd.DataFrame()
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
