"""Stage highways: features of one layer that depend on those of the next, as published and beyond
their genes; beside the same layer's second dictionary, randomly initialized models, and the same
genes in other cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.effects import bootstrap_counts
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.chosen import FIRST, codes_of, gene_rows
from petriscope.studies.cells.highways import (
    MOST,
    Linked,
    feature_table,
    link_table,
    linked,
    published_coverage,
    published_highways,
)
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.persistence import below_ceiling


@dataclass(frozen=True)
class Beyond:
    """A difference of shares, with a 95 % interval by bootstrap over features."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelHighways:
    """Highways of one model, over pairs of layers behind its blocks."""

    pairs: int
    tested: int
    """features that fire often enough"""
    published: float
    """share of the alive features whose largest PMI passes"""
    downstream: float
    """share of the next layer's alive features that an edge reaches (scGPT's rule)"""
    share: float | None
    """of the tested that pass maxT beyond their gene"""
    away: float | None
    """the same with tokens of the same gene in other cells"""
    ceiling: float | None
    """the same with a second dictionary of the same layer"""
    random: float | None
    """the same of the randomly initialized model"""
    kept: float | None
    """bits with the strongest partner, given the gene, over those without: median"""
    over_random: Beyond | None
    """share less that of the randomly initialized model"""
    below_ceiling: Beyond | None
    """ceiling less share"""


@dataclass(frozen=True)
class Control:
    """The share against one control."""

    untestable: str | None
    low: float | None = None
    """the lowest limit of the models' differences"""


@dataclass(frozen=True)
class HighwayNumbers:
    """How many features depend on another layer's, by model."""

    untestable: str | None
    models: dict[str, ModelHighways]
    over_random: Control
    """trained less random share"""
    below_ceiling: Control
    """ceiling less share"""


class _Found(NamedTuple):
    of: dict[str, object]
    row: dict[str, object]
    features: pd.DataFrame
    links: pd.DataFrame


def run(workspace: Workspace, params: Params) -> HighwayNumbers:
    """Write results/highways/: pairs.csv, features.parquet (a row per tested feature) and
    links.parquet (the strongest partners of each, beyond genes)."""
    found, out = branches(workspace, params), workspace.table("highways")
    items = [(b, k) for b in found for k in b.layers() if k >= FIRST and k + 1 in b.layers()]
    if not items:
        why = "no model has two blocks"
        write_not_run(out, why)
        return HighwayNumbers(why, {}, Control(why), Control(why))
    axes = {b.name: (b.tokens(), b.places().gene.to_numpy()) for b in found}

    def one(item: tuple[Branch, int]) -> _Found:
        return _pair(*item, *axes[item[0].name], params)

    layers = list(in_processes(one, items, "highways", unit="pair of layers"))
    pairs = pd.DataFrame([{**part.of, **part.row} for part in layers])
    features = _joined(layers, "features")
    with atomic_folder(out) as folder:
        write_csv(folder / "pairs.csv", pairs)
        write_parquet(folder / "features.parquet", features)
        write_parquet(folder / "links.parquet", _joined(layers, "links"))
    models = {
        str(name): _numbers(pairs[pairs.model == name], features[features.model == name], params)
        for name in pairs.model[pairs.trained].unique()
    }
    none = "no randomly initialized model ran (controls.random_init is false)"
    seeds = "sae.seeds has one seed"
    return HighwayNumbers(
        None,
        models,
        _control([one.over_random for one in models.values()], none),
        _control([one.below_ceiling for one in models.values()], seeds),
    )


def _pair(branch: Branch, layer: int, tokens: Tokens, gene: np.ndarray, params: Params) -> _Found:
    given, seeds, alpha = params.highways, params.sae.seeds, params.cds.alpha
    rows = gene_rows(tokens, gene, "test", most=MOST, seed=params.seed)
    of_gene = gene[rows]
    first, second = (codes_of(branch, at, seeds, 0, rows) for at in (layer, layer + 1))
    published = published_highways(first, second, pmi=given.pmi, min_count=given.min_count)
    covered = published_coverage(first, second, pmi=given.pmi)

    def linked_with(partners: Codes) -> Linked:
        return linked(
            first,
            partners,
            of_gene,
            min_count=given.min_count,
            permutations=given.permutations,
            seed=params.seed,
        )

    found, ceiling, passing = linked_with(second), np.nan, None
    if branch.trained and len(seeds) > 1:
        again = codes_of(branch, layer, seeds, 1, rows)
        same = linked_with(again)
        ceiling, passing = same.share(alpha), same.passing(alpha)
    row: dict[str, object] = {
        "tokens": len(rows),
        "alive": published.alive,
        "tested": int(found.test.often.sum()),
        "dependent": len(published.features),
        "published": published.highways,
        "mean_max_pmi": float(published.features.max_pmi.mean()),
        "upstream": covered.upstream,
        "downstream": covered.downstream,
        "share": found.share(alpha),
        "away": found.share_away(alpha),
        "ceiling": ceiling,
    }
    features = feature_table(found, first, second, of_gene)
    features = features.merge(published.features[["feature", "max_pmi"]], how="left")
    passes = (features.p < alpha).to_numpy()
    features["again"] = pd.NA if passing is None else passing[features.feature.to_numpy()]
    features = features.astype({"again": "boolean"})
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    return _Found(
        {**of, "other_layer": layer + 1}, row, features.assign(highway=passes), link_table(found)
    )


def _joined(layers: list[_Found], name: str) -> pd.DataFrame:
    parts = [getattr(part, name).assign(**part.of) for part in layers]
    return pd.concat(parts, ignore_index=True)


def _numbers(pairs: pd.DataFrame, features: pd.DataFrame, params: Params) -> ModelHighways:
    """Of one family's pairs; shares are over all tested features."""
    resampling = {"resamples": params.cds.bootstrap, "seed": params.seed}
    mine, random = pairs[pairs.trained], pairs[~pairs.trained]
    own = features[features.trained & features.highway]
    kept = (own.bits_given_gene / own.bits.where(own.bits > 0)).median()
    return ModelHighways(
        pairs=len(mine),
        tested=int(mine.tested.sum()),
        published=float(mine.published.sum() / max(1, mine.alive.sum())),
        downstream=float(mine.downstream.mean()),
        share=_pooled(mine, "share"),
        away=_pooled(mine, "away"),
        ceiling=_pooled(mine, "ceiling"),
        random=_pooled(random, "share"),
        kept=None if pd.isna(kept) else float(kept),
        over_random=_over(
            *(features.highway[features.trained == kind].to_numpy(bool) for kind in (True, False)),
            **resampling,
        ),
        below_ceiling=_below(features[features.trained], **resampling),
    )


def _over(mine: np.ndarray, other: np.ndarray, *, resamples: int, seed: int) -> Beyond | None:
    """Share of ``mine`` less that of ``other``, bool (features,) of different features."""
    if not len(mine) or not len(other):
        return None
    drawn = [
        bootstrap_counts(len(passes), resamples, seed + i) @ passes / len(passes)
        for i, passes in enumerate((mine, other))
    ]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return Beyond(float(mine.mean() - other.mean()), float(low), float(high))


def _below(features: pd.DataFrame, *, resamples: int, seed: int) -> Beyond | None:
    """Share of the features that a second dictionary of their layer has a link for, less that of
    highways among them."""
    if not len(features) or features.again.isna().any():
        return None
    found = below_ceiling(
        features.highway.to_numpy(bool),
        features.again.to_numpy(bool),
        resamples=resamples,
        seed=seed,
    )
    return Beyond(-found.difference, -found.high, -found.low)


def _pooled(pairs: pd.DataFrame, name: str) -> float | None:
    """Mean weighted by tested features; None where nothing is known."""
    known = pairs[pairs[name].notna()]
    tested = int(known.tested.sum())
    return float((known[name] * known.tested).sum() / tested) if tested else None


def _control(found: Sequence[Beyond | None], why: str) -> Control:
    """The lowest limit over models."""
    lows = [one.low for one in found if one is not None]
    return Control(None, min(lows)) if lows and len(lows) == len(found) else Control(why)
