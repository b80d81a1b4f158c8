"""SHA-256 of files and folders, remembered by inode, time and size so that gigabytes are read
once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from petriscope.files import sha256, write_json

MEMORY = Path("results") / "cache" / "digests.json"
COMPILED = "__pycache__"


class Digests:
    """Digests of paths below one workspace. ``remember=False`` reads every byte anew (to check, not
    to record)."""

    def __init__(self, root: Path, *, remember: bool = True) -> None:
        self.root, self.remember = root, remember
        self._known: dict[str, list[int | str]] = _load(root / MEMORY) if remember else {}

    def files(self, path: Path) -> dict[str, str]:
        """Digest of every file of a folder by relative name ("" for a single file); nothing there:
        empty."""
        if path.is_file():
            return {"": self._file(path)}
        found = sorted(p for p in path.rglob("*") if p.is_file() and COMPILED not in p.parts)
        return {item.relative_to(path).as_posix(): self._file(item) for item in found}

    def _file(self, path: Path) -> str:
        if not self.remember:
            return sha256(path)
        status = path.stat()
        stamp: list[int | str] = [status.st_ino, status.st_mtime_ns, status.st_size]
        known = self._known.get(str(path))
        if known is None or known[:3] != stamp:
            known = self._known[str(path)] = [*stamp, sha256(path)]
        return str(known[3])

    def save(self) -> None:
        """Keep the digests for the next stage; a folder that cannot be written costs time, nothing
        else."""
        if self.remember:
            with contextlib.suppress(OSError):
                write_json(self.root / MEMORY, self._known)


def combined(files: Mapping[str, str]) -> str:
    """One digest for a file or folder, as `petriscope.files.sha256` gives it, from those of its
    files."""
    if set(files) == {""}:
        return files[""]
    lines = "".join(f"{name}\0{files[name]}\n" for name in sorted(files, key=Path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _load(path: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
