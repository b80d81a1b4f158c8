"""Ablation of feature sets: what the prediction loses, against every control a set of features can
have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from petriscope.causal.feature_sets import as_matrix, firing, matched_sets, usable_ks
from petriscope.errors import UserError
from petriscope.probe.model import Edit
from petriscope.probe.states import Dictionary, Resumable, States, one_torch_thread, predict_edited
from petriscope.progress import progress


class AblationArms(NamedTuple):
    """What is ablated beside the context features, and how often."""

    ks: list[int]
    random_sets: int = 100
    direction_draws: int = 10
    published_random: int = 5
    seed: int = 0


class _Arm(NamedTuple):
    """One edit of all rows, made when its turn comes."""

    arm: str
    k: int
    draw: int
    features: np.ndarray | None
    """the features it removes, where it removes any"""
    delta: Callable[[], Tensor]


@dataclass(frozen=True)
class Ablation:
    """Effects on the prediction, one row per (arm, k, draw, block): see `ablation_tests` for curves
    and tests."""

    effects: pd.DataFrame
    """columns arm, k, draw, block, effect (mean |change| at the read bins), shift (mean change
    toward the other context), edit (mean norm of the change of the residual stream per token),
    rows."""
    sets: pd.DataFrame
    """columns arm, k, draw, features: the ablated features, space separated."""
    alive: int
    layer: int
    lineages: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``effects`` per lineage: one more column, lineage."""

    def only(self, lineage: str) -> Ablation:
        """The effects on the rows of one lineage."""
        part = self.lineages[self.lineages["lineage"] == lineage].drop(columns="lineage")
        return Ablation(part.reset_index(drop=True), self.sets, self.alive, self.layer)


def ablation_edit(dictionary: Dictionary, features: np.ndarray) -> Edit:
    """The error-preserving edit h' = h + dec(z') - dec(z), z' = z with ``features`` zeroed (arXiv
    2403.19647).

    Tokens on which no ablated feature fires are returned bit for bit.
    """

    def edit(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        directions = dictionary.directions.numpy()
        delta = _removal(
            as_matrix(dictionary.encode(rows), len(directions)).tocsc(), directions, features
        )
        changed = torch.from_numpy(np.flatnonzero((delta != 0).any(1)))
        edited = rows.clone()
        edited[changed] += torch.from_numpy(delta)[changed].to(rows.dtype)
        return edited.reshape(hidden.shape)

    return edit


def ablate(
    model: Resumable,
    dictionary: Dictionary,
    states: States,
    ranking: np.ndarray,
    arms: AblationArms,
    *,
    toward: np.ndarray,
    components: np.ndarray,
    workers: int | None = None,
    show_progress: bool = True,
) -> Ablation:
    """Ablate the first k of ``ranking`` (feature indices, most context-divergent first) and all
    control sets.

    ``toward`` (N, T'): prediction in the other context minus ``states.prediction``; the shift is
    the mean change in its direction. ``components`` (c, d): orthonormal principal directions, most
    context-divergent first. Codes are computed once; ablation is linear in them, so each set costs
    one sparse product and the blocks above the layer. ``workers`` threads (torch's number unless
    given) take a set each, on one torch thread: their number does not change a bit.

    Arms: 'cds'; 'random' (matched on firing rate and decoder-weighted activation);
    'top_activation'; 'random_direction' and 'pca' (same norm per token as the cds edit);
    'reconstruction' (dec(z) in place of h); 'published' and 'published_random' (dec(z') in place of
    h: the autoencoder's error goes with it).
    """
    directions = dictionary.directions.numpy()
    tokens = states.tokens()
    raw = dictionary.encode(tokens)
    codes = as_matrix(raw, len(directions))
    stats = firing(codes, directions)
    alive = np.flatnonzero(stats.rate > 0)
    ranked = ranking[np.isin(ranking, alive)]
    if len(ranked) == 0:
        raise UserError(
            "no ranked feature fires on these windows",
            field="ablation",
            remedy="Take more windows.",
        )
    ks = usable_ks([min(k, len(ranked)) for k in arms.ks], len(alive))
    plan = _Plan(
        codes.tocsc(),
        directions,
        tokens,
        torch.from_numpy(dictionary.decode(raw)) - tokens,
        ranked,
        arms,
    )
    top = alive[np.argsort(-stats.weight[alive], kind="stable")]
    items = [_Arm("reconstruction", 0, 0, None, lambda: plan.error)]
    for k in ks:
        matched = matched_sets(ranked[:k], stats, arms.random_sets, arms.seed + k)
        items += _arms(plan, k, matched, top, components)

    def run(item: _Arm) -> tuple[pd.DataFrame, pd.DataFrame]:
        delta = item.delta()
        per_row = _per_row(delta, predict_edited(model, states, delta), states, toward)
        return _effect(item, per_row, ["block"]), _effect(item, per_row, ["lineage", "block"])

    with one_torch_thread() as threads, ThreadPoolExecutor(workers or threads) as pool:
        done = pool.map(run, items)
        rows = list(
            progress(done, "ablation", total=len(items), unit="set") if show_progress else done
        )
    sets = [
        {
            "arm": item.arm,
            "k": item.k,
            "draw": item.draw,
            "features": " ".join(map(str, item.features)),
        }
        for item in items
        if item.features is not None
    ]
    by_block, by_lineage = (pd.concat(frames, ignore_index=True) for frames in zip(*rows))
    return Ablation(by_block, pd.DataFrame(sets), len(alive), states.layer, by_lineage)


class _Plan(NamedTuple):
    codes: sp.csc_matrix
    directions: np.ndarray
    tokens: Tensor
    error: Tensor
    """(n, d) dec(z) - h."""
    ranked: np.ndarray
    arms: AblationArms


def _removal(codes: sp.csc_matrix, directions: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(n, d) dec(z') - dec(z) = minus the sum of z_f d_f over the ablated features."""
    chosen = np.asarray(features, np.int64)
    return np.asarray(-(codes[:, chosen].tocsr() @ directions[chosen]), np.float32)


def _arms(
    plan: _Plan, k: int, matched: np.ndarray, top: np.ndarray, components: np.ndarray
) -> Iterator[_Arm]:
    """All edits at one k."""

    def removed(features: np.ndarray) -> Tensor:
        return torch.from_numpy(_removal(plan.codes, plan.directions, features))

    def injected(features: np.ndarray) -> Tensor:
        return removed(features) + plan.error

    target = plan.ranked[:k]
    norm = removed(target).norm(dim=1, keepdim=True)
    yield _Arm("cds", k, 0, target, lambda: removed(target))
    yield _Arm("top_activation", k, 0, top[:k], lambda: removed(top[:k]))
    for draw, features in enumerate(matched):
        yield _Arm("random", k, draw, features, partial(removed, features))
    rng = np.random.default_rng(plan.arms.seed + 7919 * k)
    for draw in range(plan.arms.direction_draws):
        direction = torch.from_numpy(rng.normal(size=plan.tokens.shape[1]).astype(np.float32))
        yield _Arm(
            "random_direction",
            k,
            draw,
            None,
            partial(torch.mul, norm, direction / direction.norm()),
        )
    yield _Arm("pca", k, 0, None, lambda: _principal(plan, norm, components[:k]))
    yield _Arm("published", k, 0, target, partial(injected, target))
    for draw, features in enumerate(matched[: plan.arms.published_random]):
        yield _Arm("published_random", k, draw, features, partial(injected, features))


def _principal(plan: _Plan, norm: Tensor, components: np.ndarray) -> Tensor:
    """Minus each token's part along the components, brought to the norm of the cds edit at that
    token."""
    basis = torch.from_numpy(np.asarray(components, np.float32))
    part = -((plan.tokens - plan.tokens.mean(0)) @ basis.T) @ basis
    length = part.norm(dim=1, keepdim=True)
    return torch.where(length > 0, part * (norm / length.clamp_min(1e-12)), 0.0)


def _per_row(
    delta: Tensor, prediction: np.ndarray, states: States, toward: np.ndarray
) -> pd.DataFrame:
    """Sums over the read bins of each row."""
    change = prediction - states.prediction
    read = states.read
    bins = read.sum(1)
    return pd.DataFrame(
        {
            "lineage": states.labels.lineage,
            "block": states.labels.block,
            "effect": np.where(read, np.abs(change), 0).sum(1),
            "shift": np.where(read, change * np.sign(toward), 0).sum(1),
            "bins": bins,
            "edit": delta.norm(dim=1).reshape(len(bins), -1).mean(1).numpy(),
            "rows": 1,
        }
    )


def _effect(item: _Arm, per_row: pd.DataFrame, units: list[str]) -> pd.DataFrame:
    """One row per unit: means over the read bins of its rows."""
    sums = ["effect", "shift", "bins", "edit", "rows"]
    summed = per_row.groupby(units, as_index=False)[sums].sum()
    means = {name: summed[name] / summed["bins"] for name in ("effect", "shift")}
    fixed = {"arm": item.arm, "k": item.k, "draw": item.draw}
    return pd.DataFrame(
        fixed
        | {unit: summed[unit] for unit in units}
        | means
        | {"edit": summed["edit"] / summed["rows"], "rows": summed["rows"]}
    )
