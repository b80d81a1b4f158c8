"""Genes and the bins they claim: TSS readers (BED, GTF, GFF3, refFlat), GREAT's
basal-plus-extension domains, nearest TSS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals, overlaps, read_bed, within_genome
from petriscope.textfile import open_text

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
    """Read TSSs from a GTF or GFF3 (gene lines, else transcripts), a refFlat or genePred table, or
    a BED of TSSs, of windows round TSSs, or of gene bodies; plain or gzipped.

    The format is told by the first line that is no comment, whatever the file is called. In a BED,
    column 4 is the symbol and column 6 the strand (without it every gene is '+'); an interval up to
    1 kb is centered on its TSS, a longer one is a gene body whose 5' end is the TSS. Symbols become
    upper case; of one symbol on several lines the most upstream TSS is kept. Raises UserError
    naming file and line; where chromosome ``sizes`` are given, also for a TSS past its
    chromosome's end.
    """
    path = Path(path)
    read = _dialect(path)
    frame = _from_bed(path) if read is None else pd.DataFrame(list(read()), columns=_Raw._fields)
    frame["strand"], unknown = _strands(frame, path)
    notes = [f"{unknown:,} genes have no strand: taken as +"] if unknown else []
    frame["tss"] = _tss(frame, windows=read is None)
    within_genome(frame.assign(start=frame["tss"], end=frame["tss"] + 1), sizes or {}, path)
    upper = pd.Series([gene.upper() for gene in frame["gene"]], index=frame.index)
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


_COMMENT = re.compile(r"#|(track|browser)(\s|$)")
_COORDINATE = re.compile(r"[0-9]{1,18}")
_STRANDS = {"+": "+", "-": "-", "+1": "+", "-1": "-", "plus": "+", "minus": "-"}
_STRANDS |= {"forward": "+", "reverse": "-"}
_NO_STRAND = (".", "?", "*", "")
_GENES = ("gene", "ncRNA_gene", "pseudogene")
_TRANSCRIPTS = ("transcript", "mRNA")
_SYMBOLS = ("gene_name", "gene_symbol", "gene", "Name", "gene_id", "ID")
_SYMBOLS_OF_PARENTS = ("gene_name", "gene_symbol", "gene", "gene_id", "Parent", "Name", "ID")
"""Attributes that name a gene, best first; the second of transcripts."""
_PREDICTED = {"refFlat": (0, 2, 3, 4, 5), "genePred": (0, 1, 2, 3, 4)}
_PREDICTED |= {"genePredExt": (11, 1, 2, 3, 4), "refGene": (12, 2, 3, 4, 5)}
"""Table of UCSC's → its columns gene, chromosome, strand, start, end."""


class _Raw(NamedTuple):
    """A gene as its line has it, 0-based and half-open."""

    gene: str
    chrom: str
    start: int
    end: int
    strand: str


Split = Callable[[str], list[str]]


def _dialect(path: Path) -> Callable[[], Iterator[_Raw]] | None:
    """The reader of the genes, by the file's first line that is no comment; None for BED.

    Columns are separated by tabs, or by spaces where that line has no tab.
    """
    first = next((line for _, line in _filled(path)), "")
    tabs = "\t" in first

    def in_nine(line: str) -> list[str]:
        return line.split("\t", 8) if tabs else line.split(None, 8)

    def in_all(line: str) -> list[str]:
        return line.split("\t") if tabs else line.split()

    if (kind := _table_kind(in_all(first))) is not None:
        return lambda: _predicted(path, in_all, kind)
    fields = in_nine(first)
    if len(fields) >= 8 and _are_numbers(fields[3:5]) and not _are_numbers(fields[1:3]):
        return lambda: _gff(path, in_nine)
    return None


def _filled(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are neither empty nor a comment."""
    for number, line in open_text(path):
        if line.strip() and not _COMMENT.match(line):
            yield number, line


def _are_numbers(fields: Sequence[str]) -> bool:
    return all(_COORDINATE.fullmatch(field.strip()) for field in fields)


def _table_kind(fields: Sequence[str]) -> str | None:
    """Which of UCSC's gene tables a line is of: its strand and coordinates are where they belong,
    its exon ends make a list."""
    for name, (gene, chrom, strand, start, end) in _PREDICTED.items():
        last = end + 5  # exonEnds follows cdsStart, cdsEnd, exonCount, exonStarts
        if len(fields) <= max(last, gene) or fields[strand].strip() not in ("+", "-"):
            continue
        whole = _are_numbers([*fields[start : end + 4]])
        exons = all(_are_numbers(fields[i].strip().strip(",").split(",")) for i in (last - 1, last))
        wide = len(fields) > 12
        extended = name in ("genePredExt", "refGene")
        if whole and exons and fields[chrom].strip() and wide == extended:
            return name
    return None


def _gff(path: Path, split: Split) -> Iterator[_Raw]:
    """Genes of a GTF or GFF3, else its transcripts."""
    found: dict[bool, list[_Raw]] = {True: [], False: []}
    for number, line in _filled(path):
        if line.startswith(">"):
            break  # the sequence after ##FASTA of a GFF3
        fields = split(line)
        if len(fields) < 9:
            raise UserError(
                f"{len(fields)} columns where a GTF or GFF3 has 9",
                file=path,
                field=f"line {number}",
                remedy="Separate them by tabs; the file may be cut.",
            )
        is_gene = fields[2] in _GENES
        if not is_gene and fields[2] not in _TRANSCRIPTS:
            continue
        attributes = _attributes(fields[8])
        wanted = _SYMBOLS if is_gene else _SYMBOLS_OF_PARENTS
        gene = next((attributes[name] for name in wanted if attributes.get(name)), None)
        if gene is None or not _are_numbers(fields[3:5]):
            raise UserError(
                "a gene without gene_name, Name or gene_id, or without whole-number coordinates",
                file=path,
                field=f"line {number}",
                remedy="Add gene_id and whole-number start and end, or remove the line",
            )
        start, end = int(fields[3]), int(fields[4])
        if not 1 <= start <= end:
            raise UserError(
                f"interval {fields[0]}:{start}-{end} is empty or begins before 1",
                file=path,
                field=f"line {number}",
                remedy="Coordinates count from 1, both ends included.",
            )
        found[is_gene].append(_Raw(gene, fields[0], start - 1, end, fields[6].strip()))
    if not found[True] and not found[False]:
        raise UserError(
            "holds no gene and no transcript line", file=path, remedy="Give a GTF or a BED of TSSs"
        )
    yield from found[True] or found[False]


def _attributes(text: str) -> dict[str, str]:
    """Column 9: `key "value";` of a GTF or `key=value;` of a GFF3, by exact key; of one key on
    several places the first."""
    found: dict[str, str] = {}
    for key, quoted, plain in _ATTRIBUTE.findall(text):
        value = quoted or plain.strip()
        found.setdefault(key, unquote(value) if not quoted else value)
    for key in ("ID", "Parent"):  # Ensembl's `gene:ENSG00000000003`
        if key in found:
            found[key] = found[key].removeprefix("gene:")
    return found


_ATTRIBUTE = re.compile(r'(?:^|;)\s*([^\s=;"]+)\s*[=\s]\s*(?:"([^"]*)"|([^;"]*))')


def _predicted(path: Path, split: Split, kind: str) -> Iterator[_Raw]:
    """Genes of UCSC's refFlat, genePred (extended too) or refGene tables: a transcript a line."""
    gene, chrom, strand, start, end = _PREDICTED[kind]
    for number, line in _filled(path):
        fields = split(line)
        if _table_kind(fields) != kind:
            raise UserError(
                f"is not a line of {kind} as the first one is",
                file=path,
                field=f"line {number}",
                remedy="Give every line the same columns; the file may be cut.",
            )
        first, last = int(fields[start]), int(fields[end])
        name = fields[gene].strip()
        if not first < last or not name:
            raise UserError(
                f"interval {fields[chrom]}:{first}-{last} is empty, or its gene has no name",
                file=path,
                field=f"line {number}",
                remedy="Give 0-based half-open coordinates and a name, or remove the line.",
            )
        yield _Raw(name, fields[chrom], first, last, fields[strand].strip())


def _strands(frame: pd.DataFrame, path: Path) -> tuple[pd.Series, int]:
    """Every strand as + or -, and how many were unknown.

    A bare 1 is + where -1 stands beside it (Ensembl) and nothing by itself: HOMER writes - for it.
    """
    text = frame["strand"].astype(str).str.strip()
    known = dict(_STRANDS)
    if (text == "-1").any():
        known["1"] = "+"
    for value in text.unique():
        if value not in known and value not in _NO_STRAND:
            gene = frame["gene"][text == value].iloc[0]
            raise UserError(
                f"the strand of {gene} is {value!r}",
                file=path,
                remedy="Write + or -, or . where it is unknown.",
            )
    return text.map(known).fillna("+"), int(text.isin(_NO_STRAND).sum())


def _tss(frame: pd.DataFrame, windows: bool) -> np.ndarray:
    """The 5' end; with ``windows``, the middle of an interval that is no longer than a promoter."""
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    five_prime = np.where(frame["strand"] == "-", end - 1, start)
    if not windows:
        return five_prime
    middle = np.where(end - start > _PROMOTER, five_prime, (start + end) // 2)
    return np.where(end - start == 1, start, middle)


def _from_bed(path: Path) -> pd.DataFrame:
    bed = read_bed(path, min_columns=4)
    gene = bed["name"].str.strip()
    if (gene == "").any():
        row = bed[gene == ""].iloc[0]
        raise UserError(
            f"the gene at {row['chrom']}:{row['start']}-{row['end']} has no name",
            file=path,
            field="column 4",
            remedy="Write its symbol there.",
        )
    strand = bed.get("strand", "+")
    return pd.DataFrame(
        {"gene": gene, **{c: bed[c] for c in ("chrom", "start", "end")}, "strand": strand}
    )


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
