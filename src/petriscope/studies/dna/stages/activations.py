"""Stage activations: harvest the residual stream of every layer and sequence, all layers in one
pass."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import open_layers
from petriscope.run.harvested import harvest_run
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.inputs import load_inputs, load_model, save_axis
from petriscope.studies.dna.params import Params


@dataclass(frozen=True)
class ActivationNumbers:
    """What was harvested."""

    layers: int
    sequences: int
    tokens_per_layer: int
    """`<cls>` included"""
    single_base_share: float
    """of the tokens that stand for bases: single bases and N"""
    bytes_per_layer: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> ActivationNumbers:
    """Write results/activations/: layer_<k>.npy, (tokens, d) float16; the token axis (tokens/);
    places.parquet, a row per token: id, start, width (bp)."""
    model = load_model(workspace, choose_device(params.device))
    inputs = load_inputs(workspace, model)
    layers = range(model.n_layers + 1)
    with atomic_folder(workspace.activations) as folder:
        harvest_run(workspace, params, model, inputs, layers, folder)
        save_axis(inputs, folder)
        first = open_layers(folder)[0]
    width = inputs.tables.width
    return ActivationNumbers(
        layers=len(layers),
        sequences=len(inputs),
        tokens_per_layer=len(inputs.tokens),
        single_base_share=float((width == 1).sum() / (width > 0).sum()),
        bytes_per_layer=first.nbytes,
    )
