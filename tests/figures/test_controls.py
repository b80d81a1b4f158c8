"""Reference: the tables themselves; every panel shows the numbers it was given, or says that its
control was not run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from petriscope.figures.controls import _fractions, draw_controls
from petriscope.figures.dictionaries import ENTRANTS, draw_leaderboard
from petriscope.figures.style import whiskers
from petriscope.studies.chromatin.controls import VARIANTS
from petriscope.studies.chromatin.figures import stable_context

NONE = pd.DataFrame()


def counts(shift: float) -> pd.DataFrame:
    share = np.array([0.1, 0.2, 0.3]) + shift
    return pd.DataFrame(
        {
            "layer": range(3),
            "context_fraction": share,
            "context_low": share - 0.05,
            "context_high": share + 0.05,
        }
    )


def test_a_share_of_nothing_is_drawn_though_rounding_puts_its_limit_above_it() -> None:
    none = counts(0).assign(context_fraction=0.0, context_low=1e-17)
    figure = plt.figure()
    _fractions(figure.add_subplot(), none, none)
    np.testing.assert_array_equal(
        whiskers([0.0, 0.5], [1e-17, 0.4], [0.1, 0.7]), [[0.0, 0.5 - 0.4], [0.1, 0.7 - 0.5]]
    )


def shuffles() -> pd.DataFrame:
    table = pd.DataFrame(
        {"layer": [0, 1, 2] * 2, "null": ["labels shuffled"] * 3 + ["replicates"] * 3, "draws": 4}
    )
    for name in ("fraction", "published"):
        for suffix, value in (("", 2), ("_low", 1), ("_high", 3), ("_observed", 9)):
            table[name + suffix] = float(value)
    return table


def inputs() -> pd.DataFrame:
    rows = [
        {"variant": v.name, **v._asdict(), "layer": layer} for v in VARIANTS for layer in range(3)
    ]
    return pd.DataFrame(rows).assign(
        context_fraction=0.2, auroc=0.6, model_r=0.5, model_r_condition=0.4, windows=32
    )


def texts(figure: plt.Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_missing_controls_say_that_they_were_not_run() -> None:
    figure = draw_controls(counts(0), NONE, NONE, NONE, NONE, NONE)
    found = texts(figure)
    for words in ("random model: not "
                  "run", "label shuffles: not "
                         "run", "equal depth: not run", "input controls: not run",
                  "one seed"):  # fmt: skip
        assert words in found
    assert texts(draw_leaderboard(NONE)).count("leaderboard: not run") == 3
    plt.close("all")


def test_every_control_curve_is_the_tables() -> None:
    depth = counts(0.2).assign(
        context_fraction_main=0.2, context_low_main=0.1, context_high_main=0.3, fragments=150_000
    )
    stable = pd.DataFrame(
        {"layer": range(3), "share": [0.5, 0.6, 0.7], "share_alive": [0.4, 0.4, 0.4]}
    )
    figure = draw_controls(counts(0), counts(0.3), shuffles(), depth, inputs(), stable)
    assert texts(figure) == ""
    curves = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert pytest.approx([0.1, 0.2, 0.3]) in curves
    assert pytest.approx([0.4, 0.5, 0.6]) in curves
    for panel in (1, 2):  # observed, then the mean over draws of either null
        assert [line.get_ydata().tolist() for line in figure.axes[panel].lines] == [
            [9.0] * 3,
            [2.0] * 3,
            [2.0] * 3,
        ]
    assert [label.get_text() for label in figure.axes[4].get_legend().get_texts()] == [
        "real", "motif averaged", "motif swapped",
    ]  # fmt: skip
    assert len(figure.axes[5].get_legend().get_texts()) == 6
    assert len(figure.axes[6].patches) == 2 * len(VARIANTS)
    plt.close("all")


def test_the_leaderboard_shows_each_entrant_of_each_lineage() -> None:
    rows = [
        {"lineage": lineage, "entrant": entrant, "layer": 2}
        | {
            f"{name}{end}": i
            for name in ("auroc", "effect", "gc_minus_random")
            for end in ("", "_low", "_high")
        }
        for lineage in ("blood", "liver")
        for i, entrant in enumerate(ENTRANTS)
    ]
    figure = draw_leaderboard(pd.DataFrame(rows))
    markers = [container.lines[0].get_ydata().tolist() for container in figure.axes[2].containers]
    assert markers == [[0, 1, 2, 3, 4, 5]] * 2
    plt.close("all")


def test_stable_shares_are_over_features_with_a_measured_stability() -> None:
    features = pd.DataFrame(
        {
            "layer": [0, 0, 0, 0, 1],
            "alive": [True, True, True, False, True],
            "q_biosample": [0.01, 0.01, 0.5, 0.01, 0.9],
            "stable": pd.array([True, False, True, True, True], dtype="boolean"),
        }
    )
    table = stable_context(features, "q_biosample", 0.05).set_index("layer")
    assert table.share[0] == 0.5
    assert np.isnan(table.share[1])
    assert table.share_alive.tolist() == [pytest.approx(2 / 3), 1.0]
    assert stable_context(features.assign(stable=pd.NA), "q_biosample", 0.05).empty
