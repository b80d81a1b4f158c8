"""The sparse autoencoders of a run: one per layer and seed, trained on its harvest, and what the
probed model loses when their reconstruction takes the place of its stream."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.causal.edits import loss_recovered
from petriscope.device import choose_device
from petriscope.genome.tracks import model_target
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread, store_file
from petriscope.probe.states import to_host
from petriscope.run.params import Sae
from petriscope.run.workspace import Workspace
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import stability_tables
from petriscope.sae.loader import TokenSource
from petriscope.sae.sweep import Job, train_many
from petriscope.sae.train import TrainResult
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import hold
from petriscope.studies.chromatin.store import (
    load_arrays,
    load_biosamples,
    load_inputs,
    load_model,
    load_windows,
    split_rows,
)

Key = tuple[int, int]
"""Layer and seed."""
RECOVERY_WINDOWS, MASKED_SHARE = 6, 0.15
"""Select windows on which the model's own loss is read, and the share of their bins that is
masked."""


def train_layers(
    activations: Path,
    windows: pd.DataFrame,
    layers: list[int],
    params: Params,
    scratch: Path,
    curves: Path,
) -> dict[Key, TrainResult]:
    """Train every layer and seed; with rate `auto` a sweep of the first seed (on `tune` tokens)
    sets it for all.

    ``scratch`` takes checkpoints, ``curves`` a CSV per dictionary.
    """

    def source(layer: int, split: str) -> TokenSource:
        return TokenSource.of_windows(store_file(activations, layer), split_rows(windows, split))

    device = choose_device(params.device)
    rates = dict.fromkeys(layers, params.sae.learning_rate)
    first, *others = params.sae.seeds
    trained: dict[Key, TrainResult] = {}
    for seeds in ([first], others) if params.sae.learning_rate == "auto" else (params.sae.seeds,):
        keys = [(layer, seed) for seed in seeds for layer in layers]
        jobs = []
        for layer, seed in keys:
            rate = rates[layer]
            tokens = source(layer, "train")
            config = sae_config(
                params.sae, tokens.d, params.seed + seed, None if isinstance(rate, str) else rate
            )
            # a run that the gate stopped leaves checkpoints; after a change of params.yaml they are
            # another run's
            plan = hashlib.sha256(repr(config).encode()).hexdigest()[:12]
            jobs.append(
                Job(
                    f"layer {layer} seed {seed}",
                    config,
                    tokens,
                    heldout=source(layer, "select"),
                    checkpoint=scratch / f"layer_{layer}_seed_{seed}_{plan}",
                    curve=curves / f"layer_{layer}_seed_{seed}.csv",
                    device=device,
                    tune=source(layer, "tune") if isinstance(rate, str) else None,
                )
            )
        trained |= zip(keys, train_many(jobs), strict=True)
        rates = {layer: trained[layer, first].sae.config.lr for layer in layers}
    return trained


def recovered_losses(
    workspace: Workspace, params: Params, trained: dict[Key, TrainResult]
) -> dict[Key, dict[str, float]]:
    """Loss recovered of every dictionary in the probed model, on a few select windows of all
    biosamples."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    device = choose_device(params.device)
    model = load_model(workspace, device)
    inputs, signal = load_inputs(workspace, model), load_arrays(workspace).signal
    chosen = spread(split_rows(windows, "select"), RECOVERY_WINDOWS)
    target = model_target(
        np.asarray(signal[chosen], np.float32).reshape(-1, signal.shape[-1]), inputs.crop
    )
    columns = range(len(biosamples))

    def one(layer: int) -> dict[Key, dict[str, float]]:
        states = hold(
            model, inputs, windows, chosen, biosamples, columns, layer, MASKED_SHARE, params.seed
        )
        mean = to_host(states.tokens().mean(0))
        found = {}
        for (of, seed), result in trained.items():
            if of == layer:
                losses = loss_recovered(model, result.sae.to(device), states, target, mean)
                names = {f"loss_{name}": value for name, value in losses._asdict().items()}
                over = {
                    "loss_recovered": losses.over_zero,
                    "loss_recovered_over_mean": losses.over_mean,
                }
                found[of, seed] = names | over
        return found

    layers = in_processes(
        one, sorted({layer for layer, _ in trained}), "loss recovered", unit="layer"
    )
    return {key: losses for found in layers for key, losses in found.items()}


def stability(
    trained: dict[Key, TrainResult], layers: list[int], seeds: list[int]
) -> dict[str, pd.DataFrame]:
    """Tables `stability` (a row per layer and feature) and `matches` (also per other seed)."""
    tables = {
        layer: stability_tables({seed: trained[layer, seed].sae for seed in seeds})
        for layer in layers
    }
    features = pd.concat(
        [tables[layer].features.assign(layer=layer) for layer in layers], ignore_index=True
    )
    matches = pd.concat(
        [tables[layer].matches.assign(layer=layer) for layer in layers], ignore_index=True
    )
    front = ["layer", "feature"]
    return {
        "stability": features[[*front, "stability", "encoder_stability"]],
        "matches": matches[[*front, "seed", "match", "decoder_cosine", "encoder_cosine"]],
    }


def sae_config(sae: Sae, d: int, seed: int, rate: float | None = None) -> SAEConfig:
    """The configuration of one autoencoder; ``rate`` None: that of params.yaml, or the default
    before a sweep."""
    given = sae.learning_rate if rate is None else rate
    plan = SAEConfig(
        d=d,
        m=sae.latents,
        k=sae.k,
        variant=sae.variant,
        steps=max(1, sae.tokens // sae.batch),
        batch=sae.batch,
        seed=seed,
    )
    return plan if isinstance(given, str) else dataclasses.replace(plan, lr=given)
