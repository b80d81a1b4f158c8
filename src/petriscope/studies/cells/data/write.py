"""Files of a data set of cells, written so that the same content is the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Tab-separated with a header."""
    path.write_bytes(frame.to_csv(sep="\t", index=False, lineterminator="\n").encode())


def write_gmt(path: Path, terms: Mapping[str, Sequence[str]], described: str) -> None:
    """Term, description, genes."""
    lines = ["\t".join([term, described, *genes]) for term, genes in terms.items()]
    path.write_bytes("".join(line + "\n" for line in lines).encode())


def write_cells(path: Path, counts: sp.csr_matrix, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """An h5ad that AnnData 0.8 and later read: ``counts`` as they are in X, columns of ``obs`` as
    categories (missing: None), columns of ``var`` as text; both indices are names.

    Written without AnnData, whose choices of types and layout change with its version and with
    pandas', uncompressed, because compressors differ, and in the oldest layout of HDF5, which keeps
    no times (https://anndata.readthedocs.io/en/stable/fileformat-prose.html).
    """
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        _encoded(file, "anndata", "0.1.0")
        x = _group(file, "X", "csr_matrix", "0.1.0")
        x.attrs["shape"] = np.array(counts.shape, np.int64)
        for name in ("data", "indices", "indptr"):
            x.create_dataset(name, data=getattr(counts, name), track_times=False)
        _frame(file, "obs", obs, categories=True)
        _frame(file, "var", var, categories=False)
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _group(file, name, "dict", "0.1.0")


def _encoded(item: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    item.attrs["encoding-type"] = kind
    item.attrs["encoding-version"] = version


def _group(parent: h5py.Group, name: str, kind: str, version: str) -> h5py.Group:
    made = parent.create_group(name)
    _encoded(made, kind, version)
    return made


def _texts(parent: h5py.Group, name: str, values: Sequence[str]) -> None:
    text = h5py.string_dtype("utf-8")
    made = parent.create_dataset(name, data=list(values), dtype=text, track_times=False)
    _encoded(made, "string-array", "0.2.0")


def _frame(parent: h5py.Group, name: str, frame: pd.DataFrame, *, categories: bool) -> None:
    made = _group(parent, name, "dataframe", "0.2.0")
    made.attrs["_index"] = "_index"
    order = np.array(list(frame.columns), dtype=h5py.string_dtype("utf-8"))
    made.attrs["column-order"] = order
    _texts(made, "_index", list(frame.index))
    for column in frame.columns:
        if not categories:
            _texts(made, column, list(frame[column]))
            continue
        codes, names = pd.factorize(frame[column], sort=True)
        field = _group(made, column, "categorical", "0.2.0")
        field.attrs["ordered"] = False
        _texts(field, "categories", list(names))
        stored = field.create_dataset("codes", data=codes.astype(np.int8), track_times=False)
        _encoded(stored, "array", "0.2.0")
