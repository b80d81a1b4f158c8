"""Stage steering: how much of the gap to in vivo each direction closes, tuned and read on different
windows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from petriscope.causal.directions import context_means
from petriscope.causal.steering import Pairs
from petriscope.causal.steering_run import SteeringPlan, steer
from petriscope.contrast.effects import LEAST_BLOCKS
from petriscope.contrast.moments import Design
from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import condition_rows, hold, spread
from petriscope.studies.chromatin.store import (
    chosen_layer,
    load_biosamples,
    load_inputs,
    load_model,
    load_moments,
    load_sae,
    load_windows,
    read_features,
    sample_hidden,
    split_rows,
)

METHOD = "sae_additive"
RIVALS = ("difference_of_means", "single_pair", "linear_probe", "leace")


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/steering/: readout.csv (test), grid.csv (tune)."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    design = Design.from_frame(biosamples)
    model = load_model(workspace)
    layer = chosen_layer(params.steering.layer, model.n_layers, "steering.layer")
    rows = condition_rows(biosamples, design.lineages)
    inputs = load_inputs(workspace, model)
    states = {}
    for split in ("tune", "test"):
        chosen = spread(split_rows(windows, split), params.steering.windows)
        for side in ("vitro", "vivo"):
            held = (model, inputs, windows, chosen, biosamples, rows[side].tolist(), layer)
            states[split, side] = hold(*held, params.ablation.mask_fold, params.seed)
    select = split_rows(windows, "select")
    sample, biosample_of = sample_hidden(workspace, layer, select)
    blocks = windows.block.to_numpy()[select]
    moments = load_moments(workspace, layer).blocks(sorted(set(blocks.tolist())))
    features = read_features(workspace)
    mine = features[(features.layer == layer) & features.alive].sort_values("rank")
    result = steer(
        model,
        load_sae(workspace, layer, params.sae.seeds[0]),
        tune=Pairs(states["tune", "vitro"], states["tune", "vivo"]),
        test=Pairs(states["test", "vitro"], states["test", "vivo"]),
        means=context_means(sample, moments.biosample_means(), biosample_of, design),
        selected=mine.feature.to_numpy()[: params.steering.features],
        plan=SteeringPlan(alphas=tuple(params.steering.alphas), seed=params.seed),
    )
    with atomic_folder(workspace.table("steering")) as folder:
        write_csv(folder / "readout.csv", result.table.assign(layer=layer))
        write_csv(folder / "grid.csv", result.grid.assign(layer=layer))
    return _metrics(layer, result.table)


def _metrics(layer: int, table: pd.DataFrame) -> dict[str, Any]:
    """The claim is read on the SAE-additive vector of each lineage's own direction, the weakest
    lineage deciding."""
    own = table[(table.method == METHOD) & (table.origin == "own")]
    published = table[(table.method == "published") & (table.origin == "own")]
    ceiling = table[table.method == "swap"]

    def text(frame: pd.DataFrame, *columns: str) -> str:
        return "; ".join(
            f"{row['lineage']} " + " ".join(f"{row[column]:+.3f}" for column in columns)
            for _, row in frame.iterrows()
        )

    blocks = int(own.blocks.min()) if len(own) else 0
    return {
        "testable": bool(len(own) and blocks >= LEAST_BLOCKS),
        "why_untestable": None
        if blocks >= LEAST_BLOCKS
        else f"the test split has {blocks} blocks, {LEAST_BLOCKS} are needed",
        "layer": layer,
        "closure": float(own.gc.min()) if len(own) else None,
        "excess_low": float(own.gc_minus_random_low.min()) if len(own) else None,
        "published_text": f"gap closure {text(published, 'gc')}; random "
        f"{text(published, 'gc_random')}",
        "closure_text": f"layer {layer}, gap closure {text(own, 'gc')}",
        "interval_text": "minus random "
        + "; ".join(
            f"{row['lineage']} {row['gc_minus_random']:+.3f} [{row['gc_minus_random_low']:+.3f}, "
            f"{row['gc_minus_random_high']:+.3f}]"
            for _, row in own.iterrows()
        )
        + f"; ceiling {text(ceiling, 'gc')}",
        "control_text": "gap closure minus norm-matched random: "
        + "; ".join(
            f"{name} {text(table[(table.method == name) & (table.origin == 'own')], 'gc_minus_random')}"
            for name in RIVALS
        )
        + f"; label-shuffled means "
        f"{text(table[(table.method == 'label_shuffled') & (table.origin == 'own')], 'gc')}; "
        f"learnt on "
        f"the other lineages "
        f"{text(table[(table.method == METHOD) & (table.origin == 'others')], 'gc_minus_random')}; codes of the "
        f"features swapped token by token {text(table[table.method == 'feature_swap'], 'gc')}",
    }
