"""How alike motifs are: families of matrices that a sequence cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from petriscope.enrich.motifs import Motif, reverse_complement

FAMILY = 0.85
"""Correlation above which two motifs count as one family in labels and reports."""


def motif_similarity(motifs: Sequence[Motif], others: Sequence[Motif] | None = None) -> np.ndarray:
    """(M, K) highest Pearson correlation of two matrices over all shifts and both orientations.

    HOMER's measure (compareMotifs.pl; monaLisa's motifSimilarity): base frequencies of the aligned
    matrices, positions that one motif does not reach filled with 0.25, at least one position
    shared. Written with sums over the overlap: a filled position adds nothing to the covariance,
    since 0.25 is the mean of every row.
    """
    others = motifs if others is None else others
    longest = max(len(motif.matrix) for motif in [*motifs, *others])
    second = [_centred(motif) for motif in others]
    norms = np.array([np.linalg.norm(matrix) for matrix in second])
    padded = np.zeros((len(second), 3 * longest, 4))
    for k, matrix in enumerate(second):
        padded[k, longest : longest + len(matrix)] = matrix
    result = np.full((len(motifs), len(second)), -1.0)
    for i, motif in enumerate(motifs):
        forward = _centred(motif)
        for matrix in (forward, reverse_complement(forward)):
            width = len(matrix)
            views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
            product = np.einsum("ksbw,wb->ks", views, matrix)
            shared = np.arange(views.shape[1])[None, :] + width > longest
            shared = shared & (
                np.arange(views.shape[1])[None, :]
                < longest + np.array([len(m) for m in second])[:, None]
            )
            best = np.where(shared, product, -np.inf).max(axis=1)
            result[i] = np.maximum(result[i], best / (norms * np.linalg.norm(matrix)))
    return result


def family_of(
    index: int, motifs: Sequence[Motif], similarity: np.ndarray, least: float = FAMILY
) -> list[str]:
    """Factors whose motif is at least ``least`` alike to motif ``index``, most alike first, itself
    among them."""
    order = np.argsort(-similarity[index], kind="stable")
    return list(dict.fromkeys(motifs[j].factor for j in order if similarity[index, j] >= least))


def _centred(motif: Motif) -> np.ndarray:
    """(L, 4) frequencies less 0.25, rows made to sum to one."""
    return motif.matrix / motif.matrix.sum(axis=1, keepdims=True) - 0.25
