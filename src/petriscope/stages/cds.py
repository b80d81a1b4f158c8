"""Stage cds: the Context Divergence Score of every feature of every layer, as published and corrected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.cds import CdsT, cds_meandiff, cds_t
from petriscope.contrast.effects import Effect, effects
from petriscope.contrast.moments import Design, Moments
from petriscope.contrast.multiplicity import adjust_all
from petriscope.contrast.summary import layer_summary, summary_metrics
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.params import Cds, Params
from petriscope.progress import progress
from petriscope.sae.codes import SufficientStatistics
from petriscope.store import (
    block_moments,
    layer_numbers,
    load_biosamples,
    load_moments,
    load_window_means,
    load_windows,
    split_rows,
)
from petriscope.workspace import Workspace

SPLIT = "select"


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/cds/: features.parquet (one row per latent), layers.csv, effects.parquet."""
    windows, design = load_windows(workspace), Design.from_frame(load_biosamples(workspace))
    rows = split_rows(windows, SPLIT)
    blocks = np.unique(windows.block.to_numpy()[rows])
    bins = params.windows.length // 128 - 2 * params.windows.crop
    frames, sizes = [], []
    for layer in progress(layer_numbers(workspace.codes), "contrast", unit="layer"):
        moments = load_moments(workspace, layer).blocks(blocks)
        means = load_window_means(workspace, layer, rows, bins)
        frames.append(layer_table(layer, moments, means, design, params.cds, params.seed))
        sizes.append(effect_table(layer, moments, design, params.cds, params.seed))
    features = with_family(pd.concat(frames, ignore_index=True))
    layers = layer_summary(features, design.lineages, params.cds.alpha)
    with atomic_folder(workspace.table("cds")) as folder:
        write_parquet(folder / "features.parquet", features)
        write_parquet(folder / "effects.parquet", pd.concat(sizes, ignore_index=True))
        write_csv(folder / "layers.csv", layers)
    reasons = [r for r in (design.why_untestable(x, "biosample") for x in design.lineages) if r]
    return summary_metrics(layers, design.lineages, reasons, params.cds.alpha)


def layer_table(
    layer: int, moments: Moments, window_means: np.ndarray, design: Design, cds: Cds, seed: int
) -> pd.DataFrame:
    """One row per latent of a layer: published score, corrected score at biosample and locus level.

    Parameters: ``moments`` of the split's blocks; ``window_means`` (W, S, m) of its windows.
    """
    published = cds_meandiff(window_means, design, permutations=cds.permutations, seed=seed)
    shared: dict[str, Any] = {
        "min_density": cds.min_density,
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
            "alive": moments.alive(cds.min_density),
            "density": moments.density(),
            "mean_activation": moments.biosample_means().mean(0),
            "cds_published": published.estimate,
            "p_published": published.p,
            "p_published_bonferroni": published.adjusted["bonferroni"],
            "sign_consistent": published.extra["sign_consistent"],
        }
    )
    for level, score in (("biosample", biosample), ("locus", locus)):
        table = table.merge(score_columns(score, level, design), on="feature", how="left")
    return table


def branch_table(
    statistics: Iterable[tuple[int, SufficientStatistics]], blocks: np.ndarray, design: Design, cds: Cds, seed: int
) -> pd.DataFrame:
    """The feature table of a control branch: (layer, statistics per window, biosample and latent), ``blocks`` (W,) of
    its windows. One row per latent as for the main pipeline, the family its own."""
    index = pd.factorize(blocks)[0]
    tables = [
        layer_table(layer, block_moments(found, index), found.mean().astype(np.float32), design, cds, seed)
        for layer, found in statistics
    ]
    return with_family(pd.concat(tables, ignore_index=True))


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
        f"n_{level}": ", ".join(f"{count} {unit}" for unit, count in combined.n.items()),
        f"status_{level}": combined.status,
    }
    if "maxt" in combined.adjusted:
        columns[f"p_maxt_{level}"] = combined.adjusted["maxt"]
    for lineage in design.lineages:
        result = score.lineages[lineage]
        columns[f"estimate_{lineage}_{level}"] = result.estimate
        columns[f"t_{lineage}_{level}"] = result.statistic
        columns[f"p_{lineage}_{level}"] = result.p
    return pd.DataFrame(columns)


def with_family(features: pd.DataFrame) -> pd.DataFrame:
    """Add Benjamini–Hochberg q over all alive features of all layers, for every p column of the corrected score."""
    result = features.copy()
    for column in [c for c in features if c.startswith("p_") and c.endswith(("_biosample", "_locus"))]:
        if column.startswith("p_maxt"):
            continue
        p = features[column].to_numpy(float)
        tested = np.isfinite(p)
        for method in ("bh", "bonferroni"):
            values = np.full(len(p), np.nan)
            if tested.any():
                values[tested] = adjust_all(p[tested])[method]
            result[f"{'q' if method == 'bh' else 'bonferroni'}{column[1:]}"] = values
    return result


def effect_table(layer: int, moments: Moments, design: Design, cds: Cds, seed: int) -> pd.DataFrame:
    """Hedges g, AUROC and log2 fold of alive features per lineage, with block-bootstrap intervals."""
    alive = np.flatnonzero(moments.alive(cds.min_density))
    frames = []
    for lineage in design.lineages:
        if design.why_untestable(lineage, "locus"):
            continue
        found = effects(moments.features(alive), design, lineage, resamples=cds.bootstrap, seed=seed)
        sizes = {
            f"{name}{suffix}": values
            for name, effect in found._asdict().items()
            if isinstance(effect, Effect)
            for suffix, values in zip(("", "_low", "_high"), effect)
        }
        frames.append(
            pd.DataFrame({"layer": layer, "feature": alive, "lineage": lineage, **sizes, "blocks": found.blocks})
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
