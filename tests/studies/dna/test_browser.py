"""References: pyBigWig reads what was written, a loop over bases, a structure read line by line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyBigWig
import pytest

from petriscope.errors import UserError
from petriscope.studies.dna.browser import per_base, with_b_factors, write_track

CHROM = np.array(["chr2", "chr1", "chr1", "chr1", "chr1"])
START = np.array([5, 0, 6, 9, 30])
END = np.array([11, 6, 12, 15, 31])
VALUE = np.array([1.5, 0.0, 2.0, 4.0, 0.25])

CIF = """\
data_x
loop_
_atom_site.group_PDB
_atom_site.label_atom_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.B_iso_or_equiv
_atom_site.auth_asym_id
ATOM "O5'" A 1 10.00 A
ATOM P     A 1 10.00 A
ATOM "O5'" A 2 10.00 A
ATOM C4    B 1 20.00 B
ATOM C4    B 2 20.00 B
ATOM C4    B 3 20.00 B
#
_cell.length_a 1
"""


def test_runs_are_the_mean_over_tokens_at_every_base():
    runs = per_base(CHROM, START, END, VALUE)
    found = {}
    for run in runs.itertuples():
        for base in range(run.start, run.end):
            assert (run.chrom, base) not in found
            found[run.chrom, base] = run.value
    wanted: dict[tuple[str, int], list[float]] = {}
    for chrom, start, end, value in zip(CHROM, START, END, VALUE, strict=True):
        for base in range(start, end):
            wanted.setdefault((chrom, base), []).append(value)
    assert found == {key: np.mean(values) for key, values in wanted.items()}
    assert runs.equals(runs.sort_values(["chrom", "start"], ignore_index=True))


def test_neighbors_of_one_value_are_one_run():
    runs = per_base(np.array(["c", "c"]), np.array([0, 6]), np.array([6, 7]), np.array([1.0, 1.0]))
    assert runs.to_numpy().tolist() == [["c", 0, 7, 1.0]]


def test_a_bigwig_and_a_bedgraph_hold_the_runs(tmp_path):
    runs = per_base(CHROM, START, END, VALUE)
    write_track(tmp_path / "a.bw", runs, "f", {"chr1": 40, "chr2": 50})
    with pyBigWig.open(str(tmp_path / "a.bw")) as track:
        assert track.chroms() == {"chr1": 40, "chr2": 50}
        values = track.values("chr1", 0, 40)
        assert values[8:10] == [2.0, 3.0]
        assert np.isnan(values[20])
        assert values[30] == 0.25
    write_track(tmp_path / "a.bedgraph", runs, "f", {})
    head, *lines = (tmp_path / "a.bedgraph").read_text().splitlines()
    assert head == 'track type=bedGraph name="f"'
    assert lines[0].split("\t") == ["chr1", "0", "6", "0"]
    write_track(tmp_path / "a.bed", runs, "f", {})
    bed = pd.read_csv(tmp_path / "a.bed", sep="\t", header=None)
    assert bed[4].max() == 1000
    assert (bed[4] > 0).all()
    with pytest.raises(UserError, match=r"ends in '\.wig'"):
        write_track(tmp_path / "a.wig", runs, "f", {})


def test_the_same_bytes_each_time(tmp_path):
    runs = per_base(CHROM, START, END, VALUE)
    for name in ("a.bw", "b.bw"):
        write_track(tmp_path / name, runs, "f", {"chr1": 40, "chr2": 50})
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


def test_b_factors_of_one_chain_are_replaced_and_nothing_else():
    found = with_b_factors(CIF, np.array([0.5, 12.25]), None, "x.cif")
    before, after = CIF.splitlines(), found.splitlines()
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [8, 9, 10]
    assert after[8] == 'ATOM "O5\'" A 1 0.500 A'
    assert after[10] == 'ATOM "O5\'" A 2 12.250 A'
    named = with_b_factors(CIF, np.array([1.0, 2.0, 3.0]), "B", "x.cif").splitlines()
    assert named[13].split()[4] == "3.000"


@pytest.mark.parametrize(
    ("text", "length", "chain", "what"),
    [
        (CIF, 4, None, "no chain has the 4 residues"),
        (CIF, 3, "A", "chain A has not the 3 residues"),
        (CIF.replace("ATOM C4    B 3 20.00 B\n", ""), 2, None, "2 chains have the 2 residues"),
        (CIF.replace("B 3 20.00 B", "B 3 20.00"), 2, None, "line 14.*5 entries of 6"),
        ("data_x\n", 2, None, "has no _atom_site.label_asym_id"),
    ],
)
def test_a_structure_that_does_not_fit_is_refused(text, length, chain, what):
    with pytest.raises(UserError, match=what):
        with_b_factors(text, np.ones(length), chain, "x.cif")
