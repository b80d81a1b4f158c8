"""Stage random_init: the same pipeline on both models with random weights, up to the codes: what no
learning at all gives."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_not_run
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.inputs import load_inputs, load_model
from petriscope.studies.cells.model.weights import save_model
from petriscope.studies.cells.params import FAMILIES, Params
from petriscope.studies.cells.probing import first_seed, probe_into

SEED = 1000
"""Added to the run's seed for the first initialization, and again for each further one: the models
trained here began from the run's seed."""


@dataclass(frozen=True)
class RandomNumbers:
    """Held-out quality of the random models' dictionaries, by family, one a layer."""

    untestable: str | None
    layers: dict[str, list[int]] | None = None
    fvu: dict[str, list[float]] | None = None
    l0: dict[str, list[float]] | None = None
    dead_fraction: dict[str, list[float]] | None = None


def run(workspace: Workspace, params: Params) -> RandomNumbers:
    """Write results/random_init/<family>/: model/, activations/, sae/layer_<k>/seed_<s>/ and
    codes/, as the stages of those names do for the probed model; the tokens are the same, in the
    same order."""
    out = workspace.table("random_init")
    if not params.controls.random_init:
        why = "controls.random_init is false in params.yaml"
        write_not_run(out, why)
        return RandomNumbers(untestable=why)
    device, found = choose_device(params.device), {}
    seed = params.seed + SEED * (1 + params.controls.initialization)
    cache = workspace.results / "cache" / "random_init"
    with atomic_folder(out) as folder:
        for family in FAMILIES:
            into = folder / family
            (into / "model").mkdir(parents=True)
            model = load_model(workspace, family).reinitialized(seed).to(device)
            save_model(model, into / "model")
            table = probe_into(
                into,
                model,
                load_inputs(workspace, params, family),
                params,
                params.sae.seeds[:1],
                cache=cache / family,
                device=device,
                what=f"random {family}",
            )
            found[family] = first_seed(table)

    shutil.rmtree(cache, ignore_errors=True)

    def of(name: str) -> dict[str, list[float]]:
        return {family: judged[name] for family, judged in found.items()}

    return RandomNumbers(
        untestable=None,
        layers={family: [int(k) for k in layers] for family, layers in of("layer").items()},
        fvu=of("fvu"),
        l0=of("l0"),
        dead_fraction=of("dead_fraction"),
    )
