"""Stage model: pre-train a small EpiBERT or the user's own model, or take given weights, and
measure it."""

from __future__ import annotations

from dataclasses import dataclass

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv
from petriscope.probe.tokens import split_rows
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.inputs import Arrays, load_windows
from petriscope.studies.chromatin.model.choose import HELD_OUT, MODEL_FILE, choose_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import load_biosamples


@dataclass(frozen=True)
class ModelNumbers:
    """Pearson r of prediction and signal on held-out windows, every bin predicted while masked."""

    parameters: int
    held_out: str
    held_out_windows: int
    r_all: float
    r_all_log: float
    r_specific: float
    """Of the part that differs from the mean over conditions."""
    r_specific_log: float
    r_per_biosample: dict[str, float]
    r_biosample_low: float
    r_biosample_high: float
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> ModelNumbers:
    """Write results/model/: model.safetensors and history.csv."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    device, arrays = choose_device(params.device), Arrays.load(workspace.tracks)
    model, history, found = choose_model(workspace, params, arrays, windows, biosamples, device)
    with atomic_folder(workspace.model) as folder:
        model.cpu().save_safetensors(folder / MODEL_FILE)
        write_csv(folder / "history.csv", history)
    (workspace.results / "cache" / "pretrain.safetensors").unlink(missing_ok=True)
    return ModelNumbers(
        parameters=sum(p.numel() for p in model.parameters()),
        held_out=HELD_OUT,
        held_out_windows=len(split_rows(windows, HELD_OUT)),
        r_all=found.r,
        r_all_log=found.r_log,
        r_specific=found.r_condition,
        r_specific_log=found.r_condition_log,
        r_per_biosample=dict(zip(biosamples.biosample, found.per_biosample)),
        r_biosample_low=min(found.per_biosample),
        r_biosample_high=max(found.per_biosample),
    )
