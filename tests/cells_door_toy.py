"""Small files of cells and vocabularies, for the tests of study cells' door and tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml

from petriscope.studies.cells.data.cells import Cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary, Vocabularies

G = 80
SYMBOLS = [f"GENE{i}" for i in range(G)]
ENSEMBL = [f"ENSG{i:011d}" for i in range(100, 100 + G)]


DATASET: dict[str, Any] = {
    "kind": "cells",
    "name": "toy",
    "description": "a toy",
    "licence": "CC0",
    "cells": "cells.h5ad",
    "columns": {"donor": "person", "target": "target"},
    "control": "none",
    "vocabularies": {
        "geneformer": "tokens.tsv",
        "aliases": "aliases.tsv",
        "scgpt": "symbols.tsv",
    },
    "genesets": {"go": "go.gmt"},
    "networks": {"trrust": "trrust.tsv"},
    "truth": "truth.json",
}


def write_vocabularies(folder: Path) -> None:
    """tokens.tsv, aliases.tsv and symbols.tsv of `G` genes; token ids are not in their order."""
    rng = np.random.default_rng(1)
    order = rng.permutation(G)
    lines = ["token\tensembl_id\tmedian\tsymbols", "0\t<pad>\t\t", "1\t<mask>\t\t"]
    lines += ["2\t<cls>\t\t", "3\t<eos>\t\t"]
    medians = rng.lognormal(0, 0.5, G)
    lines += [f"{4 + i}\t{ENSEMBL[g]}\t{medians[g]!r}\t{SYMBOLS[g]}" for i, g in enumerate(order)]
    (folder / "tokens.tsv").write_text("\n".join(line.replace("np.float64(", "").replace(")", "")
                                                for line in lines) + "\n")  # fmt: skip
    aliases = [f"{s}\t{e}" for s, e in zip(SYMBOLS, ENSEMBL, strict=True)]
    aliases += [f"OLD{i}\t{ENSEMBL[i]}" for i in range(G)]
    (folder / "aliases.tsv").write_text("\n".join(["alias\tensembl_id", *aliases]) + "\n")
    symbols = [f"{s}\t{i}" for i, s in enumerate(rng.permutation(SYMBOLS))]
    (folder / "symbols.tsv").write_text("\n".join(["symbol\tid", *symbols]) + "\n")


def vocabularies(folder: Path) -> Vocabularies:
    """Those, written and read."""
    write_vocabularies(folder)
    rank = RankVocabulary.load(folder / "tokens.tsv", folder / "aliases.tsv")
    return Vocabularies(rank, BinVocabulary.load(folder / "symbols.tsv"))


def toy_counts(n: int = 30, genes: int = G, seed: int = 0) -> sp.csr_matrix:
    """Counts of shallow and deep cells; about two thirds are not zero, some above fifty."""
    rng = np.random.default_rng(seed)
    level = rng.lognormal(0, 1.2, genes) * rng.lognormal(1, 0.5, (n, 1))
    return sp.csr_matrix(rng.poisson(level).astype(np.float32))


def write_h5ad(
    path: Path,
    counts: Any,
    names: list[str] | None = None,
    *,
    obs: dict[str, Any] | None = None,
    var: dict[str, Any] | None = None,
    layers: dict[str, Any] | None = None,
    raw: tuple[Any, list[str]] | None = None,
) -> Path:
    """A file of anndata, or zarr where ``path`` says so; ``raw``: its counts and genes."""
    import anndata

    n, genes = counts.shape
    index = [f"cell{i}" for i in range(n)]
    frame = pd.DataFrame(obs or {}, index=index)
    columns = pd.DataFrame(var or {}, index=SYMBOLS[:genes] if names is None else names)
    found = anndata.AnnData(counts, obs=frame, var=columns, layers=layers)
    if raw is not None:
        table = pd.DataFrame(index=raw[1])
        found.raw = anndata.AnnData(raw[0], obs=frame, var=table)
    (found.write_zarr if path.suffix == ".zarr" else found.write_h5ad)(path)
    return path


def cells_of(counts: Any, symbols: list[str] | None = None) -> Cells:
    """Cells as the door gives them."""
    matrix = sp.csr_matrix(counts).astype(np.int32)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    named = SYMBOLS[: matrix.shape[1]] if symbols is None else symbols
    genes = pd.DataFrame({"name": named, "ensembl": "", "symbol": named}, dtype=object)
    obs = pd.DataFrame({"cell": [f"cell{i}" for i in range(matrix.shape[0])]})
    obs["n_counts"] = np.asarray(matrix.sum(1)).ravel().astype(np.int64)
    obs["n_genes"] = np.diff(matrix.indptr).astype(np.int64)
    return Cells(matrix, genes, obs)


def write_dataset(folder: Path, **changes: Any) -> Path:
    """A data set; a change to None leaves a field out."""
    folder.mkdir(exist_ok=True)
    write_vocabularies(folder)
    target = ["none"] * 20 + ["GENE1"] * 10
    write_h5ad(
        folder / "cells.h5ad", toy_counts(), obs={"person": list("ab") * 15, "target": target}
    )
    (folder / "go.gmt").write_text("term\t\tGENE1\tgene2\tELSE\n")
    (folder / "trrust.tsv").write_text("tf\ttarget\tmode\nGENE1\tGENE2\tActivation\n")
    (folder / "truth.json").write_text(json.dumps({"modules": []}))
    described = {k: v for k, v in {**DATASET, **changes}.items() if v is not None}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return folder
