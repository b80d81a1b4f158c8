"""What the stages sae and cds leave to those after them: how far seeds agree, how features are
scored, and the table of scored features."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from petriscope.contrast.design import Design
from petriscope.contrast.features import Scoring, with_context
from petriscope.files import read_json
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace

SPLIT = "select"
"""The windows on which features are scored."""


def scoring(params: Params) -> Scoring:
    """How the run's features are scored."""
    return Scoring(params.cds.min_events, params.cds.permutations, params.seed)


def read_features(workspace: Workspace, design: Design) -> pd.DataFrame:
    """The feature table with columns context, evidence, rank, lineage and direction added
    (`contrast.features.with_context`) at the level of significance that this stage ran with."""
    features = pd.read_parquet(workspace.table("cds") / "features.parquet")
    return with_context(features, design, float(read_json(workspace.metrics("cds"))["alpha"]))


def read_stability(folder: Path) -> pd.DataFrame | None:
    """Columns layer, feature, stability over the dictionaries' seeds, as stage sae left them in
    ``folder``; None where one seed ran."""
    path = folder / "stability.parquet"
    return pd.read_parquet(path) if path.is_file() else None
