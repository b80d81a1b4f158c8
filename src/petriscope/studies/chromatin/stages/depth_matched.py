"""Stage depth_matched: every biosample subsampled to the fewest fragments, same model, same
autoencoders, same contrast."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.moments import Design
from petriscope.contrast.summary import layer_summary
from petriscope.device import choose_device
from petriscope.files import atomic_folder, read_json, write_csv, write_not_run, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.controls.branch import agreement, branch_statistics
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.cds import SPLIT, branch_table
from petriscope.studies.chromatin.stages.tracks import make_tracks, stored_signal
from petriscope.studies.chromatin.store import (
    harvest_folds,
    load_arrays,
    load_autoencoders,
    load_biosamples,
    load_model,
    load_windows,
    read_features,
    split_rows,
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/depth_matched/: layers.csv (with the main counts beside) and
    features.parquet."""
    biosamples = load_biosamples(workspace)
    depth, why = common_depth(biosamples)
    if not params.controls.depth_matched:
        why = "controls.depth_matched is false in params.yaml"
    if why:
        write_not_run(workspace.table("depth_matched"), why)
        return {
            "run": False,
            "why_not": why,
            "context_fraction": [],
            "text": f"equal depth not run: {why}",
        }
    windows, design = (
        load_windows(workspace),
        Design.from_frame(biosamples, [name for name in params.cds.adjust if name != "depth"]),
    )
    select = split_rows(windows, SPLIT)
    rows = windows.iloc[select].reset_index(drop=True)
    dataset = load_dataset(workspace.dataset(params.dataset))
    tracks = dataclasses.replace(params.tracks, match_depth=depth)
    made = make_tracks(dataset, rows, Genome(dataset.fasta), tracks, params.seed)
    model = load_model(workspace, choose_device(params.device))
    sequence = np.asarray(load_arrays(workspace).sequence[select])
    inputs = WindowInputs(sequence, stored_signal(made.tracks), made.activity, model.crop)
    statistics = branch_statistics(
        model,
        inputs,
        np.arange(len(select)),
        load_autoencoders(workspace, params),
        folds=harvest_folds(params),
        what="equal depth",
    )
    features = branch_table(
        statistics.items(), rows.block.to_numpy(), design, params.cds, params.seed
    )
    summary = layer_summary(features, design.lineages, params.cds.alpha)
    main = read_features(workspace)
    level = main.evidence.iloc[0]
    layers = summary.merge(agreement(features, main, f"z_{level}"), on="layer")
    layers = layers.merge(
        pd.read_csv(workspace.table("cds") / "layers.csv"), on="layer", suffixes=("", "_main")
    )
    with atomic_folder(workspace.table("depth_matched")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_csv(folder / "layers.csv", layers.assign(fragments=depth, windows=len(select)))
    return _metrics(
        layers,
        depth,
        int(biosamples.fragments.max()),
        len(select),
        read_json(workspace.metrics("cds")),
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


def _metrics(
    layers: pd.DataFrame, depth: int, most: int, windows: int, main: dict[str, Any]
) -> dict[str, Any]:
    counts = " -> ".join(map(str, layers.context_count))
    return {
        "run": True,
        "why_not": None,
        "fragments": depth,
        "most_fragments": most,
        "windows": windows,
        "context_count": layers.context_count.tolist(),
        "context_fraction": np.round(layers.context_fraction, 6).tolist(),
        "published_count": layers.published_count.tolist(),
        "z_correlation": layers.z_correlation.tolist(),
        "text": f"all biosamples at {depth} fragments (they had up to {most}): context features "
        f"{counts} against "
        + " -> ".join(map(str, main["context_count"]))
        + f"; scores correlate r = {layers.z_correlation.min():.2f} to "
        f"{layers.z_correlation.max():.2f}",
    }
