"""Genome access against samtools faidx (through pysam) and string arithmetic, on real hg38 pieces
and small files."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pysam
import pytest

from petriscope.errors import UserError
from petriscope.genome.fasta import Genome

LETTERS = np.array(list("ACGTN"))


def write_fasta(path: Path, records: dict[str, str], width: int = 60) -> Path:
    lines = []
    for name, sequence in records.items():
        lines += [f">{name}"] + [sequence[i : i + width] for i in range(0, len(sequence), width)]
    path.write_text("\n".join(lines) + "\n")
    return path


def bgzip(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    pysam.tabix_compress(str(path), str(target), force=True)
    return target


@pytest.fixture
def records() -> dict[str, str]:
    rng = np.random.default_rng(3)
    return {
        "chr1": "".join(LETTERS[rng.integers(0, 5, 1003)]),
        "chr2:501-1100": "".join(LETTERS[rng.integers(0, 4, 600)]).lower(),
    }


@pytest.mark.parametrize("kind", ["plain", "plain+fai", "bgzip", "bgzip+fai"])
def test_codes_are_the_letters(tmp_path: Path, records: dict[str, str], kind: str) -> None:
    path = write_fasta(tmp_path / "g.fa", records)
    path = bgzip(path) if "bgzip" in kind else path
    if "fai" in kind:
        pysam.faidx(str(path))
    genome = Genome([path])
    assert "".join(LETTERS[genome.fetch_codes("chr1", 0, 1003)]) == records["chr1"]
    assert (
        "".join(LETTERS[genome.fetch_codes("chr2", 510, 600)])
        == records["chr2:501-1100"][10:100].upper()
    )
    assert genome.fetch_codes("chr1", 7, 7).shape == (0,)
    table = genome.contigs
    assert table.chrom.tolist() == ["chr1", "chr2"] and table.start.tolist() == [0, 500]
    assert table.end.tolist() == [1003, 1100] and table.whole.tolist() == [True, False]
    if "fai" not in kind:
        assert not list(tmp_path.glob("*.fai")), (
            "a missing index is built in memory, not beside the user's file"
        )


def test_real_pieces_agree_with_samtools(shared: Path) -> None:
    folder = shared / "data/real/genome"
    paths = [folder / "hg38.chr22_37200000_40600000.fa.gz", folder / "hg38.chr9_0_1000000.fa.gz"]
    genome = Genome(paths)
    region = "chr22:37200001-40600000"
    text = pysam.FastaFile(str(paths[0])).fetch(region, 1_000_000, 1_000_500).upper()
    assert "".join(LETTERS[genome.fetch_codes("chr22", 38_200_000, 38_200_500)]) == text
    gaps = genome.gaps()
    assert gaps.values.tolist() == [["chr9", 0, 10_000]]


def test_gaps_are_the_runs_of_n_across_chunks(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", {"chrA": "NNACGNNNNNNACRTN", "chrB": "ACGT"})
    assert Genome([path]).gaps(chunk=5).values.tolist() == [
        ["chrA", 0, 2],
        ["chrA", 5, 11],
        ["chrA", 13, 14],
        ["chrA", 15, 16],
    ]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_fasta_is_refused_by_name(
    tmp_path: Path, records: dict[str, str], compressed: bool
) -> None:
    path = write_fasta(tmp_path / "g.fa", records)
    path = bgzip(path) if compressed else path
    pysam.faidx(str(path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"g\.fa.*truncated.*Fetch"):
        Genome([path])


def test_a_truncated_index_is_refused_by_name(tmp_path: Path, records: dict[str, str]) -> None:
    path = bgzip(write_fasta(tmp_path / "g.fa", {**records, "chr3": "ACGT" * 40_000}))
    pysam.faidx(str(path))
    index = path.with_name(path.name + ".fai")
    index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"g\.fa\.gz\.fai.*[Rr]ebuild"):
        Genome([path])


def test_an_index_that_lacks_a_record_is_refused(tmp_path: Path, records: dict[str, str]) -> None:
    path = write_fasta(tmp_path / "g.fa", records)
    pysam.faidx(str(path))
    index = Path(f"{path}.fai")
    index.write_text(index.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"g\.fa\.fai.*truncated or stale"):
        Genome([path])


def test_other_mistakes_name_the_file_and_the_remedy(
    tmp_path: Path, records: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"absent\.fa: no such FASTA"):
        Genome([tmp_path / "absent.fa"])
    (tmp_path / "empty.fa").touch()
    with pytest.raises(UserError, match=r"empty\.fa.*empty"):
        Genome([tmp_path / "empty.fa"])
    path = write_fasta(tmp_path / "g.fa", records)
    with gzip.open(tmp_path / "p.fa.gz", "wb") as handle:
        handle.write(path.read_bytes())
    with pytest.raises(UserError, match=r"p\.fa\.gz.*bgzip"):
        Genome([tmp_path / "p.fa.gz"])
    (tmp_path / "t.fa").write_text("ACGT\n")
    with pytest.raises(UserError, match=r"t\.fa.*'>'"):
        Genome([tmp_path / "t.fa"])
    with pytest.raises(UserError, match="no sequence for chr1:1000-1004"):
        Genome([path]).fetch_codes("chr1", 1000, 1004)
    with pytest.raises(UserError, match="no sequence for 1:0-4"):
        Genome([path]).fetch_codes("1", 0, 4)
    shutil.copy(path, tmp_path / "again.fa")
    with pytest.raises(UserError, match="already holds"):
        Genome([path, tmp_path / "again.fa"])
    wrong = write_fasta(tmp_path / "w.fa", {"chr2:1-50": "ACGT"})
    with pytest.raises(UserError, match="names 50 bases but holds 4"):
        Genome([wrong])


def test_soft_masked_bases_are_those_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "soft.fa"
    path.write_text(">a\nACgtNn\nacGTAA\n>b:11-14\nacGT\n")
    genome = Genome([path])
    assert genome.fetch_masked("a", 1, 9).tolist() == [0, 1, 1, 0, 0, 1, 1, 0]
    assert genome.fetch_masked("b", 10, 13).tolist() == [1, 1, 0]
    with pytest.raises(UserError, match="no sequence for b:9-12"):
        genome.fetch_masked("b", 9, 12)
