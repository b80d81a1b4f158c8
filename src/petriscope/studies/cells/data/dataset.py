"""A data set of cells is a folder with `dataset.yaml` (`kind: cells`), checked at the door, after
which the code trusts it.

The description is read at once; the cells, which may be large, when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.described import Described
from petriscope.enrich.genesets import read_gmt
from petriscope.errors import UserError
from petriscope.names import exactly
from petriscope.studies.cells.data.cells import COLUMNS, IDS, Cells, read_cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary, Vocabularies
from petriscope.textfile import open_text

DOCS = "See docs/datasets.md for the format."
KIND = "cells"
FIELDS = {
    "": (
        *("format", "kind", "name", "description", "licence", "simulation"),
        *("cells", "layer", "ids", "columns", "control", "counts_are_fine"),
        *("vocabularies", "genesets", "networks", "truth"),
    ),
    "columns": COLUMNS,
    "vocabularies": ("geneformer", "aliases", "scgpt"),
}
SOURCES, TARGETS = ("source", "tf", "gene_a"), ("target", "gene_b")
SIGNS = ("sign", "mode", "mor")
"""What the columns of a network may be called."""
MODES = {"activation": 1, "repression": -1, "unknown": 0, "": 0}


@dataclass(frozen=True)
class CellSet:
    """A checked `dataset.yaml`; every path exists."""

    name: str
    description: str
    licence: str
    source: Path
    """The description's own file, for error messages."""
    root: Path
    path: Path
    """The cells: a file, or a folder of zarr or 10x."""
    layer: str | None
    ids: str
    columns: Mapping[str, str]
    """Of `COLUMNS`, those that are known → column of obs."""
    control: str | None
    """The target of cells that were not perturbed."""
    counts_are_fine: bool
    vocabulary_files: Mapping[str, Path]
    geneset_files: Mapping[str, Path]
    """Collection → GMT."""
    network_files: Mapping[str, Path]
    """Name → table of pairs."""
    truth: Path | None

    def vocabularies(self) -> Vocabularies:
        """Those of the two models, as far as they are there."""
        files = self.vocabulary_files
        rank = files.get("geneformer")
        bins = files.get("scgpt")
        return Vocabularies(
            None if rank is None else RankVocabulary.load(rank, files.get("aliases")),
            None if bins is None else BinVocabulary.load(bins),
        )

    def cells(self, min_genes: int) -> Cells:
        """The raw counts. Raises `UserError` where they are none."""
        return read_cells(
            self.path,
            layer=self.layer,
            ids=self.ids,
            columns=self.columns,
            control=self.control,
            min_genes=min_genes,
            counts_are_fine=self.counts_are_fine,
            vocabularies=self.vocabularies(),
        )

    def genesets(self) -> dict[str, dict[str, list[str]]]:
        """Collection → term → its symbols, upper case."""
        return {
            name: {term: list(genes) for term, genes in read_gmt(path).sets.items()}
            for name, path in self.geneset_files.items()
        }

    def networks(self) -> dict[str, pd.DataFrame]:
        """Name → `read_network`."""
        return {name: read_network(path) for name, path in self.network_files.items()}

    def untestable(self) -> list[str]:
        """What this data set cannot support, one sentence each."""
        return [
            what
            for missing, what in (
                ("donor" not in self.columns, "no donors: cells are replicated by nobody"),
                ("cell_type" not in self.columns, "no cell types: their features have no test"),
                ("target" not in self.columns, "no perturbed cells: regulation cannot be tested"),
                ("tissue" not in self.columns, "no second tissue: tissues cannot be compared"),
                (not self.geneset_files, "no gene sets: annotation cannot be tested"),
                (not self.network_files, "no networks: targets of regulators are unknown"),
                (self.truth is None, "no planted truth: recovery of what was planted has no score"),
            )
            if missing
        ]


def load_dataset(path: str | Path) -> CellSet:
    """Read and check the description of a data set.

    Parameters: ``path`` — a folder with `dataset.yaml`, or that file. Raises `UserError` naming
    file, field and remedy.
    """
    path = Path(path)
    source = path if path.is_file() else path / "dataset.yaml"
    if not source.is_file():
        what = "holds no dataset.yaml" if path.is_dir() else "no such data set"
        remedy = "Run `petriscope data demo-cells`, or give the folder that holds dataset.yaml."
        raise UserError(what, file=path, remedy=remedy)
    return _parse(Described(source, source.parent, FIELDS, DOCS))


def _parse(r: Described) -> CellSet:
    kind = r.text(r.raw, "kind", "chromatin")
    if kind != KIND:
        remedy = "Give a data set of cells, or name the study that reads this one (--study)."
        raise r.fail("kind", f"is {kind!r}, not {KIND!r}", remedy)
    r.known(r.raw, "", "")
    if (version := r.text(r.raw, "format", "1")) != "1":
        raise r.fail("format", f"is {version}", "This version reads format 1.")
    columns = r.mapping(r.raw, "columns", {})
    r.known(columns, "columns", "columns")
    vocabularies = r.mapping(r.raw, "vocabularies", {})
    r.known(vocabularies, "vocabularies", "vocabularies")
    if "aliases" in vocabularies and "geneformer" not in vocabularies:
        raise r.fail("vocabularies.geneformer", "is missing, but its aliases are given")
    control = r.text(r.raw, "control", None)
    if control is not None and columns.get("target") is None:
        what = "is given without a column of targets"
        raise r.fail("control", what, "Name it: columns: {target: ...}, or leave control out.")
    if control is None and columns.get("target") is not None:
        what = "is missing, but columns.target names perturbed cells"
        raise r.fail("control", what, "Name the target of cells that were not perturbed.")
    ids = r.text(r.raw, "ids", "auto")
    return CellSet(
        name=r.text(r.raw, "name"),
        description=r.text(r.raw, "description", ""),
        licence=r.text(r.raw, "licence", ""),
        source=r.source,
        root=r.root,
        path=_existing(r, r.text(r.raw, "cells")),
        layer=r.text(r.raw, "layer", None),
        ids=exactly(ids, IDS, file=r.source, field="ids", kind="Use"),
        columns={name: r.text(columns, f"columns.{name}") for name in COLUMNS if columns.get(name)},
        control=control,
        counts_are_fine=r.yes("counts_are_fine"),
        vocabulary_files=r.files("vocabularies"),
        geneset_files=r.files("genesets"),
        network_files=r.files("networks"),
        truth=r.file(r.raw, "truth", optional=True),
    )


def _existing(r: Described, name: str) -> Path:
    """The cells, which may be a folder."""
    path = r.root / name
    return path if path.is_dir() else r.existing(name, "cells")


def read_network(path: str | Path) -> pd.DataFrame:
    """Pairs of a table with a header: source, target (symbols), sign (1, -1, or 0 where unknown or
    contradictory); each pair once, in the order of the file.

    Columns: source, tf or gene_a; target or gene_b; and sign, mode (Activation, Repression) or mor.
    Raises `UserError` naming file and line.
    """
    path = Path(path)
    lines = open_text(path)
    _, head = next(lines, (0, ""))
    names = head.split("\t")
    places = [
        next((names.index(n) for n in some if n in names), None) for some in (SOURCES, TARGETS)
    ]
    if None in places:
        remedy = "Write source and target in the first line, separated by a tab."
        what = f"has no pair of columns, but {', '.join(names)[:80]}" if head else "is empty"
        raise UserError(what, file=path, field="line 1", remedy=remedy)
    signed = next((names.index(name) for name in SIGNS if name in names), None)
    rows = []
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(names):
            if not line.strip():
                continue
            what = f"has {len(cells)} columns where the first line has {len(names)}"
            remedy = "Separate the columns by tabs, as many on each line."
            raise UserError(what, file=path, field=f"line {number}", remedy=remedy)
        sign = 0 if signed is None else _sign(cells[signed], path, number)
        rows.append((*(cells[place].strip() for place in places if place is not None), sign))
    frame = pd.DataFrame(rows, columns=["source", "target", "sign"])
    grouped = frame.groupby(["source", "target"], sort=False).sign
    low, high = grouped.min(), grouped.max()
    # a pair that is told without and with a sign has the sign
    signs = np.where(low >= 0, high, np.where(high <= 0, low, 0))
    return low.index.to_frame(index=False).assign(sign=signs.astype(np.int8))


def _sign(text: str, path: Path, number: int) -> int:
    text = text.strip().lower()
    if text in MODES:
        return MODES[text]
    try:
        return int(np.sign(float(text)))
    except ValueError:
        remedy = "Write 1, -1 or 0, or Activation, Repression or Unknown."
        what = f"{text!r} is no sign"
        raise UserError(what, file=path, field=f"line {number}", remedy=remedy) from None
