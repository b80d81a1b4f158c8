"""Both tokenizers as their authors' programs ran them: Geneformer's TranscriptomeTokenizer, scGPT's
Preprocessor, tokenize_and_pad_batch and DataCollator, with the random numbers they drew.

The vocabularies are not in the fixtures: they are looked for beside them, and in `data/single_cell`
of the folders above.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary
from petriscope.studies.cells.model.bin_tokens import PAD_VALUE, Bins, cell_edges, edges_between
from petriscope.studies.cells.model.rank_tokens import ranked, scaled_values
from petriscope.studies.cells.model.tokens import ByToken

TOKENS = "geneformer_gc104M_tokens.tsv.gz"
ALIASES = "geneformer_gc104M_aliases.tsv.gz"
SYMBOLS = "scgpt_census_vocab.tsv.gz"
FOLDERS = (".", "data/single_cell", "shared/data/single_cell")
SIZE = 4096
SEEDS = 16
"""Seeds from the fixture's own that are tried for what it does not say."""


def vocabulary_file(beside: Path, name: str) -> Path:
    """A vocabulary near a fixture or the current folder."""
    for folder in [*beside.resolve().parents, Path.cwd(), *Path.cwd().parents]:
        for inside in FOLDERS:
            if (folder / inside / name).is_file():
                return folder / inside / name
    remedy = f"Put {name} beside it."
    raise UserError("needs a vocabulary that is not there", file=beside, field=name, remedy=remedy)


def rank_vocabulary(beside: Path) -> RankVocabulary:
    """Geneformer's, of the second series of models."""
    return RankVocabulary.load(vocabulary_file(beside, TOKENS), vocabulary_file(beside, ALIASES))


class Columns(NamedTuple):
    """What Geneformer's tokenizer makes of the genes of a file."""

    row: np.ndarray
    """int64 (K,) row of the vocabulary"""
    link: sp.csr_matrix
    """(G, K): which genes of the file it holds"""


def authors_columns(ids: list[str], vocabulary: RankVocabulary) -> Columns:
    """`sum_ensembl_ids`: genes of one token are summed, and go behind the others, but only where
    two *different* names of the file mean one gene: an id that occurs twice is not seen.

    Whether any do is asked of names as written, then all are upper-cased.
    """
    named = {name: vocabulary.mapping[name] for name in ids if name in vocabulary.mapping}
    rows = np.array([vocabulary.mapping.get(name.upper(), -1) for name in ids], np.int64)
    known = np.flatnonzero(rows >= 0)
    column = np.arange(len(known))
    if len(set(named)) != len(set(named.values())):
        frame = pd.Series(rows[known])
        twice = frame.duplicated(keep=False).to_numpy()
        order = pd.unique(np.concatenate([rows[known][~twice], rows[known][twice]]))
        column = pd.Index(order).get_indexer(rows[known])
        row = order
    else:
        row = rows[known]
    link = sp.csr_matrix((np.ones(len(known)), (known, column)), shape=(len(ids), len(row)))
    return Columns(row, link)


def authors_ranks(
    ids: list[str], counts: sp.csr_matrix, totals: np.ndarray, vocabulary: RankVocabulary
) -> tuple[ByToken, np.ndarray]:
    """The columns of a file (`ids`; counts (n, G)) and the values that are sorted."""
    columns = authors_columns(ids, vocabulary)
    found = sp.csr_matrix(counts @ columns.link)
    found.eliminate_zeros()
    found.sort_indices()
    table = ByToken(found, vocabulary.token[columns.row], np.arange(len(columns.row)))
    return table, scaled_values(found, totals, vocabulary.median[columns.row])


def wrong_ranks(
    table: ByToken,
    values: np.ndarray,
    size: int,
    vocabulary: RankVocabulary,
    theirs: list[np.ndarray],
) -> float:
    """Tokens that differ from ``theirs``; tied ones may stand in any order, as the authors' sort
    leaves them."""
    special = (vocabulary.cls is not None) + (vocabulary.eos is not None)
    ours = ranked(table, values, size - special, vocabulary)
    if len(ours) != len(theirs):
        return float("inf")
    wrong = 0
    for cell, wanted in enumerate(theirs):
        found, level = ours.ids[ours.of(cell)], ours.values[ours.of(cell)]
        wanted = np.asarray(wanted)
        if len(found) != len(wanted):
            return float("inf")
        span = slice(table.counts.indptr[cell], table.counts.indptr[cell + 1])
        own = pd.Series(values[span].astype(np.float32), table.ids[table.counts.indices[span]])
        differ = np.flatnonzero(found != wanted)
        tied = own.groupby(level=0).max().reindex(wanted[differ]).to_numpy() == level[differ]
        wrong += int((~tied).sum())
    return float(wrong)


def compare_cases(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each case: tokens that differ; none may."""
    vocabulary = rank_vocabulary(path)
    return [_case(name, case, vocabulary) for name, case in entries.items()]


def _case(name: str, case: Mapping[str, Any], vocabulary: RankVocabulary) -> Compared:
    sized = re.search(r"_(\d+)$", name)
    size = int(sized[1]) if sized else SIZE
    counts = sp.csr_matrix(np.asarray(case["counts"]))
    totals = np.asarray(case["n_counts"])
    table, values = authors_ranks(case["ids"], counts, totals, vocabulary)
    theirs = [np.asarray(tokens) for tokens in case["tokens"]]
    return Compared(name, wrong_ranks(table, values, size, vocabulary, theirs), 0.0)


def compare_real(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Both tokenizers on real cells."""
    return [*compare_ranks(path, entries), *compare_bins(path, entries)]


def _counts(entries: Mapping[str, Any]) -> sp.csr_matrix:
    parts = (entries[f"counts_{part}"] for part in ("data", "indices", "indptr"))
    shape = (len(entries["counts_indptr"]) - 1, len(entries["genes"]))
    return sp.csr_matrix(tuple(parts), shape=shape)


def compare_ranks(path: Path, entries: Mapping[str, Any]) -> Iterator[Compared]:
    """Geneformer's, at each size that the fixture has."""
    vocabulary = rank_vocabulary(path)
    names = [str(name) for name in entries["genes"]]
    table, values = authors_ranks(names, _counts(entries), entries["n_counts"], vocabulary)
    for name in sorted(entries):
        if sized := re.fullmatch(r"geneformer_ids_(\d+)", name):
            ends = np.cumsum(entries[f"geneformer_len_{sized[1]}"])
            if int(ends[-1]) != len(entries[name]):
                raise ValueError(f"{name} has {len(entries[name])} tokens, not {ends[-1]}")
            theirs = np.split(entries[name], ends[:-1])
            wrong = wrong_ranks(table, values, int(sized[1]), vocabulary, theirs)
            yield Compared(name, wrong, 0.0)


def compare_bins(path: Path, entries: Mapping[str, Any]) -> Iterator[Compared]:
    """scGPT's: bins, padded lists, lists cut as in training and as cells are embedded."""
    vocabulary = BinVocabulary.load(vocabulary_file(path, SYMBOLS))
    genes = pd.DataFrame({"name": entries["genes"].astype(object), "symbol": ""})
    token = vocabulary.tokens_of(genes)
    yield Compared("scgpt_gene_in_vocab", worst(token >= 0, entries["scgpt_gene_in_vocab"]), 0.0)
    ids = token[token >= 0]
    yield Compared("scgpt_gene_id", worst(ids, entries["scgpt_gene_id"]), 0.0)
    counts = sp.csr_matrix(_counts(entries)[:, token >= 0])
    counts.sort_indices()
    n_bins = entries["scgpt_bin_edges"].shape[1]
    places = edges_between(counts, n_bins)
    yield Compared("scgpt_bins_low", worst(places.low, entries["scgpt_bins_low"]), 0.0)
    yield Compared("scgpt_bins_high", worst(places.left, entries["scgpt_bins_high"]), 0.0)
    seed = int(entries["scgpt_numpy_seed"])
    drawn = places.draw(np.random.RandomState(seed).rand(counts.nnz))
    for name in ("scgpt_bins", "scgpt_bins_raw"):
        yield Compared(name, worst(drawn, entries[name]), 0.0)
    totals = np.asarray(counts.sum(1)).ravel()
    logged = np.log1p(counts.data / np.repeat(totals, np.diff(counts.indptr)) * 1e4)
    yield Compared("scgpt_log1p", worst(logged, entries["scgpt_log1p"]), 1e-5)
    yield _edges(counts, totals, entries["scgpt_bin_edges"])
    cells = _Cells(ids[counts.indices], counts.indptr, vocabulary)
    genes_, values = cells.padded(drawn, None, entries["scgpt_pad_genes"].shape[1], 0.0)
    yield Compared("scgpt_pad_genes", worst(genes_, entries["scgpt_pad_genes"]), 0.0)
    yield Compared("scgpt_pad_values", worst(values, entries["scgpt_pad_values"]), 0.0)
    yield from _truncated(cells, drawn, entries, seed)
    yield from _embedded(cells, places, entries, seed)


def _edges(counts: sp.csr_matrix, totals: np.ndarray, theirs: np.ndarray) -> Compared:
    """Edges that lie on a count: theirs are of the logged values, which interpolate otherwise."""
    ours = cell_edges(counts, theirs.shape[1])
    on = ours == np.round(ours)
    logged = np.log1p(ours / totals[:, None] * 1e4)
    return Compared("scgpt_bin_edges on a count", worst(logged[on], theirs[:, 1:][on]), 1e-5)


class _Cells(NamedTuple):
    """Token of each value of the cells, in the order of the file."""

    token: np.ndarray
    indptr: np.ndarray
    vocabulary: BinVocabulary

    def padded(
        self, values: np.ndarray, chosen: list[np.ndarray] | None, length: int, cls_value: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and values (n, length); ``chosen`` are places in each cell, None for all."""
        n = len(self.indptr) - 1
        ids = np.full((n, length), self.vocabulary.pad)
        found = np.full((n, length), PAD_VALUE)
        for cell in range(n):
            rows = np.arange(self.indptr[cell], self.indptr[cell + 1])
            rows = rows if chosen is None else rows[chosen[cell]]
            ids[cell, 0], found[cell, 0] = self.vocabulary.cls, cls_value
            ids[cell, 1 : 1 + len(rows)] = self.token[rows]
            found[cell, 1 : 1 + len(rows)] = values[rows]
        return ids, found

    @property
    def sizes(self) -> list[int]:
        """Values of each cell."""
        return [int(size) for size in np.diff(self.indptr)]


def authors_choice(sizes: list[int], length: int, seed: int) -> list[np.ndarray]:
    """The subsets of `pad_batch` (`gene_tokenizer.py:392-404`), <cls> left out."""
    state = np.random.RandomState(seed)
    return [
        np.arange(size) if size < length else state.choice(size, length - 1, replace=False)
        for size in sizes
    ]


def authors_permutation(sizes: list[int], length: int, seed: int) -> list[np.ndarray]:
    """The subsets of `DataCollator._sample` (`data_collator.py`), <cls> left out."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [
        np.arange(size)
        if size < length
        else torch.randperm(size, generator=generator)[: length - 1].numpy()
        for size in sizes
    ]


def _truncated(
    cells: _Cells, drawn: np.ndarray, entries: Mapping[str, Any], seed: int
) -> Iterator[Compared]:
    """Lists cut at random, with whichever seed from the fixture's own gives their first list."""
    ids, values = entries["scgpt_trunc_genes"], entries["scgpt_trunc_values"]
    best = (float("inf"), float("inf"))
    for other in range(seed, seed + SEEDS):
        chosen = authors_choice(cells.sizes, ids.shape[1], other)
        ours = cells.padded(drawn, chosen, ids.shape[1], 0.0)
        best = min(best, (worst(ours[0], ids), worst(ours[1], values)))
        if best == (0.0, 0.0):
            break
    yield from _told("scgpt_trunc", best, ids, values, cells, drawn, drawn)


def _embedded(
    cells: _Cells, places: Bins, entries: Mapping[str, Any], seed: int
) -> Iterator[Compared]:
    """Lists as cells are embedded: new bins, then a subset, both with one seed."""
    ids, values = entries["scgpt_embed_genes"], entries["scgpt_embed_values"]
    best = (float("inf"), float("inf"))
    for other in range(seed, seed + SEEDS):
        drawn = places.draw(np.random.RandomState(other).rand(len(places.left)))
        chosen = authors_permutation(cells.sizes, ids.shape[1], other)
        ours = cells.padded(drawn, chosen, ids.shape[1], PAD_VALUE)
        best = min(best, (worst(ours[0], ids), worst(ours[1], values)))
        if best == (0.0, 0.0):
            break
    yield from _told("scgpt_embed", best, ids, values, cells, places.low, places.left)


def _told(
    name: str,
    best: tuple[float, float],
    ids: np.ndarray,
    values: np.ndarray,
    cells: _Cells,
    low: np.ndarray,
    high: np.ndarray,
) -> Iterator[Compared]:
    """Exact where a seed was found; else the lists as subsets of the cells, values in bounds."""
    if best == (0.0, 0.0):
        yield Compared(f"{name}_genes", best[0], 0.0)
        yield Compared(f"{name}_values", best[1], 0.0)
        return
    strange = outside = 0
    for cell, size in enumerate(cells.sizes):
        rows = slice(cells.indptr[cell], cells.indptr[cell + 1])
        length = min(size + 1, ids.shape[1])
        own = ids[cell, 1:length]
        place = pd.Index(cells.token[rows]).get_indexer(own)
        strange += int((place < 0).sum()) + length - 1 - len(np.unique(own))
        strange += int((ids[cell, length:] != cells.vocabulary.pad).sum())
        strange += int(ids[cell, 0] != cells.vocabulary.cls)
        known = values[cell, 1:length]
        within = (known >= low[rows][place]) & (known <= high[rows][place])
        outside += int((~within).sum())
    yield Compared(f"{name}_genes, as subsets (no seed known)", float(strange), 0.0)
    yield Compared(f"{name}_values, within bounds (no seed known)", float(outside), 0.0)


KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "single-cell tokenizers",
        "Geneformer's TranscriptomeTokenizer; scGPT's Preprocessor, pad_batch and DataCollator",
        frozenset(
            {"counts_indptr", "genes", "geneformer_ids_*", "scgpt_bins", "scgpt_trunc_genes"}
        ),
        compare_real,
    ),
    FixtureKind(
        "Geneformer tokenizer cases",
        "Geneformer's TranscriptomeTokenizer",
        frozenset({"collapse", "exact_duplicate_id_not_collapsed"}),
        compare_cases,
    ),
)
