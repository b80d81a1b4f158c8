"""Stage crossmodel: how alike Geneformer and scGPT are on the same genes of the same cells, and the
terms that both have features for, beside two models that learned nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.graph.cofiring import rows_of
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.against_random import NOT_RUN
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.crossmodel import (
    BLOCKS,
    CHANCE,
    Estimate,
    Pairs,
    Products,
    Shared,
    Terms,
    groups_of,
    likeness,
    likeness_above,
    linear_cka,
    matched_features,
    products,
    shared_terms,
    shared_tokens,
    shares_above,
    within_gene,
)
from petriscope.studies.cells.params import FAMILIES, Params


@dataclass(frozen=True)
class Annotated:
    """Terms that both models have features for."""

    untestable: str | None
    trained: Terms | None = None
    random: Terms | None = None


@dataclass(frozen=True)
class MatchedFeatures:
    """Features of the two models matched one to one beyond their genes."""

    pairs: int
    above: Estimate | None
    """share of the pairs above 99 % of those of shuffled cells; None where either pair of models
    has no pair of features, as the other estimates"""
    limit: float | None
    """r there"""
    random_pairs: int
    """of the randomly initialized pair, as the next"""
    random_above: Estimate | None
    above_random: Estimate | None
    """trained less random pair"""


@dataclass(frozen=True)
class CrossmodelNumbers:
    """How alike the two models are."""

    untestable: str | None
    terms: Annotated
    tokens: int | None = None
    """genes in cells that both models read"""
    layers: dict[str, int] | None = None
    cka: Estimate | None = None
    random: Estimate | None = None
    """of the randomly initialized pair"""
    above: Estimate | None = None
    """trained less random pair"""
    within: Estimate | None = None
    """after gene means are taken away, as the next two"""
    random_within: Estimate | None = None
    above_within: Estimate | None = None
    features: MatchedFeatures | None = None


def run(workspace: Workspace, params: Params) -> CrossmodelNumbers:
    """Write results/crossmodel/: cka.csv (a row per pair of layers, trained and random, with and
    without gene means), matches.parquet (a row per pair of features of the chosen layers),
    matched.csv (their share above chance, trained and random) and terms.csv."""
    found, out = branches(workspace, params), workspace.table("crossmodel")
    pairs = {
        trained: [b for name in FAMILIES for b in found if (b.family, b.trained) == (name, trained)]
        for trained in (True, False)
    }
    terms = _terms(workspace, params.cds.alpha)
    missing = [trained for trained, pair in pairs.items() if len(pair) < len(FAMILIES)]
    if missing:
        why = "one model ran" if missing[0] else NOT_RUN
        write_not_run(out, why)
        return CrossmodelNumbers(why, terms)
    sides = [(branch.tokens(), branch.places().gene.to_numpy()) for branch in pairs[True]]
    shared = shared_tokens(sides[0], sides[1], "test", seed=params.seed)
    layers = [chosen_layer(params.layer, max(b.layers()), "layer") for b in pairs[True]]
    matches = {kind: _matched(pair, layers, shared, params) for kind, pair in pairs.items()}
    features = _features(matches, params)
    with atomic_folder(out) as folder:
        curves = [_curves(pair, shared).assign(trained=kind) for kind, pair in pairs.items()]
        write_csv(folder / "cka.csv", pd.concat(curves, ignore_index=True))
        write_csv(folder / "terms.csv", _term_rows(terms))
        write_parquet(folder / "matches.parquet", _match_rows(matches, layers))
        write_csv(folder / "matched.csv", _matched_rows(matches, features, layers))
    sums = {kind: _chosen(pair, layers, shared, within=False) for kind, pair in pairs.items()}
    left = {kind: _chosen(pair, layers, shared, within=True) for kind, pair in pairs.items()}
    return CrossmodelNumbers(
        None,
        terms,
        len(shared.first),
        dict(zip(FAMILIES, layers)),
        likeness(sums[True]),
        likeness(sums[False]),
        likeness_above(sums[True], sums[False]),
        likeness(left[True]),
        likeness(left[False]),
        likeness_above(left[True], left[False]),
        features,
    )


def _states(branch: Branch, layer: int, rows: np.ndarray) -> np.ndarray:
    return np.asarray(branch.streams(layer)[rows], np.float64)


def _chosen(pair: list[Branch], layers: list[int], shared: Shared, *, within: bool) -> Products:
    """Sums of one pair of layers, by groups of cells."""
    x, y = (
        _states(branch, layer, rows)
        for branch, layer, rows in zip(pair, layers, (shared.first, shared.second), strict=True)
    )
    if within:
        x, y = within_gene(x, shared.gene), within_gene(y, shared.gene)
    group = _groups(shared)
    return products(x, y, group, int(group.max()) + 1)


def _groups(shared: Shared) -> np.ndarray:
    return groups_of(shared.cell, min(BLOCKS, len(np.unique(shared.cell))))


def _matched(pair: list[Branch], layers: list[int], shared: Shared, params: Params) -> Pairs:
    """Features of one pair of layers."""
    one, other = (
        rows_of(branch.encoded(layer).codes(), rows)
        for branch, layer, rows in zip(pair, layers, (shared.first, shared.second), strict=True)
    )
    least, group = params.cds.min_events, _groups(shared)
    return matched_features(one, other, shared.gene, group, min_count=least, seed=params.seed)


def _features(matches: Mapping[bool, Pairs], params: Params) -> MatchedFeatures:
    """Shares above chance, with intervals."""
    trained, random = matches[True], matches[False]
    shares = shares_above(trained, random, params.cds.bootstrap, params.seed)
    own, other, less = shares or (None, None, None)
    limit = None if np.isnan(trained.null) else trained.null
    return MatchedFeatures(len(trained.table), own, limit, len(random.table), other, less)


def _match_rows(matches: Mapping[bool, Pairs], layers: list[int]) -> pd.DataFrame:
    """Columns trained, layer (Geneformer's), other_layer (scGPT's), feature, other_feature, r,
    tokens, p, null (r that ``null_share`` of shuffled pairs exceed)."""
    of = {"layer": layers[0], "other_layer": layers[1]}
    parts = [
        one.table.assign(trained=kind, null=one.null, null_share=1 - CHANCE, **of)
        for kind, one in matches.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _matched_rows(
    matches: Mapping[bool, Pairs], features: MatchedFeatures, layers: list[int]
) -> pd.DataFrame:
    """Columns trained, layer (Geneformer's), other_layer (scGPT's), pairs, above (share beyond what
    ``null_share`` of the pairs of shuffled cells reach), low, high (95 % interval), null_share and
    limit (r there); a row for the trained models and one for the random ones."""
    rows = []
    for kind, share in ((True, features.above), (False, features.random_above)):
        known = Estimate(matches[kind].above, np.nan, np.nan) if share is None else share
        rows.append(
            {"trained": kind, "layer": layers[0], "other_layer": layers[1]}
            | {"pairs": len(matches[kind].table), "above": known.value}
            | {"low": known.low, "high": known.high}
            | {"null_share": 1 - CHANCE, "limit": matches[kind].null}
        )
    return pd.DataFrame(rows)


def _curves(pair: list[Branch], shared: Shared) -> pd.DataFrame:
    """Columns geneformer_layer, scgpt_layer, cka, cka_within."""
    one, other = pair
    rows, whole = [], np.zeros(len(shared.first), np.int64)
    mine = {k: _states(one, k, shared.first) for k in one.layers()}
    for theirs in other.layers():
        y = _states(other, theirs, shared.second)
        for layer, x in mine.items():
            left = within_gene(x, shared.gene), within_gene(y, shared.gene)
            rows.append(
                {
                    "geneformer_layer": layer,
                    "scgpt_layer": theirs,
                    "cka": linear_cka(products(x, y, whole, 1)),
                    "cka_within": linear_cka(products(*left, whole, 1)),
                }
            )
    return pd.DataFrame(rows)


def _terms(workspace: Workspace, alpha: float) -> Annotated:
    """From stage annotate's terms of the layers behind the blocks."""
    path = workspace.table("annotate") / "terms.parquet"
    if not path.is_file():
        return Annotated("the data set has no gene sets")
    table = pd.read_parquet(path)
    table = table[(table.q < alpha) & (table.layer > 0)]
    found = {
        trained: {name: _of(table, name, trained) for name in FAMILIES} for trained in (True, False)
    }
    return Annotated(None, shared_terms(found[True]), shared_terms(found[False]))


def _of(table: pd.DataFrame, family: str, trained: bool) -> pd.DataFrame:
    return table[(table.model == family) & (table.trained.astype(bool) == trained)]


def _term_rows(terms: Annotated) -> pd.DataFrame:
    """Columns trained, geneformer, scgpt, shared, jaccard."""
    columns = ["trained", *FAMILIES, "shared", "jaccard"]
    known: Mapping[bool, Terms | None] = {True: terms.trained, False: terms.random}
    rows = [(kind, *astuple(found)) for kind, found in known.items() if found is not None]
    return pd.DataFrame(rows, columns=columns)
