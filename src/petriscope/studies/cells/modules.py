"""Modules of features that fire together: as published (pointwise mutual information), and beyond
what genes, or genes in each cell type, make of it; how stable they are, and against graphs dealt
out anew.

The published graph joins features by how much more often they fire together than if they knew
nothing of each other (BS:src/07_feature_coactivation.py). Two features of one gene do so without
any context. The corrected graphs ask for more than the gene gives (`graph.within_strata`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.graph.bipartite import incidence
from petriscope.graph.cofiring import cofiring
from petriscope.graph.leiden import adjusted_rand, cohesion, leiden, modularity
from petriscope.graph.rewired import rewired
from petriscope.graph.within_strata import Excess, excess
from petriscope.sae.codes import Codes

SMALLEST = 3
"""Features of a module, at least, as published."""
NONE = -1
PMI, GENE, GENE_TYPE = "pmi", "gene", "gene_celltype"
"""The graphs: as published, beyond genes, beyond genes in each cell type."""


def pointwise(
    together: np.ndarray, first: np.ndarray, second: np.ndarray, tokens: int
) -> np.ndarray:
    """log2 of p_ij / (p_i p_j), float64 (m, m'): minus infinity where two never meet.

    ``together``: int (m, m') tokens on which both fire; ``first`` (m,), ``second`` (m',): on which
    each does; of ``tokens`` in all.
    """
    apart = np.outer(first, second).astype(np.float64)
    ratio = np.divide(together * float(tokens), apart, out=np.zeros_like(apart), where=apart > 0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(ratio))


def published_coactivation(
    codes: Codes, *, pmi: float = 2.0, min_count: int = 50, together: np.ndarray | None = None
) -> pd.DataFrame:
    """Columns feature, other (feature < other), pmi, count: pairs that fire together on
    ``min_count`` tokens and have a PMI of ``pmi``, at least; by falling PMI. ``together``: what
    `cofiring` counts, where that is known.

    The authors count all k indices of a token, those whose activation is zero too: give codes that
    hold them to count the same. Source: BS:src/07_feature_coactivation.py:107-160.
    """
    together = cofiring(codes) if together is None else together
    own = together.diagonal()
    values = pointwise(together, own, own, codes.n)
    kept = np.triu((together >= min_count) & (values >= pmi), k=1)
    feature, other = np.nonzero(kept)
    columns = {"feature": feature, "other": other, "pmi": values[kept], "count": together[kept]}
    found = pd.DataFrame(columns)
    return found.sort_values("pmi", ascending=False, kind="stable", ignore_index=True)


def as_graph(edges: pd.DataFrame, features: int, weight: str) -> sp.csr_matrix:
    """Symmetric weights (features, features) of columns feature, other and ``weight``."""
    ends = (
        np.r_[edges.feature.to_numpy(), edges.other.to_numpy()],
        np.r_[edges.other.to_numpy(), edges.feature.to_numpy()],
    )
    values = np.tile(edges[weight].to_numpy(np.float64), 2)
    return sp.csr_matrix((values, ends), shape=(features, features))


def published_modules(edges: pd.DataFrame, features: int, seed: int = 42) -> np.ndarray:
    """Module of each feature, int64 (features,): 0, 1, ... from the largest, -1 for none.

    Leiden at resolution 1 on the PMI of `published_coactivation`; modules have three features at
    least. Source: BS:src/07_feature_coactivation.py:166-215.
    """
    return large(leiden(as_graph(edges, features, "pmi"), seed=seed))


def large(labels: np.ndarray) -> np.ndarray:
    """Labels from the largest community on, with those of fewer than `SMALLEST` features -1."""
    return np.where(np.bincount(labels)[labels] >= SMALLEST, labels, NONE)


def excess_within(codes: Codes, stratum: np.ndarray, together: np.ndarray | None = None) -> Excess:
    """Pairs of features of one layer against what the strata of their tokens give. ``together``:
    what `cofiring` counts, where that is known."""
    stratum = np.unique(stratum, return_inverse=True)[1]
    counted = incidence(codes, stratum, int(stratum.max(initial=-1)) + 1)
    return excess(cofiring(codes) if together is None else together, counted, counted)


def excess_edges(found: Excess, *, z: float, min_count: int) -> pd.DataFrame:
    """Columns feature, other (feature < other), z, count, expected: pairs with ``z`` and
    ``min_count`` tokens together, at least."""
    with np.errstate(invalid="ignore"):
        kept = np.triu((found.z >= z) & (found.observed >= min_count), k=1)
    feature, other = np.nonzero(kept)
    parts = {"z": found.z[kept], "count": found.observed[kept], "expected": found.expected[kept]}
    return pd.DataFrame({"feature": feature, "other": other, **parts})


def modules_of(features: pd.DataFrame) -> np.ndarray:
    """int (F,) block of each feature of columns layer, feature and module: features of one module
    of a layer depend on one another; one in none stands alone."""
    alone = features.module < 0
    block = features.module.where(~alone, features.feature)
    parts = pd.DataFrame({"layer": features.layer, "alone": alone, "block": block})
    return parts.groupby(list(parts)).ngroup().to_numpy()


class Asked(NamedTuple):
    """How a graph is judged."""

    resolutions: Sequence[float]
    seeds: int
    """of Leiden"""
    rewirings: int
    seed: int


class Communities(NamedTuple):
    """Leiden's communities of a graph at resolution 1. Arrays (features,)."""

    labels: np.ndarray
    """int64"""
    joined: np.ndarray
    """bool: has an edge"""

    @classmethod
    def of(cls, weights: sp.csr_matrix, seed: int) -> Communities:
        """Of weights (features, features)."""
        return cls(leiden(weights, seed=seed), np.diff(weights.indptr) > 0)

    @property
    def modules(self) -> np.ndarray:
        """int64 (features,) module, -1 for none."""
        return large(self.labels)


@dataclass(frozen=True)
class Judged:
    """Modules of one graph."""

    communities: Communities
    """of the first seed"""
    modularity: float
    """median over seeds of Leiden; NaN without edges, as the next two"""
    rewired: np.ndarray
    """(rewirings,) modularity of the communities of graphs dealt out anew"""
    excess: np.ndarray
    """(features,) cohesion, less its mean in graphs dealt out anew; 0 without an edge"""
    agreement: float
    """mean adjusted Rand index over pairs of seeds, of the features with an edge"""
    sweep: pd.DataFrame
    """columns resolution, modules, covered (features in modules), modularity"""


def judge(weights: sp.csr_matrix, asked: Asked) -> Judged:
    """Communities of a graph (features, features), their stability and their controls."""
    first = Communities.of(weights, asked.seed)
    joined = first.joined
    runs = [first.labels]
    runs += [leiden(weights, seed=asked.seed + i) for i in range(1, asked.seeds)]
    sweep = [_swept(weights, resolution, asked.seed) for resolution in asked.resolutions]
    if not joined.any():
        empty = np.full(asked.rewirings, np.nan)
        none = np.zeros(len(joined))
        return Judged(first, np.nan, empty, none, np.nan, pd.DataFrame(sweep))
    graphs = [rewired(weights, seed=asked.seed + i) for i in range(asked.rewirings)]
    dealt = [(graph, leiden(graph, seed=asked.seed)) for graph in graphs]
    by_chance = np.mean([cohesion(*one) for one in dealt], axis=0)
    return Judged(
        first,
        float(np.median([modularity(weights, labels) for labels in runs])),
        np.array([modularity(*one) for one in dealt]),
        cohesion(weights, first.labels) - by_chance,
        mean_agreement([labels[joined] for labels in runs]),
        pd.DataFrame(sweep),
    )


def _swept(weights: sp.csr_matrix, resolution: float, seed: int) -> dict[str, float]:
    labels = leiden(weights, resolution, seed)
    found = large(labels)
    return {
        "resolution": resolution,
        "modules": int(found.max(initial=NONE)) + 1,
        "covered": int((found >= 0).sum()),
        "modularity": modularity(weights, labels, resolution),
    }


def mean_agreement(partitions: Sequence[np.ndarray]) -> float:
    """Mean adjusted Rand index over all pairs."""
    return float(np.mean([adjusted_rand(one, other) for one, other in combinations(partitions, 2)]))


def agreement_across(one: Communities, other: Communities, match: np.ndarray) -> float:
    """Adjusted Rand index of the modules of two dictionaries, over matched features that have an
    edge in both graphs; NaN where fewer than two do.

    ``match``: int (features,) number in the other dictionary, -1 for none.
    """
    kept = np.flatnonzero((match >= 0) & one.joined)
    kept = kept[other.joined[match[kept]]]
    if len(kept) < 2:
        return float("nan")
    return adjusted_rand(one.labels[kept], other.labels[match[kept]])


def surviving(published: pd.DataFrame, corrected: pd.DataFrame) -> float:
    """Share of the published edges that the corrected graph has; NaN without any."""
    if published.empty:
        return float("nan")
    pairs = pd.MultiIndex.from_frame(corrected[["feature", "other"]])
    return float(pd.MultiIndex.from_frame(published[["feature", "other"]]).isin(pairs).mean())


def graph_row(name: str, found: Judged, edges: pd.DataFrame, alive: int) -> Mapping[str, object]:
    """What a table says of one graph."""
    modules = found.communities.modules
    covered, number = int((modules >= 0).sum()), int(modules.max(initial=NONE)) + 1
    drawn = found.rewired
    return {
        "graph": name,
        "alive": alive,
        "joined": int(found.communities.joined.sum()),
        "edges": len(edges),
        "modules": number,
        "least_modules": int(found.sweep.modules.min()),
        "most_modules": int(found.sweep.modules.max()),
        "covered": covered,
        "coverage": covered / alive if alive else np.nan,
        "modularity": found.modularity,
        "rewired": float(np.mean(drawn)),
        "rewired_most": float(np.max(drawn)),
        "agreement": found.agreement,
    }
