"""Stage celltypes: features that tell cell types apart, over cells as published and over donors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.against_random import after_a_block
from petriscope.studies.cells.annotated import Excess, joined, null_entries
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import SPLITS
from petriscope.studies.cells.celltypes import (
    COLUMNS,
    cell_sums,
    groups,
    mean_when_active,
    permuted_shares,
    published_celltypes,
    share_found,
    type_table,
    why_not,
)
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class ModelTypes:
    """Numbers of one trained model, over its layers."""

    published: float
    """share of the features that fire in ten cells with a type by Fisher's test over cells"""
    corrected: Excess | None
    """share of alive features with a type over donors, beside permuted labels; None where donors
    cannot be compared"""
    random: float | None
    """the same share of the randomly initialized model"""


@dataclass(frozen=True)
class CellTypeNumbers:
    """How many features tell cell types apart, by model."""

    untestable: str | None
    models: dict[str, ModelTypes]
    donors: int = 0
    types: int = 0
    least_low: float | None = None
    """the lowest limit of the models' shares beyond permuted labels"""


class _Found(NamedTuple):
    """A layer of a model."""

    of: dict[str, object]
    types: pd.DataFrame
    published: pd.DataFrame
    theirs: float
    features: int
    share: float | None
    draws: np.ndarray


def run(workspace: Workspace, params: Params) -> CellTypeNumbers:
    """Write results/celltypes/: types.parquet (a row per alive feature and type, over donors),
    published.parquet (a row per feature and significant type, over cells) and layers.csv."""
    out, found = workspace.table("celltypes"), branches(workspace, params)
    cells = found[0].tokens().windows
    donor, kind = (_labels(cells, name) for name in ("donor", "cell_type"))
    why = why_not(donor, kind, params.celltypes.min_donors)
    if kind is None or pd.isna(kind).all():
        write_not_run(out, str(why))
        return CellTypeNumbers(why, {})

    def one(item: tuple[Branch, int]) -> _Found:
        return _layer(*item, None if why else donor, kind, params)

    items = [(branch, layer) for branch in found for layer in branch.layers()]
    layers = list(in_processes(one, items, "celltypes", unit="layer"))
    with atomic_folder(out) as folder:
        for name in ("types", "published"):
            parts = [getattr(part, name).assign(**part.of) for part in layers]
            write_parquet(folder / f"{name}.parquet", joined(parts))
        write_csv(folder / "layers.csv", pd.DataFrame([_row(part) for part in layers]))
    families = dict.fromkeys(str(part.of["model"]) for part in layers if part.of["trained"])
    models = {family: _numbers(layers, family) for family in families}
    lows = [model.corrected.low for model in models.values() if model.corrected is not None]
    return CellTypeNumbers(
        why,
        models,
        0 if donor is None else len(set(donor[~pd.isna(donor) & ~pd.isna(kind)])),
        len(set(kind[~pd.isna(kind)])),
        min(lows, default=None),
    )


def _labels(cells: pd.DataFrame, name: str) -> np.ndarray | None:
    """(cells,) labels of unperturbed cells of the first tissue, missing for all others; None
    without the column."""
    if name not in cells:
        return None
    used = cells.split.isin(SPLITS)
    labels = cells[name].astype(object).where(used & cells[name].notna(), None)
    return labels.to_numpy(object)


def _layer(
    branch: Branch, layer: int, donor: np.ndarray | None, kind: np.ndarray, params: Params
) -> _Found:
    given, alpha = params.celltypes, params.cds.alpha
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    known = ~pd.isna(kind)
    window, gene = branch.tokens().window, branch.places().gene.to_numpy(np.int64)
    counted = np.where((gene >= 0) & known[window], window, -1)
    total, fires = cell_sums(branch.encoded(layer).codes(), counted, len(kind))
    theirs = published_celltypes(mean_when_active(total, fires)[known], kind[known], alpha=alpha)
    published = theirs.found.feature.nunique() / max(len(theirs.features), 1)
    alive = np.flatnonzero(fires.sum(0) >= params.cds.min_events)
    if donor is None:
        empty = pd.DataFrame(columns=COLUMNS)
        return _Found(of, empty, theirs.found, published, len(alive), None, np.zeros(0))
    tokens = np.bincount(counted[counted >= 0], minlength=len(kind))
    made = groups(total[:, alive], tokens, donor, kind, given.min_cells)
    return _Found(
        of,
        type_table(made, alive, given.min_donors),
        theirs.found,
        published,
        len(alive),
        share_found(made.means, given.min_donors, alpha),
        permuted_shares(made.means, given.min_donors, alpha, given.shuffles, params.seed),
    )


def _row(part: _Found) -> dict[str, object]:
    row = {**part.of, "published": part.theirs, "features": part.features, "share": part.share}
    return row | null_entries(part.draws)


def _numbers(layers: list[_Found], family: str) -> ModelTypes:
    mine = [part for part in layers if part.of["model"] == family]
    kept = after_a_block([int(str(part.of["layer"])) for part in mine])
    used = [part for part in mine if part.of["layer"] in kept]
    trained = [part for part in used if part.of["trained"]]
    shares = [part.share for part in trained if part.share is not None]
    random = [part.share for part in used if not part.of["trained"] and part.share is not None]
    return ModelTypes(
        float(np.mean([part.theirs for part in trained])),
        Excess.of(shares, [part.draws for part in trained]) if shares else None,
        float(np.mean(random)) if random else None,
    )
