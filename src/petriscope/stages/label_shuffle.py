"""Stage label_shuffle: how many features pass, layer by layer, when context labels are shuffled or
only replicates differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from petriscope.contrast.calibration import beside_observed, null_counts, null_p
from petriscope.contrast.nulls import replicates, shuffled
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.calibration import why_untestable
from petriscope.studies.chromatin.stages.cds import SPLIT
from petriscope.studies.chromatin.store import (
    layer_numbers,
    load_design,
    load_moments,
    load_window_means,
    load_windows,
    read_features,
    scoring,
    split_rows,
)

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


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/label_shuffle/: layers.csv (per null and layer) and draws.csv (per null, draw
    and layer)."""
    why = why_untestable(workspace, params)
    if not params.controls.label_shuffle:
        why = "controls.label_shuffle is false in params.yaml"
    if why:
        write_not_run(workspace.table("label_shuffle"), why)
        return Found(untestable=why)
    design, windows, alpha = (
        load_design(workspace, params),
        load_windows(workspace),
        params.cds.alpha,
    )
    rows = split_rows(windows, SPLIT)
    blocks = np.unique(windows.block.to_numpy()[rows])
    bins = params.windows.length // 128 - 2 * params.windows.crop
    draws = params.controls.label_shuffle_draws
    nulls = {
        SHUFFLED: list(shuffled(design, draws, params.seed)),
        REPLICATES: list(replicates(design, draws, params.seed)),
    }

    def one(layer: int) -> list[pd.DataFrame]:
        moments = load_moments(workspace, layer).blocks(blocks)
        means = load_window_means(workspace, layer, rows, bins)
        found = {
            name: null_p(moments, means, designs, scoring(params), alpha)
            for name, designs in nulls.items()
        }
        return [p.assign(layer=layer, null=name) for name, p in found.items() if p is not None]

    layers = in_processes(one, layer_numbers(workspace.codes), "label shuffles", unit="layer")
    counts = null_counts(pd.concat(list(chain.from_iterable(layers)), ignore_index=True), alpha)
    table = beside_observed(counts, read_features(workspace), alpha)
    with atomic_folder(workspace.table("label_shuffle")) as folder:
        write_csv(folder / "draws.csv", counts)
        write_csv(folder / "layers.csv", table)
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
