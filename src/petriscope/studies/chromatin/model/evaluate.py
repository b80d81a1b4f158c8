"""How well masked accessibility is predicted: every bin while hidden, over all bins and between
conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from petriscope.genome.tracks import model_target
from petriscope.parallel import in_processes
from petriscope.studies.chromatin.model.base import Batch, ChromatinModel
from petriscope.studies.chromatin.model.epibert import one_hot
from petriscope.studies.chromatin.model.masking import BINS_PER_TOKEN, fold_masks, masked_input


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
