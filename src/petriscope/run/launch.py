"""Runs of the pipeline are started, watched and canceled here; a run belongs to the workspace, not
to the program that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from petriscope.errors import UserError
from petriscope.run.dvc import (
    Holder,
    dvc_folder,
    lock_holders,
    process_alive,
    start_time,
    state_folder,
)

Scope = Literal["one", "downstream", "upstream", "all"]


@dataclass(frozen=True)
class RunState:
    """The present or last run of a workspace."""

    running: bool = False
    stage: str | None = None
    stage_seconds: float | None = None
    seconds: float | None = None
    done: tuple[str, ...] = ()
    failed: str | None = None
    failing_line: str | None = None
    exit_status: int | None = None
    command: tuple[str, ...] = ()
    ended_now: bool = False
    cancelling: bool = False

    @property
    def brief(self) -> str:
        """One line."""
        if self.running:
            what = self.stage or "starting"
            return f"{'cancelling' if self.cancelling else 'running'} {what}"
        if self.exit_status is None:
            return ""
        if self.exit_status == 0:
            return "run finished"
        if self.cancelling:
            return "run cancelled"
        return f"run failed at {self.failed}" if self.failed else "run failed"


class Runner:
    """Runs of one workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = state_folder(root)
        self._process: subprocess.Popen[bytes] | None = None
        self._cancels = 0
        self._was_running: bool | None = None

    def start(self, scope: Scope, target: str | None = None, *, force: bool = False) -> None:
        """Start a run in its own session. Raises UserError where that is impossible or another run
        is at work."""
        if self.poll().running:
            raise UserError("a run is in progress", remedy="Wait for it or cancel it first")
        busy = [h for h in lock_holders(self.root) if h.alive]
        if busy:
            raise UserError(
                f"DVC is busy: process {busy[0].pid} ({busy[0].command}) holds its lock",
                file=self.root,
            )
        if not dvc_folder(self.root).is_dir():
            remedy = "Run `petriscope reproduce` there once, or `dvc init --no-scm`"
            raise UserError("not a DVC workspace (no .dvc folder)", file=self.root, remedy=remedy)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            log = self.folder / time.strftime(f"run-%Y%m%d-%H%M%S-{time.time_ns() % 10**9:09d}.log")
            log.touch(exist_ok=False)
        except OSError as error:
            raise UserError(
                f"cannot write ({error.strerror})", file=self.folder, remedy="Use a writable copy"
            ) from None
        self._cancels = 0
        command = [
            sys.executable,
            "-m",
            "petriscope.run.supervisor",
            os.fspath(self.root),
            os.fspath(log),
        ]
        self._process = subprocess.Popen(
            [*command, *repro_command(self.root, scope, target, force)],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log.open("ab"),
            start_new_session=True,
        )
        self._was_running = True

    def poll(self) -> RunState:
        """The present state; ``ended_now`` is true once, when a run that was seen running has
        ended."""
        state = self.poll_quietly()
        state = replace(state, ended_now=bool(self._was_running) and not state.running)
        self._was_running = state.running
        return state

    def poll_quietly(self) -> RunState:
        """The present state, leaving ``ended_now`` for ``poll``."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        record = self._record()
        if self._process is not None and record.get("pid") != self._process.pid:
            return RunState(running=True)  # started, its supervisor has not written its record yet
        if not record:
            return RunState()
        alive = self._alive(record)
        if not alive and record.get("exit_status") is None:
            record = self._record()  # it may have ended between the two looks
        running = alive and record.get("exit_status") is None
        now = time.time()
        status = record.get("exit_status")
        if not running and status is None:
            status = -9
        stage_started, started = record.get("stage_started"), record.get("started")
        return RunState(
            running,
            record.get("stage"),
            now - stage_started if running and stage_started else None,
            (now if running else record.get("ended") or now) - started if started else None,
            tuple(record.get("done") or ()),
            record.get("failed"),
            record.get("failing_line"),
            None if running else status,
            tuple(record.get("command") or ()),
            cancelling=self._cancels > 0 or bool(record.get("cancelled")),
        )

    def cancel(self) -> None:
        """Interrupt the run's process group; asked again, terminate it; a third time, kill it."""
        record = self._record()
        fresh = self._process is not None and self._process.poll() is None
        group = (
            self._process.pid
            if fresh and self._process
            else record.get("pid")
            if self._alive(record)
            else None
        )
        if group is None:
            return
        steps = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, steps[min(self._cancels, 2)])
        self._cancels += 1

    def log(self, offset: int = 0) -> tuple[str, int]:
        """Text of the present or last log from ``offset`` on, and the offset behind it."""
        path = self._record().get("log")
        try:
            with open(path or os.devnull, "rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                handle.seek(offset if offset <= size else 0)
                data = handle.read()
                return data.decode(errors="replace"), handle.tell()
        except OSError:
            return "", 0

    def log_path(self) -> str | None:
        """File of the present or last log."""
        return self._record().get("log")

    def holders(self) -> list[Holder]:
        """Processes that hold DVC's locks and do not belong to our run."""
        record = self._record()
        group = int(record["pid"]) if record.get("pid") and self._alive(record) else None
        return [h for h in lock_holders(self.root) if _group(h.pid) != group or group is None]

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Past executions per stage, oldest first: started, seconds, ok."""
        result: dict[str, list[dict[str, Any]]] = {}
        try:
            lines = (self.folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return result
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                entry = json.loads(line)
                result.setdefault(entry["stage"], []).append(entry)
        return result

    def _record(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "current.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _alive(self, record: dict[str, Any]) -> bool:
        pid = record.get("pid")
        if not isinstance(pid, int) or not process_alive(pid):
            return False
        then = record.get("start_time")
        return then is None or start_time(pid) == then


def repro_command(root: Path, scope: Scope, target: str | None, force: bool) -> list[str]:
    """The command line of a run; a whole run goes through `petriscope reproduce`, which also sees
    to the data."""
    if scope == "all" and (root / "params.yaml").is_file():
        command = [sys.executable, "-m", "petriscope", "reproduce", "--workspace", os.fspath(root)]
        return [*command, *(["--force"] if force else [])]
    command = [sys.executable, "-m", "dvc", "repro"]
    if scope == "one":
        command.append("--single-item")
    elif scope == "downstream":
        command.append("--downstream")
    if force:
        command += ["--force", "--no-run-cache"]
    return [*command, *([target] if target and scope != "all" else [])]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
