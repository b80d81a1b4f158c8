"""Stage atlas: one read-only file of everything known about every feature, for the terminal UI and
for queries."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.atlas.build import build_atlas
from petriscope.atlas.layout import map_shares, with_layout
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.atlas import collect
from petriscope.studies.chromatin.params import Params


@dataclass(frozen=True)
class AtlasNumbers:
    """How large the atlas is."""

    features: int
    bytes: int
    map_shares: tuple[float, float] | None
    """of the variance along the two axes of the map; None without one"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> AtlasNumbers:
    """Write results/atlas.sqlite."""
    tables = with_layout(collect(workspace, params))
    build_atlas(workspace.atlas, tables)
    size = workspace.atlas.stat().st_size
    return AtlasNumbers(len(tables.features), size, map_shares(tables))
