"""This machine: forked processes on its processors, or one process for each of its GPUs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection

from petriscope.executors import Resources
from petriscope.executors.drive import pieces_of
from petriscope.executors.plans import Plan
from petriscope.executors.task import PARENT
from petriscope.parallel import in_processes


def run(plan: Plan, workers: int | None, left: list[int], unit: str) -> None:
    """Run some items of a plan, each in a forked process: what this one has loaded is theirs."""
    plan.begin(left)
    for _ in in_processes(plan.run, left, plan.what, unit=unit, workers=workers):
        pass
    plan.state.unlink()


def several_gpus(asked: Resources) -> bool:
    """Whether tasks that need a GPU have more than one here."""
    return asked.gpus > 0 and gpu_count() > 1


def gpu_count() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


class Processes:
    """A queue of pieces before one slot per GPU, each piece a process of its own that sees its GPU
    alone."""

    def __init__(self, plan: Plan, known: list[str]) -> None:
        self.plan = plan
        self.waiting: deque[int] = deque()
        self.free = [str(number) for number in range(gpu_count())]
        self.running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self.status: dict[int, int] = {}

    def submit(self, pieces: Collection[int], avoid: str | None = None) -> None:
        """Queue some pieces; there is no other host."""
        self.waiting.extend(pieces)

    def alive(self) -> set[int]:
        """Start what has a slot, wait a moment, and tell what is left."""
        for number, (gpu, process) in list(self.running.items()):
            if process.poll() is not None:
                self.status[number] = process.returncode
                self.free.append(gpu)
                del self.running[number]
        while self.waiting and self.free:
            self._start(self.waiting.popleft(), self.free.pop(0))
        if self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                next(iter(self.running.values()))[1].wait(0.1)
        else:
            time.sleep(0.05)
        return {*self.waiting, *self.running}

    def _start(self, number: int, gpu: str) -> None:
        log = self.plan.path(pieces_of(self.plan)[number].places[0], "log")
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": gpu,
            PARENT: str(os.getpid()),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        command = [sys.executable, "-m", "petriscope.executors.task", str(self.plan.file)]
        with log.open("ab") as handle:
            process = subprocess.Popen(
                [*command, str(number)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
            )
        self.running[number] = gpu, process

    def said(self, piece: int) -> str:
        """The exit status."""
        return f"exit status {self.status[piece]}" if piece in self.status else ""

    def known(self) -> list[str]:
        """Nothing: a process ends with its driver."""
        return []

    def cancel(self) -> None:
        """Kill what runs."""
        self.waiting.clear()
        for _, process in self.running.values():
            process.kill()
        for _, process in self.running.values():
            process.wait()

    def close(self) -> None:
        """Nothing to do."""
