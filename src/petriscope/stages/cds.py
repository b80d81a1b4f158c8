"""Stage cds: the Context Divergence Score of every feature of every layer, as published and
corrected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.contrast.design import Design
from petriscope.contrast.features import (
    LayerScores,
    effect_table,
    layer_summary,
    layer_table,
    rise,
    with_family,
    with_stability,
)
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    layer_numbers,
    load_design,
    load_moments,
    load_stability,
    load_window_means,
    load_windows,
    scoring,
    split_rows,
)

SPLIT = "select"


@dataclass(frozen=True)
class Found:
    """Counts and shares by layer, and their rise from the first layer to the last: stated twice,
    among alive features and among those that are seed-stable too, which the verdict rests on."""

    untestable: str | None
    lineages_without_test: list[str]
    """why each of them has none."""
    lineages: list[str]
    alpha: float
    layer: list[int]
    alive: list[int]
    published_count: list[int]
    published_share_of_alive: list[float]
    context_count: list[int]
    context_fraction: list[float]
    """of alive features."""
    family: str
    union_count: list[int]
    maxt_count: list[int]
    rise: float
    rise_low: float
    rise_high: float
    stable: list[int] | None
    """None, as all that follows from it, where one seed ran."""
    stable_context_fraction: list[float] | None
    stable_rise: float | None
    stable_rise_low: float | None
    stable_rise_high: float | None
    lineages_rising: int


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/cds/: features.parquet (one row per latent), layers.csv, effects.parquet."""
    windows, design = load_windows(workspace), load_design(workspace, params)
    rows, cds = split_rows(windows, SPLIT), params.cds
    blocks = np.unique(windows.block.to_numpy()[rows])
    bins = params.windows.length // 128 - 2 * params.windows.crop

    def one(layer: int) -> tuple[LayerScores, pd.DataFrame]:
        moments = load_moments(workspace, layer).blocks(blocks)
        if not moments.alive(cds.min_events).any():
            what = f"no feature of layer {layer} fires that often"
            remedy = "Lower it, or train the autoencoder longer."
            raise UserError(what, field="cds.min_events", remedy=remedy)
        means = load_window_means(workspace, layer, rows, bins)
        scores = layer_table(layer, moments, means, design, scoring(params))
        sizes = effect_table(layer, moments, design, scoring(params), resamples=cds.bootstrap)
        return scores, sizes

    found = in_processes(one, layer_numbers(workspace.codes), "contrast", unit="layer")
    scores, effects = zip(*found)
    features = with_family(scores, design)
    features = with_stability(features, load_stability(workspace), cds.stable)
    layers = layer_summary(features, design, cds.alpha)
    with atomic_folder(workspace.table("cds")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_parquet(folder / "effects.parquet", pd.concat(effects, ignore_index=True))
        write_csv(folder / "layers.csv", layers)
    return summarize(layers, design, cds.alpha)


def summarize(layers: pd.DataFrame, design: Design, alpha: float) -> Found:
    """The numbers of `layer_summary`'s rows that the ledger reads."""
    first, last = layers.iloc[0], layers.iloc[-1]
    reasons = design.untestable("unit")
    change = rise(layers, "context_count", "alive")
    assert change is not None
    stable = rise(layers, "stable_context_count", "stable")
    stable_fraction = layers.stable_context_fraction.round(6).tolist()
    return Found(
        untestable="; ".join(reasons) if len(reasons) == len(design.strata) else None,
        lineages_without_test=reasons,
        lineages=list(design.strata),
        alpha=alpha,
        layer=layers.layer.tolist(),
        alive=layers.alive.tolist(),
        published_count=layers.published_count.tolist(),
        published_share_of_alive=layers.published_share_of_alive.tolist(),
        context_count=layers.context_count.tolist(),
        context_fraction=layers.context_fraction.round(6).tolist(),
        family=f"alive features of all layers ({int(layers.alive.sum())} tests)",
        union_count=layers.union_count.tolist(),
        maxt_count=layers.maxt_count.tolist(),
        rise=change.change,
        rise_low=change.low,
        rise_high=change.high,
        stable=layers.stable.tolist() if stable else None,
        stable_context_fraction=stable_fraction if stable else None,
        stable_rise=stable.change if stable else None,
        stable_rise_low=stable.low if stable else None,
        stable_rise_high=stable.high if stable else None,
        lineages_rising=sum(
            bool(last[f"{x}_fraction"] > first[f"{x}_fraction"]) for x in design.strata
        ),
    )
