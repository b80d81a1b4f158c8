"""Stage atlas: one read-only file of everything known about every feature and about the graph
around it, for the terminal UI and for queries."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.atlas.build import build_atlas
from petriscope.atlas.layout import map_shares, with_layout
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.atlas import collect
from petriscope.studies.dna.params import Params


@dataclass(frozen=True)
class AtlasNumbers:
    """How large the atlas is."""

    features: int
    sequences: int
    edges: int
    bytes: int
    map_shares: tuple[float, float] | None
    """of the variance along the two axes of the map; None without one"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> AtlasNumbers:
    """Write results/atlas.sqlite."""
    tables = with_layout(collect(workspace, params))
    build_atlas(workspace.atlas, tables)
    return AtlasNumbers(
        features=len(tables.features),
        sequences=0 if tables.documents is None else len(tables.documents),
        edges=0 if tables.edges is None else len(tables.edges),
        bytes=workspace.atlas.stat().st_size,
        map_shares=map_shares(tables),
    )
