"""Numbers of an atlas with few digits: six significant ones, or as many more as it takes that a
page, which rounds once more, prints what the terminal UI prints."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

DIGITS, MORE = 6, 10
EXACT = 22
"""10 to powers up to this one are floating-point numbers without error."""
Column = Sequence[Any] | np.ndarray


def reals(values: Sequence[float | None] | np.ndarray) -> np.ndarray:
    """float64 (n,): the numbers whose shortest decimals have few digits; what is missing or
    infinite is NaN, which JSON has as null."""
    x = np.array(values, np.float64)
    x[~np.isfinite(x)] = np.nan
    found, doubt = _rounded(x, DIGITS)
    doubtful = np.flatnonzero(doubt & (found != x))
    if len(doubtful):
        exact = x[doubtful]
        longer, doubt = _rounded(exact, MORE)
        found[doubtful] = np.where(doubt, exact, longer)
    return found


def _rounded(x: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """``x`` to ``digits`` significant digits, and whether rounding that once more, to fewer, may
    differ from rounding ``x`` at once: the last digit that is not 0 is a 5, or the number lies
    beside a power of ten, where the form of print changes.

    A whole number below 2^53 times or over an exact power of ten is the floating-point number
    nearest to that decimal, which is therefore what it is printed as.
    """
    size = np.abs(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.floor(np.log10(size))
    power = np.where(np.isfinite(power), power, 0).astype(np.int64)
    places = digits - 1 - power
    far = np.flatnonzero(np.abs(places) > EXACT)
    places[far] = 0
    whole = np.rint(size * _POWERS[places])
    whole[~np.isfinite(whole)] = 0
    found = np.where(
        places >= 0, whole / _POWERS[np.maximum(places, 0)], whole * _POWERS[np.maximum(-places, 0)]
    )
    if len(far):
        texts = [f"{value:.{digits - 1}e}" for value in size[far].tolist()]
        found[far] = [float(text) for text in texts]
        whole[far] = [int(text[0] + text[2 : digits + 1]) for text in texts]
    whole = whole.astype(np.int64)
    doubt = _ends()[whole] if digits == DIGITS else _ends_doubtfully(whole, digits)
    doubt = doubt & (size > 0)
    return np.where(np.isnan(x), np.nan, np.copysign(found, x)), doubt


def _ends_doubtfully(whole: np.ndarray, digits: int) -> np.ndarray:
    doubt = (whole == 10**digits) | (whole == 10 ** (digits - 1))
    rows = np.arange(len(whole))
    for _ in range(digits):
        last = whole % 10
        doubt[rows[last == 5]] = True
        more = (last == 0) & (whole > 0)
        if not more.any():
            break
        rows, whole = rows[more], whole[more] // 10
    return doubt


_POWERS = np.array([*(10.0**k for k in range(EXACT + 1)), *(10.0**-k for k in range(EXACT, 0, -1))])
"""10 to the power k at place k, negative ones from the end."""


@cache
def _ends() -> np.ndarray:
    """`_ends_doubtfully` of every number of `DIGITS` digits: looked up, it takes no loop."""
    return _ends_doubtfully(np.arange(10**DIGITS + 1), DIGITS)


def anything(values: Sequence[Any]) -> Column:
    """A column of integers, of reals or of words, by what it holds."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int} or kinds <= {str}:
        return values
    if kinds <= {float}:
        return reals(values)
    if kinds <= {int, float}:
        few = reals(values).tolist()
        return [a if isinstance(value, float) else value for a, value in zip(few, values)]
    return [None if value is None else str(value) for value in values]
