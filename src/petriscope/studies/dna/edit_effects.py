"""What edits of features do to a head's log odds on held-out groups, and whether that bears out the
three claims: an off switch, a dimmer, two kinds of features that differ.

Features are chosen on `select` groups (`choose_features`), judged on `test` groups, beside features
matched one to one on firing rate and weight (`causal.edits.matched_sets`). Source: design
section 6.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy import special
from scipy import stats as st
from statsmodels.stats.multitest import multipletests

from petriscope.causal.edits import Firing, firing, matched_sets
from petriscope.contrast.effects import hedges_correction, hedges_g_av
from petriscope.errors import UserError
from petriscope.parallel import in_processes
from petriscope.studies.dna.areas import (
    Estimate,
    area_draws,
    area_under_roc,
    calibration,
    group_weights,
    interval,
)
from petriscope.studies.dna.head import CNNHead, check_two_classes, probability
from petriscope.studies.dna.interventions import (
    Edited,
    Reader,
    along_another,
    check_strength,
    clamped,
    reconstruction,
    scaled,
    together,
    without_features,
)

SIDES = ("positive", "negative")
ENOUGH = 10
"""features a side without which the two sides cannot be told apart"""
RANDOM_DIRECTIONS = 20
FACTOR, NEIGHBORS, LEAST_CONTROLS = 2.0, 25, 10
"""Another feature stands in for one where firing rate and weight are within this factor; so many of
them at most, and so many at least for the feature to be judged."""
_LEAST_SEQUENCES = 10  # with a number of co-present features, for that number to be a step
NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def choose_features(
    rate: np.ndarray, label: np.ndarray, group: np.ndarray, stratum: np.ndarray, alive: np.ndarray
) -> pd.DataFrame:
    """How the rate of each feature differs between classes, within strata (length bins).

    rate (S, m) share of a sequence's tokens on which a feature fires; label (S,) bool; alive (m,)
    bool. Least squares of the rate on class with a level per stratum; the standard error is
    clustered by group (HC0 sandwich times G/(G−1)), t has G − 1 degrees of freedom, q is
    Benjamini–Hochberg over alive features. Strata with one class do not count. Returns columns
    feature, difference, t, p, q, of alive features, ascending by q. Raises `UserError` where no
    stratum holds both classes.
    """
    check_two_classes(label, "the sequences features are chosen on")
    _, stratum = np.unique(stratum, return_inverse=True)
    size = np.bincount(stratum)
    share = np.bincount(stratum, label.astype(float)) / size
    used = (share[stratum] > 0) & (share[stratum] < 1)
    if not used.any():
        raise UserError(
            "no length bin holds sequences of both classes",
            field="sequences",
            remedy="Take sequences of like lengths in both classes, or a wider graph.length_bin.",
        )
    x = (label - share[stratum])[used]
    level = stratum[used]
    y = rate[used].astype(np.float64)
    means = np.zeros((len(size), y.shape[1]))
    np.add.at(means, level, y)
    y -= (means / np.maximum(size, 1)[:, None])[level]
    slope = x @ y / (x @ x)
    score = x[:, None] * (y - x[:, None] * slope)
    _, cluster = np.unique(group[used], return_inverse=True)
    groups = int(cluster.max()) + 1
    summed = np.zeros((groups, y.shape[1]))
    np.add.at(summed, cluster, score)
    error = np.sqrt((summed**2).sum(0) * groups / max(1, groups - 1)) / (x @ x)
    t = np.divide(slope, error, out=np.zeros_like(slope), where=error > 0)
    p = 2 * special.stdtr(max(1, groups - 1), -np.abs(t))
    chosen = np.flatnonzero(alive)
    q = multipletests(p[chosen], method="fdr_bh")[1] if len(chosen) else p[chosen]
    table = {"feature": chosen, "difference": slope[chosen], "t": t[chosen], "p": p[chosen], "q": q}
    return pd.DataFrame(table).sort_values(["q", "p", "feature"], ignore_index=True)


def firing_rates(codes: sp.csr_matrix, sequence: np.ndarray, size: int) -> np.ndarray:
    """(size, m) share of each sequence's tokens on which each feature fires; codes (k, m),
    ``sequence`` (k,) of each token."""
    codes = sp.csr_matrix((np.ones(codes.nnz), codes.indices, codes.indptr), codes.shape)
    member = sp.csr_matrix(
        (np.ones(len(sequence)), (sequence, np.arange(len(sequence)))), (size, len(sequence))
    )
    counts = np.bincount(sequence, minlength=size)
    return np.asarray((member @ codes).toarray() / np.maximum(counts, 1)[:, None], np.float32)


class Plan(NamedTuple):
    """What is tried."""

    doses: tuple[float, ...]
    random: int
    """matched random features of each, and so many sets"""
    alpha: float
    bootstrap: int
    seed: int

    def check(self) -> Plan:
        """Return self where the doses can be given; else raise `UserError`."""
        for dose in self.doses:
            check_strength("doses", dose)
        if len(set(self.doses)) < 3:
            remedy = "Give three different ones at least."
            raise UserError("are too few", field="interventions.doses", remedy=remedy)
        return self


class Slope(NamedTuple):
    """A slope on held-out groups, beside that of matched controls."""

    value: Estimate
    control: float
    """95 % point of the controls'"""
    monotone: bool

    @property
    def holds(self) -> bool:
        """Monotone, above zero over groups, and above the controls."""
        return self.monotone and self.value.low > 0 and self.value.value > self.control


NO_SLOPE = Slope(NOTHING, float("nan"), False)


@dataclass(frozen=True)
class Judged:
    """Tables and what they say."""

    alpha: float
    effects: pd.DataFrame
    """a row per feature, arm and dose"""
    controls: pd.DataFrame
    """a row per feature: drop of AUC beside its matched controls'"""
    copresence: pd.DataFrame
    """a row per number of co-present positive features"""
    auc: Estimate
    """of the unedited head"""
    drop: Estimate
    """of AUC by suppressing the one feature that most exceeds its own controls"""
    drop_feature: int
    drop_p: float
    """chance of a drop as large among features like it, Bonferroni over the features judged"""
    drop_control: float
    """the drop at which that chance is alpha"""
    dose: Slope
    present: Slope
    interaction: Estimate
    """class × dose: slope of the positive side's features plus that of the negative's, whose signs
    are opposite where they are alike"""
    interaction_control: float
    """95 % point of its size in matched sets"""

    @property
    def off_switch(self) -> bool:
        """Suppression of one feature lowers AUC more than matched controls, over groups."""
        return bool(self.drop_p <= self.alpha and self.drop.low > 0 and self.auc.low > 0.5)

    @property
    def dimmer(self) -> bool:
        """Monotone in dose and in the number of co-present features, above matched controls."""
        return bool(self.dose.holds and self.present.holds and self.auc.low > 0.5)

    @property
    def asymmetry(self) -> bool:
        """The interaction is not zero over groups and larger than in matched sets."""
        low, high = self.interaction.low, self.interaction.high
        beyond = abs(self.interaction.value) > self.interaction_control
        return bool((low > 0 or high < 0) and beyond and self.auc.low > 0.5)


def dose_slopes(shift: np.ndarray, doses: Sequence[float]) -> np.ndarray:
    """Least-squares slope on the dose of shifts (..., D, n): (..., n)."""
    x = np.asarray(doses, np.float64)
    x = x - x.mean()
    return np.asarray(np.tensordot(shift, x, axes=(-2, 0)) / (x @ x))


def judge(
    network: CNNHead,
    edited: Edited,
    label: np.ndarray,
    group: np.ndarray,
    chosen: Mapping[str, np.ndarray],
    directions: Mapping[str, np.ndarray],
    plan: Plan,
    active: np.ndarray | None = None,
) -> Judged:
    """Edit the ``chosen`` features of either side (arrays by `SIDES`, possibly empty) and their
    matched controls under ``network``.

    ``edited``: test sequences, ``label`` (S,) bool and ``group`` (S,) theirs. ``directions``: other
    directions (d,) along which edits of the same size are tried; ``active``: features chosen for
    their activation alone, suppressed one by one. Raises `UserError` on one class, a
    feature out of range or silent, a dose that is negative or not finite.
    """
    plan.check()
    check_two_classes(label, "the sequences edits are judged on")
    chosen = {side: edited.check_features(chosen.get(side, np.zeros(0, int))) for side in SIDES}
    every = np.concatenate([chosen[side] for side in SIDES])
    active = edited.check_features(np.zeros(0, int) if active is None else active)
    if not len(every):
        raise UserError("names no feature", field="feature", remedy="Choose one at least.")
    reader = Reader(network, edited)
    stats = firing(edited.codes, edited.directions)
    matched = {
        side: _matched(chosen[side], every, stats, plan.random, plan.seed + i)
        for i, side in enumerate(SIDES)
    }
    controls = {int(feature): alike(feature, every, stats) for feature in every}
    asked_of = [every, *controls.values(), *(sets.ravel() for sets in matched.values())]
    needed = np.unique(np.concatenate(asked_of))
    doses = (0.0, *(dose for dose in plan.doses if dose != 0))
    factors = [dose - 1 for dose in doses]

    def one(feature: int) -> np.ndarray:
        found = reader.shifted(scaled(edited, feature), factors) - reader.margin
        return np.asarray(found, np.float32)

    at = {int(feature): i for i, feature in enumerate(needed)}
    parts = in_processes(one, needed.tolist(), "doses of features", unit="feature")
    shift = np.stack(list(parts))  # (needed, D, S), the first dose is 0
    asked = [doses.index(dose) for dose in plan.doses]

    draws = _Draws(label, group, plan)
    effects = _effects(reader, edited, every, shift, at, doses, asked, directions, active, draws)
    judged, drop = _drops(reader.margin, chosen, controls, shift[:, 0], at, draws)
    where = {side: np.array([at[int(f)] for f in chosen[side]], int) for side in SIDES}
    sets = {
        side: np.array([at[int(f)] for f in matched[side].ravel()], int).reshape(
            matched[side].shape
        )
        for side in SIDES
    }
    slopes = dose_slopes(shift[:, asked], plan.doses)  # (needed, S)
    present, bins = _copresence(reader, edited, chosen["positive"], matched["positive"], draws)
    dose = _dose(shift[:, asked], slopes, where["positive"], sets["positive"], plan, draws)
    interaction, beyond = _interaction(slopes, where, sets, draws)
    area = draws.area(reader.margin)
    return Judged(
        plan.alpha, effects, judged, bins, area, *drop, dose, present, interaction, beyond
    )


def _matched(
    target: np.ndarray, every: np.ndarray, stats: Firing, sets: int, seed: int
) -> np.ndarray:
    """(sets, k) matched sets without any chosen feature; (0, k) where there is no target."""
    if not len(target):
        return np.zeros((0, 0), int)
    others = np.setdiff1d(every, target)
    rate = stats.rate.copy()
    rate[others] = 0
    return matched_sets(target, Firing(rate, stats.weight), sets, seed)


def alike(feature: int, every: np.ndarray, stats: Firing) -> np.ndarray:
    """The features that can stand in for one: none of those chosen, firing rate and weight each
    within a factor of `FACTOR`; the `NEIGHBORS` nearest of them on the logarithms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs([np.log(values / values[feature]) for values in stats])
    near = np.flatnonzero((away <= np.log(FACTOR)).all(0))
    near = np.setdiff1d(near, every)
    order = np.argsort((away[:, near] ** 2).sum(0), kind="stable")
    return near[order[:NEIGHBORS]]


class _Draws:
    """Resampled groups, the same for every statistic."""

    def __init__(self, label: np.ndarray, group: np.ndarray, plan: Plan) -> None:
        self.label, self.group, self.plan = label, group, plan
        self.groups = len(np.unique(group))
        self.weights = np.concatenate(list(group_weights(group, plan.bootstrap, plan.seed)))

    def mean(self, values: np.ndarray) -> Estimate:
        """Of values (S,), over sequences."""
        return interval(np.append(values.mean(), self.drawn(values)), self.groups)

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """(R,) weighted means of values (S,)."""
        return np.asarray(self.weights @ values / self.weights.sum(1))

    def paired(self, after: np.ndarray, before: np.ndarray) -> Estimate:
        """Hedges g of group means of two log odds (S,), paired by group; draws resample groups."""
        names, index = np.unique(self.group, return_inverse=True)
        count = np.bincount(index)
        a, b = (np.bincount(index, x) / count for x in (after, before))
        value = float(hedges_g_av(a[:, None], b[:, None])[0]) if len(names) > 2 else float("nan")
        first = np.unique(index, return_index=True)[1]
        w = self.weights[:, first]
        n = w.sum(1)
        spread = np.zeros(len(w))
        for x in (a, b):
            variance = np.maximum(w @ x**2 / n - (w @ x / n) ** 2, 0)
            spread += np.sqrt(variance * n / (n - 1)) / 2
        correction = hedges_correction(max(2, len(names) - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = (w @ (a - b)) / n / spread * correction
        return interval(np.append(value, drawn), self.groups)

    def area(self, margin: np.ndarray) -> Estimate:
        """AUC of log odds (S,)."""
        return interval(self.areas(margin[None])[0], self.groups)

    def areas(self, margins: np.ndarray) -> np.ndarray:
        """(M, 1 + R) AUC of log odds (M, S)."""
        plan = self.plan
        return area_draws(margins, self.label, self.group, plan.bootstrap, plan.seed)

    def slope(self, x: np.ndarray, y: np.ndarray) -> Estimate:
        """Least-squares slope of y on x (S,)."""
        w = np.concatenate([np.ones((1, len(x))), self.weights])
        n = w.sum(1)
        mean_x, mean_y = w @ x / n, w @ y / n
        spread = w @ x**2 / n - mean_x**2
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(spread > 1e-9, (w @ (x * y) / n - mean_x * mean_y) / spread, np.nan)
        return interval(found, self.groups)


def _effects(
    reader: Reader,
    edited: Edited,
    every: np.ndarray,
    shift: np.ndarray,
    at: Mapping[int, int],
    doses: Sequence[float],
    asked: Sequence[int],
    directions: Mapping[str, np.ndarray],
    active: np.ndarray,
    draws: _Draws,
) -> pd.DataFrame:
    """A row per feature, arm and dose: change of log odds and of AUC with limits, paired g,
    calibration."""
    cells: list[tuple[int, str, float, np.ndarray]] = []
    rest = Reader(reader.network, edited, without_features(edited))
    rng = np.random.default_rng(draws.plan.seed)
    random = rng.normal(size=(RANDOM_DIRECTIONS, edited.directions.shape[1]))

    def other_arms(feature: int) -> list[tuple[int, str, float, np.ndarray]]:
        found = [(feature, "keep only", 1.0, rest.shifted(scaled(edited, feature))[0])]
        raised = float(np.quantile(edited.columns[:, [feature]].data, 0.95))
        lifted = reader.shifted(clamped(edited, feature, raised))[0]
        found.append((feature, "clamp to its 95 % point", raised, lifted))
        for name, direction in directions.items():
            moved = reader.shifted(along_another(edited, feature, direction), (-1,))[0]
            found.append((feature, f"as far along {name}", 0.0, moved))
        moved = np.stack(
            [reader.shifted(along_another(edited, feature, r), (-1,))[0] for r in random]
        )
        found += [(feature, "as far along a random direction", 0.0, row) for row in moved]
        return found

    for feature in every.tolist():
        for i in asked:
            arm = "suppress" if doses[i] == 0 else "scale"
            cells.append((feature, arm, doses[i], reader.margin + shift[at[feature], i]))
    for found in in_processes(other_arms, every.tolist(), "other arms", unit="feature"):
        cells += found
    for feature in active.tolist():
        moved = reader.shifted(scaled(edited, feature), (-1,))[0]
        cells.append((feature, "suppress the most active", 0.0, moved))
    whole = Reader(reader.network, edited, reconstruction(edited))
    cells.append((-1, "reconstruction only", 1.0, whole.margin))
    cells.append((-1, "all features suppressed", 0.0, rest.margin))
    areas = draws.areas(np.concatenate([reader.margin[None], np.stack([c[3] for c in cells])]))
    rows = []
    for (feature, arm, dose, margin), area in zip(cells, areas[1:]):
        change = draws.mean(margin - reader.margin)
        fell = interval(area - areas[0], draws.groups)
        g = draws.paired(margin, reader.margin)
        chance = probability(margin)
        kept = calibration(chance, draws.label)
        positive = margin[draws.label] - reader.margin[draws.label]
        rows.append(
            {"feature": feature, "arm": arm, "dose": dose}
            | dict(zip(("shift", "shift_low", "shift_high"), change))
            | {"shift_positives": positive.mean()}
            | dict(zip(("g", "g_low", "g_high"), g))
            | {"auc": area[0]}
            | dict(zip(("auc_change", "auc_change_low", "auc_change_high"), fell))
            | {"chance": chance.mean(), "calibration_shift": kept.shift}
            | {"calibration_error": kept.error}
        )
    return pd.DataFrame(rows)


def _drops(
    margin: np.ndarray,
    chosen: Mapping[str, np.ndarray],
    controls: Mapping[int, np.ndarray],
    suppressed: np.ndarray,
    at: Mapping[int, int],
    draws: _Draws,
) -> tuple[pd.DataFrame, tuple[Estimate, int, float, float]]:
    """Drop of AUC by suppressing each feature, beside its own matched controls: how many of their
    standard deviations it lies above their mean. One drop more like its ``controls`` (`alike`) is
    t-distributed in these units (a prediction interval); Bonferroni over the features answers that
    the clearest of several is judged. A feature that fires as no others do is not."""
    whole = area_under_roc(margin, draws.label)
    fell = np.array([whole - area_under_roc(margin + row, draws.label) for row in suppressed])
    rows, above = [], {}
    for side in SIDES:
        for feature in chosen[side].tolist():
            null, own = fell[[at[f] for f in controls[feature].tolist()]], fell[at[feature]]
            judged = len(null) >= LEAST_CONTROLS and null.std() > 0
            if judged:
                above[feature] = null
            some = null if len(null) else np.full(1, np.nan)
            rows.append(
                {"feature": feature, "side": side, "auc_drop": own}
                | {"control_mean": some.mean(), "control_sd": some.std()}
                | {"control_95": np.quantile(some, 0.95)}
                | {"p": (1 + (null >= own).sum()) / (1 + len(null))}
                | {"controls": len(null), "judged": judged}
            )
    table = pd.DataFrame(rows)
    if not above:
        return table, (NOTHING, -1, float("nan"), float("nan"))
    z = {f: (fell[at[f]] - null.mean()) / _spread(null) for f, null in above.items()}
    chance = {f: float(st.t.sf(z[f], len(null) - 1)) for f, null in above.items()}
    best = min(chance, key=lambda feature: (chance[feature], feature))
    both = draws.areas(np.stack([margin, margin + suppressed[at[best]]]))
    estimate = interval(both[0] - both[1], draws.groups)
    null, tested = above[best], len(above)
    beyond = st.t.isf(draws.plan.alpha / tested, len(null) - 1)
    limit = float(null.mean() + beyond * _spread(null))
    p = min(1.0, tested * chance[best])
    return table, (estimate, best, p, limit)


def _spread(null: np.ndarray) -> float:
    """Standard deviation of one value more, less the mean of these."""
    return float(null.std(ddof=1) * np.sqrt(1 + 1 / len(null)))


def _dose(
    shift: np.ndarray,
    slopes: np.ndarray,
    own: np.ndarray,
    sets: np.ndarray,
    plan: Plan,
    draws: _Draws,
) -> Slope:
    """Does the mean shift of the positive side's features rise with the dose?"""
    if not len(own):
        return NO_SLOPE
    mean = shift[own].mean((0, 2))[np.argsort(plan.doses)]
    control = slopes[sets].mean((1, 2))
    return Slope(
        draws.mean(slopes[own].mean(0)),
        float(np.quantile(control, 0.95)),
        bool((np.diff(mean) >= 0).all() and mean[-1] > mean[0]),
    )


def _copresence(
    reader: Reader, edited: Edited, own: np.ndarray, sets: np.ndarray, draws: _Draws
) -> tuple[Slope, pd.DataFrame]:
    """Do sequences lose more log odds, all features of a set suppressed, the more of it they
    have?"""
    if not len(own):
        return NO_SLOPE, pd.DataFrame(columns=["present", "sequences", "lost", "low", "high"])

    def lost(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edit = together(edited, features)
        fires = np.zeros((len(reader.margin), len(features)), bool)
        np.logical_or.at(fires, edited.place[0], edit.coefficients != 0)
        return fires.sum(1).astype(float), reader.margin - reader.shifted(edit, (-1,))[0]

    def slope_of(features: np.ndarray) -> float:
        count, effect = lost(features)
        spread = count - count.mean()
        total = float(spread @ spread)
        return float(spread @ effect) / total if total > 0 else 0.0

    control = list(in_processes(slope_of, list(sets), "matched sets suppressed", unit="set"))
    count, effect = lost(own)
    rows, steps = [], []
    for number in np.unique(count):
        rows.append(int(number))
        steps.append(count == number)
    kept = [(n, s) for n, s in zip(rows, steps) if s.sum() >= _LEAST_SEQUENCES]
    estimates = [_mean_where(effect, s, draws) for _, s in kept]
    table = pd.DataFrame(
        [
            {"present": n, "sequences": int(s.sum())} | dict(zip(("lost", "low", "high"), e))
            for (n, s), e in zip(kept, estimates)
        ],
        columns=["present", "sequences", "lost", "low", "high"],
    )
    # a step down that its interval cannot tell from level is level
    falls = any(b.high < a.low for a, b in itertools.pairwise(estimates))
    slope = draws.slope(count, effect)
    return Slope(slope, float(np.quantile(control, 0.95)), len(kept) > 1 and not falls), table


def _mean_where(values: np.ndarray, where: np.ndarray, draws: _Draws) -> Estimate:
    weights = draws.weights[:, where]
    total = weights.sum(1)
    drawn = np.divide(
        weights @ values[where], total, out=np.full(len(total), np.nan), where=total > 0
    )
    groups = len(np.unique(draws.group[where]))
    return interval(np.append(values[where].mean(), drawn), groups)


def _interaction(
    slopes: np.ndarray,
    where: Mapping[str, np.ndarray],
    sets: Mapping[str, np.ndarray],
    draws: _Draws,
) -> tuple[Estimate, float]:
    """Class × dose: with either side's slopes in its own direction, their difference is the sum of
    the raw slopes."""
    if not all(len(where[side]) for side in SIDES):
        return NOTHING, float("nan")
    own = sum(slopes[where[side]].mean(0) for side in SIDES)
    null = sum(slopes[sets[side]].mean((1, 2)) for side in SIDES)
    return draws.mean(np.asarray(own)), float(np.quantile(np.abs(null), 0.95))
