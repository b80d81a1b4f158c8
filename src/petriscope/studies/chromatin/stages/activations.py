"""Stage activations: harvest the residual stream of every layer, window and biosample."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import split_rows
from petriscope.run.harvested import harvest_run
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.inputs import (
    harvest_folds,
    load_inputs,
    load_windows,
    masking_difference,
)
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params

MASKING_EVERY = 16
"""Every so many test windows are harvested both ways, to report how far the stream copies its
input."""


@dataclass(frozen=True)
class ActivationNumbers:
    """What was harvested."""

    layers: int
    shape: tuple[int, ...]
    """(W, S, T', d) of each layer."""
    tokens_per_layer: int
    bytes_per_layer: int
    masking: str
    masked_against_unmasked: dict[int, float]
    """Layer -> share of the stream's spread that changes when a bin's own signal is hidden."""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> ActivationNumbers:
    """Write results/activations/: layer_<k>.npy and the token axis (tokens/)."""
    windows, asked = load_windows(workspace), params.activations
    model = load_model(workspace, choose_device(params.device))
    inputs = load_inputs(workspace, model, harvest_folds(params))
    layers = range(model.n_layers + 1)
    with atomic_folder(workspace.activations) as folder:
        harvest_run(workspace, params, model, inputs, layers, folder)
        inputs.tokens.save(folder / "tokens")
        first = open_layers(folder)[0]
    probed = split_rows(windows, "test")[::MASKING_EVERY]
    return ActivationNumbers(
        layers=len(layers),
        shape=first.shape,
        tokens_per_layer=len(inputs.tokens),
        bytes_per_layer=first.nbytes,
        masking=asked.masking,
        masked_against_unmasked=masking_difference(model, inputs, probed, layers, asked.folds),
    )
