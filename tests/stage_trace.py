"""What a stage really does while it runs: files opened and written (as the kernel saw it, whoever
opened them), parameters read. For the contract test."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import struct
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from petriscope.run import params as params_module
from petriscope.run import stage as runner
from petriscope.run.params import Params
from petriscope.run.stage import run_all
from petriscope.run.workspace import Workspace

IN_OPEN, IN_ISDIR, IN_OVERFLOW = 0x20, 0x40000000, 0x4000
UNWATCHED = (".dvc", "code", "results/cache")
"""Folders of a workspace that are no stage's business: DVC's own, the sources, scratch."""


class Trace(NamedTuple):
    """One stage's run; paths relative to the workspace."""

    opened: frozenset[str]
    """files that were there before the stage began, and folders whose content it listed"""
    written: frozenset[str]
    params: frozenset[str]
    """dotted leaves of params.yaml"""


def fields_of(kind: type, prefix: str = "") -> Iterator[tuple[type, str, dict[str, Any]]]:
    """(class, dotted prefix, its fields' types) of Params and of every section below it."""
    hints = typing.get_type_hints(kind)
    yield kind, prefix, hints
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from fields_of(typing.cast(type, hint), f"{prefix}{name}.")


class Watch:
    """Paths below a folder that any process opens, by inotify: Python's own events miss what
    pyarrow, safetensors, HTSlib and child programs open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.before = files_below(root)

    def __enter__(self) -> Watch:
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        self.places = {}
        folders = [self.root, *(p for p in self.root.rglob("*") if p.is_dir())]
        for folder in folders:
            if watched(folder.relative_to(self.root)):
                number = self.libc.inotify_add_watch(self.fd, os.fsencode(folder), IN_OPEN)
                assert number >= 0, os.strerror(ctypes.get_errno())
                self.places[number] = folder.relative_to(self.root)
        with contextlib.suppress(BlockingIOError):  # what setting the watches itself opened
            while os.read(self.fd, 1 << 20):
                pass
        return self

    def __exit__(self, *error: object) -> None:
        self.opened: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 1 << 20):
                self._take(data)
        os.close(self.fd)
        after = files_below(self.root)
        self.written = {path for path, stamp in after.items() if self.before.get(path) != stamp}

    def _take(self, data: bytes) -> None:
        while data:
            number, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            data = data[16 + length :]
            assert not mask & IN_OVERFLOW, "more files were opened than the kernel remembers"
            path = (self.places[number] / name).as_posix()
            if path in self.before or (mask & IN_ISDIR and Path(path) in self.places.values()):
                self.opened.add(path)


def watched(path: Path) -> bool:
    return not any(path.as_posix() == one or path.is_relative_to(one) for one in UNWATCHED)


def files_below(root: Path) -> dict[str, tuple[int, int]]:
    """Relative path → (inode, time of change) of every file that a stage might read or write."""
    found = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and watched(relative):
            found[relative.as_posix()] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


class Reads:
    """Leaves of params.yaml read while it listens, in this process and in those it forks."""

    def __init__(self, patch: pytest.MonkeyPatch, record: Path, params: type) -> None:
        self.record, self.listening, self.seen = record, False, set[str]()
        self.fd = os.open(record, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for kind, prefix, hints in fields_of(params):
            leaves = {name for name, hint in hints.items() if not dataclasses.is_dataclass(hint)}
            patch.setattr(kind, "__getattribute__", self._reader(prefix, leaves), raising=False)
        # checking a file's values is no reading, nor is the stamp a figure carries
        patch.setattr(params_module, "parse_params", self._deaf(params_module.parse_params))
        patch.setattr(Params, "digest", self._deaf(Params.digest))

    def _reader(self, prefix: str, leaves: set[str]) -> Any:
        def read(instance: Any, name: str) -> Any:
            if self.listening and name in leaves and f"{prefix}{name}" not in self.seen:
                self.seen.add(f"{prefix}{name}")
                os.write(self.fd, f"{prefix}{name}\n".encode())
            return object.__getattribute__(instance, name)

        return read

    def _deaf(self, function: Any) -> Any:
        def quietly(*given: Any, **named: Any) -> Any:
            before, self.listening = self.listening, False
            try:
                return function(*given, **named)
            finally:
                self.listening = before

        return quietly

    def start(self) -> None:
        os.truncate(self.record, 0)
        self.seen.clear()
        self.listening = True

    def stop(self) -> frozenset[str]:
        self.listening = False
        return frozenset(self.record.read_text().split())


def traced_run(workspace: Workspace, scratch: Path) -> dict[str, Trace]:
    """Run every stage of the workspace; what each did, between taking its inputs' hashes and
    writing its record."""
    traces: dict[str, Trace] = {}
    with pytest.MonkeyPatch.context() as patch:
        reads = Reads(patch, scratch / "params_read", workspace.study.params)

        class Recorder(runner.Recorder):
            """The runner's, with the trace between its two halves."""

            def __init__(self, name: str, workspace: Workspace, params: Params) -> None:
                super().__init__(name, workspace, params)
                self.watch = Watch(workspace.root).__enter__()
                reads.start()

            def write(self, seconds: float) -> None:
                params = reads.stop()
                self.watch.__exit__()
                super().write(seconds)
                own = self.workspace.provenance(self.stage.name).relative_to(self.workspace.root)
                written = frozenset(self.watch.written | {own.as_posix()})
                opened = frozenset(self.watch.opened)
                traces[self.stage.name] = Trace(opened, written, params)

        patch.setattr(runner, "Recorder", Recorder)
        run_all(workspace)
        os.close(reads.fd)
    return traces
