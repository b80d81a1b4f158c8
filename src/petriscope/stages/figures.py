"""Stage figures: every figure and table of the paper, each drawn from what one stage wrote, each stamped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from petriscope.data.dataset import load_dataset
from petriscope.figures import (
    ablation,
    calibration,
    cds_distribution,
    context_counts,
    dots,
    recovery,
    sae_quality,
    steering,
)
from petriscope.figures import chromhmm as chromhmm_figure
from petriscope.figures.style import save
from petriscope.files import atomic_folder, read_json, write_csv
from petriscope.params import Params
from petriscope.runner import git_revision
from petriscope.store import layer_of_claims
from petriscope.workspace import Workspace

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
}
MARKDOWN_ROWS = 60


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write paper_figures/figures/*.png, *.pdf and paper_figures/tables/*.csv, *.md."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    layer = layer_of_claims(workspace, params)
    revision = git_revision(Path(__file__).resolve().parent)
    stamp = f"data set {dataset.name} · seed {params.seed} · revision {revision} · parameters {params.digest()}"

    def table(stage: str, name: str) -> pd.DataFrame:
        path = workspace.table(stage) / name
        try:
            return pd.read_csv(path) if path.is_file() else pd.DataFrame()
        except pd.errors.EmptyDataError:
            return pd.DataFrame()

    tested = bool(read_json(workspace.metrics("cds"))["testable"])
    level = "biosample" if tested else "locus"
    random_layers = table("random_init", "layers.csv")
    motifs, genesets = table("motifs", "enrichment.csv"), table("genesets", "enrichment.csv")
    factors = table("motifs", "factors.csv")
    context_best = table("recovery", "context_programmes.csv")
    figures = {
        "fig1_context_features": context_counts.draw(
            table("cds", "layers.csv"), None if random_layers.empty else random_layers, list(dataset.lineages), tested
        ),
        "fig2_cds_distributions": cds_distribution.draw(
            pd.read_parquet(workspace.table("cds") / "features.parquet"), level, params.cds.alpha
        ),
        "fig3_sae_quality": sae_quality.draw(table("sae", "quality.csv"), params.sae.gate),
        "fig4_calibration": calibration.draw(table("calibration", "p_values.csv"), params.cds.alpha),
        "fig5_ablation": ablation.draw(table("ablation", "curve.csv")),
        "fig6_steering": steering.draw(table("steering", "readout.csv")),
        "fig7_chromhmm": chromhmm_figure.draw(table("chromhmm", "enrichment.csv"), layer),
        "fig8_motifs": dots.draw(
            for_dots(motifs, layer),
            "name",
            "ln_p",
            "q",
            always=tuple(sorted(set(factors.name))) if len(factors) else (),
        ),
        "fig9_genesets": dots.draw(for_dots(genesets, layer), "term", "adjusted_ln_p", "adjusted_q", per_group=3),
        "fig10_recovery": recovery.draw(
            table("recovery", "programmes.csv"), None if context_best.empty else context_best
        ),
    }
    with atomic_folder(workspace.figures / "figures") as folder:
        for name, figure in figures.items():
            save(figure, folder, name, stamp, params.figures.dpi)
    with atomic_folder(workspace.figures / "tables") as folder:
        for name, (stage, file) in TABLES.items():
            frame = table(stage, file)
            write_csv(folder / f"{name}.csv", frame)
            (folder / f"{name}.md").write_text(as_markdown(frame, f"{name} · {stamp}"))
    return {"figures": len(figures), "tables": len(TABLES)}


def for_dots(enrichment: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Groups a dot plot shows: lineages and conditions of one layer, raw peaks of every biosample, three random draws."""
    of_layer = enrichment.kind.isin(["lineage", "condition"]) & (enrichment.layer == layer)
    random = enrichment[enrichment.kind == "random"].group.drop_duplicates().head(3)
    return enrichment[of_layer | (enrichment.kind == "peaks") | enrichment.group.isin(random)]


def as_markdown(frame: pd.DataFrame, title: str) -> str:
    """A table as Markdown, the first rows of a long one."""
    shown = frame.head(MARKDOWN_ROWS)
    cells = shown.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/"))
    lines = [f"# {title}", "", "| " + " | ".join(cells.columns) + " |", "|" + "---|" * cells.shape[1]]
    lines += ["| " + " | ".join(row) + " |" for row in cells.to_numpy().tolist()]
    if len(frame) > len(shown):
        lines += ["", f"{len(frame) - len(shown)} further rows in the CSV file."]
    return "\n".join(lines) + "\n"
