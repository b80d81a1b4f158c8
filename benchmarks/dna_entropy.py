"""Published entropy of the next nucleotide at every base of 3.4 Mb.

Rival: the FM-index of `pip install fm-index` (Rust): built once, then five counts a base (the
context, and with each letter behind it). 2,000 bases are timed and the rest extrapolated. The DNA
is chromosome 22, 37.2 to 40.6 Mb, where it lies in ../shared; else it is drawn at random, which
is kinder to the rival (no repeats).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rows import Against, cpu

from petriscope.genome.fasta import Genome
from petriscope.studies.dna.entropy import BREAK, Scan, published_entropy

FASTA = "hg38.chr22_37200000_40600000.fa.gz"
BASES, TIMED = 3_400_000, 2_000
LETTERS = np.frombuffer(b"ACGTN", np.uint8)


def dna() -> np.ndarray:
    """Base codes with a break at the end."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "real" / "genome" / FASTA
    if path.is_file():
        genome = Genome([path])
        contig = genome.contigs.iloc[0]
        codes = genome.fetch_codes(contig.chrom, contig.start, contig.end)
    else:
        codes = np.random.default_rng(0).integers(0, 4, BASES).astype(np.uint8)
    return np.append(codes, BREAK).astype(np.uint8)


def entropy() -> list[Against]:
    """k of 6, 10 and 12; and the corrected scan beside the published one."""
    import fm_index

    codes = dna()
    text = LETTERS[codes[:-1]].tobytes().decode()
    built: list = []
    build = cpu(lambda: built.append(fm_index.FMIndex(text)))
    at = np.random.default_rng(1).integers(20, len(text), TIMED).tolist()
    rows = []
    for k in (6, 10, 12):

        def theirs(k: int = k) -> None:
            for place in at:
                context = text[place - k : place]
                built[0].count(context)
                for letter in "ACGT":
                    built[0].count(context + letter)

        rival = build + cpu(theirs) * len(text) / TIMED
        ours = cpu(lambda k=k: published_entropy(codes, k))
        goal = 20 if k <= 10 else 0
        rows.append(Against(f"entropy as published, {len(text):,} bp, k {k}", ours, rival, goal))
        ours = cpu(lambda k=k: Scan.of(codes, k).dirichlet(codes, own=True))
        what = f"leave-one-out surprisal on both strands, k {k}"
        rows.append(Against(what, ours, rival, goal))
    return rows


ROWS = {"entropy": entropy}
