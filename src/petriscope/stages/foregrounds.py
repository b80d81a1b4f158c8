"""Stage foregrounds: which bins stand for each context feature and lineage, their controls, and the matched strata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.annotation.background import MatchedBackground, strata, tss_distance
from petriscope.annotation.foregrounds import (
    Group,
    condition_scores,
    feature_bins,
    lineage_specific,
    membership,
    peak_bins,
    strongest,
)
from petriscope.annotation.genes import read_genes
from petriscope.data.dataset import load_dataset
from petriscope.files import atomic_folder, write_csv, write_json, write_npy, write_parquet
from petriscope.params import Params
from petriscope.progress import progress
from petriscope.store import (
    bins_table,
    layer_codes,
    layer_numbers,
    load_arrays,
    load_biosamples,
    load_windows,
    read_features,
)
from petriscope.workspace import Workspace


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/foregrounds/: membership.npz, groups.parquet, bins.parquet, strata, imbalance.csv."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    bins = covariates(workspace, params, windows, read_genes(dataset.genes).frame)
    features = read_features(workspace)
    groups = _feature_groups(workspace, params, features, biosamples, len(windows))
    peaks = pd.read_parquet(workspace.tracks / "peaks.parquet")
    most = params.annotation.max_foreground
    for b in biosamples.itertuples():
        found = peak_bins(peaks[peaks.biosample == b.biosample], bins, most)
        groups.append(Group(f"peaks {b.biosample}", "peaks", -1, -1, b.lineage, b.context, found))
    rng = np.random.default_rng(params.seed)
    for draw in range(params.annotation.random_draws):
        b = biosamples.iloc[draw % len(biosamples)]
        chosen = rng.choice(len(bins), size=min(most, len(bins) // 4), replace=False)
        groups.append(Group(f"random {draw}", "random", -1, -1, b.lineage, b.context, chosen))
    groups = [group for group in groups if len(group.bins)]
    matrix = membership(groups, len(bins))
    classes = strata(bins.gc.to_numpy(), bins.accessibility.to_numpy(), bins.tss_distance.to_numpy())
    background = MatchedBackground(matrix, classes)
    checked = {name: bins[name].to_numpy() for name in ("gc", "accessibility", "tss_distance")}
    imbalance = [
        background.imbalance(i, checked).assign(group=group.group)
        for i, group in enumerate(groups)
        if group.kind in ("lineage", "condition", "peaks")
    ]
    table = pd.DataFrame([group[:-1] for group in groups], columns=Group._fields[:-1])
    with atomic_folder(workspace.table("foregrounds")) as folder:
        sparse.save_npz(folder / "membership.npz", matrix)
        write_parquet(folder / "groups.parquet", table.assign(size=np.diff(matrix.indptr), dropped=background.dropped))
        write_parquet(folder / "bins.parquet", bins)
        write_npy(folder / "strata.npy", classes.code)
        write_json(folder / "strata.json", classes.names)
        write_csv(folder / "imbalance.csv", pd.concat(imbalance, ignore_index=True))
    worst = pd.concat(imbalance).smd_after.abs()
    return {
        "groups": table.kind.value_counts().to_dict(),
        "bins": len(bins),
        "largest_imbalance_after_matching": float(worst.max()),
        "share_balanced": float((worst < 0.1).mean()),
    }


def covariates(workspace: Workspace, params: Params, windows: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    """The universe: every predicted bin with GC, mean accessibility and distance to the nearest TSS."""
    bins = bins_table(windows, params)
    arrays, crop = load_arrays(workspace), params.windows.crop
    inside = slice(crop, params.windows.length // 128 - crop)
    gc, accessibility = [], []
    for window in range(len(windows)):
        bases = np.asarray(arrays.sequence[window]).reshape(-1, 128)[inside]
        known = (bases < 4).sum(axis=1)
        gc.append(np.where(known > 0, np.isin(bases, (1, 2)).sum(axis=1) / np.maximum(known, 1), np.nan))
        signal = np.asarray(arrays.signal[window], dtype=np.float32)
        accessibility.append(signal.reshape(len(signal), -1, 32).sum(axis=2).mean(axis=0)[inside])
    distance = tss_distance(bins.chrom.to_numpy(), bins.start.to_numpy() + 64, genes)
    return bins.assign(gc=np.concatenate(gc), accessibility=np.concatenate(accessibility), tss_distance=distance)


def _feature_groups(
    workspace: Workspace, params: Params, features: pd.DataFrame, biosamples: pd.DataFrame, windows: int
) -> list[Group]:
    """Context features one by one, and by lineage and condition, for every layer."""
    groups: list[Group] = []
    lineages = list(dict.fromkeys(biosamples.lineage))
    most, bins = params.annotation.max_foreground, params.windows.length // 128 - 2 * params.windows.crop
    shape = (windows, len(biosamples), bins)
    for layer in progress(layer_numbers(workspace.codes), "foregrounds", unit="layer"):
        codes = layer_codes(workspace, layer).scipy()
        by_feature = codes.tocsc()
        mine = features[(features.layer == layer) & features.context].sort_values("rank")
        for row in mine.head(params.annotation.max_features).itertuples():
            found = feature_bins(by_feature, row.feature, shape, most)
            name = f"L{layer}/{row.feature}"
            groups.append(Group(name, "feature", layer, row.feature, row.lineage, row.direction, found))
        scores: dict[str, list[np.ndarray]] = {lineage: [] for lineage in lineages}
        for context in ("in_vitro", "in_vivo"):
            chosen = mine[mine.direction == context]
            weight = np.zeros(codes.shape[1])
            weight[chosen.feature] = 1 / np.maximum(chosen.mean_activation / np.maximum(chosen.density, 1e-12), 1e-12)
            activity = condition_scores(codes, weight, shape, (biosamples.lineage + " " + biosamples.context).tolist())
            own = {x: activity[f"{x} {context}"] for x in lineages if f"{x} {context}" in activity}
            for lineage in own:
                specific = lineage_specific(own, lineage)
                scores[lineage].append(specific)
                name = f"L{layer} {lineage} {context}"
                groups.append(Group(name, "condition", layer, -1, lineage, context, strongest(specific, most)))
        for lineage, parts in scores.items():
            both = strongest(np.max(parts, axis=0), most)
            groups.append(Group(f"L{layer} {lineage}", "lineage", layer, -1, lineage, "", both))
    return groups
