"""A process beside each run starts DVC, writes its log, notes when each stage starts and ends, and
records the exit status.

Runs in its own session, so that the run outlives the program that asked for it:
``python -m petriscope.run.supervisor ROOT LOG COMMAND...``
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.run.dvc import require_sound_cache, start_time, state_folder
from petriscope.run.snapshot import refresh_code

_RUNNING = re.compile(r"Running stage '(?:[^']*:)?([^':]+)'")
_FAILED = re.compile(r"ERROR: failed to reproduce '(?:[^']*:)?([^':]+)'")
_SKIPPED = re.compile(r"Stage '(?:[^']*:)?([^':]+)' (?:didn't change|is cached)")


class Record:
    """What is known of the run, kept in ``current.json``; finished stages go to
    ``history.jsonl``."""

    def __init__(self, folder: Path, log: Path, command: list[str]) -> None:
        self.folder = folder
        self.fields: dict[str, Any] = {
            "pid": os.getpid(),
            "start_time": start_time(os.getpid()),
            "started": time.time(),
            "command": command,
            "log": os.fspath(log),
            "stage": None,
            "stage_started": None,
            "done": [],
            "failed": None,
            "failing_line": None,
            "cancelled": False,
            "exit_status": None,
            "ended": None,
        }
        self.recent: list[str] = []
        self.save()

    def save(self) -> None:
        """Write the record whole."""
        temporary = self.folder / f"current.{os.getpid()}.part"
        temporary.write_text(json.dumps(self.fields), encoding="utf-8")
        os.replace(temporary, self.folder / "current.json")

    def line(self, text: str) -> None:
        """Take note of one line of DVC's output."""
        running, failed, skipped = (
            _RUNNING.search(text),
            _FAILED.search(text),
            _SKIPPED.search(text),
        )
        if running:
            self.close_stage(True)
            self.fields.update(stage=running[1], stage_started=time.time())
            self.save()
        elif failed:
            self.fields.update(failed=failed[1], failing_line=self._failing(text))
            self.close_stage(False)
        elif skipped:
            self.close_stage(True)
        elif text.startswith("ERROR:") and not self.fields["failing_line"]:
            self.fields["failing_line"] = text.removeprefix("ERROR: ")
            self.save()
        if text.strip() and not text.startswith("ERROR:"):
            self.recent = [*self.recent[-4:], text.strip()]

    def _failing(self, text: str) -> str:
        """The command's own last words, where it said any after it was started; DVC's otherwise."""
        own = [line for line in self.recent if not line.startswith((">", "Running stage"))]
        return own[-1] if own else text.removeprefix("ERROR: ")

    def close_stage(self, good: bool) -> None:
        """The running stage, if any, has ended."""
        name, started = self.fields["stage"], self.fields["stage_started"]
        if name is None:
            return
        entry = {"stage": name, "started": started, "seconds": time.time() - started, "ok": good}
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")
        if good:
            self.fields["done"].append(name)
        self.fields.update(stage=None, stage_started=None)
        self.save()

    def end(self, status: int) -> None:
        """The run is over."""
        self.close_stage(status == 0)
        self.fields.update(exit_status=status, ended=time.time())
        self.save()


def supervise(root: Path, log: Path, command: list[str]) -> int:
    """Run ``command`` in ``root`` to its end; interrupts reach the command (same process group),
    not this process."""
    record = Record(state_folder(root), log, command)
    try:
        refresh_code(root)
    except OSError as error:
        record.fields["failing_line"] = f"the snapshot of the code cannot be written: {error}"
        record.end(1)
        return 1
    try:
        require_sound_cache(root)
    except UserError as error:
        record.fields["failing_line"] = str(error)
        record.end(2)
        return 2
    child: subprocess.Popen[bytes] | None = None

    def interrupted(*_: object) -> None:
        record.fields["cancelled"] = True

    def terminated(*_: object) -> None:
        record.fields["cancelled"] = True
        if child is not None:
            child.terminate()

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, terminated)
    path = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "COLUMNS": "100",
    }
    with log.open("ab", buffering=0) as sink:
        child = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdout is not None
        rest = b""
        while chunk := os.read(child.stdout.fileno(), 65536):
            sink.write(chunk)
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                record.line(line.decode(errors="replace"))
        if rest:
            record.line(rest.decode(errors="replace"))
        status = child.wait()
    record.end(status)
    return status


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
