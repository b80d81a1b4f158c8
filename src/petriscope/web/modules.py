"""Modules of each layer for the page: their features, their terms beside what chance gives, the
links between them beside what degrees alone give, and where they are drawn.

A study without a table of modules has them in the column ``module`` of its features; the graph
behind is that of correlated firing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
from scipy.stats import hypergeom

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE
from petriscope.web.digits import DIGITS

COACTIVATION = "coactivation"
"""Kind of `similar` whose pairs are the links between modules, and the graph of modules that a
column holds."""
TERMS, LABELS = 12, 5
"""terms kept of a module, and labels named where the atlas names none"""
SEED, TICKS = 0, 100
"""of the layout"""
Links = list[tuple[int, int, float]]


class Graph:
    """One graph of features: its modules by layer."""

    def __init__(self, name: str, modules: dict[int, dict[int, dict[str, Any]]]) -> None:
        self.name = name
        self.modules = modules
        """layer → module → size, label, density, stability and members (identifiers)"""

    def module_of(self, layer: int) -> dict[int, int]:
        """Feature → its module, of a layer."""
        found = self.modules.get(layer, {})
        return {i: module for module, of in found.items() for i in of["members"]}


def graphs_of(atlas: Atlas) -> list[Graph]:
    """The graphs whose modules the atlas holds, that of the column ``module`` first."""
    found: dict[str, dict[int, dict[int, dict[str, Any]]]] = {}
    if "modules" in atlas.tables:
        for row in atlas.modules():
            of = row._asdict() | {"members": atlas.members(row.number)}
            found.setdefault(row.graph, {}).setdefault(row.layer, {})[row.module] = of
    elif "module" in atlas.filled:
        layers = found.setdefault(COACTIVATION, {})
        sql = "SELECT id, layer, module FROM features WHERE module IS NOT NULL ORDER BY id"
        for identifier, layer, module in atlas.select(sql):
            nothing = dict.fromkeys(("size", "label", "density", "stability"))
            of = layers.setdefault(layer, {}).setdefault(module, {**nothing, "members": []})
            of["members"].append(identifier)
    names = sorted(found, key=lambda name: name != "gene")
    return [Graph(name, found[name]) for name in names]


def summary(graphs: list[Graph]) -> list[tuple[str, int, int]]:
    """Graph, layer and number of its modules: what the first chunk says of them."""
    return [
        (graph.name, layer, len(of)) for graph in graphs for layer, of in sorted(graph.modules.items())
    ]


def module_chunks(atlas: Atlas, graphs: list[Graph]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and value of each chunk ``graph/modules-GRAPH-LAYER``."""
    for layer in sorted({layer for graph in graphs for layer in graph.modules}):
        of_layer = _Layer(atlas, layer)
        for graph in graphs:
            if layer in graph.modules:
                name = f"graph/modules-{graph.name}-{layer}"
                yield name, _chunk(of_layer, graph.name, graph.modules[layer])


class _Layer:
    """What the modules of every graph of a layer are held against."""

    def __init__(self, atlas: Atlas, layer: int) -> None:
        first = layer * LAYER_STRIDE
        self.layer, ends = layer, (first, first + LAYER_STRIDE)
        sql = "SELECT id, label, density, alive FROM features WHERE id >= ? AND id < ? ORDER BY id"
        rows = atlas.select(sql, ends)
        self.shown = {identifier: (label, density) for identifier, label, density, _ in rows}
        self.alive = {row[0] for row in rows if row[3] or "alive" not in atlas.filled}
        """Of which modules are made."""
        sql = (
            "SELECT DISTINCT a.id, t.kind, t.name FROM annotations a JOIN terms t ON "
            "t.term = a.term WHERE a.id >= ? AND a.id < ? AND NOT COALESCE(a.q, 0) >= ? "
            "ORDER BY t.kind, t.name, a.id"
        )
        self.terms: dict[tuple[str, str], set[int]] = {}
        for identifier, kind, name in atlas.select(sql, (*ends, atlas.thresholds.alpha)):
            if identifier in self.alive:
                self.terms.setdefault((kind, name), set()).add(identifier)
        sql = (
            "SELECT MIN(id, other), MAX(id, other), MAX(value) FROM similar WHERE kind = ? AND "
            "id >= ? AND id < ? AND other >= ? AND other < ? AND id <> other GROUP BY 1, 2 "
            "ORDER BY 1, 2"
        )
        self.links: Links = atlas.select(sql, (COACTIVATION, *ends, *ends))


def _chunk(of: _Layer, graph: str, modules: dict[int, dict[str, Any]]) -> dict[str, Any]:
    module_of = {i: number for number, one in modules.items() for i in one["members"]}
    edges = links_between(module_of, of.links)
    place = positions(sorted(modules), edges)
    strength: Counter[int] = Counter()
    for a, b, value in of.links:
        if a in module_of and module_of[a] == module_of.get(b):
            strength[a] += value
            strength[b] += value
    found = []
    for number, one in sorted(modules.items()):
        members = sorted(one["members"], key=lambda i: (-strength[i], i))
        x, y = place[number]
        shown = [of.shown.get(i, (None, None)) for i in members]
        found.append(
            {
                "graph": graph,
                "layer": of.layer,
                "module": number,
                "size": len(members) if one["size"] is None else one["size"],
                "label": one["label"] or _label([label for label, _ in shown]),
                "density": one["density"],
                "stability": one["stability"],
                "members": members,
                "labels": [label for label, _ in shown],
                "densities": [_short(density) for _, density in shown],
                "terms": terms_of(set(members), of.terms, of.alive),
                "x": x,
                "y": y,
            }
        )
    return {"layer": of.layer, "graph": graph, "modules": found, "edges": edges}


def terms_of(
    members: set[int], terms: dict[tuple[str, str], set[int]], alive: set[int]
) -> list[list[Any]]:
    """Kind, term, features of the module that have it, of the layer, expected of a module drawn at
    random among the layer's alive features, and the hypergeometric p of at least as many; by p."""
    drawn, found = len(members & alive), []
    for (kind, name), having in terms.items():
        inside = len(having & members)
        if inside:
            p = hypergeom.sf(inside - 1, len(alive), len(having), drawn)
            expected = drawn * len(having) / len(alive)
            found.append([kind, name, inside, len(having), _short(expected), _short(float(p))])
    found.sort(key=lambda row: (row[5], -row[2], row[0], row[1]))
    return found[:TERMS]


def links_between(module_of: dict[int, int], links: Links) -> list[list[Any]]:
    """Number of links between each two modules (a < b), and what their degrees alone give: the
    links of a times those of b over all, in the configuration model."""
    joined = [(module_of[a], module_of[b]) for a, b, _ in links if a in module_of and b in module_of]
    count = Counter((min(pair), max(pair)) for pair in joined)
    degree = Counter(module for pair in joined for module in pair)
    return [
        [a, b, n, _short(degree[a] * degree[b] / (2 * len(joined)))]
        for (a, b), n in sorted(count.items())
        if a != b
    ]


def positions(modules: list[int], edges: list[list[Any]]) -> dict[int, tuple[float, float]]:
    """A place (0 to 1) for each module: spring layout of the links, from a fixed seed."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(modules)
    graph.add_weighted_edges_from((a, b, n / chance) for a, b, n, chance in edges if chance)
    found = nx.spring_layout(graph, seed=SEED, iterations=TICKS)
    at = np.array([found[module] for module in modules]).reshape(-1, 2)
    low = at.min(0, initial=np.inf) if len(at) else np.zeros(2)
    size = np.where(np.ptp(at, axis=0) > 0, np.ptp(at, axis=0), 1) if len(at) else np.ones(2)
    scaled = np.round((at - low) / size, 3) if len(at) > 1 else np.full((len(at), 2), 0.5)
    return {module: (float(x), float(y)) for module, (x, y) in zip(modules, scaled)}


def _label(labels: list[str | None]) -> str | None:
    most = Counter(label for label in labels if label).most_common(LABELS)
    return "; ".join(f"{label} ({n})" for label, n in most) or None


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
