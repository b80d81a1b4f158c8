"""Modules of one graph: how many of its links lie inside each and between each two, beside how many
the degrees of their nodes alone lead to expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.graph.coactivation import MODULE_EDGE, modules

PHI = "phi"
"""The graph of features whose firing correlates above `MODULE_EDGE`."""
SHOWN = 5
"""Labels that stand for a module."""


def link_counts(
    node: np.ndarray, other: np.ndarray, module: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Links within and between modules, and the number that chance gives. Both float64 (k, k),
    symmetric; on the diagonal links inside, each counted once.

    ``node``, ``other``: int (links,) ends, each link once and none from a node to itself;
    ``module``: int (n,) module of each node from 0 to k - 1, -1 for none. With m links and d the
    sum of the degrees in a module, chance gives d_a d_b / 2m between two and d_a^2 / 4m inside one:
    the configuration model (Newman 2006, PNAS 103:8577), in which links to nodes without a module
    count for the degrees too.
    """
    k = int(module.max(initial=-1)) + 1
    a, b = module[node], module[other]
    inside = (a >= 0) & (b >= 0)
    counts = np.zeros((k, k))
    np.add.at(counts, (a[inside], b[inside]), 1.0)
    counts = counts + counts.T
    ends = np.r_[a, b]
    degree = np.bincount(ends[ends >= 0], minlength=k).astype(np.float64)
    expected = np.outer(degree, degree) / max(2 * len(node), 1)
    for table in (counts, expected):
        table[np.diag_indices(k)] /= 2
    return counts, expected


Links = Mapping[tuple[str, int], tuple[np.ndarray, np.ndarray]]
"""Of a graph and layer, ends of the links between features, each once."""


class Communities(NamedTuple):
    """Modules of the firing correlations of some layers."""

    members: pd.DataFrame
    """columns graph, layer, feature, module"""
    links: Links


def correlated(together: Mapping[int, sp.csr_matrix], seed: int) -> Communities:
    """Of firing correlations by layer, each (m, m): the module of every feature that has one,
    numbered within the layer."""
    frames, links = [], {}
    for layer, of in together.items():
        module = modules(of, seed=seed)
        found = np.flatnonzero(module)
        frames.append(
            pd.DataFrame({"graph": PHI, "layer": layer, "feature": found, "module": module[found]})
        )
        links[PHI, layer] = strong_links(of, MODULE_EDGE)
    return Communities(pd.concat(frames, ignore_index=True), links)


def module_tables(
    links: Links,
    members: pd.DataFrame,
    labels: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What an atlas says of modules: the tables `modules` and `module_edges`.

    ``members``: columns graph, layer, feature, module; ``labels``: columns layer, feature, label.
    The density of a module, links inside of all pairs, is empty where the links of its graph are
    not given; so are its edges to others. Pairs of modules without a link have no row.
    """
    key = ["graph", "layer", "module"]
    if labels is None:
        labels = members.assign(label=None)[["layer", "feature", "label"]].drop_duplicates()
    known = members.merge(labels, on=["layer", "feature"], how="left")
    rows, edges = [], []
    for (graph, layer), part in known.groupby(["graph", "layer"], sort=True):
        numbers, number = np.unique(part["module"].to_numpy(), return_inverse=True)
        size = np.bincount(number)
        inside = np.full(len(numbers), np.nan)
        ends = links.get((str(graph), int(layer)))
        if ends is not None:
            last = max((int(end.max(initial=-1)) for end in ends), default=-1)
            module = np.full(max(last, int(part["feature"].max())) + 1, -1)
            module[part["feature"].to_numpy()] = number
            counts, expected = link_counts(*ends, module)
            inside = counts.diagonal()
            one, other = np.nonzero(np.triu(counts, k=1))
            edges.append(
                pd.DataFrame(
                    {
                        "graph": graph,
                        "layer": layer,
                        "module": numbers[one],
                        "other_module": numbers[other],
                        "weight": counts[one, other],
                        "null_weight": expected[one, other],
                    }
                )
            )
        for i, name in enumerate(numbers):
            most = part["label"][number == i].value_counts().head(SHOWN)
            text = "; ".join(f"{label} ({n})" for label, n in most.items())
            pairs = size[i] * (size[i] - 1) / 2
            density = inside[i] / pairs if pairs else np.nan
            rows.append((graph, layer, name, size[i], text or None, density))
    modules = pd.DataFrame(rows, columns=[*key, "size", "label", "density"])
    columns = [*key, "other_module", "weight", "null_weight"]
    found = pd.concat(edges, ignore_index=True) if edges else pd.DataFrame(columns=columns)
    return modules, found


def strong_links(values: sp.csr_matrix, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the pairs of a symmetric matrix whose value is above ``least``, each pair once."""
    pairs = sp.triu(values, k=1).tocoo()
    strong = pairs.data > least
    return pairs.row[strong].astype(np.int64), pairs.col[strong].astype(np.int64)
