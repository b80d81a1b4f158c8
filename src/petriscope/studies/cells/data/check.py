"""A look at every file of a data set of cells before any work: what was understood of it, and what
was not. What is wrong is collected, so that one look names all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from petriscope.enrich.genesets import read_gmt
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.progress import progress
from petriscope.studies.cells.data.cells import COLUMNS, Cells
from petriscope.studies.cells.data.dataset import CellSet, read_network
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary, Vocabularies

LISTED = 8


@dataclass
class Report:
    """What a look at a data set found; `lines` prints it, `refuse` raises the first fault."""

    dataset: CellSet
    seconds: float = 0.0
    cells: Cells | None = None
    """as they were read; None where they were not"""
    files: list[tuple[str, ...]] = field(default_factory=list)
    """file, what it is, what it holds, and what of it are genes of the cells."""
    groups: list[tuple[str, ...]] = field(default_factory=list)
    """column, its values, and the number of cells of each."""
    notes: list[str] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The whole report as tables."""
        lines = [f"data set {self.dataset.name}: {self.dataset.source}"]
        for names, rows in (
            (("column", "values", "cells of each"), self.groups),
            (("file", "is", "holds", ""), self.files),
        ):
            if rows:
                lines += ["", *_table(names, rows)]
        return [*lines, "", *self.brief()]

    def brief(self) -> list[str]:
        """What a run says of it: what was changed or matched nothing, what is wrong."""
        lines = [f"note     {note}" for note in self.notes]
        lines += [f"wrong    {fault}" for fault in self.faults]
        verdict = f"{len(self.faults)} wrong" if self.faults else "nothing wrong"
        count = f"{0 if self.cells is None else len(self.cells):,} cells, {len(self.files)} files"
        return [*lines, f"checked  {count} looked at in {self.seconds:.1f} s: {verdict}"]

    def refuse(self) -> None:
        """Raise the first fault, if there is one."""
        if self.faults:
            raise self.faults[0]


def check_dataset(dataset: CellSet, min_genes: int = 1) -> Report:
    """Look at every file that ``dataset`` names, and hold their genes against those of the cells.

    ``min_genes``: cells with fewer detected genes are left out.
    """
    started = time.monotonic()
    report = Report(dataset)
    jobs = list(_jobs(report, min_genes))
    for path, what, look in progress(jobs, "checking the data set", total=len(jobs), unit="file"):
        try:
            holds, shared = look(path)
        except UserError as error:
            report.faults.append(error)
            holds, shared = "not read", ""
        report.files.append((_name(path, dataset), what, holds, shared))
    if report.cells is not None:
        report.notes += report.cells.notes
        _groups(report, report.cells)
    for family in Vocabularies._fields:
        if family not in dataset.vocabulary_files:
            remedy = "Name the file of its tokens: both models read the same cells."
            field = f"vocabularies.{family}"
            report.faults.append(
                UserError("is missing", file=dataset.source, field=field, remedy=remedy)
            )
    report.notes += dataset.untestable()
    report.seconds = time.monotonic() - started
    return report


Look = Callable[[Path], tuple[str, str]]


def _jobs(report: Report, min_genes: int) -> Iterator[tuple[Path, str, Look]]:
    """Each file, what it is, and how it is looked at; the cells come first."""
    dataset = report.dataset
    yield dataset.path, "cells", lambda path: _of_cells(report, min_genes)
    files = dataset.vocabulary_files
    if "geneformer" in files:
        yield files["geneformer"], "vocabulary", lambda path: _of_ranks(path, files.get("aliases"))
    if "scgpt" in files:
        yield (
            files["scgpt"],
            "vocabulary",
            lambda path: (f"{len(BinVocabulary.load(path)):,} ids", ""),
        )
    for name, path in dataset.geneset_files.items():
        yield path, f"gene sets {name}", lambda path: _of_genesets(path, report.cells)
    for name, path in dataset.network_files.items():
        yield path, f"network {name}", lambda path: _of_network(path, report.cells)
    if dataset.truth is not None:
        yield dataset.truth, "planted truth", _of_truth


def _of_cells(report: Report, min_genes: int) -> tuple[str, str]:
    report.cells = cells = report.dataset.cells(min_genes)
    counts, genes = cells.obs.n_counts.median(), cells.obs.n_genes.median()
    holds = f"{len(cells):,} cells, {len(cells.genes):,} genes"
    return holds, f"median {counts:,.0f} counts, {genes:,.0f} genes"


def _of_ranks(path: Path, aliases: Path | None) -> tuple[str, str]:
    vocabulary = RankVocabulary.load(path, aliases)
    return f"{len(vocabulary):,} ids", f"{len(vocabulary.aliases):,} aliases"


def _of_genesets(path: Path, cells: Cells | None) -> tuple[str, str]:
    found = read_gmt(path)
    symbols = {symbol for members in found.sets.values() for symbol in members}
    return f"{len(found.sets):,} sets", _shared(path, symbols, cells)


def _of_network(path: Path, cells: Cells | None) -> tuple[str, str]:
    found = read_network(path)
    symbols = {*found.source.str.upper(), *found.target.str.upper()}
    return f"{len(found):,} pairs", _shared(path, symbols, cells)


def _shared(path: Path, symbols: set[str], cells: Cells | None) -> str:
    """How many symbols are genes of the cells; none is an error."""
    if cells is None:
        return ""
    known = cells.gene_rows()
    shared = len(symbols & known.keys())
    if not shared:
        theirs, ours = sorted(symbols)[:3], cells.genes.name[:3]
        raise UserError(
            f"none of its genes is one of the cells': it says {', '.join(theirs)}, they are "
            f"{', '.join(ours)}",
            file=path,
            remedy="Give gene sets, networks and cells that use the same symbols.",
        )
    return f"{shared:,} of {len(symbols):,} genes known"


def _of_truth(path: Path) -> tuple[str, str]:
    truth = read_json(path)
    if not isinstance(truth, dict):
        raise UserError("is no mapping", file=path, remedy="Make the data set again.")
    return f"{len(truth):,} entries", ""


def _groups(report: Report, cells: Cells) -> None:
    """The values of each known column of the cells."""
    for name in COLUMNS:
        if name in cells.obs:
            size = cells.obs[name].value_counts()
            named = [f"{value} {count:,}" for value, count in size.head(LISTED).items()]
            more = [f"and {len(size) - LISTED:,} more"] if len(size) > LISTED else []
            report.groups.append((name, f"{len(size):,}", ", ".join(named + more)))


def _name(path: Path, dataset: CellSet) -> str:
    """A path as dataset.yaml has it."""
    inside = path.is_relative_to(dataset.root)
    return path.relative_to(dataset.root).as_posix() if inside else str(path)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns set apart by two spaces."""
    every = [head, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in every]
