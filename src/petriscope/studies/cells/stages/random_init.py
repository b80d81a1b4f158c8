"""Stage random_init: the same pipeline on both models with random weights, up to the codes: what no
learning at all gives."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_not_run
from petriscope.parallel import in_processes
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
    cache = workspace.results / "cache" / "random_init"
    with atomic_folder(out) as folder:

        def one(family: str) -> dict[str, list[float]]:
            return _probed(workspace, params, family, folder / family, cache / family)

        probed = in_processes(one, FAMILIES, "random models", unit="model")
        found = dict(zip(FAMILIES, probed))
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


def _probed(
    workspace: Workspace, params: Params, family: str, into: Path, cache: Path
) -> dict[str, list[float]]:
    """One random model, made and probed; the quality of its dictionaries."""
    device = choose_device(params.device)
    (into / "model").mkdir(parents=True)
    seed = params.seed + SEED * (1 + params.controls.initialization)
    model = load_model(workspace, family).reinitialized(seed).to(device)
    save_model(model, into / "model")
    table = probe_into(
        into,
        model,
        load_inputs(workspace, params, family),
        params,
        params.sae.seeds[:1],
        cache=cache,
        device=device,
        what=f"random {family}",
    )
    return first_seed(table)
