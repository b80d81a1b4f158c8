"""TensorFlow's ``stateless_normal`` in numpy: Philox 4x32-10, scrambled seeds, Box-Muller in single
precision.

EpiBERT's random projections are drawn by it and stored in no checkpoint, so they are drawn again
here (Salmon et al. 2011 for Philox; the constants and the seed scrambling are TensorFlow's).
"""

from __future__ import annotations

import math

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten Philox rounds: ``counter`` (n, 4) uint32, ``key`` two 32-bit words; returns (n, 4)
    uint32."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def _words(value: int) -> tuple[int, int]:
    """Low and high 32 bits of a 64-bit seed word (negative seeds wrap as in two's complement)."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value & 0xFFFFFFFF, value >> 32


def stateless_normal(shape: tuple[int, ...], seed: tuple[int, int]) -> np.ndarray:
    """``tf.random.stateless_normal(shape, seed)`` as float32 on a CPU.

    The logarithm, sine and cosine are taken in double and rounded once, so values agree with
    TensorFlow's to the last bit of its single-precision library functions.
    """
    mixed = philox4x32(
        np.array([[*_words(seed[0]), *_words(seed[1])]], dtype=np.uint32), _SCRAMBLE_KEY
    )[0]
    size = math.prod(shape)
    groups = -(-size // 4)
    counter = np.empty((groups, 4), dtype=np.uint32)
    counter[:, 0] = np.arange(groups, dtype=np.uint64) & _LOW
    counter[:, 1] = np.arange(groups, dtype=np.uint64) >> _SHIFT
    counter[:, 2], counter[:, 3] = mixed[2], mixed[3]
    bits = philox4x32(counter, (int(mixed[0]), int(mixed[1])))
    # 23 random mantissa bits under the exponent of 1.0 give [1, 2).
    uniform = ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(
        1
    )
    first = np.maximum(uniform[:, 0::2], np.float32(1e-7))
    angle = (
        (2.0 * math.pi * uniform[:, 1::2].astype(np.float64)).astype(np.float32).astype(np.float64)
    )
    log = np.log(first.astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * log)
    normal = np.empty((groups, 4), dtype=np.float32)
    normal[:, 0::2] = np.sin(angle).astype(np.float32) * radius
    normal[:, 1::2] = np.cos(angle).astype(np.float32) * radius
    return normal.reshape(-1)[:size].reshape(shape)
