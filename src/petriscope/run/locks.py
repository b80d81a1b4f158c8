"""DVC's folder and who holds its locks: read from its files and from the kernel, never by taking
them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def start_time(pid: int) -> str | None:
    """The kernel's start time of a process: with the pid, it names the process for good (numbers
    are used again)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _rwlock(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text() or "{}")
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
        lines = Path("/proc/locks").read_text().splitlines()
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
