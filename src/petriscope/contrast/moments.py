"""What a contrast needs to know of millions of tokens: sums per block and biosample, and who is
compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.technical import ADJUSTABLE, covariates
from petriscope.errors import UserError

CONTEXTS = ("in_vitro", "in_vivo")


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
        blocks, biosamples = self.sum.shape[:2]
        for name in ("sumsq", "active"):
            if getattr(self, name).shape != self.sum.shape:
                raise UserError(
                    f"shape {getattr(self, name).shape} differs from sum's {self.sum.shape}",
                    field=name,
                )
        if self.tokens.shape != (blocks, biosamples):
            raise UserError(
                f"shape {self.tokens.shape}, expected {(blocks, biosamples)}", field="tokens"
            )
        for name in ("sum", "sumsq", "active", "tokens"):
            values = getattr(self, name)
            if not np.isfinite(values).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise UserError(
                    f"not finite at (block, biosample, feature) {where}",
                    field=name,
                    remedy="Activations hold NaN or Inf: harvest them again.",
                )
        return self

    def blocks(self, rows: np.ndarray | Sequence[int]) -> Moments:
        """The moments of some blocks only (a split)."""
        return Moments(*(array[np.asarray(rows)] for array in self))

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
        """(m,) bool: fires somewhere, and on at least ``min_events`` tokens of a biosample on
        average.

        A mean over n firings has a counting error of 1/sqrt(n), whatever differs between
        biosamples: features that fire less often cannot be compared, and would only enlarge the
        family. The filter knows no label, so it leaves the tests of the others as they are (Bourgon
        et al. 2010).
        """
        events = self.active.sum((0, 1), dtype=np.float64)
        return (events > 0) & (events >= min_events * self.tokens.shape[1])

    def biosample_means(self) -> np.ndarray:
        """(S, m) mean activation over all tokens of each biosample."""
        tokens = self.tokens.sum(0, dtype=np.float64)
        if (tokens == 0).any():
            raise UserError(
                f"biosample {int(np.flatnonzero(tokens == 0)[0])} has no token", field="tokens"
            )
        return self.sum.sum(0, dtype=np.float64) / tokens[:, None]

    def block_means(self) -> np.ndarray:
        """(B, S, m) mean activation per block and biosample; NaN where a block has no token of that
        biosample."""
        tokens = self.tokens.astype(np.float64)
        return self.sum / np.where(tokens > 0, tokens, np.nan)[:, :, None]


class Sides(NamedTuple):
    """Row indices of the two sides of one lineage's contrast."""

    vitro: np.ndarray
    vivo: np.ndarray


@dataclass(frozen=True)
class Design:
    """Which biosample belongs to which lineage and context. Build it with `Design.from_frame`."""

    biosamples: tuple[str, ...]
    lineages: tuple[str, ...]
    lineage_of: np.ndarray
    """(S,) index into ``lineages``."""
    vivo: np.ndarray
    """(S,) bool: context is in_vivo."""
    covariates: np.ndarray | None = None
    """(S, c) technical covariates of the biosample-level model; None: none."""
    adjust: tuple[str, ...] = ()
    """(c,) their names."""

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, adjust: Sequence[str] = tuple(ADJUSTABLE)) -> Design:
        """From a frame with columns biosample, lineage, context, in the row order of the arrays.

        ``adjust`` names the technical covariates to take along where the frame knows them
        (`technical.covariates`).
        """
        for column in ("biosample", "lineage", "context"):
            if column not in frame:
                raise UserError("column is missing", file="biosamples", field=column)
        unknown = sorted(set(frame["context"]) - set(CONTEXTS))
        if unknown:
            raise UserError(
                f"unknown context {unknown[0]!r}",
                file="biosamples",
                field="context",
                remedy=f"Use one of {CONTEXTS}.",
            )
        if frame["biosample"].duplicated().any():
            twice = frame.loc[frame["biosample"].duplicated(), "biosample"].iloc[0]
            raise UserError(f"{twice!r} occurs twice", file="biosamples", field="biosample")
        lineages = tuple(dict.fromkeys(str(name) for name in frame["lineage"]))
        known = covariates(frame, adjust)
        return cls(
            biosamples=tuple(str(name) for name in frame["biosample"]),
            lineages=lineages,
            lineage_of=np.array([lineages.index(str(name)) for name in frame["lineage"]]),
            vivo=(frame["context"] == "in_vivo").to_numpy(dtype=bool),
            covariates=np.stack(list(known.values()), axis=1) if known else None,
            adjust=tuple(known),
        )

    def sides(self, lineage: str) -> Sides:
        """Row indices of the lineage's in vitro and in vivo biosamples."""
        if lineage not in self.lineages:
            raise UserError(
                f"lineage {lineage!r} is not in the data set",
                field="lineage",
                remedy=f"It has {list(self.lineages)}.",
            )
        member = self.lineage_of == self.lineages.index(lineage)
        return Sides(np.flatnonzero(member & ~self.vivo), np.flatnonzero(member & self.vivo))

    def why_untestable(self, lineage: str, level: str) -> str | None:
        """The reason why no test exists for a lineage at a level ('biosample' or 'locus'); None
        where one does."""
        vitro, vivo = self.sides(lineage)
        for side, name in ((vitro, "in_vitro"), (vivo, "in_vivo")):
            if len(side) == 0:
                return f"lineage {lineage} has no {name} biosample"
        if level == "biosample" and min(len(vitro), len(vivo)) < 2:
            return (
                f"lineage {lineage} has {len(vitro)} in_vitro and {len(vivo)} in_vivo "
                f"biosample(s); "
                "a biosample-level test needs two a side"
            )
        return None

    def check(self, biosamples: int) -> Design:
        """Return self if it describes as many biosamples as the arrays hold."""
        if biosamples != len(self.biosamples):
            raise UserError(
                f"{len(self.biosamples)} biosamples are described but the activations hold "
                f"{biosamples}",
                file="biosamples",
                remedy="The rows must be the biosample axis of the activations, in order.",
            )
        return self
