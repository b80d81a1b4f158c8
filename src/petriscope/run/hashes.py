"""MD5 sums as DVC takes them, of files and folders, remembered by inode, time and size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from petriscope.run.locks import dvc_folder, state_folder

CHUNK = 1 << 20
MEMORY = "hashes.json"
"""in the workspace's state folder"""


class Hasher:
    """DVC's hashes of paths in one workspace; one thread uses it. ``stop`` ends a long sum early
    (raises Stopped); ``known`` are sums from an earlier hasher (default: those on disk)."""

    def __init__(
        self,
        root: Path,
        stop: Callable[[], bool] = lambda: False,
        known: dict[str, list[int | str]] | None = None,
    ) -> None:
        self.root, self.stop = root, stop
        self._top = dvc_folder(root).parent
        self.known: dict[str, list[int | str]] = _remembered(root) if known is None else dict(known)
        self._ignore = _ignore_rules(self._top)

    def path(self, relative: str) -> str | None:
        """MD5 of a file, ``<md5>.dir`` of a folder, None where there is nothing."""
        path = self.root / relative
        try:
            if path.is_dir():
                return self._folder(path)
            return self._file(path)
        except FileNotFoundError:
            return None

    def _folder(self, path: Path) -> str:
        entries = [
            {"md5": self._file(p), "relpath": p.relative_to(path).as_posix()}
            for p in self._walk(path)
        ]
        entries.sort(key=lambda e: e["relpath"])
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"

    def _walk(self, path: Path) -> Iterator[Path]:
        for folder, names, files in os.walk(path, followlinks=True):
            base = Path(folder)
            names[:] = [
                n
                for n in names
                if n not in (".dvc", ".git", ".hg") and not self._ignored(base / n, True)
            ]
            yield from (base / name for name in files if not self._ignored(base / name, False))

    def _ignored(self, path: Path, folder: bool) -> bool:
        return self._ignore(os.path.relpath(path, self._top) + ("/" if folder else ""))

    def _file(self, path: Path) -> str:
        status = path.stat()
        key = (
            path.relative_to(self.root).as_posix()
            if path.is_relative_to(self.root)
            else os.fspath(path)
        )
        stamp = [status.st_ino, status.st_mtime_ns, status.st_size]
        known = self.known.get(key)
        if known is None or known[:3] != stamp:
            digest = hashlib.md5()
            with path.open("rb") as handle:
                while chunk := handle.read(CHUNK):
                    if self.stop():
                        raise Stopped
                    digest.update(chunk)
            known = self.known[key] = [*stamp, digest.hexdigest()]
        return str(known[3])

    def remember(self) -> None:
        """Keep the sums for the next program, if the workspace has a .dvc folder that can be
        written."""
        path = state_folder(self.root) / MEMORY
        with contextlib.suppress(OSError):
            if dvc_folder(self.root).is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}.part")
                temporary.write_text(json.dumps(self.known))
                os.replace(temporary, path)


def _remembered(root: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads((state_folder(root) / MEMORY).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class Stopped(Exception):
    """The sum was abandoned because nobody waits for it any more."""


def _ignore_rules(root: Path) -> Callable[[str], bool]:
    """Whether ``root/.dvcignore`` excludes a relative path (folders end in a slash)."""
    try:
        lines = (root / ".dvcignore").read_text().splitlines()
    except OSError:
        return lambda path: False
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines).match_file
