"""Figures of causation from small tables. Reference: the numbers of the tables, read back from what is
drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from petriscope.studies.cells.figures_causation import draw_regulation, draw_specificity

EMPTY = pd.DataFrame()


def test_specificity_is_drawn_beside_its_matched_sets() -> None:
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"ratio": rng.lognormal(shift, 0.3, 12), "model": "geneformer"}).assign(
            trained=trained, arm=arm
        )
        for trained, arm, shift in (
            (True, "random", 0.5),
            (True, "most active", 0.8),
            (False, "random", 0.0),
        )
    ]
    features = pd.concat(parts, ignore_index=True)
    at = np.arange(1, 100) / 100
    nulls = pd.DataFrame({"quantile": at, "ratio": np.exp(at - 0.5)}).assign(
        model="geneformer", trained=True
    )
    figure = draw_specificity(features, nulls)
    first, second, arms = figure.axes
    drawn = first.lines[0].get_xdata()
    np.testing.assert_allclose(np.sort(parts[0].ratio), np.asarray(drawn))
    assert first.get_title(loc="left") == "geneformer"
    assert any("no feature" in text.get_text() for text in second.texts)
    assert [label.get_text() for label in arms.get_yticklabels()] == [
        "geneformer\nrandom",
        "geneformer\nmost active",
    ]
    assert all(axes.texts for axes in draw_specificity(EMPTY, EMPTY).axes)


def test_chance_ceiling_and_models_stand_in_one_picture() -> None:
    rows = [
        ("data ceiling", "data", 9, 12, 5, 11),
        ("published rule, random features", "geneformer", 1.5, 12, 0, 4),
        ("published rule", "geneformer", 2, 12, 0.3, 5),
        ("responding features", "geneformer", 6, 12, 3, 9),
        ("responding features", "geneformer random", 5, 12, 2, 8),
        ("in silico", "geneformer", 7, 12, 3, 10),
    ]
    counts = pd.DataFrame(rows, columns=["measure", "model", "found", "of", "low", "high"])
    agreement = pd.DataFrame({"rank": [1, 1, 2, 5], "of": 4 + 1, "own": 0.3}).assign(
        model="geneformer", trained=True, how="lowest"
    )
    figure = draw_regulation(counts, agreement)
    bars, ranks = figure.axes
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert labels[0].startswith("chance") and labels[2].startswith("ceiling")
    widths = [patch.get_width() for patch in bars.patches]
    np.testing.assert_allclose(widths, [1.5 / 12, 2 / 12, 9 / 12, 6 / 12, 5 / 12, 7 / 12])
    np.testing.assert_allclose(np.asarray(ranks.lines[0].get_ydata()), [0.5, 0.75, 0.75, 0.75, 1])
    assert all(axes.texts for axes in draw_regulation(EMPTY, EMPTY).axes)
    assert draw_regulation(counts, EMPTY).axes[1].texts
