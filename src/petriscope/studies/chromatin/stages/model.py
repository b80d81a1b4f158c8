"""Stage model: pre-train a small EpiBERT or the user's own model, or take given weights, and
measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.model.adapter import (
    AdaptedModel,
    Build,
    build_adapted,
    check_adapted,
    find_adapter,
)
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig
from petriscope.studies.chromatin.model.evaluate import MaskedAccuracy, evaluate_masked
from petriscope.studies.chromatin.model.pretrain import Arrays, PretrainConfig, pretrain
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import load_arrays, load_biosamples, load_windows

HELD_OUT = "test"


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/model/: model.safetensors and history.csv."""
    device = choose_device(params.device)
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    arrays = load_arrays(workspace)
    conditions = (biosamples.lineage + " " + biosamples.context).tolist()
    splits = {name: rows.index.to_numpy() for name, rows in windows.groupby("split")}
    history = pd.DataFrame()
    motifs = arrays.motif_activity.shape[1]
    config: EpiBERTConfig | Build = model_config(params, motifs)
    model: ChromatinModel | None = None
    if params.model.adapter is not None:
        model = own_model(workspace, params, motifs, device)
        config = model.build
    elif params.model.weights is not None:
        given = (
            EpiBERT.from_safetensors(weights_path(workspace, params.model.weights))
            .to(device)
            .eval()
        )
        check_fits(given, params, arrays)
        model = given
    if model is None or (params.model.adapter is not None and params.model.epochs > 0):
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
        model, history, accuracy = (
            trained.model,
            pd.DataFrame(trained.history),
            trained.metrics[HELD_OUT],
        )
    else:
        folds = params.model.mask_folds
        accuracy = evaluate_masked(
            model,
            *arrays,
            windows=splits[HELD_OUT],
            conditions=conditions,
            folds=folds,
            device=device,
        )
    with atomic_folder(workspace.model) as folder:
        model.cpu().save_safetensors(folder / "model.safetensors")
        write_csv(folder / "history.csv", history)
    (workspace.results / "cache" / "pretrain.safetensors").unlink(missing_ok=True)
    return _metrics(model, accuracy, biosamples, len(splits[HELD_OUT]))


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


def model_config(params: Params, motifs: int) -> EpiBERTConfig:
    """The small EpiBERT of params.yaml."""
    tokens = params.windows.length // 128
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


@torch.no_grad()
def _metrics(
    model: ChromatinModel, accuracy: MaskedAccuracy, biosamples: pd.DataFrame, windows: int
) -> dict[str, Any]:
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "evaluated": True,
        "why_not_evaluated": None,
        "held_out": HELD_OUT,
        "r_all": accuracy.r,
        "r_all_log": accuracy.r_log,
        "r_specific": accuracy.r_condition,
        "r_specific_log": accuracy.r_condition_log,
        "r_per_biosample": dict(zip(biosamples.biosample, accuracy.per_biosample)),
        "r_text": f"r = {accuracy.r:.3f} over all bins, {accuracy.r_condition:.3f} "
        f"condition-specific",
        "r_interval_text": f"log scale {accuracy.r_log:.3f} / {accuracy.r_condition_log:.3f}; per "
        f"biosample "
        f"{min(accuracy.per_biosample):.3f} to {max(accuracy.per_biosample):.3f}; {windows} "
        f"held-out windows, "
        "every bin predicted while masked",
    }
