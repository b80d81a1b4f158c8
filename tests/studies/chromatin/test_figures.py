"""Figures take what a row is from its columns, never from the words in a name."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt

from petriscope.figures.contrast import CALIBRATION_RATES, draw_calibration
from petriscope.studies.chromatin.figures import draw_states


def test_three_random_draws_are_shown_whatever_they_are_called() -> None:
    groups = [("peaks", f"random access {i}") for i in range(5)]
    groups += [("random", f"draw {i}") for i in range(5)]
    rows = [
        dict(group=g, kind=k, layer=-1, vocabulary="file", state="1", odds_ratio=2.0, q=0.01)
        for k, g in groups
    ]
    figure = draw_states(pd.DataFrame(rows), 0, 0.05)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    plt.close(figure)
    assert shown == [f"random access {i}" for i in range(5)] + [f"draw {i}" for i in range(3)]


def test_rates_of_coverage_are_drawn_whatever_their_null_is_called() -> None:
    what, null, is_coverage, label = CALIBRATION_RATES[-1]
    rate = {"test": None, "what": what, "null": "blocks drawn with replacement", "share": 0.94}
    p = pd.DataFrame({"seed": [1], "test": ["none"], "p": [0.5], "share": [1.0]})
    figure = draw_calibration(p, pd.DataFrame([rate]), 0.05)
    (line, nominal) = figure.axes[3].get_lines()
    plt.close(figure)
    assert null is None and is_coverage and label == "1 - coverage, blocks"
    assert list(line.get_xdata()) == [1 - 0.94] and list(nominal.get_xdata()) == [0.05, 0.05]
