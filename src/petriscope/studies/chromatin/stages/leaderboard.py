"""Stage leaderboard: what the autoencoder adds over simpler bases and over a decoder that was never
trained."""

from __future__ import annotations

import dataclasses

from petriscope.causal.leaderboard import Contest, LeaderboardNumbers, Learning, leaderboard
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.probe.harvest import layer_paths, open_layers, sample_hidden
from petriscope.probe.tokens import Tokens, split_rows
from petriscope.run.params import chosen_layer
from petriscope.run.weights import given as given_weights
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.config import sae_config
from petriscope.sae.judge import quality
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import given_dictionary, train_dictionary
from petriscope.studies.chromatin.inputs import load_windows
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import condition_rows, hold_pairs
from petriscope.studies.chromatin.units import load_biosamples, load_design

FROZEN = "frozen_decoder"


def run(workspace: Workspace, params: Params) -> LeaderboardNumbers:
    """Write results/leaderboard/: leaderboard.csv, one row per lineage and entrant, and
    frozen_decoder/, the dictionary whose decoder was never trained."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    lineages, asked = list(dict.fromkeys(biosamples.lineage)), params.controls
    why = None if asked.leaderboard else "controls.leaderboard is false in params.yaml"
    if why is None and condition_rows(biosamples, lineages).empty:
        why = "no lineage has both contexts"
    if why:
        write_not_run(workspace.table("leaderboard"), why)
        return LeaderboardNumbers(untestable=why)
    device = choose_device(params.device)
    model = load_model(workspace, device)
    layer = chosen_layer(params.steering.layer, model.n_layers, "steering.layer")
    sae = saved_sae(workspace.sae, layer, params.sae.seeds[0])
    config = dataclasses.replace(sae_config(params.sae, sae.d, params.seed), train_decoder=False)
    given = given_weights(workspace, params, "leaderboard")
    if given is None:
        store = layer_paths(workspace.activations)[layer]
        source = TokenSource.of_windows(store, split_rows(windows, "train"))
        name = f"frozen decoder, layer {layer}"
        frozen = train_dictionary(config, source, heldout=None, name=name, device=device).sae
    else:
        frozen = given_dictionary(given / FROZEN, config, heldout=None).sae
    coders = {"sae": sae, "frozen_decoder_sae": frozen}
    tune, test = (
        hold_pairs(workspace, params, model, layer, lineages, split) for split in ("tune", "test")
    )
    hidden, biosample_of = sample_hidden(
        open_layers(workspace.activations)[layer],
        Tokens.load(workspace.tokens),
        split_rows(windows, "select"),
    )
    contest = Contest(asked.leaderboard_features, tuple(params.steering.alphas), seed=params.seed)
    learning = Learning(hidden, biosample_of, load_design(workspace, params))
    board = leaderboard(model, coders, learning, tune=tune, test=test, contest=contest)
    fvu = {name: quality(coder, hidden).fvu for name, coder in coders.items()}
    board = board.rename(columns={"stratum": "lineage"})
    with atomic_folder(workspace.table("leaderboard")) as folder:
        rows = board.assign(fvu=board.entrant.map(fvu), layer=layer)
        write_csv(folder / "leaderboard.csv", rows)
        frozen.save(folder / FROZEN)
    return LeaderboardNumbers.of(board, fvu, layer)
