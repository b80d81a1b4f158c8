"""Stage motifs: known-motif enrichment where features fire, against a matched background, with its
controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.features import enrich_features
from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.homer import enrich_by_homer
from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.enrich.scan import scan_hits
from petriscope.enrich.tails import CONTROLS, SHOWN_DRAWS, for_disk, share_of_draws, with_q
from petriscope.executors import current, fan_out
from petriscope.files import atomic_folder, write_csv, write_npy, write_parquet
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.foregrounds import layer_of_claims
from petriscope.studies.chromatin.inputs import Arrays
from petriscope.studies.chromatin.motifs import (
    claimed_factors,
    hits_in_top_bins,
    lineage_table,
    of_lineages,
    spans,
    specificity_table,
    unmatched,
)
from petriscope.studies.chromatin.params import Params

TOLD = 4
"""Factors of a lineage that the ledger prints."""


@dataclass(frozen=True)
class LineageFactors:
    """The factors claimed for a lineage: in its own features' bins, in the others', in its raw
    peaks."""

    untestable: str | None = None
    best_rank: int | None = None
    best_q: float | None = None
    best_log2_fold: float | None = None
    factors: list[dict[str, Any]] | None = None
    """name, rank, q, fold of the best where the lineage's features fire."""
    published: list[dict[str, Any]] | None = None
    """The same against every other bin, nothing matched."""
    others: dict[str, list[Any] | None] | None = None
    """lineage, name, rank, q, log2_fold of the same factors where other lineages' features fire."""
    best_rank_elsewhere: dict[str, int] | None = None
    """Other lineage → best rank there."""
    peaks: dict[str, Any] | None = None
    """name, rank, q, fold of the best in the lineage's raw peaks."""


@dataclass(frozen=True)
class MotifNumbers:
    """What the motifs say of every lineage, and how the table stands."""

    lineages: dict[str, LineageFactors]
    motifs: int
    engine: str
    family: int
    """Tests of the table, controls left out."""
    random_draws_with_a_motif: float | None
    hit_correlation_median: float | None
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> MotifNumbers:
    """Write results/motifs/: enrichment.csv (groups x motifs, q over all), factors.csv (the claimed
    factors), lineages.csv (motifs by lineage over its features), and of each feature's best motifs
    specificity.parquet, hits.parquet (where they lie) and comparisons.csv; of each lineage's,
    logos.csv and positions.csv.
    """
    dataset = load_dataset(workspace.dataset(params.dataset))
    motifs = read_motifs(dataset.motifs, dataset.motif_format, params.tracks.motif_p)
    fore, names = Foregrounds.load(workspace.table("foregrounds")), [m.name for m in motifs]
    sequences = spans(Arrays.load(workspace.tracks).sequence, params.windows.crop)
    hits = scan(workspace, params, sequences, motifs)
    enrichment = enrich_features(hits, fore.background())
    long = enrichment.table(names, features=fore.groups.group.to_numpy())
    if params.annotation.engine == "homer":
        long = by_homer(fore, sequences, motifs, params)
    table = with_q(fore.about().merge(long.rename(columns={"feature": "group"}), on="group"))
    layer, alpha, seed = layer_of_claims(workspace, params), params.cds.alpha, params.seed
    factors = claimed_factors(table, dataset.lineage_factors, motifs)
    plain = unmatched(hits, fore, motifs, layer)
    published = claimed_factors(plain, dataset.lineage_factors, motifs)
    asked = params.annotation
    found, comparisons = hits_in_top_bins(
        table, fore.top, fore.bins, sequences, motifs, most=asked.hits_motifs, alpha=alpha
    )
    most = asked.background_ratio * asked.max_foreground
    drawn = (table, fore, sequences, motifs, layer)
    logos, positions = of_lineages(*drawn, most=most, alpha=alpha, seed=seed)
    tables = {
        "enrichment": for_disk(table),
        "factors": factors,
        "lineages": lineage_table(enrichment.fold, fore.groups, names, seed),
        "comparisons": comparisons,
        "logos": logos,
        "positions": positions,
    }
    with atomic_folder(workspace.table("motifs")) as folder:
        for name, frame in tables.items():
            write_csv(folder / f"{name}.csv", frame)
        specific = specificity_table(table, fore, hits, motifs, alpha)
        write_parquet(folder / "specificity.parquet", specific)
        write_parquet(folder / "hits.parquet", found)
    draws = table[table.kind == "random"].group.nunique()
    return MotifNumbers(
        {x: measured(x, factors, published, layer) for x in dataset.lineages},
        motifs=len(motifs),
        engine=asked.engine,
        family=int((~table.kind.isin(CONTROLS)).sum()),
        random_draws_with_a_motif=share_of_draws(table, draws, alpha=alpha),
        hit_correlation_median=median(comparisons.correlation),
    )


class Scan(NamedTuple):
    """What is scanned for what, and where the hits go."""

    tracks: Path
    motifs: Path
    form: str
    p: float
    crop: int
    into: Path


def scan(
    workspace: Workspace, params: Params, sequences: np.ndarray, motifs: list[Motif]
) -> np.ndarray:
    """Which of ``sequences`` holds which motif, by the executor in use: on a cluster each task
    scans a range of windows."""
    executor = current()
    if executor.runs_here():
        return scan_hits(sequences, motifs)
    dataset = load_dataset(workspace.dataset(params.dataset))
    given = Scan(
        *(workspace.tracks, dataset.motifs, dataset.motif_format, params.tracks.motif_p),
        *(params.windows.crop, workspace.made("motifs")),
    )
    count = len(Arrays.load(workspace.tracks).sequence)
    ends = np.linspace(0, count, min(count, 4 * executor.settings.limit) + 1).round().astype(int)
    ranges = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    found = fan_out(scan_windows, given, ranges, "motif scan", unit="range of windows")
    return np.concatenate([np.load(path) for path in found])


def scan_windows(given: Scan, windows: tuple[int, int]) -> Path:
    """Write which bins of a range of windows hold which motif (bins, M); the file."""
    first, last = windows
    motifs = read_motifs(given.motifs, given.form, given.p)
    sequences = spans(Arrays.load(given.tracks).sequence[first:last], given.crop)
    file = given.into / f"windows_{first}.npy"
    write_npy(file, scan_hits(sequences, motifs, threads=1))
    return file


def by_homer(
    fore: Foregrounds, sequences: np.ndarray, motifs: list[Motif], params: Params
) -> pd.DataFrame:
    """The enrichment table as HOMER makes it; of the random groups only those that are shown."""
    drawn = fore.groups[fore.groups.kind == "random"].group.tolist()[SHOWN_DRAWS:]
    asked = {row: group for row, group in enumerate(fore.groups.group) if group not in drawn}
    ratio, where = params.annotation.background_ratio, (fore.matrix, fore.strata, asked)
    return enrich_by_homer(sequences, motifs, *where, ratio=ratio, seed=params.seed)


def median(values: pd.Series) -> float | None:
    """The median; None of nothing."""
    return float(values.median()) if len(values) else None


def measured(
    lineage: str, factors: pd.DataFrame, published: pd.DataFrame, layer: int
) -> LineageFactors:
    """The claim of one lineage in numbers."""
    mine = factors[factors.claimed_for == lineage]
    here = mine[(mine.kind == "lineage") & (mine.layer == layer)]
    own = here[here.lineage == lineage].sort_values("rank")
    elsewhere = here[here.lineage != lineage]
    none = dict.fromkeys(("lineage", "name", "rank", "q", "log2_fold"))
    if own.empty:
        why = (
            f"no {lineage} context features fire in enough bins at layer {layer}, or no factor is "
            "named for it"
        )
        return LineageFactors(why, others=none)
    if elsewhere.empty:
        why = (
            f"no other lineage's context features fire in enough bins at layer {layer}: the "
            "control cannot be measured"
        )
        return LineageFactors(why, others=none)
    plain = published[(published.claimed_for == lineage) & (published.lineage == lineage)]
    peaks = mine[(mine.kind == "peaks") & (mine.lineage == lineage)].sort_values("rank")
    columns = {name: elsewhere[name].tolist() for name in ("lineage", "name", "rank", "q")}
    ranks = elsewhere.groupby("lineage")["rank"].min()
    return LineageFactors(
        best_rank=int(own["rank"].iloc[0]),
        best_q=float(own.q.iloc[0]),
        best_log2_fold=float(log2_fold(own.head(1))[0]),
        factors=told(own),
        published=told(plain.sort_values("rank")),
        others={**columns, "log2_fold": log2_fold(elsewhere).tolist()},
        best_rank_elsewhere=ranks.astype(int).to_dict(),
        peaks=next(iter(told(peaks)), None),
    )


def log2_fold(rows: pd.DataFrame) -> np.ndarray:
    """log2 of the fold of every row; minus infinity where no bin has the motif."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(rows.fold.to_numpy(float)))


def told(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The first rows as the ledger prints them."""
    best = rows.head(TOLD)[["name", "rank", "q", "fold"]]
    return best.assign(name=best["name"].str.split("/").str[0]).to_dict("records")
