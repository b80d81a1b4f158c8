"""Stage input_controls: what is left of the context signal when an input is shuffled, taken away or
exchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.contrast.features import branch_table, layer_summary
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.genome.tracks import model_target
from petriscope.probe.tokens import split_rows
from petriscope.run.scored import read_features, scoring
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_layers
from petriscope.studies.chromatin.controls import (
    VARIANTS,
    agreement,
    branch_statistics,
    followed,
    followed_auroc,
    vary,
)
from petriscope.studies.chromatin.inputs import (
    WindowInputs,
    harvest_folds,
    load_inputs,
    load_windows,
)
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.model.masking import (
    MaskedAccuracy,
    masked_accuracy,
    predict_masked,
)
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import spread
from petriscope.studies.chromatin.units import design_of, load_biosamples, load_design

SPLIT = "test"
FOLLOWED = 25
"""Strongest context features per layer (chosen on the select windows) whose AUROC is read here."""
ACCURACY_WINDOWS = 8
"""Of the windows, how many the model's masked prediction is measured on."""


@dataclass(frozen=True)
class Variant:
    """What is left under one variant of the inputs, by layer; NaN where it cannot be computed."""

    name: str
    alive: list[float]
    context_fraction: list[float]
    context_count: list[float]
    auroc: list[float]
    """of the main run's strongest context features."""
    z_correlation: list[float]
    """of the scores with the main ones."""
    model_r: list[float]
    """of the model's masked prediction, over all bins and for the condition-specific part."""
    model_r_condition: list[float]


@dataclass(frozen=True)
class Found:
    """Every variant, the real inputs first."""

    untestable: str | None
    windows: int | None = None
    last_layer: int | None = None
    variants: list[Variant] | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/input_controls/: layers.csv, one row per (variant, layer)."""
    if not params.controls.input_controls:
        why = "controls.input_controls is false in params.yaml"
        write_not_run(workspace.table("input_controls"), why)
        return Found(untestable=why)
    device = choose_device(params.device)
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    design = load_design(workspace, params)
    conditions = (biosamples.lineage + " " + biosamples.context).tolist()
    model, autoencoders = (
        load_model(workspace, device),
        saved_layers(workspace.sae, params.sae.seeds[0]),
    )
    inputs = load_inputs(workspace, model)
    chosen = spread(split_rows(windows, SPLIT), params.controls.input_windows)
    blocks = windows.block.to_numpy()[chosen]
    real = np.asarray(inputs.signal[chosen], dtype=np.float32)
    main = read_features(workspace, design_of(biosamples))
    column = f"z_{main.evidence.iloc[0]}"
    watch = followed(main, FOLLOWED)
    frames, everywhere = [], np.arange(len(chosen))
    for variant in VARIANTS:
        given = vary(inputs, chosen, variant, design, params.seed)
        found = branch_statistics(
            model, given, everywhere, autoencoders, folds=harvest_folds(params), what=variant.name
        )
        features = branch_table(found, blocks, design, scoring(params))
        frame = layer_summary(features, design, params.cds.alpha)
        frame = frame.merge(agreement(features, main, column), on="layer")
        frame["auroc"] = [
            followed_auroc(found[layer], watch[layer], design) for layer in frame.layer
        ]
        accuracy = _accuracy(model, given, real, conditions, params.model.mask_folds, device)
        frame = frame.assign(model_r=accuracy.r, model_r_condition=accuracy.r_condition)
        frames.append(frame.assign(variant=variant.name, **variant._asdict(), windows=len(chosen)))
    table = pd.concat(frames, ignore_index=True)
    first = ["variant", "dna", "atac", "motif", "layer"]
    table = table[first + [name for name in table if name not in first]]
    with atomic_folder(workspace.table("input_controls")) as folder:
        write_csv(folder / "layers.csv", table)
    return summarize(table, len(chosen))


def _accuracy(
    model: ChromatinModel,
    given: WindowInputs,
    real: np.ndarray,
    conditions: list[str],
    folds: int,
    device: str,
) -> MaskedAccuracy:
    """Masked prediction from the inputs given, against the real signal (W, S, L/4)."""
    some = spread(np.arange(len(real)), ACCURACY_WINDOWS)
    guess = predict_masked(
        model, given.sequence, given.signal, given.motif_activity, some, folds=folds, device=device
    )
    return masked_accuracy(guess, model_target(real[some], given.crop), conditions)


def summarize(table: pd.DataFrame, windows: int) -> Found:
    """The numbers of the table (one row per variant and layer) that the ledger reads."""
    columns = [name for name in Variant.__dataclass_fields__ if name != "name"]
    variants = [
        Variant(
            str(name),
            **{column: frame[column].astype(float).round(6).tolist() for column in columns},
        )
        for name, frame in table.groupby("variant", sort=False)
    ]
    return Found(None, windows, int(table.layer.max()), variants)
