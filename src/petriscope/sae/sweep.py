"""Many dictionaries: a cheap sweep of the learning rate, several trained at once, and all of a run.

The sweep takes the rate with the least held-out FVU among those that keep latents alive. Each
dictionary trains in a process with one thread: on a shared machine that beats threads by far.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from petriscope.errors import UserError
from petriscope.executors import Resources, current, fan_out
from petriscope.files import write_csv
from petriscope.probe.tokens import Tokens
from petriscope.sae.coder import SAE, dictionary_folder
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import stability_tables
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import LOGGED, TrainResult, given_dictionary, train_dictionary

Key = tuple[int, int]
"""Layer and seed."""
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)


class Sweep(NamedTuple):
    """What was tried and what was chosen."""

    config: SAEConfig
    """the given configuration with the chosen rate"""
    table: list[dict[str, float]]
    """a row per rate: lr, fvu (held out; NaN where it diverged), l0, dead"""


def sweep_learning_rate(
    config: SAEConfig,
    source: TokenSource,
    heldout: np.ndarray | TokenSource,
    *,
    rates: tuple[float, ...] = RATES,
    share: float = 0.1,
    most_dead: float = 0.05,
) -> Sweep:
    """Train ``share`` of the steps (at least 200) at each rate, judge on held-out rows (…, d) or a
    source, choose.

    Chosen: least FVU among the rates with at most ``most_dead`` dead latents (among all where none
    keeps to that). Raises `UserError` where every rate diverges.
    """
    steps = min(config.steps, max(200, round(share * config.steps)))
    table = []
    for rate in rates:
        short = dataclasses.replace(
            config, lr=rate, steps=steps, warmup=None, decay=None, threshold_start=None
        )
        row = {"lr": rate, "fvu": float("nan"), "l0": float("nan"), "dead": float("nan")}
        try:
            judged = train_dictionary(short, source, heldout=heldout, progress=False).quality
        except UserError as error:
            if "diverged" not in str(error):
                raise
        else:
            assert judged is not None
            row |= {"fvu": judged.fvu, "l0": judged.l0, "dead": judged.dead_fraction}
        table.append(row)
    sound = [row for row in table if np.isfinite(row["fvu"])]
    if not sound:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise UserError(
            f"training diverged at every rate tried ({tried})",
            field="sae.lr",
            remedy="Check the input.",
        )
    alive = [row for row in sound if row["dead"] <= most_dead] or sound
    best = min(alive, key=lambda row: row["fvu"])
    return Sweep(dataclasses.replace(config, lr=best["lr"]), table)


class Split(NamedTuple):
    """Tokens of one split in the store of a layer, by their files: however long the token axis, it
    travels as two paths."""

    store: Path
    axis: Path
    """folder of the token axis"""
    split: str

    def open(self) -> TokenSource:
        """The tokens themselves."""
        status = (self.axis / "windows.parquet").stat()
        tokens = _axis(self.axis, status.st_ino, status.st_mtime_ns)
        return TokenSource.of_split(self.store, tokens, self.split)


@functools.lru_cache(maxsize=1)
def _axis(folder: Path, inode: int, changed: int) -> Tokens:
    return Tokens.load(folder)


class Job(NamedTuple):
    """One dictionary to train."""

    name: str
    config: SAEConfig
    source: TokenSource | Split
    heldout: TokenSource | Split | None = None
    """tokens the result is judged on"""
    checkpoint: Path | None = None
    curve: Path | None = None
    """CSV that follows the training"""
    device: str = "cpu"
    tune: TokenSource | Split | None = None
    """tokens on which a sweep chooses the learning rate first; None: the configuration's"""
    into: Path | None = None
    """folder that takes the dictionary, which is too large to travel between machines; None: it
    comes back as it is"""
    given: Path | None = None
    """folder of the dictionary that is taken in place of training one"""


def train_many(
    jobs: Sequence[Job], *, workers: int | None = None, progress: bool = True
) -> list[TrainResult]:
    """Train all jobs, ``workers`` at a time (default: one per processor), results in the jobs'
    order; by the executor in use.

    Results do not depend on ``workers``: each job runs on one thread. The first error stops the
    jobs not yet begun.
    """
    gpus = int(any(job.device != "cpu" for job in jobs))
    if gpus:
        workers = 1  # one process owns the accelerator
    workers = min(len(jobs), workers or len(os.sched_getaffinity(0)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if workers <= 1 and current().runs_here(gpus):
            return [_back(train_job(progress, job), job) for job in jobs]
        needs = Resources(gpus=gpus, memory_gb=4, minutes=24 * 60)
        found = fan_out(
            *(train_job, False, jobs, "Training SAEs"), unit="SAE", workers=workers, resources=needs
        )
        return [_back(one, job) for one, job in zip(found, jobs, strict=True)]
    finally:
        torch.set_num_threads(threads)


def train_job(progress: bool, job: Job) -> TrainResult:
    """Train one dictionary, or judge the given one. Where a folder holds it, the result comes
    without it."""
    config, table, source = job.config, None, _opened(job.source)
    if job.given is not None:
        judged = given_dictionary(job.given, config, heldout=_opened(job.heldout))
        return judged._replace(sae=None)  # type: ignore[arg-type]
    assert source is not None
    if (tune := _opened(job.tune)) is not None:
        config, table = sweep_learning_rate(config, source, tune)
    result = train_dictionary(
        config,
        source,
        heldout=_opened(job.heldout),
        checkpoint=job.checkpoint,
        curve=job.curve,
        device=job.device,
        progress=progress,
        name=job.name,
    )
    result = result._replace(sweep=table)
    if job.into is None:
        return result
    result.sae.save(job.into)
    return result._replace(sae=None)  # type: ignore[arg-type]


def _opened(source: TokenSource | Split | None) -> TokenSource | None:
    return source.open() if isinstance(source, Split) else source


def _back(result: TrainResult, job: Job) -> TrainResult:
    """The result with its dictionary; the curve of one that was trained before is written again."""
    if (folder := job.given or job.into) is not None:
        result = result._replace(sae=SAE.load(folder))
    if job.given is None and job.curve is not None and not job.curve.exists():
        write_csv(job.curve, pd.DataFrame(result.history)[list(LOGGED)])
    return result


def train_layers(
    stores: Mapping[int, Path],
    axis: Path,
    plans: Mapping[Key, SAEConfig],
    *,
    sweep: bool,
    scratch: Path,
    curves: Path,
    device: str,
    given: Path | None = None,
) -> dict[Key, TrainResult]:
    """Train a dictionary for every key of ``plans`` on the `train` tokens of its layer's store,
    judged on the `select` tokens; ``axis``: folder of the token axis.

    With ``given``, a folder of dictionaries as `saved_sae` reads it, none trains: those are judged.
    With ``sweep`` each layer's first seed finds its learning rate on the `tune` tokens first; the
    layer's other seeds take that rate. ``scratch`` takes checkpoints and finished dictionaries,
    ``curves`` a CSV per dictionary.
    """

    def source(layer: int, split: str) -> Split:
        return Split(stores[layer], axis, split)

    if stores:
        source(next(iter(stores)), "train").open()  # the axis is read before processes are forked
    first: dict[int, int] = {layer: seed for layer, seed in reversed(list(plans))}
    leading = [key for key in plans if first[key[0]] == key[1]]
    others = [key for key in plans if key not in leading]
    trained: dict[Key, TrainResult] = {}
    for keys in (leading, others) if sweep else (list(plans),):
        jobs = []
        for layer, seed in keys:
            config, tuned = plans[layer, seed], trained.get((layer, first[layer]))
            if sweep and tuned is not None:
                config = dataclasses.replace(config, lr=tuned.sae.config.lr)
            # a run that the gate stopped leaves checkpoints; after a change of params.yaml they are
            # another run's
            plan = hashlib.sha256(repr(config).encode()).hexdigest()[:12]
            checkpoint = scratch / f"layer_{layer}_seed_{seed}_{plan}"
            jobs.append(
                Job(
                    f"layer {layer} seed {seed}",
                    config,
                    source(layer, "train"),
                    heldout=source(layer, "select"),
                    checkpoint=checkpoint,
                    curve=curves / f"layer_{layer}_seed_{seed}.csv",
                    device=device,
                    tune=source(layer, "tune") if sweep and tuned is None else None,
                    into=checkpoint.with_name(f"{checkpoint.name}_sae"),
                    given=None if given is None else dictionary_folder(given, layer, seed),
                )
            )
        trained |= zip(keys, train_many(jobs), strict=True)
    return trained


def stability(trained: Mapping[Key, TrainResult]) -> dict[str, pd.DataFrame]:
    """Tables `stability` (a row per layer and feature) and `matches` (also per other seed)."""
    layers = dict.fromkeys(layer for layer, _ in trained)
    tables = {
        layer: stability_tables({s: made.sae for (of, s), made in trained.items() if of == layer})
        for layer in layers
    }
    features = pd.concat(
        [tables[layer].features.assign(layer=layer) for layer in layers], ignore_index=True
    )
    matches = pd.concat(
        [tables[layer].matches.assign(layer=layer) for layer in layers], ignore_index=True
    )
    front = ["layer", "feature"]
    return {
        "stability": features[[*front, "stability", "encoder_stability"]],
        "matches": matches[[*front, "seed", "match", "decoder_cosine", "encoder_cosine"]],
    }
