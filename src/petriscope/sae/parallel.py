"""Many dictionaries at once, each in a process with one thread: on a shared machine that beats
threads by far."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from petriscope.progress import bar
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.sweep import sweep_learning_rate
from petriscope.sae.train import TrainResult, train_sae


class Job(NamedTuple):
    """One dictionary to train."""

    name: str
    config: SAEConfig
    source: TokenSource
    heldout: TokenSource | None = None
    """tokens the result is judged on"""
    checkpoint: Path | None = None
    curve: Path | None = None
    """CSV that follows the training"""
    device: str = "cpu"
    tune: TokenSource | None = None
    """tokens on which a sweep chooses the learning rate first; None: the configuration's"""


def train_many(
    jobs: Sequence[Job], *, workers: int | None = None, progress: bool = True
) -> list[TrainResult]:
    """Train all jobs, ``workers`` at a time (default: one per processor), results in the jobs'
    order.

    Results do not depend on ``workers``: each job runs on one thread. The first error stops the
    jobs not yet begun.
    """
    if any(job.device != "cpu" for job in jobs):
        workers = 1  # one process owns the accelerator
    workers = min(len(jobs), workers or len(os.sched_getaffinity(0)))
    if workers <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [_train(job, progress) for job in jobs]
        finally:
            torch.set_num_threads(threads)
    meter = bar("Training SAEs", total=len(jobs), unit="SAE") if progress else None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(_train, job, False) for job in jobs]
        try:
            results = []
            for job, future in zip(jobs, futures, strict=True):
                result = future.result()
                results.append(result)
                if meter is not None:
                    row = result.history[-1]
                    state = f"{job.name}: FVU {row['fvu']:.3f}  L0 {row['l0']:.1f}  dead {row['dead']:.1%}"
                    meter.set_postfix_str(state, refresh=False)
                    meter.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if meter is not None:
        meter.close()
    return results


def _one_thread() -> None:
    torch.set_num_threads(1)


def _train(job: Job, progress: bool) -> TrainResult:
    config, table = job.config, None
    if job.tune is not None:
        config, table = sweep_learning_rate(config, job.source, job.tune)
    result = train_sae(
        config,
        job.source,
        heldout=job.heldout,
        checkpoint=job.checkpoint,
        curve=job.curve,
        device=job.device,
        progress=progress,
        name=job.name,
    )
    return result._replace(sweep=table)
