"""The verbs `steer` and `swap` change rows of the reference condition of any probed model and
measure how much of the gap to the target condition closes.

The gap of a reference row is the L1 distance of its prediction to the mean prediction of the target
rows of its window and stratum; the share closed is 1 - sum of what remains / sum of the gap. Where
no window holds rows of both conditions (each sentence is one document), rows are compared by their
mean prediction over tokens with the mean of all target rows of their stratum, and the result says
so. Chance is what random directions of the same norm do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from petriscope.causal.ablate import checked_features
from petriscope.causal.directions import Direction, of_length, random_like
from petriscope.causal.edits import Activity, closure_interval, distances
from petriscope.causal.held import Readout, hold
from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.parallel import in_processes
from petriscope.probe.model import Inputs, ProbedModel
from petriscope.probe.states import Dictionary, States, predict_edited
from petriscope.shown import GREY, Estimate, Printed, intervals, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 2000
PAIRED = "each row against the target rows of its window and stratum"
UNPAIRED = (
    "no window holds rows of both conditions: each row's mean over tokens against the mean of all "
    "target rows of its stratum"
)


def steer(
    model: ProbedModel,
    inputs: Inputs,
    direction: Direction,
    alpha: float,
    layer: int | None = None,
    *,
    windows: int | Sequence[int] | None = None,
    draws: int = 10,
    seed: int = 0,
    device: str = "cpu",
    readout: Readout | None = None,
) -> Steered:
    """Add ``alpha`` times a direction to every token of the reference rows.

    Parameters
    ----------
    model, inputs : ProbedModel, Inputs
        Any probed model and the study's inputs to it.
        direction : Direction
        What `difference_of_means` learned; its design says which rows are reference and target.
    alpha : float
            Strength, in units of the spread of tokens about the mean of their unit.
    layer : int
        The layer after which it is added; None: that of the direction.
    windows : int or sequence of int, optional
        Numbers of windows, or how many of split ``test``, evenly spread (None: 8).
    draws : int
        Random directions of the same norm, read beside it.
    seed : int
        Of the random directions and the intervals.
    device : str
        ``cpu``, ``cuda`` or ``auto``; the model is moved there.
    readout : callable, optional
        Maps the model's prediction (B, ...) to what is read; None reads all of it.

    Returns
    -------
    Steered
        ``gap_closed()``, ``table()`` by stratum, ``plot()``.

    Raises
    ------
    UserError
        Where these windows hold no row of one of the conditions, or the probe breaks a promise.

    Examples
    --------
    >>> moved = ps.steer(run.model, run.inputs, toward, alpha=0.0, layer=2, windows=2)
    >>> moved.gap_closed().closed.value
    0.0
    """
    at = direction.layer if layer is None else layer
    states = hold(
        model, inputs, at, windows=windows, design=direction.design, device=device, readout=readout
    )
    if len(direction.vector) != states[0].hidden.shape[2]:
        raise UserError(
            f"is {len(direction.vector)} wide, the stream {states[0].hidden.shape[2]}",
            field="direction",
            remedy="Learn it on this model and layer.",
        )
    vector = of_length(direction.vector, direction.spread)
    vectors = [vector, *random_like(vector, draws, seed + 1)]

    def added(number: int, place: int, goal: Goal) -> Tensor:
        tokens = states[place].tokens()
        along = torch.from_numpy(np.asarray(alpha * vectors[number], np.float32))
        mine = np.isin(np.nonzero(states[place].kept)[0], goal.rows)
        delta = torch.zeros_like(tokens)
        delta[torch.from_numpy(mine).to(tokens.device)] = along.to(tokens.device)
        return delta

    what = f"steer along {direction.method} by {alpha:g} after layer {at}"
    chance = f"{draws} random directions of the same norm"
    return _steered(what, chance, model, states, _goals(states), added, draws, seed)


def swap(
    model: ProbedModel,
    inputs: Inputs,
    sae: Dictionary,
    features: Sequence[int] | np.ndarray | None,
    layer: int,
    design: Design,
    *,
    windows: int | Sequence[int] | None = None,
    draws: int = 10,
    seed: int = 0,
    device: str = "cpu",
    readout: Readout | None = None,
) -> Steered:
    """Give the tokens of the reference rows the target's codes of some features, all else kept.

    Parameters
    ----------
    features : sequence of int or None
        Latents (k,); None swaps the whole state, the ceiling of all steering.
    design : Design
        Which rows are reference and target. All else as `steer`; chance is what as many other
        features do.

    Returns
    -------
    Steered
        As `steer`.

    Raises
    ------
    UserError
        Where no window holds tokens of both conditions at the same positions.

    Examples
    --------
    >>> whole = ps.swap(run.model, run.inputs, sae, None, 2, design, windows=2, draws=1)
    >>> whole.gap_closed().closed.value > 0
    True
    """
    states = hold(
        model, inputs, layer, windows=windows, design=design, device=device, readout=readout
    )
    goals = _goals(states)
    if goals.note == UNPAIRED:
        raise UserError(
            "gives no window with rows of both conditions",
            field="design",
            remedy="A swap needs them; steer along a direction instead.",
        )
    activity = Activity.of(sae, states)
    sets: list[np.ndarray] = []
    if features is not None:
        chosen = checked_features(features, len(activity.directions))
        others = np.setdiff1d(np.flatnonzero(activity.firing.rate > 0), chosen)
        rng = np.random.default_rng(seed + 3)
        sets = [chosen, *(rng.permutation(others)[: len(chosen)] for _ in range(draws))]
    draws = draws if features is not None and len(others) else 0
    counts = [int(part.kept.sum()) for part in states]

    def added(number: int, place: int, goal: Goal) -> Tensor:
        part = states[place]
        carried = part.tokens()
        if sets:  # sum over the features of z_f d_f
            carried = -activity.removed(sets[number]).split(counts)[place]
        return _partners_instead(part, goal, carried)

    swapped = "the state" if features is None else f"{len(chosen)} features"
    what = f"swap {swapped} after layer {layer}"
    return _steered(
        what, f"{draws} sets of other features", model, states, goals, added, draws, seed
    )


class Goal(NamedTuple):
    """The reference rows of one window that are changed, and where they should come to lie."""

    rows: np.ndarray
    """(r,) numbers of rows."""
    partners: list[np.ndarray]
    """r times the target rows of the same window and stratum."""
    target: np.ndarray
    """(r, ...) prediction to reach, float64."""


class Goals(NamedTuple):
    """A goal for each window, and how rows are compared."""

    each: list[Goal]
    note: str

    def compared(self, part: States, prediction: np.ndarray, goal: Goal) -> np.ndarray:
        """(r, ...) what is compared of a window's prediction."""
        if self.note == UNPAIRED:
            prediction = _over_tokens(part, prediction)
        return prediction[goal.rows]


def _goals(states: Sequence[States]) -> Goals:
    each = []
    for part in states:
        stratum, condition = part.labels.stratum, part.labels.condition
        rows = np.flatnonzero(condition == "reference")
        partners = [
            np.flatnonzero((condition == "target") & (stratum == stratum[row])) for row in rows
        ]
        found = [(row, mine) for row, mine in zip(rows, partners) if len(mine)]
        target = [part.prediction[mine].mean(0, dtype=np.float64) for _, mine in found]
        shape = part.prediction.shape[1:]
        each.append(
            Goal(
                np.array([row for row, _ in found], np.int64),
                [mine for _, mine in found],
                np.stack(target) if target else np.zeros((0, *shape)),
            )
        )
    if any(len(goal.rows) for goal in each):
        return Goals(each, PAIRED)
    return Goals(_unpaired(states), UNPAIRED)


def _unpaired(states: Sequence[States]) -> list[Goal]:
    """Goals of reference rows whose windows hold no target row: the mean of their stratum's."""
    means = [_over_tokens(part, part.prediction) for part in states]
    stratum = np.concatenate([part.labels.stratum for part in states])
    target = np.concatenate([part.labels.condition for part in states]) == "target"
    of = {
        name: np.concatenate(means)[target & (stratum == name)].mean(0)
        for name in np.unique(stratum[target])
    }
    each = []
    for part in states:
        mine = (part.labels.condition == "reference") & np.isin(part.labels.stratum, list(of))
        rows = np.flatnonzero(mine)
        goal = [of[part.labels.stratum[row]] for row in rows]
        each.append(Goal(rows, [], np.stack(goal) if goal else np.zeros((0, *means[0].shape[1:]))))
    if not any(len(goal.rows) for goal in each):
        raise UserError(
            "gives these windows no stratum with rows of both conditions",
            field="design",
            remedy="Take more windows, or other strata.",
        )
    return each


def _over_tokens(part: States, prediction: np.ndarray) -> np.ndarray:
    """(N, K) float64: each row's mean over what is read along the second axis, where there are
    three."""
    if prediction.ndim < 3:
        return prediction.reshape(len(prediction), -1).astype(np.float64)
    read = part.read.reshape(part.read.shape + (1,) * (prediction.ndim - 2))
    total = np.where(read, prediction, 0).sum(1, dtype=np.float64)
    count = np.maximum(part.read.sum(1), 1).reshape((-1,) + (1,) * (prediction.ndim - 2))
    return np.asarray((total / count).reshape(len(prediction), -1))


def _partners_instead(part: States, goal: Goal, carried: Tensor) -> Tensor:
    """(n, d) what the partners carry at each token, minus what the row itself does."""
    where = part.where()
    grid = torch.zeros_like(part.hidden)
    grid[where] = carried
    delta = torch.zeros_like(grid)
    for row, partners in zip(goal.rows.tolist(), goal.partners):
        if (part.kept[partners] != part.kept[row]).any():
            raise UserError(
                "keeps other positions in rows of one window",
                field="inputs.kept",
                remedy="A swap goes token by token; steer along a direction instead.",
            )
        others = torch.from_numpy(partners).to(grid.device)
        delta[row] = grid[others].mean(0) - grid[row]
    return delta[where]


def _steered(
    what: str,
    chance: str,
    model: ProbedModel,
    states: Sequence[States],
    goals: Goals,
    added: Callable[[int, int, Goal], Tensor],
    draws: int,
    seed: int,
) -> Steered:
    """Read edit 0 and ``draws`` random ones of every window: ``added(number, window, goal)``."""

    def one(number: int) -> pd.DataFrame:
        return pd.concat(
            [
                _distances(model, part, goals, goal, added(number, place, goal))
                for place, (part, goal) in enumerate(zip(states, goals.each))
                if len(goal.rows)
            ],
            ignore_index=True,
        )

    first, *random = in_processes(one, range(1 + draws), "steering", unit="direction")
    by_chance = np.mean([frame["remaining"] for frame in random], axis=0) if random else np.nan
    return Steered(what, goals.note, chance, first.assign(random_remaining=by_chance), seed)


def _distances(
    model: ProbedModel, part: States, goals: Goals, goal: Goal, delta: Tensor
) -> pd.DataFrame:
    steered = goals.compared(part, predict_edited(model, part, delta), goal)
    start = goals.compared(part, part.prediction, goal)
    read = np.ones(start.shape, bool) if goals.note == UNPAIRED else part.read[goal.rows]
    found = distances(steered, start, goal.target, read)
    labels = part.labels
    return pd.DataFrame(
        {
            "stratum": labels.stratum[goal.rows],
            "window": labels.window[goal.rows],
            "block": labels.block[goal.rows],
        }
        | found._asdict()
    )


@dataclass(frozen=True, repr=False)
class Steered(Printed):
    """What a change of the reference rows does to their gap to the target."""

    what: str
    note: str
    """how rows are compared"""
    chance: str
    """what it is held against"""
    rows: pd.DataFrame
    """Per reference row: stratum, window, block, remaining, gap, beyond, random_remaining."""
    seed: int

    @property
    def heading(self) -> str:
        """What was done, in one line."""
        return f"{self.what}, beside {self.chance}; {self.note}"

    def gap_closed(self) -> GapClosed:
        """Share of the gap that is closed, with block-bootstrap 95 % limits, and minus chance."""
        return GapClosed(self.heading, *self._shares(self.rows))

    def table(self) -> pd.DataFrame:
        """One row per stratum, and one of all: closed, random and minus_random with limits,
        overshoot (share of the gap that lies beyond the target), worse (share of rows farther from
        the target than before), rows, blocks."""
        parts = [(name, part) for name, part in self.rows.groupby("stratum", sort=False)]
        if len(parts) > 1:
            parts.append(("all", self.rows))
        return pd.DataFrame([{"stratum": name} | self._row(part) for name, part in parts])

    def plot(self) -> Figure:
        """Share closed by stratum with its limits, chance beside it."""
        table = self.table()
        figure, axes = panel(height=1.6 + 0.35 * len(table))
        intervals(axes, *(table[name] for name in ("stratum", "closed", "low", "high")))
        at = np.arange(len(table))[::-1] - 0.2
        axes.scatter(table["random"], at, color=GREY, label="by chance", zorder=3)
        axes.set_xlabel("share of the gap closed, 95 % limits")
        axes.set_title(self.what, fontsize="medium")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    def _shares(self, part: pd.DataFrame) -> tuple[Estimate, Estimate, Estimate]:
        gap, block = part["gap"].to_numpy(), part["block"].to_numpy()
        remaining, random = part["remaining"].to_numpy(), part["random_remaining"].to_numpy()
        blocks = len(np.unique(block))

        def share(name: str, closed: np.ndarray) -> Estimate:
            if not np.isfinite(closed).all():
                nothing = float("nan")
                return Estimate(name, nothing, nothing, nothing, blocks, "blocks")
            found = closure_interval(closed, gap, block, resamples=RESAMPLES, seed=self.seed)
            return Estimate(name, found.value, found.low, found.high, blocks, "blocks")

        return (
            share("gap closed", gap - remaining),
            share("by chance", gap - random),
            share("minus chance", random - remaining),
        )

    def _row(self, part: pd.DataFrame) -> dict[str, float]:
        closed, random, minus = self._shares(part)
        total = float(part["gap"].sum())
        return {
            "closed": closed.value,
            "low": closed.low,
            "high": closed.high,
            "random": random.value,
            "minus_random": minus.value,
            "minus_low": minus.low,
            "minus_high": minus.high,
            "overshoot": float(part["beyond"].sum()) / total if total > 0 else float("nan"),
            "worse": float((part["remaining"] > part["gap"]).mean()),
            "rows": len(part),
            "blocks": closed.n,
        }


@dataclass(frozen=True, repr=False)
class GapClosed(Printed):
    """The share of the gap that is closed, what chance closes, and the difference."""

    of: str
    closed: Estimate
    random: Estimate
    minus_random: Estimate

    @property
    def heading(self) -> str:
        """What was done, in one line."""
        return self.of

    def table(self) -> pd.DataFrame:
        """The three estimates with their limits."""
        return pd.DataFrame([self.closed, self.random, self.minus_random])

    def plot(self) -> Figure:
        """The three estimates with their limits."""
        table = self.table()
        figure, axes = panel(height=2.2)
        intervals(axes, *(table[name] for name in ("name", "value", "low", "high")))
        axes.set_xlabel("share of the gap, 95 % limits")
        return figure
