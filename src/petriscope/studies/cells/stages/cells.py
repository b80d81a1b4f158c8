"""Stage cells: check the data set, read its counts, and divide its cells once, before anything is
looked at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.counts import divided, save_cells, spread
from petriscope.studies.cells.data.check import check_dataset
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.encodings import encodings
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class CellNumbers:
    """What is probed, how it is divided, and what the models see of it."""

    cells: int
    genes: int
    counts_per_cell: float
    """median, over all genes of the file"""
    genes_per_cell: float
    """median of those detected"""
    cells_per_split: dict[str, int]
    blocks_per_split: dict[str, int]
    donors: int | None
    cell_types: int | None
    targets: int | None
    """perturbed ones"""
    control_cells: int | None
    tissues: int | None
    known_counts: dict[str, float]
    """share of the counts on genes that each family's vocabulary has"""
    tokens_per_cell: dict[str, float]
    """mean, after the cut"""
    cut_cells: dict[str, float]
    """share of the cells that have more genes than the model takes"""
    notes: list[str]
    """what was dropped or summed on the way in"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> CellNumbers:
    """Write results/cells: counts.npz, genes.parquet, obs.parquet and encodings.csv."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    report = check_dataset(dataset, params.cells.min_genes)
    report.refuse()
    cells = report.cells
    assert cells is not None
    notes = list(cells.notes)
    cells = cells.rows(spread(len(cells), params.cells.cells))
    shares = dataclasses.asdict(params.cells.split)
    obs = divided(cells.obs, dataset.control, shares, params.seed)
    cells = dataclasses.replace(cells, obs=obs)
    vocabularies = dataset.vocabularies()
    tokens = params.tokens
    table = encodings(
        cells, vocabularies, size=tokens.size, max_length=tokens.max_length, bins=tokens.bins
    )
    with atomic_folder(workspace.table("cells")) as folder:
        save_cells(cells, folder)
        write_csv(folder / "encodings.csv", table)
    value = table.set_index(["quantity", "family"]).value
    known = {name: obs[name].nunique() for name in ("donor", "cell_type", "tissue") if name in obs}
    perturbed = "target" in obs
    return CellNumbers(
        cells=len(cells),
        genes=len(cells.genes),
        counts_per_cell=float(obs.n_counts.median()),
        genes_per_cell=float(obs.n_genes.median()),
        cells_per_split=obs.split.value_counts().sort_index().to_dict(),
        blocks_per_split=obs.groupby("split").block.nunique().to_dict(),
        donors=known.get("donor"),
        cell_types=known.get("cell_type"),
        targets=obs.target[obs.split == "perturbed"].nunique() if perturbed else None,
        control_cells=int((obs.target == dataset.control).sum()) if perturbed else None,
        tissues=known.get("tissue"),
        known_counts=value["known_counts"].to_dict(),
        tokens_per_cell=value["tokens_per_cell"].to_dict(),
        cut_cells=value["cut_cells"].to_dict(),
        notes=notes,
    )
