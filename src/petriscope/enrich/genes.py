"""Genes and the bins they claim: TSS readers (BED, GTF), GREAT's basal-plus-extension domains,
nearest TSS."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals, overlaps, read_bed, within_genome

_PROMOTER = (
    1000  # an interval up to this long is a window centered on its TSS; a longer one is a gene body
)


class Genes(NamedTuple):
    """One TSS per gene."""

    frame: pd.DataFrame
    """gene (upper-case symbol), chrom, tss (0-based), strand; sorted by chrom and tss."""
    notes: tuple[str, ...]
    """What was merged or changed, in words."""


class Links(NamedTuple):
    """Which bin belongs to which gene."""

    matrix: sparse.csr_matrix
    """(n_bins, G) float64 of 0 and 1."""
    genes: list[str]


def read_genes(path: str | Path, sizes: Mapping[str, int] | None = None) -> Genes:
    """Read TSSs from a GTF (gene lines, else transcripts) or a BED of TSSs, of windows round TSSs,
    or of gene bodies.

    In a BED, column 4 is the symbol and column 6 the strand (without it every gene is '+'); an
    interval up to 1 kb is centered on its TSS, a longer one is a gene body whose 5' end is the TSS.
    Symbols become upper case; of one symbol on several lines the most upstream TSS is kept. Raises
    UserError naming file and line; where chromosome ``sizes`` are given, also for a TSS past its
    chromosome's end.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz").lower()
    frame = _from_gtf(path) if name.endswith((".gtf", ".gff")) else _from_bed(path)
    within_genome(frame.assign(start=frame["tss"], end=frame["tss"] + 1), sizes or {}, path)
    notes = []
    upper = frame["gene"].str.upper()
    if changed := int((upper != frame["gene"]).sum()):
        notes.append(f"{changed:,} gene symbols were not in upper case: changed")
    frame["gene"] = upper
    upstream = np.where(frame["strand"] == "-", -frame["tss"], frame["tss"])
    order = np.lexsort((upstream, frame["chrom"], frame["gene"]))
    frame = frame.iloc[order]
    if repeats := int(frame["gene"].duplicated().sum()):
        notes.append(f"{repeats:,} lines repeat a gene symbol: the most upstream TSS was kept")
    frame = frame.drop_duplicates("gene").sort_values(["chrom", "tss", "gene"], ignore_index=True)
    return Genes(frame[["gene", "chrom", "tss", "strand"]], tuple(notes))


def _from_bed(path: Path) -> pd.DataFrame:
    bed = read_bed(path, min_columns=4)
    strand = bed["strand"] if "strand" in bed else pd.Series("+", index=bed.index)
    body = (bed["end"] - bed["start"]) > _PROMOTER
    five_prime = np.where(strand == "-", bed["end"] - 1, bed["start"])
    tss = np.where(body, five_prime, (bed["start"] + bed["end"]) // 2)
    tss = np.where(bed["end"] - bed["start"] == 1, bed["start"], tss)
    return pd.DataFrame(
        {"gene": bed["name"].astype(str), "chrom": bed["chrom"], "tss": tss, "strand": strand}
    )


def _from_gtf(path: Path) -> pd.DataFrame:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    rows: dict[str, list[tuple[str, str, int, str]]] = {"gene": [], "transcript": []}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("\t")
        if line.startswith("#") or len(fields) < 9 or fields[2] not in rows:
            continue
        found = re.search(r'gene_name[ =]"?([^";]+)', fields[8]) or re.search(
            r'gene_id[ =]"?([^";]+)', fields[8]
        )
        if not found or not fields[3].isdigit() or not fields[4].isdigit():
            raise UserError(
                "a gene without gene_name or gene_id, or without whole-number coordinates",
                file=path,
                field=f"line {number}",
                remedy="Add gene_id and whole-number start and end, or remove the line",
            )
        tss = int(fields[4]) - 1 if fields[6] == "-" else int(fields[3]) - 1
        rows[fields[2]].append((found[1], fields[0], tss, fields[6]))
    chosen = rows["gene"] or rows["transcript"]
    if not chosen:
        raise UserError(
            "holds no gene and no transcript line", file=path, remedy="Give a GTF or a BED of TSSs"
        )
    return pd.DataFrame(chosen, columns=["gene", "chrom", "tss", "strand"])


def great_domains(
    genes: pd.DataFrame,
    chrom_sizes: Mapping[str, int] | None = None,
    upstream: int = 5_000,
    downstream: int = 1_000,
    extension: int = 1_000_000,
) -> pd.DataFrame:
    """Regulatory domains by GREAT's basal-plus-extension rule (McLean 2010, the rule since version
    1.5).

    Basal domain: ``upstream`` and ``downstream`` bp of the TSS, whatever lies near. It is extended
    each way to the nearest basal domain of a gene whose TSS lies on that side, at most
    ``extension`` bp from the TSS, and never past the chromosome. Returns gene, chrom, start, end.
    """
    parts = []
    for chrom, group in genes.sort_values(["chrom", "tss"], kind="stable").groupby(
        "chrom", sort=False
    ):
        tss = group["tss"].to_numpy()
        forward = (group["strand"] != "-").to_numpy()
        size = (chrom_sizes or {}).get(str(chrom), np.iinfo(np.int64).max)
        basal_start = np.maximum(tss - np.where(forward, upstream, downstream), 0)
        basal_end = np.minimum(tss + np.where(forward, downstream, upstream), size)
        place = np.searchsorted(tss, tss, side="left")
        reach = np.concatenate([[0], np.maximum.accumulate(basal_end)])
        start = np.minimum(basal_start, np.maximum(reach[place], np.maximum(tss - extension, 0)))
        place = np.searchsorted(tss, tss, side="right")
        reach = np.concatenate([np.minimum.accumulate(basal_start[::-1])[::-1], [size]])
        end = np.maximum(basal_end, np.minimum(reach[place], np.minimum(tss + extension, size)))
        parts.append(
            pd.DataFrame(
                {"gene": group["gene"].to_numpy(), "chrom": chrom, "start": start, "end": end}
            )
        )
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["gene", "chrom", "start", "end"])
    )


def link_genes(
    bins: Intervals,
    genes: pd.DataFrame,
    rule: Literal["great", "nearest"] = "great",
    chrom_sizes: Mapping[str, int] | None = None,
    max_distance: int = 1_000_000,
) -> Links:
    """Bins (by their middle) to genes: every domain that holds it (``great``) or the nearest TSS
    (``nearest``).

    ``max_distance`` bounds both: GREAT's extension, or the distance to the nearest TSS.

    Raises UserError where no bin lies on a chromosome with genes.
    """
    names = genes["gene"].tolist()
    middle = (bins.start + bins.end) // 2
    if len(middle) and not set(genes["chrom"]) & set(bins.chrom.tolist()):
        raise UserError(
            f"the bins lie on {bins.chrom[0]} and the genes on {genes['chrom'].iloc[0]}",
            remedy="Use the same chromosome names (chr1 or 1) in both",
        )
    if rule == "great":
        domains = great_domains(genes, chrom_sizes, extension=max_distance)
        column = pd.Series(np.arange(len(names)), index=names)
        pairs = overlaps(Intervals(bins.chrom, middle, middle + 1), Intervals.of(domains))
        rows, columns = pairs.query, column[domains["gene"]].to_numpy()[pairs.subject]
    elif rule == "nearest":
        rows, columns = _nearest(bins.chrom, middle, genes, max_distance)
    else:
        raise UserError(f"unknown rule '{rule}'", field="rule", remedy="Use great or nearest")
    return Links(
        sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(middle), len(names))),
        names,
    )


def _nearest(
    chrom: np.ndarray, middle: np.ndarray, genes: pd.DataFrame, max_distance: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and gene columns of the nearest TSS; of two equally near the one to the left."""
    rows, columns = [], []
    for name in pd.unique(pd.Series(chrom)):
        mine = np.flatnonzero(genes["chrom"].to_numpy() == name)
        if not mine.size:
            continue
        here = np.flatnonzero(chrom == name)
        mine = mine[np.argsort(genes["tss"].to_numpy()[mine], kind="stable")]
        tss = genes["tss"].to_numpy()[mine]
        right = np.searchsorted(tss, middle[here]).clip(0, len(tss) - 1)
        left = (right - 1).clip(0)
        best = np.where(
            np.abs(tss[left] - middle[here]) <= np.abs(tss[right] - middle[here]), left, right
        )
        near = np.abs(tss[best] - middle[here]) <= max_distance
        rows.append(here[near])
        columns.append(mine[best[near]])
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *rows]), np.concatenate([empty, *columns])
