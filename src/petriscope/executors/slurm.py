"""A SLURM job array: `sbatch`, `squeue` and `scancel`, and files. No exit status, accounting
database or e-mail is needed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Iterable

from petriscope.errors import UserError
from petriscope.executors.drive import pieces_of
from petriscope.executors.plans import Plan

ARRAY = 1000
"""Numbers of an array: sites often allow 0 to 1000 and no more."""


class Array:
    """The arrays of one plan; ``known``: their numbers, from an earlier driver."""

    def __init__(self, plan: Plan, known: list[str]) -> None:
        self.plan, self.jobs = plan, list(known)
        self.first = {n: piece.places[0] for n, piece in pieces_of(plan).items()}
        self.of_task: dict[int, str] = {}
        self.next_look = 0.0

    def submit(self, pieces: Collection[int], avoid: str | None = None) -> None:
        """Submit an array of some pieces."""
        numbers = sorted(pieces)
        for start in range(0, len(numbers), ARRAY):
            part = numbers[start : start + ARRAY]
            for number in part:  # so that the log of a task carries the key of its first item
                self.plan.path(self.first[number], "log").touch()
            job = _command("sbatch", *self._options(part, avoid), str(self._script())).strip()
            self.jobs.append(job.partition(";")[0])
            self.of_task |= dict.fromkeys(part, self.jobs[-1])

    def _script(self) -> object:
        path = self.plan.file.with_suffix(".sh")
        threads = os.environ.get("OMP_NUM_THREADS", "1")  # the last bits depend on it
        program = shlex.join([sys.executable, "-m", "petriscope.executors.task"])
        keys = " ".join(
            f"[{n}]={shlex.quote(self.plan.keys[place])}" for n, place in self.first.items()
        )
        folder = shlex.quote(str(self.plan.folder))
        lines = [
            "#!/bin/bash",
            *self.plan.settings.setup,
            f"export OMP_NUM_THREADS={threads}",
            f"declare -A keys=({keys})",
            f'log={folder}/"${{keys[$SLURM_ARRAY_TASK_ID]}}.log"',
            f'exec {program} {shlex.quote(str(self.plan.file))} "$SLURM_ARRAY_TASK_ID" '
            '>>"$log" 2>&1',
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _options(self, part: list[int], avoid: str | None) -> list[str]:
        asked, given = self.plan.resources, self.plan.settings
        memory = given.memory_gb or asked.memory_gb
        options = [
            "--parsable", "--requeue", "--open-mode=append", "--output=/dev/null",
            f"--job-name=petriscope-{self.plan.name}",
            f"--array={_ranges(part)}%{given.limit}",
            f"--cpus-per-task={asked.cpus}", f"--mem={round(1024 * memory)}M",
            f"--time={given.minutes or asked.minutes}",
        ]  # fmt: skip
        options += [f"--gres=gpu:{asked.gpus}"] if asked.gpus else []
        options += [f"--partition={given.partition}"] if given.partition else []
        options += [f"--account={given.account}"] if given.account else []
        if avoid is not None and len(set(_command("sinfo", "-h", "-N", "-o", "%N").split())) > 1:
            options.append(f"--exclude={avoid}")
        return [*options, *given.options]

    def alive(self) -> set[int]:
        """What the queue holds; a controller that does not answer is asked again."""
        time.sleep(max(0.0, self.next_look - time.monotonic()))
        self.next_look = time.monotonic() + self.plan.settings.poll
        if not self.jobs:
            return set()
        asked = ["squeue", "-h", "-r", "-o", "%F %K", "-j", ",".join(self.jobs)]
        while True:
            found = subprocess.run(asked, capture_output=True, text=True, check=False)
            if found.returncode == 0 or "Invalid job id" in found.stderr:
                break
            time.sleep(self.plan.settings.poll)
        queued = [line.split() for line in found.stdout.splitlines()]
        return {int(task) for job, task in queued if task.isdigit()}

    def said(self, piece: int) -> str:
        """State and node of the piece's last task, while the controller remembers it."""
        asked = ["scontrol", "-o", "show", "job", f"{self.of_task.get(piece, '')}_{piece}"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        words = dict(word.partition("=")[::2] for word in found.stdout.split())
        named = [words[name] for name in ("JobState", "Reason", "BatchHost") if name in words]
        return f"SLURM: {' '.join(named)}" if named else ""

    def known(self) -> list[str]:
        """Numbers of the arrays."""
        return self.jobs

    def cancel(self) -> None:
        """Cancel every array."""
        if self.jobs:
            subprocess.run(["scancel", *self.jobs], check=False)

    def close(self) -> None:
        """Nothing to do."""


def _command(name: str, *arguments: str) -> str:
    """Output of a command of SLURM. Raises `UserError` with what it says."""
    try:
        found = subprocess.run([name, *arguments], capture_output=True, text=True, check=False)
    except OSError:
        remedy = "Start the run where SLURM's commands are, or use --executor local."
        raise UserError(f"there is no {name} here", field="slurm", remedy=remedy) from None
    if found.returncode:
        what = found.stderr.strip().splitlines()[-1:] or [f"exit status {found.returncode}"]
        remedy = "Set partition, account or options in executor.yaml."
        raise UserError(f"{name}: {what[0]}", field="slurm", remedy=remedy)
    return found.stdout


def _ranges(numbers: Iterable[int]) -> str:
    """`0-3,7` of 0, 1, 2, 3 and 7, ascending."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
