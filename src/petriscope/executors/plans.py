"""A plan is a file that says what the tasks of one call of `fan_out` are; beside it lie a done file
per finished item, a failed or progress file per other, and the logs.

A file is one line of JSON, which anybody can read, and after it a pickle. What is done is what has
a done file with the right hash; no engine is asked.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import re
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from petriscope.errors import UserError, disk_is_full
from petriscope.executors import Executor, Resources
from petriscope.executors.config import Settings
from petriscope.executors.state import read_head, reporting
from petriscope.files import atomic_path, read_json, write_json
from petriscope.machine import cpu_model, processor, source_digest

LARGEST = 1 << 20
"""bytes of an item or a result"""
NOTES = "notes.json"
"""of a stage: who ran its tasks, for the provenance record"""


@dataclass(frozen=True)
class Plan:
    """What is to be done, and where its files lie."""

    folder: Path
    name: str
    """of the call, which begins the key of each of its items"""
    what: str
    body: Any
    context: Any
    items: tuple[Any, ...]
    keys: tuple[str, ...]
    hashes: tuple[str, ...]
    resources: Resources
    settings: Settings
    engine: str
    source: str

    @property
    def file(self) -> Path:
        """The plan itself."""
        return self.folder / f"{self.name}.plan"

    @property
    def state(self) -> Path:
        """What its driver says of it."""
        return self.file.with_suffix(".state")

    @property
    def digest(self) -> str:
        """Names this plan among those of the same call."""
        return hashlib.sha256("".join(self.hashes).encode()).hexdigest()[:16]

    def path(self, place: int, kind: str) -> Path:
        """A file of one item: `done`, `failed`, `progress` or `log`."""
        return self.folder / f"{self.keys[place]}.{kind}"

    def save(self) -> None:
        """Write the plan, and the token by which a node knows that it sees the same folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        head = {"source": self.source, "version": version("petriscope"), "digest": self.digest}
        write_headed(self.file, head, self)
        _write(self.file.with_suffix(".token"), {"digest": self.digest}, b"")

    def begin(self, left: Sequence[int]) -> None:
        """Remove what an earlier run left of the items that are to be done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in left:
            for kind in ("done", "failed", "progress"):
                self.path(place, kind).unlink(missing_ok=True)
        self.tell()

    def tell(self, **more: Any) -> None:
        """Write the state file, which `petriscope status` reads."""
        state = {"what": self.what, "engine": self.engine, "total": len(self.items)}
        state |= {"digest": self.digest, "host": socket.gethostname(), "pid": os.getpid()}
        _write(self.state, {"lost": 0, "retried": 0, **state, **more}, b"")

    def is_done(self, place: int) -> bool:
        """Whether an item has been run with the same inputs."""
        return read_head(self.path(place, "done")).get("hash") == self.hashes[place]

    def result(self, place: int) -> Any:
        """What the body returned for an item."""
        return read_headed(self.path(place, "done"))[1]

    def failure(self, place: int) -> dict[str, Any]:
        """What kept an item from being done; empty where nothing was said."""
        return read_head(self.path(place, "failed"))

    def progress(self, place: int) -> dict[str, Any]:
        """What a running item said last."""
        return read_head(self.path(place, "progress"))

    def run(self, place: int) -> None:
        """Run one item here, and leave its done file."""
        begun = time.time()
        with reporting(self.path(place, "progress"), who()):
            result = self.body(self.context, self.items[place])
        data = _small(result, f"the result of {self.keys[place]}")
        head = {**who(), "key": self.keys[place], "hash": self.hashes[place]}
        head |= {"seconds": round(time.time() - begun, 3), "engine": self.engine}
        _write(self.path(place, "done"), head, data)
        self.path(place, "progress").unlink(missing_ok=True)

    def try_run(self, place: int) -> None:
        """Run one item as a task; what it raised is left as its failed file."""
        try:
            self.run(place)
        except Exception as error:
            fail(self, place, error)

    def note(self, **more: Any) -> None:
        """Add to the stage's notes who ran the items of this plan."""
        path, notes = self.folder / NOTES, notes_in(self.folder)
        known = notes.get(self.name, {"lost": 0, "retried": 0})
        tasks = [read_head(self.path(place, "done")) for place in range(len(self.items))]
        shown = ("key", "host", "cpu", "seconds", "engine")
        known["tasks"] = [{name: task.get(name) for name in shown} for task in tasks]
        write_json(path, {**notes, self.name: {**known, **more}})


def notes_in(folder: Path | None) -> dict[str, Any]:
    """Call → lost, retried, and who ran each task; empty where none was."""
    path = None if folder is None else folder / NOTES
    return dict(read_json(path)) if path is not None and path.is_file() else {}


def make(
    executor: Executor,
    body: Any,
    context: Any,
    items: Sequence[Any],
    what: str,
    resources: Resources,
) -> Plan:
    """The plan of one call. Raises `UserError` for an item of more than 1 MB."""
    assert executor.folder is not None
    source, name = source_digest(), slug(what)
    labels = [_label(item, place) for place, item in enumerate(items)]
    pickled = pickle.dumps(context)
    content = [_small(item, f"item {name}.{label}") for item, label in zip(items, labels)]
    if multiprocessing.parent_process() is not None:  # another worker may make a call of this name
        name += f"-{hashlib.sha256(pickled + b''.join(content)).hexdigest()[:6]}"
    call = [executor.inputs, source, f"{body.__module__}.{body.__qualname__}"]
    start = hashlib.sha256(json.dumps(call).encode() + pickled)
    keys, hashes = [], []
    for place, label in enumerate(labels):
        key = f"{name}.{label}"
        keys.append(key if key not in keys else f"{key}-{place}")
        digest = start.copy()
        digest.update(content[place])
        hashes.append(digest.hexdigest())
    return Plan(
        executor.folder, name, what, body, context, tuple(items), tuple(keys), tuple(hashes),
        resources, executor.settings, executor.name, source,
    )  # fmt: skip


def _label(item: Any, place: int) -> str:
    """An item by its name, by itself where it is a word or a number, else by its place."""
    own = getattr(item, "name", None) or (item if isinstance(item, (str, int)) else place)
    return slug(str(own))


def load(path: Path) -> Plan:
    """The plan in a file, on the node that is to carry it out.

    Raises `UserError` where the node does not see the folder, or has another version of the
    program.
    """
    where, remedy = socket.gethostname(), "Use a folder that every node sees under one path."
    head, token = read_head(path), read_head(path.with_suffix(".token"))
    if not head or token.get("digest") != head["digest"]:
        raise UserError(f"cannot be read on {where}", file=path, remedy=remedy)
    mine = source_digest()
    if head["source"] != mine:
        what = (
            f"was planned by version {head['version']} ({head['source'][:10]}), while {where} has "
            f"{version('petriscope')} ({mine[:10]})"
        )
        raise UserError(what, file=path, remedy="Install the same version on every node.")
    found: Plan = read_headed(path)[1]
    return found


def fail(plan: Plan, place: int, error: Exception) -> None:
    """Leave an item's failed file."""
    full, text = disk_is_full(error), str(error)
    if full:
        where = getattr(error, "filename", None) or plan.keys[place]
        text = f"{where}: the disk or quota is full. Free some space and start again"
    elif not isinstance(error, UserError):
        text = "".join(traceback.format_exception(error))
        print(text, flush=True)
    head = {**who(), "user": full or isinstance(error, UserError), "text": text}
    _write(plan.path(place, "failed"), head, b"")


def who() -> dict[str, Any]:
    """This process: host, kind of processor (as torch uses it, where it is in use), number."""
    cpu = cpu_model() if "torch" in sys.modules else processor()
    return {"host": socket.gethostname(), "cpu": cpu, "pid": os.getpid()}


def slug(text: str) -> str:
    """``text`` as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:80] or "item"


def write_headed(path: Path, head: dict[str, Any], content: Any) -> None:
    """Write a line of JSON and a pickle."""
    _write(path, head, pickle.dumps(content))


def _write(path: Path, head: dict[str, Any], data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + data)


def read_headed(path: Path) -> tuple[dict[str, Any], Any]:
    """The line of JSON, and what was pickled after it."""
    head, _, data = path.read_bytes().partition(b"\n")
    return json.loads(head), pickle.loads(data)


def _small(value: Any, what: str) -> bytes:
    data = pickle.dumps(value)
    if len(data) > LARGEST:
        size = f"has {len(data) / 1e6:.1f} MB, of 1 MB at most"
        raise UserError(size, field=what, remedy="Write it to a file and give its path.")
    return data
