"""A discrete-event simulation of an executor on many slots, checked against real runs of sleeping
processes before it says anything about a cluster.

1. Measured here: what starting a pool costs, what a task costs beside its body (no-ops), in the
   product's own local pool and in one process per task, as a job array has.
2. Validation: sleeping tasks on up to 16 slots through both, with chunks and with processes killed
   by SIGKILL that go on at their last checkpoint. The simulation is given the same durations and
   kills and the measured overheads. Every makespan must agree within 5 %, else it stops there.
3. Simulated: dictionaries, harvest shards, permutations and kills on up to 100 slots, with the
   overheads of Ray and of a SLURM array that docs/scale.md states. Efficiency is the work divided
   by slots and makespan. Not simulated: a file system that many nodes read at once; what they would
   demand of it is printed beside.

python benchmarks/simulate_cluster.py [--skip-real] [--draws 50]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import heapq
import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from petriscope.parallel import in_processes

TOLERANCE = 0.05


class Engine(NamedTuple):
    """What an executor costs beside the work, in seconds."""

    start: float = 0.0
    """before the first task"""
    submit: float = 0.0
    """of the driver, per task, one after the other"""
    launch: float = 0.0
    """of a slot, per task, before its body"""
    notice: float = 0.0
    """until a killed task is seen"""
    ahead: int | None = None
    """tasks handed out before the first of them has answered; None: all"""


LOCAL = Engine(start=0.06, launch=0.00018)
RAY = Engine(start=10.0, submit=0.00013, launch=0.0013, notice=0.5)
SLURM = Engine(start=2.0, submit=0.0, launch=7.0, notice=7.0)
"""As measured in docs/scale.md; `notice`: two looks at the queue and the wait for a late file."""


class Task(NamedTuple):
    """A chunk of items, run by one slot one after the other."""

    items: tuple[float, ...]
    """seconds of each"""
    kills: tuple[float, ...] = ()
    """seconds after the start of its body at which its first, second, ... attempt is killed"""
    checkpoint: float | None = None
    """seconds between checkpoints; None: a killed item begins again"""


def simulate(tasks: Sequence[Task], slots: int, engine: Engine) -> float:
    """Makespan in seconds: tasks start in order on the slot that is free first; a killed one comes
    last in the queue once it is noticed."""
    free = [0.0] * slots
    heapq.heapify(free)
    ended: dict[int, float] = {}
    answered = 0.0  # when all tasks before the next to be answered have ended
    waiting = [
        (engine.start + (n + 1) * engine.submit, n, 0, 0.0) for n in range(len(tasks))
    ]  # ready, task, attempt, work done
    heapq.heapify(waiting)
    while waiting:
        ready, number, attempt, done = heapq.heappop(waiting)
        if engine.ahead is not None and number >= engine.ahead and not attempt:
            answered = max(answered, ended[number - engine.ahead])
            ready = max(ready, answered)
        begin = max(ready, heapq.heappop(free)) + engine.launch
        task = tasks[number]
        left = sum(task.items) - done
        killed = task.kills[attempt] if attempt < len(task.kills) else np.inf
        if killed < left:
            heapq.heappush(free, begin + killed)
            kept = _kept(task, done + killed)
            back = (begin + killed + engine.notice, number, attempt + 1, kept)
            heapq.heappush(waiting, back)
        else:
            ended[number] = begin + left
            heapq.heappush(free, begin + left)
    return max(ended.values())


def _kept(task: Task, work: float) -> float:
    """Work that a kill leaves: whole items, and of the one that ran its last checkpoint."""
    whole = 0.0
    for seconds in task.items:
        if whole + seconds > work:
            break
        whole += seconds
    if task.checkpoint is None:
        return whole
    return whole + (work - whole) // task.checkpoint * task.checkpoint


def chunks(items: Sequence[float], size: int, **more: object) -> list[Task]:
    """Tasks of ``size`` items that follow each other."""
    starts = range(0, len(items), size)
    return [Task(tuple(items[at : at + size]), **more) for at in starts]  # type: ignore[arg-type]


# -- real runs -------------------------------------------------------------------------------------

SLEEPER = """
import sys, time
from pathlib import Path
total, every, file = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
done = float(file.read_text()) if file.exists() else 0.0
begun, first = time.monotonic(), done
(file.parent / (file.name + ".began")).write_text("")
while done < total:
    upto = min(total, done + every)
    time.sleep(max(0.0, begun + upto - first - time.monotonic()))
    done = upto
    part = file.with_suffix(".part")
    part.write_text(repr(done))
    part.replace(file)
"""


def through_pool(items: Sequence[float], slots: int) -> float:
    """Seconds that the product's local pool takes for sleeping items."""
    begun = time.monotonic()
    for _ in in_processes(time.sleep, items, "sleeping", workers=slots):
        pass
    return time.monotonic() - begun


def through_processes(tasks: Sequence[Task], slots: int, folder: Path) -> float:
    """Seconds that one process per task takes, ``slots`` at a time; killed as the tasks say."""
    begun = time.monotonic()
    with ThreadPoolExecutor(slots) as pool:
        waiting = {pool.submit(_attempt, t, n, 0, folder): (n, 0) for n, t in enumerate(tasks)}
        while waiting:
            for future in [one for one in waiting if one.done()]:
                number, attempt = waiting.pop(future)
                if not future.result():
                    again = pool.submit(_attempt, tasks[number], number, attempt + 1, folder)
                    waiting[again] = number, attempt + 1
            time.sleep(0.002)
    return time.monotonic() - begun


def _attempt(task: Task, number: int, attempt: int, folder: Path) -> bool:
    """Run a task's process once; whether it came to its end."""
    total, file = sum(task.items), folder / str(number)
    every = task.checkpoint or total
    began = folder / f"{number}.began"
    began.unlink(missing_ok=True)
    arguments = [str(total), str(every), str(file)]
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEPER, *arguments])
    if attempt < len(task.kills):
        while not began.exists() and process.poll() is None:
            time.sleep(0.001)
        try:
            process.wait(task.kills[attempt])
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    return process.wait() == 0


def measured_pool(slots: int) -> Engine:
    """Start and cost per task of the product's pool, by no-ops."""
    few, many = slots, 40 * slots
    one = statistics.median(through_pool([0.0] * few, slots) for _ in range(5))
    all_ = statistics.median(through_pool([0.0] * many, slots) for _ in range(3))
    each = max(0.0, (all_ - one) / (many - few))
    return Engine(start=one, submit=each, ahead=4 * slots)


def measured_processes(slots: int, folder: Path) -> Engine:
    """Cost per task of a process each, by tasks that do nothing, with all slots in use."""
    took = []
    for turn in range(3):
        place = folder / f"noop_{slots}_{turn}"
        place.mkdir()
        rounds = 4
        took.append(through_processes([Task((0.0,))] * (rounds * slots), slots, place) / rounds)
    # the processors start one process at a time each: what a round of all slots costs
    cores = len(os.sched_getaffinity(0))
    launch = statistics.median(took)
    return Engine(submit=launch / slots, launch=launch / slots * cores)


def validate() -> bool:
    """Compare; print; whether all agree."""
    rng = np.random.default_rng(0)
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for slots, count, mean in ((4, 16, 1.0), (8, 40, 1.0), (16, 40, 2.0), (16, 100, 1.0)):
            items = (mean * rng.uniform(0.5, 1.5, count)).tolist()
            engine = measured_pool(slots)
            expected = simulate(chunks(items, 1), slots, engine)
            rows.append(
                (f"pool, {slots} slots, {count} x {mean:g} s", expected, through_pool(items, slots))
            )
        numbers = itertools.count()
        for slots, count, mean, size, every in (
            (8, 24, 2.0, 1, None),
            (16, 40, 2.0, 1, None),
            (16, 96, 0.5, 3, None),
            (12, 30, 3.0, 1, 0.5),
            (12, 30, 3.0, 1, None),
        ):
            items = (mean * rng.uniform(0.5, 1.5, count)).tolist()
            tasks = chunks(items, size, checkpoint=every)
            killed = "kills" if mean == 3.0 else ""
            if killed:
                tasks = [
                    t._replace(kills=(0.8 * sum(t.items),)) if n % 5 == 2 else t
                    for n, t in enumerate(tasks)
                ]
            engine = measured_processes(slots, folder)._replace(notice=0.002)
            place = folder / f"run_{next(numbers)}"
            place.mkdir()
            what = f"a process each, {slots} slots, {count} x {mean:g} s"
            what += f", chunks of {size}" if size > 1 else ""
            what += f", {killed}, {'checkpoints' if every else 'none kept'}" if killed else ""
            expected = simulate(tasks, slots, engine)
            rows.append((what, expected, through_processes(tasks, slots, place)))
            os.sync()
    print(f"{'real runs of sleeping tasks':<62}{'simulated':>10}{'real':>8}{'off':>8}")
    for what, expected, real in rows:
        print(f"{what:<62}{expected:>9.2f}s{real:>7.2f}s{expected / real - 1:>8.1%}")
    return all(abs(expected / real - 1) <= TOLERANCE for _, expected, real in rows)


# -- the cluster that is not here ------------------------------------------------------------------


def efficiency(
    draw: Callable[[np.random.Generator], list[Task]], slots: int, engine: Engine, draws: int
) -> tuple[float, float]:
    """Mean efficiency and makespan (s) over draws of the durations."""
    found, spans = [], []
    for seed in range(draws):
        tasks = draw(np.random.default_rng(seed))
        span = simulate(tasks, slots, engine)
        work = sum(sum(task.items) for task in tasks)
        found.append(work / (slots * span))
        spans.append(span)
    return statistics.mean(found), statistics.mean(spans)


def durations(rng: np.random.Generator, count: int, mean: float, spread: float) -> list[float]:
    """Durations within ``spread`` of the mean, any of them as likely."""
    return (mean * rng.uniform(1 - spread, 1 + spread, count)).tolist()


def product_size(count: int, slots: int) -> int:
    """Items of a task as the executors cut them: about four tasks a slot."""
    return -(-count // (4 * slots))


def killed(
    rng: np.random.Generator, tasks: list[Task], every: float, checkpoint: float | None
) -> list[Task]:
    """Tasks of which each slot loses one every ``every`` seconds on average."""
    return [
        task._replace(kills=tuple(rng.exponential(every, 8)), checkpoint=checkpoint)
        for task in tasks
    ]


def table(draws: int) -> None:
    """Print what is simulated, each line marked."""
    print(f"\n{'SIMULATED':<64}{'slots':>6}{'efficiency':>12}{'makespan':>10}")

    def row(what: str, slots: int, engine: Engine, draw: Callable) -> None:
        share, span = efficiency(draw, slots, engine, draws)
        print(f"{what:<64}{slots:>6}{share:>12.2f}{span / 60:>8.1f} m  simulated")

    def dictionaries(rng: np.random.Generator, spread: float = 0.08) -> list[Task]:
        return chunks(durations(rng, 90, 420.0, spread), 1)

    for engine, name in ((RAY, "Ray"), (SLURM, "SLURM")):
        for spread in (0.08, 0.14):  # 0.14: a standard deviation of 8 %
            for slots in (8, 16, 32, 100):
                what = f"90 dictionaries of 7 min within {spread:.0%}, {name}"
                row(what, slots, engine, lambda r, s=spread: dictionaries(r, s))
    for engine, name in ((RAY, "Ray"), (SLURM, "SLURM")):
        for size in (1, 2):
            what = f"240 harvest shards of 60 s, {name}, {size} a task"
            row(what, 32, engine, lambda r, s=size: chunks(durations(r, 240, 60.0, 0.08), s))
    for engine, name in ((RAY, "Ray"), (SLURM, "SLURM")):
        for size in sorted({1, 4, product_size(1000, 32)}):
            what = f"1,000 permutations of 20 s, {name}, {size} a task"
            row(what, 32, engine, lambda r, s=size: chunks(durations(r, 1000, 20.0, 0.08), s))
    for every in (60.0, None):
        kept = "checkpoints of 60 s" if every else "nothing kept"
        for slots in (32, 100):
            what = f"90 dictionaries, each slot killed every 4 h, SLURM, {kept}"
            row(what, slots, SLURM, lambda r, e=every: killed(r, dictionaries(r), 4 * 3600.0, e))
    print("not simulated: the shared file system. 32 readers at 0.3 GB/s demand 10 GB/s of it.")


def main() -> int:
    """Validate, then simulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--skip-real", action="store_true", help="do not validate")
    parser.add_argument("--draws", type=int, default=50)
    args = parser.parse_args()
    if not args.skip_real and not validate():
        print(f"the simulation is off by more than {TOLERANCE:.0%}: nothing is simulated")
        return 1
    table(args.draws)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
