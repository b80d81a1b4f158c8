"""Stage sae: one sparse autoencoder per layer and seed, judged on held-out tokens, stopped by the
gate."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.probe.harvest import layer_paths, open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import Gate, Params
from petriscope.run.weights import given as given_weights
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import dictionary_folder
from petriscope.sae.config import SAEConfig, sae_config
from petriscope.sae.judge import chance_stability
from petriscope.sae.stream import train_streamed
from petriscope.sae.sweep import Key, stability, train_layers
from petriscope.sae.train import TrainResult


@dataclass(frozen=True)
class SaeNumbers:
    """Held-out quality of every dictionary, the gate's verdict, and whether seeds agree."""

    layers: list[dict[str, Any]]
    """A row per layer and seed: all of `petriscope.sae.judge.Quality` and the loss recovered."""
    probed: list[int]
    """Layers, each probed by its first seed; the lists below are theirs."""
    fvu: list[float]
    l0: list[float]
    dead_fraction: list[float]
    gate: dict[str, float]
    gate_passed: bool
    """By what is probed: the other seeds only say which of its features come back."""
    gate_failures_other_seeds: list[str]
    stability: dict[str, Any]
    """Mean matched cosine of decoder and encoder by layer, beside what random directions reach."""
    sweep: list[dict[str, Any]]
    selection_rows_audited: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> SaeNumbers:
    """Write results/sae/: layer_<k>/seed_<s>/, quality.csv, sweep.csv, stability.parquet,
    matches.parquet.

    results/plots/sae/ holds a training curve per dictionary, rewritten while it trains (`dvc plots
    show`).
    """
    given, device = params.sae, choose_device(params.device)
    scratch, curves = workspace.results / "cache" / "sae", workspace.results / "plots" / "sae"
    shutil.rmtree(curves, ignore_errors=True)
    stores, tokens = layer_paths(workspace.activations), Tokens.load(workspace.tokens)
    width = open_layers(workspace.activations)[min(stores)].shape[-1]
    plans = {
        (layer, seed): sae_config(given, width, params.seed + seed)
        for seed in given.seeds
        for layer in stores
    }
    released = given_weights(workspace, params, "sae")
    if given.source == "stream" and released is None:
        trained = _streamed(workspace, params, plans, tokens, scratch, curves)
    else:
        sweep = given.learning_rate == "auto"
        trained = train_layers(
            stores,
            workspace.tokens,
            plans,
            sweep=sweep,
            scratch=scratch,
            curves=curves,
            device=device,
            given=released,
        )
    curves.mkdir(parents=True, exist_ok=True)  # given dictionaries have none
    made = workspace.study.recovered
    recovered = made(workspace, params, trained) if made is not None else {}
    found, table = stability(trained), quality_table(trained, recovered)
    sweeps = sweep_table(trained)
    with atomic_folder(workspace.sae) as folder:
        for (layer, seed), result in trained.items():
            result.sae.save(dictionary_folder(folder, layer, seed))
        write_csv(folder / "quality.csv", table.drop(columns="density_histogram"))
        write_csv(folder / "sweep.csv", sweeps)
        for name, frame in found.items():
            write_parquet(folder / f"{name}.parquet", frame)
        check_gate(probed(table), given.gate)
    shutil.rmtree(scratch, ignore_errors=True)
    agreement = agreement_of(found["stability"], given.seeds, given.latents, width)
    audited = sum(result.audited_rows for result in trained.values())
    return summarize(table, sweeps, given.gate, agreement, audited)


def _streamed(
    workspace: Workspace,
    params: Params,
    plans: Mapping[Key, SAEConfig],
    tokens: Tokens,
    scratch: Path,
    curves: Path,
) -> dict[Key, TrainResult]:
    """All dictionaries side by side, while the probed model runs on the windows of split train."""
    probed = workspace.study.probed
    if probed is None:
        what = f"is stream, but study {workspace.study.name} does not offer its model for it"
        raise UserError(what, file="params.yaml", field="sae.source", remedy="Set it to store.")
    model, inputs = probed(workspace, params)
    plan = hashlib.sha256(repr(sorted(plans.items())).encode()).hexdigest()[:12]
    return train_streamed(
        model,
        inputs,
        plans,
        train=tokens.windows_of("train"),
        heldout=tokens.windows_of("select"),
        checkpoint=scratch / f"stream_{plan}",
        curves=curves,
        device=choose_device(params.device),
    )


def quality_table(
    trained: Mapping[Key, TrainResult], recovered: Mapping[Key, Mapping[str, float]]
) -> pd.DataFrame:
    """A row per layer and seed: held-out quality, and the loss recovered where a model has one."""
    rows = []
    for (layer, seed), result in trained.items():
        assert result.quality is not None
        of = {"layer": layer, "seed": seed}
        rows.append({**of, **result.quality.as_dict(), **recovered.get((layer, seed), {})})
    return pd.DataFrame(rows)


def sweep_table(trained: Mapping[Key, TrainResult]) -> pd.DataFrame:
    """A row per layer, seed and learning rate tried; none where no sweep was made."""
    rows = [
        {"layer": layer, "seed": seed, **row, "chosen": row["lr"] == result.sae.config.lr}
        for (layer, seed), result in trained.items()
        for row in result.sweep or ()
    ]
    return pd.DataFrame(rows, columns=["layer", "seed", "lr", "fvu", "l0", "dead", "chosen"])


def agreement_of(table: pd.DataFrame, seeds: list[int], latents: int, width: int) -> dict[str, Any]:
    """Mean matched cosine of decoder and encoder by layer, beside that of random directions."""
    by_layer = table.dropna().groupby("layer")
    return {
        "seeds": len(seeds),
        "mean": np.round(by_layer.stability.mean(), 6).tolist(),
        "encoder_mean": np.round(by_layer.encoder_stability.mean(), 6).tolist(),
        "chance": round(chance_stability(latents, width), 6),
    }


def summarize(
    table: pd.DataFrame, sweeps: pd.DataFrame, gate: Gate, agreement: dict[str, Any], audited: int
) -> SaeNumbers:
    """The numbers of the tables that the ledger reads."""
    first = probed(table)
    return SaeNumbers(
        layers=table.to_dict("records"),
        probed=first.layer.tolist(),
        fvu=first.fvu.tolist(),
        l0=first.l0.tolist(),
        dead_fraction=first.dead_fraction.tolist(),
        gate=dataclasses.asdict(gate),
        gate_passed=True,
        gate_failures_other_seeds=gate_failures(table.drop(index=first.index), gate),
        stability=agreement,
        sweep=sweeps.to_dict("records"),
        selection_rows_audited=audited,
    )


def probed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the quality ``table`` that are probed: each layer's first seed."""
    return table.drop_duplicates("layer")


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


def check_gate(table: pd.DataFrame, gate: Gate) -> None:
    """Raise `UserError` where an autoencoder of ``table`` fails the gate: the numbers, and the
    settings that would do."""
    failures = gate_failures(table, gate)
    if failures:
        raise UserError(
            "the quality gate failed: " + "; ".join(failures),
            file="params.yaml",
            field="sae.gate",
            remedy=f"Train on more tokens (sae.tokens){_wider(table, gate)}.",
        )


def _wider(table: pd.DataFrame, gate: Gate) -> str:
    """The settings with which every autoencoder of ``table`` passes, in words; empty where there
    are none."""
    given = dataclasses.asdict(gate)
    if not (np.isfinite(table[["fvu", "l0", "dead_fraction"]]).all(None) and table.fvu.max() <= 1):
        return ""
    need = {
        "fvu": max(given["fvu"], math.ceil(100 * table.fvu.max()) / 100),
        "l0_low": min(given["l0_low"], math.floor(table.l0.min())),
        "l0_high": max(given["l0_high"], math.ceil(table.l0.max())),
        "dead": max(given["dead"], math.ceil(100 * table.dead_fraction.max()) / 100),
    }
    wider = [
        f"--set sae.gate.{name}={value:g}" for name, value in need.items() if value != given[name]
    ]
    return f", or widen the gate where that is good enough: {' '.join(wider)}"
