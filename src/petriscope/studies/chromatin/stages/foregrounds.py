"""Stage foregrounds: which bins stand for each context feature and lineage, their controls, and the
matched strata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, strata, tss_distance
from petriscope.enrich.foregrounds import (
    Group,
    condition_scores,
    feature_bins,
    feature_scores,
    lineage_specific,
    membership,
    peak_bins,
    planted_bins,
    strongest,
)
from petriscope.enrich.genes import read_genes
from petriscope.files import atomic_folder, write_csv, write_json, write_npy, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.progress import progress
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset, read_truth
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    bins_table,
    layer_codes,
    layer_numbers,
    load_arrays,
    load_biosamples,
    load_windows,
    read_features,
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/foregrounds/: membership.npz, groups.parquet, bins.parquet, strata,
    imbalance.csv; firing_LINEAGE.npz, each feature's bins in the biosamples of that lineage (rows
    as the groups of kind feature); top.parquet, the bins of each feature where it fires most
    strongly, strongest first.
    """
    dataset = load_dataset(workspace.dataset(params.dataset))
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    bins = covariates(
        workspace,
        params,
        windows,
        read_genes(dataset.genes, known_sizes(Genome(dataset.fasta).contigs)).frame,
    )
    found = _feature_groups(workspace, params, read_features(workspace), biosamples, len(windows))
    silent = [group.group for group, _ in found if not len(group.bins)]
    found = [(group, firing) for group, firing in found if len(group.bins)]
    groups = [group for group, _ in found] + [
        group
        for group in _controls(workspace, params, dataset, biosamples, bins)
        if len(group.bins)
    ]
    matrix = membership(groups, len(bins))
    classes = strata(
        bins.gc.to_numpy(), bins.accessibility.to_numpy(), bins.tss_distance.to_numpy()
    )
    background = MatchedBackground(matrix, classes)
    checked = {name: bins[name].to_numpy() for name in ("gc", "accessibility", "tss_distance")}
    imbalance = [
        background.imbalance(i, checked).assign(group=group.group)
        for i, group in enumerate(groups)
        if group.kind in ("lineage", "condition", "top_activation", "peaks", "planted")
    ]
    table = pd.DataFrame([group[:-1] for group in groups], columns=Group._fields[:-1])
    with atomic_folder(workspace.table("foregrounds")) as folder:
        sparse.save_npz(folder / "membership.npz", matrix, compressed=False)
        for lineage in dict.fromkeys(biosamples.lineage):
            firing = [
                group._replace(bins=where[lineage])
                for group, where in found
                if group.kind == "feature"
            ]
            sparse.save_npz(
                folder / f"firing_{lineage}.npz", membership(firing, len(bins)), compressed=False
            )
        write_parquet(
            folder / "groups.parquet",
            table.assign(size=np.diff(matrix.indptr), dropped=background.dropped),
        )
        write_parquet(folder / "bins.parquet", bins)
        write_parquet(folder / "top.parquet", strongest_bins(groups, params.annotation.hits_bins))
        write_npy(folder / "strata.npy", classes.code)
        write_json(folder / "strata.json", classes.names)
        write_csv(folder / "imbalance.csv", pd.concat(imbalance, ignore_index=True))
    worst = pd.concat(imbalance).smd_after.abs()
    return {
        "groups": table.kind.value_counts().to_dict(),
        "bins": len(bins),
        "left_out": [f"{name}: fires in no bin of its lineage and context" for name in silent],
        "largest_imbalance_after_matching": float(worst.max()),
        "share_balanced": float((worst < 0.1).mean()),
    }


def strongest_bins(groups: list[Group], most: int) -> pd.DataFrame:
    """Columns group, bin: the first ``most`` bins of every feature."""
    rows = [(g.group, int(place)) for g in groups if g.kind == "feature" for place in g.bins[:most]]
    return pd.DataFrame(rows, columns=["group", "bin"])


def covariates(
    workspace: Workspace, params: Params, windows: pd.DataFrame, genes: pd.DataFrame
) -> pd.DataFrame:
    """The universe: every predicted bin with GC, mean accessibility and distance to the nearest
    TSS."""
    bins = bins_table(windows, params)
    arrays, crop = load_arrays(workspace), params.windows.crop
    inside = slice(crop, params.windows.length // 128 - crop)
    gc, accessibility = [], []
    for window in range(len(windows)):
        bases = np.asarray(arrays.sequence[window]).reshape(-1, 128)[inside]
        known = (bases < 4).sum(axis=1)
        gc.append(
            np.where(known > 0, np.isin(bases, (1, 2)).sum(axis=1) / np.maximum(known, 1), np.nan)
        )
        signal = np.asarray(arrays.signal[window], dtype=np.float32)
        accessibility.append(signal.reshape(len(signal), -1, 32).sum(axis=2).mean(axis=0)[inside])
    distance = tss_distance(bins.chrom.to_numpy(), bins.start.to_numpy() + 64, genes)
    return bins.assign(
        gc=np.concatenate(gc), accessibility=np.concatenate(accessibility), tss_distance=distance
    )


def _controls(
    workspace: Workspace,
    params: Params,
    dataset: Dataset,
    biosamples: pd.DataFrame,
    bins: pd.DataFrame,
) -> list[Group]:
    """Raw peaks of each biosample, planted elements of each lineage where they are known, and
    random bins."""
    most, groups = params.annotation.max_foreground, []
    peaks = pd.read_parquet(workspace.tracks / "peaks.parquet")
    for b in biosamples.itertuples():
        summits = peak_bins(peaks[peaks.biosample == b.biosample], bins, most)
        groups.append(Group(f"peaks {b.biosample}", "peaks", -1, -1, b.lineage, b.context, summits))
    if dataset.truth is not None:
        truth = read_truth(dataset.truth)
        for lineage in dict.fromkeys(biosamples.lineage):
            planted = planted_bins(truth, lineage, bins, most)
            groups.append(Group(f"planted {lineage}", "planted", -1, -1, lineage, "", planted))
    rng = np.random.default_rng(params.seed)
    for draw in range(params.annotation.random_draws):
        b = biosamples.iloc[draw % len(biosamples)]
        chosen = rng.choice(len(bins), size=min(most, len(bins) // 4), replace=False)
        groups.append(Group(f"random {draw}", "random", -1, -1, b.lineage, b.context, chosen))
    return groups


def _feature_groups(
    workspace: Workspace,
    params: Params,
    features: pd.DataFrame,
    biosamples: pd.DataFrame,
    windows: int,
) -> list[tuple[Group, dict[str, np.ndarray]]]:
    """Context features one by one, and by lineage and condition, for every layer, and the sets of
    top activation.

    A feature stands where it fires in biosamples of its own lineage and direction: an element that
    another lineage opens says nothing about this one. Beside each feature's group, the bins where
    it fires in every lineage.
    """
    found: list[tuple[Group, dict[str, np.ndarray]]] = []
    lineages = list(dict.fromkeys(biosamples.lineage))
    most, bins = (
        params.annotation.max_foreground,
        params.windows.length // 128 - 2 * params.windows.crop,
    )
    shape = (windows, len(biosamples), bins)
    for layer in progress(layer_numbers(workspace.codes), "foregrounds", unit="layer"):
        codes = layer_codes(workspace, layer).scipy()
        by_feature = codes.tocsc()
        here = features[features.layer == layer]
        mine = here[here.context].sort_values("rank")
        for row in mine.head(params.annotation.max_features).itertuples():
            scores = feature_scores(by_feature, row.feature, shape)
            firing = {
                x: feature_bins(scores, _of(biosamples, x, row.direction), most) for x in lineages
            }
            name = f"L{layer}/{row.feature}"
            own = Group(
                name, "feature", layer, row.feature, row.lineage, row.direction, firing[row.lineage]
            )
            found.append((own, firing))
        top = (
            here[here.alive]
            .sort_values("mean_activation", ascending=False, kind="stable")
            .head(len(mine))
        )
        by_context = {x: mine[mine.direction == x] for x in ("in_vitro", "in_vivo")}
        names = (biosamples.lineage + " " + biosamples.context).tolist()
        specific = _specific(codes, by_context, shape, names, lineages)
        found += [
            (
                Group(
                    f"L{layer} {x} {context}",
                    "condition",
                    layer,
                    -1,
                    x,
                    context,
                    strongest(score, most),
                ),
                {},
            )
            for (x, context), score in specific.items()
        ]
        by_top = _specific(codes, dict.fromkeys(by_context, top), shape, names, lineages)
        for kind, label, scored in (("lineage", "", specific), ("top_activation", "top ", by_top)):
            for x in lineages:
                parts = [score for (lineage, _), score in scored.items() if lineage == x]
                if parts:
                    both = strongest(np.max(parts, axis=0), most)
                    found.append((Group(f"L{layer} {label}{x}", kind, layer, -1, x, "", both), {}))
    return found


def _of(biosamples: pd.DataFrame, lineage: str, context: str) -> np.ndarray:
    """(S,) bool: biosamples of a lineage in a context, or of the lineage where it has none in that
    context."""
    own = (biosamples.lineage == lineage).to_numpy()
    both = own & (biosamples.context == context).to_numpy()
    return both if both.any() else own


def _specific(
    codes: sparse.csr_matrix,
    sets: dict[str, pd.DataFrame],
    shape: tuple[int, int, int],
    conditions: list[str],
    lineages: list[str],
) -> dict[tuple[str, str], np.ndarray]:
    """(lineage, context) → how far the activity of the context's feature set exceeds that in every
    other lineage."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for context, chosen in sets.items():
        weight = np.zeros(codes.shape[1])
        weight[chosen.feature] = 1 / np.maximum(
            chosen.mean_activation / np.maximum(chosen.density, 1e-12), 1e-12
        )
        activity = condition_scores(codes, weight, shape, conditions)
        own = {x: activity[f"{x} {context}"] for x in lineages if f"{x} {context}" in activity}
        found |= {(x, context): lineage_specific(own, x) for x in own}
    return found
