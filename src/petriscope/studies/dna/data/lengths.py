"""Whether two classes of sequences can be told apart by their lengths alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEAST = 0.05
"""Share of either class whose lengths the other class has too, at least; with less, a comparison of
the classes is a comparison of lengths."""


class Lengths(NamedTuple):
    """The lengths of two classes side by side, in bp."""

    positive: tuple[int, int]
    """shortest and longest"""
    negative: tuple[int, int]
    shared: float
    """Share of sequences that lie in the range of lengths which both classes have, of the class
    with the smaller share."""

    @property
    def overlap(self) -> bool:
        """Whether the classes may be compared at all."""
        return self.shared >= LEAST

    def refusal(self, positive: str, negative: str) -> str:
        """Why a comparison is refused, and what to do instead."""
        one, two = (f"{low:,} to {high:,} bp" for low, high in (self.positive, self.negative))
        least = min(self.positive[0], self.negative[0])
        return (
            f"the lengths of {positive} ({one}) and {negative} ({two}) do not overlap "
            f"({self.shared:.0%} of them are lengths of both), so that length alone tells the "
            f"classes: match them, such as by `trim: {least}` in dataset.yaml, which keeps the "
            f"middle {least} bp of every sequence"
        )


def compare_lengths(length: np.ndarray, positive: np.ndarray) -> Lengths:
    """Compare the lengths (N,) in bp of the sequences that are ``positive`` (N,) bool with those of
    the others. Both must be there."""
    sides = length[positive], length[~positive]
    ranges = [(int(side.min()), int(side.max())) for side in sides]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    shares = [float(((side >= low) & (side <= high)).mean()) for side in sides]
    return Lengths(ranges[0], ranges[1], min(shares))
