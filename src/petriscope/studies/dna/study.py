"""What study dna brings: Nucleotide Transformer on sequences of two classes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from petriscope.run.studies import Audit, Checked, DataSet, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd  # which looking up a study must not load

    from petriscope.claims.multiplicity import Adjusted
    from petriscope.probe.model import Inputs, ProbedModel
    from petriscope.run.fixtures import FixtureKind
    from petriscope.run.opened import Run  # loads numpy
    from petriscope.sae.sweep import Key
    from petriscope.sae.train import TrainResult


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.dna.data.dataset import load_dataset

    return load_dataset(path)


def _check(path: str | Path) -> Checked:
    from petriscope.studies.dna.data.check import check_dataset
    from petriscope.studies.dna.data.dataset import load_dataset

    return check_dataset(load_dataset(path))


def _demo(folder: Path) -> None:
    from petriscope.studies.dna.data.simulate import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.dna.tiny import tiny_workspace

    return tiny_workspace(root)


def _audit(folder: Path, genesets: Path | None) -> pd.DataFrame:
    from petriscope.studies.dna.audit import audit_folder

    return audit_folder(folder, genesets)


def _recovered(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> Mapping[Key, Mapping[str, float]]:
    from petriscope.studies.dna.inside import recovered_losses

    return recovered_losses(workspace, params, trained)


def _probed(workspace: Workspace, params: Params) -> tuple[ProbedModel, Inputs]:
    from petriscope.device import choose_device
    from petriscope.studies.dna.inputs import load_inputs, load_model

    model = load_model(workspace, choose_device(params.device))
    return model, load_inputs(workspace, model)


def _tokens(run: Run) -> object:
    from petriscope.probe.tokens import Tokens

    return Tokens.load(run.workspace.tokens)


def _model(run: Run) -> object:
    from petriscope.device import choose_device
    from petriscope.studies.dna.inputs import load_model

    return load_model(run.workspace, choose_device(run.params.device))


def _inputs(run: Run) -> object:
    from petriscope.studies.dna.inputs import load_inputs

    return load_inputs(run.workspace, run.model)


def _sequences(run: Run) -> object:
    from petriscope.studies.dna.sequences import load_sequences

    return load_sequences(run.workspace).frame


def _features(run: Run) -> object:
    return run.table("graph", "features.csv")


def _adjusted() -> list[Adjusted]:
    from petriscope.claims.multiplicity import Adjusted

    rate = "rate differs between the classes, labels permuted within length bins and groups"
    features, sequences = "alive features of the probed layer", "sequences and groups"
    follows = "partial r with surprisal given token identity and GC"
    return [
        Adjusted("graph", "features", "p_maxt", rate, features, sequences, "maxT, step-down"),
        Adjusted("graph", "features", "q", rate, features, sequences, "BH"),
        *(
            Adjusted(
                *("tracks", "correlations", column, test),
                *("features, layers and tracks of either model", "circular shifts", "maxT"),
            )
            for column, test in (
                ("max_t", "r with a track"),
                ("partial_max_t", "partial r with a track given token identity and GC"),
            )
        ),
        Adjusted(
            *("entropy", "features", "max_t", follows),
            *("alive features of either model", "circular shifts", "maxT"),
        ),
        Adjusted(
            *("go", "terms", "q", "term enriched among a feature's genes"),
            *("features and terms", "genes of the input", "BH"),
        ),
        Adjusted(
            *("go", "terms", "q_length", "the same with gene length held fixed"),
            *("features and terms", "genes of the input", "BH"),
        ),
    ]


def _fixtures() -> list[FixtureKind]:
    from petriscope.studies.dna import parity

    modules = [
        import_module(f"{parity.__name__}.{found.name}") for found in iter_modules(parity.__path__)
    ]
    return [kind for module in modules for kind in module.KINDS]


STUDY = Study(
    name="dna",
    line="what Nucleotide Transformer knows of DNA: local grammar, or regulatory logic",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    recovered=_recovered,
    probed=_probed,
    folder="studies/dna",
    adjusted=_adjusted,
    fixtures=_fixtures,
    audit=Audit(
        (
            *("graphs.tsv", "pagerank_unique_features.tsv", "pagerank_logfc_top.tsv"),
            *("cnn_heads_by_layer.tsv", "interventions.tsv", "onehot_classifier_runs.tsv"),
            *("feature_firing_20_sequences.tsv", "go_neg_BP.tsv.gz", "go_neg_CC.tsv.gz"),
            *("go_neg_MF.tsv.gz", "genes_pos_multiedge.txt", "genes_neg_multiedge.txt"),
        ),
        _audit,
    ),
    opened={
        "tokens": _tokens,
        "model": _model,
        "inputs": _inputs,
        "sequences": _sequences,
        "features": _features,
    },
    check=_check,
    data={
        "demo-dna": (
            "petriscope.studies.dna.data.demo",
            "simulate sequences with a planted grammar, rule and motif",
        ),
        "cisplatin100": (
            "petriscope.studies.dna.data.cisplatin",
            "make the length-matched cisplatin data set from the released table",
        ),
        "hsg": (
            "petriscope.studies.dna.data.hsg",
            "download the weights, dictionaries and loci of Hidden State Genomics",
        ),
    },
)
"""Study dna probes Nucleotide Transformer on sequences of two classes."""
