"""A look at every file of a data set before any work: what was understood of it, and what was not.

Small tables are read whole by their own readers. Of a large one its first and last records and some
between are looked at, of alignments the header, the index and both ends, so that 55 GB take less
than a minute. What is wrong is collected, so that one look names all of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pysam

from petriscope.enrich.genes import read_genes
from petriscope.enrich.genesets import read_gmt
from petriscope.enrich.motifs import Motif, motifs_of, parse_motifs
from petriscope.enrich.states import ACTIVE, Labels, State, read_labels, read_states
from petriscope.errors import UserError
from petriscope.genome.bam import header_contigs
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import check_names, known_sizes, read_intervals
from petriscope.genome.peaks import read_peak_file
from petriscope.names import chromosomes_meant, did_you_mean
from petriscope.progress import progress
from petriscope.studies.chromatin.data.dataset import Dataset
from petriscope.studies.chromatin.data.sampled import Line, sample
from petriscope.textfile import text_lines

SHOWN = 4
"""Names listed of those that matched nothing."""
FIRST_READS = 10_000
STEP = 200
"""ChromHMM's last segment may end this much, less one, past its chromosome."""


class Place(NamedTuple):
    """Where a record lies."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start:,}-{self.end:,}"


class Seen(NamedTuple):
    """What was understood of one file of places."""

    chroms: set[str]
    records: str
    first: Place | None = None
    last: Place | None = None
    complete: bool = True
    """Whether every chromosome of the file is among ``chroms``."""


@dataclass
class Report:
    """What a look at a data set found; `lines` prints it, `refuse` raises the first fault."""

    dataset: Dataset
    seconds: float = 0.0
    files: list[tuple[str, ...]] = field(default_factory=list)
    """file, what it is, records, chromosomes shared of its own, first record, last record."""
    factors: list[tuple[str, ...]] = field(default_factory=list)
    """lineage, factor, the motifs it names."""
    states: list[tuple[str, ...]] = field(default_factory=list)
    """segmentations, vocabulary, group, states."""
    depth: dict[str, str] = field(default_factory=dict)
    """biosample → records of its signal."""
    strange: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    """Chromosome names that are not the genome's → the files that have them."""
    notes: list[str] = field(default_factory=list)
    """What matched nothing or only in part, with its file."""
    faults: list[UserError] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The whole report as tables."""
        table = self.dataset.biosample_table()
        table["signal"] = [sample.format for sample in self.dataset.biosamples]
        table["records"] = [self.depth.get(name, "?") for name in table.biosample]
        head = ("file", "is", "records", "chromosomes", "first", "last")
        blocks = [
            _table(tuple(table.columns), table.astype(str).itertuples(index=False, name=None)),
            _table(head, self.files),
        ]
        if self.factors:
            blocks.append(_table(("lineage", "factor", "motifs"), self.factors))
        if self.states:
            blocks.append(_table(("segmentation", "vocabulary", "group", "states"), self.states))
        lines = [f"data set {self.dataset.name} ({self.dataset.build}): {self.dataset.source}"]
        for block in blocks:
            lines += ["", *block]
        return [*lines, "", *self.brief()]

    def brief(self) -> list[str]:
        """What a run says of it: how much was looked at, what matched nothing, what is wrong."""
        lines = []
        for names, files in self.strange.items():
            listed = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            what = f"chromosome names not the genome's ({len(names)}): {listed}"
            lines.append(f"note     {_some(files)}: {what}")
        lines += [f"note     {note}" for note in self.notes]
        lines += [f"wrong    {fault}" for fault in self.faults]
        count = f"{len(self.files)} files looked at in {self.seconds:.1f} s"
        verdict = f"{len(self.faults)} wrong" if self.faults else "nothing wrong"
        return [*lines, f"checked  {count}: {verdict}"]

    def refuse(self) -> None:
        """Raise the first fault, if there is one."""
        if self.faults:
            raise self.faults[0]


def check_dataset(dataset: Dataset) -> Report:
    """Look at every file that ``dataset`` names, and hold their names against each other.

    Raises `UserError` where the genome itself cannot be read: nothing can be held against it then.
    """
    started = time.monotonic()
    report = Report(dataset)
    genome = Genome(dataset.fasta)
    contigs = genome.contigs
    more = f" and {len(dataset.fasta) - 1} more" if len(dataset.fasta) > 1 else ""
    seen = _of_frame(contigs)
    ends = [str(place) for place in (seen.first, seen.last)]
    shared = str(len(seen.chroms))
    name = _name(dataset.fasta[0], dataset) + more
    report.files.append((name, "genome", seen.records, shared, *ends))
    look = _Look(report, contigs, known_sizes(contigs))
    jobs = list(_jobs(dataset, look))
    for path, what, read in progress(jobs, "checking the data set", total=len(jobs), unit="file"):
        look.at(path, what, read)
    _same_signal_twice(report)
    _check_genes_and_names(report, look)
    report.seconds = time.monotonic() - started
    return report


class _Look:
    """The files of a data set, held against its genome one by one."""

    def __init__(self, report: Report, contigs: pd.DataFrame, sizes: Mapping[str, int]) -> None:
        self.report, self.contigs, self.sizes = report, contigs, sizes
        self.known = set(contigs.chrom)

    def at(self, path: Path, what: str, read: Callable[[Path], Seen]) -> None:
        """Read one file and note what was understood, or what is wrong with it."""
        name = _name(path, self.report.dataset)
        try:
            seen = read(path)
            if seen.chroms and (seen.complete or self._renamed(seen.chroms)):
                check_names(path, seen.chroms, self.known)
        except UserError as error:
            self.report.faults.append(error)
            self.report.files.append((name, what, "not read", "", "", ""))
            return
        shared = f"{len(seen.chroms & self.known)} of {len(seen.chroms)}" if seen.chroms else ""
        ends = [str(place) if place else "" for place in (seen.first, seen.last)]
        self.report.files.append((name, what, seen.records, shared, *ends))
        if strange := tuple(sorted(seen.chroms - self.known)):
            self.report.strange.setdefault(strange, []).append(name)

    def _renamed(self, chroms: set[str]) -> bool:
        """Whether a name of ``chroms`` is one of the genome's in another habit."""
        return chromosomes_meant(chroms, self.known).startswith("Did you mean")

    def depth(self, biosample: str, read: Callable[[Path], Seen]) -> Callable[[Path], Seen]:
        """``read``, whose records become the depth of ``biosample``."""

        def both(path: Path) -> Seen:
            seen = read(path)
            self.report.depth[biosample] = seen.records
            return seen

        return both

    def fragments(self, path: Path) -> Seen:
        """A table of fragments: a sample of it."""
        return self._sampled(path, slack=0)

    def bedgraph(self, path: Path) -> Seen:
        """A bedGraph: a sample of it, whose fourth column is a number."""

        def value(line: Line, fields: list[str]) -> str | None:
            text = fields[3] if len(fields) > 3 else ""
            return None if _is_real(text) else f"value is {text!r}" if text else "value is missing"

        return self._sampled(path, slack=0, also=value)

    def segmentation(self, path: Path) -> Seen:
        """A segmentation: a sample of its segments."""
        return self._sampled(path, slack=STEP - 1)

    def peaks(self, path: Path) -> Seen:
        """A peak file, whole."""
        seen = self._sampled(path, slack=0)
        read_peak_file(path, self.contigs)
        return seen

    def blacklist(self, path: Path) -> Seen:
        """A BED file, whole."""
        self._sampled(path, slack=0)
        return _of_frame(read_intervals(path))

    def bigwig(self, path: Path) -> Seen:
        """The header of a bigWig."""
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
        self._check_lengths(path, lengths)
        return Seen(set(lengths), f"{about['nBasesCovered']:,} bp")

    def alignments(self, path: Path) -> Seen:
        """Header and first alignments of a BAM; the last one where an index leads to it."""
        header = header_contigs(path)
        lengths = {str(row.chrom): int(row.end) for row in header.itertuples()}
        self._check_lengths(path, lengths)
        level = pysam.set_verbosity(0)
        try:
            with pysam.AlignmentFile(str(path)) as handle:
                if handle.is_cram:  # its reads need a reference, its header does not
                    return Seen(set(lengths), "?")
                first = self._first_reads(path, handle)
            return Seen(set(lengths), *self._last_read(path, lengths, first))
        except (OSError, ValueError) as error:
            raise UserError(
                f"damaged or truncated ({error})", file=path, remedy="Fetch or write it again."
            ) from None
        finally:
            pysam.set_verbosity(level)

    def _first_reads(self, path: Path, handle: pysam.AlignmentFile) -> Place:
        """Where the first mapped read lies; the first ones must be of pairs."""
        reads = list(islice(handle.fetch(until_eof=True), FIRST_READS))
        mapped = [read for read in reads if not read.is_unmapped]
        if not mapped or not any(read.is_paired for read in reads):
            what = "holds no mapped read" if not mapped else "holds single reads, not pairs"
            remedy = "Give paired-end ATAC alignments, or fragments.tsv.gz."
            raise UserError(what, file=path, field=f"first {len(reads):,} reads", remedy=remedy)
        return _place_of(mapped[0])

    def _last_read(
        self, path: Path, lengths: Mapping[str, int], first: Place
    ) -> tuple[str, Place, Place | None]:
        """Reads and both ends. An index that is missing or of another file only hides the end:
        nothing that is computed needs it."""
        try:
            with pysam.AlignmentFile(str(path), "rb") as handle:
                counts = {row.contig: row.mapped for row in handle.get_index_statistics()}
                held = [chrom for chrom in lengths if counts.get(chrom)]
                reach, last = 1 << 20, None
                while last is None:
                    start = max(0, lengths[held[-1]] - reach)
                    last = next(iter(deque(handle.fetch(held[-1], start), maxlen=1)), None)
                    if start == 0 and last is None:
                        raise ValueError("the index names reads that are not there")
                    reach *= 8
                return f"{sum(counts.values()):,} reads", first, _place_of(last)
        except (OSError, ValueError, IndexError):
            name = _name(path, self.report.dataset)
            self.report.notes.append(f"{name}: no index of its own, so its end was not looked at")
            return "?", first, None

    def _check_lengths(self, path: Path, lengths: Mapping[str, int]) -> None:
        """Chromosomes that the genome holds whole must have its lengths."""
        for chrom, size in self.sizes.items():
            if lengths.get(chrom, size) != size:
                raise UserError(
                    f"{chrom} has {lengths[chrom]:,} bp in the file but {size:,} in the genome",
                    file=path,
                    remedy="Use a file of the data set's genome build.",
                )

    def _sampled(
        self,
        path: Path,
        slack: int,
        also: Callable[[Line, list[str]], str | None] = lambda line, fields: None,
    ) -> Seen:
        """A sample of a table of intervals, each line of it checked."""
        found = sample(path)
        places = []
        for line in found.lines:
            fields = line.text.split("\t") if "\t" in line.text else line.text.split()
            place, wrong = _placed(fields, self.sizes, slack)
            wrong = wrong or also(line, fields)
            if wrong or place is None:
                raise UserError(
                    wrong or "no interval",
                    file=path,
                    field=line.where(),
                    remedy="Give tab-separated lines: chrom, start, end, of the genome's build.",
                )
            places.append(place)
        records = f"{found.records:,}" if found.counted else f"about {found.records:,}"
        last = places[-1] if found.to_the_end else None
        chroms = {place.chrom for place in places}
        return Seen(chroms, records, places[0], last, found.counted)


def _place_of(read: pysam.AlignedSegment) -> Place:
    return Place(str(read.reference_name), int(read.reference_start), int(read.reference_end or 0))


def _placed(
    fields: Sequence[str], sizes: Mapping[str, int], slack: int
) -> tuple[Place | None, str | None]:
    """The interval of a line, or what is wrong with it."""
    if len(fields) < 3 or not fields[0]:
        return None, f"has {len(fields)} columns where an interval has at least 3"
    for name, text in (("start", fields[1]), ("end", fields[2])):
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            return None, f"{name} is {text!r}"
    place = Place(fields[0], int(fields[1]), int(fields[2]))
    if place.start >= place.end:
        return None, f"interval {place} is empty"
    size = sizes.get(place.chrom)
    if size is not None and place.end > size + slack:
        return None, f"interval {place} ends beyond {place.chrom}, which has {size:,} bp"
    return place, None


def _is_real(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _jobs(dataset: Dataset, look: _Look) -> Iterable[tuple[Path, str, Callable[[Path], Seen]]]:
    """Every file of places once: its path, what it is, how it is read."""
    if dataset.blacklist is not None:
        yield dataset.blacklist, "blacklist", look.blacklist
    readers = {
        "fragments": look.fragments,
        "bam": look.alignments,
        "bigwig": look.bigwig,
        "bedgraph": look.bedgraph,
        "narrowpeak": look.peaks,
    }
    for one in dataset.biosamples:
        what = f"signal of {one.id}"
        yield one.signal, what, look.depth(one.id, readers[one.format])
    peaks, segmentations = dict[Path, list[str]](), dict[Path, list[str]]()
    for one in dataset.biosamples:
        if one.peaks is not None and not (one.format == "narrowpeak" and one.peaks == one.signal):
            peaks.setdefault(one.peaks, []).append(one.id)
        if one.chromhmm is not None:
            segmentations.setdefault(one.chromhmm, []).append(one.id)
    for path, ids in peaks.items():
        yield path, f"peaks of {_some(ids)}", look.peaks
    for path, ids in segmentations.items():
        yield path, f"states of {_some(ids)}", look.segmentation


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _check_genes_and_names(report: Report, look: _Look) -> None:
    """Genes, gene sets, states, motifs and the factors claimed for the lineages."""
    dataset = report.dataset
    genes: set[str] = set()

    def of_genes(path: Path) -> Seen:
        found = read_genes(path, look.sizes)
        report.notes.extend(f"{path.name}: {note}" for note in found.notes)
        genes.update(found.frame.gene)
        return _of_frame(found.frame.assign(start=found.frame.tss, end=found.frame.tss + 1))

    look.at(dataset.genes, "genes", of_genes)
    for name, path in dataset.genesets.items():
        look.at(path, f"gene sets {name}", lambda path: _of_genesets(path, genes, dataset))
    given: list[State] = []

    def of_states(path: Path) -> Seen:
        given.extend(read_states(path))
        return Seen(set(), f"{len(given)} states")

    if dataset.chromhmm_states is not None:
        look.at(dataset.chromhmm_states, "states", of_states)
    if not (dataset.chromhmm_states and not given):
        _check_states(report, tuple(given) or None)
    motifs: list[Motif] = []

    def of_motifs(path: Path) -> Seen:
        motifs.extend(parse_motifs(path, dataset.motif_format))
        return Seen(set(), f"{len(motifs)} motifs")

    look.at(dataset.motifs, "motifs", of_motifs)
    if dataset.activity_motifs != dataset.motifs:
        kind = dataset.activity_motif_format
        look.at(
            dataset.activity_motifs,
            "activity motifs",
            lambda path: Seen(set(), f"{len(parse_motifs(path, kind))} motifs"),
        )
    if motifs:
        _check_factors(report, motifs)
    if dataset.truth is not None:
        look.at(
            dataset.truth,
            "planted truth",
            lambda path: Seen(set(), f"{len(text_lines(path)) - 1:,}"),
        )


def _of_genesets(path: Path, genes: set[str], dataset: Dataset) -> Seen:
    """A collection, whose symbols must be those of the genes."""
    found = read_gmt(path)
    symbols = {symbol for members in found.sets.values() for symbol in members}
    shared = symbols & genes
    if genes and not shared:
        ours, theirs = sorted(genes)[:3], sorted(symbols)[:3]
        raise UserError(
            f"no gene of its sets is in {dataset.genes.name}: it says {', '.join(theirs)}, the "
            f"genes are {', '.join(ours)}",
            file=path,
            remedy="Give gene sets and genes that use the same symbols.",
        )
    return Seen(set(), f"{len(found.sets):,} sets; {len(shared):,} of {len(symbols):,} genes known")


def _check_states(report: Report, given: tuple[State, ...] | None) -> None:
    """The states of every segmentation and what is known of them."""
    vocabularies: dict[tuple[str, tuple[State, ...]], list[Path]] = {}
    for path in dict.fromkeys(b.chromhmm for b in report.dataset.biosamples if b.chromhmm):
        try:
            found: Labels = read_labels(path, given)
        except UserError as error:
            report.faults.append(error)
            continue
        present = tuple(state for state in found.states if state.name in found.present)
        vocabularies.setdefault((found.vocabulary, present), []).append(path)
    for (vocabulary, states), paths in vocabularies.items():
        names = _some([path.name for path in paths])
        groups = list(dict.fromkeys(state.group for state in states))
        for group in groups:
            inside = ", ".join(state.name for state in states if state.group == group)
            told = "taken from the file" if vocabulary == "file" else vocabulary
            report.states.append((names, told, group, inside))
        if not set(groups) & set(ACTIVE):
            report.notes.append(
                f"{names}: no state is known to be active, so what is active there cannot be "
                "tested; say it in column group of annotation.chromhmm_states"
            )


def _check_factors(report: Report, motifs: Sequence[Motif]) -> None:
    """Each factor claimed for a lineage names a motif, or is refused with the nearest."""
    dataset = report.dataset
    known = sorted({name for motif in motifs for name in motif.factors if "/" not in name})
    for lineage, factors in dataset.lineage_factors.items():
        for factor in factors:
            found = [motif.name for motif in motifs_of(factor, motifs)]
            report.factors.append((lineage, factor, ", ".join(found) or "none"))
            if not found:
                report.faults.append(
                    UserError(
                        f"{factor} names no motif of {dataset.motifs.name}",
                        file=dataset.source,
                        field=f"lineage_factors.{lineage}",
                        remedy=did_you_mean(factor, known, kind="Factors there"),
                    )
                )


def _same_signal_twice(report: Report) -> None:
    """Two biosamples with one signal file are no replicates."""
    by_path: dict[Path, list[str]] = {}
    for one in report.dataset.biosamples:
        by_path.setdefault(one.signal.resolve(), []).append(one.id)
    for path, ids in by_path.items():
        if len(ids) > 1:
            report.notes.append(
                f"{_name(path, report.dataset)}: is the signal of {' and '.join(ids)}, which are "
                "then no replicates of each other"
            )


def _of_frame(frame: pd.DataFrame) -> Seen:
    """Chromosomes, first and last record of intervals (chrom, start, end)."""
    first, last = (
        Place(str(row.chrom), int(row.start), int(row.end))
        for row in (frame.iloc[0], frame.iloc[-1])
    )
    return Seen(set(frame.chrom), f"{len(frame):,}", first, last)


def _name(path: Path, dataset: Dataset) -> str:
    """A path as dataset.yaml has it."""
    inside = path.is_relative_to(dataset.root)
    return path.relative_to(dataset.root).as_posix() if inside else str(path)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns set apart by two spaces."""
    every = [head, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in every]
