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
from petriscope.studies.cells.data.simulate import simulate_demo

TINY_DATA: Mapping[str, Any] = {
    "cells": 140,
    "controls": 24,
    "per_target": 10,
    "second": 16,
    "genes": 60,
    "donors": 6,
    "n_types": 2,
    "n_programmes": 3,
    "programme_genes": 8,
    "novel": 1,
    "encoded": 2,
    "coexpressed": 2,
    "silent": 2,
}
"""240 cells of 60 genes, two TFs of each kind."""
TINY_NAME = "data/tiny"
TINY_PARAMS: Mapping[str, Any] = {
    "cells.min_genes": 10,
    "geneformer.layers": 2,
    "geneformer.d_model": 16,
    "geneformer.heads": 2,
    "geneformer.ffn": 32,
    "geneformer.steps": 20,
    "geneformer.batch": 16,
    "scgpt.layers": 2,
    "scgpt.d_model": 16,
    "scgpt.heads": 2,
    "scgpt.ffn": 16,
    "scgpt.steps": 20,
    "scgpt.batch": 16,
    "tokens.draws": 2,
    "sae.latents": 32,
    "sae.k": 4,
    "sae.batch": 256,
    "sae.tokens": 10_000,
    "sae.seeds": [0, 1],
    "sae.gate.fvu": 1.0,
    "sae.gate.l0_low": 0,
    "sae.gate.dead": 1.0,
    "codes.top_bins": 4,
    # so that features count as found after a few seconds of training
    "cds.alpha": 0.2,
    "cds.permutations": 200,
    "cds.bootstrap": 100,
    "cds.min_events": 5,
    "svd.ms": [2, 4],
    "svd.published_m": 4,
    "svd.rows": 2_000,
    "catalog.genes": 8,
    "catalog.min_fires": 2,
    "catalog.min_tokens": 5,
    "annotate.sizes": [3, 40],
    "annotate.shuffles": 20,
    "modules.pmi": 0.5,
    "modules.min_count": 5,
    "modules.z": 1.0,
    "modules.resolutions": [0.5, 1.0],
    "modules.leiden_seeds": 3,
    "modules.rewirings": 3,
    "highways.pmi": 1.0,
    "highways.min_count": 5,
    "highways.permutations": 20,
    "causal.features": 3,
    "causal.cells": 16,
    "causal.matched_sets": 50,
    "causal.random_directions": 5,
    "perturbation.min_cells": 5,
    "perturbation.min_control_firing_cells": 5,
    "perturbation.random_regulons": 50,
    "perturbation.planted": [2, 4],
    "perturbation.cells": 16,
    "celltypes.min_donors": 3,
    "celltypes.min_cells": 2,
    "celltypes.shuffles": 20,
    "novel.features": 20,
    "novel.shuffles": 5,
    "figures.dpi": 50,
}


def tiny_workspace(root: Path) -> Workspace:
    """A workspace with the tiny planted world in it and the shipped parameters made small; nothing
    has run yet. It names nothing outside itself, so it can be moved and copied."""
    workspace = create_workspace(root, study=find_study("cells"))
    simulate_demo(workspace.root / TINY_NAME, **TINY_DATA)
    override(workspace.params, {"dataset": TINY_NAME, **TINY_PARAMS})
    refresh_code(workspace.root)
    return workspace
