"""Stage sae: one sparse autoencoder per layer and seed, judged on held-out tokens, stopped by the
gate."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.causal.recovered import loss_recovered
from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.genome.tracks import model_target
from petriscope.parallel import in_processes
from petriscope.probe.harvest import open_layers
from petriscope.run.params import Gate, Sae
from petriscope.run.workspace import Workspace
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import chance_stability, stability_tables
from petriscope.sae.loader import TokenSource
from petriscope.sae.sweep import Job, train_many
from petriscope.sae.train import TrainResult
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import hold, spread
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


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/sae/: layer_<k>/seed_<s>/, quality.csv, sweep.csv, stability.parquet,
    matches.parquet.

    results/plots/sae/ holds a training curve per dictionary, rewritten while it trains (`dvc plots
    show`).
    """
    windows = load_windows(workspace)
    layers = sorted(open_layers(workspace.activations))
    scratch, curves = workspace.results / "cache" / "sae", workspace.results / "plots" / "sae"
    shutil.rmtree(curves, ignore_errors=True)
    trained = train_layers(workspace.activations, windows, layers, params, scratch, curves)
    with atomic_folder(workspace.sae) as folder:
        rows, sweeps = [], []
        recovered = recovered_losses(workspace, params, trained)
        for (layer, seed), result in trained.items():
            result.sae.save(folder / f"layer_{layer}" / f"seed_{seed}")
            assert result.quality is not None
            of = {"layer": layer, "seed": seed}
            rows.append({**of, **result.quality.as_dict(), **recovered[layer, seed]})
            sweeps += [
                {**of, **row, "chosen": row["lr"] == result.sae.config.lr}
                for row in result.sweep or ()
            ]
        stable = stability(trained, layers, params.sae.seeds)
        table = pd.DataFrame(rows)
        write_csv(folder / "quality.csv", table.drop(columns="density_histogram"))
        write_csv(
            folder / "sweep.csv",
            pd.DataFrame(sweeps, columns=["layer", "seed", "lr", "fvu", "l0", "dead", "chosen"]),
        )
        for name, frame in stable.items():
            write_parquet(folder / f"{name}.parquet", frame)
        metrics = metrics_of(table, params.sae.gate) | _stability_metrics(
            stable["stability"], trained, params.sae
        )
        metrics["sweep"] = sweeps
        metrics["selection_rows_audited"] = sum(result.audited_rows for result in trained.values())
        check_gate(metrics)
    shutil.rmtree(scratch, ignore_errors=True)
    return metrics


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
        return TokenSource.of_windows(
            activations / f"layer_{layer}.npy", split_rows(windows, split)
        )

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
    model = load_model(workspace)
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
        mean = states.tokens().mean(0).numpy()
        found = {}
        for (of, seed), result in trained.items():
            if of == layer:
                losses = loss_recovered(model, result.sae, states, target, mean)
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


def gate_failures(table: pd.DataFrame, gate: Gate) -> list[str]:
    """What each autoencoder of ``table`` misses of the gate, in words; empty where all pass."""
    failures = []
    for row in table.itertuples():
        where = f"layer {row.layer} seed {row.seed}"
        if not row.fvu <= gate.fvu:
            failures.append(f"{where}: FVU {row.fvu:.3f} > {gate.fvu}")
        if not gate.l0_low <= row.l0 <= gate.l0_high:
            failures.append(f"{where}: L0 {row.l0:.1f} outside {gate.l0_low:g} to {gate.l0_high:g}")
        if not row.dead_fraction <= gate.dead:
            failures.append(f"{where}: dead {row.dead_fraction:.1%} > {gate.dead:.1%}")
    return failures


def metrics_of(table: pd.DataFrame, gate: Gate) -> dict[str, Any]:
    """Metrics of the quality ``table`` (a row per layer and seed), the gate applied to each layer's
    first seed."""
    first = table.drop_duplicates(
        "layer"
    )  # what is probed; other seeds only say which of its features come back
    failures = gate_failures(first, gate)
    joined = {
        name: " / ".join(f"{v:.3g}" for v in first[name]) for name in ("fvu", "l0", "dead_fraction")
    }
    return {
        "layers": table.to_dict("records"),
        "fvu": first.fvu.tolist(),
        "gate_passed": not failures,
        "gate_failures": failures,
        "gate_failures_other_seeds": gate_failures(table.drop(index=first.index), gate),
        "gate": f"FVU <= {gate.fvu}, L0 {gate.l0_low:g} to {gate.l0_high:g}, dead <= {gate.dead}",
        "quality_text": f"FVU {joined['fvu']}; L0 {joined['l0']}; dead {joined['dead_fraction']} "
        f"(layers {' '.join(map(str, first.layer))}, held out)",
        "gate_text": "gate passed by every layer"
        if not failures
        else "gate failed: " + "; ".join(failures),
    }


def _stability_metrics(
    stable: pd.DataFrame, trained: dict[Key, TrainResult], sae: Sae
) -> dict[str, Any]:
    """Mean matched decoder cosine per layer, beside what random directions reach."""
    d = next(iter(trained.values())).sae.d
    known = stable.dropna()
    by_layer = known.groupby("layer").stability
    return {
        "stability": {
            "seeds": len(sae.seeds),
            "mean": np.round(by_layer.mean(), 6).tolist(),
            "encoder_mean": np.round(known.groupby("layer").encoder_stability.mean(), 6).tolist(),
            "chance": round(chance_stability(sae.latents, d), 6),
        }
    }


def check_gate(metrics: dict[str, Any]) -> None:
    """Raise `UserError` where the gate failed: the numbers and the remedy."""
    if not metrics["gate_passed"]:
        what = "the quality gate failed: " + "; ".join(metrics["gate_failures"])
        raise UserError(
            what,
            file="params.yaml",
            field="sae.gate",
            remedy="Train on more tokens or change the gate.",
        )
