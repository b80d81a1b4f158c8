"""Edges of a gene network among the genes of a feature's list, against the number that the genes'
degrees alone let expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import poisson

from petriscope.enrich.tails import benjamini_hochberg
from petriscope.graph.edge_swaps import edge_swaps
from petriscope.progress import progress

_ROWS = 4096  # lists multiplied at a time


class EdgeTests(NamedTuple):
    """Edges among the genes of F lists; arrays (F,)."""

    edges: np.ndarray
    """int64 edges observed"""
    expected: np.ndarray
    """sum over the list's pairs of d_i d_j / 2m"""
    p: np.ndarray
    """P(X >= edges), X Poisson of that mean"""
    q: np.ndarray
    """Benjamini-Hochberg over the lists of a group"""
    rewired: np.ndarray
    """mean number of edges in networks rewired with every degree kept"""
    p_rewired: np.ndarray
    """share of the rewired networks with as many"""
    any_rewired: np.ndarray
    """share of the rewired networks with any"""


def network_graph(
    network: pd.DataFrame,
    names: Sequence[str],
    kept: np.ndarray | None = None,
    *,
    sorted_lookup: bool = False,
) -> sp.csr_matrix:
    """(G, G) symmetric 0/1 graph, without loops, of the pairs (columns source, target) among the
    genes ``names`` (G,), upper case; ``kept``: bool (G,) the genes whose edges count.

    sorted_lookup: as published for TRRUST, whose pairs are stored (regulator, target) and looked up
    in alphabetical order, so that a pair is missed where the regulator's name comes after its
    target's. Source: 04_annotate_features.py:152-176 of Biodyn-AI/bio-sae.
    """
    index = {name: gene for gene, name in enumerate(names) if kept is None or kept[gene]}
    source = network.source.astype(str).str.upper()
    target = network.target.astype(str).str.upper()
    known = (source.isin(index) & target.isin(index) & (source != target)).to_numpy(bool)
    if sorted_lookup:
        known &= (source < target).to_numpy(bool)
    rows = source[known].map(index).to_numpy(np.int64)
    columns = target[known].map(index).to_numpy(np.int64)
    both = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
    graph = sp.csr_matrix((np.ones(2 * len(rows)), both), shape=(len(names), len(names)))
    graph.data[:] = 1.0  # a pair given twice is one edge
    return graph


def edges_within(lists: sp.csr_matrix, graph: sp.csr_matrix) -> np.ndarray:
    """int64 (F,) edges of ``graph`` (G, G; symmetric) among the genes of each of ``lists``
    (F, G)."""
    parts = []
    for begin in range(0, lists.shape[0], _ROWS):
        part = lists[begin : begin + _ROWS]
        parts.append(np.asarray((part @ graph).multiply(part).sum(1)).ravel())
    return np.rint(np.concatenate([*parts, np.zeros(0)]) / 2).astype(np.int64)


def expected_edges(lists: sp.csr_matrix, graph: sp.csr_matrix) -> np.ndarray:
    """(F,) sum over pairs i < j of a list of d_i d_j / 2m, d the degrees of ``graph`` and m its
    edges: the configuration model of Newman (2010, section 13.2)."""
    degree = np.diff(graph.indptr).astype(np.float64)
    if not degree.sum():
        return np.zeros(lists.shape[0])
    first = np.asarray(lists @ degree)
    return np.asarray((first**2 - lists @ degree**2) / (2 * degree.sum()))


def edge_tests(
    lists: sp.csr_matrix,
    graph: sp.csr_matrix,
    group: np.ndarray,
    rewirings: int,
    seed: int,
    what: str = "rewirings",
) -> EdgeTests:
    """Test the edges of ``graph`` among the genes of each of ``lists`` (F, G); ``group``: int (F,)
    which lists make one family."""
    observed, expected = edges_within(lists, graph), expected_edges(lists, graph)
    total, above, some = (np.zeros(len(observed), np.int64) for _ in range(3))
    for draw in progress(range(rewirings), what, unit="network"):
        found = edges_within(lists, edge_swaps(graph, seed + draw))
        total += found
        above += found >= observed
        some += found > 0
    p = np.where(observed > 0, poisson.sf(observed - 1, expected), 1.0)
    q = np.ones(len(p))
    for one in np.unique(group):
        with np.errstate(divide="ignore"):
            q[group == one] = benjamini_hochberg(np.log(p[group == one]))
    return EdgeTests(
        observed,
        expected,
        p,
        q,
        total / max(rewirings, 1),
        (above + 1) / (rewirings + 1),
        some / max(rewirings, 1),
    )
