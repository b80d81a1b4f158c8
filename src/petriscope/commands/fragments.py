"""`petriscope data fragments IN.bam OUT.tsv.gz`: paired-end ATAC alignments to a sorted fragment
file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pysam

from petriscope.errors import UserError
from petriscope.files import Output, atomic_path, claim
from petriscope.genome.bam import MIN_MAPQ, header_contigs, read_bam
from petriscope.genome.fasta import Genome
from petriscope.genome.fragments import write_fragments

FRAGMENTS = Output("known as an output of this program", known=lambda path: False)
"""Nothing in a fragment file says who wrote it, so none is replaced."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("alignments", metavar="IN.bam", help="BAM or CRAM, sorted by position")
    parser.add_argument(
        "out", metavar="OUT.tsv.gz", help="fragment file to write (bgzip, with a tabix index)"
    )
    parser.add_argument(
        "--genome", nargs="+", metavar="FASTA", help="check names and lengths against this genome"
    )
    parser.add_argument(
        "--min-mapq",
        type=int,
        default=MIN_MAPQ,
        help=f"least mapping quality (default: {MIN_MAPQ})",
    )
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="count pairs flagged as duplicates too"
    )


def run(args: argparse.Namespace) -> int:
    """Write the fragments and their tabix index; returns the exit status."""
    out = Path(args.out)
    if not out.name.endswith(".tsv.gz"):
        raise UserError(
            "does not end in .tsv.gz", file=out, remedy="Name the fragment file OUT.tsv.gz."
        )
    if not 0 <= args.min_mapq <= 255:
        raise UserError(f"is {args.min_mapq}", field="--min-mapq", remedy="Use 0 to 255.")
    inputs = [args.alignments, *(args.genome or [])]
    target = claim(out, FRAGMENTS, inputs=inputs)
    if args.genome:
        contigs: pd.DataFrame = Genome(args.genome).contigs
    else:
        contigs = header_contigs(args.alignments)
    chunks = read_bam(
        args.alignments,
        contigs,
        min_mapq=args.min_mapq,
        keep_duplicates=args.keep_duplicates,
    )
    other = target.with_name(f"{out.name}.csi")
    if other.exists():
        raise UserError(
            f"is an index of an earlier {out.name}, which programs would go by",
            file=other,
            remedy="Remove it, or write to another name.",
        )
    index = target.with_name(f"{out.name}.tbi")
    with atomic_path(index) as temporary_index, atomic_path(target) as temporary:
        written = write_fragments(temporary, chunks)
        pysam.tabix_index(str(temporary), preset="bed", force=True, index=str(temporary_index))
        index.unlink(missing_ok=True)  # no moment at which it stands beside a file not its own
    print(f"wrote {written:,} fragments to {out}")
    return 0
