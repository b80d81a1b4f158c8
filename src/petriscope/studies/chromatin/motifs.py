"""Motifs are looked for where features fire: the factors that lineages are claimed for, hits on the
genome, and what is specific to a lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.enrich.features import enrich_features, lineage_contrast
from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.hits import (
    best_motifs,
    families,
    feature_hits,
    lineage_specificity,
    logos_and_positions,
)
from petriscope.enrich.motifs import Motif
from petriscope.enrich.scan import scan_hits
from petriscope.enrich.sets import Sets
from petriscope.errors import UserError

SPAN = 200
"""bp scanned round each bin's center: HOMER's default size."""
LOGOS = 2
"""Motifs per lineage that are drawn."""


def spans(sequence: np.ndarray, crop: int) -> np.ndarray:
    """200 bp round every predicted bin: uint8 (W·T', 200) from windows (W, L). Beyond the window's
    edge is N."""
    flank = (SPAN - 128) // 2
    padded = np.pad(np.asarray(sequence), ((0, 0), (flank, flank)), constant_values=4)
    starts = 128 * np.arange(crop, sequence.shape[1] // 128 - crop)
    return padded[:, starts[:, None] + np.arange(SPAN)].reshape(-1, SPAN)


def motif_sets(
    sequence: np.ndarray, crop: int, motifs: Sequence[Motif], bins: pd.DataFrame
) -> Sets:
    """The motifs as sets over every predicted bin: what `ps.enrich` takes."""
    return Sets([motif.name for motif in motifs], scan_hits(spans(sequence, crop), motifs), bins)


def claimed_factors(
    table: pd.DataFrame, claimed: Mapping[str, Sequence[str]], motifs: list[Motif]
) -> pd.DataFrame:
    """Rows of the factors that each lineage is ``claimed`` for, in every group that belongs to a
    lineage."""
    rows = []
    for lineage, names in claimed.items():
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


def unmatched(hits: np.ndarray, fore: Foregrounds, motifs: list[Motif], layer: int) -> pd.DataFrame:
    """The published form: lineage groups of one layer against every other bin, nothing matched."""
    rows = np.flatnonzero((fore.groups.kind == "lineage") & (fore.groups.layer == layer))
    groups = fore.groups.iloc[rows]
    everything = Strata(np.zeros(fore.matrix.shape[1], dtype=np.int64), ["all bins"])
    found = enrich_features(hits, MatchedBackground(fore.matrix[rows], everything))
    table = found.table([motif.name for motif in motifs], features=groups.group.to_numpy())
    return fore.about().iloc[rows].merge(table.rename(columns={"feature": "group"}), on="group")


def hits_in_top_bins(
    table: pd.DataFrame,
    top: pd.DataFrame,
    bins: pd.DataFrame,
    sequences: np.ndarray,
    motifs: list[Motif],
    *,
    most: int,
    alpha: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where the ``most`` best motifs with q up to ``alpha`` of each feature lie in its strongest
    bins ``top``, and the letters there against the motif."""
    best = best_motifs(table[table.kind == "feature"], most, alpha)
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
    features = fore.of_features()
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
    *,
    most: int,
    alpha: float,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Logos and positions of the two best motifs with q up to ``alpha`` of each lineage at one
    layer, against ``most`` bins drawn from its matched background."""
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    index = {motif.name: i for i, motif in reversed(list(enumerate(motifs)))}
    background = fore.background()
    rows = dict(zip(fore.groups.group, range(len(fore.groups))))
    rng = np.random.default_rng(seed)
    logos, positions = [], []
    for best in best_motifs(chosen, LOGOS, alpha).itertuples():
        row = rows[best.group]
        motif = motifs[index[best.name]]
        members = fore.matrix[row].indices
        logo, position = logos_and_positions(
            sequences, motif, members, background.weights(row), most, rng
        )
        logos.append(logo.assign(group=best.group, name=best.name))
        positions.append(position.assign(group=best.group, name=best.name))
    if not logos:
        return pd.DataFrame(columns=["group", "name"]), pd.DataFrame(columns=["group", "name"])
    return pd.concat(logos, ignore_index=True), pd.concat(positions, ignore_index=True)
