"""A few small cells and models of both families, for the tests of study cells' models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary, Vocabularies
from petriscope.studies.cells.inputs import CellInputs
from petriscope.studies.cells.model.buckets import Padding
from petriscope.studies.cells.model.geneformer import Geneformer, GeneformerConfig
from petriscope.studies.cells.model.scgpt import ScGPT, ScGPTConfig
from petriscope.studies.cells.model.tokens import CellTokens

GENES = 24
RANK_WORDS, BIN_WORDS = GENES + 4, GENES + 3
"""<pad> 0, <mask> 1, <cls> 2, <eos> 3, then the genes; the genes, then <pad>, <cls>, <eoc>."""
PAD = {"geneformer": Padding(0, None), "scgpt": Padding(GENES, -2.0)}
SIZES: dict[str, int] = {"layers": 3, "d_model": 24, "heads": 3, "ffn": 40}


def toy_geneformer(seed: int = 1, **changed: Any) -> Geneformer:
    """A small model in eval mode."""
    return Geneformer(
        GeneformerConfig(RANK_WORDS, **(SIZES | {"tokens": 64} | changed)), seed
    ).eval()


def toy_scgpt(seed: int = 1, **changed: Any) -> ScGPT:
    """The same of scGPT."""
    return ScGPT(ScGPTConfig(BIN_WORDS, **(SIZES | changed)), seed).eval()


def toy_model(family: str, seed: int = 1, **changed: Any) -> Geneformer | ScGPT:
    """Either."""
    return (toy_geneformer if family == "geneformer" else toy_scgpt)(seed, **changed)


def toy_counts(seed: int, cells: int = 40, shown: float = 0.8) -> np.ndarray:
    """(cells, GENES) counts: a cell is of one of two kinds, each with half of the genes high; a
    gene is seen in a share of ``shown`` of the cells."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=cells)[:, None]
    high = (np.arange(GENES) % 2) == kind
    counts = 1 + rng.poisson(np.where(high, 60.0, 4.0))
    seen = rng.random(counts.shape) < shown
    seen[:, :2] = True
    return np.where(seen, counts, 0)


def toy_tokens(family: str, counts: np.ndarray) -> CellTokens:
    """Both tokenizers, as plainly as can be: no medians, and ties broken by the gene."""
    ids, gene, values, offsets = list[int](), list[int](), list[float](), [0]
    for row in counts:
        seen = np.flatnonzero(row)
        if family == "geneformer":
            seen = seen[np.argsort(-row[seen], kind="stable")]
            ids += [2, *(seen + 4), 3]
            gene += [-1, *seen, -1]
            values += [0.0, *row[seen], 0.0]
        else:
            ids += [GENES + 1, *seen]
            gene += [-1, *seen]
            values += [-2.0, *(1 + np.argsort(np.argsort(row[seen])) * 50 // len(seen))]
        offsets.append(len(ids))
    return CellTokens(
        np.array(ids, np.int32),
        np.array(gene, np.int32),
        np.array(values, np.float32),
        np.array(offsets, np.int64),
    )


def toy_obs(cells: int) -> pd.DataFrame:
    """A table as stage cells writes it: half of the cells train, a quarter is held out."""
    names = ["train", "select", "train", "test", "perturbed"]
    split = np.array(names)[np.where(np.arange(cells) == cells - 1, 4, np.arange(cells) % 4)]
    names = [f"c{i}" for i in range(cells)]
    return pd.DataFrame({"cell": names, "split": split, "block": np.arange(cells) // 2})


def toy_inputs(family: str, seed: int = 1, cells: int = 40) -> CellInputs:
    """Those cells as model inputs."""
    words = RANK_WORDS if family == "geneformer" else BIN_WORDS
    tokens = toy_tokens(family, toy_counts(seed, cells))
    return CellInputs(toy_obs(cells), tokens, family, PAD[family].id, words)


def toy_cells(seed: int, cells: int) -> tuple[sp.csr_matrix, pd.DataFrame, pd.DataFrame]:
    """Counts, genes and obs of a run."""
    names = [f"G{i}" for i in range(GENES)]
    genes = pd.DataFrame({"name": names, "ensembl": "", "symbol": names})
    counts = sp.csr_matrix(toy_counts(seed, cells).astype(np.int32))
    totals = np.asarray(counts.sum(1)).ravel()
    return counts, genes, toy_obs(cells).assign(n_counts=totals, n_genes=counts.getnnz(1))


def toy_vocabularies(folder: Path) -> Vocabularies:
    """The two vocabularies of those genes, through their files."""
    special = ["<pad>", "<mask>", "<cls>", "<eos>"]
    ranks = [
        "token\tensembl_id\tmedian\tsymbols",
        *(f"{i}\t{s}\t\t" for i, s in enumerate(special)),
    ]
    ranks += [f"{i + 4}\tG{i}\t1.0\tG{i}" for i in range(GENES)]
    bins = ["symbol\tid", *(f"G{i}\t{i}" for i in range(GENES))]
    for name, lines in (("tokens.tsv", ranks), ("vocabulary.tsv", bins)):
        (folder / name).write_text("\n".join(lines) + "\n")
    rank = RankVocabulary.load(folder / "tokens.tsv")
    return Vocabularies(rank, BinVocabulary.load(folder / "vocabulary.tsv"))
