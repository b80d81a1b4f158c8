"""A design says which units are compared with which: a table of units, checked at the door, and the
columns it reads.

A unit is what is replicated (a biosample, a document, a donor). A condition is a value in a column
of the table: units with the target value are held against all others, within each stratum.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.shown import ACCENT, INK, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Level = Literal["unit", "locus"]
"""What is counted as independent: units (a result speaks of new units) or loci, the blocks of
tokens (it speaks of new loci of the same units)."""


class Units:
    """One row per unit, in the order of `Tokens.unit`.

    Parameters
    ----------
    frame : DataFrame of S rows
        The table: names, conditions, strata and covariates in columns.
    id : str, optional
        The column that names the units; ``unit`` if there is such a column, else the first one.
    also : mapping of str to str, optional
        Columns that are adjusted for along with another one (their name → the other's name), as
        the square of a covariate is.
    shown : mapping of str to str, optional
        How columns are called in words, where that is not their name.
    source : str or path
        The file to name in messages.

    Raises
    ------
    UserError
        Where the id column is absent, has gaps or repeats.

    Examples
    --------
    >>> import pandas as pd
    >>> Units(pd.DataFrame({"donor": ["a", "b"], "drug": ["none", "treated"]}), "donor").names
    ('a', 'b')
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        id: str | None = None,
        *,
        also: Mapping[str, str] | None = None,
        shown: Mapping[str, str] | None = None,
        source: str | PathLike[str] = "units",
    ) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise UserError(
                f"is a {type(frame).__name__}",
                file=source,
                remedy="Give a table (pandas DataFrame) with one row per unit.",
            )
        if not len(frame) or not len(frame.columns):
            raise UserError("holds no unit", file=source, remedy="Give one row per unit.")
        self.frame = frame.reset_index(drop=True)
        self.source, self.also, self.shown = source, dict(also or {}), dict(shown or {})
        self.id = id or ("unit" if "unit" in frame else str(frame.columns[0]))
        names = self.column(self.id, "It names the units; name another one with id=.")
        self.names = tuple(str(name) for name in names)
        twice = names[names.astype(str).duplicated()]
        if len(twice):
            raise UserError(
                f"{str(twice.iloc[0])!r} occurs twice (again in row {twice.index[0] + 1})",
                file=source,
                field=self.id,
                remedy="Unit ids must be unique: one row per unit, or name the id column.",
            )

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"{len(self)} units, named by {self.id}\n{self.frame}"

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False, max_rows=20)

    def column(self, name: str, purpose: str = "") -> pd.Series:
        """A column without gaps; raises `UserError` where it is absent or a value is missing."""
        if name not in self.frame:
            known = [str(column) for column in self.frame.columns]
            remedy = f"{_did_you_mean(name, known)} {purpose}"
            raise UserError("column is missing", file=self.source, field=name, remedy=remedy)
        values = self.frame[name]
        gaps = np.flatnonzero(values.isna() | (values.astype(str).str.strip() == ""))
        if len(gaps):
            who = "" if name == self.id else f" ({self.names[gaps[0]]})"
            raise UserError(
                f"value is missing in row {gaps[0] + 1}{who}",
                file=self.source,
                field=name,
                remedy="Fill it in, or leave that unit out of table and codes.",
            )
        return values

    def number(self, name: str) -> np.ndarray:
        """(S,) float64: a column of finite numbers."""
        values = self.column(name, "It is to be adjusted for.")
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            raise UserError(
                f"{str(values.iloc[wrong[0]])!r} in row {wrong[0] + 1} ({self.names[wrong[0]]}) is "
                "no finite number",
                file=self.source,
                field=name,
                remedy="A covariate is a number; write groups as strata.",
            )
        return numbers


class Sides(NamedTuple):
    """Row indices of the two sides of one stratum's contrast."""

    reference: np.ndarray
    target: np.ndarray


class Words(NamedTuple):
    """What the table calls things; results, columns and messages use these words."""

    unit: str = "unit"
    stratum: str = "stratum"
    reference: str = "reference"
    """The values of the condition column that are not the target, joined by 'or'."""
    target: str = "target"
    covariates: str = ""
    """What is adjusted for."""

    @property
    def units(self) -> str:
        """Plural of ``unit``."""
        return f"{self.unit}s"

    @property
    def strata(self) -> str:
        """Plural of ``stratum``."""
        return "strata" if self.stratum == "stratum" else f"{self.stratum}s"


ONE_STRATUM = "all"
"""Name of the stratum where the design has only one."""


@dataclass(frozen=True, init=False, repr=False)
class Design(Printed):
    """Which unit belongs to which side of which stratum, and what is adjusted for.

    Parameters
    ----------
    units : Units or DataFrame
        The table of units (`Units`, or a DataFrame that becomes one).
    condition : str
        The column whose value says which side a unit is on.
    target : str
        The value of that column that is held against all others.
    reference : str, optional
        The only other value there may be; then a side may be empty, and its strata cannot be
        tested. By default every other value is the reference.
    strata : str, optional
        A column within whose values units are compared; without it all units are one stratum.
    adjust : sequence of str
        Numeric columns that the unit-level model takes along as covariates.

    Raises
    ------
    UserError
        Where a column is absent, has gaps, has one value only or does not hold the target, or a
        covariate is no number.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unit": list("abcd"), "kind": ["new", "new", "old", "old"]})
    >>> Design(frame, condition="kind", target="new")
    4 units: 2 new against 2 old
    stratum  old  new
        all    2    2
    """

    units: tuple[str, ...]
    """(S,) their names."""
    strata: tuple[str, ...]
    stratum_of: np.ndarray
    """(S,) index into ``strata``."""
    is_target: np.ndarray
    """(S,) bool: the unit's condition is the target; every other one is the reference."""
    covariates: np.ndarray | None
    """(S, c) covariates of the unit-level model; None: none."""
    adjust: tuple[str, ...]
    """(c,) their names."""
    words: Words

    def __init__(
        self,
        units: Units | pd.DataFrame,
        *,
        condition: str,
        target: object,
        reference: object | None = None,
        strata: str | None = None,
        adjust: Sequence[str] = (),
    ) -> None:
        table = units if isinstance(units, Units) else Units(units)
        value = table.column(condition, "It holds the condition.").astype(str)
        levels = list(dict.fromkeys(value))
        if reference is not None:
            both = (str(reference), str(target))
            unknown = sorted(set(levels) - set(both))
            if unknown:
                raise UserError(
                    f"unknown {condition} {unknown[0]!r}",
                    file=table.source,
                    field=condition,
                    remedy=f"Use one of {both}.",
                )
            levels = list(both)
        if str(target) not in levels:
            raise UserError(
                f"no unit has the value {str(target)!r}",
                file=table.source,
                field=condition,
                remedy=_did_you_mean(str(target), levels),
            )
        if len(levels) == 1:
            raise UserError(
                f"every unit has the value {levels[0]!r}",
                file=table.source,
                field=condition,
                remedy="A contrast needs units of two conditions.",
            )
        of = [ONE_STRATUM] * len(table)
        if strata is not None:
            of = [str(name) for name in table.column(strata, "It holds the strata.")]
        names = tuple(dict.fromkeys(of))
        if isinstance(adjust, str):
            adjust = (adjust,)
        if strata == condition or condition in adjust:
            raise UserError(
                "is the condition itself",
                file=table.source,
                field=condition,
                remedy="Strata and covariates are other columns than the condition.",
            )
        also = tuple(name for name, of_name in table.also.items() if of_name in adjust)
        taken = tuple(dict.fromkeys((*adjust, *also)))
        others = [level for level in levels if level != str(target)]
        self._set(
            units=table.names,
            strata=names,
            stratum_of=np.array([names.index(name) for name in of]),
            is_target=(value == str(target)).to_numpy(dtype=bool),
            covariates=np.stack([table.number(name) for name in taken], axis=1) if taken else None,
            adjust=taken,
            words=Words(
                table.id,
                strata or "stratum",
                " or ".join(others),
                str(target),
                " and ".join(table.shown.get(name, name) for name in adjust),
            ),
        )

    def _set(self, **values: object) -> Design:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    def _with(self, **values: object) -> Design:
        return copy.copy(self)._set(**values)

    def relabelled(self, is_target: np.ndarray) -> Design:
        """The same units with other labels (S,) bool."""
        return self._with(is_target=is_target)

    def restratified(
        self, strata: Iterable[str], stratum_of: np.ndarray, is_target: np.ndarray
    ) -> Design:
        """The same units in other strata, with other labels."""
        return self._with(strata=tuple(strata), stratum_of=stratum_of, is_target=is_target)

    def unadjusted(self) -> Design:
        """The same design without covariates."""
        return self._with(covariates=None, adjust=())

    def only(self, stratum: str) -> Design:
        """The units of one stratum."""
        rows = np.sort(np.concatenate(self.sides(stratum)))
        return self.of_units(rows)._set(strata=(stratum,), stratum_of=np.zeros(len(rows), int))

    def of_units(self, rows: np.ndarray) -> Design:
        """Some of the units, in the same strata."""
        return self._with(
            units=tuple(self.units[row] for row in rows),
            stratum_of=self.stratum_of[rows],
            is_target=self.is_target[rows],
            covariates=None if self.covariates is None else self.covariates[rows],
        )

    def sides(self, stratum: str) -> Sides:
        """Row indices of the stratum's reference and target units."""
        if stratum not in self.strata:
            raise UserError(
                f"{self.words.stratum} {stratum!r} is not in the data set",
                field=self.words.stratum,
                remedy=f"It has {list(self.strata)}.",
            )
        member = self.stratum_of == self.strata.index(stratum)
        return Sides(
            np.flatnonzero(member & ~self.is_target), np.flatnonzero(member & self.is_target)
        )

    def counts(self, stratum: str) -> dict[str, int]:
        """How many units either side of a stratum has, by the condition's name."""
        reference, target = self.sides(stratum)
        return {self.words.reference: len(reference), self.words.target: len(target)}

    def why_untestable(self, stratum: str, level: Level) -> str | None:
        """The reason why no test exists for a stratum at a level; None where one does."""
        counts = self.counts(stratum)
        who = f"{self.words.stratum} {stratum}"
        for name, count in counts.items():
            if count == 0:
                return f"{who} has no {name} {self.words.unit}"
        if level == "unit" and min(counts.values()) < 2:
            sides = " and ".join(f"{count} {name}" for name, count in counts.items())
            return (
                f"{who} has {sides} {self.words.unit}(s); "
                f"a {self.words.unit}-level test needs two a side"
            )
        return None

    def untestable(self, level: Level) -> list[str]:
        """Why strata cannot be tested at a level, one reason each; empty where all can."""
        reasons = (self.why_untestable(stratum, level) for stratum in self.strata)
        return [reason for reason in reasons if reason is not None]

    def check(self, units: int, what: str = "activations") -> Design:
        """Return self if it describes as many units as the arrays hold."""
        if units != len(self.units):
            raise UserError(
                f"{len(self.units)} {self.words.units} are described but the {what} hold {units}",
                file=self.words.units,
                remedy=f"The rows must be the {self.words.unit} axis of the {what}, in order.",
            )
        return self

    def table(self) -> pd.DataFrame:
        """One row per stratum: its units on either side, named as the conditions are."""
        rows = [{self.words.stratum: name} | self.counts(name) for name in self.strata]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Every unit in its stratum, by side; its height is the first covariate, so that a
        covariate that goes with the condition is seen."""
        figure, axes = panel(max(4.2, 1.5 + 0.7 * len(self.strata)))
        height = np.zeros(len(self.units)) if self.covariates is None else self.covariates[:, 0]
        for shift, color, side in ((-0.15, ACCENT, "reference"), (0.15, INK, "target")):
            rows = np.flatnonzero(self.is_target == (side == "target"))
            label = getattr(self.words, side)
            at = self.stratum_of[rows] + shift
            axes.scatter(at, height[rows], color=color, alpha=0.7, label=label)
        axes.set_xticks(range(len(self.strata)), self.strata)
        axes.set_ylabel(self.adjust[0] if self.adjust else "")
        axes.set_xlabel(self.words.stratum)
        if self.covariates is None:
            axes.set_yticks([])
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    @property
    def heading(self) -> str:
        """How many units are on either side, in one line."""
        target, total = int(self.is_target.sum()), len(self.units)
        text = (
            f"{total} {self.words.units}: {target} {self.words.target} against "
            f"{total - target} {self.words.reference}"
        )
        if len(self.strata) > 1:
            text += f", within {len(self.strata)} {self.words.strata}"
        return text + (f", adjusted for {', '.join(self.adjust)}" if self.adjust else "")


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    lower = {value.lower(): value for value in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    if close:
        return f"Did you mean {lower[close[0]]!r}?"
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return f"There is: {shown}."
