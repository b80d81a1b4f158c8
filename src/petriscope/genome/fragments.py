"""Fragments: what a sequenced pair says about two Tn5 cuts. Reading, checking, counting,
subsampling, writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.genome.intervals import (
    OrderCheck,
    check_bounds,
    check_names,
    known_sizes,
    read_chunks,
)

STRANDS = (b"+", b"-")


def read_fragments(
    path: str | Path, contigs: pd.DataFrame, *, rows: int = 1_000_000
) -> Iterator[pd.DataFrame]:
    """Yield the fragments of a `fragments.tsv[.gz]` (chrom, start, end [, barcode, count]) in
    chunks.

    One line is one fragment; further columns (10x: barcode, reads) are ignored. Raises `UserError`
    naming file and line for an unsorted or damaged file, a fragment beyond its chromosome, single
    reads (tagAlign and BED have a strand in column 6), and names the genome does not know.
    Chromosomes outside ``contigs`` (`Genome.contigs`) are passed on: they count toward the depth.
    """
    path = Path(path)
    sizes, order, seen = known_sizes(contigs), OrderCheck(path), set[str]()
    for chunk in read_chunks(path, rows=rows):
        if not chunk.first and all(len(row) > 5 and row[5] in STRANDS for row in chunk.head):
            raise UserError(
                "column 6 is a strand: these are single reads, not fragments",
                file=path,
                remedy="Give the BAM file, or one line per pair: chrom, start, end.",
            )
        order.feed(chunk)
        check_bounds(path, chunk, sizes)
        seen.update(str(name) for name in chunk.frame["chrom"].cat.categories)
        yield chunk.frame
    check_names(path, seen, set(contigs.chrom))


def count_fragments(chunks: Iterable[pd.DataFrame]) -> int:
    """Number of fragments in ``chunks``."""
    return sum(len(frame) for frame in chunks)


def subsample(
    chunks: Iterable[pd.DataFrame], total: int, depth: int, seed: int
) -> Iterator[pd.DataFrame]:
    """Keep exactly ``depth`` of ``total`` fragments, each subset equally likely, order kept, in one
    pass.

    Sequential hypergeometric sampling: the number kept from a chunk, then which. Same seed and
    chunking, same subset.
    """
    if depth > total:
        raise UserError(
            f"asks for {depth} fragments of a file that has {total}",
            field="tracks.match_depth",
            remedy=f"Use at most {total}, the smallest biosample's depth.",
        )
    rng = np.random.default_rng(seed)
    left, wanted = total, depth
    for frame in chunks:
        n = len(frame)
        take = int(rng.hypergeometric(n, left - n, wanted)) if left > n else wanted
        chosen = np.sort(rng.choice(n, size=take, replace=False))
        left, wanted = left - n, wanted - take
        yield frame.iloc[chosen]


def write_fragments(path: str | Path, chunks: Iterable[pd.DataFrame]) -> int:
    """Write fragments as bgzipped chrom, start, end lines, in the order given; returns how many."""
    written = 0
    with atomic_path(path) as temporary, pysam.BGZFile(str(temporary), "w", None) as handle:
        for frame in chunks:
            text = frame[["chrom", "start", "end"]].to_csv(
                sep="\t", header=False, index=False, lineterminator="\n"
            )
            handle.write(text.encode())
            written += len(frame)
    return written
