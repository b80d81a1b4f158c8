"""TensorFlow's tensor bundle is read without TensorFlow: a sorted table of entries (``.index``) and
raw arrays (``.data-*``).

The table is LevelDB's: prefix-compressed keys in blocks, each with a masked CRC-32C (Castagnoli);
every tensor has one too. The sums are computed in numpy, hundreds of MB a second without a C
extension: a zero-initialized CRC is linear over GF(2) and blind to leading zeros, so many short
lanes are computed at once and joined in pairs by the matrix that stands for appending so many zero
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from petriscope.errors import UserError

_POLYNOMIAL = 0x82F63B78
_LANE = 64
"""Bytes per lane, a power of two."""
_SEGMENT = 1 << 22
"""Bytes handled at a time."""


@cache
def _byte_table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


@cache
def _word_tables() -> tuple[np.ndarray, np.ndarray]:
    """Effect of the low and the high half of a 32-bit word on the register after four bytes."""
    table = _byte_table()
    low = np.arange(1 << 16, dtype=np.uint32)
    high = low.copy()
    for _ in range(2):
        low = table[low & 0xFF] ^ (low >> 8)
        high = table[high & 0xFF] ^ (high >> 8)
    for _ in range(2):
        low = table[low & 0xFF] ^ (low >> 8)
    return low, high


def _apply(matrix: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A GF(2) operator, given as four tables (4, 256) of byte images, on uint32 values."""
    image = matrix[0][value & 0xFF]
    for i in range(1, 4):
        image = image ^ matrix[i][(value >> np.uint32(8 * i)) & 0xFF]
    return image


@cache
def _zeros(power: int) -> np.ndarray:
    """The operator of 2**power appended zero bytes, as four tables of byte images."""
    byte = np.arange(256, dtype=np.uint32)
    values = np.stack([byte << np.uint32(8 * i) for i in range(4)])
    if power == 0:
        return _byte_table()[values & 0xFF] ^ (values >> 8)
    half = _zeros(power - 1)
    return _apply(half, _apply(half, values))


def _append_zeros(crc: int, length: int) -> int:
    value, power = np.array([crc], dtype=np.uint32), 0
    while length:
        if length & 1:
            value = _apply(_zeros(power), value)
        length, power = length >> 1, power + 1
    return int(value[0])


def _segment(data: np.ndarray) -> int:
    """CRC of at most one segment of uint8 with a zero start."""
    lanes = 1 << max(-(-data.size // _LANE) - 1, 0).bit_length()
    padded = np.zeros(lanes * _LANE, dtype=np.uint8)
    padded[padded.size - data.size :] = data
    low, high = _word_tables()
    crc = np.zeros(lanes, dtype=np.uint32)
    for words in np.ascontiguousarray(padded.view("<u4").reshape(lanes, -1).T):
        mixed = crc ^ words
        crc = low[mixed & 0xFFFF] ^ high[mixed >> 16]
    power = _LANE.bit_length() - 1
    while crc.size > 1:
        crc = _apply(_zeros(power), crc[0::2]) ^ crc[1::2]
        power += 1
    return int(crc[0])


def crc32c(data: bytes | np.ndarray, crc: int = 0) -> int:
    """CRC-32C of ``data`` (bytes or uint8), continuing from ``crc`` of what went before."""
    array = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
    value = crc ^ 0xFFFFFFFF
    for start in range(0, array.size, _SEGMENT):
        part = array[start : start + _SEGMENT]
        value = _append_zeros(value, part.size) ^ _segment(part)
    return value ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The rotated and offset form in which LevelDB and TensorFlow store a CRC beside what it
    covers."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_ANEW = "Fetch the checkpoint again: .index and every .data file of it."
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    14: "bfloat16",
    19: "<f2",
}
_STRING = 7

Field = tuple[int, int | bytes]


@dataclass(frozen=True)
class Entry:
    """One tensor of the bundle: where it lies and what its bytes must add up to."""

    key: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    """Masked CRC-32C of the stored bytes."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The base-128 integer at ``at`` and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def proto_fields(data: bytes) -> Iterator[Field]:
    """Field numbers and values of one protobuf message: integers, or bytes for anything with a
    length."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = varint(data, at)
            if at + length > len(data):
                raise ValueError(f"field {number} ends beyond its message")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[at : at + length], "little")
            at += length
        else:
            raise ValueError(f"wire type {wire} of field {number}")


def as_int(value: int | bytes) -> int:
    """A protobuf integer field."""
    if isinstance(value, bytes):
        raise ValueError("a message stands where a number is expected")
    return value


def as_bytes(value: int | bytes) -> bytes:
    """A protobuf field with a length."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message is expected")
    return value


def _block(data: bytes, offset: int, size: int, file: Path) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table block at ``offset``, its checksum verified."""
    end = offset + size
    if end + 5 > len(data):
        raise UserError(
            f"is truncated: a block ends at byte {end + 5} of {len(data)}", file=file, remedy=_ANEW
        )
    (stored,) = struct.unpack_from("<I", data, end + 1)
    found = masked(crc32c(data[offset : end + 1]))
    if found != stored:
        raise UserError(
            f"is damaged: the block at byte {offset} has checksum {found:08x}, not the stored "
            f"{stored:08x}",
            file=file,
            remedy=_ANEW,
        )
    if data[end] != 0:
        raise UserError(
            f"holds a block of compression type {data[end]}",
            file=file,
            remedy="TensorFlow writes checkpoints uncompressed; save it again with "
            "tf.train.Checkpoint.",
        )
    block = data[offset:end]
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    at, stop, key = 0, size - 4 - 4 * restarts, b""
    while at < stop:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _shape(data: bytes) -> tuple[int, ...]:
    sizes = (
        dict(proto_fields(as_bytes(dim))).get(1, 0)
        for number, dim in proto_fields(data)
        if number == 2
    )
    return tuple(as_int(size) for size in sizes)


def _entry(key: str, data: bytes, file: Path) -> Entry:
    fields = dict(proto_fields(data))
    if 7 in fields:
        raise UserError(
            "is stored in slices", file=file, field=key, remedy="Save the checkpoint unpartitioned."
        )
    numbers = {number: as_int(value) for number, value in fields.items() if number != 2}
    dtype, shard, offset, size, checksum = (numbers.get(number, 0) for number in (1, 3, 4, 5, 6))
    return Entry(key, dtype, _shape(as_bytes(fields.get(2, b""))), shard, offset, size, checksum)


class TensorBundle:
    """A bundle opened by its prefix: its entries by key, their arrays read on demand and
    verified."""

    def __init__(self, prefix: str | Path) -> None:
        self.prefix = Path(prefix)
        self.index = Path(f"{prefix}.index")
        try:
            data = self.index.read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot be read ({error.strerror})", file=self.index, remedy="Give the prefix."
            ) from error
        try:
            header, self.entries = self._read(data)
        except (ValueError, IndexError, struct.error) as error:
            raise UserError(f"is damaged ({error})", file=self.index, remedy=_ANEW) from error
        self.shards = [Path(f"{prefix}.data-{i:05d}-of-{header:05d}") for i in range(header)]
        for shard in self.shards:
            if not shard.is_file():
                raise UserError("is missing beside the index", file=shard, remedy=_ANEW)

    def _read(self, data: bytes) -> tuple[int, dict[str, Entry]]:
        if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
            raise UserError(
                "is truncated or no checkpoint index (its last 8 bytes)",
                file=self.index,
                remedy=_ANEW,
            )
        footer = data[-_FOOTER:]
        unused, at = varint(footer, 0)
        length, at = varint(footer, at)
        offset, at = varint(footer, at)
        size, _ = varint(footer, at)
        # TensorFlow writes nothing there, but damage anywhere is damage.
        list(_block(data, unused, length, self.index))
        shards, entries = 1, {}
        for _, handle in _block(data, offset, size, self.index):
            start, at = varint(handle, 0)
            length, _ = varint(handle, at)
            for key, value in _block(data, start, length, self.index):
                if key:
                    entries[key.decode()] = _entry(key.decode(), value, self.index)
                else:
                    shards = self._header(value)
        return shards, entries

    def _header(self, data: bytes) -> int:
        fields = {number: value for number, value in proto_fields(data) if number in (1, 2)}
        if fields.get(2, 0):
            raise UserError(
                "is big-endian", file=self.index, remedy="Save it on a little-endian machine."
            )
        return as_int(fields.get(1, 1))

    def stored(self, key: str) -> np.ndarray:
        """The bytes of one entry as stored, uint8, checksum verified (not for strings: see
        ``string``)."""
        entry = self.entries[key]
        data = self._slice(entry)
        self._verify(entry, crc32c(data))
        return data

    def array(self, key: str) -> np.ndarray:
        """The numeric tensor ``key``; bfloat16 is widened to float32."""
        entry = self.entries[key]
        kind = _DTYPES.get(entry.dtype)
        if kind is None:
            raise UserError(
                f"has type number {entry.dtype}",
                file=self.prefix,
                field=key,
                remedy="Save it as a number.",
            )
        data = self.stored(key)
        width = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
        if data.size != width * int(np.prod(entry.shape, dtype=np.int64)):
            raise UserError(
                f"has {data.size} bytes, which is not shape {entry.shape} of {kind}",
                file=self.prefix,
                field=key,
                remedy=_ANEW,
            )
        if kind == "bfloat16":
            return (data.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
        return data.view(kind).reshape(entry.shape)

    def string(self, key: str) -> bytes:
        """The scalar string tensor ``key``: a length, its checksum, the bytes; verified."""
        entry = self.entries[key]
        data = self._slice(entry).tobytes()
        try:
            length, at = varint(data, 0)
        except IndexError:
            length, at = -1, 0
        if entry.dtype != _STRING or entry.shape or at + 4 + length != len(data):
            raise UserError("is not one string", file=self.prefix, field=key, remedy=_ANEW)
        total = crc32c(struct.pack("<I", length))
        if masked(total) != struct.unpack_from("<I", data, at)[0]:
            raise UserError(
                "is damaged: the checksum of its length is wrong",
                file=self.prefix,
                field=key,
                remedy=_ANEW,
            )
        self._verify(entry, crc32c(data[at:], total))
        return data[at + 4 :]

    def verify(self, key: str) -> None:
        """Read one entry and compare its checksum."""
        if self.entries[key].dtype == _STRING:
            self.string(key)
        else:
            self.stored(key)

    def _slice(self, entry: Entry) -> np.ndarray:
        if entry.shard >= len(self.shards):
            raise UserError(
                f"lies in file {entry.shard} of {len(self.shards)}",
                file=self.index,
                field=entry.key,
                remedy=_ANEW,
            )
        file = self.shards[entry.shard]
        data = np.fromfile(file, dtype=np.uint8, count=entry.size, offset=entry.offset)
        if data.size != entry.size:
            end, there = entry.offset + entry.size, file.stat().st_size
            raise UserError(
                f"ends at byte {end}, the file at {there}: truncated (stored checksum "
                f"{entry.checksum:08x})",
                file=file,
                field=entry.key,
                remedy=_ANEW,
            )
        return data

    def _verify(self, entry: Entry, crc: int) -> None:
        if masked(crc) != entry.checksum:
            raise UserError(
                f"is damaged: checksum {masked(crc):08x}, not the stored {entry.checksum:08x}",
                file=self.shards[entry.shard],
                field=entry.key,
                remedy=_ANEW,
            )
