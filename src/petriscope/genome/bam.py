"""BAM or CRAM to fragments as EpiBERT's own preparation: both mates on one chromosome, MAPQ at
least 20, Tn5 +4/−5."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from petriscope.errors import UserError
from petriscope.genome.fasta import BGZF_EOF
from petriscope.genome.intervals import check_names, known_sizes
from petriscope.progress import progress

MIN_MAPQ = 20
TN5 = (4, 5)
CHUNK_ROWS = 1_000_000


def read_bam(
    path: str | Path,
    contigs: pd.DataFrame,
    *,
    reference: str | Path | None = None,
    min_mapq: int = MIN_MAPQ,
    keep_duplicates: bool = False,
    threads: int = 2,
) -> Iterator[pd.DataFrame]:
    """Yield the fragments of a coordinate-sorted, indexed BAM (or CRAM with its ``reference``),
    sorted by start.

    Frames hold chrom (categorical), start, end: leftmost base + 4 to rightmost base − 5 of the
    pair, as `bedtools bamtobed -bedpe` and EpiBERT's bam_to_bed_ATAC.wdl give (a pair facing
    outwards is cut at its inner ends). Both mates must lie on one chromosome with MAPQ ≥
    ``min_mapq``; secondary, supplementary and (unless ``keep_duplicates``) duplicate alignments are
    left out. Memory: the fragments of one chromosome, 16 bytes each, and its open pairs. Raises
    `UserError` for a missing index, unsorted or truncated file, no pairs, a header whose names or
    lengths are not those of ``contigs`` (`Genome.contigs`), and CRAM without reference.
    """
    path = Path(path)
    found = 0
    with _quiet(), _reported(path), _open(path, reference, threads) as alignments:
        _check_header(path, alignments, contigs)
        total = alignments.mapped + alignments.unmapped if alignments.is_bam else None
        reads = progress(alignments.fetch(until_eof=True), path.name, total=total, unit="read")
        for name, start, end in _by_chromosome(path, reads, min_mapq, keep_duplicates):
            order = np.lexsort((end, start))
            found += len(order)
            for lower in range(0, len(order), CHUNK_ROWS):
                rows = order[lower : lower + CHUNK_ROWS]
                chrom = pd.Categorical.from_codes(
                    np.zeros(len(rows), dtype=np.int8), categories=pd.Index([name])
                )
                yield pd.DataFrame({"chrom": chrom, "start": start[rows], "end": end[rows]})
    if not found:
        raise UserError(
            f"holds no pair with both mates on one chromosome at MAPQ {min_mapq} or more",
            file=path,
            remedy="Give paired-end ATAC alignments, or fragments.tsv.gz.",
        )


def header_contigs(path: str | Path, reference: str | Path | None = None) -> pd.DataFrame:
    """Chromosomes of a BAM or CRAM header: columns chrom, start, end, whole, as `Genome.contigs`
    has them."""
    path = Path(path)
    with _quiet(), _reported(path), _open(path, reference, 1) as alignments:
        lengths = alignments.lengths
        return pd.DataFrame(
            {"chrom": alignments.references, "start": 0, "end": lengths, "whole": True}
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep htslib from printing its own lines beside ours."""
    level = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(level)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what htslib raises on a damaged stream, while reading or closing it, into one
    `UserError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"damaged or truncated ({error})", file=path, remedy="Fetch or write the file again."
        ) from None


def _open(path: Path, reference: str | Path | None, threads: int) -> pysam.AlignmentFile:
    if not path.is_file():
        raise UserError(
            "no such file", file=path, remedy="Correct the path in dataset.yaml or fetch the file."
        )
    with path.open("rb") as handle:
        magic = handle.read(4)
        handle.seek(-min(len(BGZF_EOF), path.stat().st_size), 2)
        tail = handle.read()
    cram = magic == b"CRAM"
    if cram and (reference is None or not Path(reference).is_file()):
        remedy = (
            "Give the FASTA it was compressed with, or convert it with "
            "`samtools view -b -T genome.fa`."
        )
        raise UserError("CRAM cannot be read without its reference", file=path, remedy=remedy)
    if not cram and magic[:2] != b"\x1f\x8b":
        raise UserError(
            "is neither BAM nor CRAM", file=path, remedy="Give a BAM file, or set the right format."
        )
    if not cram and tail != BGZF_EOF:
        raise UserError(
            "is truncated (end marker missing)", file=path, remedy="Fetch or write the file again."
        )
    opened = pysam.AlignmentFile(
        str(path),
        "rc" if cram else "rb",
        reference_filename=str(reference) if cram else None,
        threads=threads,
    )
    if not opened.has_index():
        opened.close()
        raise UserError("has no index", file=path, remedy=f"Run `samtools index {path.name}`.")
    return opened


def _check_header(path: Path, alignments: pysam.AlignmentFile, contigs: pd.DataFrame) -> None:
    """Chromosome names must be the genome's, and their lengths too where the genome holds them
    whole."""
    lengths = dict(zip(alignments.references, alignments.lengths))
    check_names(path, set(lengths), set(contigs.chrom))
    for chrom, size in known_sizes(contigs).items():
        if lengths.get(chrom, size) != size:
            raise UserError(
                f"{chrom} has {lengths[chrom]} bp in the header but {size} in the genome",
                file=path,
                field="@SQ",
                remedy="Use a file of the data set's genome build.",
            )


def _by_chromosome(
    path: Path, reads: Iterator[pysam.AlignedSegment], min_mapq: int, keep_duplicates: bool
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Chromosome name, fragment starts and ends (n,) int64, one chromosome after the other."""
    skipped = 0x4 | 0x8 | 0x100 | 0x800 | (0 if keep_duplicates else 0x400)
    starts, ends = array("q"), array("q")
    waiting: dict[str, tuple[int, int, bool, bool]] = {}
    current, chromosome, position = -1, "", 0
    for read in reads:
        target, begin = read.reference_id, read.reference_start
        if target != current or begin < position:
            if current >= 0 and (begin < position if target == current else 0 <= target < current):
                raise UserError(
                    "is not sorted by position",
                    file=path,
                    remedy="Run `samtools sort`, then index.",
                )
            if starts:
                yield chromosome, np.frombuffer(starts, np.int64), np.frombuffer(ends, np.int64)
                starts, ends = array("q"), array("q")
            waiting.clear()
            current, chromosome = target, str(read.reference_name)
        position = begin
        if read.flag & skipped or not read.flag & 0x1 or read.next_reference_id != target:
            continue
        name, finish = str(read.query_name), read.reference_end
        if finish is None:
            continue
        mate = waiting.pop(name, None)
        good = read.mapping_quality >= min_mapq
        if mate is None:
            waiting[name] = (begin, finish, read.is_reverse, good)
        elif good and mate[3]:
            # the mate came first in position order: it is the lower one
            lower, upper = (begin, mate[1]) if mate[2] else (mate[0], finish)
            lower, upper = lower + TN5[0], upper - TN5[1]
            if lower != upper:
                starts.append(min(lower, upper))
                ends.append(max(lower, upper))
    if starts:
        yield chromosome, np.frombuffer(starts, np.int64), np.frombuffer(ends, np.int64)
