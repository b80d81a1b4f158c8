"""Stage figures: every figure and table of study dna, each drawn from what stages wrote, each
stamped."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.figures.style import as_markdown, save
from petriscope.files import atomic_folder, write_csv, write_json
from petriscope.run.provenance import source_revision
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.figures import DRAWN, TABLES, Files, figure
from petriscope.studies.dna.params import Params

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
    stamp = (
        f"data set {dataset.name} · seed {params.seed} · revision {source_revision()} · "
        f"parameters {params.digest()}"
    )
    sources: dict[str, list[str]] = {}
    with atomic_folder(workspace.figures / "figures") as folder:
        for name in DRAWN:
            files = Files(workspace)
            drawn = figure(name, files, params.cds.alpha, params.graph.top)
            save(drawn, folder, name, stamp, params.figures.dpi)
            sources[name] = sorted(files.read)
        write_json(folder / SOURCES, sources)
    tables = {}
    with atomic_folder(workspace.figures / "tables") as folder:
        for name, (stage, file) in TABLES.items():
            files = Files(workspace)
            frame = files.table(f"{stage}/{file}")
            if frame.empty:  # its stage did not run, or found nothing
                continue
            write_csv(folder / f"{name}.csv", frame)
            text = as_markdown(frame, f"{name} · {stamp}")
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
            tables[name] = files.read
        write_json(folder / SOURCES, tables)
    return FigureNumbers(len(DRAWN), len(tables))
