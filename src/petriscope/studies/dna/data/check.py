"""A look at every file of a data set of sequences before any work: what was understood of it, and
what was not. What is wrong is collected, so that one look names all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.enrich.genesets import read_gmt
from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import check_names, known_sizes
from petriscope.genome.overlap import Intervals, overlaps, read_bed, within_genome
from petriscope.progress import progress
from petriscope.studies.dna.data.dataset import SequenceSet, read_sizes, read_truth
from petriscope.studies.dna.model.tokens import LIMITS, tokenize_all

BIGWIG = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
AGREE = 0.9
"""Share of sequences that must be the genome's own bases at their places, at least."""


@dataclass
class Report:
    """What a look at a data set found; `lines` prints it, `refuse` raises the first fault."""

    dataset: SequenceSet
    seconds: float = 0.0
    files: list[tuple[str, ...]] = field(default_factory=list)
    """file, what it is, records, and what of it lies on the sequences."""
    classes: list[tuple[str, ...]] = field(default_factory=list)
    """class, sequences, tokens, shortest, median and longest bp."""
    notes: list[str] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The whole report as tables."""
        head = f"data set {self.dataset.name} ({self.dataset.build or 'no build named'})"
        lines = [f"{head}: {self.dataset.source}"]
        lengths = ("class", "sequences", "tokens", "shortest", "median", "longest")
        for names, rows in ((lengths, self.classes), (("file", "is", "holds", ""), self.files)):
            lines += ["", *_table(names, rows)]
        return [*lines, "", *self.brief()]

    def brief(self) -> list[str]:
        """What a run says of it: what was changed or matched nothing, what is wrong."""
        lines = [f"note     {note}" for note in self.notes]
        lines += [f"wrong    {fault}" for fault in self.faults]
        verdict = f"{len(self.faults)} wrong" if self.faults else "nothing wrong"
        count = f"{len(self.dataset.sequences):,} sequences and {len(self.files)} files"
        return [*lines, f"checked  {count} looked at in {self.seconds:.1f} s: {verdict}"]

    def refuse(self) -> None:
        """Raise the first fault, if there is one."""
        if self.faults:
            raise self.faults[0]


def check_dataset(dataset: SequenceSet) -> Report:
    """Look at every file that ``dataset`` names, and hold their places and names against its
    sequences."""
    started = time.monotonic()
    report = Report(dataset)
    _lengths(report)
    report.notes += [*dataset.notes, *dataset.untestable()]
    jobs = list(_jobs(dataset))
    for path, what, look in progress(jobs, "checking the data set", total=len(jobs), unit="file"):
        try:
            holds, shared = look(path)
        except UserError as error:
            report.faults.append(error)
            holds, shared = "not read", ""
        report.files.append((_name(path, dataset), what, holds, shared))
    report.seconds = time.monotonic() - started
    return report


Look = Callable[[Path], tuple[str, str]]


def _jobs(dataset: SequenceSet) -> Iterable[tuple[Path, str, Look]]:
    """Each file, what it is, and how it is looked at."""
    sizes = _sizes(dataset)
    if dataset.genome is not None:
        yield dataset.genome, "genome", lambda path: _of_genome(path, dataset)
    if dataset.contigs is not None and dataset.contigs != dataset.genome:
        yield dataset.contigs, "contiguous DNA", lambda path: _of_genome(path, dataset)
    for name, path in dataset.tracks.items():
        yield path, f"track {name}", lambda path: _of_track(path, dataset, sizes)
    if dataset.conservation is not None:
        yield dataset.conservation, "conservation", lambda path: _of_bigwig(path, dataset, sizes)
    if dataset.genes is not None:
        yield dataset.genes, "genes", lambda path: _of_genes(dataset)
    if dataset.genesets is not None:
        yield dataset.genesets, "gene sets", lambda path: _of_genesets(path, dataset)
    if dataset.truth is not None:
        yield dataset.truth, "planted truth", lambda path: _of_truth(path, dataset)


def _sizes(dataset: SequenceSet) -> dict[str, int]:
    """Length of each chromosome that is known whole."""
    sizes = {} if dataset.chrom_sizes is None else read_sizes(dataset.chrom_sizes)
    for path in (dataset.genome, dataset.contigs):
        if path is not None:
            sizes |= known_sizes(Genome([path]).contigs)
    return sizes


def _lengths(report: Report) -> None:
    frame = report.dataset.sequences
    tokens = np.diff(tokenize_all(frame.sequence.tolist(), "v2").offsets)
    length = frame.sequence.str.len()
    label = frame.label.astype(object).where(frame.label.notna(), "(no class)")
    for name in dict.fromkeys([report.dataset.positive, report.dataset.negative, *label]):
        own = (label == name).to_numpy()
        if own.any():
            cells = (own.sum(), tokens[own].sum(), *np.quantile(length[own], [0, 0.5, 1]))
            report.classes.append((str(name), *(f"{int(cell):,}" for cell in cells)))
    for form, limit in LIMITS.items():
        over = int((tokens > limit).sum())
        if over:
            what = f"{over:,} sequences are longer than form {form} reads ({limit:,} tokens): "
            report.notes.append(what + "set sequences.overlap to cut them")


def _of_genome(path: Path, dataset: SequenceSet) -> tuple[str, str]:
    """The sequences that lie on it must be its own at their places, on their strands."""
    genome = Genome([path])
    frame = dataset.sequences
    same = looked = 0
    first = None
    held = {
        str(chrom): rows[["start", "end"]].to_numpy()
        for chrom, rows in genome.contigs.groupby("chrom")
    }
    for row in frame[frame.chrom.isin(held)].itertuples():
        inside = held[row.chrom]
        if not ((inside[:, 0] <= row.start) & (inside[:, 1] >= row.end)).any():
            continue
        codes = genome.fetch_codes(row.chrom, int(row.start), int(row.end))
        if row.strand == "-":
            codes = np.where(codes > 3, codes, 3 - codes)[::-1]
        looked += 1
        if "".join(np.array(list("ACGTN"))[codes]) == row.sequence:
            same += 1
        elif first is None:
            first = row
    if first is not None and same < AGREE * looked:
        raise UserError(
            f"{first.id} is not what {path.name} holds at {first.chrom}:{first.start}-{first.end}"
            f" on its strand ({same:,} of {looked:,} sequences are)",
            file=dataset.root / first.file,
            field=f"line {first.line}",
            remedy="The places are of another genome build or strand: name the right genome.",
        )
    bases = int((genome.contigs.end - genome.contigs.start).sum())
    return f"{bases:,} bp", f"{same:,} of {looked:,} sequences equal it"


def _places(dataset: SequenceSet) -> pd.DataFrame:
    frame = dataset.sequences
    found = frame.loc[frame.chrom.notna(), ["chrom", "start", "end"]]
    return found.astype({"start": "int64", "end": "int64"})


def _of_track(path: Path, dataset: SequenceSet, sizes: Mapping[str, int]) -> tuple[str, str]:
    with path.open("rb") as handle:
        if handle.read(4) in BIGWIG:
            return _of_bigwig(path, dataset, sizes)
    bed, places = read_bed(path), _places(dataset)
    check_names(path, set(bed.chrom), set(places.chrom))
    within_genome(bed, sizes, path)
    pairs = overlaps(Intervals.of(places), Intervals.of(bed))
    touched = len(np.unique(pairs.query))
    return f"{len(bed):,} intervals", f"on {touched:,} sequences"


def _of_bigwig(path: Path, dataset: SequenceSet, sizes: Mapping[str, int]) -> tuple[str, str]:
    """Header of a bigWig; its chromosomes must have the genome's lengths."""
    import pyBigWig

    try:
        with pyBigWig.open(str(path)) as handle:
            if not handle.isBigWig():
                raise RuntimeError("not a bigWig file")
            lengths, about = dict(handle.chroms()), handle.header()
    except RuntimeError as error:
        raise UserError(
            f"cannot be opened as bigWig ({error})", file=path, remedy="Fetch the file again."
        ) from None
    places = _places(dataset)
    check_names(path, set(lengths), set(places.chrom))
    for chrom, size in sizes.items():
        if lengths.get(chrom, size) != size:
            raise UserError(
                f"{chrom} has {lengths[chrom]:,} bp in the file but {size:,} in the genome",
                file=path,
                remedy="Use a file of the data set's genome build.",
            )
    reached = int(places.chrom.isin(lengths).sum())
    return f"{about['nBasesCovered']:,} bp", f"its chromosomes hold {reached:,} sequences"


def _of_genes(dataset: SequenceSet) -> tuple[str, str]:
    table = dataset.gene_table()
    known = table.id.isin(set(dataset.sequences.id))
    return f"{table.gene.nunique():,} genes", f"of {int(known.sum()):,} sequences"


def _of_genesets(path: Path, dataset: SequenceSet) -> tuple[str, str]:
    """Their genes must be those of the sequences."""
    found = read_gmt(path)
    symbols = {symbol for members in found.sets.values() for symbol in members}
    genes = {str(gene).upper() for gene in dataset.sequences.gene.dropna()}
    shared = symbols & genes
    if not shared:
        theirs, ours = sorted(symbols)[:3], sorted(genes)[:3]
        raise UserError(
            f"no gene of its sets is one of the sequences' genes: it says {', '.join(theirs)}, "
            f"they are {', '.join(ours)}",
            file=path,
            remedy="Give gene sets and genes that use the same symbols.",
        )
    return f"{len(found.sets):,} sets", f"{len(shared):,} of {len(symbols):,} genes known"


def _of_truth(path: Path, dataset: SequenceSet) -> tuple[str, str]:
    truth = read_truth(path)
    strange = set(truth.elements.id) - set(dataset.sequences.id)
    if strange:
        what = f"plants elements in {min(strange)!r}, which is no sequence"
        raise UserError(what, file=path, remedy="Make the data set again.")
    return f"{len(truth.elements):,} elements", f"in {truth.elements.id.nunique():,} sequences"


def _name(path: Path, dataset: SequenceSet) -> str:
    """A path as dataset.yaml has it."""
    inside = path.is_relative_to(dataset.root)
    return path.relative_to(dataset.root).as_posix() if inside else str(path)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns set apart by two spaces."""
    every = [head, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in every]
