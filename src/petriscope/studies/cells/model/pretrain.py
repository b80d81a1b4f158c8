"""A small Geneformer or scGPT is trained here as the originals were: some genes of a cell are
hidden and predicted from the others.

Geneformer: of the genes of a cell 15 % are predicted by cross-entropy over the vocabulary; 80 % of
these are shown as `<mask>`, 10 % as another gene, 10 % as they are. scGPT: the bin of a share of
the genes is shown as −1 and predicted by squared error. The head reads only what is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from petriscope.checkpoint import load_checkpoint, save_checkpoint
from petriscope.errors import UserError
from petriscope.probe.model import device_of, to_device
from petriscope.progress import bar, progress
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.buckets import Padding, full_groups, padded
from petriscope.studies.cells.model.geneformer import Geneformer
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.tokens import CellTokens

AS_MASK, AS_ANOTHER = 0.8, 0.1
"""Of the genes that Geneformer predicts: share shown as `<mask>`, and as a gene drawn at random."""
RECORD_EVERY = 100
"""Steps between two rows of the history, each with a checkpoint."""


@dataclass(frozen=True)
class PretrainConfig:
    """How to train: AdamW, a linear warm-up and a cosine."""

    steps: int = 2300
    """Optimizer steps."""
    batch: int = 32
    """Cells of a step, of one length wherever there are enough of them."""
    learning_rate: float = 1e-3
    mask: float = 0.15
    """Share of the genes of a cell that are predicted."""
    warmup: float = 0.05
    """Share of the training in which the rate rises from 0."""
    final_rate: float = 0.05
    """Rate at the end of the cosine, relative to the peak."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Global norm that the gradient is clipped to."""


def pretrain(
    model: PostNormModel,
    config: PretrainConfig,
    tokens: CellTokens,
    cells: np.ndarray,
    padding: Padding,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place, where it is, on some ``cells`` of ``tokens``.

    ``checkpoint``: file written now and then and resumed from where it exists. Every epoch and
    step draws from (seed, epoch or step) and a host computes with one thread: same seed, same
    weights, interrupted or not. With ``config.steps`` 0 the model stays as it is. Returns the
    history, a row every `RECORD_EVERY` steps: step, loss (nats a gene, or squared bins), rate.
    Leaves the model in eval mode. Raises `UserError` where there is no cell, or the loss is not
    finite.
    """
    if not config.steps:
        model.eval()
        return []
    if not len(cells):
        remedy = "Give the split a larger share."
        raise UserError("no training cell", field="cells.split.train", remedy=remedy)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(model, config, tokens, cells, padding, seed, checkpoint)
    finally:
        model.eval()
        torch.set_num_threads(threads)


def _train(
    model: PostNormModel,
    config: PretrainConfig,
    tokens: CellTokens,
    cells: np.ndarray,
    padding: Padding,
    seed: int,
    checkpoint: Path | None,
) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    size = {"family": model.family, "model": model.size}
    identity = {**size, "pretrain": config, "seed": seed, "cells": len(cells)}
    history: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.exists():
        history = load_checkpoint(checkpoint, model, optimizer, identity)
    done = int(history[-1]["step"]) if history else 0
    model.train()
    losses, groups = list[Tensor](), _groups(tokens, cells, config.batch, seed)
    words = np.unique(tokens.ids[tokens.gene >= 0])
    with bar(f"pre-training {model.family}", total=config.steps, unit="step") as shown:
        for step, group in zip(range(1, config.steps + 1), groups, strict=False):
            shown.update()
            if step <= done:
                continue
            rate = learning_rate(step / config.steps, config)
            rng = np.random.default_rng([seed, 2, step])
            chosen = masked_batch(model, tokens, group, padding, rng, config.mask, words)
            losses.append(_step(model, optimizer, chosen, rate, config))
            if step % RECORD_EVERY and step < config.steps:
                continue
            loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(loss):
                field = f"{model.family}.learning_rate"
                raise UserError("the loss is not finite", field=field, remedy="Lower it.")
            history.append({"step": float(step), "loss": loss, "rate": rate})
            shown.set_postfix(loss=f"{loss:.3f}")
            if checkpoint is not None:
                save_checkpoint(checkpoint, model, optimizer, identity, history)
    return history


class Masked(NamedTuple):
    """A batch of which some genes are hidden."""

    shown: CellBatch
    """what the model reads"""
    at: Tensor
    """bool (B, T): the genes that it predicts"""
    wanted: Tensor
    """(n,) what is there, row by row: token ids int64, or bins float32"""


def masked_batch(
    model: PostNormModel,
    tokens: CellTokens,
    cells: np.ndarray,
    padding: Padding,
    rng: np.random.Generator,
    share: float,
    words: np.ndarray,
) -> Masked:
    """What a training step reads: `hidden_batch`, but that Geneformer sees some of the genes that
    it predicts as they are, and in the place of some another of ``words`` (token ids)."""
    hidden = hidden_batch(model, tokens, cells, padding, rng, share)
    if hidden.shown.values is not None:
        return hidden
    fate = torch.from_numpy(rng.random(hidden.at.shape))
    ids = padded(tokens, cells, padding).ids
    drawn = torch.from_numpy(rng.choice(words, hidden.at.shape).astype(np.int64))
    ids = torch.where(fate < AS_MASK + AS_ANOTHER, drawn, ids)
    ids = torch.where(hidden.at & (fate >= AS_MASK), ids, hidden.shown.ids)
    return hidden._replace(shown=hidden.shown._replace(ids=ids))


def hidden_batch(
    model: PostNormModel,
    tokens: CellTokens,
    cells: np.ndarray,
    padding: Padding,
    rng: np.random.Generator,
    share: float,
) -> Masked:
    """Some cells with ``share`` of the genes of each (rounded, at least one) hidden."""
    batch = padded(tokens, cells, padding)
    free = _genes(tokens, cells, batch)
    count = free.sum(1)
    wanted = np.maximum(1, np.round(share * count).astype(int)).clip(max=count)
    order = np.argsort(np.where(free, rng.random(free.shape), np.inf), axis=1)
    chosen = np.zeros_like(free)
    np.put_along_axis(chosen, order, np.arange(free.shape[1]) < wanted[:, None], axis=1)
    at = torch.from_numpy(chosen)
    there = batch.ids if batch.values is None else batch.values
    return Masked(model.hide(batch, at), at, there[at])


def _genes(tokens: CellTokens, cells: np.ndarray, batch: CellBatch) -> np.ndarray:
    """bool (B, T): the tokens of a batch that are genes."""
    found = batch.mask.numpy().copy()
    rows = [np.arange(*tokens.offsets[cell : cell + 2]) for cell in cells]
    found[found] = tokens.gene[np.concatenate(rows)] >= 0
    return found


def _step(
    model: PostNormModel,
    optimizer: torch.optim.AdamW,
    masked: Masked,
    rate: float,
    config: PretrainConfig,
) -> Tensor:
    """One step; the loss before it."""
    shown, at, wanted = to_device(masked, device_of(model))
    found = model.predict(model.at_places(shown, at))
    ranks = isinstance(model, Geneformer)
    loss = F.cross_entropy(found, wanted) if ranks else F.mse_loss(found, wanted)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return loss.detach()


def learning_rate(done: float, config: PretrainConfig) -> float:
    """Linear warm-up, then cosine to ``final_rate`` of the peak; ``done`` is the share of the
    training that is over."""
    if done < config.warmup:
        return config.learning_rate * done / config.warmup
    progressed = min(1.0, (done - config.warmup) / (1 - config.warmup))
    low = config.final_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progressed)))


def _groups(tokens: CellTokens, cells: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    """Endless groups of cells, an epoch after the other, in a new order each time."""
    counts = np.diff(tokens.offsets)[cells]
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, 1, epoch])
        order = rng.permutation(len(cells))
        groups = full_groups(counts[order], size)
        for number in rng.permutation(len(groups)):
            yield cells[order[groups[number]]]
        epoch += 1


@torch.inference_mode()
def hidden_genes(
    model: PostNormModel,
    tokens: CellTokens,
    cells: np.ndarray,
    padding: Padding,
    *,
    share: float,
    seed: int = 0,
    at_once: int = 64,
) -> pd.DataFrame:
    """Every gene of some cells, predicted while it is hidden.

    The cells are run as often as it takes to hide at most ``share`` of their genes at a time, each
    time others, drawn from ``seed``. A row per gene token, in the order of the axis; columns cell,
    token (its place in the cell), gene, then of Geneformer id, nats (its cross-entropy) and correct
    (it is the likeliest), of scGPT bin and predicted.
    """
    if not len(cells):
        remedy = "Give the split a larger share."
        raise UserError("no held-out cell", field="cells.split", remedy=remedy)
    device, folds = device_of(model), max(2, math.ceil(1 / share - 1e-9))
    parts = []
    counts = np.diff(tokens.offsets)[cells]
    for group in progress(full_groups(counts, at_once), "held-out genes", unit="batch"):
        chosen = cells[group]
        batch = padded(tokens, chosen, padding)
        genes = _genes(tokens, chosen, batch)
        rng = np.random.default_rng([seed, 3, int(chosen[0])])
        fold = np.tile(np.arange(genes.shape[1]) % folds, (len(genes), 1))
        fold = rng.permuted(fold, axis=1)
        for number in range(folds):
            at = genes & (fold == number)
            if not at.any():
                continue
            shown = to_device(model.hide(batch, torch.from_numpy(at)), device)
            row, place = np.nonzero(at)
            stream = model.streams(shown, [model.n_layers])[model.n_layers][row, place]
            columns = {
                "cell": chosen[row],
                "token": place,
                "gene": tokens.gene[tokens.offsets[chosen[row]] + place],
                **_judged(model, model.predict(stream).cpu(), batch, row, place),
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts).sort_values(["cell", "token"], ignore_index=True)


def _judged(
    model: PostNormModel, found: Tensor, batch: CellBatch, row: np.ndarray, place: np.ndarray
) -> dict[str, np.ndarray]:
    if isinstance(model, Geneformer):
        wanted = batch.ids[row, place]
        return {
            "id": wanted.numpy(),
            "nats": F.cross_entropy(found, wanted, reduction="none").numpy(),
            "correct": (found.argmax(1) == wanted).numpy(),
        }
    assert batch.values is not None
    return {"bin": batch.values[row, place].numpy(), "predicted": found.numpy()}
