"""Reference: statsmodels' Benjamini-Hochberg over all layers, the contrast of the main pipeline,
numpy's quantiles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from causal_toy import design
from statsmodels.stats.multitest import multipletests

from petriscope.contrast.calibration import beside_observed, null_counts, null_p
from petriscope.contrast.cds import cds_meandiff, cds_t
from petriscope.contrast.features import Scoring
from petriscope.contrast.nulls import replicates, shuffled
from petriscope.sae.moments import Moments

HOW = Scoring(min_events=0.0, permutations=400, seed=2)


def moments(m: int = 7) -> tuple[Moments, np.ndarray]:
    rng = np.random.default_rng(1)
    means = rng.gamma(2.0, 1.0, (6, 12, m))
    means[:, :, 3] = 0
    tokens = np.full((6, 12), 10)
    return Moments(means * 10, means**2 * 10, (means > 0) * 5, tokens), means


def test_p_of_a_relabelling_is_that_of_the_main_contrast() -> None:
    sums, means = moments()
    null = next(iter(shuffled(design(), 1, 4)))
    table = null_p(sums, means, [null], HOW, 0.05)
    assert table is not None
    assert table.feature.tolist() == [0, 1, 2, 4, 5, 6]
    score = cds_t(sums, null, permutations=HOW.permutations, seed=2)
    assert score.permutation is not None
    np.testing.assert_allclose(table.p, score.permutation.p)
    published = cds_meandiff(means, null, permutations=1000, seed=2)
    np.testing.assert_allclose(table.published, published.adjusted["bonferroni"][table.feature])


def test_counts_are_benjamini_hochbergs_over_the_layers_of_a_draw() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        [
            {
                "null": "n",
                "draw": draw,
                "layer": layer,
                "feature": f,
                "p": rng.random() ** 4,
                "published": rng.random(),
            }
            for draw in range(3)
            for layer in (0, 1)
            for f in range(20)
        ]
    )
    counts = null_counts(frame, 0.05)
    for (draw, layer), row in counts.set_index(["draw", "layer"]).iterrows():
        part = frame[frame.draw == draw]
        rejected = multipletests(part.p, 0.05, "fdr_bh")[0][part.layer == layer]
        assert row["count"] == rejected.sum()
        assert row["alive"] == 20
        assert row["published"] == (part[part.layer == layer].published < 0.05).sum()
    assert counts["count"].sum() > 0


def test_the_observed_counts_stand_beside_the_nulls() -> None:
    counts = pd.DataFrame(
        {
            "null": "n",
            "draw": range(4),
            "layer": 0,
            "alive": 10,
            "count": [0, 1, 2, 5],
            "published": [3, 3, 3, 3],
        }
    )
    observed = pd.DataFrame(
        {
            "layer": 0,
            "alive": [True, True, False],
            "context": [True, False, True],
            "p_published_bonferroni": [0.01, 0.2, 0.03],
        }
    )
    row = beside_observed(counts, observed, 0.05).iloc[0]
    assert (row["count"], row.count_observed, row.draws) == (2.0, 1, 4)
    assert row.fraction_high == pytest.approx(np.quantile([0, 0.1, 0.2, 0.5], 0.975))
    assert row.fraction_observed == 0.5
    assert (row.published, row.published_observed) == (3.0, 2)


def test_nulls_that_no_test_exists_for_are_left_out() -> None:
    sums, means = moments()
    alone = list(replicates(design(), 2, 0))  # two replicates a condition: one against one
    assert null_p(sums, means, alone, HOW, 0.05) is None
