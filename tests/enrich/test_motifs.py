"""Motif readers and thresholds against full enumeration of all words; error messages name file and
line."""

from __future__ import annotations

import gzip
import itertools
from math import comb
from pathlib import Path

import numpy as np
import pytest

from petriscope.enrich.motifs import (
    Motif,
    consensus_of,
    log_odds_threshold,
    read_motifs,
    reverse_complement,
    with_threshold,
)
from petriscope.enrich.scan import scan_hits
from petriscope.errors import UserError

HOMER = ">TGACTCA\tAP-1(bZIP)/demo/Homer\t6.5\t-10\t0\n" + "".join(
    f"{row}\n"
    for row in ("0.01\t0.01\t0.01\t0.97", "0.01\t0.01\t0.97\t0.01", "0.97\t0.01\t0.01\t0.01")
)
MEME = """MEME version 4

ALPHABET= ACGT

MOTIF MA0001.1 GATA1
letter-probability matrix: alength= 4 w= 3 nsites= 20 E= 0
 0.0 0.0 1.0 0.0
 1.0 0.0 0.0 0.0
 0.1 0.1 0.1 0.7

MOTIF second
letter-probability matrix: alength= 4 w= 2
 0.25 0.25 0.25 0.25
 1 0 0 0
URL http://example.org
"""
JASPAR = ">MA0001.1\tGATA1\nA [ 0 10 2 ]\nC [ 0 0 2 ]\nG [ 10 0 2 ]\nT [ 0 0 4 ]\n"


def written(folder: Path, text: str, name: str = "motifs.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def random_motif(rng: np.random.Generator, length: int) -> Motif:
    matrix = rng.dirichlet([0.4] * 4, size=length)
    return Motif("m", consensus_of(matrix), matrix, 0.0)


def tail(scores: np.ndarray, background: tuple[float, ...], threshold: float) -> float:
    """P(score ≥ threshold) by listing every word."""
    total, weight = np.zeros(1), np.ones(1)
    for row in scores:
        total = (total[:, None] + row).ravel()
        weight = (weight[:, None] * np.array(background)).ravel()
    return float(weight[total >= threshold].sum())


@pytest.mark.parametrize("length", [4, 7, 9])
@pytest.mark.parametrize("p", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("background", [(0.25, 0.25, 0.25, 0.25), (0.3, 0.2, 0.2, 0.3)])
def test_threshold_is_the_lowest_that_keeps_p(length, p, background):
    for seed in range(5):
        motif = random_motif(np.random.default_rng(seed), length)
        scores = motif.log_odds()
        best = float(scores.max(axis=1).sum())
        threshold = log_odds_threshold(motif, p, background)
        if tail(scores, background, best - 1e-9) > p:
            assert threshold == pytest.approx(best)
            continue
        assert tail(scores, background, threshold) <= p
        every = (
            sorted({round(sum(row), 9) for row in itertools.product(*scores)}, reverse=True)
            if length < 8
            else []
        )
        below = [s for s in every if s < threshold - 2 * length * 2.5e-4]
        if below:
            assert tail(scores, background, below[0] - 1e-6) > p


@pytest.mark.parametrize("best", [0.4, 0.55, 0.7, 0.9])
@pytest.mark.parametrize("p", [0.05, 1e-2, 1e-3, 1e-4])
def test_coarse_scores_use_the_whole_p(best, p):
    """Equal positions leave wide gaps between scores: the tail is the largest that does not exceed
    p, not less."""
    matrix = np.full((9, 4), (1 - best) / 3)
    matrix[:, 2] = best
    scores = np.log(matrix / 0.25)
    got = tail(scores, (0.25,) * 4, log_odds_threshold(scores, p))
    tails = np.cumsum([comb(9, k) * 3**k for k in range(10)]) / 4**9
    assert got == pytest.approx(tails[tails <= p].max())


def test_rounding_never_lets_the_tail_exceed_p():
    for seed in range(60):
        motif = random_motif(np.random.default_rng(seed), 8)
        for p in (0.003, 0.01, 0.03):
            assert tail(motif.log_odds(), (0.25,) * 4, log_odds_threshold(motif, p)) <= p


@pytest.mark.parametrize("length", [4, 5, 6, 7])
def test_the_best_word_of_a_short_motif_is_a_hit_on_both_strands(length):
    for seed in range(20):
        motif = random_motif(np.random.default_rng(seed), length)
        motif = with_threshold(motif, 1e-6)
        word = motif.matrix.argmax(axis=1)[None].astype(np.uint8)
        assert scan_hits(word, [motif])[0, 0] and scan_hits(3 - word[:, ::-1], [motif])[0, 0]


def test_threshold_refuses_a_p_outside_0_1():
    with pytest.raises(UserError, match="between 0 and 1"):
        log_odds_threshold(random_motif(np.random.default_rng(0), 5), 0.0)


def test_log_odds_floor_and_reverse_complement():
    motif = Motif("m", "A", np.array([[1.0, 0.0, 0.0, 0.0], [0.7, 0.1, 0.1, 0.1]]), 0.0)
    assert motif.log_odds()[0, 1] == pytest.approx(np.log(0.001 / 0.25))
    np.testing.assert_array_equal(reverse_complement(motif.matrix)[1], [0, 0, 0, 1])
    assert motif.information()[0] == pytest.approx(2.0)


def test_homer_file(tmp_path):
    (motif,) = read_motifs(written(tmp_path, HOMER))
    assert motif.key == ("AP-1(bZIP)/demo/Homer", "TGACTCA")
    assert motif.factor == "AP-1(bZIP)"
    assert motif.threshold == 6.5 and motif.matrix.shape == (3, 4)


def test_meme_file_gets_thresholds_and_consensus(tmp_path):
    first, second = read_motifs(written(tmp_path, MEME))
    assert (first.name, first.consensus, second.name) == ("GATA1/MA0001.1", "GAT", "second")
    assert second.consensus == "NA"
    assert first.threshold == with_threshold(first).threshold


def test_jaspar_counts_become_probabilities(tmp_path):
    (motif,) = read_motifs(written(tmp_path, JASPAR))
    assert motif.name == "GATA1/MA0001.1"
    np.testing.assert_allclose(motif.matrix[0], [0.25 / 11, 0.25 / 11, 10.25 / 11, 0.25 / 11])


def test_gzip_and_named_format(tmp_path):
    path = tmp_path / "m.motifs.gz"
    with gzip.open(path, "wt") as handle:
        handle.write(HOMER)
    assert len(read_motifs(path, format="homer")) == 1
    with pytest.raises(UserError, match=r"format.*Formats: homer, meme"):
        read_motifs(path, format="transfac")


def test_motif_without_threshold_is_named(tmp_path):
    path = written(tmp_path, HOMER.replace("\t6.5\t-10\t0", ""))
    with pytest.warns(UserWarning, match="AP-1"):
        (motif,) = read_motifs(path)
    assert motif.threshold == with_threshold(motif).threshold


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HOMER.replace("0.97\t0.01\t0.01\t0.01", "0.97\t0.01\t0.01"),
            r"motifs.txt: line 4: .*four numbers",
        ),
        (
            HOMER.replace("0.97\t0.01\t0.01\t0.01", "9\t1\t1\t1"),
            r"line 4: row 3 .*sum to 1.*Divide",
        ),
        (HOMER.replace("\t6.5", "\tsix"), r"line 1: threshold 'six'.*third tab"),
        (HOMER.replace("\t", " "), r"line 1: a HOMER header.*tabs"),
        (HOMER + HOMER, r"occurs 2 times.*Keep one"),
        (MEME.replace("w= 3", "w= 4"), r"line 6: .*declares w= 4 but has 3"),
        (MEME.replace("MOTIF MA0001.1 GATA1\n", ""), r"line 5: matrix before any MOTIF"),
        (MEME.replace("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY"), r"line 3: alphabet"),
        (JASPAR.replace("T [ 0 0 4 ]", "T [ 0 0 ]"), r"line 1: JASPAR motif"),
        ("", r"line 1: neither HOMER, MEME nor JASPAR"),
        ("MEME version 4\n", r"no motif found reading it as meme"),
        (">X\tname\t3\n", r"motif 'name' has no rows"),
    ],
)
def test_bad_files_name_the_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_motifs(written(tmp_path, text))


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_motifs(tmp_path / "absent.motifs")


def test_real_libraries(shared):
    folder = shared / "data" / "real" / "motifs"
    homer = read_motifs(folder / "homer.vertebrates.known.motifs")
    assert len(homer) == 364 and homer[0].threshold == 6.049537
    archetypes = read_motifs(folder / "vierstra_consensus_pwms.meme.gz")
    assert len(archetypes) == 693
    assert archetypes[0].consensus == "TAATTR"
