"""Motif scan against the plain sum over every placement, and against the target counts the real
homer2 printed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petriscope.enrich.motifs import (
    Motif,
    consensus_of,
    log_odds_threshold,
    read_motifs,
    reverse_complement,
)
from petriscope.enrich.scan import best_scores, encode, find_occurrences, scan_hits
from petriscope.errors import UserError


def random_motif(rng: np.random.Generator, length: int, p: float = 1e-3) -> Motif:
    matrix = rng.dirichlet([0.3] * 4, size=length)
    return Motif(
        f"m{length}",
        consensus_of(matrix),
        matrix,
        log_odds_threshold(np.log(np.maximum(matrix, 1e-3) / 0.25), p),
    )


def plain_hits(sequences: np.ndarray, motif: Motif) -> list[tuple[int, int, int, float]]:
    """Every placement by the definition, one base at a time."""
    found = []
    for i, row in enumerate(sequences):
        for start in range(len(row) - len(motif.matrix) + 1):
            word = row[start : start + len(motif.matrix)]
            if (word > 3).any():
                continue
            for sign, scores in ((1, motif.log_odds()), (-1, reverse_complement(motif.log_odds()))):
                total = 0.0
                for j, letter in enumerate(word):
                    total += scores[j, letter]
                if total >= motif.threshold:
                    found.append((i, start, sign, total))
    return found


def same(sequences: np.ndarray, motif: Motif) -> None:
    expected = plain_hits(sequences, motif)
    got = find_occurrences(sequences, motif, chunk_bases=300)
    assert [(int(a), int(b), int(c)) for a, b, c in zip(got.sequence, got.start, got.strand)] == [
        e[:3] for e in expected
    ]
    np.testing.assert_allclose(got.score, [e[3] for e in expected], atol=1e-9)
    hits = scan_hits(sequences, [motif])
    np.testing.assert_array_equal(np.flatnonzero(hits[:, 0]), sorted({e[0] for e in expected}))


@pytest.mark.parametrize("length", [1, 3, 6, 7, 11, 12, 13, 16, 20, 24, 25, 28, 37])
def test_every_length_matches_the_definition(length):
    rng = np.random.default_rng(length)
    motif = random_motif(rng, length)
    sequences = rng.integers(0, 4, (12, 80)).astype(np.uint8)
    for i in range(4):  # plant the best word on both strands, at the ends too
        word = motif.matrix.argmax(axis=1)
        word = 3 - word[::-1] if i % 2 else word
        start = (0, 80 - length, 17, 30)[i]
        sequences[i, start : start + length] = word
    sequences[rng.random(sequences.shape) < 0.02] = 4
    same(sequences, motif)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 30),
    width=st.integers(1, 60),
    n_share=st.sampled_from([0, 0.05, 0.5, 1]),
)
def test_random_inputs_match_the_definition(seed, length, width, n_share):
    rng = np.random.default_rng(seed)
    motif = random_motif(rng, length, p=float(rng.choice([0.05, 1e-2, 1e-3])))
    sequences = rng.integers(0, 4, (5, width)).astype(np.uint8)
    sequences[rng.random(sequences.shape) < n_share] = 4
    same(sequences, motif)


def test_a_score_equal_to_the_threshold_is_a_hit():
    rng = np.random.default_rng(3)
    matrix = rng.dirichlet([0.4] * 4, size=14)
    sequence = matrix.argmax(axis=1)[None].astype(np.uint8)
    sequence[0, [2, 9]] = rng.integers(0, 4, 2)
    exact = 0.0
    for j, letter in enumerate(sequence[0]):
        exact += float(np.log(np.maximum(matrix[j, letter], 1e-3) / 0.25))
    at, above = (Motif("m", "", matrix, t) for t in (exact, float(np.nextafter(exact, np.inf))))
    assert scan_hits(sequence, [at])[0, 0] and 1 in find_occurrences(sequence, at).strand
    assert 1 not in find_occurrences(sequence, above).strand


@pytest.mark.parametrize("length", [5, 11, 18, 30])
def test_an_unreachable_threshold_hits_nothing(length):
    matrix = np.random.default_rng(0).dirichlet([0.3] * 4, size=length)
    best = matrix.argmax(axis=1)[None].astype(np.uint8)
    top = float(np.log(np.maximum(matrix, 1e-3) / 0.25).max(axis=1).sum())
    assert scan_hits(best, [Motif("m", "", matrix, top - 1e-6)])[0, 0]
    assert not scan_hits(best, [Motif("m", "", matrix, top + 1e-6)])[0, 0]


def test_threads_do_not_change_the_answer():
    rng = np.random.default_rng(6)
    motifs = [random_motif(rng, length, 1e-2) for length in (6, 12, 22)]
    sequences = rng.integers(0, 5, (301, 50)).astype(np.uint8)
    np.testing.assert_array_equal(
        scan_hits(sequences, motifs, threads=1), scan_hits(sequences, motifs, threads=4)
    )


def test_lower_case_and_foreign_letters():
    np.testing.assert_array_equal(
        encode(["acGTNx", "AC"]), [[0, 1, 2, 3, 4, 4], [0, 1, 4, 4, 4, 4]]
    )


def test_empty_inputs():
    motif = random_motif(np.random.default_rng(0), 8)
    assert scan_hits(np.zeros((0, 10), np.uint8), [motif]).shape == (0, 1)
    assert scan_hits(np.zeros((3, 10), np.uint8), []).shape == (3, 0)
    assert len(find_occurrences(np.full((3, 10), 4, np.uint8), motif).start) == 0


def test_strings_are_refused():
    with pytest.raises(UserError, match=r"uint8.*encode"):
        scan_hits(np.zeros((3, 10), np.int64), [random_motif(np.random.default_rng(0), 8)])


def test_chunks_do_not_change_the_answer():
    rng = np.random.default_rng(1)
    motifs = [random_motif(rng, length, 1e-2) for length in (5, 9, 15)]
    sequences = rng.integers(0, 5, (50, 40)).astype(np.uint8)
    np.testing.assert_array_equal(
        scan_hits(sequences, motifs), scan_hits(sequences, motifs, chunk_bases=120)
    )


def test_best_score_decides_the_hit():
    rng = np.random.default_rng(2)
    motif = random_motif(rng, 9, 1e-2)
    sequences = rng.integers(0, 4, (200, 40)).astype(np.uint8)
    np.testing.assert_array_equal(
        best_scores(sequences, motif) >= motif.threshold, scan_hits(sequences, [motif])[:, 0]
    )
    assert best_scores(np.full((1, 20), 4, np.uint8), motif)[0] == -np.inf


def test_target_counts_of_homer2(shared):
    """Targets weigh 1, so the printed target count is the plain number of sequences with a hit."""
    folder = shared / "data" / "golden" / "homer_K562"
    import pandas as pd

    sequences = pd.read_csv(folder / "seq.tsv.gz", sep="\t", header=None, names=["id", "sequence"])
    groups = pd.read_csv(
        folder / "group.gcweight.tsv.gz", sep="\t", header=None, names=["id", "group", "weight"]
    )
    target = sequences["id"].isin(groups.loc[groups["group"] == 1, "id"]).to_numpy()
    motifs = read_motifs(shared / "data" / "real" / "motifs" / "homer.vertebrates.known.motifs")
    hits = scan_hits(encode(sequences["sequence"].tolist()), motifs)
    printed = pd.read_csv(folder / "homer2.known.binomial.tsv.gz", sep="\t")
    column = next(c for c in printed.columns if c.startswith("# target"))
    counts = dict(zip(zip(printed["Motif Name"], printed["Consensus"]), printed[column]))
    ours = {motif.key: int(hits[target, m].sum()) for m, motif in enumerate(motifs)}
    assert ours == counts
