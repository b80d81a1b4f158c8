"""Dictionaries of all layers and seeds are trained side by side on hidden states that are never
stored: windows go through the model, a buffer is filled and mixed, every dictionary takes its
batches from it, and the buffer is forgotten.

The order of tokens is a pure function of the configurations' seeds. An epoch takes the batches of
windows that the model runs together in an order drawn for it; a buffer holds the next of them, at
least `BUFFER_BATCHES` optimizer batches; each seed mixes the buffer's rows in an order of its own.
A run that is started again makes the buffer of its checkpoint anew and goes on inside it, so the
bytes are those of a run that was never stopped.

The stored path (`petriscope.sae.loader`) draws the order of windows for each seed, window by window
and unit by unit; here all dictionaries see one order of the model's batches, because the model runs
once for all. Between two dictionaries of one seed this changes the tokens of a batch, not their
distribution.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, read_json, write_json
from petriscope.probe.harvest import as_float16
from petriscope.probe.identity import add_model, add_settings
from petriscope.probe.model import Inputs, ProbedModel, place
from petriscope.progress import bar
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import Judge, Quality
from petriscope.sae.loader import TokenSource, as_float32
from petriscope.sae.train import (
    CHECKPOINT_SECONDS,
    Run,
    TrainResult,
    check_space,
    load_checkpoint,
    save_checkpoint,
)

Key = tuple[int, int]
"""Layer and seed."""
BUFFER_BATCHES = 16
START_TOKENS = 16_384
"""Tokens from which scale and first bias are taken, as the stored path does."""
_STEPS_AT_ONCE = 4  # between two looks at the clock
_SHARE_OF_SAVING = 0.05  # of the time, at most, goes into checkpoints
STREAMED = Output(
    "a checkpoint of streamed training",
    ("stream.json", "layer_*/state.json", "layer_*/state.safetensors"),
    json_with(step=None, stream=None),
)
Rows = dict[int, np.ndarray]
"""Layer -> float16 (n, d)"""


class Buffer(NamedTuple):
    """Some tokens in all layers."""

    epoch: int
    number: int
    """In its epoch."""
    skip: int
    """Mixed rows that were trained on before."""
    rows: Rows


class TokenStream:
    """Hidden states of some windows in all layers at once, made when they are asked for."""

    def __init__(
        self,
        model: ProbedModel,
        inputs: Inputs,
        windows: Sequence[int] | np.ndarray,
        layers: Sequence[int],
    ) -> None:
        """windows: numbers of those that may be read. Raises `UserError` where there is none."""
        self.model, self.inputs, self.layers = model, inputs, list(layers)
        self.numbers = [int(window) for window in windows]
        if not self.numbers:
            remedy = "Check the windows' split."
            raise UserError("no windows are left to train on", field="windows", remedy=remedy)
        self.groups = inputs.together(self.numbers)
        counts = inputs.tokens.per_window()[self.numbers]
        self.counts = np.array([int(counts[group].sum()) for group in self.groups])
        self.n_tokens = int(self.counts.sum())
        self._stopped = threading.Event()

    def rows(self, groups: Sequence[int] | np.ndarray) -> Rows:
        """Hidden states of some of the groups, one after the other, as a harvest stores them."""
        pieces: dict[int, list[np.ndarray]] = {layer: [] for layer in self.layers}
        for number in groups:
            if self._stopped.is_set():
                raise CancelledError
            windows = [self.numbers[at] for at in self.groups[int(number)]]
            with torch.inference_mode():
                found = self.inputs.streams_of(self.model, windows, self.layers)
            for layer in self.layers:
                pieces[layer].append(as_float16(found[layer], layer, windows))
        return {layer: np.concatenate(of_layer) for layer, of_layer in pieces.items()}

    def sample(self, tokens: int, seed: int) -> Rows:
        """About ``tokens`` tokens of evenly drawn groups."""
        order = np.random.default_rng([seed, 0x5A3]).permutation(len(self.groups))
        needed = int(np.searchsorted(np.cumsum(self.counts[order]), tokens)) + 1
        return self.rows(np.sort(order[:needed]))

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Let the model stop after the group it is at where what runs inside is interrupted."""
        try:
            yield
        except BaseException:
            self._stopped.set()
            raise

    def in_order(self) -> Iterator[Rows]:
        """All groups once."""
        for number in range(len(self.groups)):
            yield self.rows([number])

    def buffers(self, tokens: int, seed: int, first: int = 0) -> Iterator[Buffer]:
        """Endless buffers of at least ``tokens`` tokens (the last of an epoch holds what is left),
        starting with the one that holds token number ``first`` of the stream."""
        epoch, offset = divmod(first, self.n_tokens)
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(len(self.groups))
            ends = np.cumsum(self.counts[order])
            begin, before, number = 0, 0, 0
            while begin < len(order):
                stop = min(len(order), int(np.searchsorted(ends, before + tokens)) + 1)
                if ends[stop - 1] > offset:
                    rows = self.rows(order[begin:stop])
                    yield Buffer(epoch, number, max(0, offset - before), rows)
                begin, before, number = stop, int(ends[stop - 1]), number + 1
            epoch, offset = epoch + 1, 0

    def identity(self) -> str:
        """Digest of the model, of the inputs' settings and of which windows run together."""
        digest = hashlib.sha256()
        add_model(digest, self.model)
        add_settings(digest, self.inputs)
        digest.update(repr((self.numbers, self.groups, self.counts.tolist())).encode())
        return digest.hexdigest()


class _Trained:
    """One dictionary while it trains."""

    def __init__(self, run: Run, key: Key, curves: Path | None, device: str) -> None:
        self.run, self.layer, self.device = run, key[0], device
        self.name = _name(*key)
        self.curve = None if curves is None else curves / f"{self.name}.csv"
        self._left = np.zeros((0, run.config.d), np.float16)
        self._rows, self._order = self._left, np.zeros(0, np.int64)

    def take(self, buffer: Buffer) -> None:
        """Go on with another buffer, in an order of this seed's own; what is left of the one before
        comes first."""
        self._left = self._rest()
        self._rows = buffer.rows[self.layer]
        rng = np.random.default_rng([self.run.config.seed, buffer.epoch, buffer.number])
        self._order = rng.permutation(len(self._rows))[buffer.skip :]

    def _rest(self) -> np.ndarray:
        return np.concatenate([self._left, self._rows[self._order]])

    @property
    def ready(self) -> int:
        """Whole batches at hand."""
        return (len(self._left) + len(self._order)) // self.run.config.batch

    def advance(self, steps: int) -> None:
        """Some optimizer steps."""
        size = self.run.config.batch
        for _ in range(steps):
            fresh = size - len(self._left)
            batch = np.concatenate([self._left, self._rows[self._order[:fresh]]])
            self._left, self._order = self._left[:0], self._order[fresh:]
            x = torch.from_numpy(as_float32(batch))
            self.run.advance(x.mul_(self.run.scale).to(self.device))
            self.run.logged(self.curve)


def train_streamed(
    model: ProbedModel,
    inputs: Inputs,
    plans: Mapping[Key, SAEConfig],
    *,
    train: Sequence[int] | np.ndarray,
    heldout: Sequence[int] | np.ndarray,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    curves: Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    progress: bool = True,
) -> dict[Key, TrainResult]:
    """Train a dictionary for every layer and seed of ``plans`` on the tokens of the windows
    ``train``, judged on those of ``heldout``, without storing hidden states.

    plans: of one batch size, number of steps, and width. checkpoint: folder with the state of all
    dictionaries at one step, written every ``checkpoint_seconds`` (more seldom where writing it
    would take more than a twentieth of the time) and after the last step; resumed from where it
    exists, with the bytes of an uninterrupted run; removed by no one. curves: folder of a CSV per
    dictionary. device: where the model and the steps run. workers: dictionaries that step at once
    (default: one per processor; one on an accelerator); results do not depend on it. The model runs
    in one thread beside them, a buffer ahead. Raises `UserError` as `train_dictionary` does, and
    for a checkpoint of another stream.
    """
    plans = {key: config.resolved() for key, config in plans.items()}
    first = _alike(plans)
    place(model, device)
    stream = TokenStream(model, inputs, train, sorted({layer for layer, _ in plans}))
    if stream.n_tokens < first.batch:
        what = f"is {first.batch}, but only {stream.n_tokens} training tokens exist"
        remedy = "Use a smaller batch or more windows."
        raise UserError(what, field="sae.batch", remedy=remedy)
    seed = min(config.seed for config in plans.values())
    identity = stream.identity()
    trained = _begun(stream, plans, checkpoint, identity, seed, curves, device)
    begun, started = _step_of(trained), time.perf_counter()
    saver = _Saver(checkpoint, checkpoint_seconds, identity)
    count = workers or (len(os.sched_getaffinity(0)) if device == "cpu" else 1)
    with _meter(first, progress) as moved:
        moved(begun)
        _advance(stream, trained, seed, count, saver, moved)
    seconds = time.perf_counter() - started
    rate = (_step_of(trained) - begun) * first.batch * len(plans) / max(seconds, 1e-9)
    if curves is not None and begun == first.steps:  # trained before: its stage stopped afterwards
        for one in trained.values():
            one.run.draw(curves / f"{one.name}.csv")
    saes = {key: one.run.sae() for key, one in trained.items()}
    judged = _judged({key: Judge(sae) for key, sae in saes.items()}, model, inputs, heldout)
    return {
        key: TrainResult(
            saes[key], one.run.history, judged[key], one.run.audited_rows, seconds, rate
        )
        for key, one in trained.items()
    }


def _advance(
    stream: TokenStream,
    trained: Mapping[Key, _Trained],
    seed: int,
    workers: int,
    saver: _Saver,
    moved: Callable[[int], object],
) -> None:
    """Step all dictionaries to their end; the model makes the next buffer meanwhile."""
    config, step = next(iter(trained.values())).run.config, _step_of(trained)
    single = functools.partial(torch.set_num_threads, 1)
    made = stream.buffers(BUFFER_BATCHES * config.batch, seed, step * config.batch)
    with (
        ThreadPoolExecutor(1, initializer=single) as ahead,
        ThreadPoolExecutor(workers, initializer=single) as pool,
        stream.stopping(),
    ):
        waiting: Future[Buffer] | None = None
        if step < config.steps:
            waiting = ahead.submit(next, made)
        while waiting is not None:
            buffer = waiting.result()
            for one in trained.values():
                one.take(buffer)
            upto = min(config.steps, step + next(iter(trained.values())).ready)
            waiting = ahead.submit(next, made) if upto < config.steps else None
            while step < upto:
                steps = min(_STEPS_AT_ONCE, upto - step)
                for done in [pool.submit(one.advance, steps) for one in trained.values()]:
                    done.result()
                step += steps
                moved(steps)
                saver.look(trained, last=step == config.steps)


@contextmanager
def _meter(config: SAEConfig, progress: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar that is told of steps; a function that does nothing without ``progress``."""
    if not progress:
        yield lambda steps: None
        return
    meter = bar("Streamed SAEs", total=config.steps * config.batch, unit="token")
    yield lambda steps: meter.update(steps * config.batch)
    meter.close()


class _Saver:
    """Writes the checkpoint when it is due."""

    def __init__(self, folder: Path | None, seconds: float, identity: str) -> None:
        self.folder, self.seconds, self.identity = folder, seconds, identity
        self.pause, self.kept = seconds, time.perf_counter()

    def look(self, trained: Mapping[Key, _Trained], *, last: bool) -> None:
        """Save after the last step, and where the time since the last checkpoint is up."""
        begun = time.perf_counter()
        if self.folder is None or not (last or begun - self.kept >= self.pause):
            return
        _save(self.folder, trained, _step_of(trained), self.identity)
        self.kept = time.perf_counter()
        self.pause = max(self.seconds, (self.kept - begun) / _SHARE_OF_SAVING)


def _step_of(trained: Mapping[Key, _Trained]) -> int:
    return next(iter(trained.values())).run.step


def _alike(plans: Mapping[Key, SAEConfig]) -> SAEConfig:
    """Any of the plans. Raises `UserError` where they cannot step side by side."""
    first = next(iter(plans.values()))
    for name in ("batch", "steps", "d"):
        if len({getattr(config, name) for config in plans.values()}) > 1:
            remedy = "Give all dictionaries the same, or set sae.source to store."
            what = "differs between dictionaries that are trained in one stream"
            raise UserError(what, field=f"sae.{name}", remedy=remedy)
    if any(config.batch_of != "tokens" for config in plans.values()):
        remedy = "Set sae.source to store."
        raise UserError("takes whole sequences", field="sae.batch_of", remedy=remedy)
    return first


def _begun(
    stream: TokenStream,
    plans: Mapping[Key, SAEConfig],
    checkpoint: Path | None,
    identity: str,
    seed: int,
    curves: Path | None,
    device: str,
) -> dict[Key, _Trained]:
    """All dictionaries as the checkpoint left them, else at their first step."""
    runs = {} if checkpoint is None else _load(checkpoint, plans, identity, device)
    if not runs:
        if checkpoint is not None:
            largest = max(plans.values(), key=lambda config: config.m)
            check_space(checkpoint, largest, len(plans))
        rows = stream.sample(START_TOKENS, seed)
        for (layer, of_seed), config in plans.items():
            if rows[layer].shape[1] != config.d:
                what = f"is {config.d}, but the vectors are {rows[layer].shape[1]} wide"
                raise UserError(what, field="sae.d", remedy="Use the width of the layer.")
            runs[layer, of_seed] = Run.started(config, TokenSource(rows[layer]), device)
    return {key: _Trained(run, key, curves, device) for key, run in runs.items()}


def _judged(
    judges: dict[Key, Judge],
    model: ProbedModel,
    inputs: Inputs,
    heldout: Sequence[int] | np.ndarray,
) -> dict[Key, Quality | None]:
    """Held-out quality of every dictionary, in one pass of the model."""
    if not len(heldout):
        return dict.fromkeys(judges)
    layers = sorted({layer for layer, _ in judges})
    for rows in TokenStream(model, inputs, heldout, layers).in_order():
        for (layer, _), judge in judges.items():
            judge.add(rows[layer])
    return {key: judge.quality() for key, judge in judges.items()}


def _name(layer: int, seed: int) -> str:
    return f"layer_{layer}_seed_{seed}"


def _save(folder: Path, trained: Mapping[Key, _Trained], step: int, identity: str) -> None:
    """Replace the checkpoint of all dictionaries at once."""
    with atomic_folder(folder, STREAMED) as temporary:
        for one in trained.values():
            save_checkpoint(temporary / one.name, one.run.config, one.run.checkpoint())
        write_json(temporary / "stream.json", {"step": step, "stream": identity})


def _load(
    folder: Path, plans: Mapping[Key, SAEConfig], identity: str, device: str
) -> dict[Key, Run]:
    """The dictionaries of a checkpoint; none where there is none. Raises `UserError` where it is of
    another model, of other windows or configurations, or damaged."""
    if not (folder / "stream.json").exists():
        return {}
    about, remedy = read_json(folder / "stream.json"), f"Delete {folder} to start over."
    if about.get("stream") != identity:
        what = "is of another model, of other windows or in another order"
        raise UserError(what, file=folder, remedy=remedy)
    runs = {}
    for key, config in plans.items():
        saved = load_checkpoint(folder / _name(*key), config)
        if saved is None or saved.step != about.get("step"):
            what = f"lacks {_name(*key)} at step {about.get('step')}"
            raise UserError(what, file=folder, remedy=remedy)
        runs[key] = Run.resumed(config, saved, device)
    return runs
