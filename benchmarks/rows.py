"""What a row of a benchmark returns: CPU seconds of our work beside a rival's, measured in one run.

CPU seconds, not wall: other load on the machine disturbs them least. Rounds are interleaved and the
ratio is that of the medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Against(NamedTuple):
    """One comparison."""

    what: str
    ours: float
    rival: float
    goal: float
    """the rival's seconds over ours should be this at least; 0 where only reported"""
    unit: str = "CPU s"
    each: tuple[float, ...] = ()
    """the ratio of every single round, where the row is to show how far they lie apart"""

    @property
    def ratio(self) -> float:
        """How many times as much the rival takes."""
        return self.rival / self.ours

    @property
    def apart(self) -> str:
        """The range of the single rounds in words; empty where they are not kept."""
        if not self.each:
            return ""
        return f" ({min(self.each):.3g} to {max(self.each):.3g} in {len(self.each)} rounds)"

    @property
    def line(self) -> str:
        """As printed."""
        goal = "" if not self.goal else f"; goal {self.goal:g}x"
        missed = " MISSED" if self.ratio < self.goal else ""
        return (
            f"{self.what}: {self.ours:.4g} against {self.rival:.4g} {self.unit}, "
            f"{self.ratio:.3g}x{self.apart}{goal}{missed}"
        )


class Within(NamedTuple):
    """One cost that has a bound of its own."""

    what: str
    found: float
    bound: float
    unit: str = "CPU s"

    @property
    def line(self) -> str:
        """As printed."""
        missed = " MISSED" if self.found > self.bound else ""
        return f"{self.what}: {self.found:.4g} {self.unit}, bound {self.bound:g}{missed}"


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process for one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def all_rounds(
    works: Mapping[str, Callable[[], object]], rounds: int = 3
) -> dict[str, list[float]]:
    """CPU seconds of each in every round, one call of each a round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(cpu(work))
    return found


def medians(works: Mapping[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Median CPU seconds of each, one call of each a round."""
    found = all_rounds(works, rounds)
    return {name: statistics.median(values) for name, values in found.items()}
