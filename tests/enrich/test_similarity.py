"""Motif similarity against numpy.corrcoef on matrices padded with 0.25, every shift and both
orientations (HOMER's rule)."""

from __future__ import annotations

import numpy as np

from petriscope.enrich.hits import family_of, motif_similarity
from petriscope.enrich.motifs import Motif, consensus_of


def random_motifs(n: int) -> list[Motif]:
    rng = np.random.default_rng(3)
    matrices = [rng.dirichlet([0.3] * 4, size=int(rng.integers(4, 15))) for _ in range(n)]
    return [
        Motif(f"m{i}/x", consensus_of(matrix), matrix, 0.0) for i, matrix in enumerate(matrices)
    ]


def padded_correlation(a: np.ndarray, b: np.ndarray) -> float:
    best = -1.0
    for other in (b, b[::-1, ::-1]):
        for shift in range(1 - len(other), len(a)):
            low, high = min(0, shift), max(len(a), shift + len(other))
            x, y = np.full((2, high - low, 4), 0.25)
            x[-low : len(a) - low] = a
            y[shift - low : shift - low + len(other)] = other
            best = max(best, float(np.corrcoef(x.ravel(), y.ravel())[0, 1]))
    return best


def test_every_pair_matches_corrcoef_of_padded_matrices():
    motifs = random_motifs(7)
    found = motif_similarity(motifs)
    expected = [[padded_correlation(a.matrix, b.matrix) for b in motifs] for a in motifs]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(motif_similarity(motifs[:2], motifs[3:]), found[:2, 3:], atol=1e-12)


def test_a_reversed_trimmed_motif_is_family():
    motifs = random_motifs(5)
    turned = Motif("turned/x", "", motifs[0].matrix[1:-1][::-1, ::-1], 0.0)
    everything = [*motifs, turned]
    alike = motif_similarity(everything)
    assert set(family_of(0, everything, alike)) == {"m0", "turned"}
    assert family_of(2, everything, alike) == ["m2"]
    assert alike[0, 5] > 0.85
