"""Figures hold the numbers of the tables, and say so where a stage did not run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from petriscope.studies.cells.figures_knowledge import (
    draw_annotation,
    draw_celltypes,
    draw_depth,
)


def layers() -> pd.DataFrame:
    rows = [
        {"model": model, "trained": trained, "layer": layer, "rule": rule, "share": 0.1 * layer}
        for model in ("geneformer", "scgpt")
        for trained in (True, False)
        for layer in (2, 1, 3)
        for rule in ("published", "corrected")
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(null=0.02, null_low=0.01, null_high=0.03, published=0.9)


def test_the_profile_is_the_table_in_order_of_layers() -> None:
    figure = draw_annotation(layers())
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["geneformer", "scgpt"]
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["corrected"], [[1, 0.1], [2, 0.2], [3, 0.3]])
    np.testing.assert_allclose(lines["random init"][:, 1], [0.1, 0.2, 0.3])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.01 and band[:, 1].max() == 0.03
    plt.close(figure)


def test_depth_and_frequency_are_means_beyond_the_null() -> None:
    features = pd.DataFrame(
        {
            "model": "scgpt",
            "trained": True,
            "layer": np.repeat([0, 1, 2], 20),
            "alive": True,
            "annotated": np.tile([True, False], 30),
            "null": 0.1,
            "frequency": np.arange(60) / 100,
        }
    )
    figure = draw_depth(features)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[1, 0.4], [2, 0.4]])
    assert len(figure.axes[1].lines[0].get_xdata()) == 10
    plt.close(figure)


def test_two_donors_are_said_to_be_too_few() -> None:
    one = layers()[lambda frame: frame.rule == "corrected"].drop(columns="rule")
    figure = draw_celltypes(one.assign(share=np.nan, null=np.nan))
    assert "cannot be tested" in figure.axes[0].texts[0].get_text()
    tested = draw_celltypes(one)
    assert not tested.axes[0].texts and len(tested.axes[0].lines) == 3
    plt.close("all")


def test_a_stage_that_did_not_run_is_named() -> None:
    for draw, stage in ((draw_annotation, "annotate"), (draw_celltypes, "celltypes")):
        figure = draw(pd.DataFrame())
        assert figure.axes[0].texts[0].get_text() == f"{stage}: not run"
    assert draw_depth(pd.DataFrame()).axes[0].texts[0].get_text() == "annotate: not run"
    plt.close("all")
