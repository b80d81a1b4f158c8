"""Stage second: the model that is not probed by the other stages, on the same cells, up to its
codes: what is true of one model need not be of the other."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.inputs import load_inputs, load_model
from petriscope.studies.cells.params import FAMILIES, Params
from petriscope.studies.cells.probing import first_seed, probe_into


@dataclass(frozen=True)
class SecondNumbers:
    """Held-out quality of the second model's dictionaries, the first seed's, one a layer."""

    family: str
    layers: list[int]
    fvu: list[float]
    l0: list[float]
    dead_fraction: list[float]
    loss_recovered: list[float]
    """of hidden genes, from zero-ablation"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> SecondNumbers:
    """Write results/second/: activations/, sae/layer_<k>/seed_<s>/ with quality.csv, and codes/,
    as the stages of those names do for the probed model; the cells are the same."""
    family = next(name for name in FAMILIES if name != params.family)
    device = choose_device(params.device)
    model = load_model(workspace, family, device)
    inputs = load_inputs(workspace, params, family)
    inputs.check(model)
    with atomic_folder(workspace.table("second")) as folder:
        table = probe_into(
            folder,
            model,
            inputs,
            params,
            params.sae.seeds,
            cache=workspace.results / "cache" / "second",
            device=device,
            what=family,
        )
    found = first_seed(table)
    return SecondNumbers(
        family=family,
        layers=[int(layer) for layer in found["layer"]],
        fvu=found["fvu"],
        l0=found["l0"],
        dead_fraction=found["dead_fraction"],
        loss_recovered=found["loss_recovered"],
    )
