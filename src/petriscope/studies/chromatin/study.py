"""What study chromatin brings: EpiBERT on chromatin in vitro and in vivo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petriscope.enrich.kinds import ENRICHED
from petriscope.run.studies import Audit, Checked, DataSet, Parity, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params

if TYPE_CHECKING:
    import pandas as pd

    from petriscope.contrast.design import Design
    from petriscope.probe.model import Inputs, ProbedModel
    from petriscope.run.fixtures import FixtureKind
    from petriscope.run.opened import Run  # loads numpy, which looking up a study must not
    from petriscope.sae.sweep import Key
    from petriscope.sae.train import TrainResult


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.chromatin.data.dataset import load_dataset

    return load_dataset(path)


def _check(path: str | Path) -> Checked:
    from petriscope.studies.chromatin.data.dataset import load_dataset
    from petriscope.studies.chromatin.data.preflight import check_dataset

    return check_dataset(load_dataset(path))


def _demo(folder: Path) -> None:
    from petriscope.studies.chromatin.simulate.dataset import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.chromatin.tiny import tiny_workspace

    return tiny_workspace(root)


def _parity() -> Parity:
    from petriscope.studies.chromatin.parity import LIMIT, parity

    return Parity("EpiBERT", max(parity()), LIMIT)


def _fixtures() -> Sequence[FixtureKind]:
    from petriscope.studies.chromatin.fixtures import KINDS

    return KINDS


def _adapter_edited(workspace: Workspace, params: Params) -> Mapping[str, str]:
    """Stage model, where the adapter's file differs from the one that built the model: DVC sees its
    name alone."""
    if params.model.adapter is None:
        return {}
    from petriscope.studies.chromatin.model.adapter import adapter_record, find_adapter

    record = adapter_record(workspace.model / "model.safetensors")
    asked = find_adapter(params.model.adapter, workspace.root)
    if record is None or record["adapter"] != asked.spec or record["sha256"] == asked.sha256:
        return {}
    return {"model": f"{params.model.adapter} was edited since it built the model"}


def _design(workspace: Workspace, params: Params) -> Design:
    from petriscope.studies.chromatin.units import load_design

    return load_design(workspace, params)


def _recovered(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> Mapping[Key, Mapping[str, float]]:
    from petriscope.studies.chromatin.rows import recovered_losses

    return recovered_losses(workspace, params, trained)


def _probed(workspace: Workspace, params: Params) -> tuple[ProbedModel, Inputs]:
    from petriscope.device import choose_device
    from petriscope.studies.chromatin.inputs import harvest_folds, load_inputs
    from petriscope.studies.chromatin.model.choose import load_model

    model = load_model(workspace, choose_device(params.device))
    return model, load_inputs(workspace, model, harvest_folds(params))


def _units(run: Run) -> object:
    from petriscope.studies.chromatin.units import load_biosamples, units_of

    return units_of(load_biosamples(run.workspace))


def _tokens(run: Run) -> object:
    from petriscope.probe.tokens import Tokens

    return Tokens.load(run.workspace.tokens)


def _model(run: Run) -> object:
    from petriscope.device import choose_device
    from petriscope.studies.chromatin.model.choose import load_model

    return load_model(run.workspace, choose_device(run.params.device))


def _inputs(run: Run) -> object:
    from petriscope.studies.chromatin.inputs import harvest_folds, load_inputs

    return load_inputs(run.workspace, run.model, harvest_folds(run.params))


def _features(run: Run) -> object:
    from petriscope.run.scored import read_features
    from petriscope.studies.chromatin.units import design_of, load_biosamples

    return read_features(run.workspace, design_of(load_biosamples(run.workspace)))


def _motifs(run: Run) -> object:
    """The data set's motifs as sets over every predicted bin; `tracks.motif_p` is the threshold of
    those without one."""
    from petriscope.enrich.foregrounds import Foregrounds
    from petriscope.enrich.motifs import read_motifs
    from petriscope.studies.chromatin.data.dataset import load_dataset
    from petriscope.studies.chromatin.inputs import Arrays
    from petriscope.studies.chromatin.motifs import motif_sets

    dataset = load_dataset(run.workspace.dataset(run.params.dataset))
    motifs = read_motifs(dataset.motifs, dataset.motif_format, run.params.tracks.motif_p)
    bins = Foregrounds.load(run.workspace.table("foregrounds")).bins
    return motif_sets(
        Arrays.load(run.workspace.tracks).sequence, run.params.windows.crop, motifs, bins
    )


def _strata(run: Run) -> object:
    """The classes of bins within which a background is matched."""
    from petriscope.enrich.foregrounds import Foregrounds

    return Foregrounds.load(run.workspace.table("foregrounds")).strata


def _windows(run: Run) -> object:
    from petriscope.studies.chromatin.inputs import load_windows

    return load_windows(run.workspace)


def _audit(folder: Path, genesets: Path | None) -> pd.DataFrame:
    from petriscope.studies.chromatin.audit import audit_folder

    return audit_folder(folder, genesets)


STUDY = Study(
    name="chromatin",
    line="what EpiBERT, a chromatin model, knows about a petri dish: in vitro against in vivo",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    design=_design,
    recovered=_recovered,
    probed=_probed,
    tests={
        "ablation": ("tests", "shift", "lineages"),
        **{kind.stage: ("enrichment",) for kind in ENRICHED},
    },
    released=(
        "model/model.safetensors",
        "sae/layer_*/seed_*/*",
        "random_init/model.safetensors",
        "random_init/layer_*/seed_*/*",
        "leaderboard/frozen_decoder/*",
    ),
    parity=_parity,
    fixtures=_fixtures,
    audit=Audit(
        (
            *("stats.tsv", "effects.tsv", "gap_closure.tsv", "sae_qc.tsv"),
            *(f"layer_{layer}_features.tsv" for layer in ("early", "mid", "late")),
        ),
        _audit,
    ),
    check=_check,
    data={
        "demo": (
            "petriscope.studies.chromatin.data.demo",
            "simulate the demo data set with planted truth",
        ),
        "paper": ("petriscope.studies.chromatin.data.paper", "download the paper's data"),
    },
    unseen=_adapter_edited,
    opened={
        "units": _units,
        "tokens": _tokens,
        "model": _model,
        "inputs": _inputs,
        "features": _features,
        "windows": _windows,
        "motifs": _motifs,
        "strata": _strata,
    },
)
