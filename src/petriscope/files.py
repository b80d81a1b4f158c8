"""Files are written whole or not at all: every writer goes to a temporary name in the same folder,
then renames. A user's text is opened here, plain or compressed, by its first bytes."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import yaml

from petriscope.errors import UserError

BGZF_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a file of bgzip, BAM included; without it the file was cut."""
FOREIGN = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""First bytes of containers that are not read."""
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged gzip stream raises."""


def is_gzip(path: str | Path) -> bool:
    """True where the file's first bytes are gzip's (bgzip included); its name does not matter."""
    with open(path, "rb") as handle:
        return handle.read(2) == GZIP


def is_bgzip(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (18 bytes) is in bgzip's blocks."""
    return len(head) >= 18 and head[:2] == GZIP and bool(head[3] & 4) and head[12:14] == b"BC"


def damaged(path: str | Path, error: Exception) -> UserError:
    """The error for a gzip stream that ends early or fails its checksum."""
    return UserError(
        f"gzip damaged or truncated ({error})", file=path, remedy="Fetch or write the file again."
    )


def ends_in_bgzf_mark(path: str | Path) -> bool:
    """True where the file ends in the empty block of bgzip."""
    with open(path, "rb") as handle:
        handle.seek(-min(len(BGZF_EOF), os.path.getsize(path)), os.SEEK_END)
        return handle.read() == BGZF_EOF


def open_bytes(path: str | Path) -> BinaryIO:
    """The bytes of a file, unpacked where its first bytes are gzip's, without a byte order mark.

    Raises `UserError` for a file that is not there, cannot be read, or is a bgzip file without its
    end. Reading on may raise one of `BROKEN`, which `damaged` puts into words.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(what, file=path, remedy="Correct the path or fetch the file.")
    try:
        with path.open("rb") as handle:
            head = handle.read(18)
        for magic, name in FOREIGN.items():
            if head.startswith(magic):
                raise UserError(
                    f"is {name}, which is not read", file=path, remedy="Unpack it, or use gzip."
                )
        if head[:2] != GZIP:
            opened: BinaryIO = path.open("rb")
        else:
            if is_bgzip(head) and not ends_in_bgzf_mark(path):
                raise UserError(
                    "is truncated (bgzip end marker missing)",
                    file=path,
                    remedy="Fetch or write the file again.",
                )
            opened = cast("BinaryIO", gzip.open(path, "rb"))  # noqa: SIM115 (the caller closes it)
        if opened.read(len(BOM)) != BOM:
            opened.seek(0)
        return opened
    except BROKEN as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror or error})", file=path, remedy="Give a readable file."
        ) from None


def open_text(path: str | Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line of a file in UTF-8, plain or gzip.

    Lines end in a line feed, with or without a carriage return, and in nothing else (U+2028 and
    U+0085, at which `str.splitlines` cuts, belong to a line). Raises `UserError` naming file and
    line.
    """
    number, again = 0, "Fetch or write the file again."
    with open_bytes(path) as handle:
        try:
            for number, raw in enumerate(handle, start=1):
                line = raw.removesuffix(b"\n").removesuffix(b"\r").decode()
                if "\x00" in line or "\r" in line:
                    what = "a zero byte" if "\x00" in line else "a lone carriage return"
                    raise UserError(
                        f"damaged or truncated, or not a text file (holds {what})",
                        file=path,
                        field=f"line {number}",
                        remedy=again,
                    )
                yield number, line
        except BROKEN as error:
            raise damaged(path, error) from None
        except UnicodeDecodeError as error:
            raise UserError(
                f"is not UTF-8 text (byte 0x{error.object[error.start]:02x}): damaged or "
                "truncated, or in another encoding",
                file=path,
                field=f"line {number}",
                remedy="Save it as UTF-8 (`iconv -f latin1 -t utf-8`), or fetch it again.",
            ) from None


def text_lines(path: str | Path) -> list[str]:
    """The lines of `open_text` at once."""
    return [line for _, line in open_text(path)]


class _AsWritten(yaml.SafeLoader):
    """Every scalar of a YAML file as the text that was written, but for null."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, each of whose keys occurs once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    problem = f"{key.value!r} is written twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _text(loader: _AsWritten, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _kind in ("int", "float", "bool", "timestamp", "binary"):
    _AsWritten.add_constructor(f"tag:yaml.org,2002:{_kind}", _text)


def read_yaml_text(path: str | Path) -> Any:
    """A user's YAML file with every scalar as text, as it was written: `0012`, `1e3`, `no` and
    `2020-01-01` are names there, not numbers, truth values or dates. Null is None; a key that is
    written twice is refused.

    Raises `UserError` for a file that is no YAML.
    """
    text = "\n".join(text_lines(path))
    try:
        return yaml.load(text, Loader=_AsWritten)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"not valid YAML ({error})",
            file=path,
            remedy="Write each line as `key: value`, each key once.",
        ) from None


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


def write_not_run(folder: str | Path, why: str) -> None:
    """Replace ``folder`` by one that holds no table, only not_run.txt with the reason."""
    with atomic_folder(folder) as temporary:
        (temporary / "not_run.txt").write_text(why + "\n")
