"""Figures of study dna take their values from the stages' columns; what did not run says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from petriscope.figures.sources import Files
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.figures import (
    DRAWN,
    draw_concepts,
    draw_doses,
    draw_fragmentation,
    draw_maps,
    draw_rates,
    draw_tracks,
)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("name", DRAWN)
def test_what_did_not_run_is_said(name: str, tmp_path: Path) -> None:
    files, (draw, wanted) = Files(Workspace(tmp_path)), DRAWN[name]
    drawn = draw(*map(files.given, wanted), *((0.05, 5) if draw is draw_rates else ()))
    said = " ".join(text.get_text() for axes in drawn.axes for text in axes.texts)
    assert "not run" in said and files.read == []


def test_the_null_of_each_model_is_a_band_under_its_curve() -> None:
    rows = [
        dict(track="words", layer=k, model=m, held_out_r=r, low=r - 0.1, high=r + 0.1, null_95=0.02,
             partial_best=0.05)
        for m, r in (("trained", 0.4), ("random_init", 0.2)) for k in (0, 1)
    ]  # fmt: skip
    (panel,) = draw_tracks(pd.DataFrame(rows)).axes
    curves = [line for line in panel.get_lines() if line.get_linestyle() == "-"]
    assert [line.get_ydata().max() for line in curves if len(line.get_ydata()) == 2] == [0.4, 0.2]
    bands = [c for c in panel.collections if c.get_paths() and len(c.get_paths()[0].vertices) > 4]
    assert len(bands) >= 2 and bands[0].get_paths()[0].vertices[:, 1].max() == 0.02


def test_features_of_many_draws_have_a_band_and_single_graphs_none() -> None:
    sizes = {"as published": 9, "corrected": 8}
    sizes |= {f"length matched, {x}": v for x, v in (("median", 6), ("low", 5), ("high", 7))}
    graphs = pd.DataFrame(
        [
            {"graph": name, "class": side, "features": value + (side == "negative")}
            for name, value in sizes.items()
            for side in ("positive", "negative")
        ]
    )
    curve = {"removed": [0, 1], "components": [1, 3], "density": [0.2, 0.1]}
    curve |= {"components_low": [1, 2], "components_high": [1, 4]}
    frames = [
        pd.DataFrame({**curve, "graph": graph, "class": side})
        for graph in ("as published", "length matched")
        for side in ("positive", "negative")
    ]
    fragments, _, features = draw_fragmentation(pd.concat(frames), graphs).axes
    assert len(fragments.collections) == 2  # the bands of the length-matched draws
    lines = [sorted(line.get_xdata()) for line in features.get_lines()]
    assert [5, 7] in lines and [6, 8] in lines and [9] in lines
    assert [label.get_text() for label in features.get_yticklabels()][2] == "length matched"


def test_rates_are_ordered_by_t_and_colored_by_maxt() -> None:
    frame = pd.DataFrame(
        {
            "feature": [1, 2, 3, 4],
            "t": [-5.0, 9.0, np.nan, 1.0],
            "log_ratio": [-1.0, 2.0, 0.0, 0.1],
            "low": [-1.2, 1.5, 0, -0.2],
            "high": [-0.8, 2.5, 0, 0.4],
            "p_maxt": [0.01, 0.001, np.nan, 0.9],
            "fold_change_published": [0.1, 0.5, 0, 0.2],
        }
    )
    (panel,) = draw_rates(frame, 0.05, 1).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["f2", "f1"]
    points = {tuple(line.get_xdata()) for line in panel.get_lines()}
    assert (2.0, -1.0) in points


def test_doses_are_of_features_and_suppression_stands_beside_its_controls() -> None:
    rows = [
        dict(feature=f, arm="suppress" if d == 0 else "scale", dose=d, shift=s * d,
             shift_low=s * d - 0.1, shift_high=s * d + 0.1)
        for f, s in ((7, 1.0), (9, -1.0), (-1, 5.0)) for d in (0.0, 2.0)
    ]  # fmt: skip
    controls = pd.DataFrame(
        {"feature": [7, 9], "side": ["positive", "negative"], "auc_drop": [0.3, 0.0],
         "control_95": [0.01, 0.02]}
    )  # fmt: skip
    dose, _, drop = draw_doses(pd.DataFrame(rows), controls).axes
    heights = {max(line.get_ydata()) for line in dose.get_lines() if len(line.get_ydata()) == 2}
    assert 2.0 in heights and 10.0 not in heights
    assert sorted(bar.get_width() for bar in drop.patches) == [0.01, 0.02]


def test_the_own_token_is_gray_and_not_part_of_the_scale() -> None:
    values = np.ones((1, 1, 4, 4))
    values[0, 0, :2, :2] = 99
    values[0, 0, 3, 0] = 5
    own = np.kron(np.eye(2, dtype=bool), np.ones((2, 2), bool))[None]
    maps = {"maps": values, "own_block": own, "features": np.array([3]), "ids": np.array(["s"])}
    decay = pd.DataFrame({"model": "trained", "distance": [0, 1, 2], "change": [9, 2, 1]})
    panel, curve = draw_maps(maps, decay).axes
    away, gray = panel.get_images()
    assert away.get_clim() == (0, 5) and np.isnan(away.get_array().filled(np.nan)[0, 0])
    assert np.isfinite(gray.get_array().filled(np.nan)[0, 0])
    assert curve.get_lines()[0].get_xdata().tolist() == [1, 2]


def test_concepts_are_shares_of_all_concepts() -> None:
    row = dict(layer=1, baseline="neurons", kind="all", concepts=40, better=30, better_low=20,
               better_high=36)  # fmt: skip
    frame = pd.DataFrame([{**row, "metric": m} for m in ("f1", "auroc")])
    panel = draw_concepts(frame).axes[0]
    assert panel.get_lines()[0].get_ydata().tolist() == [0.75]
