"""Values of an atlas are printed with sensible digits and in plain words, missing ones as a dot
(standard library only: the terminal and the web page print the same)."""

from __future__ import annotations

import math
from typing import Any


def show(value: Any, form: str, none: str = "·") -> str:
    """``value`` in one of the atlas's formats (count, number, signed, p, share, flag, text, id),
    or percent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return none
    if form == "count":
        return f"{int(value):,}"
    if form == "share":
        return share(float(value))
    if form == "percent":
        return percent(float(value))
    if form == "p":
        return probability(float(value))
    if form == "signed":
        return f"{float(value):+.2f}" if abs(value) < 1000 else f"{float(value):+.1e}"
    if form == "flag":
        return "yes" if value else "no"
    if form == "number":
        return number(float(value))
    return str(value)


def number(value: float) -> str:
    """Three significant digits without an exponent in the readable range."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 10_000 or size < 0.001:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    digits = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{digits}f}"


def bound(value: float) -> str:
    """A threshold as prose writes it: .05, .7, 1."""
    return f"{value:g}".removeprefix("0") or "0"


def share(value: float) -> str:
    """A fraction as per cent: 12.3 %, 0.12 %, 0.0028 %, 3e-6 %."""
    return f"{percent(value)} %"


def percent(value: float) -> str:
    """The figures of `share` without the sign, for a column that carries it in its head."""
    times = value * 100
    size = abs(times)
    if size == 0:
        return "0"
    if size >= 1:
        return f"{times:.1f}"
    if size < 0.0001:
        return f"{times:.0e}".replace("e-0", "e-")
    return f"{times:.{1 - math.floor(math.log10(size))}f}"


def axis(value: float) -> str:
    """A tick label: whole numbers without decimals."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else number(value)


def probability(value: float) -> str:
    """A p-value: .034, 3.1e-8; never zero."""
    if value <= 0:
        return "<1e-300"
    if value >= 0.001:
        return f"{value:.3f}"
    return f"{value:.1e}".replace("e-0", "e-")


def interval(lo: float | None, hi: float | None, form: str = "number", none: str = "·") -> str:
    """``[lo, hi]``, or a dot where either end is missing."""
    if lo is None or hi is None:
        return none
    return f"[{show(lo, form)}, {show(hi, form)}]"


def spoken(name: str | None, none: str = "") -> str:
    """A name of the data as people say it: in_vivo is in vivo."""
    return name.replace("_", " ") if name else none


def plural(word: str) -> str:
    """Of what a study calls its strata and units: strata, lineages, length classes."""
    return "strata" if word == "stratum" else f"{word}{'es' if word.endswith('s') else 's'}"
