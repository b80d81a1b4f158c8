"""What study cells brings: Geneformer and scGPT on single cells."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from petriscope.run.studies import Audit, Checked, DataSet, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd  # which looking up a study must not load

    from petriscope.atlas.build import AtlasTables
    from petriscope.claims.multiplicity import Adjusted
    from petriscope.probe.model import Inputs, ProbedModel
    from petriscope.run.fixtures import FixtureKind
    from petriscope.run.opened import Run  # loads numpy
    from petriscope.sae.sweep import Key
    from petriscope.sae.train import TrainResult


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.cells.data.dataset import load_dataset

    return load_dataset(path)


def _check(path: str | Path) -> Checked:
    from petriscope.studies.cells.data.check import check_dataset
    from petriscope.studies.cells.data.dataset import load_dataset

    return check_dataset(load_dataset(path))


def _demo(folder: Path) -> None:
    from petriscope.studies.cells.data.simulate import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.cells.tiny import tiny_workspace

    return tiny_workspace(root)


def _recovered(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> Mapping[Key, Mapping[str, float]]:
    from petriscope.studies.cells.recovered import recovered_losses

    return recovered_losses(workspace, params, trained)


def _probed(workspace: Workspace, params: Params) -> tuple[ProbedModel, Inputs]:
    from petriscope.device import choose_device
    from petriscope.studies.cells.inputs import load_inputs, load_model

    model = load_model(workspace, params.family, choose_device(params.device))
    return model, load_inputs(workspace, params, params.family)


def _audit(folder: Path, genesets: Path | None) -> pd.DataFrame:
    from petriscope.studies.cells.audit import audit_folder

    return audit_folder(folder, genesets)


def _released_atlas(folder: Path, genesets: Path | None) -> AtlasTables:
    from petriscope.studies.cells.imported import released_atlas

    return released_atlas(folder, genesets)


def _tokens(run: Run) -> object:
    from petriscope.probe.tokens import Tokens

    return Tokens.load(run.workspace.tokens)


def _model(run: Run) -> object:
    from petriscope.device import choose_device
    from petriscope.studies.cells.inputs import load_model

    return load_model(run.workspace, run.params.family, choose_device(run.params.device))


def _inputs(run: Run) -> object:
    from petriscope.studies.cells.inputs import load_inputs

    return load_inputs(run.workspace, run.params, run.params.family)


def _cells(run: Run) -> object:
    from petriscope.studies.cells.counts import load_cells

    return load_cells(run.workspace)


def _branches(run: Run) -> object:
    from petriscope.studies.cells.branches import branches

    return branches(run.workspace, run.params)


def _features(run: Run) -> object:
    return run.table("annotate", "features.parquet")


def _adjusted() -> list[Adjusted]:
    from petriscope.claims.multiplicity import Adjusted

    layer = "of one model and layer"
    return [
        Adjusted(
            *("annotate", "terms", "q", "genes of a feature shared with a term"),
            *(f"alive features and admitted terms of a collection, {layer}", "genes", "BH"),
        ),
        Adjusted(
            *("annotate", "published", "q", "the same as published: two shared genes or more"),
            *(f"tests that were kept, {layer}", "genes", "BH"),
        ),
        Adjusted(
            *("annotate", "edges", "q", "edges among a feature's genes beyond their degrees"),
            *(f"alive features {layer}", "edges", "BH"),
        ),
        Adjusted(
            *("celltypes", "types", "q", "a type's cells against the others of the same donor"),
            *(f"alive features and types {layer}", "donors", "BH"),
        ),
        Adjusted(
            *("celltypes", "published", "q", "the same as published: a feature's top cells"),
            *("types of a feature", "cells", "BH"),
        ),
        Adjusted(
            *("perturbation", "responses", "q", "knocked-down cells against controls of a batch"),
            *("features and targets of one model", "cells", "BH"),
        ),
        Adjusted(
            *("perturbation", "own", "q", "the features of a knocked-down gene's own token"),
            *("targets of one model", "cells", "BH"),
        ),
        Adjusted(
            *("perturbation", "regulons", "q", "responding features name the regulon"),
            *("targets of one model", "matched regulons", "BH"),
        ),
    ]


def _fixtures() -> list[FixtureKind]:
    from petriscope.studies.cells import parity

    modules = [
        import_module(f"{parity.__name__}.{found.name}") for found in iter_modules(parity.__path__)
    ]
    return [kind for module in modules for kind in module.KINDS]


STUDY = Study(
    name="cells",
    line="what Geneformer and scGPT know of cells: organized biology, or regulatory logic",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    recovered=_recovered,
    probed=_probed,
    folder="studies/cells",
    adjusted=_adjusted,
    fixtures=_fixtures,
    audit=Audit(
        (
            *("geneformer_features.tsv.gz", "scgpt_features.tsv.gz"),
            *("geneformer_modules.json.gz", "scgpt_modules.json.gz"),
            *("geneformer_causal_patching.json.gz", "scgpt_causal_patching.json.gz"),
            *("geneformer_cross_layer_graph.json.gz", "scgpt_cross_layer_graph.json.gz"),
            *("geneformer_perturbation_response.json.gz", "geneformer_svd_comparison.json.gz"),
        ),
        _audit,
        _released_atlas,
    ),
    opened={
        "tokens": _tokens,
        "model": _model,
        "inputs": _inputs,
        "cells": _cells,
        "branches": _branches,
        "features": _features,
    },
    check=_check,
    data={
        "demo-cells": (
            "petriscope.studies.cells.data.demo",
            "simulate cells with planted programmes, types and regulons",
        ),
        "cells": (
            "petriscope.studies.cells.data.prepare",
            "make a data set of files at hand: counts of cells, vocabularies, gene sets, networks",
        ),
    },
)
"""Study cells probes Geneformer and scGPT on single cells."""
