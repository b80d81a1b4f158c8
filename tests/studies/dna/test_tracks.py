"""Published track scores against the authors' own (a fixture) and a loop of numpy.corrcoef; the
annotation of tokens against a count of bases; defects of the published form, one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.studies.dna.elements import scores_of_chunks
from petriscope.studies.dna.tracks import (
    annotation_of_tokens,
    bigwig_mean,
    chunk_scores,
    chunks_of,
    covered_share,
    element_windows,
    misaligned,
    published,
    token_tracks,
    top_features,
)


def test_scores_of_a_chunk_are_the_authors(shared) -> None:
    held = np.load(shared / "golden" / "hsg_dependency.npz")
    pearson, cosine = chunk_scores(held["track_features"], held["track_annotation"])
    assert np.abs(pearson - held["track_pearson"]).max() < 2e-5
    assert np.abs(cosine - held["track_crosscorr"]).max() < 2e-5
    assert np.abs(cosine - held["track_pearson"]).max() > 0.1  # a cosine is no correlation


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scores_are_those_of_corrcoef(kind) -> None:
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(1300, 30)), 0).astype(kind)
    features[:, 3], features[:, 4] = 0, 2
    features[:, 5] = 1000 + rng.normal(size=1300)  # where a difference of sums loses its digits
    annotation = (np.arange(1300) % 70 < 20) * 1.0
    pearson, cosine = chunk_scores(features, annotation)
    for f in range(30):
        x = features[:, f].astype(float)
        wanted = 0.0 if f in (3, 4) else np.corrcoef(x, annotation)[0, 1]
        assert pearson[f] == pytest.approx(wanted, abs=2e-6)
        below = np.sqrt((x**2).sum() * (annotation**2).sum())
        assert cosine[f] == pytest.approx(x @ annotation / below if below else 0, abs=2e-6)
    nothing = chunk_scores(features, np.zeros(1300))
    assert not nothing[0].any() and not nothing[1].any()


def test_scores_of_many_chunks_are_those_of_each() -> None:
    rng = np.random.default_rng(2)
    chunk = np.repeat([2, 0, 1], [40, 25, 60])
    codes = np.where(rng.uniform(size=(125, 9)) < 0.2, rng.exponential(size=(125, 9)), 0)
    codes[chunk == 1, 4], codes[chunk == 2, 5] = 3, 0
    annotation = (np.arange(125) % 20 < 8) * 1.0
    pearson, cosine = scores_of_chunks(sp.csr_matrix(codes), annotation, chunk)
    for i in range(3):
        rows = chunk == i
        wanted = chunk_scores(codes[rows], annotation[rows])
        assert pearson[i] == pytest.approx(wanted[0], abs=1e-12)
        assert cosine[i] == pytest.approx(wanted[1], abs=1e-12)
    assert pearson[1, 4] == pearson[2, 5] == 0


def test_covered_share_counts_bases() -> None:
    rng = np.random.default_rng(4)
    lower = rng.integers(0, 900, 40)
    bed = pd.DataFrame({"chrom": "a", "start": lower, "end": lower + rng.integers(1, 60, 40)})
    bed.loc[30:, "chrom"] = "b"
    start, width = np.arange(0, 960, 6), np.resize([6, 6, 1], 160)
    chrom = np.where(np.arange(160) < 120, "a", "b").astype(object)
    found = covered_share(chrom, start, width, bed)
    for i in range(160):
        rows = bed[bed.chrom == chrom[i]]
        held = [
            ((rows.start <= base) & (rows.end > base)).any()
            for base in range(start[i], start[i] + width[i])
        ]
        assert found[i] == pytest.approx(np.mean(held))
    assert covered_share(np.array(["c"]), np.array([3]), np.array([6]), bed).tolist() == [0]


def test_bigwig_mean_over_the_bases_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "x.bw"
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader([("a", 100)])
        out.addEntries("a", 10, values=[float(x) for x in range(20)], span=1, step=1)
    found = bigwig_mean(path, np.array(["a", "a", "b"]), np.array([9, 94, 3]), np.array([6, 6, 6]))
    assert found == pytest.approx([(0 + 0 + 1 + 2 + 3 + 4) / 6, 0, 0])
    with pytest.raises(UserError, match="holds none of zz"):
        bigwig_mean(path, np.array(["zz"]), np.array([0]), np.array([6]))
    (tmp_path / "no.bw").write_text("no\n")
    with pytest.raises(UserError, match="is no bigWig"):
        bigwig_mean(tmp_path / "no.bw", np.array(["a"]), np.array([0]), np.array([6]))


def test_states_of_a_segmentation_are_tracks_and_names_of_elements_are_not(tmp_path: Path) -> None:
    states = tmp_path / "states.bed"
    states.write_text("a\t0\t60\tE1\na\t60\t90\tE2\na\t90\t120\tE1\n")
    few = tmp_path / "few.bed"
    few.write_text("a\t0\t6\tx\na\t60\t62\ty\n")
    start = np.arange(0, 120, 6)
    chrom, width = np.full(20, "a", object), np.full(20, 6)
    found = token_tracks({"s": states, "few": few}, chrom, start, width)
    assert list(found) == ["s: E1", "s: E2", "few"]
    assert (found["s: E1"] + found["s: E2"]).tolist() == [1] * 20
    assert found["few"][[0, 10, 11]] == pytest.approx([1, 2 / 6, 0])


def test_an_unknown_letter_puts_the_row_of_zeros_where_letters_are_counted() -> None:
    """Defect 6: the stretch that differs begins at letter 12, the chunk has 5 tokens."""
    features = np.arange(1.0, 6)[:, None]
    chunk = "ACGTTA" + "CCGGTA" + "R" + "ACGTAC" + "TTTACG"
    words = ["ACGTTA", "CCGGTA", "<unk>", "ACGTAC", "TTTACG"]
    found, widths = misaligned(features, words, chunk)
    assert found.ravel().tolist() == [1, 2, 3, 4, 5, 0]  # the zeros at the end, not at token 2
    assert widths == [6, 6, 5, 0, 6, 6]  # 13 - 17 letters of Z: none
    annotation = np.r_[np.zeros(12), 1, np.zeros(12)]
    assert annotation_of_tokens(widths, annotation)[2] == pytest.approx(1 / 5)  # not 1
    exact = annotation_of_tokens([6, 6, 1, 6, 6], annotation)
    assert exact.tolist() == [0, 0, 1, 0, 0]


def test_a_chunk_that_is_too_long_loses_its_last_token_to_zeros() -> None:
    words = ["AAAAAA", "CCCCCC", "GGGGGG"]
    found, widths = misaligned(np.ones((3, 2)), words, "AAAAAACCCCCCGGGGGGTTTTTT")
    assert found[:, 0].tolist() == [1, 1, 1, 0] and widths == [6, 6, 6, 6]
    same, widths = misaligned(np.ones((3, 2)), words, "AAAAAACCCCCCGGGGGG")
    assert len(same) == 3 and widths == [6, 6, 6]


def test_misalignment_on_the_tokenizers_cases(shared) -> None:
    """Wherever the tokenizer gives `<unk>`, a latent that is the annotation itself has r < 1, or
    the published lengths do not fit at all. Where it gives none, nothing is moved."""
    cases = json.loads((shared / "golden" / "nt_tokenizer.json").read_text())["cases"]
    wrong = []
    for case in cases:
        true, chunk = case["surface"], case["sequence"]
        if 0 not in case["v1_ids"] or "".join(true) != chunk or len(true) < 3:
            continue
        words = ["<unk>" if i == 0 else w for i, w in zip(case["v1_ids"][1:], true, strict=True)]
        if words == true:
            continue
        annotation = (np.arange(len(chunk)) >= len(chunk) // 2).astype(float)
        features = annotation_of_tokens([len(word) for word in true], annotation)[:, None]
        found, widths = misaligned(features, words, chunk)
        scores = (
            chunk_scores(found, annotation_of_tokens(widths, annotation))
            if (len(found) == len(widths))
            else None
        )
        wrong.append(scores is None or scores[0][0] < 1 - 1e-6)
    assert len(wrong) >= 10 and np.mean(wrong) > 0.8  # the rest keep it by luck
    plain = [case for case in cases if "".join(case["surface"]) == case["sequence"]]
    for case in plain:
        found, widths = misaligned(
            np.ones((len(case["surface"]), 1)), case["surface"], case["sequence"]
        )
        assert len(found) == len(widths) == len(case["surface"])


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGT"), 4000))
    (tmp_path / "g.fa").write_text(f">a\n{text}\n>b\n{'N' * 600}\n")
    return Genome([tmp_path / "g.fa"])


def test_windows_are_read_on_the_strand_of_the_element(genome) -> None:
    bed = pd.DataFrame(
        [
            ("a", 50, 80, "x", "+"),
            ("a", 300, 330, "x", "-"),
            ("b", 200, 230, "x", "+"),
            ("a", 900, 1000, "y", "+"),
            ("a", 3500, 3700, "y", "+"),
        ],
        columns=["chrom", "start", "end", "name", "strand"],
    )
    first, second = element_windows(bed, genome)
    assert (first.name, second.name) == ("x", "y")
    assert len(first.sequence) == 1  # one begins before the contig, one is of N
    forward = genome.fetch_codes("a", 200, 430)
    assert first.sequence[0] == "".join("ACGT"[3 - code] for code in forward[::-1])
    assert first.control[0] == "".join(
        "ACGT"[3 - c] for c in genome.fetch_codes("a", 430, 660)[::-1]
    )
    assert second.control[1] == ""  # past the contig's end
    ((chunk, annotation),) = chunks_of(second.sequence[0])
    assert annotation.tolist() == [0] * 100 + [1] * 100 + [0] * 100 and len(chunk) == 300


def test_a_latent_of_the_windows_middle_is_top_in_windows_without_any_element() -> None:
    """Defect 8: the geometry of the window is enough. The control shows it."""
    rng = np.random.default_rng(0)
    annotation = annotation_of_tokens([6] * 50, np.r_[np.zeros(100), np.ones(100), np.zeros(100)])

    def scores() -> list[tuple[np.ndarray, np.ndarray]]:
        out = []
        for _ in range(12):
            features = np.maximum(rng.normal(size=(50, 20)), 0)
            features[:, 7] = np.exp(-(((np.arange(50) - 25) / 8) ** 2))
            out.append(chunk_scores(features, annotation))
        return out

    table = top_features(published(scores()), published(scores()))
    best = table[(table.by == "pearson") & (table["rank"] == 1)].iloc[0]
    assert best.latent == 7 and best["mean"] > 0.8
    assert best.control == pytest.approx(best["mean"]) and best.control_best == best.control
    assert table.chunks.eq(12).all() and len(table) == 10


def test_the_summary_is_over_chunks() -> None:
    rows = [(np.array([0.1, 0.5]), np.array([1.0, 0])), (np.array([0.3, 0.1]), np.array([0.0, 0]))]
    found = published(rows)
    assert found.mean == pytest.approx([0.2, 0.3]) and found.sd == pytest.approx([0.1, 0.2])
    assert found.most.tolist() == [0.3, 0.5] and found.cosine.tolist() == [0.5, 0]
    assert found.chunks == 2 and found.least.tolist() == [0.1, 0.1]
