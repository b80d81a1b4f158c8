"""Stage steering: how much of the gap to in vivo each direction closes, tuned and read on different
windows."""

from __future__ import annotations

from petriscope.causal.directions import unit_means
from petriscope.causal.steering import SteeringNumbers, SteeringPlan, compare_methods
from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import hold_pairs
from petriscope.studies.chromatin.store import (
    chosen_layer,
    load_biosamples,
    load_model,
    load_moments,
    load_sae,
    load_windows,
    read_features,
    sample_hidden,
    split_rows,
)
from petriscope.studies.chromatin.units import design_of


def run(workspace: Workspace, params: Params) -> SteeringNumbers:
    """Write results/steering/: readout.csv (test), grid.csv (tune)."""
    windows, design = load_windows(workspace), design_of(load_biosamples(workspace))
    device, asked = choose_device(params.device), params.steering
    model = load_model(workspace, device)
    layer = chosen_layer(asked.layer, model.n_layers, "steering.layer")
    tune, test = (
        hold_pairs(workspace, params, model, layer, design.strata, split)
        for split in ("tune", "test")
    )
    select = split_rows(windows, "select")
    sample, biosample_of = sample_hidden(workspace, layer, select)
    blocks = sorted(set(windows.block.to_numpy()[select].tolist()))
    activity = load_moments(workspace, layer).blocks(blocks).unit_means()
    features = read_features(workspace)
    mine = features[(features.layer == layer) & features.alive].sort_values("rank")
    result = compare_methods(
        model,
        load_sae(workspace, layer, params.sae.seeds[0]).to(device),
        tune=tune,
        test=test,
        means=unit_means(sample, activity, biosample_of, design),
        selected=mine.feature.to_numpy()[: asked.features],
        plan=SteeringPlan(alphas=tuple(asked.alphas), seed=params.seed),
    )
    with atomic_folder(workspace.table("steering")) as folder:
        result.save(folder, layer, "lineage")
    return SteeringNumbers.of(result.table, layer)
