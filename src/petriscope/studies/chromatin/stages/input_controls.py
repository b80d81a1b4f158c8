"""Stage input_controls: what is left of the context signal when an input is shuffled, taken away or
exchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.summary import layer_summary
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.genome.tracks import model_target
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.controls.branch import (
    agreement,
    branch_statistics,
    followed,
    followed_auroc,
)
from petriscope.studies.chromatin.controls.inputs import VARIANTS, vary
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.evaluate import (
    MaskedAccuracy,
    masked_accuracy,
    predict_masked,
)
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import spread
from petriscope.studies.chromatin.stages.cds import branch_table
from petriscope.studies.chromatin.store import (
    harvest_folds,
    load_autoencoders,
    load_biosamples,
    load_design,
    load_inputs,
    load_model,
    load_windows,
    read_features,
    split_rows,
)

SPLIT = "test"
FOLLOWED = 25
"""Strongest context features per layer (chosen on the select windows) whose AUROC is read here."""
ACCURACY_WINDOWS = 8
"""Of the windows, how many the model's masked prediction is measured on."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/input_controls/: layers.csv, one row per (variant, layer)."""
    if not params.controls.input_controls:
        why = "controls.input_controls is false in params.yaml"
        write_not_run(workspace.table("input_controls"), why)
        return {
            "run": False,
            "why_not": why,
            "text": f"input controls not run: {why}",
            "model_text": None,
        }
    device = choose_device(params.device)
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    design = load_design(workspace, params)
    conditions = (biosamples.lineage + " " + biosamples.context).tolist()
    model, autoencoders = load_model(workspace, device), load_autoencoders(workspace, params)
    inputs = load_inputs(workspace, model)
    chosen = spread(split_rows(windows, SPLIT), params.controls.input_windows)
    blocks = windows.block.to_numpy()[chosen]
    real = np.asarray(inputs.signal[chosen], dtype=np.float32)
    main = read_features(workspace)
    column = f"z_{main.evidence.iloc[0]}"
    watch = followed(main, FOLLOWED)
    frames, everywhere = [], np.arange(len(chosen))
    for variant in VARIANTS:
        given = vary(inputs, chosen, variant, design, params.seed)
        found = branch_statistics(
            model, given, everywhere, autoencoders, folds=harvest_folds(params), what=variant.name
        )
        features = branch_table(found.items(), blocks, design, params.cds, params.seed)
        frame = layer_summary(features, design.lineages, params.cds.alpha)
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
    return _metrics(table, len(chosen))


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


def _metrics(table: pd.DataFrame, windows: int) -> dict[str, Any]:
    def of(name: str, column: str) -> list[float]:
        return table[table.variant == name][column].astype(float).round(6).tolist()

    variants = list(dict.fromkeys(table.variant))
    columns = (
        "context_fraction",
        "context_count",
        "auroc",
        "z_correlation",
        "model_r",
        "model_r_condition",
    )
    last = table[table.layer == table.layer.max()].set_index("variant")
    return {
        "run": True,
        "why_not": None,
        "windows": windows,
        "variants": {name: {column: of(name, column) for column in columns} for name in variants},
        "model_text": "masked prediction, r over all bins / condition-specific: "
        + "; ".join(
            f"{name} {row.model_r:.2f} / {row.model_r_condition:.2f}"
            for name, row in last.iterrows()
        ),
        "text": f"layer {int(table.layer.max())}, {windows} test windows, context features / "
        f"their AUROC / correlation of "
        "the scores with the main ones: "
        + "; ".join(f"{name} {_found(row)}" for name, row in last.iterrows()),
    }


def _found(row: Any) -> str:
    """Count, AUROC and correlation of a variant's last layer; what cannot be computed says why."""
    count = f"{int(row.context_count)}" if row.alive else "none fires often enough to be tested"
    correlation = (
        f"{row.z_correlation:+.2f}" if np.isfinite(row.z_correlation) else "too few to correlate"
    )
    return f"{count} / {row.auroc:.2f} / {correlation}"
