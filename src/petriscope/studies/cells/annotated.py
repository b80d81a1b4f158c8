"""One layer of a model is annotated by every rule, beside random lists; the numbers of a model are
taken over its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.contrast.results import adjust
from petriscope.enrich.lists import rank_lists, strata_of
from petriscope.studies.cells.against_random import after_a_block, blocks_of
from petriscope.studies.cells.annotate import (
    PublishedRule,
    Sets,
    annotated,
    matched_shares,
    members,
    published_annotations,
    shuffled_shares,
    term_table,
)
from petriscope.studies.cells.catalog import (
    background,
    corrected_lists,
    published_catalog,
    shrunk,
)
from petriscope.studies.cells.gene_table import GeneTable
from petriscope.studies.cells.ushape import Curve, depth_fit, why_no_curve


class Asked(NamedTuple):
    """What is asked of every layer."""

    genes: int
    """of a list"""
    min_fires: int
    min_tokens: int
    min_events: float
    """tokens on which a feature fires that is called alive"""
    sizes: tuple[int, int]
    """genes of a term"""
    shuffles: int
    alpha: float
    seed: int


class AnnotatedLayer(NamedTuple):
    """A layer annotated."""

    terms: pd.DataFrame
    """`term_table` of the alive features"""
    published: pd.DataFrame
    """significant rows of `PublishedAnnotations.tests`"""
    features: pd.DataFrame
    """a row per latent: feature, fires, frequency, alive, listed, top_gene (-1 where no gene is
    listed), published, published_null, annotated, null, ranked; the two nulls are shares of the
    shuffles in which a list as long is annotated"""
    shares: dict[str, np.ndarray]
    """(S,) shares of the shuffled lists by rule, published and corrected, and of lists whose genes
    are exchanged for others as frequent (matched)"""
    lists: sp.csr_matrix
    """(m, G) corrected lists of the alive features, all others empty"""
    background: int
    """genes that a feature could have listed"""
    tests: int
    """of gene sets: alive features x admitted terms of all collections"""


def annotate_layer(
    table: GeneTable, sets: Sets, rule: PublishedRule, names: Sequence[str], asked: Asked
) -> AnnotatedLayer:
    """Annotate the features of ``table``; ``names`` (G,): upper-case genes."""
    catalog = published_catalog(table, asked.genes)
    lists = corrected_lists(table, asked.genes, asked.min_fires, asked.min_tokens)
    kept = background(table, asked.min_fires, asked.min_tokens)
    columns, alive = np.flatnonzero(kept), table.counts >= asked.min_events
    rows = np.flatnonzero(alive)
    own = [names[gene] for gene in columns.tolist()]
    terms = members(sets, own, asked.sizes)
    cut = lists.incidence()[rows][:, columns].tocsr()
    stratum = strata_of(table.tokens[columns])
    scores = shrunk(table)[rows][:, columns].tocsr()
    ranked = rank_lists(scores, terms.matrix, stratum, asked.shuffles, asked.seed)
    best = ranked.p.min(1, initial=1.0)

    def hits(drawn: sp.csr_matrix) -> np.ndarray:
        return annotated(drawn, terms, asked.alpha)

    null = shuffled_shares(cut, hits, asked.shuffles, asked.seed)
    matched = matched_shares(cut, hits, stratum, asked.shuffles, asked.seed)
    fired = np.flatnonzero(table.counts > 0)
    theirs = catalog.lists.incidence()[fired]
    found = published_annotations(theirs, rule, names, asked.alpha)
    given = shuffled_shares(
        theirs, lambda drawn: rule.annotated(drawn, asked.alpha), asked.shuffles, asked.seed
    )
    top = np.full(len(alive), -1)
    first = lists.rank == 1
    top[lists.feature[first]] = lists.gene[first]
    m = len(alive)
    features = catalog.features[["feature", "fires", "frequency"]].assign(
        alive=alive,
        listed=np.bincount(lists.feature, minlength=m),
        top_gene=top,
        published=_spread(found.annotated, fired, m, False),
        published_null=_spread(given.rate, fired, m, np.nan),
        annotated=_spread(hits(cut), rows, m, False),
        null=_spread(null.rate, rows, m, np.nan),
        ranked=_spread(adjust(best, "bh") < asked.alpha, rows, m, False),
    )
    significant = found.tests[found.tests.significant]
    return AnnotatedLayer(
        term_table(cut, terms, own, rows, asked.alpha, ranked),
        significant.assign(feature=fired[significant.feature.to_numpy(np.int64)]),
        features,
        {"published": given.share, "corrected": null.share, "matched": matched.share},
        sp.csr_matrix(sp.diags(alive.astype(np.float64)) @ lists.incidence()),
        len(columns),
        len(rows) * len(terms.term),
    )


def _spread(values: np.ndarray, rows: np.ndarray, n: int, empty: float | bool) -> np.ndarray:
    """``values`` at ``rows`` of an array (n,) of ``empty``."""
    found = np.full(n, empty)
    found[rows] = values
    return found


def layer_rows(layer: AnnotatedLayer) -> list[dict[str, object]]:
    """Rows of layers.csv, one per rule: rule, features, annotated, share, null (mean of the
    shuffles), null_low, null_high (95 %); matched and ranked for the corrected one."""
    of, rows = layer.features, []
    for rule, among, hit in (
        ("published", of.fires > 0, of.published),
        ("corrected", of.alive, of.annotated),
    ):
        row: dict[str, object] = {"rule": rule, "features": int(among.sum())}
        row |= {"annotated": int(hit.sum()), "share": _mean(hit[among].to_numpy(float))}
        row |= null_entries(layer.shares[rule])
        if rule == "corrected":
            row |= {"matched": _mean(layer.shares["matched"])}
            row |= {"ranked": _mean(of.ranked[among].to_numpy(float))}
        rows.append(row)
    return rows


def null_entries(shares: np.ndarray) -> dict[str, float | None]:
    """Mean and 95 % limits of draws (S,): null, null_low, null_high."""
    if not len(shares):
        return dict.fromkeys(("null", "null_low", "null_high"))
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"null": float(shares.mean()), "null_low": float(low), "null_high": float(high)}


@dataclass(frozen=True)
class Excess:
    """A share of features beyond what random draws give, over the layers of a model."""

    share: float
    """mean over layers"""
    least: float
    """lowest of the layers"""
    most: float
    """highest of the layers"""
    null: float
    """mean over draws of the layers' mean"""
    excess: float
    low: float
    """share less the 97.5 % point of the draws"""
    high: float
    """share less the 2.5 % point"""

    @classmethod
    def of(cls, shares: Sequence[float], draws: Sequence[np.ndarray]) -> Excess:
        """Of the shares of layers, and the draws (S,) of each."""
        share, null = float(np.mean(shares)), np.mean(draws, axis=0)
        low, high = np.quantile(null, [0.025, 0.975])
        mean = float(null.mean())
        return cls(
            *(share, min(shares), max(shares)),
            *(mean, share - mean, share - float(high), share - float(low)),
        )


@dataclass(frozen=True)
class EdgeShare:
    """Features whose genes are joined in a network."""

    found: float
    """share with more edges than the genes' degrees let expect, at q < alpha"""
    any: float
    """share with any edge, which was enough as published"""
    any_rewired: float
    """share with any edge in networks rewired with every degree kept"""


@dataclass(frozen=True)
class ModelAnnotation:
    """Numbers of one trained model."""

    layers: int
    """after the first block"""
    tests: int
    """alive features x admitted terms, over layers"""
    published: Excess
    corrected: Excess
    matched: float
    """mean share of lists whose genes are exchanged for others as frequent"""
    ranked: float
    """share that the ranks of all genes annotate"""
    edges: dict[str, EdgeShare]
    curve: Curve


def model_numbers(
    layers: Mapping[int, AnnotatedLayer],
    edges: Mapping[str, EdgeShare],
    *,
    resamples: int,
    seed: int,
) -> ModelAnnotation:
    """Numbers over the layers of a model (`after_a_block`)."""
    used = {layer: layers[layer] for layer in after_a_block(list(layers))}
    shares = {layer: {row["rule"]: row for row in layer_rows(one)} for layer, one in used.items()}

    def excess(rule: str) -> Excess:
        draws = [one.shares[rule] for one in used.values()]
        return Excess.of([float(str(row[rule]["share"])) for row in shares.values()], draws)

    return ModelAnnotation(
        len(used),
        sum(one.tests for one in used.values()),
        excess("published"),
        excess("corrected"),
        float(np.mean([row["corrected"]["matched"] for row in shares.values()])),
        float(np.mean([row["corrected"]["ranked"] for row in shares.values()])),
        dict(edges),
        curve(used, resamples, seed),
    )


def curve(layers: Mapping[int, AnnotatedLayer], resamples: int, seed: int) -> Curve:
    """The share by depth, as published and beyond shuffled lists, adjusted for firing frequency."""
    if (why := why_no_curve(len(layers))) is not None:
        return Curve(why)
    table = pd.concat([one.features.assign(layer=layer) for layer, one in layers.items()])
    given, alive = table[table.fires > 0], table[table.alive]
    published = depth_fit(
        given.layer.to_numpy(),
        given.published.to_numpy(float),
        blocks_of(given),
        resamples=resamples,
        seed=seed,
    )
    corrected = depth_fit(
        alive.layer.to_numpy(),
        alive.annotated.to_numpy(float) - alive.null.to_numpy(float),
        blocks_of(alive),
        alive.frequency.to_numpy(float),
        resamples=resamples,
        seed=seed,
    )
    return Curve.of(published, corrected)


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several with the same columns; those without a row do not set the types."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
