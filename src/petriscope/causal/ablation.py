"""The ablation experiment asks what the prediction loses when the most divergent features are
removed, against every control a set of features can have; each arm is tested against the random
sets, paired over blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from petriscope.causal.ablate import block_limits, block_means, measured, paired
from petriscope.causal.edits import Activity, encoded, matched_sets, usable_ks
from petriscope.causal.single import scaled_feature_effects, single_feature_effects
from petriscope.contrast.effects import LEAST_BLOCKS
from petriscope.contrast.results import adjust_all
from petriscope.errors import UserError
from petriscope.files import write_csv
from petriscope.parallel import in_processes
from petriscope.probe.model import Edit, ProbedModel
from petriscope.probe.states import Dictionary, States, to_host

CURVES = (
    *("cds", "random", "top_activation", "random_direction", "pca"),
    *("published", "published_random"),
)


class AblationArms(NamedTuple):
    """What is ablated beside the divergent features, and how often."""

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
    toward the other condition), edit (mean norm of the change of the residual stream per token),
    rows."""
    sets: pd.DataFrame
    """columns arm, k, draw, features: the ablated features, space separated."""
    alive: int
    layer: int
    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """``effects`` per stratum: one more column, stratum."""

    def only(self, stratum: str) -> Ablation:
        """The effects on the rows of one stratum."""
        part = self.strata[self.strata["stratum"] == stratum].drop(columns="stratum")
        return Ablation(part.reset_index(drop=True), self.sets, self.alive, self.layer)


def ablation_edit(dictionary: Dictionary, features: np.ndarray) -> Edit:
    """The error-preserving edit h' = h + dec(z') - dec(z), z' = z with ``features`` zeroed (arXiv
    2403.19647).

    Tokens on which no ablated feature fires are returned bit for bit.
    """

    def edit(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        raw = encoded(dictionary, rows)
        delta = Activity(rows, raw, to_host(dictionary.directions)).removed(features)
        changed = (delta != 0).any(1)
        edited = rows.clone()
        edited[changed] += delta[changed].to(rows.dtype)
        return edited.reshape(hidden.shape)

    return edit


def compare_arms(
    model: ProbedModel,
    dictionary: Dictionary,
    states: States,
    ranking: np.ndarray,
    arms: AblationArms,
    *,
    toward: np.ndarray,
    components: np.ndarray,
) -> Ablation:
    """Ablate the first k of ``ranking`` (feature indices, most divergent first) and all control
    sets.

    ``toward`` (N, T'): prediction under the other condition minus ``states.prediction``; the shift
    is the mean change in its direction. ``components`` (c, d): orthonormal principal directions,
    most divergent first. Codes are computed once; ablation is linear in them, so each set costs one
    sparse product and the blocks above the layer.

    Arms: 'cds'; 'random' (matched on firing rate and decoder-weighted activation);
    'top_activation'; 'random_direction' and 'pca' (same norm per token as the cds edit);
    'reconstruction' (dec(z) in place of h); 'published' and 'published_random' (dec(z') in place of
    h: the autoencoder's error goes with it).
    """
    activity = Activity.of(dictionary, [states])
    fires = activity.firing
    alive = np.flatnonzero(fires.rate > 0)
    ranked = ranking[np.isin(ranking, alive)]
    if len(ranked) == 0:
        raise UserError(
            "no ranked feature fires on these windows",
            field="ablation",
            remedy="Take more windows.",
        )
    ks = usable_ks([min(k, len(ranked)) for k in arms.ks], len(alive))
    error = _on(activity.tokens, dictionary.decode(activity.raw)) - activity.tokens
    plan = _Plan(activity, error, ranked, arms)
    top = alive[np.argsort(-fires.weight[alive], kind="stable")]
    items = [_Arm("reconstruction", 0, 0, None, lambda: error)]
    for k in ks:
        matched = matched_sets(ranked[:k], fires, arms.random_sets, arms.seed + k)
        items += _arms(plan, k, matched, top, components)

    def run(number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        item = items[number]
        per_row = measured(model, [states], item.delta(), toward)
        return _effect(item, per_row, ["block"]), _effect(item, per_row, ["stratum", "block"])

    found = in_processes(run, range(len(items)), "ablation", unit="set")
    by_block, by_stratum = (pd.concat(frames, ignore_index=True) for frames in zip(*found))
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
    return Ablation(by_block, pd.DataFrame(sets), len(alive), states.layer, by_stratum)


def _on(like: Tensor, values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).to(like.device)


class _Plan(NamedTuple):
    activity: Activity
    error: Tensor
    """(n, d) dec(z) - h."""
    ranked: np.ndarray
    arms: AblationArms


def _arms(
    plan: _Plan, k: int, matched: np.ndarray, top: np.ndarray, components: np.ndarray
) -> Iterator[_Arm]:
    """All edits at one k."""

    tokens, removed = plan.activity.tokens, plan.activity.removed

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
        direction = _on(tokens, rng.normal(size=tokens.shape[1]).astype(np.float32))
        yield _Arm(
            "random_direction",
            k,
            draw,
            None,
            partial(torch.mul, norm, direction / direction.norm()),
        )
    yield _Arm("pca", k, 0, None, lambda: _principal(tokens, norm, components[:k]))
    yield _Arm("published", k, 0, target, partial(injected, target))
    for draw, features in enumerate(matched[: plan.arms.published_random]):
        yield _Arm("published_random", k, draw, features, partial(injected, features))


def _principal(tokens: Tensor, norm: Tensor, components: np.ndarray) -> Tensor:
    """Minus each token's part along the components, brought to the norm of the cds edit at that
    token."""
    basis = _on(tokens, np.asarray(components, np.float32))
    part = -((tokens - tokens.mean(0)) @ basis.T) @ basis
    length = part.norm(dim=1, keepdim=True)
    return torch.where(length > 0, part * (norm / length.clamp_min(1e-12)), 0.0)


def _effect(item: _Arm, per_row: pd.DataFrame, units: list[str]) -> pd.DataFrame:
    """Means per unit, with the arm they belong to."""
    means = block_means(per_row, units)
    for at, (name, value) in enumerate((("arm", item.arm), ("k", item.k), ("draw", item.draw))):
        means.insert(at, name, value)
    return means


def curves(ablation: Ablation, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Effect and shift per arm and k with block-bootstrap 95 % limits, averaged over draws first.

    Columns: arm, k, draws, blocks, and effect, shift, edit each with _low and _high.
    """
    rows = []
    for (arm, k), part in ablation.effects.groupby(["arm", "k"], sort=True):
        row: dict[str, object] = {
            "arm": arm,
            "k": k,
            "draws": part["draw"].nunique(),
            "blocks": part["block"].nunique(),
        }
        for name in ("effect", "shift", "edit"):
            values = part.groupby("block")[name].mean().to_numpy()
            row[name] = values.mean()
            row[f"{name}_low"], row[f"{name}_high"] = block_limits(values[:, None], resamples, seed)
        rows.append(row)
    return pd.DataFrame(rows)


def against_random(
    ablation: Ablation,
    *,
    measure: str = "effect",
    permutations: int = 10_000,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Each arm and k against the mean of the matched random sets of the same k, paired over blocks.

    ``measure``: 'effect' (mean |change|) or 'shift' (toward the other condition). Columns:
    difference with its t interval, excess_low and excess_high (limits of the difference to a
    single random set, blocks and sets resampled together), ratio, t, p (paired t), p_permutation
    (sign-flip over blocks), g_av with block-bootstrap limits, p_rank (share of random sets, the
    arm itself counted, at least as strong), blocks, random_sets, edit and edit_random (mean norm
    of the change per token, of the arm and of the random sets: how well they match); adjusted p
    over the family of all arms and k of this table.
    """
    effects = ablation.effects
    rows = []
    for k in sorted(effects.loc[effects["arm"] == "random", "k"].unique()):
        at_k = effects[effects["k"].isin([0, k])]
        random = at_k[at_k["arm"] == "random"].pivot_table(
            index="block", columns="draw", values=measure
        )
        baseline = random.mean(axis=1)
        for arm, part in at_k[at_k["arm"] != "random"].groupby("arm", sort=True):
            values = part.groupby("block")[measure].mean().reindex(baseline.index).to_numpy()
            sizes = {
                "edit": part["edit"].mean(),
                "edit_random": at_k.loc[at_k["arm"] == "random", "edit"].mean(),
            }
            tested = paired(values, random.to_numpy(), permutations, resamples, seed)
            rows.append({"arm": arm, "k": int(k)} | tested | sizes)
    table = pd.DataFrame(rows)
    for name, values in adjust_all(table["p"].to_numpy()).items():
        table[f"p_{name}"] = values
    table["measure"] = measure
    table["family"] = f"ablation {measure}: {len(table)} arms x k"
    table["family_size"] = len(table)
    return table


def against_random_by_stratum(
    ablation: Ablation,
    strata: Sequence[str],
    *,
    arms: Sequence[str] = ("cds", "top_activation"),
    seed: int = 0,
) -> pd.DataFrame:
    """`against_random` on the rows of each stratum alone, for some arms; the first column says
    which."""
    parts = []
    for stratum in strata:
        part = ablation.only(stratum)
        if len(part.effects):
            table = against_random(part, seed=seed)
            parts.append(
                table[table["arm"].isin(arms)].assign(
                    stratum=stratum, family=f"{stratum}: " + table["family"]
                )
            )
    found = pd.concat(parts, ignore_index=True)
    return found[["stratum", *(name for name in found if name != "stratum")]]


@dataclass(frozen=True)
class AblationTables:
    """What an ablation shows, as it lies on disk: a CSV each."""

    curve: pd.DataFrame
    """`curves`."""
    tests: pd.DataFrame
    """`against_random` of the effect."""
    shift: pd.DataFrame
    """`against_random` of the shift."""
    strata: pd.DataFrame
    """`against_random_by_stratum`."""
    dose: pd.DataFrame
    """`dose_response`."""
    features: pd.DataFrame
    """`single.single_feature_effects`."""
    scaling: pd.DataFrame
    """`single.scaled_feature_effects`."""

    def save(self, folder: Path, layer: int, stratum: str = "stratum") -> None:
        """Write all seven into ``folder``, each with its layer; ``stratum`` is the study's word
        for one, and (plural) the file of their tests."""
        for item in fields(self):
            name = f"{stratum}s" if item.name == "strata" else item.name
            frame = getattr(self, item.name).rename(columns={"stratum": stratum})
            write_csv(folder / f"{name}.csv", frame.assign(layer=layer))


def ablation_tables(
    model: ProbedModel,
    dictionary: Dictionary,
    states: States,
    ablation: Ablation,
    features: np.ndarray,
    strata: Sequence[str],
    seed: int,
) -> AblationTables:
    """Curves and tests of ``ablation``, and single ``features`` removed and scaled on the same
    rows."""
    return AblationTables(
        curves(ablation, seed=seed),
        against_random(ablation, seed=seed),
        against_random(ablation, measure="shift", seed=seed),
        against_random_by_stratum(ablation, strata, seed=seed),
        dose_response(ablation, seed=seed),
        single_feature_effects(model, dictionary, states, features, seed=seed),
        scaled_feature_effects(model, dictionary, states, features, seed=seed),
    )


@dataclass(frozen=True)
class AblationNumbers:
    """What the claims say of an ablation; read at the k in the middle of its curve."""

    layer: int
    untestable: str | None = None
    """why there is no test; None where there is one"""
    k: int | None = None
    ks: list[int] | None = None
    windows: int | None = None
    blocks: int | None = None
    effect: float | None = None
    """mean |change| of the cds arm"""
    random: float | None = None
    """mean |change| of its matched random sets"""
    top_activation: float | None = None
    g: float | None = None
    """Hedges g_av against the random sets, with its limits"""
    g_low: float | None = None
    g_high: float | None = None
    random_sets: int | None = None
    random_percentile: float | None = None
    """per cent of random sets that are weaker"""
    excess_low: float | None = None
    """limits of the effect minus that of one random set, over blocks and sets"""
    excess_high: float | None = None
    edit: float | None = None
    """mean norm of the edit per token, and that of the random sets'"""
    edit_random: float | None = None
    curve_cds: list[float] | None = None
    """effect at each of ``ks``, as all curves"""
    curve_random: list[float] | None = None
    curve_top_activation: list[float] | None = None
    curve_random_direction: list[float] | None = None
    curve_pca: list[float] | None = None
    curve_published: list[float] | None = None
    curve_published_random: list[float] | None = None
    reconstruction: float | None = None
    """effect of the reconstruction in place of the stream"""
    published: dict[str, float] | None = None
    """`PublishedEffect`, and the mean effect of either side over ``ks``"""
    single: dict[str, float] | None = None
    """features that fire, and the share of them beyond every random direction of equal size"""

    @classmethod
    def of(cls, ablation: Ablation, tables: AblationTables, windows: int) -> AblationNumbers:
        """The numbers of an ablation on ``windows`` windows."""
        by_arm = tables.curve.pivot_table(index="k", columns="arm", values="effect")
        ks = [int(k) for k in by_arm.index if k > 0]
        k = ks[len(ks) // 2]
        at_k = tables.tests[tables.tests["k"] == k].set_index("arm")
        cds, told = at_k.loc["cds"], tables.features["null_percentile"].dropna()
        blocks = int(cds["blocks"])
        few = f"the test split has {blocks} blocks, {LEAST_BLOCKS} are needed"
        published = published_effect(*published_arms(ablation))
        return cls(
            layer=ablation.layer,
            untestable=None if blocks >= LEAST_BLOCKS else few,
            k=k,
            ks=ks,
            windows=windows,
            blocks=blocks,
            effect=cds["value"],
            random=cds["random"],
            top_activation=at_k.loc["top_activation", "value"],
            g=cds["g_av"],
            g_low=cds["g_av_low"],
            g_high=cds["g_av_high"],
            random_sets=int(cds["random_sets"]),
            random_percentile=100 * (1 - cds["p_rank"]),
            excess_low=cds["excess_low"],
            excess_high=cds["excess_high"],
            edit=cds["edit"],
            edit_random=cds["edit_random"],
            reconstruction=by_arm["reconstruction"][0],
            published=published._asdict()
            | {
                "targeted": by_arm["published"][ks].to_numpy().mean(),
                "random": by_arm["published_random"][ks].to_numpy().mean(),
            },
            single={
                "features": len(told),
                "beyond": float((told >= 95).mean()) if len(told) else 0.0,
            },
            **{f"curve_{arm}": by_arm[arm][ks].tolist() for arm in CURVES},
        )


class PublishedEffect(NamedTuple):
    """The published statistic of targeted against random ablation."""

    d: float
    """mean / sd of the pseudo-pairs' differences."""
    p: float
    """one-sided Wilcoxon signed-rank."""
    pairs: int
    """k-levels x random sets: not independent units, which is why this p stands beside
    `against_random`, not for it."""


def published_effect(targeted: pd.Series, random: pd.DataFrame) -> PublishedEffect:
    """The published d and p: every (k, random set) is a pair with the targeted ablation of the same
    k.

    ``targeted``: effect by k; ``random``: columns k, effect, one row per set. `published_arms`
    takes both from an `Ablation`.
    """
    difference = targeted.loc[random["k"]].to_numpy() - random["effect"].to_numpy()
    if len(difference) < 2 or not difference.std(ddof=1) > 0:
        return PublishedEffect(float("nan"), float("nan"), len(difference))
    p = stats.wilcoxon(difference, alternative="greater").pvalue
    return PublishedEffect(
        float(difference.mean() / difference.std(ddof=1)), float(p), len(difference)
    )


def published_arms(ablation: Ablation) -> tuple[pd.Series, pd.DataFrame]:
    """Effect by k of the published arm, and one row per published random set (columns k, draw,
    effect)."""
    effects = ablation.effects
    targeted = effects[effects["arm"] == "published"].groupby("k")["effect"].mean()
    drawn = effects[effects["arm"] == "published_random"]
    return targeted, drawn.pivot_table(index=["k", "draw"], values="effect").reset_index()


def dose_response(ablation: Ablation, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Slope of effect and shift on log2(k) per arm, with block-bootstrap 95 % limits low and
    high."""
    rows = []
    for arm, part in ablation.effects[ablation.effects["k"] > 0].groupby("arm", sort=True):
        for measure in ("effect", "shift"):
            per_block = part.pivot_table(index="block", columns="k", values=measure)
            if per_block.shape[1] < 2:
                continue
            x = np.log2(per_block.columns.to_numpy(float))
            x -= x.mean()
            slopes = per_block.to_numpy() @ x / (x @ x)
            low, high = block_limits(slopes[:, None], resamples, seed)
            rows.append(
                {"arm": arm, "measure": measure, "slope": slopes.mean(), "low": low, "high": high}
            )
    return pd.DataFrame(rows, columns=["arm", "measure", "slope", "low", "high"])
