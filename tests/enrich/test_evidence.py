"""Evidence beside a motif's p: specificity against plain 2x2 counts, logos and positions against
planted words, the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import sparse

from petriscope.enrich.background import Strata
from petriscope.enrich.hits import (
    best_motifs,
    families,
    lineage_specificity,
    logos_and_positions,
)
from petriscope.enrich.motifs import Motif, with_threshold
from petriscope.studies.chromatin.figures import draw_motif_hits

WORD = np.array([0, 2, 0, 3, 0, 0, 2, 1, 1])


@pytest.fixture(scope="module")
def planted():
    """600 sequences of 200 bp; the first 100 hold the word near the center."""
    rng = np.random.default_rng(4)
    motif = with_threshold(Motif("GATA/x", "AGATAAGCC", np.eye(4)[WORD] * 0.94 + 0.015, 0.0), 1e-4)
    sequences = rng.integers(0, 4, (600, 200)).astype(np.uint8)
    for i in range(100):
        at = 95 + i % 3
        sequences[i, at : at + 9] = WORD
    return sequences, motif


def test_best_motifs_pass_once_each_in_rank_order():
    table = pd.DataFrame(
        {
            "group": ["a"] * 4 + ["b"] * 2,
            "rank": [2, 1, 3, 4, 1, 2],
            "name": ["x", "y", "y", "z", "x", "y"],
            "q": [0.01, 0.001, 0.02, 0.04, 0.2, 0.9],
        }
    )
    found = best_motifs(table, most=2, max_q=0.05)
    assert list(zip(found.group, found.name)) == [("a", "y"), ("a", "x")]


def test_specificity_is_the_difference_of_log_odds_in_one_stratum():
    rng = np.random.default_rng(0)
    n = 3000
    hits = rng.uniform(size=(n, 2)) < 0.2
    firing = {x: rng.uniform(size=(1, n)) < 0.05 for x in ("blood", "liver")}
    firing["blood"][0] |= hits[:, 0] & (rng.uniform(size=n) < 0.2)
    classes = Strata(np.zeros(n, dtype=np.int64), ["all"])
    found = lineage_specificity(
        {x: sparse.csr_matrix(m) for x, m in firing.items()},
        ["blood"],
        classes,
        hits,
        ["m", "other"],
    ).set_index("name")

    def log_odds(inside: np.ndarray, hit: np.ndarray) -> float:
        cells = [
            (inside & hit).sum(),
            (inside & ~hit).sum(),
            (~inside & hit).sum(),
            (~inside & ~hit).sum(),
        ]
        a, b, c, d = (cell + 0.5 for cell in cells)
        return float(np.log2(a * d / (b * c)))

    for column, name in enumerate(("m", "other")):
        expected = log_odds(firing["blood"][0], hits[:, column]) - log_odds(
            firing["liver"][0], hits[:, column]
        )
        assert found.loc[name, "specificity"] == pytest.approx(expected, rel=1e-6)
    assert found.loc["m", "specificity_low"] > 0 > found.loc["other", "specificity_low"]
    assert lineage_specificity(
        {"blood": sparse.csr_matrix(firing["blood"])}, ["blood"], classes, hits, ["m", "o"]
    ).empty


def test_families_name_the_motifs_that_cannot_be_told_apart(planted):
    _, motif = planted
    turned = Motif("GATA2/y", "", motif.matrix[::-1, ::-1], 0.0)
    other = Motif("OTHER/z", "", np.eye(4)[[1, 1, 1, 1, 2, 2, 2, 2]] * 0.94 + 0.015, 0.0)
    found = families([motif, turned, other])
    assert set(found["GATA/x"].split(", ")) == {"GATA", "GATA2"} and found["OTHER/z"] == "OTHER"


def test_logos_and_positions_show_the_planted_word(planted):
    sequences, motif = planted
    weights = np.where(np.arange(600) >= 100, 1.0, 0.0)
    rng = np.random.default_rng(1)
    logos, positions = logos_and_positions(sequences, motif, np.arange(100), weights, 300, rng)
    hits = logos[logos.source == "hits"]
    assert "".join("ACGT"[i] for i in hits[list("ACGT")].to_numpy().argmax(axis=1)) == "AGATAAGCC"
    assert hits.n.iloc[0] >= 100 and hits.correlation.iloc[0] > 0.95
    peak = positions.loc[positions.target.idxmax(), "offset"]
    assert -10 <= peak <= 0 and positions.target.max() > 20 * positions.background.max()
    figure = draw_motif_hits(
        logos.assign(group="L2 blood", name="GATA/x"),
        positions.assign(group="L2 blood", name="GATA/x"),
    )
    assert figure.axes[0].get_title(loc="left") == "L2 blood: GATA"
    assert figure.axes[1].get_title(loc="left").startswith(f"letters at {hits.n.iloc[0]} hits")
    assert len(figure.axes) == 3
    plt.close(figure)


def test_a_figure_without_motifs_says_so():
    figure = draw_motif_hits(
        pd.DataFrame(columns=["group", "name"]), pd.DataFrame(columns=["group", "name"])
    )
    assert "no motif" in figure.axes[0].texts[0].get_text()
    plt.close(figure)
