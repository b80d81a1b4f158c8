"""Columns of numbers and words become JSON texts in bulk: six significant digits, or as many more
as it takes that a page, which rounds once more, prints what the terminal UI prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import numpy as np

NULL = "null"
DIGITS, MORE = 6, 10
Texts = list[str]


def reals(values: Sequence[float | None] | np.ndarray) -> Texts:
    """JSON of real numbers; None, NaN and infinities are null."""
    x = np.array(values, dtype=np.float64)
    known = np.isfinite(x)
    if not known.any():
        return [NULL] * len(x)
    texts = _printed(x, DIGITS)
    for i in np.flatnonzero(~known).tolist():
        texts[i] = NULL
    doubtful = np.flatnonzero(known & _doubtful(x, DIGITS))
    doubtful = doubtful[np.array([float(texts[i]) for i in doubtful.tolist()]) != x[doubtful]]
    longer = _printed(x[doubtful], MORE)
    for i in np.flatnonzero(_doubtful(x[doubtful], MORE)).tolist():
        longer[i] = repr(float(x[doubtful[i]]))
    for i, text in zip(doubtful.tolist(), longer):
        texts[i] = text
    return texts


def _printed(x: np.ndarray, digits: int) -> Texts:
    return (f"%.{digits}g " * len(x) % tuple(x.tolist())).split()


def _doubtful(x: np.ndarray, digits: int) -> np.ndarray:
    """Whether rounding to ``digits`` and then to fewer may differ from rounding at once: the last
    digit that is not 0 is a 5, or the number lies beside a power of ten, where the form of print
    changes."""
    size = np.abs(x)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = np.floor(np.log10(size))
        power[~np.isfinite(power)] = 0
        whole = np.rint(size * _POWERS[_LARGEST + digits - 1 - power.astype(np.int64)])
    whole = np.where(np.isfinite(whole), whole, 0).astype(np.int64)
    return _ends()[whole] if digits == DIGITS else _ends_doubtfully(whole, digits)


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


_LARGEST = 340
with np.errstate(over="ignore", under="ignore"):
    _POWERS = 10.0 ** np.arange(-_LARGEST, _LARGEST + 1)
    """10 to the powers that a floating-point number has, and more."""


@cache
def _ends() -> np.ndarray:
    """`_ends_doubtfully` of every number of `DIGITS` digits: looked up, it takes no loop."""
    return _ends_doubtfully(np.arange(10**DIGITS + 1), DIGITS)


def whole(values: Sequence[int | None]) -> Texts:
    """JSON of integers."""
    return [NULL if value is None else str(value) for value in values]


def words(values: Sequence[str | None]) -> Texts:
    """JSON of words, each made once."""
    known = {value: NULL if value is None else quoted(value) for value in set(values)}
    return [known[value] for value in values]


def anything(values: Sequence[Any]) -> Texts:
    """JSON of a column of integers, reals or words, by what it holds."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int}:
        return whole(values)
    if kinds <= {int, float}:
        return [a if isinstance(v, float) or v is None else str(v)
                for a, v in zip(reals(values), values)]  # fmt: skip
    return words([None if value is None else str(value) for value in values])


MAKERS: dict[str, Callable[[Sequence[Any]], Texts]] = {
    "integer": anything,
    "real": reals,
    "text": words,
}
"""By `schema.Kind`; SQLite keeps a real in a column of integers."""


def objects(fields: dict[str, Texts], rows: int) -> Texts:
    """JSON objects, one a row, of columns of JSON."""
    inner = ",".join(f"{quoted(name)}:".replace("%", "%%") + "%s" for name in fields)
    template = f"{{{inner}}}"
    return [template % row for row in zip(*fields.values())] if fields else ["{}"] * rows


def tuples(columns: Sequence[Texts]) -> Texts:
    """JSON lists, one a row."""
    template = f"[{','.join(['%s'] * len(columns))}]"
    return [template % row for row in zip(*columns)]


def listed(texts: Sequence[str]) -> str:
    """JSON of a list of JSON."""
    return f"[{','.join(texts)}]"


def record(fields: dict[str, str]) -> str:
    """JSON object of named JSON."""
    return "{" + ",".join(f"{quoted(name)}:{text}" for name, text in fields.items()) + "}"
