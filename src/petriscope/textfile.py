"""A user's text is opened here: UTF-8 whatever the locale says, plain or compressed by its first
bytes. This module loads nothing heavy."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

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
        loader = _AsWritten(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"not valid YAML ({error})",
            file=path,
            remedy="Write each line as `key: value`, each key once.",
        ) from None


def read_text(path: str | Path) -> str:
    """The text in ``path``. Raises `UserError` where it is not UTF-8, OSError where it cannot be
    read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"is not UTF-8 text (byte {error.start})", file=path, remedy="Save it as UTF-8."
        ) from None
