"""What is said of a piece of DNA becomes concepts: a yes or no for every token, from annotation and
from the bases themselves.

Annotation (kind *annotation*): each track; each name of a track that has few (chromatin states,
elements, planted words) and each kind of name (`anchor` of `anchor_01`); of a track named as exons
and one of genes with strands also introns, splice sites and promoters; of accessible sites those
outside promoters; the most and the least conserved tokens. Bases (kind *sequence*): composition,
repeats, motifs and k-mers, on either strand. Some of these are functions of a token itself: that
is what token identity as a baseline is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.genome.fasta import Genome
from petriscope.genome.overlap import read_bed
from petriscope.studies.dna.contigs import COMPLEMENT
from petriscope.studies.dna.tracks import bigwig_mean, covered_share, is_bigwig

MOST_NAMES = 40
"""names of a track that become concepts, at most; a track with more stays one"""
HALF = 0.5
"""share of a token's bases from which on it is in an interval"""
EXTREME = 0.1
"""share of tokens that are the most, or the least, of a number"""
TSS = 500
"""bp on either side of a gene's start: its promoter"""
SPLICE = 6
"""bp on either side of a splice site"""
NEAR = 48
"""bp on either side of a token: the surroundings whose composition is looked at"""
GC = (0.35, 0.6)
"""share of G and C below which, and above which, surroundings are poor and rich in them"""
CPG = (0.5, 0.65)
"""share of G and C, and of CG among what is expected of them, above which there is an island"""
COPIES, REPEAT = 5, 16
"""a 16-mer that occurs so often, on either strand, is of a repeat"""
PLAIN = 3.2
"""bits of the dinucleotides around a token, of 4, below which its DNA is of low complexity"""
MOTIFS = {
    "poly-A": "A{6}",
    "homopolymer of 8": "A{8}|C{8}",
    "TATA box": "TATA[AT]A[AT]",
    "CCAAT box": "CCAAT",
    "GC box": "GGGCGG",
    "E-box": "CACGTG",
    "AP-1": "TGA[CG]TCA",
    "CTCF core": "CC[ACGT]C[ACGT]AGG[ACGT]GG",
    "poly-A signal": "AATAAA",
    "splice donor motif": "GT[AG]AGT",
    "start codon": "ATG",
    "stop codon": "TAA|TAG|TGA",
    "CG": "CG",
    "purine run of 12": "[AG]{12}",
    "CA repeat": "(?:CA){5}",
    "tandem repeat": r"([ACGT]{2,6}?)\2\2",
    "G-quadruplex": "(?:G{3,}[ACGT]{1,7}){3}G{3,}",
}
"""on either strand; a pattern is the first group of what is searched"""
GAP = "N" * 8
"""between pieces, so that nothing is found across them"""


class Concepts(NamedTuple):
    """What is known of n tokens."""

    table: pd.DataFrame
    """a row per concept: concept, kind (annotation or sequence), tokens"""
    matrix: np.ndarray
    """(n, C) bool"""

    def with_enough(self, train: np.ndarray, least: int) -> Concepts:
        """Concepts with ``least`` tokens in either half, yes as well as no; ``train`` (n,) bool."""
        sides = [self.matrix[rows] for rows in (train, ~train)]
        counts = [np.minimum(side.sum(0), (~side).sum(0)) for side in sides]
        kept = np.min(counts, axis=0) >= least
        return Concepts(self.table[kept].reset_index(drop=True), self.matrix[:, kept])


class Where(NamedTuple):
    """Where tokens lie, on the chromosome."""

    chrom: np.ndarray
    start: np.ndarray
    width: np.ndarray

    def inside(self, intervals: pd.DataFrame) -> np.ndarray:
        """(n,) bool: half of the token's bases are in intervals."""
        return covered_share(*self, intervals) >= HALF


def annotation_concepts(
    where: Where,
    tracks: Mapping[str, str | Path],
    conservation: str | Path | None = None,
    whole: frozenset[str] = frozenset(),
) -> Concepts:
    """Concepts of annotation; ``whole``: tracks whose names are left alone."""
    found: dict[str, np.ndarray] = {}
    beds: dict[str, pd.DataFrame] = {}
    here = pd.unique(where.chrom)
    for name, path in tracks.items():
        if is_bigwig(path):
            found |= _extremes(name, bigwig_mean(path, *where))
            continue
        bed = read_bed(path)
        beds[name] = bed = bed[bed.chrom.isin(here)]
        found[name] = where.inside(bed)
        if "name" in bed and name not in whole:
            found |= _by_name(name, bed, where)
    if conservation is not None:
        found |= _extremes("conservation", bigwig_mean(conservation, *where))
    found |= _of_genes(beds, where)
    return _stacked(found, "annotation", len(where.start))


def _stacked(found: Mapping[str, np.ndarray], kind: str, n: int) -> Concepts:
    matrix = np.stack(list(found.values()), axis=1) if found else np.zeros((n, 0), bool)
    columns = {"concept": list(found), "kind": kind, "tokens": matrix.sum(0)}
    return Concepts(pd.DataFrame(columns), matrix)


def _by_name(track: str, bed: pd.DataFrame, where: Where) -> dict[str, np.ndarray]:
    names = bed.name.astype(str)
    kinds = names.str.replace(r"_\d+$", "", regex=True)
    found: dict[str, np.ndarray] = {}
    for labels in (names, kinds):
        unique = sorted(labels.unique())
        if 1 < len(unique) <= MOST_NAMES:
            for name in unique:
                found[f"{track}: {name}"] = where.inside(bed[labels == name])
    return found


def _extremes(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    low, high = np.quantile(values, [EXTREME, 1 - EXTREME])
    found = {f"{name}: high": values >= high, f"{name}: low": values <= low}
    return {concept: yes for concept, yes in found.items() if yes.mean() <= 2 * EXTREME}


def _named(beds: Mapping[str, pd.DataFrame], *parts: str) -> list[str]:
    return [name for name in beds if any(part in name.lower() for part in parts)]


def _of_genes(beds: Mapping[str, pd.DataFrame], where: Where) -> dict[str, np.ndarray]:
    """Introns, splice sites and promoters, where a track of genes has strands; and accessible
    sites outside promoters."""
    found: dict[str, np.ndarray] = {}
    genes = next((beds[name] for name in _named(beds, "gene") if "strand" in beds[name]), None)
    if genes is None:
        return found
    forward = (genes.strand != "-").to_numpy()
    tss = np.where(forward, genes.start, genes.end)
    promoter = _around(genes.chrom, tss, TSS)
    found["promoter"] = near_tss = where.inside(promoter)
    for name in _named(beds, "exon")[:1]:
        exons = beds[name]
        inside = where.inside(genes)
        found["intron"] = inside & (covered_share(*where, exons) == 0)
        donor, acceptor = splice_sites(exons, genes)
        found["splice donor"] = where.inside(donor)
        found["splice acceptor"] = where.inside(acceptor)
        found["intergenic"] = covered_share(*where, genes) == 0
    for name in _named(beds, "peak", "atac", "dnase"):
        found[f"{name}, distal"] = where.inside(beds[name]) & ~near_tss
    return found


def _around(chrom: pd.Series | np.ndarray, at: np.ndarray, bp: int) -> pd.DataFrame:
    start = np.maximum(np.asarray(at) - bp, 0)
    return pd.DataFrame({"chrom": np.asarray(chrom), "start": start, "end": np.asarray(at) + bp})


def splice_sites(exons: pd.DataFrame, genes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Donors and acceptors: edges of exons ± `SPLICE` bp inside a gene, by the strand of the first
    gene that holds the exon; the outer edges of genes are none."""
    sides: dict[str, list[tuple[str, int]]] = {"donor": [], "acceptor": []}
    for chrom, mine in exons.groupby("chrom"):
        of_chrom = genes[genes.chrom == chrom]
        start, end = of_chrom.start.to_numpy(), of_chrom.end.to_numpy()
        back = (of_chrom.strand == "-").to_numpy()
        for lower, upper in zip(mine.start.to_numpy(), mine.end.to_numpy(), strict=True):
            holds = np.flatnonzero((start <= lower) & (end >= upper))
            if not len(holds):
                continue
            gene = holds[0]
            low, high = ("donor", "acceptor") if back[gene] else ("acceptor", "donor")
            if lower > start[gene] + SPLICE:
                sides[low].append((str(chrom), int(lower)))
            if upper < end[gene] - SPLICE:
                sides[high].append((str(chrom), int(upper)))
    tables = []
    for side in sides.values():
        frame = pd.DataFrame(side, columns=["chrom", "at"])
        tables.append(_around(frame.chrom, frame["at"].to_numpy(np.int64), SPLICE))
    return tables[0], tables[1]


class Text(NamedTuple):
    """Pieces laid end to end, `GAP` between."""

    bases: str
    start: np.ndarray
    """(n,) where each token begins in it"""
    width: np.ndarray


def laid_out(sequences: Sequence[str], piece: np.ndarray, width: np.ndarray) -> Text:
    """The text of ``sequences`` and the place of each token in it; tokens of a piece follow one
    another from its first base. ``piece`` and ``width``: (n,)."""
    sizes = np.array([len(s) + len(GAP) for s in sequences])
    first = np.cumsum(sizes) - sizes
    ends = np.cumsum(width)
    fresh = np.flatnonzero(np.diff(piece, prepend=-1))
    before = np.repeat((ends - width)[fresh], np.diff(np.append(fresh, len(piece))))
    return Text(GAP.join(sequences), first[piece] + (ends - width) - before, width)


def sequence_concepts(text: Text, masked: np.ndarray | None = None) -> Concepts:
    """Concepts of the bases. ``masked`` (n,): share of each token that is soft-masked."""
    found: dict[str, np.ndarray] = {}
    code = np.full(256, 4, np.uint8)
    code[list(b"ACGT")] = np.arange(4)
    bases = code[np.frombuffer(text.bases.encode(), np.uint8)]
    gc, cpg = surroundings(text, bases)
    found["GC-poor"], found["GC-rich"] = gc < GC[0], gc > GC[1]
    found["CpG island"] = (gc > CPG[0]) & (cpg > CPG[1])
    found["low complexity"] = complexity(text, bases) < PLAIN
    found["repeat"] = _share(text, repeated(bases)) >= HALF
    for name, pattern in MOTIFS.items():
        found[name] = occurrences(text, pattern)
    if masked is not None and masked.any():
        found["soft-masked repeat"] = masked >= HALF
    return _stacked(found, "sequence", len(text.start))


def _sums(values: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Sum of values from one place up to another."""
    total = np.append(0, np.cumsum(values, dtype=np.int64))
    last = len(values)
    return lambda low, high: total[np.clip(high, 0, last)] - total[np.clip(low, 0, last)]


def _share(text: Text, yes: np.ndarray) -> np.ndarray:
    """(n,) share of each token's bases that are ``yes`` (bp,)."""
    return np.asarray(_sums(yes)(text.start, text.start + text.width) / text.width)


def surroundings(text: Text, bases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) share of G and C, and observed over expected CG, in the token and `NEAR` bp on either
    side of it."""
    low, high = text.start - NEAR, text.start + text.width + NEAR
    known = np.maximum(_sums(bases < 4)(low, high), 1)
    c, g = (_sums(bases == letter)(low, high) for letter in (1, 2))
    pairs = (bases[:-1] == 1) & (bases[1:] == 2)
    expected = c * g / known
    observed = _sums(pairs)(low, high - 1)
    return (c + g) / known, np.divide(observed, expected, np.zeros(len(c)), where=expected > 0)


def complexity(text: Text, bases: np.ndarray) -> np.ndarray:
    """(n,) bits of entropy of the dinucleotides in the token and `NEAR` bp on either side."""
    pair = _kmers(bases, 2)
    low, high = text.start - NEAR, text.start + text.width + NEAR - 1
    counts = np.stack([_sums(pair == k)(low, high) for k in range(16)], axis=1)
    p = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return np.asarray(-(p * np.log2(np.where(p > 0, p, 1))).sum(1))


def _kmers(bases: np.ndarray, k: int) -> np.ndarray:
    """Number of the k-mer that begins at each place; −1 with a letter that is no base."""
    n = len(bases) - k + 1
    found = np.zeros(n, np.int64)
    bad = np.zeros(n, bool)
    for i in range(k):
        part = bases[i : i + n]
        found = found * 4 + np.minimum(part, 3)
        bad |= part > 3
    found[bad] = -1
    return found


def repeated(bases: np.ndarray) -> np.ndarray:
    """(bp,) bool: bases of `REPEAT`-mers that occur `COPIES` times on either strand."""
    forward = _kmers(bases, REPEAT)
    complement = np.where(bases < 4, 3 - np.minimum(bases, 3), 4)[::-1]
    back = _kmers(complement, REPEAT)[::-1]
    canonical = np.minimum(forward, back)
    _, which, count = np.unique(canonical, return_inverse=True, return_counts=True)
    many = (count[which] >= COPIES) & (canonical >= 0)
    covered = np.zeros(len(bases) + 1, np.int64)
    np.add.at(covered, np.flatnonzero(many), 1)
    np.add.at(covered, np.flatnonzero(many) + REPEAT, -1)
    return np.asarray(np.cumsum(covered)[:-1] > 0)


def occurrences(text: Text, pattern: str) -> np.ndarray:
    """(n,) bool: the token shares at least half of its own bases, or half of the occurrence's, with
    an occurrence of a pattern on either strand, overlapping ones included."""
    every = re.compile(f"(?=({pattern}))")
    size = len(text.bases)
    here = _spans(every, text.bases)
    there = size - _spans(every, text.bases[::-1].translate(COMPLEMENT))[:, ::-1]
    low, high = np.concatenate([here, there]).T
    first = np.maximum(np.searchsorted(text.start, low, side="right") - 1, 0)
    last = np.searchsorted(text.start, high, side="left")
    found = np.zeros(len(text.start), bool)
    for step in range(int((last - first).max(initial=0))):
        rows = np.flatnonzero(first + step < last)
        token, begin, end = first[rows] + step, low[rows], high[rows]
        stop = text.start[token] + text.width[token]
        shared = np.minimum(end, stop) - np.maximum(begin, text.start[token])
        enough = 2 * shared >= np.minimum(text.width[token], end - begin)
        found[token[enough & (shared > 0)]] = True
    return found


def _spans(every: re.Pattern[str], bases: str) -> np.ndarray:
    """(k, 2) first base and end of each occurrence."""
    return np.array([match.span(1) for match in every.finditer(bases)], np.int64).reshape(-1, 2)


def masked_share(genome: Genome, where: Where) -> np.ndarray:
    """(n,) share of each token that is soft-masked in the FASTA."""
    share = np.zeros(len(where.start))
    for contig in genome.contigs.itertuples():
        held = (where.chrom == contig.chrom) & (where.start >= contig.start)
        held &= where.start + where.width <= contig.end
        if held.any():
            lower = genome.fetch_masked(contig.chrom, contig.start, contig.end)
            first = where.start[held] - contig.start
            share[held] = _sums(lower)(first, first + where.width[held]) / where.width[held]
    return share


def joined(*parts: Concepts) -> Concepts:
    """All concepts of some parts, each set of tokens once: the first of two that are the same."""
    table = pd.concat([part.table for part in parts], ignore_index=True)
    matrix = np.concatenate([part.matrix for part in parts], axis=1)
    _, first = np.unique(np.packbits(matrix, axis=0), axis=1, return_index=True)
    kept = np.sort(first)
    return Concepts(table.iloc[kept].reset_index(drop=True), matrix[:, kept])
