"""The verb `contrast` takes codes and a design and returns one row per feature.

1. Codes are summed per unit (or per block and unit, where units are not replicated).
2. Features that fire are the family.
3. A linear model over the units' means, one t per stratum, the strata combined (`cds.cds_t`).
4. Benjamini-Hochberg over the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from petriscope.contrast.cds import cds_t
from petriscope.contrast.design import Design, Level
from petriscope.contrast.evidence import Variance
from petriscope.contrast.results import ContrastResult
from petriscope.errors import UserError
from petriscope.sae.codes import Codes, sufficient_statistics
from petriscope.sae.moments import Moments
from petriscope.shown import ACCENT, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10
"""Rows of the table that are printed, the strongest first."""


@dataclass(frozen=True, repr=False)
class Score(Printed):
    """What `contrast` found: prints its method, units, family and counts."""

    combined: ContrastResult
    """of all strata together, alive features only."""
    strata: dict[str, ContrastResult]
    alive: np.ndarray
    """(m,) bool: the feature fires often enough to be tested."""
    design: Design
    alpha: float | None
    """level of significance of the verdict, if one was asked for."""

    @property
    def untestable(self) -> str | None:
        """Why there is no test; None where there is one."""
        return self.combined.reason

    def table(self) -> pd.DataFrame:
        """One row per feature: feature, alive, estimate, low, high, statistic, p, q;
        ``significant`` where alpha was given; estimate and p of each stratum where there are
        several. What was not tested is NaN."""
        m, found = len(self.alive), self.combined
        q = found.adjusted.get("bh", np.full(len(found.p), np.nan))
        columns = {
            "estimate": found.estimate,
            "low": found.low,
            "high": found.high,
            "statistic": found.statistic,
            "p": found.p,
            "q": q,
        }
        if len(self.strata) > 1:
            for name, result in self.strata.items():
                columns |= {f"estimate_{name}": result.estimate, f"p_{name}": result.p}
        table = pd.DataFrame({"feature": np.arange(m), "alive": self.alive})
        for name, values in columns.items():
            table[name] = np.nan
            table.loc[found.features, name] = values
        if self.alpha is not None:
            table.insert(8, "significant", (table.q <= self.alpha).to_numpy())
        return table

    def top(self, k: int) -> np.ndarray:
        """Numbers of the ``k`` features (all alive ones, if fewer) whose statistic is largest in
        size, strongest first."""
        if self.untestable:
            raise UserError(
                f"cannot be tested: {self.untestable}", field="contrast", remedy="See the design."
            )
        if k < 1:
            raise UserError(f"is {k}", field="k", remedy="Ask for at least one feature.")
        size = np.abs(np.nan_to_num(self.combined.statistic))
        return self.combined.features[np.argsort(-size, kind="stable")[:k]]

    def plot(self) -> Figure:
        """Estimate against -log10 p, a point per feature."""
        figure, axes = panel()
        found = self.combined
        words = self.design.words
        if self.untestable:
            axes.text(0.5, 0.5, "cannot be tested", ha="center", transform=axes.transAxes)
            return figure
        size = -np.log10(np.maximum(found.p, np.finfo(float).tiny))
        passed = found.adjusted["bh"] <= (-1 if self.alpha is None else self.alpha)
        axes.scatter(found.estimate, size, s=8, c=np.where(passed, ACCENT, "#888888"))
        axes.axvline(0, color="#333333", lw=0.5)
        axes.set_xlabel(f"mean activation, {words.target} minus {words.reference}")
        axes.set_ylabel("−log10 p")
        return figure

    @property
    def heading(self) -> str:
        """Method, units, family and counts, one line each."""
        found = self.combined
        units = ", ".join(f"{count} {name}" for name, count in found.n.items())
        lines = [
            self.design.heading,
            f"method: {found.method}",
            f"units: {units or 'none'} ({found.level} level)",
            f"family: {found.family.name} ({found.family.size} tests), "
            f"of {len(self.alive)} features",
        ]
        if self.untestable:
            return "\n".join([*lines, f"cannot be tested: {self.untestable}"])
        left = [name for name in self.design.adjust if name not in found.covariates]
        if left and found.level != "locus":
            lines.append(
                f"not adjusted for {', '.join(left)}: cannot be told from the condition, or too "
                f"few {self.design.words.units}"
            )
        if self.alpha is None:
            least = np.nanmin(found.adjusted["bh"], initial=1.0)
            return "\n".join([*lines, f"smallest q: {least:.2g} (no alpha given, no verdict)"])
        passed = found.adjusted["bh"] <= self.alpha
        up = int((passed & (found.estimate > 0)).sum())
        return "\n".join(
            [
                *lines,
                f"q <= {self.alpha:g}: {int(passed.sum())} features, {up} higher in "
                f"{self.design.words.target}",
            ]
        )

    def _shown(self) -> pd.DataFrame:
        table = self.table()
        return table.loc[table.index[:SHOWN] if self.untestable else self.top(SHOWN)]


def contrast(
    codes: Codes | Moments,
    design: Design,
    *,
    split: str | Sequence[str] | None = None,
    min_events: float = 0.0,
    permutations: int = 10_000,
    alpha: float | None = None,
    variance: Variance = "moderated",
    seed: int = 0,
) -> Score:
    """Which features differ between the design's conditions.

    Parameters
    ----------
    codes : Codes or Moments
        Sparse codes (n tokens, m features) with their token axis, or moments (B, S, m).
    design : Design
        Who is compared; its units are those of the token axis, in order.
    split : str or sequence of str, optional
        Splits of the windows whose tokens count; all of them by default. For moments it must stay
        None: choose their blocks before.
    min_events : float
        Tokens of a unit, on average, that a feature must fire on to be tested.
    permutations : int
        Relabellings, rotations or sign flips drawn; all of them where there are no more.
    alpha : float, optional
        Level of significance of the verdict. There is no default: without it q is reported and no
        feature is called significant.
    variance : {"moderated", "welch"}
        ``moderated`` (shared between features, limma-trend) or ``welch`` (each feature by itself,
        covariates ignored).
    seed : int
        Of the permutations.

    Returns
    -------
    Score
        At unit level (it speaks of new units); where no stratum has two units a side, at locus
        level: blocks of tokens are what is independent (it speaks of new blocks of these units).

    Raises
    ------
    UserError
        Where codes carry no token axis, do not match it or the design, or a unit has no token.

    Notes
    -----
    Source: docs/statistics.md; `contrast.cds.cds_t`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"unit": list("abcdef"), "kind": ["new", "old"] * 3})
    >>> fires = np.random.default_rng(0).gamma(9, 1, (1, 6, 4)) + 9 * np.eye(2, 4)[[0, 1] * 3]
    >>> moments = Moments(fires, fires**2, np.full(fires.shape, 9), np.full((1, 6), 10))
    >>> score = contrast(moments, Design(frame, condition="kind", target="new"))
    >>> sorted(score.top(2).tolist())
    [0, 1]
    """
    if alpha is not None and not 0 < alpha < 1:
        raise UserError(f"is {alpha:g}", field="alpha", remedy="Give a share between 0 and 1.")
    if permutations < 1:
        raise UserError(f"is {permutations}", field="permutations", remedy="Give at least one.")
    replicated = len(design.untestable("unit")) < len(design.strata)
    level: Level = "unit" if replicated else "locus"
    if isinstance(codes, Moments):
        if split is not None:
            raise UserError(
                "is given, but moments know no splits",
                field="split",
                remedy="Choose their blocks before (Moments.blocks).",
            )
        design.check(codes.sum.shape[1], "moments")
        moments = codes
    else:
        moments = moments_of(codes, design, split, by_block=not replicated)
    found = cds_t(
        moments,
        design,
        level=level,
        variance=variance,
        min_events=min_events,
        permutations=permutations,
        seed=seed,
    )
    return Score(found.combined, found.strata, moments.alive(min_events), design, alpha)


def moments_of(
    codes: Codes, design: Design, split: str | Sequence[str] | None = None, *, by_block: bool = True
) -> Moments:
    """Moments (B, S, m) of the tokens of some splits; of all blocks as one unless ``by_block``."""
    tokens = codes.tokens
    if tokens is None:
        raise UserError(
            "carry no token index",
            field="codes",
            remedy="Encode hidden states with their tokens (`petriscope sae encode --tokens`).",
        )
    tokens.check_rows(codes.indptr[1:], "codes")
    design.check(tokens.units, "codes")
    window, unit = tokens.window, tokens.unit
    for name, values, size in (
        ("window", window, len(tokens.windows)),
        ("unit", unit, tokens.units),
    ):
        wrong = np.flatnonzero((values < 0) | (values >= size))
        if len(wrong):
            raise UserError(
                f"row {wrong[0]} names {name} {values[wrong[0]]}, of {size}",
                field="token index",
                remedy=f"Number the {name}s from 0 in the order of their table.",
            )
    used = np.ones(len(tokens.windows), bool)
    if split is not None:
        wanted = [split] if isinstance(split, str) else list(split)
        known = list(dict.fromkeys(tokens.windows.split))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UserError(
                f"no window is in {unknown[0]!r}",
                field="split",
                remedy=f"The token index has {', '.join(map(str, known))}.",
            )
        used = tokens.windows.split.isin(wanted).to_numpy()
    block = np.full(len(used), -1)
    block[used] = pd.factorize(tokens.windows.block[used])[0] if by_block else 0
    moments = sufficient_statistics(
        codes,
        block[window],
        unit,
        n_blocks=int(block.max()) + 1,
        n_units=tokens.units,
        m=codes.m,
    )
    silent = np.flatnonzero(moments.tokens.sum(0) == 0)
    if len(silent):
        within = "" if split is None else f" in split {split!r}"
        raise UserError(
            f"{design.units[silent[0]]!r} has no token{within}",
            file=design.words.units,
            field=design.words.unit,
            remedy="Leave it out of the table and the codes, or take another split.",
        )
    return moments
