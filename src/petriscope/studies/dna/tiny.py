"""The tiny data set is the smallest, with its parameters, on which every stage of the graph has
something to do: for checks, not science."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petriscope.run.params_edit import override
from petriscope.run.snapshot import refresh_code
from petriscope.run.studies import find_study
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.studies.dna.data.simulate import simulate_demo

TINY_SEQUENCES = 240
TINY_TOKENS = 32
TINY_NAME = "data/tiny"
TINY_PARAMS: Mapping[str, Any] = {
    "model.layers": 2,
    "model.d_model": 32,
    "model.heads": 2,
    "model.ffn": 64,
    "model.tokens": 60_000,
    "sae.latents": 64,
    "sae.k": 4,
    "sae.batch": 256,
    "sae.tokens": 20_000,
    "sae.seeds": [0, 1],
    "sae.gate.fvu": 1.0,
    "sae.gate.l0_low": 0,
    "sae.gate.dead": 1.0,
    "codes.top_bins": 4,
    "expansions.factors": [2, 4],
    "expansions.tokens": 5_000,
    # so that features count as found after a few seconds of training
    "cds.alpha": 0.2,
    "cds.permutations": 200,
    "cds.bootstrap": 100,
    "cds.min_events": 5,
    "tracks.shifts": 100,
    "tracks.min_shift": 40,
    "concepts.min_tokens": 10,
    "graph.draws": 3,
    "graph.curveball": 3,
    "graph.top": 5,
    "head.epochs": 2,
    "head.seeds": [0, 1],
    "head.folds": 2,
    "head.one_hot_epochs": 1,
    "interventions.features": 2,
    "interventions.random": 10,
    "interventions.doses": [0.0, 1.0, 2.0],
    "interventions.sequences": 40,
    "dependency.sequences": 4,
    "dependency.length": 24,
    "dependency.features": 8,
    "dependency.positions": 8,
    "dependency.probes": 20,
    "entropy.ks": [2, 4, 6],
    "entropy.shifts": 50,
    "go.sizes": [3, 60],
    "figures.dpi": 50,
}


def tiny_workspace(root: Path) -> Workspace:
    """A workspace with the tiny planted world in it and the shipped parameters made small; nothing
    has run yet.

    240 sequences of 32 tokens. It names nothing outside itself, so it can be moved and copied.
    """
    workspace = create_workspace(root, study=find_study("dna"))
    simulate_demo(workspace.root / TINY_NAME, sequences=TINY_SEQUENCES, tokens=TINY_TOKENS)
    override(workspace.params, {"dataset": TINY_NAME, **TINY_PARAMS})
    refresh_code(workspace.root)
    return workspace
