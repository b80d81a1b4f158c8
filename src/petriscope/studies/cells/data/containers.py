"""Files of single cells are opened whatever their container, and their matrix is read in blocks.

Read: `.h5ad` and zarr of anndata (dense, CSR, CSC), the HDF5 file and the folder of 10x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.names import did_you_mean
from petriscope.textfile import open_bytes, open_text

BLOCK = 1 << 24
"""Values that are read together."""
AGAIN = "Fetch or write the file again."
SUFFIXES = ".h5ad, .zarr, the .h5 of 10x, or a folder with matrix.mtx, features.tsv, barcodes.tsv"
EXPRESSION = "Gene Expression"


class Block(NamedTuple):
    """A stretch of rows or of columns of a matrix."""

    values: sp.csr_matrix
    row: int
    """of the matrix, at which it begins"""
    column: int


@dataclass(frozen=True)
class Stored:
    """A matrix of cells x genes in a file; ``node`` holds data, indices and indptr, or is dense."""

    node: Any
    form: str
    """dense, csr or csc"""
    shape: tuple[int, int]

    def blocks(self) -> Iterator[Block]:
        """All of it: stretches of rows, or of columns where it is stored by columns."""
        if self.form == "dense":
            step = max(1, BLOCK // max(1, self.shape[1]))
            for first in range(0, self.shape[0], step):
                yield Block(sp.csr_matrix(np.asarray(self.node[first : first + step])), first, 0)
            return
        indptr = np.asarray(self.node["indptr"]).astype(np.int64)
        major, minor = self.shape if self.form == "csr" else self.shape[::-1]
        if len(indptr) != major + 1:
            raise ValueError(f"indptr has {len(indptr)} entries for {major} rows")
        first = 0
        while first < major:
            last = int(np.searchsorted(indptr, indptr[first] + BLOCK, "right")) - 1
            last = min(max(last, first + 1), major)
            a, b = int(indptr[first]), int(indptr[last])
            arrays = self.node["data"][a:b], self.node["indices"][a:b], indptr[first : last + 1] - a
            if self.form == "csr":
                part = sp.csr_matrix(arrays, shape=(last - first, minor))
                yield Block(part, first, 0)
            else:
                part = sp.csr_matrix(sp.csc_matrix(arrays, shape=(minor, last - first)))
                yield Block(part, 0, first)
            first = last

    def parts(self) -> int:
        """About how many blocks there are."""
        if self.form == "dense":
            return 1 + self.shape[0] * self.shape[1] // BLOCK
        return 1 + int(self.node["data"].shape[0]) // BLOCK


@dataclass(frozen=True)
class Container:
    """An opened file."""

    path: Path
    layers: Mapping[str, Stored]
    """Name, as `layer` has it → matrix: X, raw.X, layers/NAME"""
    genes: Mapping[str, pd.DataFrame]
    """The same names → table of its genes, indexed by name"""
    obs: pd.DataFrame
    """indexed by barcode"""
    notes: tuple[str, ...] = ()

    def layer(self, name: str | None) -> str:
        """The name of a layer that is there; None is X."""
        wanted = "X" if name is None else name
        if wanted not in self.layers:
            remedy = did_you_mean(wanted, self.layers, kind="Layers of the file")
            for prefix in ("layers/", "raw."):
                if f"{prefix}{wanted}" in self.layers:
                    remedy = f"Did you mean {prefix}{wanted}?"
            raise UserError(f"has no {wanted!r}", file=self.path, field="layer", remedy=remedy)
        return wanted


def open_container(path: str | Path) -> Container:
    """Open a file or folder of cells.

    Raises `UserError` where it is missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError("does not exist", file=path, remedy="Correct the path or fetch the file.")
    try:
        if path.is_dir():
            return _zarr(path) if _is_zarr(path) else _mtx(path)
        if path.suffix == ".h5ad":
            return _annotated(path, _hdf5(path))
        if path.suffix in (".h5", ".hdf5"):
            return _tenx(path, _hdf5(path))
    except (KeyError, ValueError, TypeError, OSError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"is damaged ({reason})", file=path, remedy=AGAIN) from None
    packed = path.suffix == ".gz" and path.with_suffix("").suffix in (".h5ad", ".h5")
    remedy = "Unpack it first (gunzip)." if packed else f"Give {SUFFIXES}."
    raise UserError("is of no known kind", file=path, remedy=remedy)


def _hdf5(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        what = f"cannot be opened as HDF5 ({str(error).splitlines()[0][:120]})"
        raise UserError(what, file=path, remedy=AGAIN) from None


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json", ".zmetadata"))


def _zarr(path: Path) -> Container:
    import zarr

    return _annotated(path, zarr.open_group(str(path), mode="r"))


def _annotated(path: Path, group: Any) -> Container:
    """A file of anndata."""
    from anndata.io import read_elem

    for name in ("obs", "var"):
        if name not in group:
            remedy = f"Give {SUFFIXES}."
            raise UserError(f"has no {name}: is no file of anndata", file=path, remedy=remedy)
    found = {"X": group["X"]} if "X" in group else {}
    layers = group.get("layers", {})
    found |= {f"layers/{name}": layers[name] for name in sorted(layers)}
    raw = group.get("raw", {})
    if "X" in raw:
        found["raw.X"] = raw["X"]
    stored = {name: _stored(node) for name, node in found.items()}
    var = read_elem(group["var"])
    genes = {name: var for name in stored}
    if "raw.X" in stored:
        genes["raw.X"] = read_elem(raw["var"])
    return Container(path, stored, genes, read_elem(group["obs"]))


def _stored(node: Any) -> Stored:
    encoding = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "array")))
    form = encoding.removesuffix("_matrix")
    if form not in ("csr", "csc"):
        form, shape = "dense", node.shape
    else:
        shape = node.attrs["shape"] if "shape" in node.attrs else node.attrs["h5sparse_shape"]
    return Stored(node, form, (int(shape[0]), int(shape[1])))


def _tenx(path: Path, file: Any) -> Container:
    """The HDF5 file of Cell Ranger, version 2 (a group per genome) or 3 (group matrix)."""
    group = file["matrix"] if "matrix" in file else file[sorted(file)[0]] if len(file) else {}
    if "barcodes" not in group or "indptr" not in group:
        remedy = f"Give {SUFFIXES}."
        raise UserError("is no HDF5 file of 10x", file=path, remedy=remedy)
    genes, cells = (int(n) for n in group["shape"][:])
    if "features" in group:
        features = group["features"]
        kind = _texts(features["feature_type"]) if "feature_type" in features else None
        ids, names = _texts(features["id"]), _texts(features["name"])
    else:
        ids, names, kind = _texts(group["genes"]), _texts(group["gene_names"]), None
    matrix = Stored(group, "csr", (cells, genes))
    return _plain(path, matrix, ids, names, kind, _texts(group["barcodes"]))


def _texts(node: Any) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else str(text) for text in node[:]]


def _mtx(path: Path) -> Container:
    """The folder of Cell Ranger: matrix.mtx, features.tsv (genes.tsv) and barcodes.tsv, plain or
    gzip."""
    from scipy.io import mmread

    matrix = _named(path, "matrix.mtx")
    table = [line.split("\t") for _, line in open_text(_named(path, "features.tsv", "genes.tsv"))]
    barcodes = [line.split("\t")[0] for _, line in open_text(_named(path, "barcodes.tsv"))]
    with open_bytes(matrix) as handle:
        counts = sp.csr_matrix(mmread(handle).T)
    ids, names = [row[0] for row in table], [row[min(1, len(row) - 1)] for row in table]
    kind = [row[2] for row in table] if all(len(row) > 2 for row in table) else None
    if counts.shape != (len(barcodes), len(ids)):
        what = f"has {counts.shape[1]:,} genes and {counts.shape[0]:,} cells, but the tables beside"
        what += f" it name {len(ids):,} and {len(barcodes):,}"
        raise UserError(what, file=matrix, remedy="Give the three files of one run.")
    parts = {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr}
    return _plain(path, Stored(parts, "csr", counts.shape), ids, names, kind, barcodes)


def _named(path: Path, *names: str) -> Path:
    for name in names:
        for file in (path / name, path / f"{name}.gz"):
            if file.is_file():
                return file
    raise UserError(f"holds no {names[0]}", file=path, remedy=f"Give {SUFFIXES}.")


def _plain(
    path: Path,
    matrix: Stored,
    ids: list[str],
    names: list[str],
    kind: list[str] | None,
    barcodes: list[str],
) -> Container:
    """A container of 10x: genes that are none (antibodies, guides) are marked by their kind."""
    genes = pd.DataFrame({"gene_ids": ids}, index=pd.Index(names))
    notes: tuple[str, ...] = ()
    if kind is not None:
        genes["feature_types"] = kind
        other = sum(one != EXPRESSION for one in kind)
        if other:
            notes = (f"{other:,} features that are no genes left out (antibodies, guides)",)
    return Container(path, {"X": matrix}, {"X": genes}, pd.DataFrame(index=barcodes), notes)
