"""The cisplatin set against its own table and the real annotation, read with pandas, pysam and
bedtools."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pybedtools
import pysam
import pytest
from programs import needs_bedtools

from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.genome.overlap import read_bed
from petriscope.studies.dna.data import cisplatin
from petriscope.studies.dna.data.check import check_dataset
from petriscope.studies.dna.data.dataset import load_dataset

HEAD = "chrom\tstart\tend\tstrand\tlabel\tgroup\tonehot_cnn_score\tsequence\n"


def make(*words: object) -> None:
    parser = argparse.ArgumentParser()
    cisplatin.add_arguments(parser)
    cisplatin.run(parser.parse_args([str(word) for word in words]))


@needs_bedtools
def test_the_released_set_with_real_dna(shared: Path, tmp_path: Path) -> None:
    table, real = shared / "data" / "hsg" / "cisplatin_100bp.tsv.gz", shared / "data" / "real"
    out = tmp_path / "c"
    make(out, "--from", table, "--real", real)
    dataset = load_dataset(out)
    raw = pd.read_csv(table, sep="\t")
    frame = dataset.sequences
    assert len(frame) == 20_913 and (frame.label == "binding").sum() == 9_146
    assert frame.sequence.tolist() == raw.sequence.tolist()
    assert (pd.factorize(frame.group)[0] == pd.factorize(raw.group)[0]).all()
    assert dataset.lengths is not None and dataset.lengths.shared == 1
    assert len(dataset.tracks) >= 25
    report = check_dataset(dataset)
    assert not report.faults
    assert any("124 of 124 sequences equal it" in row for row in report.files)
    with pysam.FastaFile(str(out / "contigs.fa")) as ours:
        for source in sorted((real / "genome").glob("*.fa.gz")):
            with pysam.FastaFile(str(source)) as theirs:
                for name in theirs.references:
                    assert ours.fetch(name) == theirs.fetch(name).upper()
    whole = pybedtools.BedTool("chr22 37200000 40600000\nchr9 0 1000000", from_string=True)
    source = pybedtools.BedTool(str(real / "tf_chip" / "K562.CTCF.summit200.hg38.bed.gz"))
    cut = source.intersect(whole).to_dataframe()
    mine = read_bed(dataset.tracks["CTCF_K562"])
    columns = ["chrom", "start", "end"]
    expected = sorted(set(cut[columns].itertuples(index=False, name=None)))
    assert sorted(mine[columns].itertuples(index=False, name=None)) == expected
    gene, exon = (pybedtools.BedTool(str(dataset.tracks[name])) for name in ("gene", "exon"))
    intron = gene.sort().merge().subtract(exon).to_dataframe()
    mine = read_bed(dataset.tracks["intron"])
    assert sorted(map(tuple, mine[columns].to_numpy())) == sorted(
        map(tuple, intron[columns].to_numpy())
    )
    description = out / "dataset.yaml"
    description.write_text(description.read_text().replace("build: hg38", "build: hg19"))
    with pytest.raises(UserError, match=r"build: is hg19, .* chrom_sizes says 248,956,422 \(hg38"):
        load_dataset(out)


def test_genes_are_those_that_hold_most_of_a_sequence() -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "chrom": "chr1",
            "start": ["0", "90", "900"],
            "end": ["100", "190", "999"],
        }
    )
    bodies = pd.DataFrame(
        {"chrom": "chr1", "start": [50, 0, 60, 0], "end": [500, 95, 95, 400]}
    ).assign(name=["LATE", "EARLY", "SHORT", "LONG"], strand="+")
    found = cisplatin.genes_of(frame, bodies).set_index("id")
    assert found.gene.to_dict() == {"a": "LONG", "b": "LONG"}
    assert found.length.to_dict() == {"a": 400, "b": 400}
    found = cisplatin.genes_of(frame, bodies[bodies.name != "LONG"]).set_index("id")
    assert found.gene.to_dict() == {"a": "EARLY", "b": "LATE"}


def test_without_real_dna_and_what_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    rows = ["chr1\t5\t9\t+\t1\t0\t.5\tACGT\n", "chr1\t5\t9\t-\t0\t0\t.5\tACGA\n"]
    table.write_text(HEAD + "".join(rows))
    for name in ("a", "b"):
        make(tmp_path / name, "--from", table)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    frame = load_dataset(tmp_path / "a").sequences
    assert frame.id.tolist() == ["chr1:5-9(+)", "chr1:5-9(-)"]
    table.write_text(HEAD + rows[0].replace("\t1\t", "\tyes\t"))
    with pytest.raises(UserError, match=r"t\.tsv: line 2: label: is 'yes'"):
        make(tmp_path / "c", "--from", table)
    table.write_text(HEAD.replace("label", "lable") + rows[0])
    with pytest.raises(UserError, match=r"line 1: has no column 'label'"):
        make(tmp_path / "c", "--from", table)
    with pytest.raises(UserError, match=r"holds no genome"):
        table.write_text(HEAD + rows[0])
        make(tmp_path / "c", "--from", table, "--real", tmp_path / "a")
    assert not (tmp_path / "c").exists()
