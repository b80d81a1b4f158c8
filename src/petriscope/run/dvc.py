"""What DVC keeps of a workspace is read here without DVC: who holds its locks, the MD5 sums it
takes of files and folders, and the copies of outputs in its cache.

Locks are read from files and from the kernel, never by taking them. Sums are remembered by inode,
time and size. DVC names a copy by its MD5 and makes it read-only; a read-only one it hands out
unread, so that a damaged copy would become a stage's result, and everything below it would be
computed from that, without a word.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope.errors import UserError


@dataclass(frozen=True)
class Holder:
    """A process named in DVC's lock files; a dead one left a stale lock behind."""

    pid: int
    command: str
    alive: bool


def dvc_folder(root: Path) -> Path:
    """DVC's folder for a workspace: its own, or that of the repository it lies in."""
    for folder in (root, *root.parents):
        if (folder / ".dvc").is_dir():
            return folder / ".dvc"
    return root / ".dvc"


def state_folder(root: Path) -> Path:
    """Where a workspace's runs, their logs and the remembered sums lie: in DVC's folder, since
    another of that name would make the workspace a repository of its own."""
    dvc = dvc_folder(root)
    inner = Path(os.path.relpath(root, dvc.parent))
    return dvc / "tmp" / "petriscope" / inner


def lock_holders(root: Path) -> list[Holder]:
    """Processes that hold the repository's lock or read-write lock."""
    folder = dvc_folder(root) / "tmp"
    commands: dict[int, str] = {}
    for item in _rwlock(folder / "rwlock"):
        if isinstance(item, dict) and isinstance(item.get("pid"), int):
            commands[item["pid"]] = str(item.get("cmd") or "dvc")
    for pid in _kernel_locks(folder / "lock"):
        commands.setdefault(pid, _command(pid) or "dvc")
    return [Holder(pid, command, process_alive(pid)) for pid, command in sorted(commands.items())]


def process_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except (OSError, IndexError):
        return True


def start_time(pid: int) -> str | None:
    """The kernel's start time of a process: with the pid, it names the process for good (numbers
    are used again)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _rwlock(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return []
    items: list[Any] = []
    for entry in content.values() if isinstance(content, dict) else []:
        for value in entry.values() if isinstance(entry, dict) else []:
            items += value if isinstance(value, list) else [value]
    return items


def _kernel_locks(path: Path) -> list[int]:
    """Process ids that the kernel lists as holding a lock on ``path`` (Linux)."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        if (
            "->" not in fields
            and len(fields) > 5
            and fields[5].rpartition(":")[2] == str(inode)
            and int(fields[4]) > 0
        ):
            found.append(int(fields[4]))
    return found


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except OSError:
        return ""


CHUNK = 1 << 20
SUMS = "hashes.json"
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
        path = state_folder(self.root) / SUMS
        with contextlib.suppress(OSError):
            if dvc_folder(self.root).is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}.part")
                temporary.write_text(json.dumps(self.known), encoding="utf-8")
                os.replace(temporary, path)


def _remembered(root: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads((state_folder(root) / SUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class Stopped(Exception):
    """The sum was abandoned because nobody waits for it any more."""


def _ignore_rules(root: Path) -> Callable[[str], bool]:
    """Whether ``root/.dvcignore`` excludes a relative path (folders end in a slash)."""
    try:
        lines = (root / ".dvcignore").read_text(encoding="utf-8").splitlines()
    except OSError:
        return lambda path: False
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines).match_file


_COPY = re.compile(r"[0-9a-f]{30}(\.dir)?")


def cache_folder(root: Path) -> Path:
    """Where the workspace keeps its copies: `.dvc/cache`, or what its configuration names."""
    folder = dvc_folder(root)
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read([folder / "config", folder / "config.local"])
    except configparser.Error:
        return folder / "cache"
    return folder / config.get("cache", "dir", fallback="cache").strip("\"'")


def damaged_copies(root: Path, hasher: Hasher | None = None) -> list[Path]:
    """Copies whose bytes are not those of their name. Without ``hasher`` a file is read again only
    where it changed."""
    remembering = hasher is None
    hasher = hasher or Hasher(root)
    files = sorted(
        p for p in (cache_folder(root) / "files" / "md5").glob("??/*") if _COPY.fullmatch(p.name)
    )
    wrong = [p for p in files if hasher.path(str(p)) != p.parent.name + p.name.removesuffix(".dir")]
    if remembering:
        hasher.remember()
    return wrong


def require_sound_cache(root: Path) -> None:
    """Raise UserError, before anything is restored from it, where the cache holds other bytes than
    it promises."""
    wrong = damaged_copies(root)
    if wrong:
        more = (
            f" (and {len(wrong) - 1} more, listed by `petriscope verify --results`)"
            if len(wrong) > 1
            else ""
        )
        raise UserError(
            f"was changed after DVC cached it{more}: it is no result of any stage",
            file=wrong[0],
            remedy="Remove it and run the same command again: what it held is computed anew, or "
            "comes with `dvc pull`.",
        )
