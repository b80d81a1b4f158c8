"""The catalog lists the genes of every feature: as published by the mean where it fires, where one
firing suffices, and corrected by a score that is shrunk where a gene was seldom seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import Branch
from petriscope.studies.cells.gene_table import GeneTable

SPLITS = ("train", "select", "test")
"""of the cells whose tokens are counted: those of the first tissue that were not perturbed"""
TABLES = "gene_tables"
"""folder of the (feature, gene) tables in results/catalog"""


@dataclass(frozen=True)
class GeneLists:
    """Gene lists of F features, feature by feature, best gene first; arrays (E,)."""

    feature: np.ndarray
    """int64, ascending"""
    rank: np.ndarray
    """int64 from 1"""
    gene: np.ndarray
    """int64 gene of the data set"""
    score: np.ndarray
    """float64 what the genes are ranked by, in units of activation"""
    fires: np.ndarray
    """int64 tokens of the gene on which the feature fires"""
    shape: tuple[int, int]
    """F and G"""

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def once(self) -> float | None:
        """Share of the entries that rest on one firing; None without an entry."""
        return float((self.fires == 1).mean()) if len(self) else None

    def incidence(self) -> sp.csr_matrix:
        """(F, G) float64 ones."""
        ones = np.ones(len(self))
        return sp.csr_matrix((ones, (self.feature, self.gene)), shape=self.shape)

    def frame(self) -> pd.DataFrame:
        """A row per entry: feature, rank, gene, score, fires."""
        names = ("feature", "rank", "gene", "score", "fires")
        return pd.DataFrame({name: getattr(self, name) for name in names})


class PublishedCatalog(NamedTuple):
    """What feature_catalog.json of the released code says, its axes of the stream aside."""

    features: pd.DataFrame
    """a row per feature: feature (feature_idx), dead (is_dead), fires (fire_count), frequency
    (activation_freq), mean_activation, genes (n_unique_genes)"""
    lists: GeneLists
    """top_genes: score is mean_activation, fires is fire_count"""


def published_catalog(table: GeneTable, genes: int = 20) -> PublishedCatalog:
    """Per feature the ``genes`` with the largest mean activation where it fires (ties: lower gene
    first). Source: 03_analyze_features.py:125-204 of Biodyn-AI/bio-sae."""
    fires = table.fires.tocsr()
    total = np.asarray(table.total.sum(1)).ravel()
    features = pd.DataFrame(
        {
            "feature": np.arange(fires.shape[0]),
            "dead": table.counts == 0,
            "fires": table.counts,
            "frequency": table.counts / max(table.n, 1),
            "mean_activation": total / max(table.n, 1),
            "genes": np.diff(fires.indptr),
        }
    )
    return PublishedCatalog(features, _best(table, table.total.data / fires.data, genes))


def corrected_lists(
    table: GeneTable, genes: int = 20, min_fires: int = 5, min_tokens: int = 20
) -> GeneLists:
    """Per feature the ``genes`` with the largest shrunk score (`shrunk`), of those genes that have
    at least ``min_tokens`` tokens, on ``min_fires`` of which it fires."""
    often = table.tokens[table.total.indices] >= min_tokens
    kept = (table.fires.data >= min_fires) & often
    return _best(table, shrunk(table).data, genes, kept)


def shrunk(table: GeneTable) -> sp.csr_matrix:
    """(F, G) score of each gene: summed activation over (n_g + n0), n0 the median number of tokens
    of the genes that occur. A mean over all tokens of the gene, shrunk to 0 as if n0 further tokens
    were silent."""
    seen = table.tokens[table.tokens > 0]
    typical = float(np.median(seen)) if len(seen) else 1.0
    total = table.total.tocsr()
    score = total.data / (table.tokens[total.indices] + typical)
    return sp.csr_matrix((score, total.indices, total.indptr), shape=total.shape)


def background(table: GeneTable, min_fires: int, min_tokens: int) -> np.ndarray:
    """bool (G,): genes that some feature could have listed: with ``min_tokens`` tokens, on
    ``min_fires`` of which one feature fires."""
    most = np.asarray(table.fires.max(axis=0).todense()).ravel()
    return (table.tokens >= min_tokens) & (most >= min_fires)


def symbols(genes: pd.DataFrame) -> list[str]:
    """Upper-case symbol of each gene, as gene sets and networks know it; the name in the data set
    where no symbol is known."""
    known = genes.symbol.where(genes.symbol != "", genes.name)
    return [str(symbol).upper() for symbol in known]


def read_genes(workspace: Workspace) -> pd.DataFrame:
    """The genes that stage cells wrote, a row per gene number. Raises `UserError` where it has not
    run."""
    path = workspace.table("cells") / "genes.parquet"
    if not path.is_file():
        raise UserError("does not exist", file=path, remedy="Run `petriscope stage cells`.")
    return pd.read_parquet(path)


def table_path(folder: Path, branch: Branch, layer: int) -> Path:
    """Where the (feature, gene) table of a layer lies in results/catalog."""
    kind = "trained" if branch.trained else "random"
    return folder / TABLES / f"{branch.family}_{kind}" / f"layer_{layer}.npz"


def save_table(table: GeneTable, path: Path) -> None:
    """Write a (feature, gene) table as one .npz."""
    fires = table.fires.tocsr()
    arrays = {"indptr": fires.indptr, "indices": fires.indices, "fires": fires.data}
    arrays |= {"total": table.total.data, "squares": table.squares.data, "tokens": table.tokens}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_table(path: Path) -> GeneTable:
    """Read what `save_table` wrote."""
    with np.load(path) as arrays:
        pattern, tokens = (arrays["indices"], arrays["indptr"]), arrays["tokens"]
        shape = (len(pattern[1]) - 1, len(tokens))
        fires, total, squares = (
            sp.csr_matrix((arrays[name], *pattern), shape=shape)
            for name in ("fires", "total", "squares")
        )
    return GeneTable(fires, total, squares, tokens)


def _best(
    table: GeneTable, score: np.ndarray, genes: int, kept: np.ndarray | None = None
) -> GeneLists:
    """The ``genes`` entries of a feature with the largest ``score`` (nnz,), of those ``kept``."""
    fires = table.fires.tocsr()
    feature = np.repeat(np.arange(fires.shape[0]), np.diff(fires.indptr))
    chosen = np.flatnonzero(fires.data > 0 if kept is None else kept)
    order = chosen[np.lexsort((fires.indices[chosen], -score[chosen], feature[chosen]))]
    first = np.searchsorted(feature[order], feature[order])
    rank = np.arange(len(order)) - first
    order, rank = order[rank < genes], rank[rank < genes]
    return GeneLists(
        feature[order],
        rank + 1,
        fires.indices[order].astype(np.int64),
        score[order],
        fires.data[order].astype(np.int64),
        (fires.shape[0], fires.shape[1]),
    )
