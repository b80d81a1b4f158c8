"""The verbs `ablate`, `scale` and `clamp` edit features of a dictionary on every token of some
windows of any probed model, and read how far its prediction moves.

The edit is error-preserving, h' = h + dec(z') - dec(z): what the dictionary does not reconstruct
stays. The effect is the mean absolute change of the prediction, and chance is what random sets of
features do that fire as often and weigh as much (`edits.matched_sets`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from petriscope.causal.edits import Activity, matched_sets
from petriscope.causal.held import Readout, hold
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles, hedges_g_av
from petriscope.contrast.inference import one_sample, sign_flip
from petriscope.errors import UserError
from petriscope.parallel import in_processes
from petriscope.probe.model import Inputs, ProbedModel
from petriscope.probe.states import Dictionary, States, predict_edited
from petriscope.shown import ACCENT, GREY, INK, Estimate, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Edited = Callable[[Activity, np.ndarray], Tensor]
"""What an edit of some features adds to the tokens (n, d)."""


def ablate(
    model: ProbedModel,
    inputs: Inputs,
    sae: Dictionary,
    features: Sequence[int] | np.ndarray,
    layer: int,
    *,
    windows: int | Sequence[int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    readout: Readout | None = None,
) -> FeatureEdit:
    """Remove ``features`` from the residual stream after ``layer``.

    Parameters
    ----------
    model, inputs : ProbedModel, Inputs
        Any probed model and the study's inputs to it.
    sae : SAE
        A sparse autoencoder of that layer, or a rival with its interface.
    features : sequence of int
        (k,) latents to remove, at every token.
    layer : int
        The layer after which they are removed; 0 is before the first block.
    windows : int or sequence of int, optional
        Numbers of windows, or how many of split ``test``, evenly spread (None: 8).
    seed : int
        Of the random sets and the intervals.
    device : str
        ``cpu``, ``cuda`` or ``auto``; the model is moved there.
    readout : callable, optional
        Maps the model's prediction (B, ...) to what is read; None reads all of it.

    Returns
    -------
    FeatureEdit
        ``effect()``, ``against_random(draws)``, ``table()``, ``plot()``.

    Raises
    ------
    UserError
        Where a feature does not exist, none fires, or the probe breaks a promise.

    Notes
    -----
    Source: error-preserving ablation, h' = h + dec(z') - dec(z), arXiv 2403.19647.

    Examples
    --------
    >>> cut = ps.ablate(run.model, run.inputs, sae, score.top(3), layer=2, windows=2)
    >>> cut.effect().value > 0, len(cut.against_random(5).random)
    (True, 5)
    """
    return _edited(
        "ablate", Activity.removed, model, inputs, sae, features, layer, windows, seed, device,
        readout,
    )  # fmt: skip


def scale(
    model: ProbedModel,
    inputs: Inputs,
    sae: Dictionary,
    features: Sequence[int] | np.ndarray,
    factor: float,
    layer: int,
    *,
    windows: int | Sequence[int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    readout: Readout | None = None,
) -> FeatureEdit:
    """Multiply the activation of ``features`` by ``factor`` wherever they fire.

    Parameters
    ----------
    factor : float
        0 is `ablate`, 1 changes nothing. All else as `ablate`.

    Returns
    -------
    FeatureEdit
        As `ablate`.

    Raises
    ------
    UserError
        Where a feature does not exist, or the probe breaks a promise.

    Examples
    --------
    >>> top = score.top(3)
    >>> ps.scale(run.model, run.inputs, sae, top, 1.0, layer=2, windows=2).effect().value
    0.0
    """

    def edit(activity: Activity, chosen: np.ndarray) -> Tensor:
        return activity.scaled(chosen, factor)

    return _edited(
        f"scale by {factor:g}", edit, model, inputs, sae, features, layer, windows, seed, device,
        readout,
    )  # fmt: skip


def clamp(
    model: ProbedModel,
    inputs: Inputs,
    sae: Dictionary,
    features: Sequence[int] | np.ndarray,
    value: float,
    layer: int,
    *,
    windows: int | Sequence[int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    readout: Readout | None = None,
) -> FeatureEdit:
    """Set the activation of ``features`` to ``value`` at every token, whether they fire or not.

    Parameters
    ----------
    value : float
        In the dictionary's scaled units, those of the codes. All else as `ablate`.

    Returns
    -------
    FeatureEdit
        As `ablate`.

    Raises
    ------
    UserError
        Where a feature does not exist, or the probe breaks a promise.

    Examples
    --------
    >>> cut = ps.clamp(run.model, run.inputs, sae, score.top(3), 0.0, layer=2, windows=2)
    >>> gone = ps.ablate(run.model, run.inputs, sae, score.top(3), layer=2, windows=2)
    >>> bool(np.isclose(cut.effect().value, gone.effect().value))
    True
    """

    def edit(activity: Activity, chosen: np.ndarray) -> Tensor:
        return activity.clamped(chosen, value)

    return _edited(
        f"clamp at {value:g}", edit, model, inputs, sae, features, layer, windows, seed, device,
        readout,
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class FeatureEdit(Printed):
    """What editing a set of features does to the prediction."""

    what: str
    features: np.ndarray
    """(k,) the edited features."""
    layer: int
    blocks: pd.DataFrame
    """One row per block: block, effect (mean absolute change of the prediction), edit (mean norm
    of the change of the stream per token), rows."""
    windows: int
    seed: int
    _model: ProbedModel
    _states: list[States]
    _activity: Activity
    _edit: Edited

    @property
    def heading(self) -> str:
        """What was done, in one line."""
        return (
            f"{self.what} {len(self.features)} features after layer {self.layer}: mean absolute "
            f"change of the prediction, {self.windows} windows, {len(self.blocks)} blocks"
        )

    def effect(self) -> Estimate:
        """Mean absolute change of the prediction, averaged over blocks, with its block-bootstrap
        95 % limits (NaN with one block)."""
        values = self.blocks["effect"].to_numpy()
        low, high = block_limits(values[:, None], 2000, self.seed)
        return Estimate("mean |change|", float(values.mean()), low, high, len(values), "blocks")

    def against_random(self, draws: int = 100) -> AgainstRandom:
        """The effect beside that of ``draws`` random sets of as many features, matched on firing
        rate and decoder-weighted activation, and paired over blocks."""
        features = self.features[np.isin(self.features, self._alive())]
        drawn = matched_sets(features, self._activity.firing, draws, self.seed + len(features))

        def one(number: int) -> pd.DataFrame:
            found = measured(self._model, self._states, self._edit(self._activity, drawn[number]))
            return block_means(found, ["block"]).assign(draw=number)

        frames = list(in_processes(one, range(draws), "random sets", unit="set"))
        random = pd.concat(frames, ignore_index=True)
        by_block = random.pivot_table(index="block", columns="draw", values="effect")
        mine = self.blocks.set_index("block")["effect"].reindex(by_block.index).to_numpy()
        sizes = {"edit": self.blocks["edit"].mean(), "edit_random": random["edit"].mean()}
        tested = paired(mine, by_block.to_numpy(), 10_000, 2000, self.seed)
        return AgainstRandom(self.heading, tested | sizes, by_block.mean().to_numpy(), drawn)

    def table(self) -> pd.DataFrame:
        """One row: k, the effect with its limits, the mean norm of the edit, rows and blocks."""
        effect = self.effect()
        return pd.DataFrame(
            [
                {
                    "edit": self.what,
                    "layer": self.layer,
                    "k": len(self.features),
                    "effect": effect.value,
                    "low": effect.low,
                    "high": effect.high,
                    "norm": self.blocks["edit"].mean(),
                    "rows": int(self.blocks["rows"].sum()),
                    "blocks": len(self.blocks),
                }
            ]
        )

    def plot(self) -> Figure:
        """The effect in each block."""
        figure, axes = panel()
        effect = self.effect()
        axes.bar(np.arange(len(self.blocks)), np.sort(self.blocks["effect"])[::-1], color=GREY)
        axes.axhline(effect.value, color=INK, label="mean, 95 % limits")
        if np.isfinite(effect.low):
            axes.axhspan(effect.low, effect.high, color=INK, alpha=0.15, linewidth=0)
        axes.set(xlabel="block, by effect", ylabel="mean |change| of the prediction")
        axes.set_title(f"{self.what}: {len(self.features)} features, layer {self.layer}")
        axes.set_xticks([])
        axes.legend(frameon=False)
        return figure

    def _alive(self) -> np.ndarray:
        return np.flatnonzero(self._activity.firing.rate > 0)


@dataclass(frozen=True, repr=False)
class AgainstRandom(Printed):
    """An edit's effect beside that of matched random sets."""

    of: str
    """the edit, in one line"""
    numbers: dict[str, Any]
    """value, random (mean of the sets), ratio, difference with low and high (t over blocks),
    excess_low and excess_high (limits of the difference to one random set), t, p, p_permutation,
    g_av with limits, p_rank, random_sets, blocks, edit and edit_random."""
    random: np.ndarray
    """(draws,) effect of each random set."""
    sets: np.ndarray
    """(draws, k) their features."""

    @property
    def heading(self) -> str:
        """What was done, in one line."""
        return f"{self.of}; against {len(self.sets)} matched random sets"

    def table(self) -> pd.DataFrame:
        """One row of ``numbers``."""
        return pd.DataFrame([self.numbers])

    def _shown(self) -> pd.DataFrame:
        shown = ("value", "random", "ratio", "difference", "low", "high", "p", "p_rank", "g_av")
        return self.table()[list(shown)]

    def plot(self) -> Figure:
        """The random sets' effects as a histogram, the edit's as a line."""
        figure, axes = panel()
        axes.hist(self.random, bins=20, color=GREY, label=f"{len(self.sets)} matched random sets")
        axes.axvline(self.numbers["value"], color=ACCENT, label="these features")
        axes.set(xlabel="mean |change| of the prediction", ylabel="random sets")
        axes.margins(y=0.25)
        axes.legend(frameon=False, loc="upper left")
        return figure


def _edited(
    what: str,
    edit: Edited,
    model: ProbedModel,
    inputs: Inputs,
    sae: Dictionary,
    features: Sequence[int] | np.ndarray,
    layer: int,
    windows: int | Sequence[int] | None,
    seed: int,
    device: str,
    readout: Readout | None,
) -> FeatureEdit:
    chosen = checked_features(features, len(sae.directions))
    states = hold(model, inputs, layer, windows=windows, device=device, readout=readout)
    activity = Activity.of(sae, states)
    if not (activity.firing.rate[chosen] > 0).any() and what == "ablate":
        raise UserError(
            "none of them fires on these windows",
            field="features",
            remedy="Take more windows, or other features.",
        )
    blocks = block_means(measured(model, states, edit(activity, chosen)), ["block"])
    return FeatureEdit(
        what, chosen, layer, blocks, len(states), seed, model, states, activity, edit
    )


def checked_features(features: Sequence[int] | np.ndarray, m: int) -> np.ndarray:
    """Distinct latents of a dictionary of ``m``. Raises `UserError` naming the one that is not."""
    chosen = np.asarray(features, np.int64).ravel()
    wrong = chosen[(chosen < 0) | (chosen >= m)]
    if len(wrong) or len(chosen) == 0:
        raise UserError(
            f"names {wrong[0]}, of {m}" if len(wrong) else "is empty",
            field="features",
            remedy=f"Choose some of 0 to {m - 1}.",
        )
    return np.asarray(pd.unique(chosen))


def measured(
    model: ProbedModel,
    states: Sequence[States],
    delta: Tensor,
    toward: np.ndarray | None = None,
) -> pd.DataFrame:
    """Change of the prediction when ``delta`` (n, d) is added to the tokens of ``states``: sums
    over what is read, a row per model row (stratum, block, effect, shift, bins, edit, rows).

    ``toward`` (N, ...), of single states: where the prediction would go; shift is the change in
    its direction.
    """
    parts = delta.split([int(part.kept.sum()) for part in states])
    return pd.concat(
        [
            _per_row(part, added, predict_edited(model, part, added), toward)
            for part, added in zip(states, parts)
        ],
        ignore_index=True,
    )


def block_means(per_row: pd.DataFrame, units: list[str]) -> pd.DataFrame:
    """One row per unit: means over what is read of its rows."""
    sums = [n for n in ("effect", "shift", "bins", "edit", "rows") if n in per_row]
    summed = per_row.groupby(units, as_index=False)[sums].sum()
    means = {n: summed[n] / summed["bins"] for n in ("effect", "shift") if n in summed}
    return pd.DataFrame(
        {unit: summed[unit] for unit in units}
        | means
        | {"edit": summed["edit"] / summed["rows"], "rows": summed["rows"]}
    )


def _per_row(
    states: States, delta: Tensor, prediction: np.ndarray, toward: np.ndarray | None
) -> pd.DataFrame:
    change = prediction - states.prediction
    read = states.read.reshape(states.read.shape + (1,) * (change.ndim - states.read.ndim))

    def total(values: np.ndarray) -> np.ndarray:
        return np.where(read, values, 0).reshape(len(values), -1).sum(1)

    sums = {"effect": total(np.abs(change))}
    if toward is not None:
        sums["shift"] = total(change * np.sign(toward))
    frame = pd.DataFrame(
        {"stratum": states.labels.stratum, "block": states.labels.block}
        | sums
        | {
            "bins": np.broadcast_to(read, change.shape).reshape(len(change), -1).sum(1),
            "edit": _mean_norm(delta, states.kept),
            "rows": 1,
        }
    )
    return frame[states.labels.window >= 0]


def _mean_norm(delta: Tensor, kept: np.ndarray) -> np.ndarray:
    """(N,) mean norm of each row's tokens."""
    norm, counts = delta.norm(dim=1), kept.sum(1)
    if (counts == counts[0]).all():
        return np.asarray(norm.reshape(len(counts), -1).mean(1).cpu().numpy())
    total = np.bincount(np.nonzero(kept)[0], norm.cpu().numpy(), minlength=len(counts))
    return np.asarray(total / np.maximum(counts, 1), np.float32)


def block_limits(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Block-bootstrap limits of the mean of values (B, 1); NaN with one block."""
    if len(values) < 2:
        return np.nan, np.nan
    low, high = expanded_percentiles(
        bootstrap_counts(len(values), resamples, seed) @ values / len(values), len(values)
    )
    return float(low[0]), float(high[0])


def paired(
    values: np.ndarray, random: np.ndarray, permutations: int, resamples: int, seed: int
) -> dict[str, float | int]:
    """One arm (B,) against random sets (B, R) over the same blocks."""
    blocks, sets = random.shape
    baseline = random.mean(1)
    difference = values - baseline
    base = {
        "value": float(values.mean()),
        "random": float(baseline.mean()),
        "ratio": float(values.mean() / baseline.mean()) if baseline.mean() else np.nan,
        "difference": float(difference.mean()),
        "p_rank": float((1 + (random.mean(0) >= values.mean()).sum()) / (1 + sets)),
        "random_sets": sets,
        "blocks": blocks,
    }
    if blocks < 2:
        nothing = (
            "low",
            "high",
            "excess_low",
            "excess_high",
            "t",
            "p",
            "p_permutation",
            "g_av",
            "g_av_low",
            "g_av_high",
        )
        return base | dict.fromkeys(nothing, np.nan)
    test = one_sample(difference[:, None])
    low, high = test.interval()
    counts = bootstrap_counts(blocks, resamples, seed).astype(int)
    drawn = np.stack([np.repeat(np.arange(blocks), row) for row in counts])
    g_low, g_high = expanded_percentiles(
        hedges_g_av(values[drawn], baseline[drawn], axis=1), blocks
    )
    # one random set and one sample of blocks at a time: what a new draw of either would show
    drawn_set = np.random.default_rng([seed, sets]).integers(0, sets, resamples)
    excess = (counts * (values[None] - random[:, drawn_set].T)).mean(1)
    excess_low, excess_high = expanded_percentiles(excess, blocks)
    return base | {
        "low": float(low[0]),
        "high": float(high[0]),
        "excess_low": float(excess_low),
        "excess_high": float(excess_high),
        "t": float(test.t[0]),
        "p": float(test.p[0]),
        "p_permutation": float(sign_flip(difference[:, None], permutations, seed).p[0]),
        "g_av": float(hedges_g_av(values, baseline)),
        "g_av_low": float(g_low),
        "g_av_high": float(g_high),
    }
