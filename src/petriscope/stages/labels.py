"""Stage labels: a name for each annotated feature from what passes, with the evidence, or `unlabelled`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from petriscope.annotation.labels import UNLABELLED, label_features
from petriscope.files import atomic_folder, write_csv
from petriscope.params import Params
from petriscope.store import load_foregrounds
from petriscope.workspace import Workspace


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/labels/labels.csv: one row per annotated feature."""
    groups = load_foregrounds(workspace).groups
    groups = groups[groups.kind == "feature"]
    tables = {name: _of_features(workspace, name) for name in ("chromhmm", "motifs", "genesets")}
    processes = tables["genesets"].assign(ln_p=lambda t: t.adjusted_ln_p, q=lambda t: t.adjusted_q)
    labels = label_features(
        groups.group.tolist(), states=tables["chromhmm"], motifs=tables["motifs"], processes=processes
    ).rename(columns={"feature": "group"})
    labels = groups[["group", "layer", "feature", "lineage", "context"]].merge(labels, on="group")
    with atomic_folder(workspace.table("labels")) as folder:
        write_csv(folder / "labels.csv", labels)
    named = labels.label != UNLABELLED
    return {
        "annotated": len(labels),
        "labelled": int(named.sum()),
        "labelled_share": float(named.mean()) if len(labels) else None,
        "confidence": labels.confidence.value_counts().to_dict(),
    }


def _of_features(workspace: Workspace, stage: str) -> pd.DataFrame:
    """A stage's enrichment table of single features, named by group."""
    table = pd.read_csv(workspace.table(stage) / "enrichment.csv")
    return table[table.kind == "feature"].assign(feature=table.group)
