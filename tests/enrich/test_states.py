"""Segmentations against bedtools, Fisher's test and odds ratios against scipy and statsmodels, real
Roadmap files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import needs_bedtools
from scipy import sparse, stats
from statsmodels.stats.contingency_tables import Table2x2

from petriscope.enrich.background import MatchedBackground, strata
from petriscope.enrich.states import (
    majority_state,
    one_hot,
    overlap_bases,
    read_segmentation,
    shift_p,
    state_enrichment,
    vocabularies,
)
from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals

STATES = ["1_TssA", "5_TxWk", "7_Enh", "15_Quies"]


def segmentation_file(folder, rng, overlap=False, n=80):
    rows, position = [], {"chr1": 0, "chr2": 50}
    for i in range(n):
        chrom = "chr1" if i < n // 2 else "chr2"
        start = position[chrom] + int(rng.integers(0, 60))
        if overlap and position[chrom]:
            start = max(0, start - int(rng.integers(0, 100)))
        end = start + int(rng.integers(1, 400))
        rows.append((chrom, start, end, rng.choice(STATES)))
        position[chrom] = max(position[chrom], end)
    path = folder / "seg.bed"
    pd.DataFrame(rows).to_csv(path, sep="\t", header=False, index=False)
    return path


@needs_bedtools
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), overlap=st.booleans(), regular=st.booleans())
def test_overlaps_equal_bedtools(tmp_path_factory, seed, overlap, regular):
    rng = np.random.default_rng(seed)
    segments = read_segmentation(segmentation_file(tmp_path_factory.mktemp("s"), rng, overlap))
    start = np.arange(0, 12800, 128) if regular else rng.integers(0, 10_000, 100)
    end = start + 128 if regular else start + rng.integers(1, 2000, 100)
    bins = Intervals(rng.choice(["chr1", "chr2", "chr3"], 100).astype(object), start, end)
    ours = overlap_bases(bins, segments)
    np.testing.assert_array_equal(ours, overlap_bases(bins, segments, engine="bedtools"))
    assert (ours.sum(axis=1) <= end - start).all()


def test_majority_ties_gaps_and_unassigned(tmp_path):
    path = tmp_path / "seg.bed"
    path.write_text(
        "chr1\t0\t64\t7_Enh\nchr1\t64\t128\t1_TssA\nchr1\t128\t190\t7_Enh\nchr1\t256\t1000\t15_Quies\n"
    )
    segments = read_segmentation(path)
    names = [s.name for s in segments.states]
    start = np.array([0, 128, 256, 5000])
    bins = Intervals(np.array(["chr1"] * 4, dtype=object), start, start + 128)
    assert majority_state(bins, segments).tolist() == [
        names.index("TssA"),
        -1,
        names.index("Quies"),
        -1,
    ]
    assert "1 gaps of 66 bp" in segments.notes[0]


def test_overlap_is_cut_and_said(tmp_path):
    path = tmp_path / "seg.bed"
    path.write_text("chr1\t0\t100\t1_TssA\nchr1\t50\t150\t7_Enh\nchr1\t60\t90\t5_TxWk\n")
    segments = read_segmentation(path)
    assert segments.start.tolist() == [0, 100] and segments.end.tolist() == [100, 150]
    assert "2 segments overlapped" in segments.notes[0]


def test_vocabularies_have_official_sizes_and_colors():
    known = vocabularies()
    assert {name: len(states) for name, states in known.items()} == {
        "roadmap15": 15,
        "roadmap18": 18,
        "roadmap25": 25,
        "rederived12": 12,
        "varshney18": 13,
    }
    assert {s.name: s.color for s in known["roadmap15"]}["TssA"] == "#ff0000"
    assert {s.name: s.number for s in known["roadmap25"]}["Quies"] == 25


@pytest.mark.parametrize(
    ("file", "vocabulary"),
    [
        ("GM12878.E116_25_imputed12marks.hg38.bed.gz", "roadmap25"),
        ("Liver.Varshney18.chr22.hg38.bed.gz", "varshney18"),
        ("K562.rederived12.hg38.bed.gz", "rederived12"),
    ],
)
def test_real_files_find_their_vocabulary(shared, file, vocabulary):
    segments = read_segmentation(shared / "data" / "real" / "chromhmm" / file)
    assert segments.vocabulary == vocabulary
    same = segments.chrom[1:] == segments.chrom[:-1]
    assert (segments.start[1:][same] >= segments.end[:-1][same]).all()


def test_numbers_alone_and_unknown_names(tmp_path):
    path = tmp_path / "e.bed"
    path.write_text("".join(f"chr1\t{i * 200}\t{i * 200 + 200}\tE{i + 1}\n" for i in range(15)))
    bare = read_segmentation(path)  # fifteen numbers are no vocabulary
    assert bare.vocabulary == "file" and {state.group for state in bare.states} == {"other"}
    path.write_text(
        "chr1\t0\t200\tactive\t0\t.\t0\t200\t255,0,10\nchr1\t200\t400\tsilent\t0\t.\t0\t0\t1,2,3\n"
    )
    own = read_segmentation(path)
    assert (
        own.vocabulary == "file"
        and own.states[0].color == "#ff000a"
        and "taken from the file" in own.notes[0]
    )
    states = tmp_path / "states.tsv"
    states.write_text("number\tname\tcolour\n1\tactive\t#ff0000\n2\tsilent\t#ffffff\n")
    assert [s.name for s in read_segmentation(path, states).states] == ["active", "silent"]
    states.write_text("number\tname\tcolour\n1\tactive\t#ff0000\n")
    with pytest.raises(UserError, match=r"e.bed: column 4: state 'silent'"):
        read_segmentation(path, states)
    states.write_text("a\tb\n")
    with pytest.raises(UserError, match=r"states.tsv: is not a table of states"):
        read_segmentation(path, states)


def test_a_segmentation_of_another_build_is_refused(tmp_path):
    path = tmp_path / "other.bed"
    path.write_text("chr1\t0\t600\t1_TssA\nchr1\t600\t1000\t2_TssFlnk\n")
    assert (
        len(read_segmentation(path, sizes={"chr1": 900}).start) == 2
    )  # the last step of 200 bp may reach past the end
    with pytest.raises(
        UserError,
        match=r"other.bed: chr1:600-1000 ends past the chromosome \(700 bp\).*another genome build",
    ):
        read_segmentation(path, sizes={"chr1": 700})


def test_foreign_chromosome_names_are_said(tmp_path):
    path = tmp_path / "seg.bed"
    path.write_text("1\t0\t1000\t1_TssA\n")
    bins = Intervals(np.array(["chr1"], dtype=object), np.array([0]), np.array([128]))
    with pytest.raises(UserError, match=r"chr1 .* 1\. Use the same chromosome names"):
        majority_state(bins, read_segmentation(path))


def test_every_cell_matches_scipy_and_statsmodels():
    rng = np.random.default_rng(0)
    states = rng.integers(-1, 4, 3000)
    member = sparse.csr_matrix(rng.uniform(size=(6, 3000)) < rng.uniform(0.01, 0.3, (6, 1)))
    result = state_enrichment(member, states, 4)
    for f in range(6):
        fore = member[f].toarray().ravel() & (states >= 0)
        rest = ~member[f].toarray().ravel() & (states >= 0)
        for s in range(4):
            a, c = (fore & (states == s)).sum(), (rest & (states == s)).sum()
            table = np.array([[a, fore.sum() - a], [c, rest.sum() - c]])
            assert np.exp(result.ln_p[f, s]) == pytest.approx(
                stats.fisher_exact(table)[1], rel=1e-10
            )
            woolf = Table2x2(table + 0.5, shift_zeros=False)
            assert result.odds_ratio[f, s] == pytest.approx(woolf.oddsratio)
            assert (result.low[f, s], result.high[f, s]) == pytest.approx(woolf.oddsratio_confint())
    assert result.table(STATES).shape == (24, 10)


def test_matched_background_removes_what_matching_explains():
    rng = np.random.default_rng(1)
    n = 8000
    gc = rng.uniform(0.3, 0.7, n)
    states = np.where(gc > 0.5, rng.integers(0, 2, n), rng.integers(1, 3, n))
    member = sparse.csr_matrix(rng.uniform(size=(1, n)) < 0.3 * (gc > 0.5) + 0.02)
    plain = state_enrichment(member, states, 3)
    matched = state_enrichment(member, states, 3, MatchedBackground(member, strata(gc)))
    assert plain.q[0, 0] < 1e-6 and plain.odds_ratio[0, 0] > 1.5
    assert matched.q[0, 0] > 0.05 and matched.low[0, 0] < 1 < matched.high[0, 0]


def test_clustered_firing_is_not_enrichment_under_shifts():
    """Runs of states against runs of firing, unrelated: Fisher rejects far too often, the shift
    test does not."""
    rng = np.random.default_rng(2)
    n, run = 24000, 60
    segment = np.repeat(np.arange(4), n // 4)
    states = np.repeat(rng.integers(0, 3, n // run), run)
    member = sparse.csr_matrix(np.repeat(rng.uniform(size=(40, n // run)) < 0.2, run, axis=1))
    fisher = np.exp(state_enrichment(member, states, 3, alternative="greater").ln_p)
    shifted = shift_p(member, states, 3, segment, rng=np.random.default_rng(3), n_shifts=99)
    assert (fisher < 0.05).mean() > 0.2
    assert (shifted < 0.05).mean() < 0.1
    real = sparse.csr_matrix((states == 1)[None, :])
    assert (
        shift_p(real, states, 3, segment, rng=np.random.default_rng(3), n_shifts=99)[0, 1] == 0.01
    )


def test_bad_shapes_and_order():
    member = sparse.csr_matrix((1, 5))
    with pytest.raises(UserError, match="same universe"):
        state_enrichment(member, np.zeros(4, int), 2)
    with pytest.raises(UserError, match="Sort the bins"):
        shift_p(
            member, np.zeros(5, int), 2, np.array([0, 1, 0, 1, 1]), rng=np.random.default_rng(0)
        )
    assert one_hot(np.array([-1, 1]), 2).tolist() == [[False, False], [False, True]]


def test_real_accessible_sites_favor_promoters_and_enhancers(shared):
    """GM12878 DNase against E116, chr22: TssA about 40x, active enhancers about 18x, quiescent
    below 1."""
    real = shared / "data" / "real"
    segments = read_segmentation(real / "chromhmm" / "GM12878.E116_25_imputed12marks.hg38.bed.gz")
    peaks = pd.read_csv(
        real / "peaks" / "lymph_invitro.GM12878.DNase.hg38.bed.gz", sep="\t", header=None
    )
    peaks = peaks[peaks[0] == "chr22"]
    start = np.arange(16_000_000, 50_000_000 // 128 * 128, 128)
    bins = Intervals(np.full(len(start), "chr22", dtype=object), start, start + 128)
    states = majority_state(bins, segments)
    fires = np.zeros(len(start), dtype=bool)
    center = ((peaks[1] + peaks[2]) // 2 - start[0]) // 128
    fires[center[(center >= 0) & (center < len(start))]] = True
    result = state_enrichment(sparse.csr_matrix(fires[None, :]), states, len(segments.states))
    fold = dict(
        zip([s.name for s in segments.states], result.share[0] / result.background_share[0])
    )
    assert fold["TssA"] > 15 and fold["EnhA1"] > 8 and fold["Quies"] < 0.5
