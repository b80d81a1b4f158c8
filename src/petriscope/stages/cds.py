"""Stage cds: the Context Divergence Score of every feature of every layer, as published and
corrected."""

from __future__ import annotations

from dataclasses import dataclass

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
from petriscope.probe.tokens import Tokens
from petriscope.run.params import Params
from petriscope.run.scored import SPLIT, read_stability, scoring
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers


@dataclass(frozen=True)
class Found:
    """Counts and shares by layer, and their rise from the first layer to the last: stated twice,
    among alive features and among those that are seed-stable too, which the verdict rests on."""

    untestable: str | None
    strata_without_test: list[str]
    """why each of them has none."""
    stratum: str
    """what one is called"""
    strata: list[str]
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
    strata_rising: int


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/cds/: features.parquet (one row per latent), layers.csv, effects.parquet."""
    tokens, design = Tokens.load(workspace.tokens), study_design(workspace, params)
    layers, cds = encoded_layers(workspace.codes), params.cds

    def one(layer: int) -> tuple[LayerScores, pd.DataFrame]:
        moments, means = layers[layer].of_split(tokens, SPLIT)
        if not moments.alive(cds.min_events).any():
            what = f"no feature of layer {layer} fires that often"
            remedy = "Lower it, or train the autoencoder longer."
            raise UserError(what, field="cds.min_events", remedy=remedy)
        scores = layer_table(layer, moments, means, design, scoring(params))
        sizes = effect_table(layer, moments, design, scoring(params), resamples=cds.bootstrap)
        return scores, sizes

    found = in_processes(one, layers, "contrast", unit="layer")
    scores, effects = zip(*found)
    features = with_family(scores, design)
    features = with_stability(features, read_stability(workspace.sae), cds.stable)
    summary = layer_summary(features, design, cds.alpha)
    with atomic_folder(workspace.table("cds")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_parquet(folder / "effects.parquet", pd.concat(effects, ignore_index=True))
        write_csv(folder / "layers.csv", summary)
    return summarize(summary, design, cds.alpha)


def study_design(workspace: Workspace, params: Params) -> Design:
    """Who is compared in this run. Raises `UserError` where the study compares no one."""
    made = workspace.study.design
    if made is None:
        raise UserError(
            "compares no conditions",
            field=f"study {workspace.study.name}",
            remedy="Give its record a design, or take the stage out of dvc.yaml.",
        )
    return made(workspace, params)


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
        strata_without_test=reasons,
        stratum=design.words.stratum,
        strata=list(design.strata),
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
        strata_rising=sum(
            bool(last[f"{x}_fraction"] > first[f"{x}_fraction"]) for x in design.strata
        ),
    )
