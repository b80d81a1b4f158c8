"""`petriscope data cisplatin100 --from FILE OUT [--real DIR]`: the length-matched cisplatin set.

The released table holds 100-bp sequences that bind cisplatin or do not, at their loci on hg38. With
a folder of real DNA and annotation (``--real``) the set also gets contiguous DNA, tracks on it,
genes and gene sets, so that stages which need them have real ones.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from petriscope.enrich.states import read_segmentation
from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, claim
from petriscope.genome.fasta import Genome
from petriscope.genome.overlap import Intervals, overlaps, read_bed
from petriscope.progress import progress
from petriscope.studies.dna.data.dataset import read_table
from petriscope.studies.dna.data.write import write_bed, write_fasta, write_table

SET = Output(
    "the cisplatin set",
    (
        *("dataset.yaml", "sequences.tsv.gz", "contigs.fa", "contigs.fa.fai", "genes.tsv"),
        *("terms.gmt", "chrom.sizes", "tracks/*.bed"),
    ),
    lambda path: "\nname: cisplatin100\n" in path.read_text(encoding="utf-8", errors="replace"),
)
NEEDED = ("chrom", "start", "end", "strand", "label", "sequence")
CLASSES = {"1": "binding", "0": "nonbinding"}
SEGMENTED = ("GM12878", "K562")
"""Cells whose chromatin states are tracks, of each the first segmentation by name."""
PROMOTER = (500, 100)
"""bp before and after a TSS."""
SPLICE = 6
"""bp around the end of an exon."""
LEAST = 1000
"""bp of the contigs that a track must cover."""
SOURCE = (
    "Hidden State Genomics (github ek775/Hidden-State-Genomics 05bb746, CC0 1.0); loci of "
    "PlatRNA-seq in A2780, Krishnaraj et al. 2025.12.20.694502"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("out", help="folder to write")
    parser.add_argument(
        "--from",
        dest="table",
        required=True,
        metavar="FILE",
        help="the released table: chrom, start, end, strand, label, group, sequence",
    )
    parser.add_argument(
        "--real",
        metavar="DIR",
        help="folder with genome/, and as far as there chromhmm/, peaks/, tf_chip/, genes/ and "
        "genesets/ of hg38",
    )


def run(args: argparse.Namespace) -> None:
    """Write the data set into ``args.out``.

    Raises `UserError` for a table or a folder that is not what it should be.
    """
    inputs = [args.table, *([args.real] if args.real else [])]
    out = claim(args.out, SET, inputs=inputs)
    frame = released(Path(args.table))
    with atomic_folder(out, SET) as folder:
        fields = {} if args.real is None else _write_real(Path(args.real), folder, frame)
        write_table(folder / "sequences.tsv.gz", frame)
        text = yaml.safe_dump({**_description(), **fields}, sort_keys=False, width=100)
        (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    counts = frame["class"].value_counts()
    drawn = fields.get("tracks", {})
    tracks = f", {len(drawn)} tracks" if isinstance(drawn, dict) and drawn else ""
    print(
        f"wrote {args.out}: {counts[CLASSES['1']]:,} binding and {counts[CLASSES['0']]:,} "
        f"non-binding sequences{tracks}"
    )


def released(path: Path) -> pd.DataFrame:
    """The released table as a table of sequences: id, sequence, chrom, start, end, strand, class,
    and group where it has one. A locus that occurs again gets a number."""
    table = read_table(path, NEEDED)
    strange = table[~table.label.isin(CLASSES)]
    if len(strange):
        raise UserError(
            f"is {strange.label.iloc[0]!r}",
            file=path,
            field=f"line {strange.line.iloc[0]}: label",
            remedy="Write 1 for a sequence that binds, 0 for one that does not.",
        )
    place = table.chrom + ":" + table.start + "-" + table.end + "(" + table.strand + ")"
    again = table.groupby(place).cumcount()
    found = pd.DataFrame(
        {
            "id": place.where(again == 0, place + "#" + (again + 1).astype(str)),
            **{name: table[name] for name in ("sequence", "chrom", "start", "end", "strand")},
            "class": table.label.map(CLASSES),
        }
    )
    return found.assign(group=table.group) if "group" in table else found


def _write_real(real: Path, folder: Path, frame: pd.DataFrame) -> dict[str, object]:
    """Contigs, tracks on them, genes, gene sets and chromosome lengths; their fields of
    dataset.yaml."""
    pieces = sorted((real / "genome").glob("*.fa.gz")) + sorted((real / "genome").glob("*.fa"))
    if not pieces:
        raise UserError("holds no genome/*.fa.gz", file=real, remedy="Give bgzipped FASTA there.")
    genome = Genome(pieces)
    contigs = genome.contigs
    held = (
        (row.name, genome.fetch_codes(row.chrom, row.start, row.end))
        for row in contigs.itertuples(index=False)
    )
    write_fasta(folder / "contigs.fa", held)
    fields: dict[str, object] = {"contigs": "contigs.fa"}
    (folder / "tracks").mkdir()
    tracks = {}
    for name, track in progress(_tracks(real, contigs), "cutting tracks", unit="track"):
        cut = _on_contigs(track, contigs)
        if (cut.end - cut.start).sum() >= LEAST:
            write_bed(folder / "tracks" / f"{name}.bed", cut[["chrom", "start", "end"]])
            tracks[name] = f"tracks/{name}.bed"
    if tracks:
        fields["tracks"] = tracks
    bodies = _first(real, "genes/*genes.bed.gz")
    if bodies is not None:
        write_table(folder / "genes.tsv", genes_of(frame, read_bed(bodies, 6)))
        fields["genes"] = "genes.tsv"
        sets = _first(real, "genesets/GO*.gmt.gz")
        if sets is not None:
            with gzip.open(sets, "rb") as source, (folder / "terms.gmt").open("wb") as target:
                shutil.copyfileobj(source, target)
            fields["genesets"] = "terms.gmt"
    sizes = _first(real, "genome/*chrom.sizes")
    if sizes is not None:
        shutil.copyfile(sizes, folder / "chrom.sizes")
        fields["chrom_sizes"] = "chrom.sizes"
    return fields


def _first(real: Path, pattern: str) -> Path | None:
    return next(iter(sorted(real.glob(pattern))), None)


def _tracks(real: Path, contigs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every annotation that the folder holds, by name: accessible chromatin, bound factors, groups
    of chromatin states, and what genes give."""
    for path in sorted(real.glob("peaks/*.narrowPeak.gz")):
        yield f"open_{path.name.split('.')[0]}", read_bed(path)
    for path in sorted(real.glob("tf_chip/*.bed.gz")):
        cell, factor = path.name.split(".")[:2]
        yield f"{factor}_{cell}", read_bed(path)
    for cell in SEGMENTED:
        states = _first(real, f"chromhmm/{cell}.*bed.gz")
        if states is None:
            continue
        found = read_segmentation(states)
        places = pd.DataFrame({"chrom": found.chrom, "start": found.start, "end": found.end})
        group = np.array([state.group for state in found.states])[found.code]
        for name in dict.fromkeys(state.group for state in found.states):
            yield f"{name}_{cell}", places[group == name]
    exons = _first(real, "genes/*xon*.bed.gz")
    bodies = _first(real, "genes/*genes.bed.gz")
    if exons is not None:
        exon = _on_contigs(read_bed(exons), contigs)
        yield "exon", exon
        ends = [exon.start, exon.end]
        edges = [exon.assign(start=at - SPLICE // 2, end=at + SPLICE // 2) for at in ends]
        yield "splice_site", pd.concat(edges, ignore_index=True)
    if bodies is not None:
        gene = _on_contigs(read_bed(bodies, 6), contigs)
        yield "gene", gene
        if exons is not None:
            yield "intron", _without(gene, exon)
        forward = gene.strand != "-"
        tss = gene.start.where(forward, gene.end)
        before, after = (np.where(forward, *pair) for pair in (PROMOTER, PROMOTER[::-1]))
        yield "promoter", gene.assign(start=(tss - before).clip(lower=0), end=tss + after)
    masked = _masked(real)
    if len(masked):
        yield "repeat", masked


def _masked(real: Path) -> pd.DataFrame:
    """Stretches of lower-case letters: repeats of a soft-masked genome."""
    rows = []
    for path in sorted((real / "genome").glob("*.fa.gz")):
        with gzip.open(path, "rb") as handle:
            records = handle.read().split(b">")[1:]
        for record in records:
            head, _, body = record.partition(b"\n")
            letters = np.frombuffer(body.replace(b"\n", b"").replace(b"\r", b""), np.uint8)
            low = np.diff((letters >= ord("a")).astype(np.int8), prepend=0, append=0)
            name = head.split()[0].decode()
            chrom, _, span = name.partition(":")
            first = int(span.split("-")[0]) - 1 if span else 0
            starts, ends = np.flatnonzero(low == 1) + first, np.flatnonzero(low == -1) + first
            rows.append(pd.DataFrame({"chrom": chrom, "start": starts, "end": ends}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _on_contigs(track: pd.DataFrame, contigs: pd.DataFrame) -> pd.DataFrame:
    """The parts of intervals that lie on the contigs."""
    pairs = overlaps(Intervals.of(track), Intervals.of(contigs))
    cut = track.iloc[pairs.query].reset_index(drop=True)
    limits = contigs.iloc[pairs.subject]
    return cut.assign(
        start=np.maximum(cut.start, limits.start.to_numpy()),
        end=np.minimum(cut.end, limits.end.to_numpy()),
    )


def _without(whole: pd.DataFrame, taken: pd.DataFrame) -> pd.DataFrame:
    """Bases of ``whole`` that no interval of ``taken`` holds, as disjoint intervals."""
    rows = []
    for chrom, own in whole.groupby("chrom"):
        low, high = int(own.start.min()), int(own.end.max())
        inside = np.zeros(high - low + 2, bool)
        for start, end in zip(own.start, own.end, strict=True):
            inside[start - low : end - low] = True
        other = taken[(taken.chrom == chrom) & (taken.start < high) & (taken.end > low)]
        for start, end in zip(other.start, other.end, strict=True):
            inside[max(0, start - low) : end - low] = False
        edges = np.diff(inside.astype(np.int8), prepend=0)
        starts, ends = np.flatnonzero(edges == 1) + low, np.flatnonzero(edges == -1) + low
        rows.append(pd.DataFrame({"chrom": chrom, "start": starts, "end": ends}))
    return pd.concat(rows, ignore_index=True)


def genes_of(frame: pd.DataFrame, bodies: pd.DataFrame) -> pd.DataFrame:
    """id, gene and length (bp of the gene's body) of each sequence that a gene overlaps: the gene
    that holds most of it, the shorter one where two hold as much."""
    places = frame.astype({"start": "int64", "end": "int64"})
    pairs = overlaps(Intervals.of(places), Intervals.of(bodies))
    body = bodies.iloc[pairs.subject]
    found = pd.DataFrame(
        {
            "row": pairs.query,
            "gene": body.name.to_numpy(),
            "length": (body.end - body.start).to_numpy(),
            "bases": pairs.bases,
        }
    )
    found = found.sort_values(
        ["row", "bases", "length", "gene"], ascending=[True, False, True, True]
    )
    found = found.drop_duplicates("row")
    found["id"] = frame.id.to_numpy()[found.row]
    return found[["id", "gene", "length"]].reset_index(drop=True)


def _description() -> dict[str, object]:
    return {
        "format": 1,
        "kind": "sequences",
        "name": "cisplatin100",
        "description": "100-bp sequences at loci that bind cisplatin or do not, all of one length",
        "licence": SOURCE,
        "build": "hg38",
        "sequences": "sequences.tsv.gz",
        "classes": {"positive": CLASSES["1"], "negative": CLASSES["0"]},
    }
