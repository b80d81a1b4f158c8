"""The authors' own scripts, run unmodified but for paths and sizes: their inputs and outputs as
tests of several modules need them (golden/single_cell/bio_sae_methods)."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from petriscope.sae.codes import Codes
from petriscope.studies.cells.gene_table import GeneTable, gene_table

LAYERS = (0, 1, 2)
SPECIAL = 4
"""token ids before the first gene"""


@functools.cache
def results(shared: Path) -> dict[str, Any]:
    path = shared / "golden" / "single_cell" / "bio_sae_methods.json.gz"
    with gzip.open(path, "rt") as file:
        return json.load(file)


@functools.cache
def arrays(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "single_cell" / "bio_sae_methods.npz") as found:
        return {name: found[name] for name in found.files}


@functools.cache
def codes(shared: Path, layer: int) -> Codes:
    """TopK of the linear encoder, then the positive part: sae_model.py of the authors."""
    given, k = arrays(shared), results(shared)["world"]["k"]
    centered = given[f"acts_{layer}"] - given[f"mean_{layer}"]
    weight, bias = given[f"sae_{layer}/W_enc.weight"], given[f"sae_{layer}/W_enc.bias"]
    hidden = centered @ weight.T + bias
    kept = np.zeros_like(hidden)
    best = np.argpartition(-hidden, k - 1, axis=1)[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(hidden, best, 1), 1)
    fired = sp.csr_matrix(np.maximum(kept, 0))
    indptr, indices = fired.indptr.astype(np.int64), fired.indices
    return Codes(indptr, indices, fired.data, hidden.shape[1])


def table(shared: Path, layer: int) -> GeneTable:
    gene = arrays(shared)["gene_ids"].astype(np.int64) - SPECIAL
    return gene_table(codes(shared, layer), gene, len(results(shared)["world"]["genes"]))
