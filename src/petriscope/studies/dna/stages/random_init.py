"""Stage random_init: the same pipeline on a randomly initialized model, up to the codes: what no
learning at all gives."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_not_run
from petriscope.parallel import in_processes
from petriscope.probe.harvest import harvest_layers, layer_paths, open_layers
from petriscope.run.workspace import Workspace
from petriscope.sae.config import sae_config
from petriscope.sae.encode import EncodedLayer
from petriscope.sae.sweep import train_layers
from petriscope.studies.dna.inputs import load_inputs, load_model, save_axis
from petriscope.studies.dna.model.weights import save_model
from petriscope.studies.dna.params import Params

SEED = 1000
"""Added to the run's seed: the model trained here began from that one."""


@dataclass(frozen=True)
class RandomNumbers:
    """Held-out quality of the random model's dictionaries, one a layer."""

    untestable: str | None
    layers: list[int] | None = None
    fvu: list[float] | None = None
    l0: list[float] | None = None
    dead_fraction: list[float] | None = None


def run(workspace: Workspace, params: Params) -> RandomNumbers:
    """Write results/random_init/: model/, activations/, sae/layer_<k>/seed_<s>/ and codes/, as the
    stages of those names do for the probed model; the tokens are the same, in the same order."""
    out = workspace.table("random_init")
    if not params.controls.random_init:
        why = "controls.random_init is false in params.yaml"
        write_not_run(out, why)
        return RandomNumbers(untestable=why)
    device, seed = choose_device(params.device), params.sae.seeds[0]
    model = load_model(workspace).reinitialized(params.seed + SEED).to(device)
    inputs = load_inputs(workspace, model)
    cache = workspace.results / "cache" / "random_init"
    with atomic_folder(out) as folder:
        for part in ("model", "activations", "codes"):
            (folder / part).mkdir()
        save_model(model, folder / "model")
        into = folder / "activations"
        layers = range(model.n_layers + 1)
        harvest_layers(model, inputs, range(len(inputs)), layers, into, what="random model")
        save_axis(inputs, into)
        config = sae_config(params.sae, model.d_model, params.seed + seed)
        trained = train_layers(
            layer_paths(into),
            into / "tokens",
            {(layer, seed): config for layer in layers},
            sweep=params.sae.learning_rate == "auto",
            scratch=cache,
            curves=cache / "curves",
            device=device,
        )
        stores = open_layers(into)

        def encode(layer: int) -> None:
            sae, at = trained[layer, seed].sae, folder / "codes" / f"layer_{layer}"
            sae.save(folder / "sae" / f"layer_{layer}" / f"seed_{seed}")
            EncodedLayer.write(
                at, sae.to(device), stores[layer], inputs.tokens, params.codes.top_bins
            )

        for _ in in_processes(encode, layers, "encoding the random model", unit="layer"):
            pass
    shutil.rmtree(cache, ignore_errors=True)
    judged = [trained[layer, seed].quality for layer in layers]
    assert all(found is not None for found in judged)
    return RandomNumbers(
        untestable=None,
        layers=list(layers),
        fvu=[found.fvu for found in judged if found],
        l0=[found.l0 for found in judged if found],
        dead_fraction=[found.dead_fraction for found in judged if found],
    )
