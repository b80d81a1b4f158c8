"""One model is probed on the cells of a run, up to its codes, in one folder: what the shared stages
do for the probed model is done here for the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from petriscope.files import write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import harvest_layers, layer_paths, open_layers
from petriscope.sae.config import sae_config
from petriscope.sae.encode import EncodedLayer
from petriscope.sae.sweep import stability, train_layers
from petriscope.stages.sae import quality_table
from petriscope.studies.cells.inputs import CellInputs, save_axis
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.recovered import recovered_by


def probe_into(
    folder: Path,
    model: PostNormModel,
    inputs: CellInputs,
    params: Params,
    seeds: list[int],
    *,
    cache: Path,
    device: str,
    what: str,
) -> pd.DataFrame:
    """Write activations/, sae/ and codes/ of ``model`` into ``folder``, as the stages of those
    names do, with a dictionary for each of ``seeds``; the codes are the first seed's.

    cache: folder for checkpoints and curves, removed at the end; ``what`` names the model to the
    user. Returns the quality table, a row per layer and seed.
    """
    into, layers = folder / "activations", range(model.n_layers + 1)
    into.mkdir()
    harvest_layers(model, inputs, range(len(inputs)), layers, into, what=f"{what}: streams")
    save_axis(inputs, into)
    plans = {
        (layer, seed): sae_config(params.sae, model.d_model, params.seed + seed)
        for seed in seeds
        for layer in layers
    }
    trained = train_layers(
        layer_paths(into),
        into / "tokens",
        plans,
        sweep=False,
        scratch=cache,
        curves=cache / "curves",
        device=device,
    )
    for (layer, seed), result in trained.items():
        result.sae.save(folder / "sae" / f"layer_{layer}" / f"seed_{seed}")
    table = quality_table(trained, recovered_by(model, inputs, params, trained))
    write_csv(folder / "sae" / "quality.csv", table.drop(columns="density_histogram"))
    if len(seeds) > 1:
        for name, frame in stability(trained).items():
            write_parquet(folder / "sae" / f"{name}.parquet", frame)
    stores = open_layers(into)

    def encode(layer: int) -> None:
        sae, at = trained[layer, seeds[0]].sae, folder / "codes" / f"layer_{layer}"
        EncodedLayer.write(at, sae.to(device), stores[layer], inputs.tokens, params.codes.top_bins)

    for _ in in_processes(encode, layers, f"{what}: encoding", unit="layer"):
        pass
    shutil.rmtree(cache, ignore_errors=True)
    return table


def first_seed(table: pd.DataFrame) -> dict[str, list[float]]:
    """FVU, L0, dead share and loss recovered of each layer's first dictionary, out of the quality
    table."""
    first = table.drop_duplicates("layer").sort_values("layer")
    names = ("layer", "fvu", "l0", "dead_fraction", "loss_recovered")
    return {name: first[name].tolist() for name in names}
