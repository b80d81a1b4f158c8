"""Stage atlas: one read-only file of everything known about every feature of both models, for the
terminal UI and for queries."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from petriscope.atlas.build import build_atlas
from petriscope.atlas.layout import map_shares, with_layout
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.atlas import collect
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class AtlasNumbers:
    """How large the atlas is; None where it has no such table."""

    features: int
    genes_listed: int | None
    modules: int | None
    links: int | None
    perturbations: int | None
    cell_types: int | None
    bytes: int
    map_shares: tuple[float, float] | None
    """of the variance along the two axes of the map; None without one"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> AtlasNumbers:
    """Write results/atlas.sqlite."""
    tables = with_layout(collect(workspace, params))
    build_atlas(workspace.atlas, tables)
    types = tables.celltypes
    return AtlasNumbers(
        features=len(tables.features),
        genes_listed=_rows(tables.feature_genes),
        modules=_rows(tables.modules),
        links=_rows(tables.links),
        perturbations=_rows(tables.perturbations),
        cell_types=None if types is None else int(types.cell_type.nunique()),
        bytes=workspace.atlas.stat().st_size,
        map_shares=map_shares(tables),
    )


def _rows(table: pd.DataFrame | None) -> int | None:
    return None if table is None else len(table)
