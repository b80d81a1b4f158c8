"""Train one sparse autoencoder: init, loop, divergence check, checkpoints, threshold, held-out
quality.

A checkpoint holds everything the next step depends on, so a resumed run writes the same bytes.
"""

from __future__ import annotations

import dataclasses
import errno
import math
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from petriscope.errors import UserError
from petriscope.executors.state import report
from petriscope.files import (
    Output,
    atomic_folder,
    json_with,
    read_json,
    write_csv,
    write_json,
)
from petriscope.probe.harvest import Hidden
from petriscope.progress import bar
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import Quality, quality
from petriscope.sae.loader import TokenSource
from petriscope.sae.select import BatchTopK, CandidateFilter, Selection, TopK, above_threshold
from petriscope.sae.step import (
    DictionaryAdam,
    Objective,
    Parameters,
    batch_gradients,
    check_selection,
    resample,
)

CHECKPOINT = Output(
    "a checkpoint", ("state.json", "state.safetensors"), json_with(config=None, step=None)
)
_SAMPLE_TOKENS = 16_384
_LOG_ROWS = 100
LOGGED = ("step", "tokens", "loss", "fvu", "l0", "dead", "lr", "threshold", "gradient_norm")
"""columns of a training curve"""
CHECKPOINT_SECONDS = 60.0
"""Work that a killed run loses at most, beside the step it was in."""
_AUDIT_STEPS, _AUDIT_ROWS = (
    20,
    4,
)  # every 20th step 4 rows of the batch are selected again by a dense product


class TrainResult(NamedTuple):
    """A trained dictionary and how it came about."""

    sae: SAE
    history: list[dict[str, float]]
    """about a hundred rows: step, tokens, loss, fvu, l0, dead, lr, threshold, gradient_norm (means
    since the last)"""
    quality: Quality | None
    """on the held-out tokens, None without them"""
    audited_rows: int
    """training rows whose selection was checked against a dense product (a mismatch raises)"""
    seconds: float
    """of training in this process"""
    tokens_per_second: float
    sweep: list[dict[str, float]] | None = None
    """the learning rates tried before, where they were"""


class Run:
    """State of a run between steps."""

    def __init__(
        self, config: SAEConfig, parameters: Parameters, scale: float, variance: float
    ) -> None:
        self.config, self.parameters, self.scale, self.variance = (
            config,
            parameters,
            scale,
            variance,
        )
        self.adam = DictionaryAdam(
            parameters,
            config.betas,
            config.clip,
            config.train_decoder,
            config.unit_decoder,
            config.adam_eps,
        )
        self.filter = CandidateFilter(parameters.W_enc, parameters.b_enc, config.filter)
        self.selector = _selector(config)
        self.silent = torch.zeros_like(
            parameters.b_enc, dtype=torch.long
        )  # tokens since a latent last fired
        self.threshold = -1.0
        self.step = self.tokens = 0
        self.audited_rows = 0
        self.history: list[dict[str, float]] = []
        self.pending: list[
            list[float]
        ] = []  # loss, squared error per token, l0, gradient norm of steps not yet logged

    def advance(self, x: torch.Tensor) -> None:
        """One optimizer step on a batch (n, d) in scaled units."""
        config = self.config
        centered = x - self.parameters.b_dec
        selection = self.selector(self.filter, centered)
        if self.step % _AUDIT_STEPS == 0:
            self._audit(selection, centered)
        if config.variant in ("batchtopk", "matryoshka") and self.step > (
            config.threshold_start or 0
        ):
            beta = config.threshold_beta
            smallest = selection.smallest
            self.threshold = (
                smallest if self.threshold < 0 else beta * self.threshold + (1 - beta) * smallest
            )
        self.silent += len(x)
        self.silent[selection.by_latent.indptr.diff() > 0] = 0
        assert config.aux_k is not None and config.dead_after_tokens is not None
        dead = (self.silent >= config.dead_after_tokens).nonzero()[:, 0]
        l1 = config.penalty(self.step)
        aux_weight = config.aux_weight * (self.variance if config.aux_units == "variance" else 1.0)
        objective = Objective(dead, config.aux_k, aux_weight, config.groups, l1)
        gradients = batch_gradients(self.parameters, x, centered, selection, objective)
        norm = self.adam.step(gradients, objective, config.learning_rate(self.step), self.filter)
        self.pending.append([gradients.loss, gradients.squared_error / len(x), gradients.l0, norm])
        self.step += 1
        self.tokens += len(x)
        if config.resample_every and self.step % config.resample_every == 0 and len(dead):
            resample(self.adam, dead, centered, gradients.pulls[-1][1], (config.seed, self.step))
            self.silent[dead] = 0
            self.filter.refresh(0, config.m)

    def _audit(self, selection: Selection, centered: torch.Tensor) -> None:
        """Check some rows, others at each audit, against a dense product; raises `UserError` on a
        mismatch."""
        every = max(1, len(centered) // _AUDIT_ROWS)
        first = self.step // _AUDIT_STEPS % every
        rows = torch.arange(first, len(centered), every, device=centered.device)[:_AUDIT_ROWS]
        per_row = self.config.k if self.config.variant == "topk" else None
        found = check_selection(selection, centered, self.parameters, rows, per_row)
        self.audited_rows += found.rows
        if found.missed or found.surplus:
            what = (
                f"missed {found.missed} latents and kept {found.surplus} too many in "
                f"{found.rows} rows"
            )
            remedy = "Train with filter: float32 and report this: the selection must be exact."
            raise UserError(f"{what} of step {self.step}", field="sae.filter", remedy=remedy)

    def log(self) -> dict[str, float]:
        """Close a row of the history; raises `UserError` where training diverged."""
        loss, error, l0, norm = np.mean(self.pending, axis=0).tolist()
        self.pending = []
        assert self.config.dead_after_tokens is not None
        row = {
            "step": float(self.step),
            "tokens": float(self.tokens),
            "loss": loss,
            "fvu": error / self.variance,
            "l0": l0,
            "dead": float((self.silent >= self.config.dead_after_tokens).double().mean()),
            "lr": self.config.learning_rate(self.step - 1),
            "threshold": max(self.threshold, 0.0),
            "gradient_norm": norm,
        }
        self.history.append(row)
        best = min(past["fvu"] for past in self.history)
        worse = row["fvu"] > max(3 * best, 1.5)
        if self.config.batch_of == "blocks":
            worse = False  # a step is one sequence, and one can be far from the rest
        if worse or not math.isfinite(row["loss"]):
            what = (
                f"training diverged at step {self.step} (FVU {row['fvu']:.3g}, best so far "
                f"{best:.3g})"
            )
            raise UserError(
                what,
                field="sae.learning_rate",
                remedy=f"Use less than {self.config.lr:g}, or auto.",
            )
        return row

    def logged(self, curve: Path | str | None) -> dict[str, float] | None:
        """A row of the history where one is due after this step, also in the file ``curve``."""
        every = max(1, self.config.steps // _LOG_ROWS)
        if self.step % every and self.step != self.config.steps:
            return None
        row = self.log()
        if curve is not None:
            self.draw(curve)
        return row

    def draw(self, curve: Path | str) -> None:
        """Write the history into the file ``curve``."""
        write_csv(curve, pd.DataFrame(self.history)[list(LOGGED)])

    def sae(self) -> SAE:
        """The dictionary as it stands."""
        tensors = {
            name: getattr(self.parameters, name).detach().cpu().clone()
            for name in Parameters._fields
        }
        return SAE(
            config=self.config, **tensors, scale=self.scale, threshold=max(self.threshold, 0.0)
        )

    def checkpoint(self) -> Checkpoint:
        tensors = {"silent": self.silent}
        for prefix, group in (
            ("", self.parameters),
            ("first.", self.adam.first),
            ("second.", self.adam.second),
        ):
            tensors |= {prefix + name: value for name, value in group._asdict().items()}
        numbers: dict[str, Any] = {
            "scale": self.scale,
            "variance": self.variance,
            "threshold": self.threshold,
            "history": self.history,
            "pending": self.pending,
            "audited_rows": self.audited_rows,
            "tokens": self.tokens,
        }
        return Checkpoint(
            self.step, {name: tensor.cpu() for name, tensor in tensors.items()}, numbers
        )

    @classmethod
    def started(cls, config: SAEConfig, source: TokenSource, device: str = "cpu") -> Run:
        """A fresh run: input scale, initialization, and b_dec from a sample of the source."""
        sample = torch.from_numpy(source.sample(_SAMPLE_TOKENS, config.seed))
        spread = float((sample.double() - sample.double().mean(0)).square().sum(1).mean())
        square = float(sample.double().square().sum(1).mean())
        if not spread > 1e-12 * max(square, 1e-300):
            remedy = "Check the harvest: this layer's output does not depend on its input."
            raise UserError("all vectors are the same", field="input", remedy=remedy)
        scale = (config.d / square) ** 0.5 if config.scale_input else 1.0
        sample *= scale
        rng = torch.Generator().manual_seed(config.seed)
        W_dec = torch.randn(config.m, config.d, generator=rng)
        W_dec /= torch.linalg.vector_norm(W_dec, dim=1, keepdim=True)
        W_enc, b_enc = W_dec.clone(), torch.zeros(config.m)
        if config.encoder_start == "independent":  # as torch.nn.Linear starts
            bound = config.d**-0.5
            W_enc.uniform_(-bound, bound, generator=rng)
            b_enc.uniform_(-bound, bound, generator=rng)
        b_dec = torch.zeros(config.d)
        if config.start != "zero":
            b_dec = (
                geometric_median(sample) if config.start == "geometric_median" else sample.mean(0)
            )
        parameters = Parameters(*(part.to(device) for part in (W_enc, b_enc, W_dec, b_dec)))
        return cls(config, parameters, scale, spread * scale**2)

    @classmethod
    def resumed(cls, config: SAEConfig, saved: Checkpoint, device: str = "cpu") -> Run:
        """The run as it was when ``saved`` was taken."""
        parameters = Parameters(*(saved.tensors[name].to(device) for name in Parameters._fields))
        run = cls(config, parameters, saved.numbers["scale"], saved.numbers["variance"])
        for prefix, group in (("first.", run.adam.first), ("second.", run.adam.second)):
            for name, value in group._asdict().items():
                value.copy_(saved.tensors[prefix + name])
        run.adam.steps = run.step = saved.step
        run.silent = saved.tensors["silent"].to(device)
        run.threshold, run.history, run.pending = (
            saved.numbers[key] for key in ("threshold", "history", "pending")
        )
        run.audited_rows, run.tokens = (saved.numbers[key] for key in ("audited_rows", "tokens"))
        return run


def train_sae(
    hidden: Hidden,
    latents: int,
    k: int,
    *,
    seed: int = 0,
    tokens: int = 1_000_000,
    split: str | None = "train",
    device: str = "cpu",
    **config: Any,
) -> SAE:
    """Train one sparse autoencoder on hidden states.

    Parameters
    ----------
    hidden : Hidden
        Hidden states of one layer.
    latents, k : int
        Size of the dictionary, and how many latents a token keeps on average.
    seed : int
        Of the initial weights and of the order of tokens.
    tokens : int
        Training tokens; the hidden states are read again as often as needed.
    split : str, optional
        Train on the tokens of this split alone; None: on all of them.
    device : str
        Where the steps run; the dictionary comes back on the host.
    **config
        Further fields of `petriscope.sae.config.SAEConfig` (``variant``, ``lr``, ``batch`` …).

    Returns
    -------
    SAE
        The dictionary; `petriscope.sae.judge.quality` says how good it is.

    Raises
    ------
    UserError
        If no token is of the split, a field of the configuration is unknown or out of range, or
        the training diverges.

    Examples
    --------
    >>> small = ps.train_sae(hidden, latents=24, k=4, tokens=20_000)
    >>> small.m, small.d == hidden.d
    (24, True)
    """
    keep = None if split is None else hidden.tokens.split == split
    if keep is not None and not keep.any():
        found = ", ".join(sorted(set(hidden.tokens.windows.split.astype(str))))
        raise UserError(
            f"no token is of split {split!r}",
            field="split",
            remedy=f"Choose one of {found}, or None for all tokens.",
        )
    source = TokenSource(np.asarray(hidden.values), keep=keep)
    batch = int(config.pop("batch", min(1024, source.n_tokens)))
    plan = {"d": hidden.d, "m": latents, "k": k, "batch": batch, "seed": seed}
    asked = SAEConfig.from_dict({**plan, "steps": max(1, tokens // max(1, batch)), **config})
    name = f"SAE of layer {hidden.layer}"
    return train_dictionary(asked, source, heldout=None, device=device, name=name).sae


def train_dictionary(
    config: SAEConfig,
    source: TokenSource,
    *,
    heldout: np.ndarray | TokenSource | None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    curve: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
    name: str = "SAE",
) -> TrainResult:
    """Train on ``source``; judge on ``heldout``: raw hidden states (…, d) or a source of them.

    checkpoint: folder written every ``checkpoint_seconds`` and after the last step, resumed from
    where it exists (the result is the same, byte for byte); removed by no one. curve: CSV of the
    history so far, rewritten a hundred times. Raises `UserError` on unusable data, a
    foreign checkpoint, or divergence. device: where the steps run; the trained dictionary, and what
    it encodes, stay on the host.
    """
    if source.d != config.d:
        what = f"is {config.d}, but the vectors are {source.d} wide"
        raise UserError(what, field="sae.d", remedy="Use the width of the layer.")
    config = config.resolved()
    folder = Path(checkpoint) if checkpoint is not None else None
    if folder is not None:
        check_space(folder, config)
    saved = load_checkpoint(folder, config) if folder is not None else None
    run = Run.resumed(config, saved, device) if saved else Run.started(config, source, device)
    begun, first = time.perf_counter(), run.step
    kept = begun  # when the last checkpoint was
    of_blocks = config.batch_of == "blocks"
    unit = "block" if of_blocks else "token"
    meter = bar(name, total=config.steps * config.batch, unit=unit) if progress else None
    if meter is not None:
        meter.update(first * config.batch)
    seen = run.tokens
    stream = source.block_batches if of_blocks else source.batches
    batches = stream(config.batch, config.seed, first)
    while run.step < config.steps:
        run.advance(next(batches).mul_(run.scale).to(device))
        row = run.logged(curve)
        if row is not None and meter is not None:
            state = f"FVU {row['fvu']:.3f}  L0 {row['l0']:.1f}  dead {row['dead']:.1%}"
            meter.set_postfix_str(state, refresh=False)
        due = time.perf_counter() - kept >= checkpoint_seconds or run.step == config.steps
        if folder is not None and due:
            save_checkpoint(folder, config, run.checkpoint())
            report(run.step, config.steps)
            kept = time.perf_counter()
        if meter is not None:
            meter.update(config.batch)
    if meter is not None:
        meter.close()
    if curve is not None and first == config.steps:  # trained before: its stage stopped afterwards
        run.draw(curve)
    seconds = time.perf_counter() - begun
    sae = run.sae()
    judged = quality(sae, heldout) if heldout is not None else None
    rate = (run.tokens - seen) / max(seconds, 1e-9)
    return TrainResult(sae, run.history, judged, run.audited_rows, seconds, rate)


def given_dictionary(
    folder: str | Path, config: SAEConfig, *, heldout: np.ndarray | TokenSource | None
) -> TrainResult:
    """The dictionary saved in ``folder`` as if it had been trained here, judged on ``heldout``.

    Raises `UserError` where it is not there or was trained by another configuration than
    ``config``, in anything but the learning rate (which a sweep may have found) and the filter
    (which changes no result).
    """
    sae = SAE.load(folder)
    free = {"lr": config.lr, "filter": config.filter}
    asked, found = config.resolved(), dataclasses.replace(sae.config, **free)
    if found != asked:
        field = next(
            name for name, value in asked.as_dict().items() if getattr(found, name) != value
        )
        raise UserError(
            f"was trained with {field} {getattr(found, field)}, params.yaml asks for "
            f"{getattr(asked, field)}",
            file=Path(folder) / "cfg.json",
            field=field,
            remedy="Set the entries of section sae as they were, or `released: null` to train.",
        )
    judged = quality(sae, heldout) if heldout is not None else None
    return TrainResult(sae, [], judged, 0, 0.0, 0.0)


def geometric_median(
    points: torch.Tensor, rounds: int = 100, tolerance: float = 1e-5
) -> torch.Tensor:
    """Weiszfeld's iteration from the mean: float32 (d) of points (n, d)."""
    guess = points.mean(0)
    for _ in range(rounds):
        weights = 1.0 / torch.linalg.vector_norm(points - guess, dim=1).clamp_min(1e-12)
        moved = weights @ points / weights.sum()
        done = float(torch.linalg.vector_norm(moved - guess)) < tolerance
        guess = moved
        if done:
            break
    return guess


class _Positive:
    """ReLU: every positive pre-activation fires."""

    def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
        return above_threshold(filter_, x, 0.0)


def _selector(config: SAEConfig) -> BatchTopK | TopK | _Positive:
    if config.variant == "topk":
        return TopK(config.k)
    return _Positive() if config.variant == "relu_l1" else BatchTopK(config.k)


class Checkpoint(NamedTuple):
    """State after some steps."""

    step: int
    """steps done"""
    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


def check_space(folder: Path, config: SAEConfig, dictionaries: int = 1) -> None:
    """Raise `UserError` before training where the disk cannot take a checkpoint of so many
    ``dictionaries`` of ``config`` beside the earlier one."""
    needed = (
        dictionaries * 2 * 4 * (3 * (2 * config.m * config.d + config.m + config.d) + 2 * config.m)
    )
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        what = (
            f"lies on a disk with {free / 1e6:.1f} MB free, checkpoints need {needed / 1e6:.1f} MB"
        )
        raise UserError(what, file=folder, remedy="Free some space and start again.")


def save_checkpoint(folder: Path, config: SAEConfig, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in ``folder``. A full disk leaves the earlier one intact and raises
    `UserError`."""
    try:
        with atomic_folder(folder, CHECKPOINT) as temporary:
            save_file(checkpoint.tensors, temporary / "state.safetensors")
            described = {
                "config": config.as_dict(),
                "step": checkpoint.step,
                "numbers": checkpoint.numbers,
            }
            write_json(temporary / "state.json", described)
    except (OSError, SafetensorError) as error:
        if not _full(error):
            raise
        remedy = "Free some space and start again: training resumes from the last whole checkpoint."
        raise UserError(
            "cannot be written, the disk or quota is full", file=folder, remedy=remedy
        ) from None


def _full(error: Exception) -> bool:
    """Whether a write failed for want of room; safetensors tells the system's error number in words
    alone."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(
        f"os error {number})" in str(error) for number in numbers
    )


def load_checkpoint(folder: Path, config: SAEConfig) -> Checkpoint | None:
    """The checkpoint in ``folder``, or None. Raises `UserError` if it is corrupt or of another
    configuration."""
    if not (folder / "state.json").exists():
        return None
    remedy = f"Delete {folder} to start over."
    try:
        described = read_json(folder / "state.json")
        tensors = load_file(folder / "state.safetensors")
        saved, step, numbers = described["config"], int(described["step"]), described["numbers"]
    except (SafetensorError, ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"is corrupt ({error})", file=folder, remedy=remedy) from None
    asked = config.as_dict()
    differing = sorted(
        key for key in asked.keys() | saved.keys() if asked.get(key) != saved.get(key)
    )
    if differing:
        key = differing[0]
        what = f"is of another configuration: {key} was {saved.get(key)}, now {asked.get(key)}"
        raise UserError(what, file=folder, remedy=remedy)
    return Checkpoint(step, tensors, numbers)
