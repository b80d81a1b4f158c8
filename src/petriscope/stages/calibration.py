"""Stage calibration: every test on contrasts where nothing differs, the published one beside, seed
by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from petriscope.contrast.calibration import Calibration, Data, calibrate, summarize
from petriscope.contrast.evidence import usable_strata
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.cds import SPLIT
from petriscope.studies.chromatin.store import (
    chosen_layer,
    layer_numbers,
    load_design,
    load_moments,
    load_window_means,
    load_windows,
    split_rows,
)

COVARIATES = "depth and FRiP"


def run(workspace: Workspace, params: Params) -> Calibration:
    """Write results/calibration/: nulls.csv (rates with intervals, per seed) and p_values.csv
    (binned, for the figure)."""
    layer, alpha = middle_layer(workspace), params.cds.alpha
    rates = histogram = pd.DataFrame(columns=["seed", "test", "null", "p", "share"])
    found = Calibration(why_untestable(workspace, params), layer, alpha)
    if found.untestable is None:
        seeds = [params.seed + i for i in range(params.calibration.seeds)]
        rates, histogram = calibrate(null_data(workspace, params), seeds=seeds, alpha=alpha)
        found = summarize(rates, alpha, layer, COVARIATES)
    with atomic_folder(workspace.table("calibration")) as folder:
        write_csv(folder / "nulls.csv", rates)
        write_csv(folder / "p_values.csv", histogram)
    return found


def middle_layer(workspace: Workspace) -> int:
    """The layer the tests are tried on."""
    return chosen_layer("middle", layer_numbers(workspace.codes)[-1], "calibration")


def why_untestable(workspace: Workspace, params: Params) -> str | None:
    """Why no test can be tried on this data set; None where one can."""
    design = load_design(workspace, params)
    if usable_strata(design):
        return None
    return "no lineage has two biosamples a side: " + "; ".join(design.untestable("unit"))


def null_data(workspace: Workspace, params: Params) -> Data:
    """What null data sets are made of: the middle layer. Raises `UserError` where nothing can be
    tested."""
    if why_untestable(workspace, params):
        remedy = "Give replicates: two biosamples of each context in one lineage."
        raise UserError("no lineage has two biosamples a side", file="biosamples", remedy=remedy)
    windows, layer = load_windows(workspace), middle_layer(workspace)
    rows = split_rows(windows, SPLIT)
    everywhere = load_moments(workspace, layer)
    moments = everywhere.blocks(np.unique(windows.block.to_numpy()[rows]))
    alive = np.flatnonzero(moments.alive(params.cds.min_events))
    bins = params.windows.length // 128 - 2 * params.windows.crop
    return Data(
        moments.features(alive),
        everywhere.features(alive),
        load_window_means(workspace, layer, rows, bins)[:, :, alive],
        load_design(workspace, params),
        sets=params.calibration.nulls,
        covariates=COVARIATES,
    )
