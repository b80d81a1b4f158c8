"""Sums of feature activations per block and unit: all that a contrast needs to know of millions of
tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from petriscope.errors import UserError


class Moments(NamedTuple):
    """Streamed sufficient statistics of feature activations: memory independent of the number of
    tokens."""

    sum: np.ndarray
    """(B, S, m) sum of activations."""
    sumsq: np.ndarray
    """(B, S, m) sum of squared activations."""
    active: np.ndarray
    """(B, S, m) number of tokens on which the feature fires."""
    tokens: np.ndarray
    """(B, S) number of tokens."""

    def check(self) -> Moments:
        """Return self if shapes agree and every number is finite; a UserError names the first
        offender."""
        blocks, units = self.sum.shape[:2]
        for name in ("sumsq", "active"):
            if getattr(self, name).shape != self.sum.shape:
                raise UserError(
                    f"shape {getattr(self, name).shape} differs from sum's {self.sum.shape}",
                    field=name,
                )
        if self.tokens.shape != (blocks, units):
            raise UserError(
                f"shape {self.tokens.shape}, expected {(blocks, units)}", field="tokens"
            )
        for name in ("sum", "sumsq", "active", "tokens"):
            values = getattr(self, name)
            if not np.isfinite(values).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise UserError(
                    f"not finite at (block, unit, feature) {where}",
                    field=name,
                    remedy="Activations hold NaN or Inf: harvest them again.",
                )
        return self

    def blocks(self, rows: np.ndarray | Sequence[int]) -> Moments:
        """The moments of some blocks only (a split)."""
        return Moments(*(array[np.asarray(rows)] for array in self))

    def summed(self, onto: np.ndarray, blocks: int | None = None) -> Moments:
        """The moments of coarser blocks: block b goes into block ``onto[b]`` of ``blocks`` (the
        largest number + 1 if not given)."""
        shape = (onto.max() + 1 if blocks is None else blocks, len(onto))
        adder = sparse.csr_matrix((np.ones(len(onto)), (onto, np.arange(len(onto)))), shape=shape)

        def add(array: np.ndarray) -> np.ndarray:
            return (adder @ array.reshape(len(onto), -1)).reshape(-1, *array.shape[1:])

        return Moments(*(add(np.asarray(part, dtype=np.float64)) for part in self))

    def features(self, columns: np.ndarray) -> Moments:
        """The moments of some features only (indices or a boolean mask over m)."""
        return Moments(
            self.sum[:, :, columns],
            self.sumsq[:, :, columns],
            self.active[:, :, columns],
            self.tokens,
        )

    def density(self) -> np.ndarray:
        """(m,) share of all tokens on which each feature fires."""
        return self.active.sum((0, 1), dtype=np.float64) / max(1, self.tokens.sum(dtype=np.int64))

    def alive(self, min_events: float = 0.0) -> np.ndarray:
        """(m,) bool: fires somewhere, and on at least ``min_events`` tokens of a unit on
        average.

        A mean over n firings has a counting error of 1/sqrt(n), whatever differs between
        units: features that fire less often cannot be compared, and would only enlarge the
        family. The filter knows no label, so it leaves the tests of the others as they are (Bourgon
        et al. 2010).
        """
        events = self.active.sum((0, 1), dtype=np.float64)
        return (events > 0) & (events >= min_events * self.tokens.shape[1])

    def unit_means(self) -> np.ndarray:
        """(S, m) mean activation over all tokens of each unit."""
        tokens = self.tokens.sum(0, dtype=np.float64)
        if (tokens == 0).any():
            raise UserError(
                f"unit {int(np.flatnonzero(tokens == 0)[0])} has no token", field="tokens"
            )
        return self.sum.sum(0, dtype=np.float64) / tokens[:, None]

    def block_means(self) -> np.ndarray:
        """(B, S, m) mean activation per block and unit; NaN where a block has no token of that
        unit."""
        tokens = self.tokens.astype(np.float64)
        return self.sum / np.where(tokens > 0, tokens, np.nan)[:, :, None]
