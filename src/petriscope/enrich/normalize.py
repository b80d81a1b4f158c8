"""HOMER's background normalization: sequence filter, GC bins, and the iterative oligo weighting
that follows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from petriscope.errors import UserError

GC_EDGES = (0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.60, 0.70, 0.80)
"""Upper edges of HOMER's GC bins; the eleventh bin is open."""
_LIMIT = 1e3  # weights stay within 1/1000 and 1000


class OligoNormalization(NamedTuple):
    """What the automatic normalization did."""

    weights: np.ndarray
    """(N,) float64; targets as given."""
    errors: np.ndarray
    """Σ_k mean (factor − 1)² before each iteration."""


def usable(sequences: np.ndarray, max_n: float = 0.7, min_length: int = 5) -> np.ndarray:
    """(N,) bool: HOMER keeps a sequence of at least 5 bases of which at most 70 % are N."""
    width = sequences.shape[1]
    return (
        (sequences > 3).mean(axis=1) <= max_n
        if width >= min_length
        else np.zeros(len(sequences), dtype=bool)
    )


def gc_fraction(sequences: np.ndarray) -> np.ndarray:
    """(N,) share of G and C among the bases that are not N; 0 where there are none."""
    known = (sequences < 4).sum(axis=1)
    return ((sequences == 1) | (sequences == 2)).sum(axis=1) / np.maximum(known, 1)


def gc_bin(gc: np.ndarray) -> np.ndarray:
    """(N,) int64 index of HOMER's GC bin, lower edge inside."""
    return np.searchsorted(np.array(GC_EDGES), gc, side="right")


def gc_weights(gc: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """(N,) weights after HOMER's GC step, rounded to the five decimals its group file keeps.

    Targets weigh 1 and background sequences (p_bin / P · B) / b_bin. Bins that lack targets or
    background are dropped: their sequences, targets too, weigh 0. Raises UserError where nothing
    remains.
    """
    is_target = np.asarray(is_target, dtype=bool)
    bins = gc_bin(gc)
    targets = np.bincount(bins[is_target], minlength=len(GC_EDGES) + 1)
    background = np.bincount(bins[~is_target], minlength=len(GC_EDGES) + 1)
    kept = (targets > 0) & (background > 0)
    if not kept.any():
        raise UserError(
            f"no GC bin holds both targets ({is_target.sum()}) and background "
            f"({(~is_target).sum()})",
            remedy="Give a background that covers the foreground's GC content",
        )
    targets, background = targets * kept, background * kept
    ratio = targets / targets.sum() * background.sum() / np.maximum(background, 1)
    return np.round(np.where(is_target, kept[bins], ratio[bins]), 5)


def select_background(
    target_gc: np.ndarray, pool_gc: np.ndarray, rng: np.random.Generator, total: int | None = None
) -> np.ndarray:
    """Indices into the pool of a background with the targets' GC distribution, without replacement,
    seeded, sorted.

    HOMER's rule: ``total`` sequences in all (default max(50,000, 2 x targets)), targets included;
    from the highest GC bin down, each takes its share of total − P, and what a bin lacks is carried
    to the next.
    """
    targets = np.bincount(gc_bin(target_gc), minlength=len(GC_EDGES) + 1)
    pool_bin = gc_bin(pool_gc)
    n_targets = len(target_gc)
    if n_targets == 0 or len(pool_gc) == 0:
        raise UserError(
            f"{n_targets} targets and {len(pool_gc)} candidates",
            remedy="Give a foreground and a pool that are not empty",
        )
    wanted = (max(50_000, 2 * n_targets) if total is None else total) - n_targets
    carried = 0
    taken = []
    for b in range(len(GC_EDGES), -1, -1):
        number = int(np.floor(targets[b] / n_targets * wanted + 0.49999999)) + carried
        members = np.flatnonzero(pool_bin == b)
        take = min(number, len(members))
        taken.append(rng.permutation(members)[:take])
        carried = number - take
    return np.sort(np.concatenate(taken))


def oligo_normalize(
    sequences: np.ndarray,
    is_target: np.ndarray,
    weights: np.ndarray,
    max_k: int = 3,
    max_iterations: int = 160,
) -> OligoNormalization:
    """HOMER's automatic normalization (``-nlen 3 -nmax 160``): background weights that level the
    1-, 2- and 3-mer content.

    ``sequences`` (N, L) codes, ``weights`` (N,) after the GC step, 0 = dropped. Per k: f = target
    over background frequency of each k-mer (both strands averaged, floor 0.5 sequences), a
    sequence's proposal is its weight times its mean f within 1/1000..1000; a proposal that moves
    further from 1 is taken only by 1/max(w, 1/w)² of the step. Ends when Σ_k mean (f − 1)² no
    longer falls, with one more full iteration.
    """
    is_target = np.asarray(is_target, dtype=bool)
    weights = np.array(weights, dtype=np.float64)
    target = np.flatnonzero(is_target & (weights > 0))
    background = np.flatnonzero(~is_target & (weights > 0))
    if not len(target) or not len(background):
        raise UserError(
            f"{len(target)} targets and {len(background)} background sequences with weight",
            remedy="Give a foreground and a background that are not empty",
        )
    contents = {k: _kmer_frequencies(sequences, k) for k in range(1, max_k + 1)}
    fixed = {
        k: _level(weights[target] @ content[target], weights[target].sum(), k)
        for k, content in contents.items()
    }
    contents = {k: content[background] for k, content in contents.items()}
    w = weights[background]
    errors: list[float] = []
    last = False
    while True:
        error = 0.0
        for k, content in contents.items():
            factor = fixed[k] / _level(w @ content, w.sum(), k)
            error += float(np.mean((factor - 1) ** 2))
            proposal = np.clip(w * (content @ factor), 1 / _LIMIT, _LIMIT)
            step = proposal - w
            further = ((proposal > 1) & (step > 0)) | ((proposal < 1) & (step < 0))
            w = np.where(further, w + step / np.maximum(proposal, 1 / proposal) ** 2, proposal)
        errors.append(error)
        if last:
            break
        last = len(errors) >= max_iterations or (len(errors) > 1 and error >= errors[-2])
    weights[background] = w
    return OligoNormalization(weights, np.array(errors))


def oligo_factors(
    sequences: np.ndarray, is_target: np.ndarray, weights: np.ndarray, k: int
) -> np.ndarray:
    """(4^k,) frequency of each k-mer (A C G T order) in the targets over the weighted background's;
    1 is balance."""
    content = _kmer_frequencies(sequences, k)
    target, background = (
        _level(weights[side] @ content[side], weights[side].sum(), k)
        for side in (is_target, ~is_target)
    )
    return target / background


def _level(summed: np.ndarray, total: float, k: int) -> np.ndarray:
    """Frequencies of one side, both strands averaged, none below half a sequence."""
    code = np.arange(4**k)
    mirrored = np.zeros_like(code)
    for j in range(k):
        mirrored = mirrored * 4 + 3 - (code >> (2 * j)) % 4
    return np.maximum((summed + summed[mirrored]) / 2, 0.5) / total


def _kmer_frequencies(sequences: np.ndarray, k: int) -> np.ndarray:
    """(N, 4^k) k-mer frequencies per sequence over starts 0 .. L−k−1 (HOMER leaves out the last
    k-mer); N skipped."""
    n, width = sequences.shape
    span = max(width - k, 0)
    code = np.zeros((n, span), dtype=np.int64)
    known = np.ones((n, span), dtype=bool)
    for j in range(k):
        letters = sequences[:, j : j + span]
        code = code * 4 + np.where(letters < 4, letters, 0)
        known &= letters < 4
    flat = (np.arange(n)[:, None] * 4**k + code)[known]
    counts = np.bincount(flat, minlength=n * 4**k).reshape(n, 4**k).astype(np.float64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
