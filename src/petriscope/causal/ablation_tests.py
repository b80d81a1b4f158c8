"""What an ablation shows: dose-response curves, and each arm against the random sets, paired over
blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.causal.ablation import Ablation
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles, hedges_g_av
from petriscope.contrast.inference import one_sample
from petriscope.contrast.multiplicity import adjust_all
from petriscope.contrast.permutation import sign_flip


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
            row[f"{name}_low"], row[f"{name}_high"] = _limits(values[:, None], resamples, seed)
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

    ``measure``: 'effect' (mean |change|) or 'shift' (toward the other context). Columns: difference
    with its t interval, excess_low and excess_high (limits of the difference to a single random
    set, blocks and sets resampled together), ratio, t, p (paired t), p_permutation (sign-flip over
    blocks), g_av with block-bootstrap limits, p_rank (share of random sets, the arm itself counted,
    at least as strong), blocks, random_sets, edit and edit_random (mean norm of the change per
    token, of the arm and of the random sets: how well they match); adjusted p over the family of
    all arms and k of this table.
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
            tested = _paired(values, random.to_numpy(), permutations, resamples, seed)
            rows.append({"arm": arm, "k": int(k)} | tested | sizes)
    table = pd.DataFrame(rows)
    for name, values in adjust_all(table["p"].to_numpy()).items():
        table[f"p_{name}"] = values
    table["measure"] = measure
    table["family"] = f"ablation {measure}: {len(table)} arms x k"
    table["family_size"] = len(table)
    return table


def against_random_by_lineage(
    ablation: Ablation,
    lineages: Sequence[str],
    *,
    arms: Sequence[str] = ("cds", "top_activation"),
    seed: int = 0,
) -> pd.DataFrame:
    """`against_random` on the rows of each lineage alone, for some arms; the first column says
    which lineage."""
    parts = []
    for lineage in lineages:
        part = ablation.only(lineage)
        if len(part.effects):
            table = against_random(part, seed=seed)
            parts.append(
                table[table["arm"].isin(arms)].assign(
                    lineage=lineage, family=f"{lineage}: " + table["family"]
                )
            )
    found = pd.concat(parts, ignore_index=True)
    return found[["lineage", *(name for name in found if name != "lineage")]]


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
            low, high = _limits(slopes[:, None], resamples, seed)
            rows.append(
                {"arm": arm, "measure": measure, "slope": slopes.mean(), "low": low, "high": high}
            )
    return pd.DataFrame(rows, columns=["arm", "measure", "slope", "low", "high"])


def _limits(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Block-bootstrap limits of the mean of values (B, 1); NaN with one block."""
    if len(values) < 2:
        return np.nan, np.nan
    low, high = expanded_percentiles(
        bootstrap_counts(len(values), resamples, seed) @ values / len(values), len(values)
    )
    return float(low[0]), float(high[0])


def _paired(
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
