"""Stage motifs: known-motif enrichment where features fire, against a matched background, with its controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.annotation.background import MatchedBackground, Strata
from petriscope.annotation.families import CONTROLS, for_disk, share_of_draws, with_q
from petriscope.annotation.features import enrich_features
from petriscope.annotation.motifs import Motif, read_motifs
from petriscope.annotation.scan import scan_hits
from petriscope.data.dataset import Dataset, load_dataset
from petriscope.files import atomic_folder, write_csv
from petriscope.params import Params
from petriscope.store import Foregrounds, layer_of_claims, load_arrays, load_foregrounds
from petriscope.workspace import Workspace

SPAN = 200
"""bp scanned round each bin's centre: HOMER's default size."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/motifs/: enrichment.csv (groups x motifs, q over all), factors.csv (the claimed factors)."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    motifs = read_motifs(dataset.motifs, dataset.motif_format, params.tracks.motif_p)
    fore = load_foregrounds(workspace)
    sequences = spans(load_arrays(workspace).sequence, params.windows.crop)
    hits = scan_hits(sequences, motifs)
    enrichment = enrich_features(hits, MatchedBackground(fore.matrix, fore.strata))
    table = enrichment.table([motif.name for motif in motifs], features=fore.groups.group.to_numpy())
    table = fore.groups.drop(columns=["size", "dropped"]).merge(table.rename(columns={"feature": "group"}), on="group")
    table = with_q(table)
    factors = claimed_factors(table, dataset, motifs)
    layer = layer_of_claims(workspace, params)
    published = claimed_factors(unmatched(hits, fore, motifs, layer), dataset, motifs)
    with atomic_folder(workspace.table("motifs")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(table))
        write_csv(folder / "factors.csv", factors)
    metrics: dict[str, Any] = {x: _lineage_metrics(x, factors, published, layer) for x in dataset.lineages}
    metrics["motifs"] = len(motifs)
    metrics["family"] = int((~table.kind.isin(CONTROLS)).sum())
    metrics["random_draws_with_a_motif"] = share_of_draws(table, params.annotation.random_draws)
    return metrics


def spans(sequence: np.ndarray, crop: int) -> np.ndarray:
    """200 bp round every predicted bin: uint8 (W·T', 200) from windows (W, L). Beyond the window's edge is N."""
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
    return groups.drop(columns=["size", "dropped"]).merge(table.rename(columns={"feature": "group"}), on="group")


def claimed_factors(table: pd.DataFrame, dataset: Dataset, motifs: list[Motif]) -> pd.DataFrame:
    """Rows of the factors each lineage is claimed for, in every group that belongs to a lineage."""
    rows = []
    for lineage, names in dataset.lineage_factors.items():
        wanted = {motif.name for motif in motifs if motif.name.upper().startswith(tuple(n.upper() for n in names))}
        wanted |= {motif.name for motif in motifs if motif.factor.upper() in {n.upper() for n in names}}
        rows.append(
            table[table.name.isin(wanted) & table.kind.isin(["lineage", "condition", "peaks"])].assign(
                claimed_for=lineage
            )
        )
    return pd.concat(rows, ignore_index=True) if rows else table.iloc[:0].assign(claimed_for="")


def _lineage_metrics(lineage: str, factors: pd.DataFrame, published: pd.DataFrame, layer: int) -> dict[str, Any]:
    """The claim of one lineage: its factors in its own features' bins, in the others', and in its raw peaks."""
    mine = factors[factors.claimed_for == lineage]
    here = mine[(mine.kind == "lineage") & (mine.layer == layer)]
    own = here[here.lineage == lineage].sort_values("rank")
    if own.empty:
        blank = dict.fromkeys(("best_rank", "best_q", "published_text", "text", "control_text"))
        why = f"no {lineage} context features fire in enough bins at layer {layer}, or no factor is named for it"
        return {"testable": False, "why_untestable": why, **blank}
    best = own.iloc[0]
    mine_published = published[(published.claimed_for == lineage) & (published.lineage == lineage)].sort_values("rank")
    others = here[(here.lineage != lineage)].groupby("lineage")["rank"].min()
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
        "ranks": dict(zip(own["name"], own["rank"].astype(int))),
        "text": _text(own),
        "control_text": control,
    }


def _text(rows: pd.DataFrame) -> str:
    """The best four factors in words."""
    return "; ".join(
        f"{r['name'].split('/')[0]}: rank {int(r['rank'])}, q {r.q:.1e}, fold {r.fold:.2f}"
        for _, r in rows.head(4).iterrows()
    )
