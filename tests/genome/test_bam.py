"""BAM to fragments against the original's recipe run with the real tools: samtools, bedtools
bamtobed -bedpe, awk."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest

from petriscope.commands import fragments as fragments_command
from petriscope.errors import UserError
from petriscope.genome.bam import read_bam
from petriscope.genome.fragments import count_fragments, read_fragments, write_fragments
from petriscope.genome.tracks import signal_for_windows

SIZES = {"chr1": 60_000, "chr2": 40_000}
CONTIGS = pd.DataFrame(
    {"chrom": list(SIZES), "start": 0, "end": list(SIZES.values()), "whole": True}
)
RECIPE = r"""samtools sort -n in.bam -o named.bam && bedtools bamtobed -i named.bam -bedpe |
awk '$1 == $4' | awk '$8 >= 20' |
awk -v OFS="\t" '{if($9 == "+"){print $1,$2+4,$6-5}else if($9=="-"){print $1,$5+4,$3-5}}' |
awk -v OFS="\t" '{if($3<$2){print $1,$3,$2}else if($3>$2){print $1,$2,$3}}' |
awk '$3-$2 > 0' | sort -k1,1 -k2,2n -k3,3n"""


def write_bam(
    path: Path,
    pairs: int = 2_000,
    *,
    duplicates: bool = False,
    paired: bool = True,
    sizes: dict[str, int] = SIZES,
) -> Path:
    """Random pairs: facing inwards, outwards or alike, on one or two chromosomes, good and poor
    MAPQ, soft clips."""
    rng = np.random.default_rng(5)
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": name, "LN": size} for name, size in sizes.items()]}
    unsorted = path.with_suffix(".unsorted.bam")
    with pysam.AlignmentFile(str(unsorted), "wb", header=header) as out:
        for number in range(pairs):
            targets = [int(rng.integers(2))] * 2
            if rng.random() < 0.05:
                targets[1] = 1 - targets[0]
            first = int(rng.integers(100, 38_000))
            places = [first, first + int(rng.integers(0, 600))]
            length = [int(rng.integers(20, 76)) for _ in range(2)]
            tiny = rng.random() < 0.03  # nine bases, cut to nothing by the shifts: dropped
            if tiny:
                places, length = [first, first], [9, 9]
            strands = [(False, True), (True, False), (False, False), (True, True)][
                rng.choice(4, p=[0.85, 0.1, 0.03, 0.02])
            ]
            duplicate = duplicates and rng.random() < 0.2
            order = (0, 1) if rng.random() < 0.5 else (1, 0)
            for mate in order:
                other = 1 - mate
                read = pysam.AlignedSegment(out.header)
                read.query_name = f"r{number}"
                read.query_sequence = "A" * length[mate]
                read.flag = (0x1 | (0x40 if mate == order[0] else 0x80)) if paired else 0
                read.flag |= (0x10 if strands[mate] else 0) | (0x400 if duplicate else 0)
                if paired and strands[other]:
                    read.flag |= 0x20
                read.reference_id, read.reference_start = targets[mate], places[mate]
                read.mapping_quality = int(rng.choice([60, 20, 19, 0], p=[0.6, 0.3, 0.05, 0.05]))
                clip = 0 if tiny else int(rng.integers(0, 10))
                read.cigartuples = (
                    [(4, clip), (0, length[mate] - clip)] if clip else [(0, length[mate])]
                )
                if paired:
                    read.next_reference_id, read.next_reference_start = (
                        targets[other],
                        places[other],
                    )
                out.write(read)
                if (
                    rng.random() < 0.02
                ):  # a supplementary piece elsewhere must not be taken for a mate
                    piece = pysam.AlignedSegment.from_dict(read.to_dict(), out.header)
                    piece.flag |= 0x800
                    piece.reference_start = int(rng.integers(0, 30_000))
                    out.write(piece)
    pysam.sort("-o", str(path), str(unsorted))
    pysam.index(str(path))
    return path


def frame_of(path: Path, **options: object) -> pd.DataFrame:
    parts = [part.astype({"chrom": str}) for part in read_bam(path, CONTIGS, **options)]  # type: ignore[arg-type]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.skipif(
    not (shutil.which("bedtools") and shutil.which("samtools")),
    reason="needs bedtools and samtools",
)
def test_fragments_are_those_of_the_original_recipe(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam")
    kept = tmp_path / "primary.bam"
    pysam.view("-b", "-F", "0x900", "-o", str(kept), str(path), catch_stdout=False)
    recipe = RECIPE.replace("in.bam", kept.name)
    out = subprocess.run(
        ["bash", "-c", recipe], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    expected = [
        (chrom, int(start), int(end))
        for chrom, start, end in (line.split("\t") for line in out.splitlines())
    ]
    assert len(expected) > 1_200
    assert list(frame_of(path).itertuples(index=False, name=None)) == expected


def test_duplicates_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam", duplicates=True)
    fewer, all_of_them = frame_of(path), frame_of(path, keep_duplicates=True)
    assert 0.7 < len(fewer) / len(all_of_them) < 0.9


def test_a_fragment_file_written_from_bam_gives_the_same_track(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam")
    out = tmp_path / "out.fragments.tsv.gz"
    written = write_fragments(out, read_bam(path, CONTIGS))
    assert written == count_fragments(read_fragments(out, CONTIGS)) == len(frame_of(path))
    windows = pd.DataFrame(
        {"chrom": ["chr1", "chr2"], "start": [1024, 2048], "end": [17_408, 18_432]}
    )
    direct = signal_for_windows(path, "bam", windows, CONTIGS)
    through = signal_for_windows(out, "fragments", windows, CONTIGS)
    np.testing.assert_array_equal(direct.values, through.values)
    assert direct.fragments == through.fragments == written and direct.values.sum() > 0


def test_bad_files_are_named_and_refused(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam", 200)
    with pytest.raises(UserError, match="chr1 has 60000 bp in the header but 60001 in the genome"):
        list(read_bam(path, CONTIGS.assign(end=CONTIGS.end + 1)))
    with pytest.raises(
        UserError, match=r"in\.bam: column 1: no interval lies on the genome.*chr1.*1"
    ):
        list(read_bam(path, CONTIGS.assign(chrom=["1", "2"])))
    cut = tmp_path / "cut.bam"
    cut.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"cut\.bam: is truncated"):
        list(read_bam(cut, CONTIGS))
    (tmp_path / "text.bam").write_text("chr1\t1\t2\n")
    with pytest.raises(UserError, match=r"text\.bam: is neither BAM nor CRAM"):
        list(read_bam(tmp_path / "text.bam", CONTIGS))
    single = write_bam(tmp_path / "single.bam", 50, paired=False)
    with pytest.raises(UserError, match=r"single\.bam: holds no pair.*paired-end"):
        list(read_bam(single, CONTIGS))


def test_a_bam_sorted_by_name_is_refused(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam", 100)
    named = tmp_path / "named.bam"
    pysam.sort("-n", "-o", str(named), str(path))
    shutil.copy(f"{path}.bai", f"{named}.bai")
    with pytest.raises(UserError, match=r"named\.bam: is not sorted by position.*samtools sort"):
        list(read_bam(named, CONTIGS))


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = write_bam(tmp_path / "in.bam", 2_000)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(UserError, match=r"in\.bam: damaged or truncated"):
        list(read_bam(path, CONTIGS))


def test_cram_is_read_without_its_reference_and_nothing_is_written_beside_it(
    tmp_path: Path,
) -> None:
    fasta = tmp_path / "g.fa"
    fasta.write_text("".join(f">{name}\n{'A' * size}\n" for name, size in SIZES.items()))
    bam = write_bam(tmp_path / "in.bam", 200)
    cram = tmp_path / "in.cram"
    pysam.view("-C", "-T", str(fasta), "-o", str(cram), str(bam), catch_stdout=False)
    for file in (fasta, Path(f"{fasta}.fai")):
        file.unlink()
    before = sorted(tmp_path.iterdir())
    pd.testing.assert_frame_equal(frame_of(cram), frame_of(bam))
    assert sorted(tmp_path.iterdir()) == before
    cram.write_bytes(cram.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"in\.cram: is truncated"):
        list(read_bam(cram, CONTIGS))


def command(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    fragments_command.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_the_verb_writes_an_indexed_fragment_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_bam(tmp_path / "in.bam"), tmp_path / "out/x.tsv.gz"
    assert fragments_command.run(command(path, out)) == 0
    expected = frame_of(path)
    assert f"wrote {len(expected):,} fragments" in capsys.readouterr().out
    got = pd.read_csv(out, sep="\t", header=None, names=["chrom", "start", "end"])
    pd.testing.assert_frame_equal(got, expected)
    with pysam.TabixFile(str(out)) as tabix:
        assert len(list(tabix.fetch("chr2"))) == (expected.chrom == "chr2").sum()
    with pytest.raises(UserError, match=r"x\.bed: does not end in \.tsv\.gz"):
        fragments_command.run(command(path, tmp_path / "x.bed"))
    with pytest.raises(UserError, match="--min-mapq: is 300"):
        fragments_command.run(command(path, out, "--min-mapq", 300))
    (tmp_path / "g.fa").write_text(">chr1\nACGT\n")
    before = out.read_bytes()
    with pytest.raises(UserError, match="chr1 has 60000 bp in the header but 4 in the genome"):
        fragments_command.run(
            command(path, out.with_name("y.tsv.gz"), "--genome", tmp_path / "g.fa")
        )
    assert out.read_bytes() == before and not list(out.parent.glob(".*"))
