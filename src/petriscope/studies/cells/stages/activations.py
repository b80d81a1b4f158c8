"""Stage activations: harvest the residual stream of every layer of the probed model on all cells,
all layers in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import open_layers
from petriscope.run.harvested import harvest_run
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.inputs import load_inputs, load_model, save_axis
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class ActivationNumbers:
    """What was harvested."""

    family: str
    layers: int
    cells: int
    """of all splits: perturbed ones and those of other tissues too"""
    genes: int
    """with a token in some cell"""
    tokens_per_layer: int
    """special ones included"""
    tokens_per_cell: float
    """median"""
    padding: float
    """share of the tokens computed that were padding"""
    bytes_per_layer: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> ActivationNumbers:
    """Write results/activations/: layer_<k>.npy, (tokens, d) float16; the token axis (tokens/);
    places.parquet, a row per token: gene and value (its rank in the cell, or its bin)."""
    model = load_model(workspace, params.family, choose_device(params.device))
    inputs = load_inputs(workspace, params, params.family)
    inputs.check(model)
    layers = range(model.n_layers + 1)
    with atomic_folder(workspace.activations) as folder:
        harvest_run(workspace, params, model, inputs, layers, folder)
        save_axis(inputs, folder)
        first = open_layers(folder)[0]
    genes = inputs.encoded.gene
    return ActivationNumbers(
        family=params.family,
        layers=len(layers),
        cells=len(inputs),
        genes=len(np.unique(genes[genes >= 0])),
        tokens_per_layer=len(inputs.tokens),
        tokens_per_cell=float(np.median(inputs.counts)),
        padding=inputs.padding_share(),
        bytes_per_layer=first.nbytes,
    )
