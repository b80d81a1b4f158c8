"""The door of the study: a file of cells becomes raw counts, genes that the models know and cells
whose donors and targets are named, or is refused in one line.

After the door the code trusts what it gets: whole numbers, genes each once, cells with enough of
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.names import did_you_mean, exactly
from petriscope.progress import progress
from petriscope.studies.cells.data.containers import (
    AGAIN,
    EXPRESSION,
    Block,
    Container,
    open_container,
)
from petriscope.studies.cells.data.vocabulary import RankVocabulary, Vocabularies

IDS = ("auto", "symbol", "ensembl")
"""What names genes: symbols, Ensembl ids, or whichever the file has."""
COLUMNS = ("donor", "cell_type", "target", "batch", "condition", "tissue")
"""What may be known of a cell."""
ENSEMBL_COLUMNS = ("ensembl_id", "ensembl", "gene_ids", "gene_id", "feature_id", "ensembl_ids")
SYMBOL_COLUMNS = ("feature_name", "gene_symbols", "gene_symbol", "gene_name", "symbol", "hgnc")
MAPPED = 0.5
"""Share of the counts that must lie on genes of the vocabulary."""
BINS = 50
"""Highest bin of scGPT."""
SAME = 0.02
"""Spread of the cells' sums, relative to their median, below which they were made equal."""
MIN_TARGET = 10
"""Cells of a target, at least."""
ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?$")
VERSION = re.compile(r"ENS[A-Z]*G\d+\.\d+$")
MOUSE = re.compile(r"[A-Z][a-z0-9]*[a-z][a-z0-9-]*$")


@dataclass(frozen=True, eq=False)
class Cells:
    """n cells, G genes."""

    counts: sp.csr_matrix
    """(n, G) int32 raw counts, sorted indices"""
    genes: pd.DataFrame
    """G rows: name (as in the file, each once), ensembl, symbol ("" where unknown)"""
    obs: pd.DataFrame
    """n rows: cell (barcode); of `COLUMNS` those that are known, as text or null; n_counts (total
    over all genes of the file), n_genes (detected)"""
    notes: tuple[str, ...] = ()
    """What was dropped or summed, with counts."""

    def __len__(self) -> int:
        return len(self.obs)

    def rows(self, rows: np.ndarray) -> Cells:
        """Some of the cells, of all genes."""
        obs = self.obs.iloc[rows].reset_index(drop=True)
        return Cells(self.counts[rows], self.genes, obs, self.notes)

    def gene_rows(self) -> dict[str, int]:
        """Row of each gene by name, symbol and Ensembl id in upper case; of several genes of a name
        the first."""
        found: dict[str, int] = {}
        for column in ("ensembl", "name", "symbol"):  # the last stands
            named = self.genes.index[self.genes[column] != ""][::-1]
            keys = self.genes.loc[named, column].str.upper()
            found.update(zip(keys, named.tolist(), strict=True))
        return found


def read_cells(
    path: str | Path,
    *,
    layer: str | None = None,
    ids: str = "auto",
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
    min_genes: int = 200,
    counts_are_fine: bool = False,
    vocabularies: Vocabularies | None = None,
) -> Cells:
    """Read the raw counts of a file.

    Parameters
    ----------
    path : path
        `.h5ad`, `.zarr`, the HDF5 file or the folder of 10x.
    layer : str, optional
        Where the counts lie: X (the default), raw.X or layers/NAME.
    ids : {"auto", "symbol", "ensembl"}
        What names genes.
    columns : mapping, optional
        Of `COLUMNS`, those that the file has → the column of its obs.
    control : str, optional
        The target of cells that were not perturbed; needed where ``columns`` names targets.
    min_genes : int
        Cells with fewer detected genes are dropped.
    counts_are_fine : bool
        Take whole numbers for counts even where they do not look it.
    vocabularies : Vocabularies, optional
        Genes must be known to them; they also complete Ensembl ids and symbols.

    Raises
    ------
    UserError
        For all that cannot be counts of human genes in cells: one line with file, field, remedy.
    """
    exactly(ids, IDS, file=path, field="ids")
    container = open_container(path)
    name = container.layer(layer)
    stored, var = container.layers[name], container.genes[name].copy()
    shape = (len(container.obs), len(var))
    if stored.shape != shape:
        what = f"is {stored.shape[0]:,} x {stored.shape[1]:,}, but there are {shape[0]:,} cells and"
        raise UserError(f"{what} {shape[1]:,} genes", file=path, field=name, remedy=AGAIN)
    columns = columns or {}
    obs, notes = _observations(container, columns)
    if control is not None and "target" not in columns:
        remedy = "Name the column of targets: columns: {target: ...}, or leave control out."
        raise UserError("is given without a column of targets", file=path, field="control",
                        remedy=remedy)  # fmt: skip
    counts = _read_counts(container, name)
    counts, var = _expression(counts, var)
    if not counts_are_fine:
        _look_like_counts(counts, path, name)
    notes = [*container.notes, *notes, *_other_genes(container, name)]
    genes, counts, summed = _genes(counts, var, ids, Path(path))
    notes += summed
    known = vocabularies or Vocabularies()
    genes = _completed(genes, known.geneformer)
    notes += _check_known(counts, genes, known, Path(path))
    obs["n_counts"] = np.asarray(counts.sum(1)).ravel().astype(np.int64)
    obs["n_genes"] = np.diff(counts.indptr).astype(np.int64)
    cells, dropped = _enough(Cells(counts, genes, obs), min_genes, Path(path))
    notes += dropped
    if "target" in columns:
        cells, dropped = _perturbed(cells, control, Path(path))
        notes += dropped
    return _detected(cells, notes)


def _read_counts(container: Container, name: str) -> sp.csr_matrix:
    """int32 CSR of whole numbers from 0. Raises `UserError` for anything else."""
    stored = container.layers[name]
    parts = []
    what = "reading counts" if stored.form != "csc" else "turning columns into rows"
    try:
        for block in progress(stored.blocks(), what, total=stored.parts(), unit="block"):
            parts.append(_whole(block, container, name))
    except (OSError, ValueError, KeyError) as error:
        what = f"is damaged ({str(error)[:120]})"
        raise UserError(what, file=container.path, field=name, remedy=AGAIN) from None
    if not parts:
        remedy = "Give a file with cells."
        raise UserError("holds no cell", file=container.path, field=name, remedy=remedy)
    stack = sp.hstack if stored.form == "csc" else sp.vstack
    counts = sp.csr_matrix(stack(parts, format="csr"))
    counts.sort_indices()
    return counts


def _whole(block: Block, container: Container, name: str) -> sp.csr_matrix:
    """A block as int32; explicit zeros and doubled entries are resolved."""
    values = block.values
    values.sum_duplicates()
    data = values.data
    if data.dtype.kind not in "iuf":
        what = f"holds {data.dtype}, no numbers"
        raise UserError(what, file=container.path, field=name, remedy="Give raw counts.")

    def first(wrong: np.ndarray) -> str:
        at = int(np.flatnonzero(wrong)[0])
        row = int(np.searchsorted(values.indptr, at, "right")) - 1
        cell = container.obs.index[block.row + row]
        gene = container.genes[name].index[block.column + int(values.indices[at])]
        return f"{data[at]:g} in cell {cell}, gene {gene}"

    def refuse(what: str, remedy: str) -> UserError:
        return UserError(what, file=container.path, field=name, remedy=remedy)

    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            what = f"holds {first(~np.isfinite(data))}"
            raise refuse(what, "Give raw counts: whole numbers from 0.")
        fraction = data != np.floor(data)
        if fraction.any() or (data < 0).any():
            raise refuse(_no_counts(data, first), _where_else(container, name))
    if (data < 0).any():
        raise refuse(_no_counts(data, first), _where_else(container, name))
    large = data > np.iinfo(np.int32).max
    if large.any():
        raise refuse(f"holds {first(large)}, more than 2,147,483,647", "Give raw counts.")
    counts = sp.csr_matrix(
        (data.astype(np.int32), values.indices, values.indptr), shape=values.shape
    )
    counts.eliminate_zeros()
    return counts


def _no_counts(data: np.ndarray, first: object) -> str:
    """What values that are not whole numbers from 0 are, in words."""
    assert callable(first)
    if (data < 0).any():
        return f"holds negative values ({first(data < 0)}): scaled or centered, not counts"
    some = data[data > 0]
    where = first(data != np.floor(data))
    if data.max() < 30 and some.min() < 1:
        return f"holds log-normalized values, not counts (up to {data.max():g}; {where})"
    return f"holds values that are not whole numbers ({where}): normalized or corrected, not counts"


def _where_else(container: Container, name: str) -> str:
    """A remedy: the layers whose first block holds whole numbers from 0."""
    found = []
    for other, stored in container.layers.items():
        if other == name:
            continue
        data = next(stored.blocks()).values.data
        if data.dtype.kind in "iuf" and len(data) and ((data >= 0) & (data == data // 1)).all():
            found.append(other)
    if found:
        where = " and ".join(found)
        verb = "hold" if len(found) > 1 else "holds"
        return f"{where} {verb} whole numbers: set `layer: {found[0]}` (--layer)."
    return "No layer of the file holds whole numbers: give the raw counts."


def _look_like_counts(counts: sp.csr_matrix, path: str | Path, name: str) -> None:
    """Raise `UserError` for whole numbers that something else than counting made."""
    sums = np.asarray(counts.sum(1)).ravel()
    sums = sums[sums > 0]
    remedy = "Give raw counts, or --counts-are-fine (`counts_are_fine: true`) if they are."
    if len(sums) > 1:
        spread, middle = np.ptp(sums), np.median(sums)
        if spread == 0 or (len(sums) >= 10 and spread <= SAME * middle):
            what = f"sums to the same in each cell ({middle:,.0f}): scaled and rounded, not counted"
            raise UserError(what, file=path, field=name, remedy=remedy)
    highest = counts.data.max(initial=0)
    if 0 < highest <= BINS:
        what = f"holds nothing above {highest}: expression in bins, as scGPT's, or very shallow"
        raise UserError(what, file=path, field=name, remedy=remedy)


def _other_genes(container: Container, name: str) -> list[str]:
    """A note where raw has other genes than X."""
    if name != "raw.X" or "X" not in container.genes:
        return []
    raw, main = container.genes[name].index, container.genes["X"].index
    if raw.equals(main):
        return []
    return [f"raw has {len(raw):,} genes and X {len(main):,}: those of raw are read"]


def _expression(counts: sp.csr_matrix, var: pd.DataFrame) -> tuple[sp.csr_matrix, pd.DataFrame]:
    """Genes alone, where a file of 10x says what else it measured."""
    kinds = var.get("feature_types")
    if kinds is None or not (kinds == EXPRESSION).any() or (kinds == EXPRESSION).all():
        return counts, var
    kept = (kinds == EXPRESSION).to_numpy()
    return sp.csr_matrix(counts[:, kept]), var[kept]


def _genes(
    counts: sp.csr_matrix, var: pd.DataFrame, ids: str, path: Path
) -> tuple[pd.DataFrame, sp.csr_matrix, list[str]]:
    """name, ensembl, symbol as the file has them; genes that occur twice are summed."""
    index = pd.Series(var.index.astype(str), dtype=object)
    own = _mostly(index, ENSEMBL)
    ensembl_column = _column(var, ENSEMBL_COLUMNS, like=ENSEMBL)
    symbol_column = _column(var, SYMBOL_COLUMNS)
    none = pd.Series("", index=index.index, dtype=object)
    if ids == "symbol":
        if own and symbol_column is None:
            what = f"are Ensembl ids ({index.iloc[0]}), and no column of var holds symbols"
            remedy = "Set `ids: ensembl` (--ids)."
            raise UserError(what, file=path, field="var names", remedy=remedy)
        ensembl, symbol = none, symbol_column if own else index
    elif ids == "ensembl" or own:
        if not own and ensembl_column is None:
            what = f"are no Ensembl ids ({', '.join(index[:3])}), and no column of var holds them"
            listed = (
                f"Columns: {', '.join(map(str, var.columns)) or 'none'}. Set `ids: symbol` (--ids)."
            )
            raise UserError(what, file=path, field="var names", remedy=listed)
        ensembl = index if own else ensembl_column
        symbol = (none if symbol_column is None else symbol_column) if own else index
    else:
        ensembl, symbol = none if ensembl_column is None else ensembl_column, index
    frame = pd.DataFrame({"name": index, "ensembl": ensembl, "symbol": symbol}, dtype=object)
    key = frame.ensembl.where(frame.ensembl != "", frame.name)
    first = ~key.duplicated()
    notes = []
    if not first.all():
        place = pd.factorize(key)[0]
        ones = np.ones(len(place), np.int64)
        link = sp.csr_matrix((ones, (np.arange(len(place)), place)))
        counts = sp.csr_matrix(counts @ link)
        if counts.data.max(initial=0) > np.iinfo(np.int32).max:
            what = "counts of genes that occur twice add up to more than 2,147,483,647"
            raise UserError(what, file=path, field="var names", remedy="Give raw counts.")
        counts = counts.astype(np.int32)
        counts.sort_indices()
        twice = key[key.duplicated(keep=False)]
        notes.append(
            f"{twice.nunique():,} genes occur twice or more ({_few(twice.drop_duplicates())}): "
            "their counts are summed (Geneformer's own tokenizer repeats the token)"
        )
        frame = frame[first].reset_index(drop=True)
    named_twice = frame.name.duplicated()  # of different ids
    frame["name"] = frame.name.where(~named_twice, frame.ensembl)
    return frame, counts, notes


def _column(
    var: pd.DataFrame, names: tuple[str, ...], like: re.Pattern[str] | None = None
) -> pd.Series | None:
    """The first of some columns that is there, as text, "" where it is missing."""
    for name in names:
        if name in var:
            column = var[name].astype(object)
            column = column.where(column.notna(), "").astype(str).reset_index(drop=True)
            column = column.replace({"nan": "", "None": ""})
            if like is None or _mostly(column[column != ""], like):
                return column.astype(object)
    return None


def _mostly(names: pd.Series, pattern: re.Pattern[str]) -> bool:
    return len(names) > 0 and float(names.str.match(pattern).mean()) > 0.5


def _completed(genes: pd.DataFrame, vocabulary: RankVocabulary | None) -> pd.DataFrame:
    """Ensembl ids as the vocabulary has them, and its symbols where the file has none."""
    if vocabulary is None:
        return genes
    rows = vocabulary.rows_of(genes)
    found = rows >= 0
    genes = genes.copy()
    genes.loc[found, "ensembl"] = vocabulary.ensembl[rows[found]]
    bare = found & (genes.symbol == "").to_numpy()
    genes.loc[bare, "symbol"] = vocabulary.symbol[rows[bare]]
    return genes


def _check_known(
    counts: sp.csr_matrix, genes: pd.DataFrame, vocabularies: Vocabularies, path: Path
) -> list[str]:
    """Notes of how much each vocabulary does not know; refuse where it is more than half."""
    total = np.asarray(counts.sum(0)).ravel().astype(np.float64)
    notes = []
    for family, vocabulary in vocabularies.known():
        missing = vocabulary.tokens_of(genes) < 0
        share = total[missing].sum() / max(total.sum(), 1)
        if share > 1 - MAPPED:
            names = genes.name[missing]
            what = f"{share:.0%} of the counts are of genes that the vocabulary of {family} does "
            what += f"not have, such as {', '.join(names[:5])}"
            raise UserError(what, file=path, field="var names", remedy=_meant(names, family))
        if not missing.any():
            continue
        notes.append(
            f"{share:.1%} of the counts lie on {missing.sum():,} of {len(genes):,} genes that the "
            f"vocabulary of {family} does not have"
        )
    return notes


def _meant(names: pd.Series, family: str) -> str:
    """What names that no vocabulary has are, and what to do."""
    if names.str.startswith("ENSMUSG").mean() > 0.5:
        return "They are mouse genes: give human ones, or map them to their human orthologues."
    if _mostly(names, VERSION):
        bare = names.iloc[0].rpartition(".")[0]
        return f"Remove the version suffix ({names.iloc[0]} is {bare})."
    if _mostly(names, ENSEMBL):
        if family == "scgpt":
            return "scGPT reads symbols: give them as a column of var (feature_name)."
        return "They are Ensembl ids of another species or release: give human gene ids."
    if _mostly(names, MOUSE):
        return "They look like mouse symbols: give human genes, or map them to orthologues."
    return "Give human gene symbols or Ensembl ids, or say what names them (`ids`, --ids)."


def _observations(
    container: Container, columns: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """cell, and the named columns as text."""
    present = container.obs
    barcodes = pd.Series(present.index.astype(str), dtype=object)
    notes = []
    again = barcodes.groupby(barcodes).cumcount()
    if (again > 0).any():
        notes.append(f"{int((again > 0).sum()):,} barcodes occur again: #2, #3 ... was added")
        barcodes = barcodes.where(again == 0, barcodes + "#" + (again + 1).astype(str))
    found = {"cell": barcodes}
    for name, column in columns.items():
        where = f"columns.{name}"
        exactly(name, COLUMNS, file=container.path, field="columns", kind="Columns")
        if column not in present:
            remedy = did_you_mean(column, present.columns, kind="Columns of obs")
            if not len(present.columns):
                remedy = "obs has no column at all: add it, or leave this out."
            what = f"names {column!r}, which obs does not have"
            raise UserError(what, file=container.path, field=where, remedy=remedy)
        values = _as_text(present[column])
        if values.isna().all():
            what = f"names {column!r}, which is empty in every cell"
            raise UserError(what, file=container.path, field=where, remedy="Leave it out.")
        found[name] = values
    return pd.DataFrame(found), notes


def _as_text(column: pd.Series) -> pd.Series:
    """Values as text, whole numbers without a point; null where missing or empty."""
    known = column.notna().to_numpy()
    plain = column.astype(object).to_numpy()
    texts = [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) if ok else None
        for v, ok in zip(plain, known, strict=True)
    ]
    return pd.Series([text or None for text in texts], dtype=object)


def _enough(cells: Cells, min_genes: int, path: Path) -> tuple[Cells, list[str]]:
    """Cells with at least ``min_genes`` detected genes."""
    detected = cells.obs.n_genes.to_numpy()
    empty, few = int((detected == 0).sum()), int(((detected > 0) & (detected < min_genes)).sum())
    kept = np.flatnonzero(detected >= max(min_genes, 1))
    if not len(kept):
        what = f"is {min_genes:,}, and no cell has that many genes (the richest has "
        what += f"{detected.max(initial=0):,} of {len(cells.genes):,})"
        remedy = "Give a smaller number, or the file with all genes."
        raise UserError(what, file=path, field="cells.min_genes", remedy=remedy)
    notes = [f"{empty:,} empty cells dropped"] if empty else []
    notes += [f"{few:,} cells with fewer than {min_genes:,} genes dropped"] if few else []
    return (cells if not notes else cells.rows(kept)), notes


def _perturbed(cells: Cells, control: str | None, path: Path) -> tuple[Cells, list[str]]:
    """Cells whose target has enough of them; the control must be there."""
    target = cells.obs.target
    size = target.value_counts()
    listed = ", ".join(size.index[:6])
    if control is None:
        remedy = f"Name the target of cells that were not perturbed. Targets: {listed}."
        raise UserError("is missing", file=path, field="control", remedy=remedy)
    if control not in size.index:
        remedy = did_you_mean(control, size.index, kind="Targets")
        raise UserError(f"is {control!r}, the target of no cell", file=path, field="control",
                        remedy=remedy)  # fmt: skip
    small = size[(size < MIN_TARGET) & (size.index != control)].sort_index()
    if small.empty:
        return cells, []
    lost = target.isin(small.index).to_numpy()
    note = f"{len(small):,} targets of fewer than {MIN_TARGET} cells dropped with "
    note += f"{int(lost.sum()):,} cells: {_few(small.index.to_series(), 12)}"
    return cells.rows(np.flatnonzero(~lost)), [note]


def _detected(cells: Cells, notes: list[str]) -> Cells:
    """Genes that some cell has."""
    seen = np.zeros(len(cells.genes), bool)
    seen[cells.counts.indices] = True
    if seen.all():
        return Cells(cells.counts, cells.genes, cells.obs, tuple(notes))
    notes = [*notes, f"{int((~seen).sum()):,} genes dropped that no cell has"]
    counts = sp.csr_matrix(cells.counts[:, seen])
    return Cells(counts, cells.genes[seen].reset_index(drop=True), cells.obs, tuple(notes))


def _few(names: pd.Series, most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
