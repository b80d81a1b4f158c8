"""Files are written whole or not at all: every writer goes to a temporary name in the same folder,
then renames."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix): renamed into place on success, deleted
    on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a fresh temporary folder that replaces ``path`` on success; an earlier ``path`` stays
    intact on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(fresh: Path, path: Path) -> None:
    """Put the folder ``fresh`` in place of ``path``; of two processes that do so at once, the later
    one stays."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    while True:
        shutil.rmtree(aside, ignore_errors=True)
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
            json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n"
        )


def read_json(path: str | Path) -> Any:
    """The JSON value in ``path``."""
    return json.loads(Path(path).read_text())


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


def write_not_run(folder: str | Path, why: str) -> None:
    """Replace ``folder`` by one that holds no table, only not_run.txt with the reason."""
    with atomic_folder(folder) as temporary:
        (temporary / "not_run.txt").write_text(why + "\n")
