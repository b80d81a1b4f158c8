"""Occurrence matrices and positions on planted motifs; logos by the size of what is drawn."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from petriscope.enrich.hits import (
    compare_hits,
    feature_hits,
    hit_matrix,
    position_histogram,
    rank_sequences,
)
from petriscope.enrich.motifs import Motif, with_threshold
from petriscope.enrich.scan import find_occurrences
from petriscope.figures.annotation import draw_logo, letter_heights

matplotlib.use("Agg")


@pytest.fixture
def planted():
    """400 sequences of 201 bp; the first 200 hold a word of the motif at the center, every other
    one turned round."""
    rng = np.random.default_rng(0)
    matrix = np.full((9, 4), 0.02)
    for j, letter in enumerate([0, 2, 0, 3, 0, 0, 2, 1, 1]):
        matrix[j, letter] = 0.94
    matrix[4] = [0.4, 0.1, 0.4, 0.1]
    motif = with_threshold(Motif("m", "AGATRAGCC", matrix, 0.0), 1e-3)
    sequences = rng.integers(0, 4, (400, 201)).astype(np.uint8)
    for i in range(200):
        word = np.array([rng.choice(4, p=row) for row in matrix])
        sequences[i, 96:105] = 3 - word[::-1] if i % 2 else word
    return sequences, motif


def test_letters_at_the_hits_give_the_motif_back(planted):
    sequences, motif = planted
    seen = compare_hits(sequences, motif)
    assert seen.correlation > 0.98 and seen.consensus == "AGATRAGCC"
    assert abs(seen.information - seen.motif_information).max() < 0.6 and seen.n >= 180


def test_hit_matrix_turns_the_reverse_strand_round():
    word = np.array([0, 0, 2, 2], dtype=np.uint8)
    motif = Motif("m", "AAGG", np.eye(4)[word] * 0.97 + 0.0075, 4.0)
    sequences = np.full((2, 8), 3, dtype=np.uint8)
    sequences[0, 1:5] = word
    sequences[1, 3:7] = 3 - word[::-1]
    found = find_occurrences(sequences, motif)
    assert found.strand.tolist() == [1, -1]
    np.testing.assert_array_equal(hit_matrix(sequences, found, 4), 2 * np.eye(4)[word])


def test_positions_peak_at_the_center(planted):
    sequences, motif = planted
    table = position_histogram(sequences, motif, width=10, is_target=np.arange(400) < 200)
    assert table.loc[table["target"].idxmax(), "offset"] in (-10, 0)
    assert table["target"].max() > 5 * table["background"].max()
    found = find_occurrences(sequences, motif)
    one = position_histogram(sequences, motif)
    assert one["density"].sum() * 10 * 400 == pytest.approx(len(found.start))


def test_no_occurrence(planted):
    _, motif = planted
    empty = compare_hits(np.full((3, 30), 4, dtype=np.uint8), motif)
    assert empty.n == 0 and np.isnan(empty.correlation)


def test_ranking_puts_planted_sequences_first(planted):
    sequences, motif = planted
    assert (rank_sequences(sequences, motif, 50) < 200).all()


def test_logo_draws_letters_as_high_as_their_information(planted):
    _, motif = planted
    heights = letter_heights(motif.matrix)
    np.testing.assert_allclose(heights.sum(axis=1), motif.information())
    figure, axes = plt.subplots()
    draw_logo(axes, motif.matrix)
    drawn = sum(patch.get_path().get_extents().height for patch in axes.patches)
    assert drawn == pytest.approx(heights[heights >= 0.02].sum(), rel=1e-6)
    assert axes.get_xlim() == (0, 9)
    plt.close(figure)


def test_hits_of_features_are_those_of_each_features_own_bins(planted):
    sequences, motif = planted
    other = Motif("o", "AC", np.eye(4)[[0, 1, 0, 1]] * 0.97 + 0.0075, 4.0)
    rows = {"a": np.array([7, 3, 250]), "b": np.array([3, 9])}
    wanted = pd.DataFrame(
        {"feature": ["a", "b", "a"], "motif": [0, 0, 1], "rows": [rows["a"], rows["b"], rows["a"]]}
    )
    found = feature_hits(sequences, [motif, other], wanted)
    for (feature, index), hits in found.hits.groupby(["feature", "motif"]):
        alone = find_occurrences(sequences, (motif, other)[index])
        inside = np.isin(alone.sequence, rows[feature])
        expected = zip(alone.sequence[inside], alone.start[inside], alone.strand[inside] > 0)
        assert sorted(zip(hits.sequence, hits.offset, hits.strand == "+")) == sorted(expected)
    row = found.comparisons.set_index(["feature", "motif"]).loc[("a", 0)]
    seen = compare_hits(sequences[rows["a"]], motif)
    assert (row.n, row.consensus, row.sequences) == (seen.n, seen.consensus, 3)
    assert row.correlation == pytest.approx(seen.correlation)
    nothing = feature_hits(sequences, [motif], wanted.iloc[:0])
    assert nothing.hits.empty and nothing.comparisons.empty
