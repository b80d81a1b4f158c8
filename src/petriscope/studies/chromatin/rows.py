"""The causal tests take model rows: chosen windows and biosamples, some bins masked, held at one
layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from petriscope.causal.edits import loss_recovered
from petriscope.causal.steering import Pairs
from petriscope.device import choose_device
from petriscope.genome.tracks import model_target
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread
from petriscope.probe.model import device_of, to_device
from petriscope.probe.states import RowLabels, States, gather, to_host
from petriscope.probe.tokens import split_rows
from petriscope.run.workspace import Workspace
from petriscope.sae.sweep import Key
from petriscope.sae.train import TrainResult
from petriscope.studies.chromatin.inputs import Arrays, WindowInputs, load_inputs, load_windows
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.model.masking import BLOCK
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import load_biosamples

RECOVERY_WINDOWS, MASKED_SHARE = 6, 0.15
"""Select windows on which the model's own loss is read, and the share of their bins that is
masked."""


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


def recovered_losses(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> dict[Key, dict[str, float]]:
    """Loss recovered of every dictionary in the probed model, on a few select windows of all
    biosamples."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    device = choose_device(params.device)
    model = load_model(workspace, device)
    inputs, signal = load_inputs(workspace, model), Arrays.load(workspace.tracks).signal
    chosen = spread(split_rows(windows, "select"), RECOVERY_WINDOWS)
    target = model_target(
        np.asarray(signal[chosen], np.float32).reshape(-1, signal.shape[-1]), inputs.crop
    )
    columns = range(len(biosamples))

    def one(layer: int) -> dict[Key, dict[str, float]]:
        states = hold(
            model, inputs, windows, chosen, biosamples, columns, layer, MASKED_SHARE, params.seed
        )
        mean = to_host(states.tokens().mean(0))
        found = {}
        for (of, seed), result in trained.items():
            if of == layer:
                losses = loss_recovered(model, result.sae.to(device), states, target, mean)
                names = {f"loss_{name}": value for name, value in losses._asdict().items()}
                over = {
                    "loss_recovered": losses.over_zero,
                    "loss_recovered_over_mean": losses.over_mean,
                }
                found[of, seed] = names | over
        return found

    layers = in_processes(
        one, sorted({layer for layer, _ in trained}), "loss recovered", unit="layer"
    )
    return {key: losses for found in layers for key, losses in found.items()}
