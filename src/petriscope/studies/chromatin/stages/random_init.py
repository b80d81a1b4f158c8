"""Stage random_init: the same pipeline on a randomly initialised model: what context features cost
no learning at all."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import numpy as np

from petriscope.contrast.summary import layer_summary
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import encode_stream
from petriscope.sae.codes import SufficientStatistics, row_labels, sufficient_statistics
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.cds import SPLIT, branch_table
from petriscope.studies.chromatin.stages.sae import sae_config
from petriscope.studies.chromatin.store import (
    harvest_folds,
    load_design,
    load_inputs,
    load_model,
    load_windows,
    split_rows,
)

TRAIN_WINDOWS = 60
"""Training windows harvested from the random model: fewer than for the trained one, the same select
windows."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/random_init/: layers.csv and features.parquet, as stage cds does for the
    trained model."""
    design = load_design(workspace, params)
    if not params.controls.random_init:
        why = "controls.random_init is false in params.yaml"
        write_not_run(workspace.table("random_init"), why)
        return {
            "run": False,
            "why_not": why,
            "context_fraction": [],
            "published_count": [],
            "text": f"random model not run: {why}",
        }
    windows, trained = load_windows(workspace), load_model(workspace)
    model = trained.reinitialised(params.seed + 1000)
    train = split_rows(windows, "train")[
        :: max(1, len(split_rows(windows, "train")) // TRAIN_WINDOWS)
    ]
    select = split_rows(windows, SPLIT)
    scratch = workspace.results / "cache" / "random_init"
    scratch.mkdir(parents=True, exist_ok=True)
    layers = range(model.n_layers + 1)
    chosen = np.concatenate([train, select])
    inputs = load_inputs(workspace, model, harvest_folds(params))
    harvest_layers(model, inputs, chosen, layers, scratch, what="random model")
    sae = dataclasses.replace(params.sae, tokens=params.controls.random_init_tokens)

    stores = open_layers(scratch)

    def statistics(layer: int) -> tuple[int, SufficientStatistics]:
        store = stores[layer]
        config = sae_config(sae, store.shape[-1], params.seed)
        source = TokenSource.of_windows(store, np.arange(len(train)))
        coder = train_dictionary(config, source, heldout=None, progress=False).sae
        held = store[len(train) :]
        labels = row_labels(*held.shape[:3])
        sizes = {"n_blocks": held.shape[0], "n_biosamples": held.shape[1], "m": coder.m}
        codes = encode_stream(coder, held)
        return layer, sufficient_statistics(codes, labels.window, labels.biosample, **sizes)

    found = in_processes(statistics, stores, "autoencoders of the random model", unit="layer")
    features = branch_table(
        found, windows.block.to_numpy()[select], design, params.cds, params.seed
    )
    shutil.rmtree(scratch)
    summary = layer_summary(features, design.lineages, params.cds.alpha)
    with atomic_folder(workspace.table("random_init")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_csv(folder / "layers.csv", summary)
    return {
        "run": True,
        "context_fraction": np.round(summary.context_fraction, 6).tolist(),
        "context_count": summary.context_count.tolist(),
        "published_count": summary.published_count.tolist(),
        "alive": summary.alive.tolist(),
        "text": "randomly initialised model: "
        + " -> ".join(f"{100 * value:.1f} %" for value in summary.context_fraction)
        + " of alive features",
    }
