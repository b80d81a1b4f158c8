"""Stage label_shuffle: how many features pass, layer by layer, when context labels are shuffled or
only replicates differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from petriscope.contrast.calibration import beside_observed, null_counts, null_p
from petriscope.contrast.design import Design
from petriscope.contrast.nulls import replicates, shuffled
from petriscope.executors import Resources, current, fan_out, once
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.probe.harvest import layer_paths
from petriscope.probe.tokens import Tokens
from petriscope.run.params import ContrastParams
from petriscope.run.scored import SPLIT, read_features, scoring
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import EncodedLayer
from petriscope.stages.calibration import why_untestable
from petriscope.stages.cds import study_design

SHUFFLED, REPLICATES = "labels shuffled", "replicate against replicate"


@dataclass(frozen=True)
class Found:
    """Features that pass where nothing differs: means over the draws, by layer."""

    untestable: str | None
    draws: int | None = None
    shuffled_count: list[float] | None = None
    shuffled_fraction: list[float] | None = None
    shuffled_fraction_high: list[float] | None = None
    """97.5 % of the draws."""
    shuffled_published: list[float] | None = None
    replicate_count: list[float] | None = None
    """empty where no condition has replicates to compare."""
    replicate_published: list[float] | None = None


def run(workspace: Workspace, params: ContrastParams) -> Found:
    """Write results/label_shuffle/: layers.csv (per null and layer) and draws.csv (per null, draw
    and layer)."""
    design, alpha = study_design(workspace, params), params.cds.alpha
    why = why_untestable(design)
    if not params.controls.label_shuffle:
        why = "controls.label_shuffle is false in params.yaml"
    if why:
        write_not_run(workspace.table("label_shuffle"), why)
        return Found(untestable=why)
    given, needs = Given(workspace, params), Resources(memory_gb=4)
    if current().runs_here():
        once(_read, given)
    layers = layer_paths(workspace.codes)
    done = fan_out(shuffle_layer, given, layers, "label shuffles", unit="layer", resources=needs)
    tables = [pd.read_parquet(path) for path in chain.from_iterable(done)]
    counts = null_counts(pd.concat(tables, ignore_index=True), alpha)
    table = beside_observed(counts, read_features(workspace, design), alpha)
    with atomic_folder(workspace.table("label_shuffle")) as folder:
        write_csv(folder / "draws.csv", counts)
        write_csv(folder / "layers.csv", table)
    return summarize(table, params.controls.label_shuffle_draws)


class Given(NamedTuple):
    """What labels are shuffled in."""

    workspace: Workspace
    params: ContrastParams


def shuffle_layer(given: Given, layer: int) -> list[Path]:
    """Write the p-values of one layer under each null; the files, none for a null without test."""
    tokens, nulls = once(_read, given)
    workspace, params = given
    moments, means = EncodedLayer(layer_paths(workspace.codes)[layer]).of_split(tokens, SPLIT)
    files = []
    for number, (name, designs) in enumerate(nulls.items()):
        p = null_p(moments, means, designs, scoring(params), params.cds.alpha)
        if p is not None:
            files.append(workspace.made("label_shuffle") / f"layer_{layer}_{number}.parquet")
            write_parquet(files[-1], p.assign(layer=layer, null=name))
    return files


def _read(given: Given) -> tuple[Tokens, dict[str, list[Design]]]:
    """The token axis, and the labels of all draws of each null."""
    workspace, params = given
    design, draws = study_design(workspace, params), params.controls.label_shuffle_draws
    nulls = {
        SHUFFLED: list(shuffled(design, draws, params.seed)),
        REPLICATES: list(replicates(design, draws, params.seed)),
    }
    return Tokens.load(workspace.tokens), nulls


def summarize(table: pd.DataFrame, draws: int) -> Found:
    """The numbers of the table (one row per null and layer) that the ledger reads."""
    shuffles, between = table[table.null == SHUFFLED], table[table.null == REPLICATES]
    return Found(
        untestable=None,
        draws=draws,
        shuffled_count=shuffles["count"].tolist(),
        shuffled_fraction=shuffles.fraction.round(6).tolist(),
        shuffled_fraction_high=shuffles.fraction_high.round(6).tolist(),
        shuffled_published=shuffles.published.tolist(),
        replicate_count=between["count"].tolist(),
        replicate_published=between.published.tolist(),
    )
