"""A run probes a small EpiBERT trained here, given weights, or what the user's adapter builds; the
one that was kept is read again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from petriscope.errors import UserError
from petriscope.run.params import load_params
from petriscope.run.weights import given as given_weights
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.inputs import Arrays
from petriscope.studies.chromatin.model.adapter import (
    AdaptedModel,
    Build,
    adapted_from_safetensors,
    adapter_record,
    build_adapted,
    check_adapted,
    find_adapter,
)
from petriscope.studies.chromatin.model.base import TOKEN, ChromatinModel
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig
from petriscope.studies.chromatin.model.masking import MaskedAccuracy, evaluate_masked
from petriscope.studies.chromatin.model.pretrain import PretrainConfig, pretrain
from petriscope.studies.chromatin.params import Params

MODEL_FILE = "model.safetensors"
HELD_OUT = "test"
"""The split that the model's accuracy is measured on."""


class Probed(NamedTuple):
    """The model of a run and how well it does what it was trained for."""

    model: ChromatinModel
    history: pd.DataFrame
    """A row per epoch of training; empty where nothing was trained."""
    accuracy: MaskedAccuracy
    """On held-out windows, every bin predicted while masked."""


def choose_model(
    workspace: Workspace,
    params: Params,
    arrays: Arrays,
    windows: pd.DataFrame,
    biosamples: pd.DataFrame,
    device: str,
) -> Probed:
    """The model that params.yaml asks for, trained where it has no weights yet, and measured."""
    released = given_weights(workspace, params, "model")
    conditions = (biosamples.lineage + " " + biosamples.context).tolist()
    splits = {name: rows.index.to_numpy() for name, rows in windows.groupby("split")}
    motifs = arrays.motif_activity.shape[1]
    config: EpiBERTConfig | Build = model_config(params, motifs)
    model: ChromatinModel | None = None
    if released is not None:
        kept = load_probed(released / MODEL_FILE, params.model.adapter, workspace.root)
        model = kept.to(device).eval()
    elif params.model.adapter is not None:
        model = own_model(workspace, params, motifs, device)
        config = model.build
    elif params.model.weights is not None:
        given = EpiBERT.from_safetensors(weights_path(workspace, params.model.weights))
        model = given.to(device).eval()
    if isinstance(model, EpiBERT):
        check_fits(model, params, arrays)
    trains = released is None and params.model.adapter is not None and params.model.epochs > 0
    if model is not None and not trains:
        accuracy = evaluate_masked(
            model,
            *arrays,
            windows=splits[HELD_OUT],
            conditions=conditions,
            folds=params.model.mask_folds,
            device=device,
        )
        return Probed(model, pd.DataFrame(), accuracy)
    trained = pretrain(
        config,
        pretrain_config(params),
        arrays,
        splits,
        conditions,
        seed=params.seed,
        device=device,
        evaluate=[HELD_OUT],
        checkpoint=workspace.results / "cache" / "pretrain.safetensors",
        untrained=model,
    )
    return Probed(trained.model, pd.DataFrame(trained.history), trained.metrics[HELD_OUT])


def load_probed(path: Path, adapter: str | None, root: Path) -> ChromatinModel:
    """The model that stage model kept; ``adapter`` is the one that params.yaml names, if any."""
    if adapter_record(path) is not None:
        return adapted_from_safetensors(path, adapter, root)
    return EpiBERT.from_safetensors(path)


def own_model(workspace: Workspace, params: Params, motifs: int, device: str) -> AdaptedModel:
    """What the adapter of params.yaml builds, tried against the probe's protocol."""
    asked = params.model
    assert asked.adapter is not None
    weights = (
        None if asked.weights is None else str(weights_path(workspace, asked.weights).resolve())
    )
    build = Build(
        params.windows.length,
        params.windows.crop,
        motifs,
        asked.layers,
        asked.d_model,
        asked.heads,
        weights,
    )
    model = (
        build_adapted(find_adapter(asked.adapter, workspace.root), build, params.seed)
        .to(device)
        .eval()
    )
    check_adapted(model)
    return model


def load_model(workspace: Workspace, device: str = "cpu") -> ChromatinModel:
    """The probed model, in eval mode."""
    path = workspace.model / MODEL_FILE
    named = load_params(workspace.params).model.adapter if adapter_record(path) else None
    return load_probed(path, named, workspace.root).to(device).eval()


def model_config(params: Params, motifs: int) -> EpiBERTConfig:
    """The small EpiBERT of params.yaml."""
    tokens = params.windows.length // TOKEN
    return EpiBERTConfig(
        input_length=params.windows.length,
        output_length=tokens,
        final_output_length=tokens - 2 * params.windows.crop,
        sequence_filters=tuple(params.model.sequence_filters),
        atac_stem_filters=params.model.atac_filters[0],
        atac_filters=tuple(params.model.atac_filters),
        num_motifs=motifs,
        d_model=params.model.d_model,
        heads=params.model.heads,
        layers=params.model.layers,
        random_features=params.model.random_features,
        dropout=params.model.dropout,
        head_dropout=params.model.dropout / 2,
        motif_dropout=params.model.dropout,
    )


def pretrain_config(params: Params) -> PretrainConfig:
    """How the small EpiBERT is trained."""
    return PretrainConfig(
        epochs=params.model.epochs,
        windows_per_step=params.model.windows_per_step,
        biosamples_per_step=params.model.biosamples_per_step,
        learning_rate=params.model.learning_rate,
        folds=params.model.mask_folds,
    )


def weights_path(workspace: Workspace, name: str) -> Path:
    """Converted weights, relative to the workspace unless absolute."""
    path = workspace.dataset(name)
    if not path.exists():
        remedy = (
            "Run `petriscope convert CKPT_PREFIX OUT.safetensors`, or set model.weights to null."
        )
        raise UserError(
            f"names {path}, which does not exist",
            file=workspace.params,
            field="model.weights",
            remedy=remedy,
        )
    return path


def check_fits(model: EpiBERT, params: Params, arrays: Arrays) -> None:
    """Given weights must take the inputs the tracks stage made."""
    for field, wanted, found in (
        ("windows.length", model.config.input_length, params.windows.length),
        ("windows.crop", model.config.crop, params.windows.crop),
        ("annotation.motifs", model.config.num_motifs, arrays.motif_activity.shape[1]),
    ):
        if wanted != found:
            raise UserError(
                f"is {found}, the weights need {wanted}", field=field, remedy="Make the two agree."
            )
