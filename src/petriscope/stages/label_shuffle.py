"""Stage label_shuffle: how many features pass, layer by layer, when context labels are shuffled or
only replicates differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import pandas as pd

from petriscope.contrast.calibration import beside_observed, null_counts, null_p
from petriscope.contrast.nulls import replicates, shuffled
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.parallel import in_processes
from petriscope.probe.tokens import Tokens
from petriscope.run.params import ContrastParams
from petriscope.run.scored import SPLIT, read_features, scoring
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers
from petriscope.stages.calibration import why_untestable
from petriscope.stages.cds import study_design

SHUFFLED, REPLICATES = "labels shuffled", "replicate against replicate"


@dataclass(frozen=True)
class Found:
    """Features that pass where nothing differs: means over the draws, by layer."""

    untestable: str | None
    draws: int | None = None
    shuffled_count: list[float] | None = None
    shuffled_fraction: list[float] | None = None
    shuffled_fraction_high: list[float] | None = None
    """97.5 % of the draws."""
    shuffled_published: list[float] | None = None
    replicate_count: list[float] | None = None
    """empty where no condition has replicates to compare."""
    replicate_published: list[float] | None = None


def run(workspace: Workspace, params: ContrastParams) -> Found:
    """Write results/label_shuffle/: layers.csv (per null and layer) and draws.csv (per null, draw
    and layer)."""
    design, alpha = study_design(workspace, params), params.cds.alpha
    why = why_untestable(design)
    if not params.controls.label_shuffle:
        why = "controls.label_shuffle is false in params.yaml"
    if why:
        write_not_run(workspace.table("label_shuffle"), why)
        return Found(untestable=why)
    tokens, encoded = Tokens.load(workspace.tokens), encoded_layers(workspace.codes)
    draws = params.controls.label_shuffle_draws
    nulls = {
        SHUFFLED: list(shuffled(design, draws, params.seed)),
        REPLICATES: list(replicates(design, draws, params.seed)),
    }

    def one(layer: int) -> list[pd.DataFrame]:
        moments, means = encoded[layer].of_split(tokens, SPLIT)
        found = {
            name: null_p(moments, means, designs, scoring(params), alpha)
            for name, designs in nulls.items()
        }
        return [p.assign(layer=layer, null=name) for name, p in found.items() if p is not None]

    layers = in_processes(one, encoded, "label shuffles", unit="layer")
    counts = null_counts(pd.concat(list(chain.from_iterable(layers)), ignore_index=True), alpha)
    table = beside_observed(counts, read_features(workspace, design), alpha)
    with atomic_folder(workspace.table("label_shuffle")) as folder:
        write_csv(folder / "draws.csv", counts)
        write_csv(folder / "layers.csv", table)
    return summarize(table, draws)


def summarize(table: pd.DataFrame, draws: int) -> Found:
    """The numbers of the table (one row per null and layer) that the ledger reads."""
    shuffles, between = table[table.null == SHUFFLED], table[table.null == REPLICATES]
    return Found(
        untestable=None,
        draws=draws,
        shuffled_count=shuffles["count"].tolist(),
        shuffled_fraction=shuffles.fraction.round(6).tolist(),
        shuffled_fraction_high=shuffles.fraction_high.round(6).tolist(),
        shuffled_published=shuffles.published.tolist(),
        replicate_count=between["count"].tolist(),
        replicate_published=between.published.tolist(),
    )
