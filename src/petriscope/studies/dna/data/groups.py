"""Groups are what a split must not divide: sequences of one locus, and homologues.

Two sequences are of one group where they lie within 1 kb of each other on a chromosome, where they
share half of their canonical 20-mers (a 20-mer and its reverse complement are one), or where each
is with a third. 20-mers of very many sequences are repeats and say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from petriscope.genome.fasta import CODES

K = 20
WITHIN = 1000
"""Fewer bp than these lie between two loci of one group."""
SHARED = 0.5
"""Share of the 20-mers of the shorter of two homologues that the other holds, at least."""
COMMON = 400
"""A 20-mer of more sequences than these is not looked at."""
BLOCK_PAIRS = 4_000_000
"""Pairs of sequences that one product of the sparse matrix may make."""


def find_groups(
    sequences: Sequence[str],
    loci: pd.DataFrame | None = None,
    given: Sequence[object] | None = None,
    *,
    common: int = COMMON,
) -> np.ndarray:
    """(N,) int64 group of each sequence, numbered by first appearance.

    Parameters: ``loci`` — columns chrom, start, end of each sequence, null where unknown;
    ``given`` — groups that are known, null where not: they are joined to each other too where
    locus or homology says so.
    """
    pairs = [homologous_pairs(sequences, common)]
    if loci is not None:
        pairs.append(near_pairs(loci))
    if given is not None:
        pairs.append(same_pairs(given))
    return _components(np.concatenate(pairs), len(sequences))


def _components(pairs: np.ndarray, n: int) -> np.ndarray:
    edges = sparse.coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (n, n))
    _, found = connected_components(edges.tocsr(), directed=False)
    return pd.factorize(found)[0].astype(np.int64)


def deal_groups(
    group: np.ndarray, positive: np.ndarray, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """(N,) the split of each sequence: whole groups, each to the split that lacks most, in an order
    that mixes groups of like composition, so that every split gets its share of both classes.

    Parameters: ``group`` — (N,) numbered from 0; ``positive`` — (N,) 1 for the positive class, 0
    for the negative, NaN for neither; ``shares`` — split → share, adding up to 1.
    """
    size = np.bincount(group)
    known = np.isfinite(positive)
    labeled = np.bincount(group, weights=known)
    share = np.bincount(group, weights=np.where(known, positive, 0.0))
    kind = np.where(labeled > 0, share / np.maximum(labeled, 1), -1.0)
    shuffled = np.random.default_rng(seed).permutation(len(size))
    order = shuffled[np.lexsort((-size[shuffled], kind[shuffled]))]
    want, given = np.array(list(shares.values())), np.zeros(len(shares))
    chosen = np.zeros(len(size), np.int64)
    dealt = 0
    for one in order.tolist():
        dealt += int(size[one])
        to = int(np.argmax(want * dealt - given))
        chosen[one] = to
        given[to] += size[one]
    return np.array(list(shares), object)[chosen[group]]


def near_pairs(loci: pd.DataFrame, within: int = WITHIN) -> np.ndarray:
    """(P, 2) neighbors along a chromosome with less than ``within`` bp between them: a chain, not
    every pair."""
    known = loci.reset_index(drop=True)
    known = known[known.chrom.notna() & known.start.notna()]
    known = known.sort_values(["chrom", "start", "end"])
    reach = known.groupby("chrom").end.cummax().to_numpy(np.int64)
    start, chrom = known.start.to_numpy(np.int64), known.chrom.to_numpy()
    near = (chrom[1:] == chrom[:-1]) & (start[1:] - reach[:-1] < within)
    rows = known.index.to_numpy()
    return np.stack([rows[:-1][near], rows[1:][near]], axis=1).astype(np.int64)


def same_pairs(given: Sequence[object]) -> np.ndarray:
    """(P, 2) each row of a known group with the one before it."""
    codes = pd.factorize(pd.Series(given))[0]
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    same = codes[order][1:] == codes[order][:-1]
    return np.stack([order[:-1][same], order[1:][same]], axis=1).astype(np.int64)


def canonical_kmers(sequences: Sequence[str], k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """Sequence and canonical k-mer (uint64, 2 bits a base) of each place without an unknown base,
    in order; ``k`` is at most 31."""
    length = np.array([len(text) for text in sequences], np.int64)
    # a base that is none between two sequences, so that no k-mer spans both
    codes = CODES[np.frombuffer(("-".join(sequences) + "-").encode("ascii"), np.uint8)]
    places = len(codes) - k + 1
    if places < 1:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    unknown = np.concatenate([[0], np.cumsum(codes > 3)])
    valid = unknown[k:] == unknown[:-k]
    base = np.where(codes > 3, 0, codes).astype(np.uint64)
    forward, backward = np.zeros(places, np.uint64), np.zeros(places, np.uint64)
    for i in range(k):
        here = base[i : i + places]
        forward |= here << np.uint64(2 * (k - 1 - i))
        backward |= (np.uint64(3) - here) << np.uint64(2 * i)
    owner = np.repeat(np.arange(len(sequences)), length + 1)[:places]
    return owner[valid], np.minimum(forward, backward)[valid]


def homologous_pairs(sequences: Sequence[str], common: int = COMMON) -> np.ndarray:
    """(P, 2) pairs i < j where the one of fewer 20-mers shares at least `SHARED` of them."""
    n = len(sequences)
    owner, kmer = canonical_kmers(sequences)
    if not len(owner):
        return np.empty((0, 2), np.int64)
    order = np.lexsort((owner, kmer))
    owner, kmer = owner[order], kmer[order]
    first = np.r_[True, (kmer[1:] != kmer[:-1]) | (owner[1:] != owner[:-1])]
    owner, kmer = owner[first], kmer[first]
    distinct = np.bincount(owner, minlength=n)
    column = np.cumsum(np.r_[True, kmer[1:] != kmer[:-1]]) - 1
    count = np.bincount(column)[column]
    kept = (count > 1) & (count <= common)
    incidence = sparse.csr_array(
        (np.ones(kept.sum(), np.int32), (owner[kept], column[kept])),
        shape=(n, int(column[-1]) + 1),
    )
    transposed = incidence.T.tocsr()
    # pairs that each row can make, at most, so that no product outgrows the memory
    cost = np.bincount(owner[kept], weights=count[kept], minlength=n)
    block = (np.cumsum(cost) // BLOCK_PAIRS).astype(np.int64)
    edges = np.flatnonzero(np.r_[True, block[1:] != block[:-1], True])
    found = []
    for lower, upper in pairwise(edges.tolist()):
        shared = (incidence[lower:upper] @ transposed).tocoo()
        one, two = shared.coords[0] + lower, shared.coords[1]
        least = np.minimum(distinct[one], distinct[two])
        near = (one < two) & (shared.data >= SHARED * least)
        found.append(np.stack([one[near], two[near]], axis=1).astype(np.int64))
    return np.concatenate(found)
