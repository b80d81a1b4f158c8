"""A small Nucleotide Transformer is trained here by predicting masked tokens, as the original was.

Of the tokens of a sequence (`<cls>` apart) 15 % are predicted; 80 % of these are shown as `<mask>`,
10 % as another token, 10 % as they are. The head reads only the predicted places: over a
vocabulary of four thousand it would cost more than the rest of so small a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from petriscope.checkpoint import load_checkpoint, save_checkpoint
from petriscope.errors import UserError
from petriscope.progress import bar, progress
from petriscope.studies.dna.model.nucleotide import (
    NucleotideTransformer,
    SequenceBatch,
    padded,
)
from petriscope.studies.dna.model.tokens import (
    CLS,
    MASK,
    TokenTables,
    Vocabulary,
    by_length,
    vocabulary,
)

AS_MASK, AS_ANOTHER = 0.8, 0.1
"""Of the predicted tokens: share shown as `<mask>`, and as a token drawn at random."""
RECORD_EVERY = 200
"""Steps between two rows of the history, each with a checkpoint."""


@dataclass(frozen=True)
class PretrainConfig:
    """How to train: AdamW, a linear warm-up and a cosine."""

    tokens: int = 3_000_000
    """Tokens read in all, `<cls>` included."""
    batch: int = 16
    """Sequences of a step, all of one length."""
    learning_rate: float = 3e-3
    mask: float = 0.15
    """Share of the tokens of a sequence that are predicted."""
    warmup: float = 0.05
    """Share of the training in which the rate rises from 0."""
    final_rate: float = 0.05
    """Rate at the end of the cosine, relative to the peak."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Global norm that the gradient is clipped to."""


def pretrain(
    model: NucleotideTransformer,
    config: PretrainConfig,
    tables: TokenTables,
    rows: np.ndarray,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place, where it is, on the sequences ``rows`` of ``tables``.

    ``checkpoint``: file written now and then and resumed from where it exists. Every epoch and
    step draws from (seed, epoch or step) and a host computes with one thread: same seed, same
    weights, interrupted or not. With ``config.tokens`` 0 the model stays as it is. Returns the
    history, a row every `RECORD_EVERY` steps: step, tokens so far, loss (nats a predicted token),
    rate. Leaves the model in eval mode. Raises `UserError` where there is no sequence, or the loss
    is not finite.
    """
    if not config.tokens:
        model.eval()
        return []
    if not len(rows):
        remedy = "Give the split a larger share."
        raise UserError("no training sequence", field="sequences.split.train", remedy=remedy)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(model, config, tables, rows, seed, checkpoint)
    finally:
        model.eval()
        torch.set_num_threads(threads)


def _train(
    model: NucleotideTransformer,
    config: PretrainConfig,
    tables: TokenTables,
    rows: np.ndarray,
    seed: int,
    checkpoint: Path | None,
) -> list[dict[str, float]]:
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    identity = {"model": model.config, "pretrain": config, "seed": seed, "sequences": len(rows)}
    history: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.exists():
        history = load_checkpoint(checkpoint, model, optimizer, identity)
    done = int(history[-1]["step"]) if history else 0
    model.train()
    seen, losses = 0, list[Tensor]()
    with bar("pre-training", total=config.tokens, unit="token") as shown:
        for step, batch in enumerate(_batches(tables, rows, config.batch, seed), start=1):
            shown.update(min(count := int(batch.keep.sum()), config.tokens - seen))
            seen += count
            if step > done:
                rate = learning_rate(seen / config.tokens, config)
                rng = np.random.default_rng([seed, 2, step])
                losses.append(_step(model, optimizer, batch, rng, rate, config, device))
            if step > done and (step % RECORD_EVERY == 0 or seen >= config.tokens):
                loss = float(torch.stack(losses).mean())
                losses.clear()
                if not math.isfinite(loss):
                    remedy = "Lower the learning rate."
                    raise UserError(
                        "the loss is not finite", field="model.learning_rate", remedy=remedy
                    )
                of = {"step": step, "tokens": seen, "loss": loss, "rate": rate}
                history.append({name: float(value) for name, value in of.items()})
                shown.set_postfix(loss=f"{loss:.3f}")
                if checkpoint is not None:
                    save_checkpoint(checkpoint, model, optimizer, identity, history)
            if seen >= config.tokens:
                return history
    raise AssertionError("batches never end")


def _step(
    model: NucleotideTransformer,
    optimizer: torch.optim.AdamW,
    batch: SequenceBatch,
    rng: np.random.Generator,
    rate: float,
    config: PretrainConfig,
    device: torch.device,
) -> Tensor:
    """One step; the loss before it."""
    shown, at = masked_batch(batch, rng, config.mask, vocabulary(model.config.form))
    shown, at = SequenceBatch(*(part.to(device) for part in shown)), at.to(device)
    real, at = at >= 0, at.clamp(min=0)
    logits = model.logits(model.at_places(shown, at)[real])
    loss = F.cross_entropy(logits, batch.ids.to(device).gather(1, at)[real])
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return loss.detach()


def masked_batch(
    batch: SequenceBatch, rng: np.random.Generator, share: float, words: Vocabulary
) -> tuple[SequenceBatch, Tensor]:
    """What the model sees, and the places (B, m) it predicts, ascending and −1 where a row has
    fewer."""
    free = (batch.keep & (batch.ids != CLS)).numpy()
    wanted = np.maximum(1, np.round(share * free.sum(1)).astype(int)).clip(max=free.sum(1))
    order = np.argsort(np.where(free, rng.random(free.shape), np.inf), axis=1)
    most = int(wanted.max())
    at = np.where(np.arange(most) < wanted[:, None], order[:, :most], -1)
    at = np.sort(np.where(at < 0, free.shape[1], at), axis=1)
    real = at < free.shape[1]
    row, place = np.nonzero(real)[0], at[real]
    ids = batch.ids.numpy().copy()
    fate = rng.random(len(row))
    hidden = fate < AS_MASK
    ids[row[hidden], place[hidden]] = MASK
    other = ~hidden & (fate < AS_MASK + AS_ANOTHER)
    ids[row[other], place[other]] = rng.integers(words.first, len(words), int(other.sum()))
    return SequenceBatch(torch.from_numpy(ids), batch.keep), torch.from_numpy(
        np.where(real, at, -1)
    )


def learning_rate(done: float, config: PretrainConfig) -> float:
    """Linear warm-up, then cosine to ``final_rate`` of the peak; ``done`` is the share of the
    training that is over."""
    if done < config.warmup:
        return config.learning_rate * done / config.warmup
    progress = min(1.0, (done - config.warmup) / (1 - config.warmup))
    low = config.final_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def _batches(
    tables: TokenTables, rows: np.ndarray, size: int, seed: int
) -> Iterator[SequenceBatch]:
    """Endless batches, an epoch after the other, in a new order each time."""
    counts = np.diff(tables.offsets)[rows]
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, 1, epoch])
        order = rng.permutation(len(rows))
        groups = [rows[order[part]] for part in by_length(counts[order], size, mixed=True)]
        for group in rng.permutation(len(groups)):
            yield padded([tables.of(int(row)) for row in groups[group]])
        epoch += 1


@torch.inference_mode()
def masked_tokens(
    model: NucleotideTransformer,
    tables: TokenTables,
    rows: np.ndarray,
    *,
    share: float = 0.15,
    seed: int = 0,
    at_once: int = 64,
) -> pd.DataFrame:
    """Every token of the sequences ``rows``, predicted while it is shown as `<mask>`.

    A sequence is run 1 / ``share`` times (rounded), each time with another part of its tokens
    masked, drawn from ``seed``. Columns: row (of ``tables``), token (its index in the sequence),
    id, nats (its cross-entropy), correct (it is the likeliest); a row per token but `<cls>`.
    """
    if not len(rows):
        remedy = "Give the split a larger share."
        raise UserError("no held-out sequence", field="sequences.split", remedy=remedy)
    device, folds = next(model.parameters()).device, max(2, round(1 / share))
    parts = []
    counts = np.diff(tables.offsets)[rows]
    for group in progress(by_length(counts, at_once), "held-out tokens", unit="batch"):
        ids = np.stack([tables.of(int(row)).ids for row in rows[group]])
        rng = np.random.default_rng([seed, 3, int(rows[group[0]])])
        fold = rng.permuted(np.arange(ids.shape[1] - 1) % folds * np.ones_like(ids[:, 1:]), axis=1)
        for number in range(folds):
            row, place = np.nonzero(fold == number)
            place += 1  # after <cls>
            if not len(row):
                continue
            shown = ids.copy()
            shown[row, place] = MASK
            batch = SequenceBatch(
                torch.from_numpy(shown), torch.ones(shown.shape, dtype=torch.bool)
            )
            batch = SequenceBatch(*(part.to(device) for part in batch))
            stream = model.streams(batch, [model.n_layers])[model.n_layers]
            logits = model.logits(stream[torch.from_numpy(row), torch.from_numpy(place)]).cpu()
            wanted = torch.from_numpy(ids[row, place])
            nats = F.cross_entropy(logits, wanted, reduction="none")
            columns = {
                "row": rows[group][row],
                "token": place,
                "id": wanted.numpy(),
                "nats": nats.numpy(),
                "correct": (logits.argmax(1) == wanted).numpy(),
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts).sort_values(["row", "token"], ignore_index=True)


def token_counts(tables: TokenTables, rows: np.ndarray, words: int) -> np.ndarray:
    """(words,) how often each token occurs in some sequences, `<cls>` apart."""
    ids = np.concatenate([tables.of(int(row)).ids[1:] for row in rows])
    return np.bincount(ids, minlength=words)


def unigram_nats(ids: np.ndarray, counts: np.ndarray) -> float:
    """Mean cross-entropy of ``ids`` under the frequencies ``counts`` (words,), one added to each:
    that of a model which reads no context."""
    shares = (counts + 1) / (counts + 1).sum()
    return float(-np.log(shares[ids]).mean())
