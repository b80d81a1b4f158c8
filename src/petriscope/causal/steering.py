"""The steering experiment compares every method, stratum by stratum, tuned on `tune` windows and
read once on `test` windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.causal.directions import (
    Replacement,
    UnitMeans,
    all_directions,
    leace,
    of_length,
    random_like,
    shuffled_means,
)
from petriscope.causal.edits import (
    Gaps,
    Pairs,
    Scaling,
    closure_interval,
    gap_closure,
    gaps,
    reconstructed,
    steer_added,
    steer_replaced,
    steer_scaled,
    swapped,
    swapped_features,
)
from petriscope.contrast.effects import LEAST_BLOCKS
from petriscope.errors import UserError
from petriscope.files import write_csv
from petriscope.probe.model import ProbedModel
from petriscope.probe.states import Dictionary, States, to_host
from petriscope.progress import progress

Setting = tuple[float, float]
"""(alpha, beta); beta is NaN for added vectors."""


METHOD = "sae_additive"
"""The method that claims are read on."""
NUMBERS = [
    *("stratum", "alpha", "gc", "gc_random"),
    *("gc_minus_random", "gc_minus_random_low", "gc_minus_random_high"),
]


class SteeringPlan(NamedTuple):
    """What is tried. The published grid is that of the released tables."""

    alphas: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
    """strengths of added vectors, all brought to the length `UnitMeans.spread` (so that a
    probe's short normal and a long difference of means are tried over the same range); of LEACE,
    the share of the way to the target mean"""
    random_draws: int = 10
    published_alphas: Sequence[float] = (1.5, 2.0, 3.0, 5.0)
    published_betas: Sequence[float] = (0.0, 0.25, 0.5)
    published_random: int = 3
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Steering:
    """What steering does to the gap between the conditions' predictions."""

    table: pd.DataFrame
    """One row per (stratum, origin, method). origin: 'own' stratum, 'others' (leave one stratum
    out) or 'none'. Columns: alpha, beta, at_edge (the grid's lowest or highest alpha was chosen),
    tuned_gc, gc with limits, gc_random, gc_minus_random with limits, overshoot (share of the gap
    that lies beyond the target), worse (share of rows farther from the target than before), rows,
    blocks."""
    grid: pd.DataFrame
    """Gap closure on the tune rows at each setting: stratum, origin, method, alpha, beta, gc."""
    rows: pd.DataFrame
    """Per test row: stratum, origin, method, window, block, remaining, gap, random_remaining."""

    def save(self, folder: Path, layer: int, stratum: str = "stratum") -> None:
        """Write readout.csv (test) and grid.csv (tune) into ``folder``, each with its layer;
        ``stratum`` is the study's word for one."""
        for name, frame in (("readout", self.table), ("grid", self.grid)):
            named = frame.rename(columns={"stratum": stratum}).assign(layer=layer)
            write_csv(folder / f"{name}.csv", named)


@dataclass(frozen=True)
class SteeringNumbers:
    """What the claims say of steering, read on the additive vector of each stratum's own direction;
    the weakest stratum decides."""

    layer: int
    untestable: str | None
    """why there is no test; None where there is one"""
    closure: float | None
    """smallest gap closure over strata"""
    excess_low: float | None
    """smallest lower limit over strata of gap closure minus random directions"""
    own: dict[str, list[dict[str, Any]]]
    """method → its row of the table in each stratum, learned there"""
    others: dict[str, list[dict[str, Any]]]
    """the same, learned on the other strata"""
    none: dict[str, list[dict[str, Any]]]
    """floor, ceilings and the reconstruction"""

    @classmethod
    def of(cls, table: pd.DataFrame, layer: int) -> SteeringNumbers:
        """The numbers of a table of `Steering`."""
        by_origin: dict[str, dict[str, list[dict[str, Any]]]] = {
            origin: {
                str(name): [{str(key): value for key, value in row.items()} for row in rows]
                for name, part in table[table["origin"] == origin].groupby("method", sort=False)
                for rows in [part[NUMBERS].to_dict("records")]
            }
            for origin in ("own", "others", "none")
        }
        own = table[(table["method"] == METHOD) & (table["origin"] == "own")]
        blocks = int(own["blocks"].min()) if len(own) else 0
        few = f"the test split has {blocks} blocks, {LEAST_BLOCKS} are needed"
        return cls(
            layer=layer,
            untestable=None if blocks >= LEAST_BLOCKS else few,
            closure=float(own["gc"].min()) if len(own) else None,
            excess_low=float(own["gc_minus_random_low"].min()) if len(own) else None,
            **by_origin,
        )


class _Method(NamedTuple):
    name: str
    origin: str
    settings: list[Setting]
    apply: Callable[[States, Setting], np.ndarray]
    random: Callable[[States, Setting], Iterator[np.ndarray]]


def compare_methods(
    model: ProbedModel,
    dictionary: Dictionary,
    *,
    tune: Pairs,
    test: Pairs,
    means: UnitMeans,
    selected: np.ndarray,
    plan: SteeringPlan,
) -> Steering:
    """Learn directions on ``means``, choose alpha on ``tune``, read gap closure once on ``test``.

    ``selected``: features for the additive and the published form (there, features that are higher
    in the target condition are turned up, the others down). Each direction is learned on the
    stratum itself ('own') and on the others ('others'). Its random counterpart has the same norm
    and alpha; of the published form, as many random alive features. Floor: alpha = 0, and the
    reconstruction alone. Ceilings: the target's hidden state in place of the reference's ('swap'),
    and the target's codes of the selected features in place of theirs ('feature_swap', against as
    many random features).
    """
    tune.check()
    test.check()
    strata = [name for name in means.design.strata if (test.reference.labels.stratum == name).any()]
    if not strata:
        raise UserError(
            "no test row belongs to a stratum of the data set",
            field="steering",
            remedy="Check splits.",
        )
    jobs = []
    for stratum in strata:
        others = tuple(name for name in means.design.strata if name != stratum)
        jobs += [
            (
                stratum,
                "none",
                _references(model, dictionary, test.only(stratum), means, selected, plan),
            )
        ]
        for origin, learned in (("own", (stratum,)), ("others", others)):
            if learned:
                jobs.append(
                    (
                        stratum,
                        origin,
                        _methods(model, dictionary, means, selected, learned, origin, plan),
                    )
                )
    steps = [(stratum, method) for stratum, _, methods in jobs for method in methods]
    table, grid, rows = [], [], []
    alpha_of: dict[tuple[str, str], Setting] = {}
    for stratum, method in progress(steps, "steering", unit="method"):
        tuned = _tune(method, tune.only(stratum), alpha_of.get((stratum, method.origin)))
        if method.name == "difference_of_means":
            alpha_of[stratum, method.origin] = tuned.setting
        summary, per_row = _read(method, tuned, test.only(stratum), plan)
        table.append({"stratum": stratum} | summary)
        rows.append(per_row.assign(stratum=stratum, origin=method.origin, method=method.name))
        grid += [
            {"stratum": stratum, "origin": method.origin, "method": method.name} | entry
            for entry in tuned.grid
        ]
    return Steering(pd.DataFrame(table), pd.DataFrame(grid), pd.concat(rows, ignore_index=True))


NONE: Setting = (float("nan"), float("nan"))


def _references(
    model: ProbedModel,
    dictionary: Dictionary,
    test: Pairs,
    means: UnitMeans,
    selected: np.ndarray,
    plan: SteeringPlan,
) -> list[_Method]:
    """Floor and ceilings; they are read on the test rows they were made of."""
    nothing: Callable[[States, Setting], Iterator[np.ndarray]] = lambda states, setting: iter(())
    others = np.setdiff1d(np.flatnonzero(means.features.max(0) > 0), selected)

    def random(states: States, setting: Setting) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(plan.seed + 3)
        for _ in range(plan.published_random if len(others) else 0):
            yield swapped_features(
                model, dictionary, test, rng.permutation(others)[: len(selected)]
            )

    return [
        _Method(
            "feature_swap",
            "none",
            [NONE],
            lambda states, setting: swapped_features(model, dictionary, test, selected),
            random,
        ),
        _Method("floor", "none", [NONE], lambda states, setting: states.prediction, nothing),
        _Method(
            "reconstruction",
            "none",
            [NONE],
            lambda states, s: reconstructed(model, dictionary, states),
            nothing,
        ),
        _Method("swap", "none", [NONE], lambda states, setting: swapped(model, test), nothing),
    ]


def _methods(
    model: ProbedModel,
    dictionary: Dictionary,
    means: UnitMeans,
    selected: np.ndarray,
    learned: tuple[str, ...],
    origin: str,
    plan: SteeringPlan,
) -> list[_Method]:
    directions = to_host(dictionary.directions)
    methods = []
    for name, vector in all_directions(means, directions, selected, learned):
        methods.append(_added(model, name, origin, of_length(vector, means.spread), plan))
    methods.append(_replaced(model, origin, leace(means, learned), plan))
    shuffled = shuffled_means(means, learned, plan.random_draws, plan.seed)
    methods.append(
        _label_shuffled(model, origin, np.stack([of_length(v, means.spread) for v in shuffled]))
    )
    difference = means.difference(means.features, learned)
    methods.append(_published(model, dictionary, origin, difference, selected, plan))
    return methods


def _added(
    model: ProbedModel, name: str, origin: str, vector: np.ndarray, plan: SteeringPlan
) -> _Method:
    drawn = random_like(vector, plan.random_draws, plan.seed + 1)
    return _Method(
        name,
        origin,
        [(alpha, float("nan")) for alpha in plan.alphas],
        lambda states, setting: steer_added(model, states, vector, setting[0]),
        lambda states, setting: (steer_added(model, states, other, setting[0]) for other in drawn),
    )


def _replaced(
    model: ProbedModel, origin: str, replacement: Replacement, plan: SteeringPlan
) -> _Method:
    drawn = random_like(replacement.write, plan.random_draws, plan.seed + 4)
    return _Method(
        "leace",
        origin,
        [(alpha, float("nan")) for alpha in plan.alphas],
        lambda states, setting: steer_replaced(model, states, replacement, setting[0]),
        lambda states, setting: (
            steer_replaced(model, states, replacement, setting[0], other) for other in drawn
        ),
    )


def _label_shuffled(model: ProbedModel, origin: str, vectors: np.ndarray) -> _Method:
    """Difference of means of shuffled labels, at the length and alpha of the real one."""

    def apply(states: States, setting: Setting) -> np.ndarray:
        return np.stack([steer_added(model, states, vector, setting[0]) for vector in vectors])

    return _Method("label_shuffled", origin, [], apply, lambda states, setting: iter(()))


def _published(
    model: ProbedModel,
    dictionary: Dictionary,
    origin: str,
    difference: np.ndarray,
    selected: np.ndarray,
    plan: SteeringPlan,
) -> _Method:
    up, down = selected[difference[selected] > 0], selected[difference[selected] < 0]
    alive = np.setdiff1d(np.flatnonzero(np.isfinite(difference) & (difference != 0)), selected)

    def random(states: States, setting: Setting) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(plan.seed + 2)
        for _ in range(plan.published_random if len(alive) else 0):
            drawn = rng.permutation(alive)
            sets = Scaling(drawn[: len(up)], drawn[len(up) : len(up) + len(down)], *setting)
            yield steer_scaled(model, dictionary, states, sets)

    return _Method(
        "published",
        origin,
        [(alpha, beta) for alpha in plan.published_alphas for beta in plan.published_betas],
        lambda states, setting: steer_scaled(
            model, dictionary, states, Scaling(up, down, *setting)
        ),
        random,
    )


class _Tuned(NamedTuple):
    setting: Setting
    gc: float
    edge: str
    grid: list[dict[str, float]]


def _tune(method: _Method, pairs: Pairs, given: Setting | None) -> _Tuned:
    """The setting with the largest gap closure on the tune rows."""
    if method.origin == "none" or not method.settings:
        return _Tuned(given or NONE, float("nan"), "", [])
    grid = []
    for alpha, beta in method.settings:
        distance = gaps(method.apply(pairs.reference, (alpha, beta)), pairs)
        grid.append(
            {"alpha": alpha, "beta": beta, "gc": gap_closure(distance.remaining, distance.gap)}
        )
    best = int(np.nanargmax([entry["gc"] for entry in grid]))
    alphas = [alpha for alpha, _ in method.settings]
    edge = {min(alphas): "lowest", max(alphas): "highest"}.get(method.settings[best][0], "")
    return _Tuned(method.settings[best], grid[best]["gc"], edge, grid)


def _read(
    method: _Method, tuned: _Tuned, pairs: Pairs, plan: SteeringPlan
) -> tuple[dict[str, object], pd.DataFrame]:
    distance = _distances(method.apply(pairs.reference, tuned.setting), pairs)
    drawn = [
        gaps(prediction, pairs).remaining
        for prediction in method.random(pairs.reference, tuned.setting)
    ]
    random = np.mean(drawn, axis=0) if drawn else np.full(len(distance.gap), np.nan)
    block = pairs.reference.labels.block
    options = {"resamples": plan.resamples, "seed": plan.seed}
    closed = closure_interval(distance.gap - distance.remaining, distance.gap, block, **options)
    nothing = float("nan")
    lead = (
        closure_interval(random - distance.remaining, distance.gap, block, **options)
        if drawn
        else None
    )
    summary = {
        "origin": method.origin,
        "method": method.name,
        "alpha": tuned.setting[0],
        "beta": tuned.setting[1],
        "at_edge": tuned.edge,
        "tuned_gc": tuned.gc,
        "gc": closed.value,
        "gc_low": closed.low,
        "gc_high": closed.high,
        "gc_random": gap_closure(random, distance.gap) if drawn else nothing,
        "gc_minus_random": lead.value if lead else nothing,
        "gc_minus_random_low": lead.low if lead else nothing,
        "gc_minus_random_high": lead.high if lead else nothing,
        "overshoot": float(distance.beyond.sum() / distance.gap.sum())
        if distance.gap.sum() > 0
        else nothing,
        "worse": float((distance.remaining > distance.gap).mean()),
        "rows": len(block),
        "blocks": len(np.unique(block)),
    }
    per_row = pd.DataFrame(
        {
            "window": pairs.reference.labels.window,
            "block": block,
            "remaining": distance.remaining,
            "gap": distance.gap,
            "random_remaining": random,
        }
    )
    return summary, per_row


def _distances(steered: np.ndarray, pairs: Pairs) -> Gaps:
    """Distances of one prediction (N, T'), or the mean over several draws (R, N, T')."""
    if steered.ndim == 2:
        return gaps(steered, pairs)
    several = [gaps(draw, pairs) for draw in steered]
    return Gaps(
        *(np.mean([getattr(each, name) for each in several], axis=0) for name in Gaps._fields)
    )
