"""Stage ablation: what the prediction loses when context features are removed, against every
control arm."""

from __future__ import annotations

from petriscope.causal.ablation import (
    AblationArms,
    AblationNumbers,
    ablation_tables,
    compare_arms,
)
from petriscope.causal.edits import usable_ks
from petriscope.causal.leaderboard import divergent_components
from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.probe.harvest import open_layers, sample_hidden
from petriscope.probe.tokens import Tokens, split_rows
from petriscope.run.params import chosen_layer
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.studies.chromatin.inputs import load_inputs, load_windows
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import condition_rows, hold, opposite, spread
from petriscope.studies.chromatin.units import design_of, load_biosamples


def run(workspace: Workspace, params: Params) -> AblationNumbers:
    """Write results/ablation/: curve.csv, tests.csv, shift.csv, lineages.csv, dose.csv,
    features.csv and scaling.csv (single features)."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    device = choose_device(params.device)
    model, asked = load_model(workspace, device), params.ablation
    layer = chosen_layer(asked.layer, model.n_layers, "ablation.layer")
    pairs = condition_rows(biosamples, list(dict.fromkeys(biosamples.lineage)))
    if pairs.empty:
        return AblationNumbers(layer, untestable="no lineage has both contexts")
    columns = pairs[["reference", "target"]].to_numpy().ravel()
    chosen = spread(split_rows(windows, "test"), asked.windows)
    inputs = load_inputs(workspace, model)
    held = (model, inputs, windows, chosen, biosamples, columns, layer)
    states = hold(*held, asked.mask_fold, params.seed)
    features = read_features(workspace, design_of(biosamples))
    mine = features[(features.layer == layer) & features.alive].sort_values("rank")
    ranking = mine.feature.to_numpy()
    sae = saved_sae(workspace.sae, layer, params.sae.seeds[0]).to(device)
    store, tokens = open_layers(workspace.activations)[layer], Tokens.load(workspace.tokens)
    sample, biosample_of = sample_hidden(store, tokens, split_rows(windows, "select"))
    in_vivo = (biosamples.context == "in_vivo").to_numpy()
    arms = AblationArms(usable_ks(asked.ks, len(mine)), asked.random_sets, seed=params.seed)
    result = compare_arms(
        model,
        sae,
        states,
        ranking,
        arms,
        toward=opposite(states) - states.prediction,
        components=divergent_components(sample, biosample_of, in_vivo),
    )
    single, lineages = ranking[: max(arms.ks)], pairs.lineage.tolist()
    tables = ablation_tables(model, sae, states, result, single, lineages, params.seed)
    with atomic_folder(workspace.table("ablation")) as folder:
        tables.save(folder, layer, "lineage")
    return AblationNumbers.of(result, tables, len(chosen))
