"""Stage figures: every figure and table of the paper, each drawn from what one stage wrote, each
stamped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from petriscope.figures.style import save
from petriscope.files import atomic_folder, read_json, write_csv, write_json
from petriscope.run.provenance import source_revision
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.figures import chromhmm as chromhmm_figure
from petriscope.studies.chromatin.figures import motif_hits, recovery
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import layer_of_claims

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
MARKDOWN_ROWS = 60
SOURCES = "sources.json"
"""beside figures and tables: each one's name → files under results/ it was drawn from"""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write paper_figures/figures/*.png, *.pdf and paper_figures/tables/*.csv, *.md."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    layer = layer_of_claims(workspace, params)
    stamp = f"data set {dataset.name} · seed {params.seed} · revision {source_revision()} · parameters {params.digest()}"

    read: list[str] = []  # what the figure being drawn has read

    def table(stage: str, name: str) -> pd.DataFrame:
        read.append(f"{stage}/{name}")
        path = workspace.table(stage) / name
        try:
            return pd.read_csv(path) if path.is_file() else pd.DataFrame()
        except pd.errors.EmptyDataError:
            return pd.DataFrame()

    def features() -> pd.DataFrame:
        read.append("cds/features.parquet")
        return pd.read_parquet(workspace.table("cds") / "features.parquet")

    tested = bool(read_json(workspace.metrics("cds"))["testable"])
    level = "biosample" if tested else "locus"
    figures: dict[str, Callable[[Callable[..., Figure]], Figure]] = {
        "fig1_context_features": lambda draw: draw(
            table("cds", "layers.csv"),
            none_if_empty(table("random_init", "layers.csv")),
            list(dataset.lineages),
            tested,
        ),
        "fig2_cds_distributions": lambda draw: draw(features(), level, params.cds.alpha),
        "fig3_sae_quality": lambda draw: draw(
            table("sae", "quality.csv"), params.sae.gate.limits()
        ),
        "fig4_calibration": lambda draw: draw(
            table("calibration", "p_values.csv"),
            table("calibration", "nulls.csv"),
            params.cds.alpha,
        ),
        "fig5_ablation": lambda draw: draw(table("ablation", "curve.csv")),
        "fig6_steering": lambda draw: draw(table("steering", "readout.csv")),
        "fig7_chromhmm": lambda draw: draw(
            table("chromhmm", "enrichment.csv"), layer, params.cds.alpha
        ),
        "fig8_motifs": lambda draw: draw(
            for_dots(table("motifs", "enrichment.csv"), layer),
            "name",
            "ln_p",
            "q",
            params.cds.alpha,
            always=tuple(sorted(set(table("motifs", "factors.csv").get("name", [])))),
        ),
        "fig9_genesets": lambda draw: draw(
            for_dots(table("genesets", "enrichment.csv"), layer),
            "term",
            "ranked_ln_p",
            "ranked_q",
            params.cds.alpha,
            per_group=3,
        ),
        "fig10_recovery": lambda draw: draw(
            table("recovery", "programmes.csv"),
            none_if_empty(table("recovery", "context_programmes.csv")),
        ),
        "fig11_controls": lambda draw: draw(
            table("cds", "layers.csv"),
            table("random_init", "layers.csv"),
            table("label_shuffle", "layers.csv"),
            table("depth_matched", "layers.csv"),
            table("input_controls", "layers.csv"),
            stable_context(features(), f"q_{level}", params.cds.alpha),
        ),
        "fig12_leaderboard": lambda draw: draw(table("leaderboard", "leaderboard.csv")),
        "fig13_motif_hits": lambda draw: draw(
            table("motifs", "logos.csv"), table("motifs", "positions.csv")
        ),
    }
    sources: dict[str, list[str]] = {}
    with atomic_folder(workspace.figures / "figures") as folder:
        for name, draw in figures.items():
            read.clear()
            save(draw(DRAWN[name]), folder, name, stamp, params.figures.dpi)
            sources[name] = sorted(set(read))
        write_json(folder / SOURCES, sources)
    with atomic_folder(workspace.figures / "tables") as folder:
        for name, (stage, file) in TABLES.items():
            frame = table(stage, file)
            write_csv(folder / f"{name}.csv", frame)
            (folder / f"{name}.md").write_text(as_markdown(frame, f"{name} · {stamp}"))
        write_json(
            folder / SOURCES, {name: [f"{stage}/{file}"] for name, (stage, file) in TABLES.items()}
        )
    return {"figures": len(figures), "tables": len(TABLES)}


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


def none_if_empty(frame: pd.DataFrame) -> pd.DataFrame | None:
    """None for a table its stage left empty or never wrote."""
    return None if frame.empty else frame


def for_dots(enrichment: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Groups a dot plot shows: lineages, conditions and top-activation features of one layer, and
    the controls: planted elements, raw peaks of every biosample, three random draws."""
    of_layer = enrichment.kind.isin(["lineage", "condition", "top_activation"]) & (
        enrichment.layer == layer
    )
    random = enrichment[enrichment.kind == "random"].group.drop_duplicates().head(3)
    controls = enrichment.kind.isin(["peaks", "planted"]) | enrichment.group.isin(random)
    return enrichment[of_layer | controls]


def as_markdown(frame: pd.DataFrame, title: str) -> str:
    """A table as Markdown, the first rows of a long one."""
    shown = frame.head(MARKDOWN_ROWS)
    cells = shown.map(
        lambda value: f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
    )
    lines = [
        f"# {title}",
        "",
        "| " + " | ".join(cells.columns) + " |",
        "|" + "---|" * cells.shape[1],
    ]
    lines += ["| " + " | ".join(row) + " |" for row in cells.to_numpy().tolist()]
    if len(frame) > len(shown):
        lines += ["", f"{len(frame) - len(shown)} further rows in the CSV file."]
    return "\n".join(lines) + "\n"
