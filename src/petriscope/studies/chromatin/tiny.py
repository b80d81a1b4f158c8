"""The tiny data set is the smallest, with its parameters, on which every stage of the graph has
something to do: for checks, not science."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petriscope.run.params_edit import override
from petriscope.run.snapshot import refresh_code
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, simulate_demo

TINY_DATA = DemoConfig(chromosomes=4, mean_length=200_000, replicates=2, deepest=20_000)
TINY_NAME = "data/tiny"
TINY_PARAMS: Mapping[str, Any] = {
    "windows.length": 4096,
    "windows.crop": 1,
    "windows.block_bp": 20_000,
    "tracks.max_peaks": 200,
    "model.layers": 2,
    "model.d_model": 16,
    "model.heads": 2,
    "model.sequence_filters": [8, 8, 8, 16, 16, 16],
    "model.atac_filters": [8, 8],
    "model.random_features": 16,
    "model.epochs": 1,
    "model.mask_folds": 2,
    "model.windows_per_step": 8,
    "sae.latents": 32,
    "sae.k": 4,
    "sae.learning_rate": 0.001,
    "sae.seeds": [0, 1],
    "sae.tokens": 20_000,
    "sae.batch": 256,
    "sae.gate.fvu": 1.0,
    "sae.gate.l0_low": 0,
    "sae.gate.dead": 1.0,
    "codes.top_bins": 4,
    # so that some features count as context features after a few seconds of training
    "cds.alpha": 0.5,
    "cds.min_events": 1,
    "cds.permutations": 200,
    "cds.bootstrap": 100,
    "calibration.nulls": 20,
    "calibration.seeds": 1,
    "truth.donors": 2,
    "ablation.ks": [2, 4],
    "ablation.random_sets": 10,
    "ablation.windows": 4,
    "steering.features": 4,
    "steering.alphas": [1.0, 2.0],
    "steering.windows": 4,
    "annotation.max_features": 4,
    "annotation.max_foreground": 50,
    "annotation.random_draws": 4,
    "annotation.hits_bins": 4,
    "controls.random_init_tokens": 10_000,
    "controls.input_windows": 4,
    "controls.label_shuffle_draws": 2,
    "controls.leaderboard_features": 4,
    "figures.dpi": 50,
}


def tiny_workspace(root: Path) -> Workspace:
    """A workspace with the tiny data set in it and the shipped parameters made small; nothing has
    run yet.

    1.6 Mb of genome, twelve biosamples. It names nothing outside itself, so it can be moved and
    copied.
    """
    workspace = create_workspace(root)
    simulate_demo(workspace.root / TINY_NAME, TINY_DATA)
    override(workspace.params, {"dataset": TINY_NAME, **TINY_PARAMS})
    refresh_code(workspace.root)
    return workspace
