"""What finished, running and waiting tasks left on disk is read without numpy: by their driver, and
by `petriscope status` in another terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
