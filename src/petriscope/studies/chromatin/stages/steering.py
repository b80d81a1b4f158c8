"""Stage steering: how much of the gap to in vivo each direction closes, tuned and read on different
windows."""

from __future__ import annotations

from petriscope.causal.directions import unit_means
from petriscope.causal.steering import SteeringNumbers, SteeringPlan, compare_methods
from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import open_layers, sample_hidden
from petriscope.probe.tokens import Tokens, split_rows
from petriscope.run.params import chosen_layer
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import encoded_layers
from petriscope.studies.chromatin.inputs import load_windows
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import hold_pairs
from petriscope.studies.chromatin.units import design_of, load_biosamples


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
    store, tokens = open_layers(workspace.activations)[layer], Tokens.load(workspace.tokens)
    sample, biosample_of = sample_hidden(store, tokens, select)
    blocks = sorted(set(windows.block.to_numpy()[select].tolist()))
    activity = encoded_layers(workspace.codes)[layer].moments().blocks(blocks).unit_means()
    features = read_features(workspace, design)
    mine = features[(features.layer == layer) & features.alive].sort_values("rank")
    result = compare_methods(
        model,
        saved_sae(workspace.sae, layer, params.sae.seeds[0]).to(device),
        tune=tune,
        test=test,
        means=unit_means(sample, activity, biosample_of, design),
        selected=mine.feature.to_numpy()[: asked.features],
        plan=SteeringPlan(alphas=tuple(asked.alphas), seed=params.seed),
    )
    with atomic_folder(workspace.table("steering")) as folder:
        result.save(folder, layer, "lineage")
    return SteeringNumbers.of(result.table, layer)
