"""Files are written whole or not at all: every writer goes to a temporary name in the same folder,
then renames. What lies where a user said to write is replaced only if it is an earlier output of
the same kind."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.textfile import read_text


@dataclass(frozen=True)
class Output:
    """A kind of file or folder that a verb writes where the user says."""

    what: str
    """with its article: "a dictionary" """
    holds: tuple[str, ...] = ()
    """of a folder: patterns of all paths in it, the first of the file it cannot lack; empty for
    one file"""
    known: Callable[[Path], bool] = lambda path: True
    """of that file: whether this program wrote it"""

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.holds)

    def strangers(self, path: Path) -> list[str]:
        """What in the folder or file ``path`` no earlier output of this kind holds; empty where
        ``path`` may be replaced."""
        if not self.folder:
            return [] if self.known(path) else [path.name]
        inside = [item for item in sorted(path.rglob("*")) if not _full_folder(item)]
        names = [item.relative_to(path).as_posix() for item in inside]
        foreign = [n for n in names if not any(fnmatch.fnmatchcase(n, p) for p in self.holds)]
        mark = path / self.holds[0]
        if not foreign and names and not (mark.is_file() and self.known(mark)):
            foreign = names
        return foreign


def _full_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and any(path.iterdir())


def json_with(**entries: Any) -> Callable[[Path], bool]:
    """A check of `Output.known`: the file is JSON that has these entries (None: any value)."""

    def check(path: Path) -> bool:
        try:
            found = read_json(path)
        except UserError:
            return False
        return isinstance(found, dict) and all(
            key in found and value in (None, found[key]) for key, value in entries.items()
        )

    return check


def claim(
    out: str | Path, kind: Output, *, inputs: Sequence[str | Path] = (), field: str | None = None
) -> Path:
    """Where an output of ``kind`` goes if ``out`` was asked for: called before any work.

    ``inputs``: files and folders that are read, which stay. The path comes back with symbolic links
    followed, so that what a link points at is replaced, not the link.

    Raises
    ------
    UserError
        Where something of the user's would be lost, or nothing can be written.
    """
    path = Path(os.path.realpath(out))
    new = f"Name a new {'folder' if kind.folder else 'file'}."
    for given in inputs:
        source = Path(os.path.realpath(given))
        if path == source:
            raise UserError("is the input itself", file=out, field=field, remedy=new)
        if source.is_dir() and path.is_relative_to(source):
            what = f"lies inside the input {given}"
            raise UserError(what, file=out, field=field, remedy=f"Name a {new[11:-1]} outside it.")
        if kind.folder and source.is_relative_to(path):
            raise UserError(
                f"holds the input {given}, which would be lost", file=out, field=field, remedy=new
            )
    if kind.folder and Path(os.path.realpath(os.curdir)).is_relative_to(path):
        what = "is the current folder or holds it"
        raise UserError(what, file=out, field=field, remedy=new)
    _may_replace(path, kind, shown=out, field=field)
    _writable(path, shown=out, field=field)
    return path


def _may_replace(path: Path, kind: Output, *, shown: str | Path, field: str | None = None) -> None:
    """Raise `UserError` where ``path`` holds anything but an earlier output of ``kind``."""
    if not os.path.lexists(path):
        return
    new = f"Name a new {'folder' if kind.folder else 'file'}."
    if path.is_dir() != kind.folder:
        what = "is a file" if kind.folder else "is a folder"
        raise UserError(what, file=shown, field=field, remedy=new)
    foreign = kind.strangers(path)
    if foreign:
        listed = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        what = (
            f"holds other files than {kind.what}, which would be lost ({listed})"
            if kind.folder
            else f"exists and is not {kind.what}"
        )
        raise UserError(what, file=shown, field=field, remedy=new)
    if kind.folder and path.is_mount():
        raise UserError("is a mounted disk", file=shown, field=field, remedy=new)


def _writable(path: Path, *, shown: str | Path, field: str | None) -> None:
    """Raise `UserError` where the folder that ``path`` goes into cannot be written."""
    if len(os.fsencode(path.name)) > 200:
        raise UserError("is too long a name", file=shown, field=field, remedy="Name it shorter.")
    above = next(parent for parent in path.parents if os.path.lexists(parent))
    if not above.is_dir():
        what, remedy = f"cannot be written: {above} is no folder", "Name another place."
    elif not os.access(above, os.W_OK | os.X_OK):
        what, remedy = f"cannot be written: {above} is read-only", "Choose a writable folder."
    else:
        return
    raise UserError(what, file=shown, field=field, remedy=remedy)


def follow_umask(path: Path) -> None:
    """Give a file, or all in a folder, the permissions that a file made by `open` has: some
    libraries write theirs for the owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if item.is_symlink():
            continue
        mode = item.stat().st_mode
        wanted = (mode | (0o777 if item.is_dir() else 0o666)) & ~mask
        if wanted != mode:
            item.chmod(wanted)


@contextmanager
def atomic_path(path: str | Path, kind: Output | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix): renamed into place on success, deleted
    on failure. With ``kind`` a file of the user's stays: `UserError`."""
    path = Path(os.path.realpath(path))
    if kind is not None:
        _may_replace(path, kind, shown=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        follow_umask(temporary)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, kind: Output | None = None) -> Iterator[Path]:
    """Yield a fresh temporary folder that replaces ``path`` on success; an earlier ``path`` stays
    intact on failure.

    ``kind``: what ``path`` may hold now, where a user names it; anything else stays and raises
    `UserError`. Without it ``path`` must be a folder of the workspace that no user writes into.
    """
    path = Path(os.path.realpath(path))
    if kind is not None:
        _may_replace(path, kind, shown=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        follow_umask(temporary)
        _swap(temporary, path, kind)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(fresh: Path, path: Path, kind: Output | None) -> None:
    """Put the folder ``fresh`` in place of ``path``; of two processes that do so at once, the later
    one stays. What came to lie there meanwhile and is not ``kind`` stays too."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    while True:
        shutil.rmtree(aside, ignore_errors=True)
        if path.is_file():
            raise UserError("is a file", file=path, remedy="Name a new folder.")
        if kind is not None:
            with suppress(FileNotFoundError):  # another process may be swapping it just now
                _may_replace(path, kind, shown=path)
        with suppress(FileNotFoundError):
            os.rename(path, aside)
        try:
            os.rename(fresh, path)
            break
        except OSError as error:  # another process was quicker between the two lines
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    shutil.rmtree(aside, ignore_errors=True)


def plain(value: Any) -> Any:
    """``value`` with numpy scalars and arrays as Python numbers and lists, NaN and infinities as
    None (strict JSON)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as sorted, indented, strict JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def read_json(path: str | Path) -> Any:
    """The JSON value in ``path``. Raises `UserError` where the file is damaged."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        what = f"is damaged: no JSON at line {error.lineno} ({error.msg})"
        raise UserError(what, file=path, remedy="Restore the file.") from None


def write_npy(path: str | Path, array: np.ndarray) -> None:
    """Write one array as .npy."""
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def write_parquet(path: str | Path, frame: pd.DataFrame) -> None:
    """Write one frame as Parquet (no index)."""
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write one frame as CSV with six significant digits: enough to check, stable across thread
    counts."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")


NAMES = ("biosample", "lineage", "context", "donor", "state", "term", "name", "motif")
"""Columns of our tables that hold what a user named, which may look like a number."""


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read what `write_csv` wrote: an empty cell is missing and nothing else is, since a state or a
    motif may be called NA."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(NAMES, str))


def sha256(path: str | Path) -> str:
    """SHA-256 of one file, or of a folder: the digest of its sorted (relative name, digest)
    list."""
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for item in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{item.relative_to(path).as_posix()}\0{sha256(item)}\n".encode())
    else:
        with path.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def combined(files: Mapping[str, str]) -> str:
    """One digest for a file or folder, as `sha256` gives it, from those of its files by relative
    name ("" for a single file)."""
    if set(files) == {""}:
        return files[""]
    lines = "".join(f"{name}\0{files[name]}\n" for name in sorted(files, key=Path))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_not_run(folder: str | Path, why: str) -> None:
    """Replace ``folder`` by one that holds no table, only not_run.txt with the reason."""
    with atomic_folder(folder) as temporary:
        (temporary / "not_run.txt").write_text(why + "\n", encoding="utf-8")
