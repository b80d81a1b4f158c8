"""The feature table has one row per latent of every layer with its published and its corrected
score, all layers one family; its counts go layer by layer.

Columns end in the level they are of: what the table of units calls a unit, or ``locus``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from petriscope.contrast.cds import CdsT, cds_meandiff, cds_t
from petriscope.contrast.design import Design
from petriscope.contrast.effects import Effect, effects
from petriscope.contrast.inference import PermutationP, joint_max_t
from petriscope.contrast.results import adjust
from petriscope.parallel import in_processes
from petriscope.sae.moments import Moments


class Scoring(NamedTuple):
    """How features are scored."""

    min_events: float
    """tokens of a unit, on average, that a feature must fire on."""
    permutations: int
    seed: int


class LayerScores(NamedTuple):
    """The scores of one layer."""

    table: pd.DataFrame
    """one row per latent."""
    nulls: dict[str, tuple[np.ndarray, PermutationP]]
    """by level: the alive features and their permutation null, where there is one."""


def layer_table(
    layer: int, moments: Moments, window_means: np.ndarray, design: Design, how: Scoring
) -> LayerScores:
    """One row per latent of a layer: published score, corrected score at unit and locus level.

    Parameters: ``moments`` of the split's blocks; ``window_means`` (W, S, m) of its windows.
    """
    published = cds_meandiff(window_means, design, permutations=how.permutations, seed=how.seed)
    shared: dict[str, Any] = {**how._asdict(), "where": f"layer {layer}"}
    table = pd.DataFrame(
        {
            "layer": layer,
            "feature": np.arange(moments.sum.shape[2]),
            "alive": moments.alive(how.min_events),
            "density": moments.density(),
            "mean_activation": moments.unit_means().mean(0),
            "cds_published": published.estimate,
            "p_published": published.p,
            "p_published_bonferroni": published.adjusted["bonferroni"],
            "sign_consistent": published.extra["sign_consistent"],
        }
    )
    nulls = {}
    for level in ("unit", "locus"):
        score = cds_t(moments, design, level=level, **shared)
        table = table.merge(_columns(score, design), on="feature", how="left")
        if score.permutation is not None:
            nulls[score.combined.level] = (score.combined.features, score.permutation)
    return LayerScores(table, nulls)


def branch_table(
    by_window: Mapping[int, Moments], blocks: np.ndarray, design: Design, how: Scoring
) -> pd.DataFrame:
    """The feature table of a control branch: layer → moments per window, ``blocks`` (W,) of its
    windows. One row per latent as for the main pipeline, the family its own. A layer where nothing
    fires (an input was taken away, or the windows are few) has no alive feature, and no test."""
    index = pd.factorize(blocks)[0]

    def one(layer: int) -> LayerScores:
        of = by_window[layer]
        return layer_table(
            layer, of.summed(index), of.block_means().astype(np.float32), design, how
        )

    return with_family(list(in_processes(one, by_window, "contrast", unit="layer")), design)


def _columns(score: CdsT, design: Design) -> pd.DataFrame:
    """The corrected score of one level as columns `<name>_<level>`, alive features only."""
    combined, level = score.combined, score.combined.level
    columns: dict[str, Any] = {
        "feature": combined.features,
        f"estimate_{level}": combined.estimate,
        f"low_{level}": combined.low,
        f"high_{level}": combined.high,
        f"z_{level}": combined.statistic,
        f"p_{level}": combined.p,
        f"p_conjunction_{level}": score.conjunction.p,
        f"p_union_{level}": score.union.p,
        f"n_{level}": ", ".join(f"{count} {unit}" for unit, count in combined.n.items()),
        f"units_{level}": combined.units,
        f"status_{level}": combined.status,
        f"method_{level}": combined.method,
    }
    if "maxt" in combined.adjusted:
        columns[f"p_maxt_{level}"] = combined.adjusted["maxt"]
    for stratum in design.strata:
        result = score.strata[stratum]
        columns[f"estimate_{stratum}_{level}"] = result.estimate
        columns[f"t_{stratum}_{level}"] = result.statistic
        columns[f"p_{stratum}_{level}"] = result.p
    return pd.DataFrame(columns)


def with_family(layers: Sequence[LayerScores], design: Design) -> pd.DataFrame:
    """All layers as one family: Benjamini–Hochberg q and Bonferroni p of every p of the corrected
    score over all alive features of all layers, and maxT over all layers' permutation nulls
    (p_maxt_all)."""
    result = pd.concat([layer.table for layer in layers], ignore_index=True)
    levels = (design.words.unit, "locus")
    ends = tuple(f"_{level}" for level in levels)
    for column in [c for c in result if c.startswith("p_") and c.endswith(ends)]:
        if column.startswith("p_maxt"):
            continue
        p = result[column].to_numpy(float)
        for method, prefix in (("bh", "q"), ("bonferroni", "bonferroni")):
            result[f"{prefix}{column[1:]}"] = adjust(p, method)
    for level in levels:
        result[f"p_maxt_all_{level}"] = np.nan
        firing = [layer for layer in layers if layer.table.alive.any()]
        if firing and all(level in layer.nulls for layer in firing):
            joint = joint_max_t([layer.nulls[level][1] for layer in firing])
            for layer, p in zip(firing, joint):
                row = (result.layer == layer.table.layer.iloc[0]) & result.feature.isin(
                    layer.nulls[level][0]
                )
                result.loc[row, f"p_maxt_all_{level}"] = p
    return result


def with_stability(
    features: pd.DataFrame, measured: pd.DataFrame | None, least: float
) -> pd.DataFrame:
    """Add ``stable``: the feature's decoder has a match of cosine ``least`` in the other seeds; NA
    where one seed ran. ``measured``: columns layer, feature, stability; None where none was."""
    if measured is None:
        return features.assign(stable=pd.array([pd.NA] * len(features), dtype="boolean"))
    key = ["layer", "feature"]
    value = features[key].merge(measured[[*key, "stability"]], on=key, how="left").stability
    return features.assign(stable=(value >= least).astype("boolean").mask(value.isna()).to_numpy())


def with_context(features: pd.DataFrame, design: Design, alpha: float) -> pd.DataFrame:
    """Add columns context, evidence, rank, direction and (named as the strata are) the stratum.

    ``context``: q < alpha at unit level, or at locus level where no unit is replicated
    (``evidence`` says which); ``rank`` by that level's |z| within the layer; ``direction`` the
    condition with the higher activation; the stratum is that of the largest |t|.
    """
    words = design.words
    level = words.unit if features[f"q_{words.unit}"].notna().any() else "locus"
    z = features[f"z_{level}"]
    t = features[[f"t_{stratum}_{level}" for stratum in design.strata]].abs().fillna(-1.0)
    strongest = np.asarray(design.strata)[t.to_numpy().argmax(axis=1)]
    return features.assign(
        context=(features[f"q_{level}"] < alpha).fillna(False),
        evidence=level,
        rank=z.abs().groupby(features.layer).rank(ascending=False, method="first"),
        direction=np.where(z > 0, words.target, words.reference),
        **{words.stratum: strongest},
    )


def effect_table(
    layer: int, moments: Moments, design: Design, how: Scoring, *, resamples: int
) -> pd.DataFrame:
    """Hedges g, AUROC and log2 fold of alive features per stratum, with block-bootstrap
    intervals."""
    alive = np.flatnonzero(moments.alive(how.min_events))
    frames = []
    for stratum in design.strata:
        if design.why_untestable(stratum, "locus"):
            continue
        found = effects(
            moments.features(alive), design, stratum, resamples=resamples, seed=how.seed
        )
        sizes = {
            f"{name}{suffix}": values
            for name, effect in found._asdict().items()
            if isinstance(effect, Effect)
            for suffix, values in zip(("", "_low", "_high"), effect)
        }
        about = {"layer": layer, "feature": alive, design.words.stratum: stratum}
        frames.append(pd.DataFrame({**about, **sizes, "blocks": found.blocks}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def layer_summary(features: pd.DataFrame, design: Design, alpha: float) -> pd.DataFrame:
    """One row per layer of the feature table: counts, shares of alive with Wilson intervals.

    A published count is Bonferroni p < alpha of the window sign-flip, over all latents as
    published; its share is that of the alive ones, as every other share. A context feature has BH q
    < alpha of the combined unit-level test, its family all alive features of all layers.
    """
    unit, rows = design.words.unit, []

    def passing(frame: pd.DataFrame, column: str) -> int:
        return int((frame[column] < alpha).sum()) if column in frame else 0

    for layer, frame in features.groupby("layer"):
        alive = frame[frame.alive]
        found = passing(alive, f"q_{unit}")
        low, high = proportion_confint(found, max(len(alive), 1), method="wilson")
        published = frame.p_published_bonferroni < alpha
        row = {
            "layer": layer,
            "latents": len(frame),
            "alive": len(alive),
            "published_count": int(published.sum()),
            "published_share_of_alive": (published & frame.alive).sum() / max(len(alive), 1),
            "published_same_sign": int((published & frame.sign_consistent).sum()),
            "context_count": found,
            "context_fraction": found / max(len(alive), 1),
            "context_low": low,
            "context_high": high,
            "locus_count": passing(alive, "q_locus"),
            "conjunction_count": passing(alive, f"q_conjunction_{unit}"),
            "union_count": passing(alive, f"q_union_{unit}"),
            "maxt_count": passing(alive, f"p_maxt_all_{unit}"),
        }
        stable = alive[alive.stable.fillna(False).astype(bool)] if "stable" in alive else alive[:0]
        measured = "stable" in alive and bool(alive.stable.notna().any())
        row["stable"] = len(stable) if measured else np.nan
        row["stable_context_count"] = passing(stable, f"q_{unit}") if measured else np.nan
        row["stable_context_fraction"] = row["stable_context_count"] / max(len(stable), 1)
        for stratum in design.strata:
            row[f"{stratum}_count"] = passing(alive, f"q_{stratum}_{unit}")
            row[f"{stratum}_fraction"] = row[f"{stratum}_count"] / max(len(alive), 1)
        rows.append(row)
    return pd.DataFrame(rows)


class Rise(NamedTuple):
    """Share of the last layer minus that of the first, with its Newcombe 95 % limits."""

    change: float
    low: float
    high: float


def rise(layers: pd.DataFrame, count: str, size: str) -> Rise | None:
    """The rise of ``count`` / ``size`` in the rows of `layer_summary`; None where not measured."""
    first, last = layers.iloc[0], layers.iloc[-1]
    if not np.isfinite([first[count], last[count]]).all():
        return None
    low, high = confint_proportions_2indep(
        last[count], max(last[size], 1), first[count], max(first[size], 1), method="newcomb"
    )
    change = last[count] / max(last[size], 1) - first[count] / max(first[size], 1)
    return Rise(float(change), float(low), float(high))
