"""Features of one layer that depend on those of another: as published, by the largest PMI; and
beyond what the gene at the token gives, against permutations within genes.

A feature of any layer that is a matter of the gene fires on the tokens of the gene, and so does its
counterpart in the next layer: their PMI is large without any computation between them, and the
largest over thousands of partners is larger still. Given the gene, a link must show from cell to
cell: permuting the tokens of a gene over its cells leaves the first and destroys the second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.graph.cofiring import cofiring
from petriscope.graph.within_strata import Strongest, WithinStrata, information, shuffled
from petriscope.sae.codes import Codes
from petriscope.studies.cells.modules import pointwise

KEPT = 50
"""Dependencies of a feature that are kept, as published."""
TOP = 5
LINKS = 8
"""Partners of a feature that are kept, beyond genes."""
MOST = 500_000
"""Tokens on which links are counted, as published."""


class PublishedHighways(NamedTuple):
    """Links between two layers by the published rule."""

    features: pd.DataFrame
    """columns feature, count, dependencies (partners ever met), other, max_pmi, mean_pmi_top5, by
    falling max_pmi"""
    links: pd.DataFrame
    """columns feature, other, pmi, count: the 50 with the largest PMI of each, falling"""
    alive: int
    """features of the first layer that fire"""
    highways: int
    """features whose largest PMI exceeds ``pmi``"""


def published_highways(
    first: Codes, second: Codes, *, pmi: float = 3.0, min_count: int = 100
) -> PublishedHighways:
    """Dependencies of the features of ``first`` on those of ``second``, codes of the same tokens.

    Both fire on ``min_count`` tokens or more; any token together makes a dependency. Source:
    BS:src/11_computational_graph.py:92-190 (Geneformer).
    """
    together = cofiring(first, second)
    own, other = (np.bincount(codes.indices, minlength=codes.m) for codes in (first, second))
    values = pointwise(together, own, other, first.n)
    met = (together > 0) & (own >= min_count)[:, None] & (other >= min_count)
    feature, partner = np.nonzero(met)
    links = pd.DataFrame(
        {
            "feature": feature,
            "other": partner,
            "pmi": values[met],
            "count": together[met],
        }
    ).sort_values(["feature", "pmi"], ascending=[True, False], kind="stable", ignore_index=True)
    grouped = links.groupby("feature", sort=True)
    features = pd.DataFrame(
        {
            "count": own[list(grouped.groups)],
            "dependencies": grouped.size(),
            "other": grouped.other.first(),
            "max_pmi": grouped.pmi.first(),
            "mean_pmi_top5": grouped.head(TOP).groupby("feature").pmi.mean(),
        }
    ).reset_index()
    features = features.sort_values("max_pmi", ascending=False, kind="stable", ignore_index=True)
    kept = grouped.head(KEPT).reset_index(drop=True)
    return PublishedHighways(
        features, kept, int((own > 0).sum()), int((features.max_pmi > pmi).sum())
    )


class Connected(NamedTuple):
    """Coverage of two layers by the published rule for scGPT."""

    edges: int
    upstream: float
    """share of the features of the first layer that fire which have an edge"""
    downstream: float


def published_coverage(
    first: Codes, second: Codes, *, pmi: float = 3.0, min_count: int = 20
) -> Connected:
    """Features with an edge of PMI ``pmi`` and ``min_count`` tokens together, at least.

    Source: BS:scgpt_src/11_computational_graph.py:120-165. The 63 % of the paper is scGPT's
    downstream coverage of layers 8 and 11.
    """
    together = cofiring(first, second)
    own, other = (np.bincount(codes.indices, minlength=codes.m) for codes in (first, second))
    joined = (together >= min_count) & (pointwise(together, own, other, first.n) >= pmi)
    shares = [
        float(joined.any(axis).sum() / max(1, (count > 0).sum()))
        for axis, count in ((1, own), (0, other))
    ]
    return Connected(int(joined.sum()), *shares)


class Linked(NamedTuple):
    """Links between two sets of features beyond what strata give."""

    test: WithinStrata
    nulls: np.ndarray
    """(permutations, m) largest z over partners"""
    found: Strongest
    away: Strongest
    """the same of tokens dealt out anew among the cells of their gene: no more than alpha should
    remain. (A draw that leaves no token in its place is no permutation as the others are: of two
    tokens it swaps both, always, and pairs that never fire together would.)"""

    def share(self, alpha: float) -> float:
        """Share of the features that fire often enough which pass maxT; NaN without any."""
        return _share(self.found, self.test.often, alpha)

    def share_away(self, alpha: float) -> float:
        """The same, of tokens dealt out anew."""
        return _share(self.away, self.test.often, alpha)

    def passing(self, alpha: float) -> np.ndarray:
        """bool (m,)."""
        return np.nan_to_num(self.found.p, nan=1.0) < alpha


def _share(found: Strongest, often: np.ndarray, alpha: float) -> float:
    passes = np.nan_to_num(found.p, nan=1.0) < alpha
    return float(passes[often].mean()) if often.any() else float("nan")


def linked(
    first: Codes,
    second: Codes,
    gene: np.ndarray,
    *,
    min_count: int,
    permutations: int,
    seed: int,
    what: str | None = None,
) -> Linked:
    """Test each feature of ``first`` against all of ``second``, codes of the same tokens, given the
    ``gene`` (n,) of each. ``what``: of the progress bar."""
    test = WithinStrata(first, second, gene, min_count=min_count)
    nulls = test.nulls(permutations, seed, what)
    order = shuffled(test.stratum, np.random.default_rng([seed, 1]))
    away = test.strongest(nulls, test.counter.counts(order))
    return Linked(test, nulls, test.strongest(nulls), away)


def feature_table(links: Linked, first: Codes, second: Codes, gene: np.ndarray) -> pd.DataFrame:
    """A row per feature that fires often enough: feature, tokens, other_feature (-1: none), z, p,
    null_95, bits and bits_given_gene (mutual information with the partner, per token)."""
    feature = np.flatnonzero(links.test.often)
    found = links.found
    partner = found.partner[feature]
    bits = np.full((2, len(feature)), np.nan)
    has = partner >= 0
    pairs = np.stack([feature[has], partner[has]], axis=1)
    stratum = np.unique(gene, return_inverse=True)[1]
    bits[0, has] = information(first, second, pairs)
    bits[1, has] = information(first, second, pairs, stratum)
    return pd.DataFrame(
        {
            "feature": feature,
            "tokens": np.bincount(first.indices, minlength=first.m)[feature],
            "other_feature": partner,
            "z": found.z[feature],
            "p": found.p[feature],
            "null_95": found.null_95[feature],
            "bits": bits[0],
            "bits_given_gene": bits[1],
        }
    )


def link_table(links: Linked) -> pd.DataFrame:
    """The partners of each feature with the largest z, `LINKS` at most: columns feature,
    other_feature, z, tokens (together), expected, p (maxT over partners)."""
    test = links.test
    z = np.where(test.used, test.excess.z, -np.inf)
    best = np.argsort(-z, axis=1, kind="stable")[:, :LINKS]
    feature = np.repeat(np.arange(len(z)), best.shape[1])
    other = best.ravel()
    kept = z[feature, other] > 0
    feature, other = feature[kept], other[kept]
    values = z[feature, other]
    exceed = (links.nulls[:, feature] >= values - 1e-9).sum(axis=0)
    return pd.DataFrame(
        {
            "feature": feature,
            "other_feature": other,
            "z": values,
            "tokens": test.excess.observed[feature, other],
            "expected": test.excess.expected[feature, other],
            "p": (1 + exceed) / (1 + len(links.nulls)),
        }
    )
