"""Masked accessibility: which bins a training row hides, what the model sees, folds that hide every
bin once."""

from __future__ import annotations

import numpy as np

from petriscope.genome.tracks import model_input

BLOCK = 12
"""Bins per dropped block: 1536 bp."""
PEAK_MASK = 13
"""Bins hidden around the chosen peak: i − 6 … i + 6."""
DROP, CORRUPT_DROP, CORRUPT_RATE = 0.15, 0.45, 15
"""Chance that a block is dropped; the raised chance, in one row of fifteen (epibert.md 2.5)."""
NOISE = 1e-4
"""Mean and standard deviation of the input noise |N(1e-4, 1e-4)|."""
BINS_PER_TOKEN = 32


def peak_bins(target: np.ndarray) -> np.ndarray:
    """Bins that look like peak centers, where a data set gives no peaks: local maxima above mean +
    2 sd of their row.

    ``target`` (..., T'). Returns bool of its shape.
    """
    left = np.concatenate([np.full((*target.shape[:-1], 1), -np.inf), target[..., :-1]], axis=-1)
    right = np.concatenate([target[..., 1:], np.full((*target.shape[:-1], 1), -np.inf)], axis=-1)
    high = target > target.mean(axis=-1, keepdims=True) + 2 * target.std(axis=-1, keepdims=True)
    return high & (target >= left) & (target >= right)


def random_masks(rng: np.random.Generator, peaks: np.ndarray) -> np.ndarray:
    """Hidden bins of training rows, as the original draws them.

    ``peaks`` (R, T') bool marks peak centers of each row. Per row: 13 bins about one random peak
    (none where the row has no peak), and each 12-bin block with probability .15, or .45 in one row
    of fifteen. Returns (R, T') bool; cropped edge bins are not part of T', hence never hidden.
    """
    rows, bins = peaks.shape
    rate = np.where(rng.random((rows, 1)) < 1 / CORRUPT_RATE, CORRUPT_DROP, DROP)
    blocks = np.asarray(rng.random((rows, -(-bins // BLOCK))) < rate)
    mask: np.ndarray = np.repeat(blocks, BLOCK, axis=1)[:, :bins]
    ticket = np.where(peaks, rng.random(peaks.shape), -1.0)
    center = ticket.argmax(axis=1)
    near = np.abs(np.arange(bins)[None, :] - center[:, None]) <= PEAK_MASK // 2
    return mask | (near & np.any(peaks, axis=1, keepdims=True))


def fold_masks(bins: int, folds: int) -> np.ndarray:
    """(folds, T') bool: 12-bin blocks dealt to folds in turn, so that every bin is hidden exactly
    once."""
    owner = (np.arange(bins) // BLOCK) % folds
    return owner[None, :] == np.arange(folds)[:, None]


def masked_input(
    signal: np.ndarray, mask: np.ndarray, crop: int, rng: np.random.Generator | None
) -> np.ndarray:
    """What the model sees: noise added, hidden bins exactly 0, soft-clipped at 150.

    Parameters: ``signal`` (..., L/4) per 4 bp; ``mask`` (..., T') True where hidden; ``rng`` None
    adds no noise. Returns (..., L/4) float32.
    """
    values = np.asarray(signal, dtype=np.float32)
    if rng is not None:
        values = values + np.abs(rng.normal(NOISE, NOISE, values.shape)).astype(np.float32)
    edges = [(0, 0)] * (mask.ndim - 1) + [(crop, crop)]
    hidden = np.repeat(np.pad(mask, edges), BINS_PER_TOKEN, axis=-1)
    return model_input(np.where(hidden, np.float32(0), values))
