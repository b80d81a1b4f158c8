"""CRC-32C (Castagnoli) in numpy, as TensorFlow's and LevelDB's files carry it: hundreds of MB a
second, no C extension.

A zero-initialized CRC is linear over GF(2) and blind to leading zeros, so many short lanes are
computed at once and joined in pairs by the matrix that stands for appending so many zero bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

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
