"""Counts per layer against direct counting; intervals against statsmodels' own functions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from petriscope.contrast.design import Design
from petriscope.contrast.features import layer_summary
from petriscope.stages.cds import summarize
from petriscope.studies.chromatin.units import design_of


def design(replicates: int) -> Design:
    rows = [
        (f"{context}{i}", "a", context)
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates)
    ]
    return design_of(pd.DataFrame(rows, columns=["biosample", "lineage", "context"]))


@pytest.fixture
def features() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {"layer": np.repeat([0, 1], n), "alive": rng.random(2 * n) < 0.7, "sign_consistent": True}
    )
    for name in (
        "p_published_bonferroni",
        "q_biosample",
        "q_locus",
        "q_conjunction_biosample",
        "q_a_biosample",
    ):
        frame[name] = rng.random(2 * n) ** np.where(frame.layer == 1, 6, 2)
    frame.loc[~frame.alive, "q_biosample"] = np.nan
    return frame


def test_counts_are_of_alive_features_only(features):
    layers = layer_summary(features, design(2), 0.05)
    for row in layers.itertuples():
        mine = features[features.layer == row.layer]
        assert row.alive == mine.alive.sum()
        assert row.context_count == ((mine.q_biosample < 0.05) & mine.alive).sum()
        assert row.published_count == (mine.p_published_bonferroni < 0.05).sum()
        assert (
            row.published_share_of_alive == (mine.p_published_bonferroni[mine.alive] < 0.05).mean()
        )
        assert (row.context_low, row.context_high) == proportion_confint(
            row.context_count, row.alive, method="wilson"
        )


def test_the_rise_and_what_cannot_be_tested(features):
    layers = layer_summary(features, design(2), 0.05)
    found = summarize(layers, design(2), 0.05)
    first, last = layers.iloc[0], layers.iloc[1]
    low, high = confint_proportions_2indep(
        last.context_count, last.alive, first.context_count, first.alive, method="newcomb"
    )
    assert (found.rise_low, found.rise_high) == (low, high)
    assert found.untestable is None and found.strata_rising == 1
    blocked = summarize(layers, design(1), 0.05).untestable
    assert blocked is not None and "lineage a has 1 in_vitro and 1 in_vivo biosample(s)" in blocked
