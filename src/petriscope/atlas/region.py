"""Genomic regions as people type them, and the bin numbers that index intervals (standard library
only)."""

from __future__ import annotations

import re
from typing import NamedTuple

from petriscope.errors import UserError

MIN_SHIFT = 14
DEPTH = 5
MAX_END = 1 << (MIN_SHIFT + 3 * DEPTH)
_REGION = re.compile(r"([A-Za-z][\w.]*):([\d,_]+)(?:(?:-|\.\.|–)([\d,_]+))?")


class Region(NamedTuple):
    """A half-open, 0-based interval."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        """The browser's form: 1-based, both ends included."""
        return f"{self.chrom}:{self.start + 1:,}-{self.end:,}"


def parse_region(text: str) -> Region | None:
    """``chr22:37,500,000-37,600,000`` (1-based, inclusive; one position alone is allowed), or None
    if it is not one.

    Raises UserError where it has the form of a region but its end precedes its start or lies beyond
    512 Mb.
    """
    match = _REGION.fullmatch(text.strip())
    if not match:
        return None
    first = int(re.sub("[,_]", "", match[2]))
    last = int(re.sub("[,_]", "", match[3])) if match[3] else first
    if first < 1 or last < first or last > MAX_END:
        raise UserError(
            f"region {text!r} is empty or out of range", remedy="Write chr22:37,500,000-37,600,000"
        )
    return Region(match[1], first - 1, last)


def bin_of(start: int, end: int) -> int:
    """Number of the smallest bin that holds [start, end): the BAI scheme (SAM specification,
    section 5.3)."""
    last = max(end - 1, start)
    for level in range(DEPTH, 0, -1):
        shift = MIN_SHIFT + 3 * (DEPTH - level)
        if start >> shift == last >> shift:
            return ((1 << 3 * level) - 1) // 7 + (start >> shift)
    return 0


def bin_ranges(start: int, end: int) -> list[tuple[int, int]]:
    """Inclusive ranges of bin numbers, one per level, that can hold intervals overlapping [start,
    end)."""
    last = max(end - 1, start)
    ranges = [(0, 0)]
    for level in range(1, DEPTH + 1):
        shift = MIN_SHIFT + 3 * (DEPTH - level)
        offset = ((1 << 3 * level) - 1) // 7
        ranges.append((offset + (start >> shift), offset + (last >> shift)))
    return ranges
