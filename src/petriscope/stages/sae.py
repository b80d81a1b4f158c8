"""Stage sae: one sparse autoencoder per layer and seed, judged on held-out tokens, stopped by the gate."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pandas as pd

from petriscope.activations import open_layers
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.params import Gate, Params, Sae
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.parallel import Job, train_many
from petriscope.sae.quality import quality, stability
from petriscope.store import load_windows, split_rows
from petriscope.workspace import Workspace


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/sae/: layer_<k>/seed_<s>/, quality.csv, history.csv, stability.parquet."""
    stores = open_layers(workspace.activations)
    windows = load_windows(workspace)
    train, heldout = split_rows(windows, "train"), split_rows(windows, "select")
    scratch = workspace.results / "cache" / "sae"
    keys = [(layer, seed) for layer in stores for seed in params.sae.seeds]
    jobs = [
        Job(
            f"layer {layer} seed {seed}",
            sae_config(params.sae, stores[layer].shape[-1], params.seed + seed),
            TokenSource.of_windows(workspace.activations / f"layer_{layer}.npy", train),
            checkpoint=scratch / f"layer_{layer}_seed_{seed}",
        )
        for layer, seed in keys
    ]
    trained = dict(zip(keys, train_many(jobs)))
    with atomic_folder(workspace.sae) as folder:
        rows, history, stable = [], [], []
        for (layer, seed), result in trained.items():
            result.sae.save(folder / f"layer_{layer}" / f"seed_{seed}")
            judged = quality(result.sae, stores[layer][heldout])
            rows.append({"layer": layer, "seed": seed, **judged.as_dict()})
            history.append(pd.DataFrame(result.history).assign(layer=layer, seed=seed))
        for layer in stores:
            saes = [trained[layer, seed].sae for seed in params.sae.seeds]
            stable.append(pd.DataFrame({"layer": layer, "feature": range(saes[0].m), "stability": _stability(saes)}))
        table = pd.DataFrame(rows)
        write_csv(folder / "quality.csv", table.drop(columns="density_histogram"))
        write_csv(folder / "history.csv", pd.concat(history, ignore_index=True))
        write_parquet(folder / "stability.parquet", pd.concat(stable, ignore_index=True))
        metrics = _metrics(table, params.sae.gate)
        check_gate(metrics)
    shutil.rmtree(scratch, ignore_errors=True)
    return metrics


def _stability(saes: list[SAE]) -> np.ndarray:
    """Smallest of decoder and encoder cosine with the matched latent, worst over seeds; NaN for one seed."""
    if len(saes) == 1:
        return np.full(saes[0].m, np.nan)
    matched = [stability(saes[0], other) for other in saes[1:]]
    return np.min([np.minimum(match.decoder_cosine, match.encoder_cosine) for match in matched], axis=0)


def sae_config(sae: Sae, d: int, seed: int) -> SAEConfig:
    """The configuration of one autoencoder."""
    return SAEConfig(
        d=d,
        m=sae.latents,
        k=sae.k,
        variant=sae.variant,
        steps=max(1, sae.tokens // sae.batch),
        batch=sae.batch,
        lr=sae.learning_rate,
        seed=seed,
    )


def gate_failures(table: pd.DataFrame, gate: Gate) -> list[str]:
    """What each autoencoder misses of the gate, in words; empty where all pass."""
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


def _metrics(table: pd.DataFrame, gate: Gate) -> dict[str, Any]:
    failures = gate_failures(table, gate)
    first = table.drop_duplicates("layer")
    joined = {name: " / ".join(f"{v:.3g}" for v in first[name]) for name in ("fvu", "l0", "dead_fraction")}
    return {
        "layers": table.to_dict("records"),
        "fvu": first.fvu.tolist(),
        "gate_passed": not failures,
        "gate_failures": failures,
        "gate": f"FVU <= {gate.fvu}, L0 {gate.l0_low:g} to {gate.l0_high:g}, dead <= {gate.dead}",
        "quality_text": f"FVU {joined['fvu']}; L0 {joined['l0']}; dead {joined['dead_fraction']} "
        f"(layers {' '.join(map(str, first.layer))}, held out)",
        "gate_text": "gate passed by every layer" if not failures else "gate failed: " + "; ".join(failures),
    }


def check_gate(metrics: dict[str, Any]) -> None:
    """Raise `UserError` where the gate failed: the numbers and the remedy."""
    if not metrics["gate_passed"]:
        what = "the quality gate failed: " + "; ".join(metrics["gate_failures"])
        raise UserError(what, file="params.yaml", field="sae.gate", remedy="Train on more tokens or change the gate.")
