"""Masked accessibility is the model's task: which bins a training row hides, what the model sees,
folds that hide every bin once, and how well hidden bins are predicted, over all bins and between
conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from petriscope.genome.tracks import model_input, model_target
from petriscope.parallel import in_processes
from petriscope.studies.chromatin.model.base import Batch, ChromatinModel
from petriscope.studies.chromatin.model.epibert import one_hot

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


class MaskedAccuracy(NamedTuple):
    """Pearson correlation of predicted and observed accessibility on hidden bins."""

    r: float
    """Over all bins and biosamples, on the model's own scale (summed signal per 128 bp)."""
    r_log: float
    """The same of log(1 + x)."""
    r_condition: float
    """Condition-specific part: per bin, each condition's mean minus the mean over conditions."""
    r_condition_log: float
    """The same of log(1 + x)."""
    per_biosample: tuple[float, ...]
    """``r`` within each biosample."""
    bins: int
    """Bins per biosample that went into it."""


def predict_masked(
    model: ChromatinModel,
    sequence: np.ndarray,
    signal: np.ndarray,
    motif_activity: np.ndarray,
    windows: Sequence[int] | np.ndarray,
    *,
    folds: int,
    device: str = "cpu",
    rows: int = 64,
) -> np.ndarray:
    """Predictions (len(windows), S, T') float32, each bin made while hidden (12-bin blocks,
    ``folds`` passes).

    Parameters: ``sequence`` (W, L) uint8; ``signal`` (W, S, L/4); ``motif_activity`` (S, M);
    ``rows`` — rows per call. The sequence branch runs once per window and serves all S biosamples
    and folds.
    """
    crop = model.crop
    samples = signal.shape[1]
    bins = signal.shape[2] // BINS_PER_TOKEN - 2 * crop
    masks = fold_masks(bins, folds)
    motif = torch.from_numpy(motif_activity).to(device)[:, None, :]
    which = np.tile(np.arange(samples), folds)
    was_training = model.training
    model.eval()

    def one(window: int) -> np.ndarray:
        with torch.inference_mode():
            features = model.sequence_features(
                one_hot(torch.tensor(sequence[window][None]).to(device))
            )
            hidden = np.broadcast_to(masks[:, None, :], (folds, samples, bins)).reshape(-1, bins)
            track = np.tile(np.asarray(signal[window], dtype=np.float32), (folds, 1))
            seen = torch.from_numpy(masked_input(track, hidden, crop, None)).to(device)[..., None]
            parts = []
            for begin in range(0, len(which), rows):
                here = slice(begin, begin + rows)
                batch = Batch(seen.new_empty(0), seen[here], motif[which[here]])
                parts.append(model.run(batch, sequence_features=features).prediction[..., 0])
        guess = torch.cat(parts).cpu().numpy().reshape(folds, samples, bins)
        return np.einsum("fsb,fb->sb", guess, masks).astype(np.float32)

    predicted = in_processes(one, windows, "masked prediction", unit="window")
    out = np.stack(list(predicted)) if len(windows) else np.empty((0, samples, bins), np.float32)
    model.train(was_training)
    return out


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays of one shape, flattened; NaN where either is constant."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def condition_part(values: np.ndarray, conditions: Sequence[str]) -> np.ndarray:
    """(W, S, T') to (W, C, T'): mean over the biosamples of each condition, minus the mean over
    conditions."""
    labels = np.asarray(conditions)
    means = np.stack(
        [values[:, labels == name].mean(axis=1) for name in dict.fromkeys(conditions)], axis=1
    )
    return means - means.mean(axis=1, keepdims=True)


def masked_accuracy(
    prediction: np.ndarray, target: np.ndarray, conditions: Sequence[str]
) -> MaskedAccuracy:
    """Compare predictions and targets, both (W, S, T'); ``conditions`` (S,) names lineage and
    context."""
    log_p, log_t = np.log1p(prediction), np.log1p(target)
    return MaskedAccuracy(
        r=pearson(prediction, target),
        r_log=pearson(log_p, log_t),
        r_condition=pearson(
            condition_part(prediction, conditions), condition_part(target, conditions)
        ),
        r_condition_log=pearson(
            condition_part(log_p, conditions), condition_part(log_t, conditions)
        ),
        per_biosample=tuple(
            pearson(prediction[:, s], target[:, s]) for s in range(target.shape[1])
        ),
        bins=prediction.shape[0] * prediction.shape[2],
    )


def evaluate_masked(
    model: ChromatinModel,
    sequence: np.ndarray,
    signal: np.ndarray,
    motif_activity: np.ndarray,
    *,
    windows: Sequence[int] | np.ndarray,
    conditions: Sequence[str],
    folds: int = 6,
    device: str = "cpu",
) -> MaskedAccuracy:
    """`predict_masked` on ``windows`` and `masked_accuracy` against the unmasked track."""
    guess = predict_masked(
        model, sequence, signal, motif_activity, windows, folds=folds, device=device
    )
    truth = model_target(np.asarray(signal[np.asarray(windows)], dtype=np.float32), model.crop)
    return masked_accuracy(guess, truth, conditions)
