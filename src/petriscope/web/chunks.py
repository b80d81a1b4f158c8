"""A chunk is one file of the web atlas, ``data/NAME.js`` = ``P("NAME","<base64 of gzip>")``, which
a page can load both by `fetch` and, where a browser refuses that (on a disk), as a script.

It holds JSON, or the items of an array whose bytes are shuffled: all first bytes, all second ones
and so on, which compresses far better. The same values give the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from petriscope.errors import UserError

LEVEL = 6
"""Of compression: 9 takes three times as long for about one per cent."""
HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Of gzip, without a time and without the name of an operating system."""
PIECE = 384_000
"""Bytes of gzip in one file, which base64 makes 512,000: no host refuses that."""
AGAIN = "Export the atlas again."
_PLAIN = re.compile(r"[A-Za-z0-9_.-]")
_WHOLE = re.compile(rb'P\("([^"\\]*)","([A-Za-z0-9+/=]*)"(?:,(\d+))?\)\n?')


class Written(NamedTuple):
    """A file that was written."""

    path: str
    """in the folder of the atlas"""
    size: int
    sha256: str


def safe(name: str) -> str:
    """``name`` as a file may be called everywhere: other bytes than letters, digits, ``_.-`` and
    the ``/`` between folders become ``~`` and two hexadecimal digits (in step with chunk.ts)."""
    return "/".join(_safe_part(part) for part in name.split("/"))


def _safe_part(part: str) -> str:
    text = "".join(
        c if _PLAIN.fullmatch(c) else "".join(f"~{byte:02x}" for byte in c.encode("utf-8"))
        for c in part
    )
    return f"~2e{text[1:]}" if text.startswith(".") else text


def place(name: str, part: int = 0) -> str:
    """Path of a chunk, or of its further parts, in the folder of the atlas."""
    return f"data/{_part(name, part)}.js"


def _part(name: str, part: int) -> str:
    return f"{safe(name)}~p{part}" if part else safe(name)


def write(folder: Path, name: str, raw: bytes, level: int = LEVEL) -> list[Written]:
    """Write a chunk's bytes: one file, or as many as it takes that none is too large. The first
    says how many follow: ``P("NAME","...",2)``."""
    whole = packed(raw, level)
    pieces = [whole[i : i + PIECE] for i in range(0, len(whole), PIECE)]
    written = []
    for part, piece in enumerate(pieces):
        more = b",%d" % (len(pieces) - 1) if len(pieces) > 1 and not part else b""
        text = b'P("%s","%s"%s)\n' % (_part(name, part).encode(), base64.b64encode(piece), more)
        path = folder / place(name, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        digest = hashlib.sha256(text).hexdigest()
        written.append(Written(place(name, part), len(text), digest))
    return written


def packed(raw: bytes, level: int = LEVEL) -> bytes:
    """``raw`` as gzip."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(raw) + deflate.flush()
    return HEADER + body + struct.pack("<II", zlib.crc32(raw), len(raw) & 0xFFFFFFFF)


def write_json(folder: Path, name: str, value: Any, level: int = LEVEL) -> list[Written]:
    """Write a chunk of JSON (`as_json`)."""
    return write(folder, name, as_json(value), level)


def as_json(value: Any) -> bytes:
    """JSON of records, lists and contiguous arrays. Real numbers have the shortest decimals that
    give them back; those that are none are null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def stored_json(text: str) -> orjson.Fragment:
    """JSON that is stored as such, for `as_json`."""
    return orjson.Fragment(text.replace(" ", ""))


def write_items(folder: Path, name: str, items: np.ndarray) -> list[Written]:
    """Write a chunk of an array's items."""
    little = np.ascontiguousarray(items, items.dtype.newbyteorder("<"))
    shuffled = little.view(np.uint8).reshape(len(items), items.dtype.itemsize).T
    return write(folder, name, shuffled.tobytes())


def read(folder: Path, name: str) -> bytes:
    """The bytes of a chunk. Raises `UserError` where a file of it is missing or damaged."""
    text, more = _base64(folder, name, 0)
    pieces = [text, *(_base64(folder, name, part)[0] for part in range(1, more + 1))]
    try:
        whole = b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
        return zlib.decompress(whole, zlib.MAX_WBITS | 16)
    except (binascii.Error, zlib.error):
        path = folder / place(name)
        raise UserError("is damaged", file=path, remedy=AGAIN) from None


def _base64(folder: Path, name: str, part: int) -> tuple[bytes, int]:
    path = folder / place(name, part)
    if not path.is_file():
        raise UserError("is missing", file=path, remedy=AGAIN)
    found = _WHOLE.fullmatch(path.read_bytes())
    if not found or found[1].decode() != _part(name, part):
        raise UserError("is no chunk of this atlas", file=path, remedy=AGAIN)
    return found[2], int(found[3] or 0)


def read_json(folder: Path, name: str) -> Any:
    """The value of a chunk of JSON."""
    return json.loads(read(folder, name))


def read_items(folder: Path, name: str, kind: str) -> np.ndarray:
    """The items of a chunk; ``kind`` is numpy's: ``<f4``, ``<u2``, ``<i4``, ``u1``."""
    dtype = np.dtype(kind)
    shuffled = np.frombuffer(read(folder, name), np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(shuffled.T).view(dtype).ravel()
