"""Kind 3: an index that does not belong to its file is noticed by what it says, or never read.

A case damages a FASTA or its index and says which bases are right, or what the refusal names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest

from petriscope.errors import UserError
from petriscope.genome.bam import read_bam
from petriscope.genome.fasta import Genome

Cli = Refused = Callable[..., Any]
LETTERS = np.array(list("ACGTN"))
RECORDS = {
    name: "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))
    for seed, (name, bases) in enumerate([("chr1", 300), ("chr2", 300), ("chr3", 170)])
}


def fasta(path: Path, records: dict[str, str] = RECORDS, width: int = 60, end: str = "\n") -> Path:
    """A FASTA file; `.gz` is bgzipped."""
    text = "".join(
        f">{name}{end}" + "".join(row[i : i + width] + end for i in range(0, len(row), width))
        for name, row in records.items()
    )
    if path.suffix == ".gz":
        with pysam.BGZFile(str(path), "w", None) as handle:
            handle.write(text.encode())
    else:
        path.write_text(text, newline="")
    return path


def bases(path: Path, name: str = "chr2") -> str:
    genome = Genome([path])
    size = int(genome.contigs.set_index("chrom").end[name])
    return "".join(LETTERS[genome.fetch_codes(name, 0, size)])


def indexed(path: Path) -> Path:
    pysam.faidx(str(path))
    return Path(f"{path}.fai")


def other_order(path: Path) -> None:
    fasta(path, {name: RECORDS[name] for name in ("chr2", "chr1", "chr3")})


def other_width(path: Path) -> None:
    """One record of the same bytes on other lines: 100 bases take two lines of 60 or of 70."""
    fasta(path, {"chr2": RECORDS["chr2"][:100]}, 60)
    indexed(path)
    fasta(path, {"chr2": RECORDS["chr2"][:100]}, 70)


def renamed(path: Path) -> None:
    fasta(path, {"chr1": RECORDS["chr1"], "chrM": RECORDS["chr2"], "chr3": RECORDS["chr3"]})


def uneven(path: Path) -> None:
    """A record's lines of 60, 60, 60 … become 50, 70, 60 …: every length in the index still fits."""
    row = RECORDS["chr1"]
    text = path.read_text()
    path.write_text(text.replace(f"{row[:60]}\n{row[60:120]}\n", f"{row[:50]}\n{row[50:120]}\n"))


def shifted_within(path: Path) -> None:
    """As `uneven`, but beyond the first line."""
    row = RECORDS["chr2"]
    text = path.read_text()
    path.write_text(
        text.replace(f"{row[60:120]}\n{row[120:180]}\n", f"{row[60:110]}\n{row[110:180]}\n")
    )


def longer(path: Path) -> None:
    fasta(path, {"chr0": "ACGT" * 9, **RECORDS})


@pytest.mark.parametrize("suffix", [".fa", ".fa.gz"])
@pytest.mark.parametrize("change", [other_order, other_width, renamed, longer])
def test_a_stale_fai_is_named(tmp_path: Path, change: Callable[[Path], None], suffix: str) -> None:
    path = fasta(tmp_path / f"g{suffix}")
    index = indexed(path)
    os.utime(index, (2**31, 2**31))  # newer than the FASTA: its time tells nothing
    change(path)
    os.utime(index, (2**31, 2**31))
    with pytest.raises(
        UserError, match=rf"g{suffix}\.fai: the index does not fit g{suffix}.*stale.*faidx"
    ):
        bases(path)


@pytest.mark.parametrize("change", [uneven, shifted_within])
def test_lines_that_moved_within_a_record_are_noticed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = fasta(tmp_path / "g.fa")
    indexed(path)
    change(path)
    with pytest.raises(UserError, match=r"g\.fa"):
        bases(path)


def test_an_index_of_another_file_of_the_same_length(tmp_path: Path) -> None:
    path = fasta(tmp_path / "g.fa")
    other = fasta(
        tmp_path / "other.fa", {f"Chr{k}": row for k, row in zip("123", RECORDS.values())}
    )
    shutil.move(indexed(other), f"{path}.fai")
    with pytest.raises(
        UserError, match=r"g\.fa\.fai: the index does not fit g\.fa \(record 'Chr1'"
    ):
        Genome([path])


def test_a_foreign_or_broken_gzi_does_no_harm(tmp_path: Path) -> None:
    many = {name: row * 400 for name, row in RECORDS.items()}
    path = fasta(tmp_path / "g.fa.gz", many)
    indexed(path)
    other = fasta(tmp_path / "other.fa.gz", {"x": "ACGTT" * 70_000})
    indexed(other)
    for raw in (Path(f"{other}.gzi").read_bytes(), b"\0" * 8, b"junk"):
        Path(f"{path}.gzi").write_bytes(raw)
        assert bases(path) == many["chr2"]


def test_no_index_is_written_beside_the_users_files(tmp_path: Path) -> None:
    for path in (fasta(tmp_path / "g.fa"), fasta(tmp_path / "h.fa.gz")):
        assert bases(path) == RECORDS["chr2"]
    tmp_path.chmod(0o555)
    assert bases(tmp_path / "h.fa.gz") == RECORDS["chr2"]
    tmp_path.chmod(0o755)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["g.fa", "h.fa.gz"]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            ">chr1\nACGT\n>chr2\nAC\n>chr1\nGGGG\n",
            "line 5: a second record 'chr1' (the first is on line 1)",
        ),
        (">chr1\nACGT\nAC\nACGT\n", "line 4: record 'chr1' has lines of uneven length"),
        (">chr1\nACGT\n\nACGT\n", "line 4: record 'chr1' has lines of uneven length"),
        (">chr1\nAC-T\n", "line 2: holds '-', which is no letter for a base"),
        (">sp|P1\nMKLE\n", "line 2: holds 'L', which is no letter for a base"),
        (">chr1\nACGT\n>chr2\n>chr3\nAC\n", "line 3: record 'chr2' has no sequence"),
        (">\nACGT\n", "line 1: a record without a name"),
        (">chr1\nAC GT\n", "line 2: holds ' ', which is no letter for a base"),
        ("\n>chr1\nACGT\n", "does not begin with '>'"),
    ],
)
def test_a_fasta_that_is_none_is_named_with_its_line(
    tmp_path: Path, text: str, words: str, index: bool
) -> None:
    path = tmp_path / "g.fa"
    path.write_text(text)
    if index:
        try:
            pysam.faidx(str(path))
        except pysam.SamtoolsError:
            pytest.skip("samtools makes no index of it")
    with pytest.raises(UserError) as caught:
        Genome([path]).gaps()
    assert words in str(caught.value)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("suffix", [".fa", ".fa.gz"])
def test_oddities_are_read_right(tmp_path: Path, suffix: str, index: bool) -> None:
    rows = {"chr1 a note, >not a record": "ACGTNacgtnRYSWKMBDHVXr", "chr2\ttab": "acg" * 30}
    path = fasta(tmp_path / f"g{suffix}", rows, 10, "\r\n")
    if index:
        indexed(path)
    assert bases(path, "chr1") == "ACGTNACGTN" + "N" * 12
    assert bases(path, "chr2") == "ACG" * 30
    path = fasta(tmp_path / f"h{suffix}", {"chr1": "ACGT"})
    if suffix == ".fa":
        path.write_text(path.read_text().rstrip("\n"))  # no line feed at the end
        if index:
            indexed(path)
    assert bases(path, "chr1") == "ACGT"


def bam(path: Path, pairs: int, chrom: str = "chr1") -> Path:
    """Pairs of 30 bases, 100 bases apart."""
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": chrom, "LN": 50_000}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for number in range(pairs):
            for flag, place in ((0x63, 0), (0x93, 70)):
                read = pysam.AlignedSegment(out.header)
                read.query_name, read.flag, read.mapping_quality = f"r{number}", flag, 60
                read.reference_id = read.next_reference_id = 0
                read.reference_start = 200 * number + place
                read.next_reference_start = 200 * number + 70 - place
                read.query_sequence, read.cigartuples = "A" * 30, [(0, 30)]
                out.write(read)
    pysam.index(str(path))
    return path


def test_a_bai_of_another_bam_changes_nothing(tmp_path: Path) -> None:
    path, other = bam(tmp_path / "a.bam", 40), bam(tmp_path / "b.bam", 3)
    contigs = Genome([fasta(tmp_path / "g.fa", {"chr1": "A" * 50_000})]).contigs
    right = [frame.to_numpy().tolist() for frame in read_bam(path, contigs)]
    assert len(right[0]) == 40
    for raw in (Path(f"{other}.bai").read_bytes(), b"junk", None):
        index = Path(f"{path}.bai")
        index.unlink() if raw is None else index.write_bytes(raw)
        assert [frame.to_numpy().tolist() for frame in read_bam(path, contigs)] == right


def test_an_old_index_never_stands_beside_new_fragments(
    tmp_path: Path, cli: Cli, refused: Refused
) -> None:
    path, out = bam(tmp_path / "a.bam", 40), tmp_path / "o.tsv.gz"
    Path(f"{out}.tbi").write_bytes(b"of another file")
    assert cli(["data", "fragments", path, out]).returncode == 0
    with pysam.TabixFile(str(out)) as tabix:
        assert len(list(tabix.fetch("chr1", 0, 1000))) == 5
    refused(["data", "fragments", path, out], "o.tsv.gz: exists and is not known as an output")
    out.unlink()
    Path(f"{out}.csi").write_bytes(b"of another file")  # htslib looks for it first
    refused(["data", "fragments", path, out], "o.tsv.gz.csi", "Remove it")
    assert not out.exists()


@pytest.mark.parametrize("byte", [0, 3, 10, 12, 14, 16, 17])
def test_a_bam_whose_second_block_is_damaged_is_refused_not_waited_for(
    tmp_path: Path, refused: Refused, byte: int
) -> None:
    """htslib's reading threads wait for each other for ever. Found by the property test."""
    path = bam(tmp_path / "a.bam", 40)
    raw = bytearray(path.read_bytes())
    raw[int.from_bytes(raw[16:18], "little") + 1 + byte] ^= 0x55
    path.write_bytes(bytes(raw))
    refused(["data", "fragments", path, tmp_path / "o.tsv.gz"], "a.bam", "damaged or truncated")


def test_a_bgzip_fasta_that_ends_with_its_last_base(tmp_path: Path) -> None:
    with pysam.BGZFile(str(tmp_path / "g.fa.gz"), "w", None) as handle:
        handle.write(b">chr2\nA")
    indexed(tmp_path / "g.fa.gz")
    assert bases(tmp_path / "g.fa.gz") == "A"
