"""What `fan_out` costs: the local executor, done files and all, against `in_processes` on the same body
(goal: at most 1.02 times), and what each executor takes per task that does nothing.

`python benchmarks/executors.py [--engines local,ray,slurm]`: ray and slurm start real ones in a namespace, as root.
A ratio is taken within one run, in turns; nothing here is compared between machines.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import contextlib
import dataclasses
import functools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

import clusters
import numpy as np
import torch
from executor_bodies import Place, noop

from petriscope.executors import Executor, fan_out
from petriscope.executors.config import Settings
from petriscope.parallel import in_processes
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary


class Training(NamedTuple):
    """A short training on vectors of a file."""

    file: Path
    steps: int


def train(given: Training, seed: int) -> float:
    """Trains one small dictionary; the sum of its weights."""
    config = SAEConfig(d=64, m=256, k=8, steps=given.steps, batch=512, seed=seed)
    source = TokenSource(given.file)
    return float(
        train_dictionary(config, source, heldout=None, progress=False).sae.W_dec.double().sum()
    )


def seconds(run: object) -> float:
    begun = time.perf_counter()
    run()  # type: ignore[operator]
    return time.perf_counter() - begun


def against_processes(folder: Path, rounds: int, items: int, steps: int) -> None:
    """Both ways in turns; prints the ratio of each round and its median."""
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32))
    given, ratios, found = Training(folder / "x.npy", steps), [], []

    def plain() -> None:
        found.append(list(in_processes(functools.partial(train, given), range(items), "plain")))

    def fanned(number: int) -> None:
        executor = Executor("local", folder / f"tasks_{number}", "x", Settings())
        found.append(list(fan_out(train, given, range(items), "fanned", executor=executor)))

    plain()
    for number in range(rounds):
        pair = [("plain", plain), ("fanned", functools.partial(fanned, number))]
        took = {name: seconds(run) for name, run in (pair if number % 2 else pair[::-1])}
        ratios.append(took["fanned"] / took["plain"])
        print(
            f"round {number}: in_processes {took['plain']:.2f} s, fan_out {took['fanned']:.2f} s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    assert all(one == found[0] for one in found), "results differ"
    print(
        f"fan_out local / in_processes: median {statistics.median(ratios):.3f} of {rounds} rounds, {min(ratios):.3f} to {max(ratios):.3f}"
    )


def per_task(engine: str, folder: Path, items: int) -> None:
    """Prints seconds per task that does nothing: each item a task, four at once."""
    folder.mkdir()
    settings = Settings(poll=0.5, settle=5, limit=max(4, items // 4), executor=engine)
    with contextlib.ExitStack() as stack:
        if engine == "ray":
            cluster = stack.enter_context(clusters.ray_cluster())
            settings = dataclasses.replace(settings, address=cluster.address)
        elif engine == "slurm":
            stack.enter_context(clusters.slurm(folder))
        times = []
        for number in range(3 if engine != "slurm" else 1):
            executor = Executor(engine, folder / f"tasks_{number}", "x", settings)
            run = functools.partial(
                fan_out, noop, Place(folder), range(items), "nothing", executor=executor
            )
            times.append(seconds(lambda: list(run())))  # noqa: B023
    first, best = times[0], min(times)
    print(
        f"{engine:<6} {items:>5} tasks: first call {first:.2f} s, best {best:.2f} s, {1e3 * best / items:.2f} ms a task",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="local")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.rounds:
            against_processes(Path(folder), args.rounds, args.items, args.steps)
        for engine in args.engines.split(","):
            per_task(engine, Path(folder) / engine, {"local": 2000, "ray": 400}.get(engine, 12))


if __name__ == "__main__":
    main()
