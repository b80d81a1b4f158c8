"""Stage recovery: does any feature fire where an element of a programme was planted? Simulated data
only."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from petriscope.files import atomic_folder, write_csv
from petriscope.probe.tokens import Tokens
from petriscope.progress import progress
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers
from petriscope.studies.chromatin.data.dataset import load_dataset, read_truth
from petriscope.studies.chromatin.inputs import bins_table
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.truth import programme_aurocs, programme_openings
from petriscope.studies.chromatin.units import design_of, load_biosamples


@dataclass(frozen=True)
class Best:
    """The best context feature of a programme, chosen on the select windows, read on test."""

    programme: str
    layer: int
    feature: int
    auroc: float


@dataclass(frozen=True)
class Found:
    """How well planted programmes are recovered."""

    untestable: str | None
    auroc: dict[str, float] | None = None
    """by programme, of the best feature of all."""
    auroc_context: dict[str, float] | None = None
    """by programme, of the best context feature."""
    auroc_min: float | None = None
    """the lowest of ``planted``."""
    planted: list[Best] | None = None
    """programmes of one context."""


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/recovery/: programmes.csv, the best feature of each programme, and
    features.parquet."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    if dataset.truth is None:
        nothing = pd.DataFrame(columns=["programme", "layer", "feature", "auroc_test"])
        with atomic_folder(workspace.table("recovery")) as folder:
            write_csv(folder / "programmes.csv", nothing)
        return Found(untestable="no planted truth in this data set")
    biosamples, truth = load_biosamples(workspace), read_truth(dataset.truth)
    bins = bins_table(Tokens.load(workspace.tokens))
    features = read_features(workspace, design_of(biosamples))
    frames = []
    for layer, encoded in progress(
        encoded_layers(workspace.codes).items(), "recovery", unit="layer"
    ):
        mine = features[features.layer == layer].sort_values("feature")
        frames.append(programme_aurocs(encoded.codes().scipy(), mine, bins, truth, biosamples))
    table = pd.concat(frames, ignore_index=True)
    ranked = table.sort_values("auroc_select", ascending=False, kind="stable")
    best = ranked.drop_duplicates("programme")
    context = ranked[ranked.context_feature].drop_duplicates("programme").sort_values("programme")
    with atomic_folder(workspace.table("recovery")) as folder:
        table.to_parquet(folder / "features.parquet", index=False)
        write_csv(folder / "programmes.csv", best.sort_values("programme"))
        write_csv(folder / "context_programmes.csv", context)
    openings = programme_openings(truth)
    of_context = [name for name, opening in openings.items() if len(opening.contexts) == 1]
    planted = context[context.programme.isin(of_context)]
    return Found(
        untestable=None if len(planted) else "no context feature was found",
        auroc=dict(zip(best.programme, best.auroc_test)),
        auroc_context=dict(zip(context.programme, context.auroc_test)),
        auroc_min=float(planted.auroc_test.min()) if len(planted) else None,
        planted=[
            Best(row.programme, int(row.layer), int(row.feature), float(row.auroc_test))
            for row in planted.itertuples()
        ],
    )
