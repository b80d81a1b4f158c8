"""Known-motif enrichment against the real homer2 4.10 on real hg38 sequence: weights, counts, ln p
per motif."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from petriscope.enrich.background import Strata
from petriscope.enrich.homer import (
    enrich_by_homer,
    known_enrichment,
    known_weights,
    read_known_results,
    run_homer2,
)
from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.enrich.normalize import (
    gc_bin,
    gc_fraction,
    gc_weights,
    oligo_factors,
    oligo_normalize,
    select_background,
    usable,
)
from petriscope.enrich.scan import encode, scan_hits
from petriscope.errors import UserError


@dataclass(frozen=True)
class Golden:
    folder: Path
    sequences: np.ndarray
    is_target: np.ndarray
    gc: np.ndarray  # printed weights
    normalized: np.ndarray
    motifs: list[Motif]
    hits: np.ndarray


@cache
def load(shared: Path, name: str) -> Golden:
    folder = shared / "data" / "golden" / name
    motifs = read_motifs(shared / "data" / "real" / "motifs" / "homer.vertebrates.known.motifs")
    frame = pd.read_csv(
        folder / "seq.tsv.gz", sep="\t", header=None, names=["id", "sequence"]
    ).set_index("id")
    for step in ("gcweight", "autonorm"):
        group = pd.read_csv(
            folder / f"group.{step}.tsv.gz", sep="\t", header=None, names=["id", "group", "weight"]
        )
        frame[[f"group_{step}", step]] = group.set_index("id")[["group", "weight"]]
    sequences = encode(frame["sequence"].tolist())
    return Golden(
        folder,
        sequences,
        (frame["group_gcweight"] == 1).to_numpy(),
        frame["gcweight"].to_numpy(),
        frame["autonorm"].to_numpy(),
        motifs,
        scan_hits(sequences, motifs),
    )


@pytest.fixture(params=["homer_K562", "homer_GM12878"])
def golden(request, shared) -> Golden:
    return load(shared, request.param)


def test_gc_weights_are_identical(golden):
    np.testing.assert_array_equal(
        gc_weights(gc_fraction(golden.sequences), golden.is_target), golden.gc
    )


def test_normalized_weights_to_the_printed_digit(golden):
    result = oligo_normalize(golden.sequences, golden.is_target, golden.gc)
    assert np.abs(result.weights - golden.normalized).max() < 5.01e-7
    printed = pd.read_csv(
        golden.folder / "homer2.norm.tsv.gz", sep="\t", index_col=0, keep_default_na=False
    ).iloc[:, -1]
    for k in (1, 2, 3):
        words = [w for w in printed.index if len(w) == k]
        codes = encode(words).astype(int) @ (4 ** np.arange(k)[::-1])
        before = oligo_factors(golden.sequences, golden.is_target, golden.gc, k)[codes]
        after = oligo_factors(golden.sequences, golden.is_target, result.weights, k)[codes]
        if (
            k == 1
        ):  # homer2 prints the factors of 2- and 3-mers after the first step has moved the weights
            np.testing.assert_allclose(before, printed[words], atol=5.01e-4)
        assert ((after - 1) ** 2).mean() < 0.25 * ((before - 1) ** 2).mean()


@pytest.mark.parametrize("statistic", ["binomial", "hypergeo"])
def test_every_motif_matches_homer2(golden, statistic):
    ours = known_enrichment(
        golden.sequences,
        golden.is_target,
        None,
        golden.motifs,
        hits=golden.hits,
        statistic=statistic,
    ).set_index(["motif", "consensus"])
    theirs = read_known_results(golden.folder / f"homer2.known.{statistic}.tsv.gz").set_index(
        ["motif", "consensus"]
    )
    assert len(theirs) == 364 and set(theirs.index) == set(ours.index)
    ours = ours.loc[theirs.index]
    np.testing.assert_array_equal(np.floor(ours["target_hits"]), theirs["target_hits"])
    np.testing.assert_array_equal(np.floor(ours["background_hits"]), theirs["background_hits"])
    assert np.floor(ours["targets"].iloc[0]) == theirs["targets"].iloc[0]
    assert np.floor(ours["background"].iloc[0]) == theirs["background"].iloc[0]
    assert np.abs(ours["ln_p"] - theirs["ln_p"]).max() < 5.01e-4  # three decimals printed
    assert (ours["rank"].to_numpy()[:50] <= np.arange(1, 51) + 1).all()


def test_weighted_counts_to_the_decimal_homer2_prints(golden):
    ours = known_enrichment(
        golden.sequences, golden.is_target, None, golden.motifs, hits=golden.hits
    )
    threshold = {m.key: round(m.threshold, 6) for m in golden.motifs}
    ours["threshold"] = [threshold[key] for key in zip(ours["motif"], ours["consensus"])]
    ours = ours.set_index(["motif", "threshold"])
    with gzip.open(golden.folder / "homer2.known.mout_headers.tsv.gz", "rt") as handle:
        for line in handle:
            fields = line[1:].rstrip("\n").split("\t")
            row = ours.loc[(fields[1], float(fields[2]))]
            target, background = (part.split(":")[1] for part in fields[5].split(",")[:2])
            assert abs(row["target_hits"] - float(target.split("(")[0])) < 0.051
            assert (
                abs(row["background_hits"] - float(background.split("(")[0])) < 0.1001
            )  # cut, not rounded
            assert abs(row["target_percent"] - float(target.split("(")[1].rstrip("%)"))) < 0.0051
            assert (
                abs(row["background_percent"] - float(background.split("(")[1].rstrip("%)")))
                < 0.0051
            )
            assert abs(row["ln_p"] - float(fields[3])) < 1e-6 * max(1, abs(row["ln_p"]))


def test_known_results_of_the_whole_program(shared):
    frame = read_known_results(
        shared / "data" / "published" / "homer_peaks" / "HepG2_vitro_liver.knownResults.txt"
    )
    assert frame["factor"].iloc[0] == "FOXA1(Forkhead)"
    assert frame["targets"].iloc[0] == 83166 and frame["background"].iloc[0] == 82875
    assert frame["ln_p"].iloc[0] == pytest.approx(-527.8)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program named homer2 that keeps its arguments and inputs and prints a given table."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "homer2"
    script.write_text(
        '#!/bin/sh\necho "$@" > "$KEPT/arguments"\ncp seq.tsv group.tsv known.motifs "$KEPT"\ncat '
        '"$KEPT/table"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(tmp_path))
    return tmp_path


def test_engine_homer_hands_over_and_reads_back(stand_in, shared):
    golden = load(shared, "homer_K562")
    table = gzip.decompress((golden.folder / "homer2.known.binomial.tsv.gz").read_bytes())
    (stand_in / "table").write_bytes(table)
    weights = np.where(np.arange(len(golden.gc)) == 3, 0.0, golden.gc)
    frame = run_homer2(golden.sequences, golden.is_target, weights, golden.motifs)
    assert frame["factor"].iloc[0] == "Gata6(Zf)" and frame["targets"].iloc[0] == 746
    assert (stand_in / "arguments").read_text().split()[:2] == ["known", "-s"]
    groups = (stand_in / "group.tsv").read_text().splitlines()
    assert len(groups) == len(golden.gc) - 1 and not any(row.startswith("s3\t") for row in groups)
    written = read_motifs(stand_in / "known.motifs")
    assert [m.key for m in written] == [m.key for m in golden.motifs]
    np.testing.assert_allclose(written[5].matrix, golden.motifs[5].matrix)
    assert encode([(stand_in / "seq.tsv").read_text().splitlines()[0].split("\t")[1]]).tolist() == [
        golden.sequences[0].tolist()
    ]


def test_engine_homer_missing_or_failing(stand_in):
    rows, flags, weights = np.zeros((4, 20), np.uint8), np.arange(4) < 2, np.ones(4)
    with pytest.raises(UserError, match=r"ended with status 1.*built-in engine"):
        run_homer2(rows, flags, weights, [])
    with pytest.raises(UserError, match="'homer3' is not installed"):
        run_homer2(rows, flags, weights, [], program="homer3")


def test_engine_homer_tests_each_group_against_bins_of_its_own_strata(stand_in):
    header = "Motif Name\tConsensus\tP-value\tLog P-value\tq-value (Benjamini)\t# of Target Sequences with Motif(total=30)"
    header += "\t% of Target Sequences with Motif\t# of Background Sequences with Motif(total=60)\t% of Background\n"
    (stand_in / "table").write_text(
        header + "F(Zf)/x/Homer\tACGT\t1e-3\t-6.9\t0.001\t15.0\t50.00%\t10.0\t16.67%\n"
    )
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, 4, (300, 20)).astype(np.uint8)
    code = np.arange(300) % 3
    member = np.zeros((3, 300), dtype=bool)
    member[0, np.flatnonzero(code == 1)[:30]] = True
    member[1, :5] = True
    member[2] = code == 2
    strata = Strata(code, ["a", "b", "c"])
    groups = {0: "L2/7", 1: "few", 2: "whole stratum"}
    frame = enrich_by_homer(
        sequences, [], sparse.csr_matrix(member), strata, groups, ratio=2, seed=1
    )
    assert frame["feature"].tolist() == ["L2/7"]  # few bins, and no bin left to draw: not tested
    row = frame.iloc[0]
    assert (row["name"], row["rank"], row["target_hits"], row["targets"]) == (
        "F(Zf)/x/Homer",
        1,
        15,
        30,
    )
    assert row["ln_p"] == -6.9 and row["fold"] == pytest.approx(3.0)
    assert "-stat hypergeo" in (stand_in / "arguments").read_text()
    kept = [line.split("\t") for line in (stand_in / "group.tsv").read_text().splitlines()]
    assert [fields[1] for fields in kept] == ["1"] * 30 + ["0"] * 60
    letters = np.array(list("ACGT"))[sequences]
    known = {"".join(row): int(c) for row, c in zip(letters, code)}
    given = [line.split("\t")[1] for line in (stand_in / "seq.tsv").read_text().splitlines()]
    assert {known[text] for text in given} == {1} and len(set(given)) == 90


def test_a_foreign_table_is_refused(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match=r"table.txt: columns for motif.*knownResults"):
        read_known_results(path)


def test_bins_without_partner_are_dropped_with_their_sequences():
    gc = np.array([0.1, 0.55, 0.55, 0.55, 0.95])
    is_target = np.array([True, True, False, False, False])
    np.testing.assert_array_equal(gc_weights(gc, is_target), [0, 1, 1, 1, 0])
    with pytest.raises(UserError, match="no GC bin"):
        gc_weights(np.array([0.1, 0.9]), np.array([True, False]))


def test_gc_bins_have_their_lower_edge_inside():
    np.testing.assert_array_equal(
        gc_bin(np.array([0.0, 0.2, 0.4999, 0.5, 0.6, 0.8, 1.0])), [0, 1, 6, 7, 8, 10, 10]
    )


def test_sequence_filter():
    rows = np.zeros((3, 10), dtype=np.uint8)
    rows[1, :7] = 4
    rows[2, :8] = 4
    np.testing.assert_array_equal(usable(rows), [True, True, False])
    assert not usable(rows[:, :4]).any()


def test_automatic_background_follows_the_targets_and_the_seed():
    rng = np.random.default_rng(0)
    target, pool = rng.normal(0.55, 0.05, 300).clip(0, 1), rng.uniform(0, 1, 20000)
    chosen = select_background(target, pool, np.random.default_rng(1), total=2300)
    assert len(chosen) == len(set(chosen.tolist())) and abs(len(chosen) - 2000) < 11
    share = np.bincount(gc_bin(pool[chosen]), minlength=11) / len(chosen)
    np.testing.assert_allclose(share, np.bincount(gc_bin(target), minlength=11) / 300, atol=0.001)
    np.testing.assert_array_equal(
        chosen, select_background(target, pool, np.random.default_rng(1), total=2300)
    )


def test_empty_sides_are_named():
    rows = np.zeros((4, 20), dtype=np.uint8)
    for flags in (np.zeros(4, bool), np.ones(4, bool)):
        with pytest.raises(UserError, match="both needed"):
            known_enrichment(rows, flags, None, [])
    with pytest.raises(UserError, match="one flag per sequence"):
        known_enrichment(rows, np.ones(3, bool), None, [])


def test_a_background_smaller_than_the_foreground_is_said():
    rows = np.random.default_rng(5).integers(0, 4, (90, 60)).astype(np.uint8)
    with pytest.warns(
        UserWarning, match=r"background \(30 sequences\) is smaller than the foreground \(60\)"
    ):
        known_enrichment(rows, np.arange(90) < 60, None, [], hits=np.zeros((90, 0), bool))


def test_dropped_sequences_do_not_count():
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 4, (200, 60)).astype(np.uint8)
    rows[:5] = 4
    weights = known_weights(rows, np.arange(200) < 50)
    assert (weights[:5] == 0).all() and (weights[5:50] == 1).all()
