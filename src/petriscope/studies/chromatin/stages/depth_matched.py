"""Stage depth_matched: every biosample subsampled to the fewest fragments, same model, same
autoencoders, same contrast."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.contrast.features import branch_table, layer_summary
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.probe.tokens import split_rows
from petriscope.run.scored import SPLIT, read_features, scoring
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_layers
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.controls import agreement, branch_statistics
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.data.tracks import make_tracks, stored_signal
from petriscope.studies.chromatin.inputs import Arrays, WindowInputs, harvest_folds, load_windows
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import design_of, load_biosamples


@dataclass(frozen=True)
class Found:
    """Counts by layer, and how the scores follow the main ones."""

    untestable: str | None
    fragments: int | None = None
    """of every biosample."""
    most_fragments: int | None = None
    """that a biosample had."""
    windows: int | None = None
    context_count: list[int] | None = None
    context_fraction: list[float] | None = None
    published_count: list[int] | None = None
    z_correlation: list[float] | None = None
    z_correlation_low: float | None = None
    z_correlation_high: float | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/depth_matched/: layers.csv (with the main counts beside) and
    features.parquet."""
    biosamples = load_biosamples(workspace)
    depth, why = common_depth(biosamples)
    if not params.controls.depth_matched:
        why = "controls.depth_matched is false in params.yaml"
    if why:
        write_not_run(workspace.table("depth_matched"), why)
        return Found(untestable=why)
    windows = load_windows(workspace)
    rows = windows.iloc[split_rows(windows, SPLIT)]
    others = [name for name in params.cds.adjust if name != "depth"]
    statistics = matched_statistics(workspace, params, rows, depth)
    block = rows.block.to_numpy()
    features = branch_table(statistics, block, design_of(biosamples, others), scoring(params))
    summary = layer_summary(features, design_of(biosamples, others), params.cds.alpha)
    main = read_features(workspace, design_of(biosamples))
    layers = summary.merge(agreement(features, main, f"z_{main.evidence.iloc[0]}"), on="layer")
    layers = layers.merge(
        pd.read_csv(workspace.table("cds") / "layers.csv"), on="layer", suffixes=("", "_main")
    )
    with atomic_folder(workspace.table("depth_matched")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_csv(folder / "layers.csv", layers.assign(fragments=depth, windows=len(rows)))
    return Found(
        untestable=None,
        fragments=depth,
        most_fragments=int(biosamples.fragments.max()),
        windows=len(rows),
        context_count=layers.context_count.tolist(),
        context_fraction=layers.context_fraction.round(6).tolist(),
        published_count=layers.published_count.tolist(),
        z_correlation=layers.z_correlation.tolist(),
        z_correlation_low=float(layers.z_correlation.min()),
        z_correlation_high=float(layers.z_correlation.max()),
    )


def matched_statistics(
    workspace: Workspace, params: Params, rows: pd.DataFrame, depth: int
) -> dict[int, Moments]:
    """Layer → moments per window of ``rows`` where every biosample has ``depth`` fragments."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    tracks = dataclasses.replace(params.tracks, match_depth=depth)
    chosen = rows.reset_index(drop=True)
    made = make_tracks(dataset, chosen, Genome(dataset.fasta), tracks, params.seed)
    model = load_model(workspace, choose_device(params.device))
    sequence = np.asarray(Arrays.load(workspace.tracks).sequence[rows.index])
    return branch_statistics(
        model,
        WindowInputs(sequence, stored_signal(made.tracks), made.activity, model.crop),
        np.arange(len(rows)),
        saved_layers(workspace.sae, params.sae.seeds[0]),
        folds=harvest_folds(params),
        what="equal depth",
    )


def common_depth(biosamples: pd.DataFrame) -> tuple[int, str | None]:
    """Fewest fragments of any biosample, or the reason why depths cannot be matched."""
    fragments = biosamples.fragments
    if fragments.isna().any():
        without = biosamples.biosample[fragments.isna()].tolist()
        return (
            0,
            f"no fragments are known of "
            f"{', '.join(without[:3])}{' and others' if len(without) > 3 else ''}",
        )
    return int(fragments.min()), None
