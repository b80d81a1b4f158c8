"""A small EpiBERT, or an adapted model, is pre-trained by masked accessibility, as the original."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.checkpoint import load_checkpoint, save_checkpoint
from petriscope.errors import UserError
from petriscope.genome.tracks import model_target
from petriscope.progress import bar
from petriscope.studies.chromatin.inputs import Arrays
from petriscope.studies.chromatin.model.adapter import Build
from petriscope.studies.chromatin.model.base import Batch, ChromatinModel
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.masking import (
    MaskedAccuracy,
    evaluate_masked,
    masked_input,
    peak_bins,
    random_masks,
)

REVERSE = np.array([3, 2, 1, 0, 4], dtype=np.uint8)


@dataclass(frozen=True)
class PretrainConfig:
    """How to train. Rates and schedule follow the original, scaled to a small model."""

    epochs: int = 12
    """Passes over the training windows."""
    windows_per_step: int = 2
    biosamples_per_step: int = 6
    """Biosamples drawn for each window's step; they share its sequence branch."""
    learning_rate: float = 2e-3
    warmup: float = 0.05
    """Share of the steps in which the rate rises from 0."""
    final_rate: float = 0.1
    """Rate at the end of the cosine, relative to the peak (the original's 10 %)."""
    clip: float = 1.0
    """Global norm the gradient is clipped to."""
    max_shift: int = 3
    """Largest shift of the sequence against the tracks, bp."""
    reverse_complement: bool = True
    folds: int = 6
    """Passes of the held-out evaluation, each hiding another part of the bins."""

    def check(self) -> None:
        """Raise `UserError` naming the field out of range."""
        for field in ("epochs", "windows_per_step", "biosamples_per_step"):
            if getattr(self, field) < 1:
                raise UserError(
                    f"is {getattr(self, field)}", field=f"model.{field}", remedy="Give 1 or more."
                )
        if not self.learning_rate > 0:
            raise UserError(
                f"is {self.learning_rate}",
                field="model.learning_rate",
                remedy="Give a positive rate.",
            )
        if self.folds < 2:
            raise UserError(
                f"is {self.folds}",
                field="model.mask_folds",
                remedy="Give 2 or more: 1 hides every bin.",
            )


class Step(NamedTuple):
    """One step's tensors."""

    batch: Batch
    target: Tensor
    """(B, T') unmasked signal summed over 128 bp, soft-clipped at 2000."""
    mask: Tensor
    """(B, T') bool, True where hidden: the bins the loss reads."""


class TrainedModel(NamedTuple):
    """The model in eval mode and how it came about."""

    model: ChromatinModel
    history: list[dict[str, float]]
    """Per epoch: epoch, steps so far, loss (mean Poisson loss on hidden bins), rate, gradient
    norm."""
    metrics: dict[str, MaskedAccuracy]
    """Held-out accuracy by split."""


def training_step_arrays(
    arrays: Arrays,
    windows: Sequence[int] | np.ndarray,
    biosamples: np.ndarray,
    rng: np.random.Generator,
    config: PretrainConfig,
    *,
    crop: int,
    device: str = "cpu",
) -> Step:
    """Draw one step: augment, mask and clip.

    Parameters: ``windows`` (w,) rows of the arrays; ``biosamples`` (w, s) columns per window. The
    sequence is shifted by 0–3 bp against the tracks (bases from beyond the window are N) and, with
    probability one half per window, everything is read on the other strand. Returns rows in
    window-major order, w·s of them, over w rows of sequence.
    """
    picked = np.asarray(windows)
    sequence = arrays.sequence[picked]
    signal = np.stack([arrays.signal[w, s] for w, s in zip(picked, biosamples)]).astype(np.float32)
    shifted = np.full_like(sequence, 4)
    for row, shift in enumerate(rng.integers(0, config.max_shift + 1, len(picked)).tolist()):
        shifted[row, : sequence.shape[1] - shift] = sequence[row, shift:]
    if config.reverse_complement:
        for flipped in np.flatnonzero(rng.random(len(picked)) < 0.5):
            shifted[flipped] = REVERSE[shifted[flipped, ::-1]]
            signal[flipped] = signal[flipped, :, ::-1].copy()
    signal = signal.reshape(-1, signal.shape[-1])
    target = model_target(signal, crop)
    mask = random_masks(rng, peak_bins(target))
    batch = Batch(
        one_hot(shifted).to(device),
        torch.from_numpy(masked_input(signal, mask, crop, rng))[..., None].to(device),
        torch.from_numpy(arrays.motif_activity[biosamples.ravel()])[:, None, :].to(device),
    )
    return Step(batch, torch.from_numpy(target).to(device), torch.from_numpy(mask).to(device))


def poisson_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean of ŷ − y·ln ŷ over hidden bins (Keras' Poisson loss); all arguments (B, T')."""
    loss = prediction - target * torch.log(prediction + 1e-7)
    return (loss * mask).sum() / mask.sum().clamp(min=1)


def learning_rate(step: int, steps: int, config: PretrainConfig) -> float:
    """Linear warm-up, then cosine to ``final_rate`` of the peak."""
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    low = config.final_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def pretrain(
    model_config: EpiBERTConfig | Build,
    config: PretrainConfig,
    arrays: Arrays,
    splits: Mapping[str, Sequence[int] | np.ndarray],
    conditions: Sequence[str],
    *,
    seed: int,
    device: str = "cpu",
    evaluate: Sequence[str] = ("tune",),
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[dict[str, float], ChromatinModel], None] | None = None,
    untrained: ChromatinModel | None = None,
) -> TrainedModel:
    """Train from scratch on ``splits['train']`` and measure on the splits named in ``evaluate``.

    Parameters: ``splits`` — rows of the window axis by split; ``conditions`` (S,) — each
    biosample's lineage and context, for the condition-specific part; ``checkpoint`` — file written
    after every epoch and resumed from where it exists (same configuration and seed, else
    `UserError`); ``on_epoch`` — called with the epoch's record and the model; ``untrained`` — the
    model to train in place of a new EpiBERT (``model_config`` then only says which run this is).

    Same seed and threads, same weights: every step draws from (seed, step), so a resumed run equals
    an unbroken one.
    """
    config.check()
    train = np.asarray(splits["train"])
    if not len(train):
        raise UserError(
            "no training window", field="windows.split.train", remedy="Give it a larger share."
        )
    model: ChromatinModel
    if untrained is not None:
        model = untrained.to(device)
    else:
        assert isinstance(model_config, EpiBERTConfig)
        with torch.random.fork_rng(devices=[]):
            model = EpiBERT(model_config, init_seed=seed).to(device)
    samples = arrays.signal.shape[1]
    per_window = min(config.biosamples_per_step, samples)
    mean = float(
        np.mean(
            [
                model_target(arrays.signal[w].astype(np.float32)).mean()
                for w in train[:: max(1, len(train) // 32)]
            ]
        )
    )
    model.start_at_mean(mean)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, eps=1e-8)
    history: list[dict[str, float]] = []
    identity = {"model": model_config, "pretrain": config, "seed": seed}
    first = 0
    if checkpoint is not None and Path(checkpoint).exists():
        history = load_checkpoint(checkpoint, model, optimizer, identity)
        first = len(history)
    per_epoch = -(-len(train) // config.windows_per_step)
    steps = per_epoch * config.epochs
    with torch.random.fork_rng(devices=[]), bar("pre-training", total=steps, unit="step") as shown:
        shown.update(first * per_epoch)
        for epoch in range(first, config.epochs):
            model.train()
            order = np.random.default_rng([seed, 1, epoch]).permutation(train)
            losses, norms = [], []
            for index in range(per_epoch):
                step = epoch * per_epoch + index
                rng = np.random.default_rng([seed, 2, step])
                torch.manual_seed(int(rng.integers(2**62)))
                windows = order[
                    index * config.windows_per_step : (index + 1) * config.windows_per_step
                ]
                drawn = np.stack([rng.permutation(samples)[:per_window] for _ in windows])
                data = training_step_arrays(
                    arrays, windows, drawn, rng, config, crop=model.crop, device=device
                )
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, steps, config)
                optimizer.zero_grad(set_to_none=True)
                loss = poisson_loss(
                    model.run(data.batch).prediction[..., 0], data.target, data.mask
                )
                loss.backward()
                norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)))
                optimizer.step()
                losses.append(float(loss.detach()))
                shown.update()
            record = {
                "epoch": float(epoch + 1),
                "steps": float((epoch + 1) * per_epoch),
                "loss": float(np.mean(losses)),
                "rate": learning_rate((epoch + 1) * per_epoch - 1, steps, config),
                "gradient_norm": float(np.median(norms)),
            }
            if not math.isfinite(record["loss"]):
                raise UserError(
                    "the loss is not finite",
                    field="model.learning_rate",
                    remedy="Lower the learning rate; a model of your own must predict positive "
                    "accessibility (a softplus "
                    "head), since the loss is Poisson's.",
                )
            history.append(record)
            shown.set_postfix(loss=f"{record['loss']:.4g}")
            if checkpoint is not None:
                save_checkpoint(checkpoint, model, optimizer, identity, history)
            if on_epoch is not None:
                on_epoch(record, model)
    model.eval()
    metrics = {
        name: evaluate_masked(
            model,
            *arrays,
            windows=splits[name],
            conditions=conditions,
            folds=config.folds,
            device=device,
        )
        for name in evaluate
    }
    return TrainedModel(model, history, metrics)
