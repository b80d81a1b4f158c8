"""Stage random_init: the same pipeline on a randomly initialized model: what context features cost
no learning at all."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from petriscope.contrast.features import branch_table, layer_summary
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.probe.tokens import split_rows
from petriscope.run.scored import SPLIT, scoring
from petriscope.run.weights import given as given_weights
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE, dictionary_folder, encode_stream
from petriscope.sae.codes import sufficient_statistics
from petriscope.sae.config import sae_config
from petriscope.sae.loader import TokenSource
from petriscope.sae.moments import Moments
from petriscope.sae.train import given_dictionary, train_dictionary
from petriscope.studies.chromatin.inputs import harvest_folds, load_inputs, load_windows
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.choose import MODEL_FILE, load_model, load_probed
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import load_design

TRAIN_WINDOWS = 60
"""Training windows harvested from the random model: fewer than for the trained one, the same select
windows."""


@dataclass(frozen=True)
class Found:
    """Counts by layer."""

    untestable: str | None
    context_fraction: list[float] | None = None
    """of alive features."""
    context_count: list[int] | None = None
    published_count: list[int] | None = None
    alive: list[int] | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/random_init/: layers.csv and features.parquet, as stage cds does for the
    trained model; model.safetensors and layer_<k>/seed_<s>/, its dictionaries."""
    if not params.controls.random_init:
        why = "controls.random_init is false in params.yaml"
        write_not_run(workspace.table("random_init"), why)
        return Found(untestable=why)
    windows, design = load_windows(workspace), load_design(workspace, params)
    scratch = workspace.results / "cache" / "random_init"
    scratch.mkdir(parents=True, exist_ok=True)
    made = random_probe(workspace, params, scratch)
    block = windows.block.to_numpy()[split_rows(windows, SPLIT)]
    features = branch_table(made.moments, block, design, scoring(params))
    shutil.rmtree(scratch)
    layers = layer_summary(features, design, params.cds.alpha)
    with atomic_folder(workspace.table("random_init")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_csv(folder / "layers.csv", layers)
        made.model.save_safetensors(folder / MODEL_FILE)
        for layer, sae in made.dictionaries.items():
            sae.save(dictionary_folder(folder, layer, params.sae.seeds[0]))
    return Found(
        untestable=None,
        context_fraction=layers.context_fraction.round(6).tolist(),
        context_count=layers.context_count.tolist(),
        published_count=layers.published_count.tolist(),
        alive=layers.alive.tolist(),
    )


class RandomProbe(NamedTuple):
    """A randomly initialized model and what its own autoencoders see in it."""

    model: ChromatinModel
    dictionaries: dict[int, SAE]
    moments: dict[int, Moments]
    """Layer → moments per select window."""


def random_probe(workspace: Workspace, params: Params, scratch: Path) -> RandomProbe:
    """The random model harvested and its autoencoders trained, or both taken from a release."""
    windows = load_windows(workspace)
    given = given_weights(workspace, params, "random_init")
    if given is None:
        model = load_model(workspace).reinitialized(params.seed + 1000)
    else:
        model = load_probed(given / MODEL_FILE, params.model.adapter, workspace.root).eval()
    train = split_rows(windows, "train")
    train = train[:: max(1, len(train) // TRAIN_WINDOWS)]
    held_out = split_rows(windows, SPLIT)
    chosen = np.concatenate([train, held_out])
    inputs = load_inputs(workspace, model, harvest_folds(params))
    tokens = inputs.tokens.of_windows(held_out)
    layers = range(model.n_layers + 1)
    harvest_layers(model, inputs, chosen, layers, scratch, what="random model")
    sae = dataclasses.replace(params.sae, tokens=params.controls.random_init_tokens)
    stores = open_layers(scratch)

    def one(layer: int) -> tuple[SAE, Moments]:
        store = stores[layer]
        config = sae_config(sae, store.shape[-1], params.seed)
        if given is None:
            source = TokenSource.of_windows(store, np.arange(len(train)))
            coder = train_dictionary(config, source, heldout=None, progress=False).sae
        else:
            at = dictionary_folder(given, layer, params.sae.seeds[0])
            coder = given_dictionary(at, config, heldout=None).sae
        held = store[len(train) :]
        sizes = {"n_blocks": held.shape[0], "n_units": held.shape[1], "m": coder.m}
        codes = encode_stream(coder, held)
        return coder, sufficient_statistics(codes, tokens.window, tokens.unit, **sizes)

    what = "autoencoders of the random model"
    made = dict(zip(stores, in_processes(one, stores, what, unit="layer"), strict=True))
    return RandomProbe(
        model,
        {layer: coder for layer, (coder, _) in made.items()},
        {layer: moments for layer, (_, moments) in made.items()},
    )
