"""Every feature gets a place on a map: the first two principal components of what is known of all
features of all layers, a closed form with no choice but the start vector of the iteration.

The components are those of features x units where activations were measured (each unit's mean
activation as ranks over the features, with mean 0 and variance 1: a few strong features would
take the axes for themselves otherwise), else of features x genes (1 where a gene is in the list of
the feature). Near on the map means alike in that; it is no evidence for anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds
from scipy.stats import rankdata

from petriscope.atlas.build import AtlasTables

KEY = ["layer", "feature"]
SEED = 0
DECIMALS = 5
"""Coordinates are rounded to so many, which is less than a map shows and more than the arithmetic
of two machines differs by."""


class Layout(NamedTuple):
    """The tables `layout` and `layout_made` of an atlas."""

    places: pd.DataFrame
    made: pd.DataFrame


class Components(NamedTuple):
    """The first two principal components."""

    scores: np.ndarray
    """float64 (n, 2), centered; in each column the largest of its loadings is positive"""
    shares: tuple[float, float]
    """of the variance"""


def with_layout(tables: AtlasTables) -> AtlasTables:
    """The tables of an atlas with those of its map, where there is one."""
    found = layout(tables.activation, tables.feature_genes)
    return tables if found is None else replace(tables, layout=found.places, layout_made=found.made)


def map_shares(tables: AtlasTables) -> tuple[float, float] | None:
    """Shares of the variance along the axes of the map; None where the atlas has none."""
    made = tables.layout_made
    return (
        None if made is None else (float(made["share_x"].iloc[0]), float(made["share_y"].iloc[0]))
    )


def layout(
    activation: pd.DataFrame | None, feature_genes: pd.DataFrame | None = None
) -> Layout | None:
    """Places of all features with activations in two units at least, else with a gene list; None
    where there is neither.

    ``activation``: columns layer, feature, unit, mean; ``feature_genes``: layer, feature, gene.
    """
    if activation is not None and activation["unit"].nunique() >= 2:
        table = activation.pivot_table(index=KEY, columns="unit", values="mean", fill_value=0.0)
        if len(table) > 2:
            values = table.to_numpy(np.float64)
            method = (
                f"first two principal components of mean activation over {values.shape[1]} units, "
                "as ranks over all features, each unit standardized"
            )
            return _laid(table.index, standardized_components(values), method, values.shape)
    if feature_genes is not None and len(feature_genes):
        index, lists = gene_matrix(feature_genes)
        if min(lists.shape) > 2:
            genes = f"{lists.shape[1]:,} genes"
            method = f"first two principal components of which of {genes} each feature lists"
            return _laid(index, sparse_components(lists), method, lists.shape)
    return None


def _laid(index: pd.MultiIndex, found: Components, method: str, shape: tuple[int, ...]) -> Layout:
    places = index.to_frame(index=False)
    # + 0.0: a rounded -0.0 would be another byte than 0.0
    scores = np.round(found.scores, DECIMALS) + 0.0
    share_x, share_y = found.shares
    made = {
        "method": method,
        "seed": SEED,
        "parameters": f"{shape[0]:,} features x {shape[1]:,}",
        "share_x": round(share_x, DECIMALS),
        "share_y": round(share_y, DECIMALS),
    }
    return Layout(places.assign(x=scores[:, 0], y=scores[:, 1]), pd.DataFrame([made]))


def standardized_components(values: np.ndarray) -> Components:
    """Of the columns of ``values`` (n, p), each as its ranks (ties share theirs) with mean 0 and
    variance 1; columns that do not vary do not count."""
    ranks = rankdata(values, axis=0)
    ranks = ranks[:, ranks.std(0) > 0]
    if not ranks.shape[1]:
        return Components(np.zeros((len(values), 2)), (0.0, 0.0))
    z = (ranks - ranks.mean(0)) / ranks.std(0)
    power, axes = np.linalg.eigh(z.T @ z / len(z))
    axes = signed(axes[:, ::-1][:, :2])
    power = power[::-1]
    scores = np.zeros((len(z), 2))
    scores[:, : axes.shape[1]] = z @ axes
    first, second = (float(p) for p in np.append(power, 0.0)[:2] / power.sum())
    return Components(scores, (first, second))


def gene_matrix(feature_genes: pd.DataFrame) -> tuple[pd.MultiIndex, sp.csr_matrix]:
    """The features that have a list, and float64 (features, genes): 1 where a gene is in it."""
    pairs = feature_genes[[*KEY, "gene"]].drop_duplicates()
    row, index = pd.MultiIndex.from_frame(pairs[KEY]).factorize(sort=True)
    column, genes = pd.factorize(pairs["gene"], sort=True)
    shape = (len(index), len(genes))
    # factorize forgets the names of the levels
    named = index.set_names(KEY)
    return named, sp.csr_matrix((np.ones(len(pairs)), (row, column)), shape=shape)


def sparse_components(lists: sp.csr_matrix) -> Components:
    """Of the rows of a sparse matrix (n, p), n and p above 2, without filling it: its mean row is
    taken away inside the products (Lanczos iteration of scipy from a fixed start vector)."""
    n, _ = lists.shape
    mean = np.asarray(lists.mean(0)).ravel()
    centered = LinearOperator(
        lists.shape,
        matvec=lambda v: lists @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: lists.T @ u.ravel() - mean * u.sum(),
        dtype=np.float64,
    )
    start = np.random.default_rng(SEED).standard_normal(min(lists.shape))
    _, size, right = svds(centered, k=2, v0=start, solver="arpack")
    order = np.argsort(-size)
    axes = signed(right[order].T)
    total = float(lists.power(2).sum() - n * mean @ mean)
    first, second = (float(s) ** 2 / total if total > 0 else 0.0 for s in size[order])
    scores = lists @ axes - mean @ axes
    return Components(np.asarray(scores), (first, second))


def signed(axes: np.ndarray) -> np.ndarray:
    """Columns of (p, k) with the sign by which the entry of largest size, the first of equal ones,
    is positive."""
    size = np.round(np.abs(axes), DECIMALS)
    largest = np.take_along_axis(axes, size.argmax(0)[None], 0)
    return axes * np.where(largest < 0, -1.0, 1.0)
