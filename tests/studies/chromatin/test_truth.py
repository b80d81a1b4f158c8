"""Reference: effects planted by hand, scikit-learn's AUROC, statsmodels' power of the t test,
counting by loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.power import TTestIndPower

from petriscope.claims.multiplicity import as_markdown, multiplicity
from petriscope.contrast.design import Design
from petriscope.genome.coverage import share_in_peaks
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, simulate_libraries
from petriscope.studies.chromatin.simulate.genome import CONDITIONS
from petriscope.studies.chromatin.truth import (
    Truth,
    expected_power,
    planted_match,
    scores,
    true_difference,
)
from petriscope.studies.chromatin.units import design_of


def design(lineages: int, replicates: int) -> Design:
    rows = [
        (f"{x}{context}{i}", x, context)
        for x in "abc"[:lineages]
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates)
    ]
    return design_of(pd.DataFrame(rows, columns=["biosample", "lineage", "context"]))


def test_true_differences_are_found_with_their_sign() -> None:
    rng, given = np.random.default_rng(0), design(3, 4)
    means = 1 + 0.02 * rng.normal(size=(24, 60))
    means[np.ix_(given.is_target, np.arange(10))] += 0.2
    means[np.ix_(given.is_target, np.arange(10, 20))] -= 0.2
    truth = true_difference(means, given, np.ones(60, bool), alpha=0.05)
    assert (truth.sign[:10] == 1).all()
    assert (truth.sign[10:20] == -1).all()
    assert (truth.sign[20:] != 0).mean() < 0.1
    np.testing.assert_allclose(truth.spread, 0.02, rtol=0.6)
    dead = true_difference(means, given, np.arange(60) > 30, alpha=0.05)
    assert (dead.sign[:30] == 0).all()


def test_match_is_the_auroc_over_element_tokens() -> None:
    rng = np.random.default_rng(1)
    programme = np.array(["a"] * 20 + ["b"] * 30, dtype=object)
    openness = {
        "a": np.array([True, False]),
        "b": np.array([False, True]),
        "absent": np.array([True, True]),
    }
    activity = rng.integers(0, 3, (50, 2, 4)).astype(float)
    activity[:20, 0, 2] += 5
    found = planted_match(activity, programme, openness)
    label = ((programme == "a")[:, None] & openness["a"]).ravel()
    assert found.programme[2] == "a"
    assert found.auroc[2] == pytest.approx(roc_auc_score(label, activity[:, :, 2].ravel()))
    assert set(found.programme) <= {"a", "b"}


def test_general_openness_matches_no_programme_of_one_context() -> None:
    programme = np.repeat(np.array(["shared", "vitro", "vivo"], dtype=object), 20)
    openness = {
        "shared": np.array([True, True]),
        "vitro": np.array([True, False]),
        "vivo": np.array([False, True]),
    }
    activity = np.stack([openness[name] for name in programme])[:, :, None].astype(float)
    found = planted_match(activity, programme, openness)
    assert found.programme[0] == "shared"
    assert found.auroc[0] < 0.8


def test_expected_power_equals_statsmodels() -> None:
    truth = Truth(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([0.8, 0.8]))
    ours = expected_power(truth, design(1, 3), 0.05)
    theirs = TTestIndPower().power(1.0 / 0.8, nobs1=3, alpha=0.05)
    assert ours[0] == pytest.approx(theirs, rel=1e-6)
    assert ours[1] == pytest.approx(0.05)
    strong = Truth(np.linspace(1, 200, 100), np.ones(100), np.ones(100))
    assert (np.diff(expected_power(strong, design(1, 3), 0.05)) > -1e-9).all(), (
        "never NaN, and rising with the effect"
    )


def test_a_discovery_that_points_the_wrong_way_is_false() -> None:
    table = pd.DataFrame(
        {
            "planted": [1, 1, -1, 0, 1],
            "expected_power": [0.5] * 5,
            "strong": [True, False, False, False, True],
            "q_combined": [0.01, 0.2, 0.01, 0.01, 0.5],
            "sign_combined": [1, 1, 1, 1, 1],
            "q_union": [0.01] * 5,
            "q_published": [0.001] * 5,
            "sign_published": [1, 1, -1, 1, -1],
        }
    )
    result = scores(table, 0.05).set_index("test")
    row = result.loc["combined"]
    assert (row.found, row["false"], row.wrong_sign, row.true) == (3, 2, 1, 4)
    assert row.false_discovery == pytest.approx(2 / 3)
    assert row.power_strong == row.bound_strong == 0.5
    assert result.loc["union"].false_discovery == pytest.approx(1 / 5)
    assert result.loc["published"].wrong_sign == 1


def test_libraries_that_are_alike_differ_in_openness_and_donors_alone() -> None:
    config = DemoConfig(chromosomes=1, mean_length=300_000, replicates=2, deepest=20_000)
    windows = pd.DataFrame({"chrom": "chr1", "start": [20_480, 40_960], "end": [36_864, 57_344]})
    made = simulate_libraries(config, windows, donors=3, alike=True, seed=3)
    assert made.signal.shape == (2, 18, 4096)
    assert np.ptp(made.table.fragments) < 0.01 * made.table.fragments.mean()
    assert set(zip(made.table.lineage, made.table.context)) == set(CONDITIONS)
    drawn = simulate_libraries(config, windows, donors=3, alike=False, seed=3)
    assert drawn.table.fragments.max() > 1.3 * drawn.table.fragments.min()
    again = simulate_libraries(config, windows, donors=3, alike=True, seed=3)
    assert made.signal.tobytes() == again.signal.tobytes()
    totals = made.signal.astype(float).sum((0, 2))
    assert totals.std() > 0.01 * totals.mean(), "donors differ"
    bins = (
        made.signal.astype(float).reshape(2, 18, 128, 32).sum(3).transpose(1, 0, 2).reshape(18, -1)
    )
    alike = np.corrcoef(np.sqrt(bins))
    condition = (made.table.lineage + made.table.context).to_numpy()
    same = condition[:, None] == condition
    assert alike[same & ~np.eye(18, dtype=bool)].mean() > alike[~same].mean() + 0.1, (
        "conditions open other elements"
    )


def test_fraction_of_reads_in_peaks_tells_the_library_and_not_the_shape_of_a_contexts_elements() -> (
    None
):
    config = DemoConfig(chromosomes=1, mean_length=1_500_000, replicates=2, deepest=60_000)
    starts = np.arange(0, config.lengths()["chr1"] - 16_384, 16_384)
    windows = pd.DataFrame({"chrom": "chr1", "start": starts, "end": starts + 16_384})
    made = simulate_libraries(config, windows, donors=4, alike=True, seed=3)
    vivo, peaks = (made.table.context == "in_vivo").to_numpy(), pd.concat(made.peaks)
    signals = [made.signal[:, i].astype(np.float32) for i in range(len(vivo))]
    bare = np.log2(share_in_peaks(signals, peaks, windows, 0))
    share = np.log2(share_in_peaks(signals, peaks, windows))
    assert bare[vivo].mean() - bare[~vivo].mean() > 0.02, "wide elements stick out of their peaks"
    assert abs(share[vivo].mean() - share[~vivo].mean()) < 0.005


def test_multiplicity_ledger_states_family_and_size() -> None:
    features = pd.DataFrame(
        {
            "layer": [0, 0, 1],
            "alive": [True, False, True],
            "n_biosample": ["9 in_vitro, 9 in_vivo", None, "9 in_vitro, 9 in_vivo"],
            "q_biosample": [0.01, np.nan, 0.2],
            "q_blood_biosample": [np.nan, np.nan, np.nan],
            "p_maxt_all_biosample": [0.04, np.nan, 0.9],
            "p_published_bonferroni": [0.0, 1.0, 1.0],
        }
    )
    motifs = pd.DataFrame({"q": [0.01, np.nan, 0.5]})
    rows = multiplicity({"cds/features": features, "motifs/enrichment": motifs}, 0.05, "lineage")
    first = rows.iloc[0]
    assert (first.stage, first.method, first["size"], first.tested, first.rejected) == (
        "cds",
        "BH",
        2,
        2,
        1,
    )
    assert first.units == "9 in_vitro, 9 in_vivo"
    assert "lineage blood, biosample level" not in set(rows.test)
    published = rows[rows.test.str.startswith("published")]
    assert published["size"].tolist() == [2, 1]
    assert rows[rows.stage == "motifs"]["size"].tolist() == [2]
    assert "| motifs |" in as_markdown(rows)
    assert multiplicity({}, 0.05).empty
