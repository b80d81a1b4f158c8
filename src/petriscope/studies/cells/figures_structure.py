"""Figures of the structure of features, drawn from the tables of stages svd, modules, highways,
persistence and crossmodel: each quantity beside its nulls and its ceiling."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petriscope.figures.style import CONTROL, CORRECTED, LINEAGES, PUBLISHED, nothing, panels
from petriscope.studies.cells.chosen import FIRST
from petriscope.studies.cells.modules import GENE, PMI

CEILING = LINEAGES[1]
ENERGIES = {
    "features": (CORRECTED, "-"),
    "second seed": (CEILING, "--"),
    "data covariance": (PUBLISHED, "-"),
    "uniform": (CONTROL, ":"),
}
FVUS = {
    "fvu": (CORRECTED, "dictionary"),
    "fvu_strongest": (LINEAGES[2], "as many axes, chosen by token"),
    "fvu_leading": (PUBLISHED, "first axes, as many numbers"),
    "fvu_random": (CONTROL, "random dictionary"),
}
EDGES = 600
"""Strongest edges of a graph that are drawn."""


def draw_energy(energy: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """What lies of features in the first m axes (median over features, mean over layers; band:
    quartiles) beside directions drawn from the data's covariance and at random; below, variance of
    test cells left unexplained. ``energy``, ``layers``: stage svd's tables; a column per model."""
    models = _models(energy)
    figure, axes = panels(max(1, len(models)), rows=2)
    if not models:
        for panel in axes:
            nothing(panel, "svd: not run")
        return figure
    for column, model in enumerate(models):
        mine = energy[(energy.model == model) & energy.trained.astype(bool)]
        panel = axes[column]
        for of, (color, line) in ENERGIES.items():
            rows = mine[(mine.of == of) & (mine.layer >= FIRST)]
            curve = rows.groupby("m")[["low", "median", "high"]].mean()
            if curve.empty:
                continue
            panel.plot(curve.index, curve["median"], line, color=color, label=of)
            if of != "uniform":
                panel.fill_between(curve.index, curve.low, curve.high, color=color, alpha=0.15)
        panel.set(title=str(model), xlabel="first m axes", ylim=(0, 1.02))
        below, own = axes[len(models) + column], _layers(layers, model)
        for name, (color, label) in FVUS.items():
            below.plot(own.layer, own[name], "o-", ms=3, lw=1, color=color, label=label)
        below.set(xlabel="layer", ylim=(0, None), xticks=sorted(set(own.layer)))
    axes[0].set_ylabel("share of a direction in them")
    axes[len(models)].set_ylabel("variance unexplained")
    axes[0].legend()
    axes[len(models)].legend(fontsize=6)
    return figure


def draw_modules(
    edges: pd.DataFrame, members: pd.DataFrame, graphs: pd.DataFrame, layer: int
) -> Figure:
    """The graph beyond genes of one layer, features colored by module, and by layer the modularity
    of both graphs beside graphs dealt out anew. ``edges``, ``members``, ``graphs``: stage modules'
    tables; a column per model."""
    models = _models(graphs)
    figure, axes = panels(max(1, len(models)), rows=2)
    if not models:
        for panel in axes:
            nothing(panel, "modules: not run")
        return figure
    for column, model in enumerate(models):
        panel = axes[column]
        panel.set_title(f"{model}, layer {layer}")
        one, two = (
            table[
                (table.model == model)
                & table.trained.astype(bool)
                & (table.layer == layer)
                & (table.graph == GENE)
            ]
            for table in (edges, members)
        )
        if one.empty:
            nothing(panel, "no pair fires together beyond its genes")
        else:
            _network(panel, one, dict(zip(two.feature, two.module)))
        below = axes[len(models) + column]
        for graph, color in ((PMI, PUBLISHED), (GENE, CORRECTED)):
            own = _layers(graphs[graphs.graph == graph], model)
            below.plot(own.layer, own.modularity, "o-", ms=3, lw=1, color=color, label=graph)
            label = "dealt out anew" if graph == GENE else None
            below.plot(own.layer, own.rewired_most, ":", lw=1, color=color, label=label)
        below.set(xlabel="layer", ylim=(0, 1), xticks=sorted(set(graphs.layer)))
    axes[len(models)].set_ylabel("modularity")
    axes[len(models)].legend()
    return figure


def _network(panel: Axes, edges: pd.DataFrame, module: dict[int, int]) -> None:
    """The strongest edges, laid out by springs: distance means nothing but which are joined."""
    shown = edges.sort_values("weight", ascending=False, kind="stable").head(EDGES)
    graph = nx.Graph()
    graph.add_weighted_edges_from(shown[["feature", "other", "weight"]].itertuples(index=False))
    place = nx.spring_layout(graph, seed=0)
    for one, other in graph.edges:
        ends = np.array([place[one], place[other]])
        panel.plot(ends[:, 0], ends[:, 1], color=CONTROL, lw=0.4, zorder=1)
    nodes = sorted(graph.nodes)
    colors = [_module_color(module.get(node, -1)) for node in nodes]
    at = np.array([place[node] for node in nodes])
    panel.scatter(at[:, 0], at[:, 1], s=8, c=colors, linewidths=0, zorder=2)
    panel.set_xlabel(f"{len(nodes)} features, {len(shown)} of {len(edges)} edges")
    panel.set(xticks=[], yticks=[])


def _module_color(number: int) -> str:
    return LINEAGES[number % len(LINEAGES)] if number >= 0 else "#000000"


def draw_highways(pairs: pd.DataFrame) -> Figure:
    """Share of features with a link to the next layer: as published, and beyond genes with its
    ceiling, the randomly initialized model and the same genes in other cells. ``pairs``: stage
    highways' table; a panel per model."""
    figure, axes = panels(max(1, len(_models(pairs))))
    for panel, model, mine in _each(axes, pairs, "highways"):
        own = mine[mine.trained.astype(bool)].sort_values("layer")
        random = mine[~mine.trained.astype(bool)].sort_values("layer")
        published = own.published / own.alive.clip(lower=1)
        _line(panel, own.layer, published, PUBLISHED, "published: PMI")
        _line(panel, own.layer, own.share, CORRECTED, "beyond genes")
        _line(panel, own.layer, own.ceiling, CEILING, "second dictionary, same layer", "--")
        _line(panel, random.layer, random.share, CONTROL, "random init", ":")
        _line(panel, own.layer, own.away, "#000000", "dealt out anew", ":")
        panel.set(title=str(model), xlabel="layer (to the next)", ylim=(0, 1.03))
        panel.set_xticks(sorted(set(mine.layer)))
    axes[0].set_ylabel("share of features")
    if not pairs.empty:
        axes[0].legend(fontsize=5)
    return figure


def draw_persistence(pairs: pd.DataFrame) -> Figure:
    """Share of features that live on in the next layer by what they do, with all its variation and
    with what genes leave, beside the share that a second seed finds again. ``pairs``: stage
    persistence's table; a panel per model."""
    figure, axes = panels(max(1, len(_models(pairs))))
    for panel, model, mine in _each(axes, pairs, "persistence"):
        own = mine[mine.trained.astype(bool)].sort_values("layer")
        random = mine[~mine.trained.astype(bool)].sort_values("layer")
        _line(panel, own.layer, own.persists, CORRECTED, "lives on")
        _line(panel, own.layer, own.persists_within, CORRECTED, "lives on, within genes", ":")
        _line(panel, own.layer, own.carried, PUBLISHED, "decoder, best linear map")
        _line(panel, own.layer, own.again, CEILING, "found by a second seed", "--")
        _line(panel, random.layer, random.persists, CONTROL, "random init", ":")
        panel.set(title=str(model), xlabel="layer (to the next)", ylim=(0, 1.03))
        panel.set_xticks(sorted(set(mine.layer)))
    axes[0].set_ylabel("share of features")
    if not pairs.empty:
        axes[0].legend(fontsize=5)
    return figure


def draw_crossmodel(cka: pd.DataFrame) -> Figure:
    """Likeness of hidden states of all pairs of layers, trained and randomly initialized, as it is
    and after gene means are taken away. ``cka``: stage crossmodel's table."""
    figure, axes = panels(4, width=2.6, height=2.6)
    if cka.empty:
        for panel in axes:
            nothing(panel, "crossmodel: not run")
        return figure
    kinds = [(trained, name) for name in ("cka", "cka_within") for trained in (True, False)]
    for panel, (trained, name) in zip(axes, kinds):
        mine = cka[cka.trained.astype(bool) == trained]
        grid = mine.pivot_table(index="scgpt_layer", columns="geneformer_layer", values=name)
        image = panel.imshow(grid, vmin=0, vmax=max(1e-9, float(cka[name].max())), origin="lower")
        panel.set_xticks(range(grid.shape[1]), grid.columns)
        panel.set_yticks(range(grid.shape[0]), grid.index)
        kind = "probed" if trained else "random init"
        panel.set(title=kind if name == "cka" else f"{kind}, within genes")
        panel.set_xlabel("Geneformer layer")
        figure.colorbar(image, ax=panel, shrink=0.7)
    axes[0].set_ylabel("scGPT layer")
    return figure


def _models(table: pd.DataFrame) -> list[str]:
    return [] if table.empty else list(dict.fromkeys(table.model))


def _layers(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The trained model's rows, by layer."""
    mine = table[(table.model == model) & table.trained.astype(bool)]
    return mine.sort_values("layer", kind="stable")


def _each(
    axes: list[Axes], table: pd.DataFrame, stage: str
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """A panel, a model and its rows; one empty panel where the stage did not run."""
    if table.empty:
        nothing(axes[0], f"{stage}: not run")
    for panel, model in zip(axes, _models(table)):
        yield panel, model, table[table.model == model]


def _line(
    panel: Axes, x: pd.Series, y: pd.Series, color: str, label: str, style: str = "-"
) -> None:
    """Nothing where nothing is known."""
    if y.notna().any():
        panel.plot(x, y, f"o{style}", ms=3, lw=1, color=color, label=label)
