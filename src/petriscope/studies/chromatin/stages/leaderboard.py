"""Stage leaderboard: what the autoencoder adds over simpler bases and over a decoder that was never
trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from petriscope.causal.entrants import Learning
from petriscope.causal.leaderboard import Contest, leaderboard
from petriscope.causal.steering import Pairs
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.run.workspace import Workspace
from petriscope.sae.judge import quality
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import condition_rows, hold, spread
from petriscope.studies.chromatin.stages.sae import sae_config
from petriscope.studies.chromatin.store import (
    chosen_layer,
    load_biosamples,
    load_design,
    load_inputs,
    load_model,
    load_sae,
    load_windows,
    sample_hidden,
    split_rows,
)

SAE_ENTRANTS = ("sae", "frozen_decoder_sae")


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/leaderboard/leaderboard.csv: one row per lineage and entrant."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    design = load_design(workspace, params)
    rows = condition_rows(biosamples, design.lineages)
    why = None if params.controls.leaderboard else "controls.leaderboard is false in params.yaml"
    if why is None and rows.empty:
        why = "no lineage has both contexts"
    if why:
        write_not_run(workspace.table("leaderboard"), why)
        return {
            "run": False,
            "why_not": why,
            "text": f"leaderboard not run: {why}",
            "fvu_text": None,
        }
    model = load_model(workspace)
    layer = chosen_layer(params.steering.layer, model.n_layers, "steering.layer")
    sae = load_sae(workspace, layer, params.sae.seeds[0])
    config = dataclasses.replace(sae_config(params.sae, sae.d, params.seed), train_decoder=False)
    source = TokenSource.of_windows(
        workspace.activations / f"layer_{layer}.npy", split_rows(windows, "train")
    )
    frozen = train_dictionary(
        config, source, heldout=None, name=f"frozen decoder, layer {layer}"
    ).sae
    inputs = load_inputs(workspace, model)
    pairs = {}
    for split in ("tune", "test"):
        chosen = spread(split_rows(windows, split), params.steering.windows)
        sides = [
            hold(
                model, inputs, windows, chosen, biosamples, rows[side].tolist(), layer,
                params.ablation.mask_fold, params.seed,
            )
            for side in ("vitro", "vivo")
        ]  # fmt: skip
        pairs[split] = Pairs(*sides)
    hidden, biosample_of = sample_hidden(workspace, layer, split_rows(windows, "select"))
    contest = Contest(
        params.controls.leaderboard_features, tuple(params.steering.alphas), seed=params.seed
    )
    board = leaderboard(
        model,
        dict(zip(SAE_ENTRANTS, (sae, frozen))),
        Learning(hidden, biosample_of, design),
        tune=pairs["tune"],
        test=pairs["test"],
        contest=contest,
    )
    fvu = {name: quality(coder, hidden).fvu for name, coder in zip(SAE_ENTRANTS, (sae, frozen))}
    board = board.assign(fvu=board.entrant.map(fvu), layer=layer)
    with atomic_folder(workspace.table("leaderboard")) as folder:
        write_csv(folder / "leaderboard.csv", board)
    return _metrics(board, layer)


def _metrics(board: pd.DataFrame, layer: int) -> dict[str, Any]:
    fvu = board.drop_duplicates("entrant").set_index("entrant").fvu
    mean = board.groupby("entrant", sort=False)[["auroc", "effect", "gc_minus_random"]].mean()
    return {
        "run": True,
        "why_not": None,
        "layer": layer,
        "entrants": {
            name: dict(zip(mean.columns, row))
            for name, row in zip(mean.index, mean.to_numpy().round(6).tolist())
        },
        "fvu_text": f"layer {layer}: FVU {fvu['sae']:.3f}, with a decoder that stays random "
        f"{fvu['frozen_decoder_sae']:.3f}",
        "best_auroc": str(mean.auroc.idxmax()),
        "best_steering": str(mean.gc_minus_random.idxmax()),
        "text": f"layer {layer}, mean over lineages, AUROC / ablation effect / gap closure minus "
        f"random: "
        + "; ".join(
            f"{name} {row.auroc:.2f} / {row.effect:.3g} / {row.gc_minus_random:+.3f}"
            for name, row in mean.iterrows()
        ),
    }
