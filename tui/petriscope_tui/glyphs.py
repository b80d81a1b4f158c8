"""Two alphabets serve everything drawn: Unicode, and ASCII for terminals whose locale cannot show
it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """Characters by purpose."""

    unicode: bool
    none: str
    yes: str
    no: str
    unsure: str
    up: str
    down: str
    right: str
    dot: str
    bar: str
    eighths: str
    sparks: str
    rule: str
    column: str
    ellipsis: str
    plus_minus: str
    cursor: str


UNICODE = Glyphs(
    True,
    "·",
    "✓",
    "✗",
    "?",
    "▲",
    "▼",
    "→",
    "●",
    "█",
    " ▏▎▍▌▋▊▉█",
    " ▁▂▃▄▅▆▇█",
    "─",
    "│",
    "…",
    "±",
    "▌",
)
ASCII = Glyphs(
    False,
    ".",
    "+",
    "x",
    "?",
    "^",
    "v",
    ">",
    "o",
    "#",
    "  ----##",
    " ..::-=+#",
    "-",
    "|",
    "~",
    "+-",
    ">",
)

_TO_ASCII = {
    **dict.fromkeys("─━╌┄┈▔▁▂▃⎯", "-"),
    **dict.fromkeys("│┃▏▎▍▕▊▉⏐", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝┏┓┗┛", "+"),
    **dict.fromkeys("█▇▆▅▄▀▌▐▋■", "#"),
    **dict.fromkeys("→▶▸›", ">"),
    **dict.fromkeys("←◀◂‹", "<"),
    **{
        "▲": "^",
        "↑": "^",
        "▼": "v",
        "↓": "v",
        "●": "o",
        "○": "o",
        "•": "*",
        "·": ".",
        "✓": "+",
        "✗": "x",
        "…": "~",
    },
    **{
        "–": "-",
        "—": "-",
        "±": "+",
        "×": "x",
        "≥": ">",
        "≤": "<",
        "⭘": "o",
        "°": "o",
        "µ": "u",
        "α": "a",
        "Δ": "D",
    },
}
_TABLE = str.maketrans(_TO_ASCII)


def to_ascii(text: str) -> str:
    """``text`` with every character in ASCII, each still one cell wide."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else "?" for c in text.translate(_TABLE))


def wants_ascii(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the locale names an encoding other than UTF-8 (unset counts as UTF-8, except on a
    bare console)."""
    environment = os.environ if environment is None else environment
    if environment.get("PETRISCOPE_ASCII"):
        return environment["PETRISCOPE_ASCII"] != "0"
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environment.get(name)
        if value:
            return "utf8" not in value.lower().replace("-", "")
    return environment.get("TERM") in ("linux", "vt100", "vt220")
