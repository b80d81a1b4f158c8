"""A bipartite graph joins sequences (or documents, or cells) to the features that fire in them:
built from sparse codes, counted, and taken apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.sae.codes import Codes

SILENT = -1
"""The strongest latent of a token on which none fires."""


class Incidence(NamedTuple):
    """How often each latent fires in each sequence."""

    counts: sp.csr_matrix
    """int32 (sequences, m): tokens on which the latent fires"""
    total: sp.csr_matrix
    """float32 (sequences, m): summed activation, at the same entries"""
    tokens: np.ndarray
    """int64 (sequences,): tokens that were counted, silent ones among them"""
    silent: np.ndarray
    """int64 (sequences,): those on which no latent fires"""

    def rates(self) -> sp.csr_matrix:
        """float64 (sequences, m): share of a sequence's tokens on which the latent fires; a
        sequence without tokens has none."""
        scale = 1 / np.maximum(self.tokens, 1)
        return sp.csr_matrix(sp.diags(scale) @ self.counts.astype(np.float64))

    def of(self, rows: np.ndarray) -> Incidence:
        """Some of the sequences, in the order given."""
        return Incidence(self.counts[rows], self.total[rows], self.tokens[rows], self.silent[rows])


def incidence(
    codes: Codes, sequence_of: np.ndarray, sequences: int, keep: np.ndarray | None = None
) -> Incidence:
    """Count where latents fire.

    ``sequence_of``: int (n,) the sequence of each row of ``codes``, 0 to ``sequences`` - 1;
    ``keep``: bool (n,) which rows count (without special tokens, say), all unless given.
    """
    rows = np.arange(codes.n) if keep is None else np.flatnonzero(keep)
    of_row = np.asarray(sequence_of)[rows]
    matrix = (np.asarray(codes.values), np.asarray(codes.indices), np.asarray(codes.indptr))
    fired = sp.csr_matrix(matrix, shape=(codes.n, codes.m))
    chosen = fired if keep is None else fired[rows]
    ones = np.ones(len(rows), np.float32)
    member = sp.csr_matrix((ones, (of_row, np.arange(len(rows)))), shape=(sequences, len(rows)))
    total = _sorted(member @ chosen)
    chosen = sp.csr_matrix((np.ones_like(chosen.data), chosen.indices, chosen.indptr), chosen.shape)
    counts = _sorted(member @ chosen).astype(np.int32)
    quiet = np.diff(chosen.indptr) == 0
    return Incidence(
        counts,
        total,
        np.bincount(of_row, minlength=sequences),
        np.bincount(of_row[quiet], minlength=sequences),
    )


def strongest(codes: Codes) -> np.ndarray:
    """int64 (n,) latent with the largest activation on each token, the lowest of equal ones;
    `SILENT` where none fires."""
    indptr, values = np.asarray(codes.indptr), np.asarray(codes.values)
    found = np.full(codes.n, SILENT, np.int64)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        largest = np.maximum.reduceat(values, indptr[filled])
        is_largest = values == np.repeat(largest, np.diff(indptr)[filled])
        candidates = np.where(is_largest, np.asarray(codes.indices), codes.m)
        found[filled] = np.minimum.reduceat(candidates, indptr[filled])
    return found


def edge_weights(
    sequence: np.ndarray, feature: np.ndarray, shape: tuple[int, int]
) -> sp.csr_matrix:
    """int32 ``shape`` (sequences, m): how many of the edges (E,) join each pair; parallel edges
    become one with their number as its weight."""
    index = np.int32 if max(shape) < 2**31 else np.int64
    pairs = (np.asarray(sequence, index), np.asarray(feature, index))
    ones = np.ones(len(pairs[0]), np.int32)
    return _sorted(sp.coo_matrix((ones, pairs), shape=shape).tocsr())


class Size(NamedTuple):
    """Nodes and edges of a directed graph from sequences to features; nodes without an edge are no
    part of it."""

    sequences: int
    features: int
    edges: int
    """joined pairs"""
    density: float
    """edges over ordered pairs of nodes"""
    components: int
    """weakly connected"""
    largest: int
    """nodes of the largest component"""

    @property
    def nodes(self) -> int:
        """Sequences and features."""
        return self.sequences + self.features


def size(weights: sp.csr_matrix) -> Size:
    """Count a graph by its weights (sequences, m)."""
    sequences, features = degrees(weights)
    s, f = int((sequences > 0).sum()), int((features > 0).sum())
    label = components(weights)[np.concatenate([sequences > 0, features > 0])]
    sizes = np.unique(label, return_counts=True)[1]
    return Size(
        s, f, weights.nnz, density(s + f, weights.nnz), len(sizes), int(sizes.max(initial=0))
    )


def density(nodes: int, edges: int) -> float:
    """Edges over ordered pairs of nodes; 0 of fewer than two nodes (`networkx.density` of a
    directed graph)."""
    return edges / (nodes * (nodes - 1)) if nodes > 1 else 0.0


def degrees(weights: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Features of each sequence (sequences,) and sequences of each feature (m,)."""
    return np.diff(weights.indptr), np.bincount(weights.indices, minlength=weights.shape[1])


def components(weights: sp.csr_matrix) -> np.ndarray:
    """(sequences + m,) number of the weakly connected component of each sequence, then of each
    feature."""
    return sp.csgraph.connected_components(
        two_level(weights, np.ones(weights.nnz, np.int8)), directed=False
    )[1]


def two_level(weights: sp.csr_matrix, values: np.ndarray) -> sp.csr_matrix:
    """(sequences + m, sequences + m): each entry of ``weights`` as an edge from its sequence to its
    feature, features numbered after sequences, with ``values`` (nnz,)."""
    sequences, m = weights.shape
    indptr = np.concatenate([weights.indptr, np.full(m, weights.indptr[-1], weights.indptr.dtype)])
    indices = weights.indices + weights.indices.dtype.type(sequences)
    nodes = sequences + m
    return sp.csr_matrix((values, indices, indptr), shape=(nodes, nodes))


def adjacency(weights: sp.csr_matrix) -> sp.csr_matrix:
    """(sequences + m, sequences + m) int8, symmetric: 1 where two nodes are joined."""
    directed = two_level(weights, np.ones(weights.nnz, np.int8))
    return sp.csr_matrix(directed + directed.T)


def _sorted(matrix: sp.csr_matrix) -> sp.csr_matrix:
    matrix = sp.csr_matrix(matrix)
    matrix.sum_duplicates()
    return matrix
