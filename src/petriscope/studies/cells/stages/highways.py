"""Stage highways: features of one layer that depend on those of the next, as published and beyond
their genes; beside the same layer's second dictionary, randomly initialized models, and the same
genes in other cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep

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
    """the same with tokens dealt out anew among the cells of their gene"""
    ceiling: float | None
    """the same with a second dictionary of the same layer"""
    random: float | None
    """the same of the randomly initialized model"""
    random_tested: int
    kept: float | None
    """bits with the strongest partner, given the gene, over those without: median"""


@dataclass(frozen=True)
class Control:
    """The share against one control."""

    untestable: str | None
    low: float | None = None
    """lower 95 % limit of the difference, in the model where that is lowest"""


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
        str(name): _numbers(pairs[pairs.model == name], features[features.model == name])
        for name in pairs.model[pairs.trained].unique()
    }
    none = "no randomly initialized model ran (controls.random_init is false)"
    seeds = "sae.seeds has one seed"
    values = models.values()
    return HighwayNumbers(
        None,
        models,
        _control([_low(m.share, m.tested, m.random, m.random_tested) for m in values], none),
        _control([_low(m.ceiling, m.tested, m.share, m.tested) for m in values], seeds),
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

    found, ceiling = linked_with(second), np.nan
    if branch.trained and len(seeds) > 1:
        again = codes_of(branch, layer, seeds, 1, rows)
        ceiling = linked_with(again).share(alpha)
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
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    return _Found(
        {**of, "other_layer": layer + 1}, row, features.assign(highway=passes), link_table(found)
    )


def _joined(layers: list[_Found], name: str) -> pd.DataFrame:
    parts = [getattr(part, name).assign(**part.of) for part in layers]
    return pd.concat(parts, ignore_index=True)


def _numbers(pairs: pd.DataFrame, features: pd.DataFrame) -> ModelHighways:
    """Of one family's pairs; shares are over all tested features."""
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
        random_tested=int(random.tested.sum()),
        kept=None if pd.isna(kept) else float(kept),
    )


def _pooled(pairs: pd.DataFrame, name: str) -> float | None:
    """Mean weighted by tested features; None where nothing is known."""
    known = pairs[pairs[name].notna()]
    tested = int(known.tested.sum())
    return float((known[name] * known.tested).sum() / tested) if tested else None


def _low(share: float | None, n: int, other: float | None, m: int) -> float | None:
    """Lower 95 % limit of the difference of two shares, of n and of m features (Newcombe); None
    where one is not known."""
    if share is None or other is None:
        return None
    counts = round(share * n), n, round(other * m), m
    return float(confint_proportions_2indep(*counts, method="newcomb")[0])


def _control(lows: Sequence[float | None], why: str) -> Control:
    """The lowest limit over models."""
    known = [low for low in lows if low is not None]
    return Control(None, min(known)) if known and len(known) == len(lows) else Control(why)
