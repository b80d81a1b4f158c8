"""Stage cds: the Context Divergence Score of every feature of every layer, as published and
corrected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.cds import CdsT, cds_meandiff, cds_t
from petriscope.contrast.effects import Effect, effects
from petriscope.contrast.moments import Design, Moments
from petriscope.contrast.multiplicity import adjust
from petriscope.contrast.permutation import PermutationP, joint_max_t
from petriscope.contrast.summary import layer_summary, summary_metrics
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.params import Cds
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import SufficientStatistics
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    block_moments,
    layer_numbers,
    load_design,
    load_moments,
    load_window_means,
    load_windows,
    split_rows,
)

SPLIT = "select"


class LayerScores(NamedTuple):
    """The scores of one layer."""

    table: pd.DataFrame
    """one row per latent."""
    nulls: dict[str, tuple[np.ndarray, PermutationP]]
    """by level: the alive features and their permutation null, where there is one."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/cds/: features.parquet (one row per latent), layers.csv, effects.parquet."""
    windows, design = load_windows(workspace), load_design(workspace, params)
    rows = split_rows(windows, SPLIT)
    blocks = np.unique(windows.block.to_numpy()[rows])
    bins = params.windows.length // 128 - 2 * params.windows.crop

    def one(layer: int) -> tuple[LayerScores, pd.DataFrame]:
        moments = load_moments(workspace, layer).blocks(blocks)
        if not moments.alive(params.cds.min_events).any():
            what = f"no feature of layer {layer} fires that often"
            raise UserError(
                what, field="cds.min_events", remedy="Lower it, or train the autoencoder longer."
            )
        means = load_window_means(workspace, layer, rows, bins)
        scores = layer_table(layer, moments, means, design, params.cds, params.seed)
        return scores, effect_table(layer, moments, design, params.cds, params.seed)

    frames, sizes = zip(
        *in_processes(one, layer_numbers(workspace.codes), "contrast", unit="layer")
    )
    features = with_stability(with_family(frames), workspace, params.cds.stable)
    layers = layer_summary(features, design.lineages, params.cds.alpha)
    with atomic_folder(workspace.table("cds")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_parquet(folder / "effects.parquet", pd.concat(sizes, ignore_index=True))
        write_csv(folder / "layers.csv", layers)
    reasons = [r for r in (design.why_untestable(x, "biosample") for x in design.lineages) if r]
    return summary_metrics(layers, design.lineages, reasons, params.cds.alpha)


def layer_table(
    layer: int, moments: Moments, window_means: np.ndarray, design: Design, cds: Cds, seed: int
) -> LayerScores:
    """One row per latent of a layer: published score, corrected score at biosample and locus level.

    Parameters: ``moments`` of the split's blocks; ``window_means`` (W, S, m) of its windows.
    """
    published = cds_meandiff(window_means, design, permutations=cds.permutations, seed=seed)
    shared: dict[str, Any] = {
        "min_events": cds.min_events,
        "permutations": cds.permutations,
        "seed": seed,
        "where": f"layer {layer}",
    }
    biosample = cds_t(moments, design, level="biosample", **shared)
    locus = cds_t(moments, design, level="locus", **shared)
    m = moments.sum.shape[2]
    table = pd.DataFrame(
        {
            "layer": layer,
            "feature": np.arange(m),
            "alive": moments.alive(cds.min_events),
            "density": moments.density(),
            "mean_activation": moments.biosample_means().mean(0),
            "cds_published": published.estimate,
            "p_published": published.p,
            "p_published_bonferroni": published.adjusted["bonferroni"],
            "sign_consistent": published.extra["sign_consistent"],
        }
    )
    nulls = {}
    for level, score in (("biosample", biosample), ("locus", locus)):
        table = table.merge(score_columns(score, level, design), on="feature", how="left")
        if score.permutation is not None:
            nulls[level] = (score.combined.features, score.permutation)
    return LayerScores(table, nulls)


def branch_table(
    statistics: Iterable[tuple[int, SufficientStatistics]],
    blocks: np.ndarray,
    design: Design,
    cds: Cds,
    seed: int,
) -> pd.DataFrame:
    """The feature table of a control branch: (layer, statistics per window, biosample and latent),
    ``blocks`` (W,) of its windows. One row per latent as for the main pipeline, the family its own.
    A layer where nothing fires (an input was taken away, or the windows are few) has no alive
    feature, and no test."""
    index = pd.factorize(blocks)[0]
    found = dict(statistics)

    def one(layer: int) -> LayerScores:
        of = found[layer]
        return layer_table(
            layer, block_moments(of, index), of.mean().astype(np.float32), design, cds, seed
        )

    return with_family(list(in_processes(one, found, "contrast", unit="layer")))


def score_columns(score: CdsT, level: str, design: Design) -> pd.DataFrame:
    """The corrected score of one level as columns `<name>_<level>`, alive features only."""
    combined = score.combined
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
    for lineage in design.lineages:
        result = score.lineages[lineage]
        columns[f"estimate_{lineage}_{level}"] = result.estimate
        columns[f"t_{lineage}_{level}"] = result.statistic
        columns[f"p_{lineage}_{level}"] = result.p
    return pd.DataFrame(columns)


def with_family(layers: Sequence[LayerScores]) -> pd.DataFrame:
    """All layers as one family: Benjamini–Hochberg q and Bonferroni p of every p of the corrected
    score over all alive features of all layers, and maxT over all layers' permutation nulls
    (p_maxt_all)."""
    result = pd.concat([layer.table for layer in layers], ignore_index=True)
    for column in [
        c for c in result if c.startswith("p_") and c.endswith(("_biosample", "_locus"))
    ]:
        if column.startswith("p_maxt"):
            continue
        p = result[column].to_numpy(float)
        for method, prefix in (("bh", "q"), ("bonferroni", "bonferroni")):
            result[f"{prefix}{column[1:]}"] = adjust(p, method)
    for level in ("biosample", "locus"):
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


def with_stability(features: pd.DataFrame, workspace: Workspace, least: float) -> pd.DataFrame:
    """Add ``stable``: the feature's decoder has a match of cosine ``least`` in the other seeds; NA
    where one seed ran."""
    path = workspace.sae / "stability.parquet"
    if not path.is_file():
        return features.assign(stable=pd.array([pd.NA] * len(features), dtype="boolean"))
    measured = pd.read_parquet(path)[["layer", "feature", "stability"]]
    value = (
        features[["layer", "feature"]]
        .merge(measured, on=["layer", "feature"], how="left")
        .stability
    )
    return features.assign(stable=(value >= least).astype("boolean").mask(value.isna()).to_numpy())


def effect_table(layer: int, moments: Moments, design: Design, cds: Cds, seed: int) -> pd.DataFrame:
    """Hedges g, AUROC and log2 fold of alive features per lineage, with block-bootstrap
    intervals."""
    alive = np.flatnonzero(moments.alive(cds.min_events))
    frames = []
    for lineage in design.lineages:
        if design.why_untestable(lineage, "locus"):
            continue
        found = effects(
            moments.features(alive), design, lineage, resamples=cds.bootstrap, seed=seed
        )
        sizes = {
            f"{name}{suffix}": values
            for name, effect in found._asdict().items()
            if isinstance(effect, Effect)
            for suffix, values in zip(("", "_low", "_high"), effect)
        }
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "feature": alive,
                    "lineage": lineage,
                    **sizes,
                    "blocks": found.blocks,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
