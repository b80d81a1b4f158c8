"""Stage motifs: known-motif enrichment where features fire, against a matched background, with its
controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.enrich.families import CONTROLS, SHOWN_DRAWS, for_disk, share_of_draws, with_q
from petriscope.enrich.features import enrich_features
from petriscope.enrich.hits import (
    best_motifs,
    families,
    feature_hits,
    lineage_specificity,
    logos_and_positions,
)
from petriscope.enrich.homer import enrich_by_homer
from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.enrich.scan import scan_hits
from petriscope.enrich.specificity import lineage_contrast
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    Foregrounds,
    layer_of_claims,
    load_arrays,
    load_foregrounds,
)

SPAN = 200
"""bp scanned round each bin's centre: HOMER's default size."""
LOGOS = 2
"""Motifs per lineage that are drawn."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/motifs/: enrichment.csv (groups x motifs, q over all), factors.csv (the claimed
    factors), lineages.csv (motifs by lineage over its features), and of each feature's best motifs
    specificity.parquet, hits.parquet (where they lie) and comparisons.csv; of each lineage's,
    logos.csv and positions.csv.
    """
    dataset = load_dataset(workspace.dataset(params.dataset))
    motifs = read_motifs(dataset.motifs, dataset.motif_format, params.tracks.motif_p)
    fore = load_foregrounds(workspace)
    sequences = spans(load_arrays(workspace).sequence, params.windows.crop)
    hits = scan_hits(sequences, motifs)
    enrichment = enrich_features(hits, MatchedBackground(fore.matrix, fore.strata))
    names = [motif.name for motif in motifs]
    if params.annotation.engine == "homer":
        drawn = fore.groups[fore.groups.kind == "random"].group.tolist()[SHOWN_DRAWS:]
        asked = {row: group for row, group in enumerate(fore.groups.group) if group not in drawn}
        ratio, seed = params.annotation.background_ratio, params.seed
        long = enrich_by_homer(
            sequences, motifs, fore.matrix, fore.strata, asked, ratio=ratio, seed=seed
        )
    else:
        long = enrichment.table(names, features=fore.groups.group.to_numpy())
    groups = fore.groups.drop(columns=["size", "dropped"])
    table = with_q(groups.merge(long.rename(columns={"feature": "group"}), on="group"))
    factors = claimed_factors(table, dataset, motifs)
    layer = layer_of_claims(workspace, params)
    published = claimed_factors(unmatched(hits, fore, motifs, layer), dataset, motifs)
    top = pd.read_parquet(workspace.table("foregrounds") / "top.parquet")
    found, comparisons = hits_in_top_bins(table, top, fore.bins, sequences, motifs, params)
    logos, positions = of_lineages(table, fore, sequences, motifs, layer, params)
    with atomic_folder(workspace.table("motifs")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(table))
        write_csv(folder / "factors.csv", factors)
        write_csv(
            folder / "lineages.csv", lineage_table(enrichment.fold, fore.groups, names, params.seed)
        )
        specific = specificity_table(table, fore, hits, motifs, params.cds.alpha)
        write_parquet(folder / "specificity.parquet", specific)
        write_parquet(folder / "hits.parquet", found)
        write_csv(folder / "comparisons.csv", comparisons)
        write_csv(folder / "logos.csv", logos)
        write_csv(folder / "positions.csv", positions)
    metrics: dict[str, Any] = {
        x: _lineage_metrics(x, factors, published, layer) for x in dataset.lineages
    }
    metrics["motifs"] = len(motifs)
    metrics["engine"] = params.annotation.engine
    metrics["family"] = int((~table.kind.isin(CONTROLS)).sum())
    metrics["random_draws_with_a_motif"] = share_of_draws(
        table, table[table.kind == "random"].group.nunique(), alpha=params.cds.alpha
    )
    metrics["hit_correlation_median"] = (
        float(comparisons.correlation.median()) if len(comparisons) else None
    )
    return metrics


def hits_in_top_bins(
    table: pd.DataFrame,
    top: pd.DataFrame,
    bins: pd.DataFrame,
    sequences: np.ndarray,
    motifs: list[Motif],
    params: Params,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where each feature's best motifs lie in its strongest bins, and the letters there against the
    motif."""
    best = best_motifs(
        table[table.kind == "feature"], params.annotation.hits_motifs, params.cds.alpha
    )
    index = {motif.name: i for i, motif in reversed(list(enumerate(motifs)))}
    rows = top.groupby("group").bin.apply(np.array)
    wanted = pd.DataFrame(
        {"feature": best.group, "motif": best.name.map(index), "rows": best.group.map(rows)}
    )
    found = feature_hits(sequences, motifs, wanted)
    about = best[["group", "layer", "feature", "rank", "q", "name"]].rename(
        columns={"name": "motif"}
    )
    names = pd.Series([motif.name for motif in motifs])
    frames = []
    for frame in found:
        frame = frame.rename(columns={"feature": "group"}).astype({"group": object})
        frame["motif"] = names[frame.motif.astype(int)].to_numpy(dtype=object)
        frames.append(about.merge(frame, on=["group", "motif"]))
    place = bins.iloc[frames[0].sequence.to_numpy(np.int64)]
    start = place.start.to_numpy() + 64 - SPAN // 2 + frames[0].offset.to_numpy(np.int64)
    hits = frames[0][["layer", "feature", "motif", "rank", "strand", "score"]].assign(
        chrom=place.chrom.to_numpy(),
        start=start,
        end=start + frames[0].length.to_numpy(np.int64),
        bin_start=place.start.to_numpy(),
        window=place.window.to_numpy(),
    )
    return hits.reset_index(drop=True), frames[1].reset_index(drop=True)


def specificity_table(
    table: pd.DataFrame, fore: Foregrounds, hits: np.ndarray, motifs: list[Motif], alpha: float
) -> pd.DataFrame:
    """Lineage specificity of every motif with q up to ``alpha`` in a feature, with the family of
    alike motifs."""
    features = fore.groups[fore.groups.kind == "feature"].reset_index(drop=True)
    names = [motif.name for motif in motifs]
    found = lineage_specificity(fore.firing, features.lineage.tolist(), fore.strata, hits, names)
    found = found.drop_duplicates(["row", "name"])
    found["group"] = features.group.to_numpy()[found.row.to_numpy(np.int64)]
    passing = best_motifs(table[table.kind == "feature"], len(motifs), alpha)
    passing = passing[
        ["group", "layer", "feature", "lineage", "context", "rank", "name", "q", "fold"]
    ]
    merged = passing.merge(found.drop(columns="row"), on=["group", "name"], how="left")
    return merged.assign(family=merged.name.map(families(motifs)))


def lineage_table(
    fold: np.ndarray, groups: pd.DataFrame, names: list[str], seed: int
) -> pd.DataFrame:
    """Per layer, lineage and motif: mean log2 fold over the lineage's features less that over the
    others'."""
    rng, frames = np.random.default_rng(seed), []
    with np.errstate(divide="ignore"):
        log2_fold = np.log2(fold)
    for layer, rows in groups[groups.kind == "feature"].groupby("layer"):
        try:
            found = lineage_contrast(log2_fold[rows.index], rows.lineage.tolist(), names, rng=rng)
        except UserError:  # features of one lineage alone: nothing to contrast at this layer
            continue
        frames.append(found.assign(layer=layer))
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=["layer", "lineage", "name"])
    )


def of_lineages(
    table: pd.DataFrame,
    fore: Foregrounds,
    sequences: np.ndarray,
    motifs: list[Motif],
    layer: int,
    params: Params,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Logos and positions of the two best motifs of each lineage at the claims' layer."""
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    index = {motif.name: i for i, motif in reversed(list(enumerate(motifs)))}
    background = MatchedBackground(fore.matrix, fore.strata)
    rows = dict(zip(fore.groups.group, range(len(fore.groups))))
    rng = np.random.default_rng(params.seed)
    logos, positions = [], []
    for best in best_motifs(chosen, LOGOS, params.cds.alpha).itertuples():
        row = rows[best.group]
        motif = motifs[index[best.name]]
        most = params.annotation.background_ratio * params.annotation.max_foreground
        members = fore.matrix[row].indices
        logo, position = logos_and_positions(
            sequences, motif, members, background.weights(row), most, rng
        )
        logos.append(logo.assign(group=best.group, name=best.name))
        positions.append(position.assign(group=best.group, name=best.name))
    if not logos:
        return pd.DataFrame(columns=["group", "name"]), pd.DataFrame(columns=["group", "name"])
    return pd.concat(logos, ignore_index=True), pd.concat(positions, ignore_index=True)


def spans(sequence: np.ndarray, crop: int) -> np.ndarray:
    """200 bp round every predicted bin: uint8 (W·T', 200) from windows (W, L). Beyond the window's
    edge is N."""
    flank = (SPAN - 128) // 2
    padded = np.pad(np.asarray(sequence), ((0, 0), (flank, flank)), constant_values=4)
    starts = 128 * np.arange(crop, sequence.shape[1] // 128 - crop)
    return padded[:, starts[:, None] + np.arange(SPAN)].reshape(-1, SPAN)


def unmatched(hits: np.ndarray, fore: Foregrounds, motifs: list[Motif], layer: int) -> pd.DataFrame:
    """The published form: lineage groups of one layer against every other bin, nothing matched."""
    rows = np.flatnonzero((fore.groups.kind == "lineage") & (fore.groups.layer == layer))
    groups = fore.groups.iloc[rows]
    everything = Strata(np.zeros(fore.matrix.shape[1], dtype=np.int64), ["all bins"])
    found = enrich_features(hits, MatchedBackground(fore.matrix[rows], everything))
    table = found.table([motif.name for motif in motifs], features=groups.group.to_numpy())
    return groups.drop(columns=["size", "dropped"]).merge(
        table.rename(columns={"feature": "group"}), on="group"
    )


def claimed_factors(table: pd.DataFrame, dataset: Dataset, motifs: list[Motif]) -> pd.DataFrame:
    """Rows of the factors each lineage is claimed for, in every group that belongs to a lineage."""
    rows = []
    for lineage, names in dataset.lineage_factors.items():
        wanted = {
            motif.name
            for motif in motifs
            if motif.name.upper().startswith(tuple(n.upper() for n in names))
        }
        wanted |= {
            motif.name for motif in motifs if motif.factor.upper() in {n.upper() for n in names}
        }
        rows.append(
            table[
                table.name.isin(wanted) & table.kind.isin(["lineage", "condition", "peaks"])
            ].assign(claimed_for=lineage)
        )
    return pd.concat(rows, ignore_index=True) if rows else table.iloc[:0].assign(claimed_for="")


def _lineage_metrics(
    lineage: str, factors: pd.DataFrame, published: pd.DataFrame, layer: int
) -> dict[str, Any]:
    """The claim of one lineage: its factors in its own features' bins, in the others', and in its
    raw peaks."""
    mine = factors[factors.claimed_for == lineage]
    here = mine[(mine.kind == "lineage") & (mine.layer == layer)]
    own = here[here.lineage == lineage].sort_values("rank")
    if own.empty:
        why = f"no {lineage} context features fire in enough bins at layer {layer}, or no factor is named for it"
        return _untestable(why)
    if set(here.lineage) == {lineage}:
        why = f"no other lineage's context features fire in enough bins at layer {layer}: the control cannot be measured"
        return _untestable(why)
    best = own.iloc[0]
    mine_published = published[
        (published.claimed_for == lineage) & (published.lineage == lineage)
    ].sort_values("rank")
    elsewhere = here[here.lineage != lineage]
    others = elsewhere.groupby("lineage")["rank"].min()
    peaks = mine[(mine.kind == "peaks") & (mine.lineage == lineage)].sort_values("rank")
    control = "; ".join(f"best rank in {x}: {int(rank)}" for x, rank in others.items())
    if len(peaks):
        best_peak = peaks.iloc[0]
        control += f"; raw peaks: {best_peak['name'].split('/')[0]} rank {int(best_peak['rank'])}, q {best_peak.q:.1e}"
    return {
        "testable": True,
        "why_untestable": None,
        "published_text": _text(mine_published),
        "best_rank": int(best["rank"]),
        "best_q": float(best.q),
        "best_log2_fold": float(log2_fold(own.head(1))[0]),
        "others": {
            "lineage": elsewhere.lineage.tolist(),
            "name": elsewhere["name"].tolist(),
            "rank": elsewhere["rank"].astype(int).tolist(),
            "q": elsewhere.q.tolist(),
            "log2_fold": log2_fold(elsewhere).tolist(),
        },
        "ranks": dict(zip(own["name"], own["rank"].astype(int))),
        "text": _text(own),
        "control_text": control,
    }


def _untestable(why: str) -> dict[str, Any]:
    """Metrics of a lineage whose claim cannot be tested."""
    numbers = ("best_rank", "best_q", "best_log2_fold")
    blank = dict.fromkeys((*numbers, "published_text", "text", "control_text"))
    others = dict.fromkeys(("lineage", "name", "rank", "q", "log2_fold"))
    return {"testable": False, "why_untestable": why, **blank, "others": others}


def log2_fold(rows: pd.DataFrame) -> np.ndarray:
    """log2 of the fold of every row; minus infinity where no bin has the motif."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(rows.fold.to_numpy(float)))


def _text(rows: pd.DataFrame) -> str:
    """The best four factors in words."""
    return "; ".join(
        f"{r['name'].split('/')[0]}: rank {int(r['rank'])}, q {r.q:.1e}, fold {r.fold:.2f}"
        for _, r in rows.head(4).iterrows()
    )
