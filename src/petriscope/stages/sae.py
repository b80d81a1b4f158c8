"""Stage sae: one sparse autoencoder per layer and seed, judged on held-out tokens, stopped by the
gate."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.probe.harvest import open_layers
from petriscope.run.params import Gate
from petriscope.run.workspace import Workspace
from petriscope.sae.judge import chance_stability
from petriscope.studies.chromatin.dictionaries import recovered_losses, stability, train_layers
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import load_windows


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
    layers = sorted(open_layers(workspace.activations))
    scratch, curves = workspace.results / "cache" / "sae", workspace.results / "plots" / "sae"
    shutil.rmtree(curves, ignore_errors=True)
    windows, given = load_windows(workspace), params.sae
    trained = train_layers(workspace.activations, windows, layers, params, scratch, curves)
    rows, sweeps, recovered = [], [], recovered_losses(workspace, params, trained)
    with atomic_folder(workspace.sae) as folder:
        for (layer, seed), result in trained.items():
            result.sae.save(folder / f"layer_{layer}" / f"seed_{seed}")
            assert result.quality is not None
            of, rate = {"layer": layer, "seed": seed}, result.sae.config.lr
            rows.append({**of, **result.quality.as_dict(), **recovered[layer, seed]})
            sweeps += [{**of, **row, "chosen": row["lr"] == rate} for row in result.sweep or ()]
        found, table = stability(trained, layers, given.seeds), pd.DataFrame(rows)
        write_csv(folder / "quality.csv", table.drop(columns="density_histogram"))
        columns = ["layer", "seed", "lr", "fvu", "l0", "dead", "chosen"]
        write_csv(folder / "sweep.csv", pd.DataFrame(sweeps, columns=columns))
        for name, frame in found.items():
            write_parquet(folder / f"{name}.parquet", frame)
        first = probed(table)
        check_gate(first, given.gate)
    shutil.rmtree(scratch, ignore_errors=True)
    by_layer = found["stability"].dropna().groupby("layer")
    width = next(iter(trained.values())).sae.d
    return SaeNumbers(
        layers=table.to_dict("records"),
        probed=first.layer.tolist(),
        fvu=first.fvu.tolist(),
        l0=first.l0.tolist(),
        dead_fraction=first.dead_fraction.tolist(),
        gate=dataclasses.asdict(given.gate),
        gate_passed=True,
        gate_failures_other_seeds=gate_failures(table.drop(index=first.index), given.gate),
        stability={
            "seeds": len(given.seeds),
            "mean": np.round(by_layer.stability.mean(), 6).tolist(),
            "encoder_mean": np.round(by_layer.encoder_stability.mean(), 6).tolist(),
            "chance": round(chance_stability(given.latents, width), 6),
        },
        sweep=sweeps,
        selection_rows_audited=sum(result.audited_rows for result in trained.values()),
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
    """Raise `UserError` where an autoencoder of ``table`` fails the gate: the numbers and the
    remedy."""
    failures = gate_failures(table, gate)
    if failures:
        raise UserError(
            "the quality gate failed: " + "; ".join(failures),
            file="params.yaml",
            field="sae.gate",
            remedy="Train on more tokens or change the gate.",
        )
