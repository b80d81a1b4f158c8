"""BAM or CRAM to fragments as EpiBERT's own preparation: both mates on one chromosome, MAPQ at
least 20, Tn5 +4/−5."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from petriscope.errors import UserError
from petriscope.genome.intervals import check_names, known_sizes
from petriscope.progress import progress
from petriscope.textfile import BGZF_EOF

FIRST_BLOCKS = 64
"""More than htslib's threads read ahead while the header is read."""
MIN_MAPQ = 20
TN5 = (4, 5)
CHUNK_ROWS = 1_000_000
SKIPPED = 0x4 | 0x8 | 0x100 | 0x200 | 0x800
"""Unmapped, mate unmapped, secondary, QC-failed, supplementary."""
DUPLICATE = 0x400
MOST_APART = 0.01
"""Share of pairs whose mate fields may be wrong; such pairs are not counted."""
READ_FIELDS = "required_fields=0xff"
"""Of a CRAM: name to mate position. So no reference is needed, and htslib makes no index of one."""
OTHER = (0, 2, 1, 3)
CRAM_EOF = b"\xe0EOF"
""""EOF" as the position of CRAM's last, empty container."""


def read_bam(
    path: str | Path,
    contigs: pd.DataFrame,
    *,
    min_mapq: int = MIN_MAPQ,
    keep_duplicates: bool = False,
    threads: int = 2,
) -> Iterator[pd.DataFrame]:
    """Yield the fragments of a coordinate-sorted BAM or CRAM, sorted by start.

    Frames hold chrom (categorical), start, end: leftmost base + 4 to rightmost base − 5 of the
    pair, as `bedtools bamtobed -bedpe` and EpiBERT's bam_to_bed_ATAC.wdl give (a pair facing
    outwards is cut at its inner ends). Both mates must lie on one chromosome with MAPQ ≥
    ``min_mapq``; single, secondary, supplementary, QC-failed and (unless ``keep_duplicates``)
    duplicate alignments are left out. Two reads are mates where each lies where the other says, so
    reads of several lanes may share a name. The file is read from end to end: no index is needed,
    and one that belongs to another file does no harm. Memory: the fragments of one chromosome, 16
    bytes each, and its open pairs. Raises `UserError` for an unsorted or truncated file, no pairs,
    pairs whose mate fields are wrong, a header whose names or lengths are not those of ``contigs``
    (`Genome.contigs`). CRAM is read without its reference: bases are not looked at.
    """
    path = Path(path)
    found = 0
    with _quiet(), _reported(path), _open(path, threads) as alignments:
        _check_header(path, alignments, contigs)
        # an index tells how many reads there are, no more: a wrong one would only mislead the bar
        total = alignments.mapped + alignments.unmapped if alignments.has_index() else None
        reads = progress(alignments.fetch(until_eof=True), path.name, total=total, unit="read")
        pairs = _Pairs(path, min_mapq, keep_duplicates)
        for name, start, end in pairs.by_chromosome(reads):
            order = np.lexsort((end, start))
            found += len(order)
            for lower in range(0, len(order), CHUNK_ROWS):
                rows = order[lower : lower + CHUNK_ROWS]
                chrom = pd.Categorical.from_codes(
                    np.zeros(len(rows), dtype=np.int8), categories=pd.Index([name])
                )
                yield pd.DataFrame({"chrom": chrom, "start": start[rows], "end": end[rows]})
    if pairs.apart > MOST_APART * (found + pairs.apart):
        raise UserError(
            f"{pairs.apart} pairs do not lie where their mate fields say, {found} do",
            file=path,
            remedy="Run `samtools fixmate` on the file sorted by name, then sort it by position.",
        )
    if not found:
        raise UserError(
            f"holds no pair with both mates on one chromosome at MAPQ {min_mapq} or more",
            file=path,
            remedy="Give paired-end ATAC alignments, or fragments.tsv.gz.",
        )


def header_contigs(path: str | Path) -> pd.DataFrame:
    """Chromosomes of a BAM or CRAM header: columns chrom, start, end, whole, as `Genome.contigs`
    has them."""
    path = Path(path)
    with _quiet(), _reported(path), _open(path, 1) as alignments:
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
    except (OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"damaged or truncated ({error})", file=path, remedy="Fetch or write the file again."
        ) from None


def _open(path: Path, threads: int) -> pysam.AlignmentFile:
    if not path.is_file():
        raise UserError(
            "no such file", file=path, remedy="Correct the path in dataset.yaml or fetch the file."
        )
    with path.open("rb") as handle:
        head = handle.read(18)
        handle.seek(-min(40, path.stat().st_size), 2)
        tail = handle.read()
    cram = head[:4] == b"CRAM"
    if not cram and (head[:4] != b"\x1f\x8b\x08\x04" or head[12:14] != b"BC"):
        raise UserError(
            "is neither BAM nor CRAM", file=path, remedy="Give a BAM file, or set the right format."
        )
    if not (CRAM_EOF in tail if cram else tail.endswith(BGZF_EOF)):
        raise UserError(
            "is truncated (end marker missing)", file=path, remedy="Fetch or write the file again."
        )
    if not cram and threads > 1:
        _check_first_blocks(path)
    opened = pysam.AlignmentFile(
        str(path),
        "rc" if cram else "rb",
        check_sq=False,
        threads=threads,
        format_options=[READ_FIELDS] if cram else None,
    )
    if not opened.nreferences:
        opened.close()
        raise UserError(
            "names no chromosome in its header (@SQ)",
            file=path,
            remedy="Give aligned reads, with their header (`samtools view -h`).",
        )
    return opened


def _check_first_blocks(path: Path) -> None:
    """Raise `UserError` where one of the file's first blocks of bgzip does not begin as one does,
    or ends beyond the file: htslib's reading threads then wait for each other for ever."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as handle:
        for _ in range(FIRST_BLOCKS):
            handle.seek(place)
            head = handle.read(18)
            if not head:
                return
            whole = head[:4] == b"\x1f\x8b\x08\x04" and head[10:16] == b"\x06\x00BC\x02\x00"
            begun, place = place, place + int.from_bytes(head[16:18], "little") + 1
            if len(head) < 18 or not whole or place > size:
                raise UserError(
                    f"damaged or truncated (no block of bgzip at byte {begun:,})",
                    file=path,
                    remedy="Fetch or write the file again.",
                )


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


class _Pairs:
    """Pairs of the reads of one file, given in order of position."""

    def __init__(self, path: Path, min_mapq: int, keep_duplicates: bool) -> None:
        self.path, self.min_mapq = path, min_mapq
        self.skipped = SKIPPED | (0 if keep_duplicates else DUPLICATE)
        self.apart = 0
        """Pairs, so far, that have both reads on one chromosome but not where either says."""

    def by_chromosome(
        self, reads: Iterator[pysam.AlignedSegment]
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Chromosome name, fragment starts and ends (n,) int64, one chromosome after the other."""
        starts, ends = array("q"), array("q")
        waiting: dict[tuple[str, int, int, int], list[tuple[int, bool, bool]]] = {}
        current, chromosome, position = -1, "", 0
        for read in reads:
            target, begin = read.reference_id, read.reference_start
            if target != current or begin < position:
                if current >= 0 and (
                    begin < position if target == current else 0 <= target < current
                ):
                    raise UserError(
                        "is not sorted by position",
                        file=self.path,
                        remedy="Run `samtools sort`.",
                    )
                if starts:
                    yield chromosome, np.frombuffer(starts, np.int64), np.frombuffer(ends, np.int64)
                    starts, ends = array("q"), array("q")
                self._count_apart(waiting)
                waiting.clear()
                current, chromosome = target, str(read.reference_name)
            position = begin
            flag = read.flag
            if flag & self.skipped or not flag & 0x1 or read.next_reference_id != target:
                continue
            finish = read.reference_end
            if finish is None:
                continue
            # first and second of a pair (0x40, 0x80) look for each other
            name, which, there = str(read.query_name), flag >> 6 & 3, read.next_reference_start
            good = read.mapping_quality >= self.min_mapq
            theirs = (name, OTHER[which], there, begin)
            mates = waiting.get(theirs)
            if not mates:
                mine = waiting.setdefault((name, which, begin, there), [])
                mine.append((finish, read.is_reverse, good))
                continue
            mate_end, mate_reverse, mate_good = mates.pop(0)
            if not mates:
                del waiting[theirs]
            if good and mate_good:
                # the mate came first in position order: it is the lower one
                lower, upper = (begin, mate_end) if mate_reverse else (there, finish)
                lower, upper = lower + TN5[0], upper - TN5[1]
                if lower != upper:
                    starts.append(min(lower, upper))
                    ends.append(max(lower, upper))
        self._count_apart(waiting)
        if starts:
            yield chromosome, np.frombuffer(starts, np.int64), np.frombuffer(ends, np.int64)

    def _count_apart(self, waiting: Iterable[tuple[str, int, int, int]]) -> None:
        """Count the names of which a first and a second read are left over."""
        first = {name for name, which, _, _ in waiting if which == 1}
        second = {name for name, which, _, _ in waiting if which == 2}
        self.apart += len(first & second)
