"""Labels and lineage specificity on enrichments with a known answer; intervals against statsmodels'
Woolf interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from statsmodels.stats.contingency_tables import Table2x2

from petriscope.enrich.background import Counts, MatchedBackground, strata
from petriscope.enrich.features import enrich_features, feature_specificity, lineage_contrast
from petriscope.enrich.genes import Links
from petriscope.enrich.genesets import GeneSets, enrich_gene_sets
from petriscope.enrich.labels import label_features, label_parts
from petriscope.enrich.states import state_enrichment
from petriscope.errors import UserError


@pytest.fixture(scope="module")
def annotated():
    """Feature 'full' has a state, a motif and a process; 'motif' a motif alone; 'random'
    nothing."""
    rng = np.random.default_rng(0)
    n = 8000
    states = rng.integers(0, 4, n)
    hits = rng.uniform(size=(n, 30)) < 0.1
    genes = [f"G{i}" for i in range(800)]
    links = Links(
        sparse.csr_matrix((np.ones(n), (np.arange(n), np.arange(n) // 10)), shape=(n, 800)), genes
    )
    sets = GeneSets({f"process {t}": tuple(genes[t * 40 : t * 40 + 40]) for t in range(20)}, ())
    chance = np.full((3, n), 0.01)
    chance[0] += (states == 2) * (0.1 + 0.6 * hits[:, 4]) * (np.arange(n) < 1600)
    chance[1] += 0.1 * hits[:, 9]
    features = ["full", "motif", "random"]
    member = sparse.csr_matrix(rng.uniform(size=(3, n)) < chance)
    matched = MatchedBackground(member, strata(rng.uniform(0.3, 0.6, n)))
    names = [f"F{i}(Zf)/cell-ChIP/Homer" for i in range(30)]
    return label_features(
        features,
        {
            "chromhmm": state_enrichment(member, states, 4, matched).table(
                ["TssA", "Tx", "Enh", "Quies"], features
            ),
            "motif": enrich_features(hits, matched).table(names, features),
            "geneset": enrich_gene_sets(member, links, sets, features=features).table,
        },
        0.05,
    ).set_index("feature")


def test_labels_say_what_passes(annotated):
    assert annotated.loc["full", "label"].startswith("Enh · F4(Zf) · process ")
    assert annotated.loc["full", "confidence"] == "high"
    assert (
        annotated.loc["motif", "label"] == "F9(Zf)"
        and annotated.loc["motif", "confidence"] == "low"
    )
    assert (
        annotated.loc["random", "label"] == "unlabelled"
        and annotated.loc["random", "confidence"] == "none"
    )
    assert annotated.loc["random", "evidence"] == "" and annotated.loc["random", "motif"] is None
    assert (
        "F9(Zf)" in annotated.loc["motif", "evidence"]
        and " q " in annotated.loc["motif", "evidence"]
    )
    assert (
        annotated.loc["full", "motif_q"] < 0.05 and annotated.loc["full", "process_region_q"] < 0.05
    )


def test_a_process_needs_the_gene_test_and_the_region_test():
    row = {"feature": "a", "term": "heme biosynthesis", "ln_p": -20.0, "fold": 3.0}
    for q, region_q, label in (
        (0.01, 0.01, "heme biosynthesis"),
        (0.01, 0.2, "unlabelled"),
        (0.2, 0.01, "unlabelled"),
    ):
        frame = pd.DataFrame([{**row, "q": q, "region_q": region_q}])
        assert label_features(["a"], {"geneset": frame}, 0.05)["label"].tolist() == [label]


def test_the_state_that_holds_most_bins_beyond_its_background_wins():
    row = {
        "feature": "a",
        "odds_ratio": 3.0,
        "low": 2.0,
        "high": 4.0,
        "q": 0.001,
        "background_share": 0.1,
    }
    wide, narrow = (
        {**row, "state": "EnhA1", "share": 0.4},
        {**row, "state": "TssFlnkU", "share": 0.15, "low": 3.0},
    )
    rare = {**row, "state": "Het", "share": 0.06, "background_share": 0.001, "low": 9.0}
    frame = pd.DataFrame([narrow, wide, rare])

    def label(table, alpha=0.05):
        return label_features(["a"], {"chromhmm": table}, alpha)["label"].item()

    assert label(frame) == "EnhA1"
    shifted = frame.assign(shift_p=[0.01, 0.3, 0.01])
    assert label(shifted) == "TssFlnkU"
    assert label(shifted, alpha=0.005) == "unlabelled"
    assert label(pd.DataFrame([{**wide, "state": "ZNF/Rpts"}])) == "ZNF/Rpts"
    weak = pd.DataFrame([{**wide, "low": 1.4}, {**wide, "share": 0.09}])
    assert label(weak) == "unlabelled"


def test_parts_are_the_labels_in_long_form(annotated):
    labels = annotated.reset_index()
    parts = label_parts(labels).set_index(["feature", "kind"])
    assert parts.index.is_unique and len(parts) == labels["levels"].sum()
    state = parts.loc[("full", "state")]
    assert state["term"] == "Enh" and state["low"] < state["estimate"] < state["high"]
    assert parts.loc[("motif", "motif"), "term"] == "F9(Zf)" and np.isnan(
        parts.loc[("motif", "motif"), "low"]
    )


def test_nothing_given_is_unlabelled():
    frame = label_features([3, 4], {}, 0.05)
    assert frame["label"].tolist() == ["unlabelled"] * 2 and frame["feature"].tolist() == [3, 4]


def table_counts(a, b, c, d) -> Counts:
    one = np.array([[a]], dtype=float), np.array([[c]], dtype=float)
    return Counts(*one, np.array([a + b], dtype=float), np.array([c + d], dtype=float), np.zeros(1))


def test_feature_specificity_is_a_difference_of_log_odds():
    tables = {"blood": (40, 60, 100, 900), "liver": (12, 88, 100, 900), "lymph": (9, 91, 100, 900)}
    result = feature_specificity(
        {name: table_counts(*cells) for name, cells in tables.items()}, ["blood"]
    )
    woolf = {
        name: Table2x2(np.array(c).reshape(2, 2) + 0.5, shift_zeros=False)
        for name, c in tables.items()
    }
    expected = (
        woolf["blood"].log_oddsratio
        - (woolf["liver"].log_oddsratio + woolf["lymph"].log_oddsratio) / 2
    )
    se = np.sqrt(
        woolf["blood"].log_oddsratio_se ** 2
        + (woolf["liver"].log_oddsratio_se ** 2 + woolf["lymph"].log_oddsratio_se ** 2) / 4
    )
    got = [float(x[0, 0]) * np.log(2) for x in result[:3]]
    assert got == pytest.approx(
        [expected, expected - 1.959964 * se, expected + 1.959964 * se], rel=1e-6
    )
    with pytest.raises(UserError, match="at least two"):
        feature_specificity({"blood": table_counts(1, 2, 3, 4)}, ["blood"])


def test_lineage_contrast_finds_the_planted_factor_and_covers_zero_elsewhere():
    rng = np.random.default_rng(1)
    lineage = ["blood"] * 30 + ["liver"] * 30 + ["lymph"] * 30
    fold = rng.normal(0, 0.5, (90, 12))
    fold[:30, 3] += 1.5
    fold[5] = np.nan
    table = lineage_contrast(
        fold, lineage, [f"m{i}" for i in range(12)], rng=np.random.default_rng(2), n_bootstrap=300
    )
    first = table[(table["lineage"] == "blood") & (table["rank"] == 1)].iloc[0]
    assert first["name"] == "m3" and first["low"] > 1 and first["own_features"] == 29
    others = table[~(table["name"] == "m3")]
    assert (
        (others["low"] < 0) & (others["high"] > 0)
    ).mean() > 0.8  # three lineages share each difference
    again = lineage_contrast(
        fold, lineage, [f"m{i}" for i in range(12)], rng=np.random.default_rng(2), n_bootstrap=300
    )
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(UserError, match="two lineages"):
        lineage_contrast(fold, ["blood"] * 90, [f"m{i}" for i in range(12)], rng=rng)
