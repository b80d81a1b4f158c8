"""Stage figures: every figure and table of study cells, each drawn from what stages wrote, each
stamped."""

from __future__ import annotations

from petriscope.figures.sources import FigureNumbers, Files, write_figures, write_tables
from petriscope.run.params import chosen_layer
from petriscope.run.provenance import source_revision
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.figures import DRAWN, TABLES
from petriscope.studies.cells.params import Params


def run(workspace: Workspace, params: Params) -> FigureNumbers:
    """Write paper_figures/figures/*.png, *.pdf and paper_figures/tables/*.csv, *.md."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    stamp = (
        f"data set {dataset.name} · seed {params.seed} · revision {source_revision()} · "
        f"parameters {params.digest()}"
    )
    graphs = Files(workspace).table("modules/graphs.csv")
    last = 0 if graphs.empty else int(graphs.layer.max())
    more = {"fig4_modules": (chosen_layer(params.layer, last, "layer"),)}
    write_figures(workspace, DRAWN, stamp, params.figures.dpi, more)
    return FigureNumbers(len(DRAWN), write_tables(workspace, TABLES, stamp))
