"""Figures of structure hold the numbers of the tables, and say so where a stage did not run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from petriscope.studies.cells.figures_structure import (
    draw_crossmodel,
    draw_energy,
    draw_highways,
    draw_modules,
    draw_persistence,
)

EMPTY = pd.DataFrame()
BOTH = [(model, trained) for model in ("geneformer", "scgpt") for trained in (True, False)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def curves(panel: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in panel.lines}


def frame(layers: tuple[int, ...] = (2, 1), **columns: object) -> pd.DataFrame:
    rows = [
        {"model": model, "trained": trained, "layer": layer}
        for model, trained in BOTH
        for layer in layers
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_what_did_not_run_is_said() -> None:
    for figure, stage in (
        (draw_energy(EMPTY, EMPTY), "svd"),
        (draw_modules(EMPTY, EMPTY, EMPTY, 1), "modules"),
        (draw_highways(EMPTY), "highways"),
        (draw_persistence(EMPTY), "persistence"),
        (draw_crossmodel(EMPTY), "crossmodel"),
    ):
        assert f"{stage}: not run" in [text.get_text() for text in figure.axes[0].texts]


def test_energy_is_the_mean_over_layers_beside_its_nulls() -> None:
    parts = []
    for of, level in (("features", 0.2), ("data covariance", 0.5), ("uniform", 0.1)):
        for m in (5, 10):
            one = frame((0, 1, 3), of=of, m=m)
            value = level * m / 5 + 0.01 * one.layer + (~one.trained)
            parts.append(one.assign(low=value - 0.05, median=value, high=value + 0.05))
    layers = frame(fvu=0.1, fvu_strongest=0.3, fvu_leading=0.4, fvu_random=0.6)
    figure = draw_energy(pd.concat(parts), layers)
    found = curves(figure.axes[0])
    np.testing.assert_allclose(found["features"], [[5, 0.22], [10, 0.42]])
    np.testing.assert_allclose(found["data covariance"][:, 1], [0.52, 1.02])
    below = curves(figure.axes[2])
    np.testing.assert_allclose(below["dictionary"], [[1, 0.1], [2, 0.1]])
    assert len(below) == 4 and figure.axes[1].get_title(loc="left") == "scgpt"


def test_the_graph_has_a_color_for_each_module() -> None:
    of = {"model": "scgpt", "trained": True, "layer": 1, "graph": "gene"}
    edges = pd.DataFrame({"feature": [0, 0, 3, 7], "other": [1, 2, 4, 8], "weight": [9, 8, 7, 6.0]})
    modules = {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 7: -1, 8: -1}
    members = pd.DataFrame({"feature": list(modules), "module": list(modules.values())})
    graphs = pd.concat(
        [
            frame(graph="gene", modularity=0.6, rewired_most=0.2),
            frame(graph="pmi", modularity=0.7, rewired_most=0.5),
        ]
    )
    figure = draw_modules(edges.assign(**of), members.assign(**of), graphs, layer=1)
    assert "no pair" in figure.axes[0].texts[0].get_text()  # Geneformer has no edge
    colors = figure.axes[1].collections[0].get_facecolors()
    assert len(colors) == 7
    assert (colors[0] == colors[2]).all() and (colors[3] == colors[4]).all()
    assert (colors[0] != colors[3]).any() and (colors[5][:3] == 0).all()
    assert "7 features, 4 of 4 edges" in figure.axes[1].get_xlabel()
    found = curves(figure.axes[2])
    np.testing.assert_allclose(found["gene"], [[1, 0.6], [2, 0.6]])
    np.testing.assert_allclose(found["dealt out anew"][:, 1], 0.2)


def test_highways_stand_beside_ceiling_random_and_tokens_dealt_out() -> None:
    pairs = frame(published=18, alive=20, away=0.04, ceiling=0.8)
    pairs["share"] = np.where(pairs.trained, 0.1 * pairs.layer, 0.05)
    pairs.loc[pairs.model == "scgpt", "ceiling"] = np.nan
    figure = draw_highways(pairs)
    found = curves(figure.axes[0])
    np.testing.assert_allclose(found["published: PMI"], [[1, 0.9], [2, 0.9]])
    np.testing.assert_allclose(found["beyond genes"], [[1, 0.1], [2, 0.2]])
    np.testing.assert_allclose(found["random init"][:, 1], 0.05)
    np.testing.assert_allclose(found["dealt out anew"][:, 1], 0.04)
    assert "second dictionary, same layer" in found
    assert "second dictionary, same layer" not in curves(figure.axes[1])


def test_persistence_stands_beside_a_second_seed() -> None:
    pairs = frame(persists=0.3, persists_within=0.1, carried=0.4, again=0.9)
    pairs.loc[~pairs.trained, "persists"] = 0.2
    found = curves(draw_persistence(pairs).axes[1])
    heights = {label: line[0, 1] for label, line in found.items()}
    assert heights == {
        "lives on": 0.3,
        "lives on, within genes": 0.1,
        "decoder, best linear map": 0.4,
        "found by a second seed": 0.9,
        "random init": 0.2,
    }


def test_likeness_is_a_grid_of_layers() -> None:
    rows = [
        {"trained": t, "geneformer_layer": a, "scgpt_layer": b, "cka": 0.1 * a + b, "cka_within": 0}
        for t in (True, False)
        for a in range(3)
        for b in range(2)
    ]
    figure = draw_crossmodel(pd.DataFrame(rows))
    grid = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(grid, [[0, 0.1, 0.2], [1, 1.1, 1.2]])
    titles = [panel.get_title(loc="left") for panel in figure.axes[:4]]
    assert titles[:2] == ["probed", "random init"] and "within genes" in titles[2]
