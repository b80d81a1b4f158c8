"""Stage web: the atlas as a folder of static files that any browser opens, from a disk or a web
host."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.atlas.query import Atlas
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace
from petriscope.web.export import export_atlas


@dataclass(frozen=True)
class WebNumbers:
    """How large the folder is."""

    files: int
    bytes: int
    features: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> WebNumbers:
    """Write results/web/: open its index.html."""
    written = export_atlas(workspace.atlas, workspace.web)
    features = Atlas(workspace.atlas).total
    return WebNumbers(len(written), sum(one.size for one in written), features)
