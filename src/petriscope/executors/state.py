"""What finished, running and waiting tasks left on disk is read without numpy: by their driver, and
by `petriscope status` in another terminal."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

EVERY = 5.0
"""seconds between two reports of one item"""
SHOWN = ("done", "running", "waiting", "lost", "retried")


def read_head(path: Path) -> dict[str, Any]:
    """The line of JSON that a file of a task begins with; empty where there is no whole file."""
    try:
        with path.open("rb") as handle:
            found = json.loads(handle.readline())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def call_state(path: Path) -> dict[str, Any]:
    """What a driver said of its call in a state file, with how many items are done, running and
    waiting as their files tell; ``slowest``: the running item that was silent longest, in words.
    Empty where the file is gone."""
    state = read_head(path)
    if not state:
        return {}
    folder, name = path.parent, path.stem
    running = {item.stem: read_head(item) for item in folder.glob(f"{name}.*.progress")}
    done = len(list(folder.glob(f"{name}.*.done")))
    silent = {key: said["time"] for key, said in running.items() if "time" in said}
    slowest = min(silent, key=lambda key: silent[key], default=None)
    told = ""
    if slowest is not None:
        said = running[slowest]
        share = f", {said['done'] / said['total']:.0%}" if said.get("total") else ""
        told = f"{slowest} on {said['host']}{share}, {time.time() - said['time']:.0f} s ago"
    waiting = max(0, state["total"] - done - len(running))
    return {**state, "done": done, "running": len(running), "waiting": waiting, "slowest": told}


def stage_states(folder: Path) -> Iterator[dict[str, Any]]:
    """The state of every call of a stage."""
    yield from filter(None, map(call_state, sorted(folder.glob("*.state"))))


class _Report:
    path: Path | None = None
    who: ClassVar[dict[str, Any]] = {}
    next = 0.0


@contextlib.contextmanager
def reporting(path: Path, who: dict[str, Any]) -> Iterator[None]:
    """Let what runs inside `report` into a file, which stays where it is killed."""
    _Report.path, _Report.who, _Report.next = path, who, 0.0
    report(0, 0)
    try:
        yield
    finally:
        _Report.path = None


def report(done: float, total: float) -> None:
    """Tell how far the running item is: what of it is safe on disk. Written at most every 5
    seconds; nothing happens outside a task."""
    path, now = _Report.path, time.monotonic()
    if path is None or now < _Report.next:
        return
    _Report.next = now + EVERY
    said = {**_Report.who, "done": done, "total": total, "time": time.time()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")
    os.replace(temporary, path)
