"""Modules of each layer for the page: their features, their terms beside what chance gives, the
links between them beside what degrees alone give, and where they are drawn.

An atlas without a table of modules has them in the column ``module`` of its features.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import networkx as nx
import numpy as np
from scipy.stats import hypergeom

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE
from petriscope.web.digits import DIGITS

PHI = "phi"
"""The graph of correlated firing: whose modules a column holds."""
TERMS, LABELS = 12, 5
"""terms kept of a module, and labels named where the atlas names none"""
SEED, ROUNDS = 0, 100
"""of the layout"""
Edges = list[tuple[int, int, float, float]]
"""Two modules, links between them, and what the degrees of their features lead to expect."""
Terms = dict[int, list[tuple[str, str]]]
"""The terms for which each feature is enriched: kind and name."""


class Graph:
    """One graph of features: its modules by layer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.modules: dict[int, dict[int, dict[str, Any]]] = {}
        """layer → module → size, label, density, stability and members (identifiers)"""
        self.edges: dict[int, Edges] = {}
        """by layer; a layer without is absent"""

    def module_of(self, layer: int) -> dict[int, int]:
        """Feature → its module, of a layer."""
        found = self.modules.get(layer, {})
        return {i: module for module, of in found.items() for i in of["members"]}


def graphs_of(atlas: Atlas) -> list[Graph]:
    """The graphs whose modules the atlas holds; first that of the column ``module``."""
    found: dict[str, Graph] = {}
    if "modules" in atlas.tables:
        known = {row.number: row for row in atlas.modules()}
        for number, row in known.items():
            graph = found.setdefault(row.graph, Graph(row.graph))
            of = {**row._asdict(), "members": atlas.members(number)}
            graph.modules.setdefault(row.layer, {})[row.module] = of
        if "module_edges" in atlas.tables:
            sql = "SELECT number, other, weight, null_weight FROM module_edges ORDER BY 1, 2"
            for number, other, weight, chance in atlas.select(sql):
                one = known[number]
                edge = (one.module, known[other].module, weight, chance)
                found[one.graph].edges.setdefault(one.layer, []).append(edge)
    elif "module" in atlas.filled:
        graph = found[PHI] = Graph(PHI)
        sql = "SELECT id, layer, module FROM features WHERE module IS NOT NULL ORDER BY id"
        for identifier, layer, module in atlas.select(sql):
            nothing: dict[str, Any] = dict.fromkeys(("size", "label", "density", "stability"))
            modules = graph.modules.setdefault(layer, {})
            modules.setdefault(module, {**nothing, "members": []})["members"].append(identifier)
    return [found[name] for name in sorted(found, key=lambda name: name != "gene")]


def summary(graphs: list[Graph]) -> list[tuple[str, int, int]]:
    """Graph, layer and number of its modules: what the first chunk says of them."""
    return [(g.name, layer, len(of)) for g in graphs for layer, of in sorted(g.modules.items())]


def module_chunks(
    atlas: Atlas, graphs: list[Graph], layer: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and value of each chunk ``graph/modules-GRAPH-LAYER`` of a layer."""
    of_layer = _Layer(atlas, layer)
    for graph in graphs:
        if layer in graph.modules:
            yield f"graph/modules-{graph.name}-{layer}", _chunk(of_layer, graph)


class _Layer:
    """What the modules of every graph of a layer are held against."""

    def __init__(self, atlas: Atlas, layer: int) -> None:
        first = layer * LAYER_STRIDE
        self.layer, ends = layer, (first, first + LAYER_STRIDE)
        sql = "SELECT id, label, density, alive FROM features WHERE id >= ? AND id < ?"
        rows = atlas.select(sql, ends)
        self.shown = {identifier: (label, density) for identifier, label, density, _ in rows}
        self.alive = {row[0] for row in rows if row[3] or "alive" not in atlas.filled}
        """Of which modules are made."""
        sql = (
            "SELECT DISTINCT a.id, t.kind, t.name FROM annotations a JOIN terms t ON "
            "t.term = a.term WHERE a.id >= ? AND a.id < ? AND NOT COALESCE(a.q, 0) >= ?"
        )
        self.terms: Terms = defaultdict(list)
        for identifier, kind, name in atlas.select(sql, (*ends, atlas.thresholds.alpha)):
            if identifier in self.alive:
                self.terms[identifier].append((kind, name))
        self.having = Counter(term for terms in self.terms.values() for term in terms)


def _chunk(of: _Layer, graph: Graph) -> dict[str, Any]:
    modules, edges = graph.modules[of.layer], graph.edges.get(of.layer, [])
    place = positions(sorted(modules), edges)
    found = []
    for number, one in sorted(modules.items()):
        members = one["members"]
        x, y = place[number]
        shown = [of.shown.get(i, (None, None)) for i in members]
        found.append(
            {
                "graph": graph.name,
                "layer": of.layer,
                "module": number,
                "size": len(members) if one["size"] is None else one["size"],
                "label": one["label"] or _label(label for label, _ in shown),
                "density": one["density"],
                "stability": one["stability"],
                "members": members,
                "labels": [label for label, _ in shown],
                "densities": [_short(density) for _, density in shown],
                "terms": terms_of(members, of.terms, of.having, of.alive),
                "x": x,
                "y": y,
            }
        )
    return {"layer": of.layer, "graph": graph.name, "modules": found, "edges": edges}


def terms_of(
    members: list[int], terms: Terms, having: Counter[tuple[str, str]], alive: set[int]
) -> list[list[Any]]:
    """Kind, term, features of the module that have it, of the layer, expected of a module drawn at
    random among the layer's alive features, and the hypergeometric p of at least as many; by p."""
    drawn = len(alive.intersection(members))
    inside = Counter(term for i in members for term in terms.get(i, ()))
    found: list[list[Any]] = []
    counts = np.array(list(inside.values()), int)
    of_layer = np.array([having[term] for term in inside], int)
    tails = hypergeom.sf(counts - 1, len(alive), of_layer, drawn).tolist()
    for (term, count), p in zip(inside.items(), tails):
        expected = drawn * having[term] / len(alive)
        found.append([*term, count, having[term], _short(expected), _short(p)])
    found.sort(key=lambda row: (row[5], -row[2], row[0], row[1]))
    return found[:TERMS]


def positions(modules: list[int], edges: Edges) -> dict[int, tuple[float, float]]:
    """A place (0 to 1) for each module: spring layout of the links, weighted by how much heavier
    they are than chance gives, from a fixed seed."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(modules)
    graph.add_weighted_edges_from((a, b, n / chance) for a, b, n, chance in edges if chance > 0)
    found = nx.spring_layout(graph, seed=SEED, iterations=ROUNDS)
    at = np.array([found[module] for module in modules]).reshape(-1, 2)
    if len(at) < 2:
        return dict.fromkeys(modules, (0.5, 0.5))
    size = np.ptp(at, axis=0)
    scaled = np.round((at - at.min(0)) / np.where(size > 0, size, 1), 3)
    return {module: (float(x), float(y)) for module, (x, y) in zip(modules, scaled)}


def _label(labels: Iterable[str | None]) -> str | None:
    most = Counter(label for label in labels if label).most_common(LABELS)
    return "; ".join(f"{label} ({n})" for label, n in most) or None


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
