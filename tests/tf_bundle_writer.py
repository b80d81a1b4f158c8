"""Writes a TensorFlow 2 object checkpoint byte by byte, to test readers on object graphs the
fixture does not have."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
DTYPES = {
    np.dtype("float32"): 1,
    np.dtype("float64"): 2,
    np.dtype("float16"): 19,
    np.dtype("uint16"): 14,
}
"""uint16 arrays are written as the bit patterns of bfloat16."""


def crc32c(data: bytes) -> int:
    """Bit by bit, from the definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def _entry(
    dtype: int, shape: Sequence[int], place: tuple[int, int], size: int, covered: bytes
) -> bytes:
    dims = b"".join(message(2, number(1, size)) for size in shape)
    where = number(3, place[0]) + number(4, place[1]) + number(5, size)
    return (
        number(1, dtype)
        + message(2, dims)
        + where
        + varint(6 << 3 | 5)
        + struct.pack("<I", mask(crc32c(covered)))
    )


def _block(items: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table block with prefix compression and one restart point."""
    out, last = b"", b""
    for key, value in items:
        shared = next(
            (i for i, (a, b) in enumerate(zip(last, key)) if a != b), min(len(last), len(key))
        )
        out += (
            varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        )
        last = key
    return out + struct.pack("<II", 0, 1)


def write_table(
    path: Path, items: Sequence[tuple[bytes, bytes]], per_block: int = 7, compression: int = 0
) -> None:
    """A LevelDB table of several blocks."""
    out, handles = b"", []

    def append(block: bytes) -> bytes:
        nonlocal out
        handle = varint(len(out)) + varint(len(block))
        kind = bytes([compression])
        out += block + kind + struct.pack("<I", mask(crc32c(block + kind)))
        return handle

    for start in range(0, len(items), per_block):
        part = items[start : start + per_block]
        handles.append((part[-1][0], append(_block(part))))
    meta = append(_block([]))
    index = append(_block(handles))
    footer = (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    path.write_bytes(out + footer)


def _graph(paths: Sequence[str], keys: Mapping[str, str], aliases: Mapping[str, str]) -> bytes:
    """TrackableObjectGraph of the tree of ``paths``; ``aliases`` renames the last name of a
    path."""
    nodes: list[dict[str, int]] = [{}]
    values: dict[int, str] = {}
    for path in paths:
        at = 0
        for name in aliases.get(path, path).split("/"):
            if name not in nodes[at]:
                nodes[at][name] = len(nodes)
                nodes.append({})
            at = nodes[at][name]
        values[at] = keys[path]
    out = b""
    for i, children in enumerate(nodes):
        node = b"".join(
            message(1, number(1, child) + message(2, name.encode()))
            for name, child in children.items()
        )
        if i in values:
            attribute = (
                message(1, b"VARIABLE_VALUE") + message(2, b"name") + message(3, values[i].encode())
            )
            node += message(2, attribute)
        out += message(1, node)
    return out


def write_checkpoint(
    prefix: Path,
    variables: Mapping[str, np.ndarray],
    *,
    opaque: bool = False,
    aliases: Mapping[str, str] | None = None,
    shards: int = 1,
    compression: int = 0,
) -> None:
    """Write ``variables`` by object path; ``opaque`` keys say nothing of it, tensors are dealt out
    to ``shards``."""
    keys = {path: f"v{i:04d}" if opaque else path + SUFFIX for i, path in enumerate(variables)}
    graph = _graph(list(variables), keys, aliases or {})
    files = [b""] * shards
    items = {b"": number(1, shards) + message(3, number(1, 1))}
    for i, (path, array) in enumerate(variables.items()):
        data, shard = np.ascontiguousarray(array).tobytes(), i % shards
        entry = _entry(
            DTYPES[array.dtype], array.shape, (shard, len(files[shard])), len(data), data
        )
        items[keys[path].encode()], files[shard] = entry, files[shard] + data
    length = struct.pack("<I", len(graph))
    check = struct.pack("<I", mask(crc32c(length)))
    data = varint(len(graph)) + check + graph
    # A string's checksum covers its length as four bytes instead of as it is stored.
    entry = _entry(7, (), (0, len(files[0])), len(data), length + check + graph)
    items[b"_CHECKPOINTABLE_OBJECT_GRAPH"] = entry
    files[0] += data
    write_table(Path(f"{prefix}.index"), sorted(items.items()), compression=compression)
    for i, content in enumerate(files):
        Path(f"{prefix}.data-{i:05d}-of-{shards:05d}").write_bytes(content)
