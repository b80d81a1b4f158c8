"""The causal tests take model rows: chosen windows and biosamples, some bins masked, held at one
layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from petriscope.causal.edits import Pairs
from petriscope.probe.harvest import spread
from petriscope.probe.model import device_of, to_device
from petriscope.probe.states import RowLabels, States, gather
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.masking import BLOCK
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    load_biosamples,
    load_inputs,
    load_windows,
    split_rows,
)


def read_masks(rows: int, bins: int, share: float, seed: int) -> np.ndarray:
    """(rows, T') bool: 12-bin blocks masked with probability ``share``, at least one per row, as in
    pre-training."""
    rng = np.random.default_rng(seed)
    blocks = -(-bins // BLOCK)
    chosen = rng.random((rows, blocks)) < share
    chosen[np.arange(rows), rng.integers(0, blocks, rows)] = True
    return np.repeat(chosen, BLOCK, axis=1)[:, :bins]


def condition_rows(biosamples: pd.DataFrame, lineages: Sequence[str]) -> pd.DataFrame:
    """The first in vitro and in vivo biosample per lineage that has both: columns lineage,
    reference, target (rows)."""
    found = []
    for lineage in lineages:
        sides = [
            np.flatnonzero((biosamples.lineage == lineage) & (biosamples.context == context))
            for context in ("in_vitro", "in_vivo")
        ]
        if all(len(side) for side in sides):
            found.append(
                {"lineage": lineage, "reference": int(sides[0][0]), "target": int(sides[1][0])}
            )
    return pd.DataFrame(found, columns=["lineage", "reference", "target"])


def opposite(states: States) -> np.ndarray:
    """(N, T') prediction of each row's partner, where rows alternate between the two contexts."""
    pairs = states.prediction.reshape(-1, 2, states.prediction.shape[1])
    return pairs[:, ::-1].reshape(states.prediction.shape)


def hold(
    model: ChromatinModel,
    inputs: WindowInputs,
    windows: pd.DataFrame,
    chosen: np.ndarray,
    biosamples: pd.DataFrame,
    columns: Sequence[int],
    layer: int,
    share: float,
    seed: int,
) -> States:
    """`States` of windows ``chosen`` x biosamples ``columns``, window-major. A window masks the
    same bins in all."""
    masks = read_masks(len(chosen), inputs.bins, share, seed)
    batches = [
        to_device(inputs.batch(w, mask, list(columns)), device_of(model))
        for w, mask in zip(chosen, masks)
    ]
    repeated = np.repeat(chosen, len(columns))
    of_row = np.tile(np.asarray(columns), len(chosen))
    labels = RowLabels(
        repeated,
        windows.block.to_numpy()[repeated],
        biosamples.lineage.to_numpy(str)[of_row],
        biosamples.context.to_numpy(str)[of_row],
    )
    return gather(
        model, batches, layer, np.repeat(masks, len(columns), axis=0), labels, inputs.crop
    )


def hold_pairs(
    workspace: Workspace,
    params: Params,
    model: ChromatinModel,
    layer: int,
    lineages: Sequence[str],
    split: str,
) -> Pairs:
    """In vitro rows of a split's windows (at most `steering.windows`) and the in vivo rows of the
    same lineages."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    rows = condition_rows(biosamples, lineages)
    chosen = spread(split_rows(windows, split), params.steering.windows)
    held = (model, load_inputs(workspace, model), windows, chosen, biosamples)
    of = (layer, params.ablation.mask_fold, params.seed)
    return Pairs(*(hold(*held, rows[side].tolist(), *of) for side in Pairs._fields))
