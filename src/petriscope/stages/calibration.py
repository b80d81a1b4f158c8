"""Stage calibration: every test on contrasts where nothing differs, the published one beside, seed
by seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.calibration import (
    Calibration,
    Data,
    Nulls,
    calibrate_seed,
    joined,
    summarize,
)
from petriscope.contrast.design import Design
from petriscope.contrast.evidence import usable_strata
from petriscope.errors import UserError
from petriscope.executors import Resources, current, fan_out, once
from petriscope.files import atomic_folder, write_csv
from petriscope.probe.tokens import Tokens
from petriscope.run.params import ContrastParams
from petriscope.run.scored import SPLIT
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers
from petriscope.stages.cds import study_design


def run(workspace: Workspace, params: ContrastParams) -> Calibration:
    """Write results/calibration/: nulls.csv (rates with intervals, per seed) and p_values.csv
    (binned, for the figure)."""
    layer, alpha, design = (
        middle_layer(workspace),
        params.cds.alpha,
        study_design(workspace, params),
    )
    rates = histogram = pd.DataFrame(columns=["seed", "test", "null", "p", "share"])
    found = Calibration(why_untestable(design), layer, alpha)
    if found.untestable is None:
        seeds = [params.seed + i for i in range(params.calibration.seeds)]
        given, needs = Given(workspace, params), Resources(memory_gb=4)
        if current().runs_here():
            once(_read, given)
        nulls = fan_out(null_seed, given, seeds, "null data sets", unit="seed", resources=needs)
        rates, histogram = joined(nulls)
        found = summarize(rates, alpha, layer, design.words.covariates)
    with atomic_folder(workspace.table("calibration")) as folder:
        write_csv(folder / "nulls.csv", rates)
        write_csv(folder / "p_values.csv", histogram)
    return found


class Given(NamedTuple):
    """What null data sets are made from."""

    workspace: Workspace
    params: ContrastParams


def null_seed(given: Given, seed: int) -> Nulls:
    """The null runs of one seed."""
    return calibrate_seed(once(_read, given), seed, alpha=given.params.cds.alpha)


def _read(given: Given) -> Data:
    workspace, params = given
    return null_data(workspace, params, study_design(workspace, params))


def middle_layer(workspace: Workspace) -> int:
    """The layer the tests are tried on."""
    return (max(encoded_layers(workspace.codes)) + 1) // 2


def why_untestable(design: Design) -> str | None:
    """Why no test can be tried on this data set; None where one can."""
    if usable_strata(design):
        return None
    words = design.words
    reasons = "; ".join(design.untestable("unit"))
    return f"no {words.stratum} has two {words.units} a side: {reasons}"


def null_data(workspace: Workspace, params: ContrastParams, design: Design) -> Data:
    """What null data sets are made of: the middle layer. Raises `UserError` where nothing can be
    tested."""
    why = why_untestable(design)
    if why is not None:
        words = design.words
        remedy = f"Give replicates: two {words.units} of each side in one {words.stratum}."
        raise UserError(why, file=words.units, remedy=remedy)
    encoded = encoded_layers(workspace.codes)[middle_layer(workspace)]
    moments, means = encoded.of_split(Tokens.load(workspace.tokens), SPLIT)
    alive = np.flatnonzero(moments.alive(params.cds.min_events))
    return Data(
        moments.features(alive),
        encoded.moments().features(alive),
        means[:, :, alive],
        design,
        sets=params.calibration.nulls,
    )
