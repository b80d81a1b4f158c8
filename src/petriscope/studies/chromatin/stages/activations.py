"""Stage activations: harvest the residual stream of every layer, window and biosample."""

from __future__ import annotations

from typing import Any

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.inputs import masking_difference
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    harvest_folds,
    load_inputs,
    load_model,
    load_windows,
    split_rows,
)

MASKING_EVERY = 16
"""Every so many test windows are harvested both ways, to report how far the stream copies its
input."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/activations/layer_<k>.npy."""
    windows = load_windows(workspace)
    model = load_model(workspace, choose_device(params.device))
    inputs = load_inputs(workspace, model, harvest_folds(params))
    layers = range(model.n_layers + 1)
    with atomic_folder(workspace.activations) as folder:
        harvest_layers(model, inputs, range(len(windows)), layers, folder)
        stores = open_layers(folder)
        shape = stores[0].shape
    probed = split_rows(windows, "test")[::MASKING_EVERY]
    difference = masking_difference(model, inputs, probed, layers, params.activations.folds)
    return {
        "layers": len(stores),
        "shape": list(shape),
        "tokens_per_layer": shape[0] * shape[1] * shape[2],
        "bytes_per_layer": int(stores[0].nbytes),
        "masking": params.activations.masking,
        "masked_against_unmasked": difference,
    }
