"""Stage figures: every figure and table of the paper, each drawn from what one stage wrote, each
stamped."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.figures.style import as_markdown, save
from petriscope.files import atomic_folder, read_json, write_csv, write_json
from petriscope.run.provenance import source_revision
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.figures import DRAWN, TABLES, Tables, figure
from petriscope.studies.chromatin.foregrounds import layer_of_claims
from petriscope.studies.chromatin.params import Params

SOURCES = "sources.json"
"""beside figures and tables: each one's name → files under results/ it was drawn from"""


@dataclass(frozen=True)
class FigureNumbers:
    """How many were drawn."""

    figures: int
    tables: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> FigureNumbers:
    """Write paper_figures/figures/*.png, *.pdf and paper_figures/tables/*.csv, *.md."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    layer = layer_of_claims(workspace, params)
    stamp = (
        f"data set {dataset.name} · seed {params.seed} · revision {source_revision()} · "
        f"parameters {params.digest()}"
    )
    tested = read_json(workspace.metrics("cds"))["untestable"] is None
    level = "biosample" if tested else "locus"
    sources: dict[str, list[str]] = {}
    with atomic_folder(workspace.figures / "figures") as folder:
        for name in DRAWN:
            table = Tables(workspace)
            drawn = figure(name, table, params, list(dataset.lineages), level, layer)
            save(drawn, folder, name, stamp, params.figures.dpi)
            sources[name] = sorted(set(table.read))
        write_json(folder / SOURCES, sources)
    table = Tables(workspace)
    with atomic_folder(workspace.figures / "tables") as folder:
        for name, (stage, file) in TABLES.items():
            frame = table(stage, file)
            write_csv(folder / f"{name}.csv", frame)
            (folder / f"{name}.md").write_text(
                as_markdown(frame, f"{name} · {stamp}"), encoding="utf-8"
            )
        write_json(
            folder / SOURCES, {name: [f"{stage}/{file}"] for name, (stage, file) in TABLES.items()}
        )
    return FigureNumbers(len(DRAWN), len(TABLES))
