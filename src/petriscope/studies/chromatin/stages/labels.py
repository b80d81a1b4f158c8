"""Stage labels: a name for each annotated feature from what passes, with the evidence, or
`unlabelled`."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.kinds import ENRICHED
from petriscope.enrich.labels import UNLABELLED, features_table, label_features, label_parts
from petriscope.files import atomic_folder, read_csv, write_csv, write_parquet
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params


@dataclass(frozen=True)
class Labelled:
    """What stage labels counted."""

    annotated: int
    labelled: int
    labelled_share: float | None
    lineage_specific: int
    confidence: dict[str, int]
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> Labelled:
    """Write results/labels/: labels.csv, one row per annotated feature; parts.parquet, one row per
    part of a label.

    Beside the best motif stands its lineage specificity: log2 odds where the feature fires in its
    own lineage less the mean over where it fires in the others, with its interval, and the motifs
    too alike to tell apart.
    """
    groups = Foregrounds.load(workspace.table("foregrounds")).of_features()
    tables = {
        kind.name: features_table(kind, read_csv(workspace.table(kind.stage) / "enrichment.csv"))
        for kind in ENRICHED
    }
    labels = label_features(groups.group.tolist(), tables, params.cds.alpha)
    specific = pd.read_parquet(workspace.table("motifs") / "specificity.parquet")
    specific = specific.assign(motif=specific.name.str.split("/").str[0]).drop_duplicates(
        ["group", "motif"]
    )
    columns = ["specificity", "specificity_low", "specificity_high", "family"]
    about = groups[["group", "layer", "feature", "lineage", "context"]]
    parts = about.merge(label_parts(labels).rename(columns={"feature": "group"}), on="group")
    parts = parts.merge(
        specific.assign(kind="motif", term=specific.motif)[["group", "kind", "term", *columns]],
        on=["group", "kind", "term"],
        how="left",
    )
    labels = about.merge(labels.rename(columns={"feature": "group"}), on="group")
    labels = labels.merge(specific[["group", "motif", *columns]], on=["group", "motif"], how="left")
    labels["lineage_specific"] = labels.specificity_low > 0
    with atomic_folder(workspace.table("labels")) as folder:
        write_csv(folder / "labels.csv", labels)
        write_parquet(folder / "parts.parquet", parts)
    named = labels.label != UNLABELLED
    return Labelled(
        annotated=len(labels),
        labelled=int(named.sum()),
        labelled_share=float(named.mean()) if len(labels) else None,
        lineage_specific=int(labels.lineage_specific.sum()),
        confidence=labels.confidence.value_counts().to_dict(),
    )
