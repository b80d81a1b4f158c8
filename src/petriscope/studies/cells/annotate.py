"""Gene sets and networks speak of features: as published, where tests without overlap are left out
of the correction, and corrected, with one family per collection and nulls that keep degrees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.genesets import GeneSets, incidence
from petriscope.enrich.lists import (
    RankTests,
    any_set,
    exchanged,
    overlap_tests,
)
from petriscope.enrich.tails import benjamini_hochberg, tabulated_hypergeometric_tail
from petriscope.graph.curveball import curveball
from petriscope.studies.cells.edges import edges_within, network_graph

MIN_OVERLAP, MIN_LIST = 2, 3
"""as published: shared genes below which a test is left out, and genes of a list below which a
feature is"""
SORTED, UNDIRECTED = "trrust", "string"
"""networks of the published rule, as data sets call them: the first is looked up in alphabetical
order"""
REGULATORS = "TRRUST_TF_enrichment"
"""collection of the published test of transcription factors, of one term"""
LISTED = 10
"""terms of a feature that stay in the table, at least"""
TERMS = (
    *("feature", "collection", "term", "overlap", "set_size", "listed", "fold", "ln_p", "q"),
    *("z_ranked", "p_ranked", "genes"),
)
Sets = Mapping[str, Mapping[str, Sequence[str]]]


class Members(NamedTuple):
    """Admitted terms of all collections over G genes."""

    collection: np.ndarray
    """object (T,)"""
    term: np.ndarray
    """object (T,)"""
    matrix: sp.csr_matrix
    """(G, T) 0/1"""

    def of(self, collection: str) -> np.ndarray:
        """Columns of one collection."""
        return np.flatnonzero(self.collection == collection)


def members(
    sets: Sets, names: Sequence[str], sizes: tuple[int, int], kept: np.ndarray | None = None
) -> Members:
    """Terms with ``sizes[0]`` to ``sizes[1]`` genes of the background: of ``names`` (G,), upper
    case, those ``kept`` (bool, G)."""
    index = {name: gene for gene, name in enumerate(names) if kept is None or kept[gene]}
    collections, terms, parts = [], [], [sp.csr_matrix((len(names), 0))]
    for collection, given in sets.items():
        found, matrix = incidence(_upper(given), index, *sizes, len(names))
        collections += [collection] * len(found)
        terms += found
        parts.append(matrix)
    return Members(
        np.array(collections, dtype=object),
        np.array(terms, dtype=object),
        sp.hstack(parts, format="csr"),
    )


def _upper(given: Mapping[str, Sequence[str]]) -> GeneSets:
    """Upper-case genes, each once."""
    upper = {
        term: tuple(dict.fromkeys(str(gene).upper() for gene in genes))
        for term, genes in given.items()
    }
    return GeneSets(upper, ())


def annotated(lists: sp.csr_matrix, sets: Members, alpha: float) -> np.ndarray:
    """bool (F,): those of ``lists`` (F, G) with a term at q < alpha, Benjamini-Hochberg over all
    lists x admitted terms of a collection; a term without a shared gene counts with p = 1."""
    hit = np.zeros(lists.shape[0], bool)
    for collection in dict.fromkeys(sets.collection):
        mine = sets.matrix[:, sets.of(collection)]
        hit |= any_set(overlap_tests(lists, mine), *(lists.shape[0], mine.shape[1]), alpha)
    return hit


def term_table(
    lists: sp.csr_matrix,
    sets: Members,
    names: Sequence[str],
    features: np.ndarray,
    alpha: float,
    ranked: RankTests | None = None,
) -> pd.DataFrame:
    """Terms of the gene lists (F, G) of ``features`` (F,): columns `TERMS`, best first.

    q: Benjamini-Hochberg over all lists x terms of a collection. z_ranked and p_ranked (maxT over
    all terms of a feature) are of all genes, ``ranked`` over the same lists and terms. genes: the
    shared ones. Of each feature stay its `LISTED` first, and all terms with q or p_ranked < alpha.
    """
    parts = []
    for collection in dict.fromkeys(sets.collection):
        columns = sets.of(collection)
        found = overlap_tests(lists, sets.matrix[:, columns])
        chance = found.length * found.size / lists.shape[1]
        part = pd.DataFrame(
            {
                "row": found.list,
                "column": columns[found.set],
                "overlap": found.overlap,
                "set_size": found.size,
                "listed": found.length,
                "fold": found.overlap / chance,
                "ln_p": found.ln_p,
                "q": benjamini_hochberg(found.ln_p, lists.shape[0] * len(columns)),
            }
        )
        parts.append(part)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["row", "ln_p"])
    if not len(table):
        return pd.DataFrame(columns=TERMS)
    if ranked is not None:
        table = _with_ranked(table, ranked, lists, sets, alpha)
    else:
        table = table.assign(z_ranked=np.nan, p_ranked=np.nan)
    table = table.sort_values(["row", "ln_p", "column"], kind="stable", ignore_index=True)
    place = table.groupby("row").cumcount()
    table = table[(place < LISTED) | (table.q < alpha) | (table.p_ranked < alpha)]
    table = table.assign(
        feature=np.asarray(features)[table.row.to_numpy()],
        collection=sets.collection[table.column.to_numpy()],
        term=sets.term[table.column.to_numpy()],
        genes=_shared(table.row.to_numpy(), table.column.to_numpy(), lists, sets, names),
    )
    return table[list(TERMS)].reset_index(drop=True)


def _with_ranked(
    table: pd.DataFrame, ranked: RankTests, lists: sp.csr_matrix, sets: Members, alpha: float
) -> pd.DataFrame:
    """The two columns of the rank test, and rows of the terms that it alone finds."""
    row, column = np.nonzero(ranked.p < alpha)
    alone = pd.DataFrame({"row": row, "column": column})
    alone = alone.merge(table[["row", "column"]], how="left", indicator=True)
    alone = alone[alone._merge == "left_only"].drop(columns="_merge")
    alone = alone.assign(
        overlap=0,
        set_size=np.asarray(sets.matrix.sum(0)).ravel()[alone.column].astype(np.int64),
        listed=np.diff(lists.indptr)[alone.row],
        fold=0.0,
        ln_p=0.0,
        q=1.0,
    )
    table = pd.concat([table, alone], ignore_index=True) if len(alone) else table
    at = (table.row.to_numpy(), table.column.to_numpy())
    return table.assign(z_ranked=ranked.z[at], p_ranked=ranked.p[at])


def _shared(
    row: np.ndarray, column: np.ndarray, lists: sp.csr_matrix, sets: Members, names: Sequence[str]
) -> list[str]:
    """The genes, in alphabetical order, of each pair of a list and a term."""
    by_term = sets.matrix.T.tocsr()
    both = lists[row].multiply(by_term[column]).tocsr()
    return [
        ";".join(sorted(names[gene] for gene in both.indices[begin:end]))
        for begin, end in zip(both.indptr[:-1], both.indptr[1:])
    ]


class Shares(NamedTuple):
    """What random gene lists are annotated."""

    share: np.ndarray
    """(S,) share of the lists in each draw"""
    rate: np.ndarray
    """(F,) share of the draws in which each list is"""


def shuffled_shares(
    lists: sp.csr_matrix, hits: Callable[[sp.csr_matrix], np.ndarray], draws: int, seed: int
) -> Shares:
    """Shares where the genes of all lists (F, G) are dealt out anew, every list as long and every
    gene as often listed as before (`curveball`). ``hits``: lists → bool (F,)."""
    return _shares(lists, hits, (curveball(lists, seed + draw) for draw in range(draws)))


def matched_shares(
    lists: sp.csr_matrix,
    hits: Callable[[sp.csr_matrix], np.ndarray],
    stratum: np.ndarray,
    draws: int,
    seed: int,
) -> Shares:
    """Shares where every gene is taken for another one of its class ``stratum`` (G,) of frequency,
    in all lists alike: which genes stand together stays, what they are does not."""
    drawn = exchanged(stratum, draws, seed)
    return _shares(lists, hits, (lists[:, permutation] for permutation in drawn))


def _shares(
    lists: sp.csr_matrix,
    hits: Callable[[sp.csr_matrix], np.ndarray],
    drawn: Iterable[sp.csr_matrix],
) -> Shares:
    found = [hits(sp.csr_matrix(one, dtype=np.float64)) for one in drawn]
    table = np.stack(found) if found else np.zeros((0, lists.shape[0]), bool)
    rate = table.mean(0) if len(table) else np.zeros(lists.shape[0])
    return Shares(table.mean(1) if lists.shape[0] else np.zeros(len(table)), rate)


@dataclass(frozen=True)
class PublishedRule:
    """The annotation of the released code: 04_annotate_features.py of Biodyn-AI/bio-sae."""

    collection: np.ndarray
    """object (T,); transcription factors, where there are any, are the last term"""
    term: np.ndarray
    """object (T,)"""
    size: np.ndarray
    """int64 (T,) genes of each term, in the background or not"""
    member: sp.csr_matrix
    """(G, T) 0/1"""
    networks: Mapping[str, sp.csr_matrix]
    """(G, G) graphs of which one edge is enough"""

    @classmethod
    def of(
        cls,
        sets: Sets,
        networks: Mapping[str, pd.DataFrame],
        names: Sequence[str],
        sizes: tuple[int, int] = (5, 500),
        *,
        sorted_lookup: bool = True,
    ) -> PublishedRule:
        """Terms are admitted by their number of genes in the file and never cut to the background.

        ``names`` (G,): upper-case genes; ``networks``: those called `SORTED` and `UNDIRECTED` are
        read; ``sorted_lookup``: the first with the released code's mistake (`network_graph`).
        """
        index = {name: gene for gene, name in enumerate(names)}
        collections: list[str] = []
        terms: list[str] = []
        sizes_of: list[int] = []
        rows: list[int] = []
        columns: list[int] = []

        def add(collection: str, term: str, genes: set[str]) -> None:
            here = [index[gene] for gene in sorted(genes & index.keys())]
            rows.extend(here)
            columns.extend([len(terms)] * len(here))
            collections.append(collection)
            terms.append(term)
            sizes_of.append(len(genes))

        for collection, given in sets.items():
            for term, genes in given.items():
                if sizes[0] <= len(genes) <= sizes[1]:
                    add(collection, term, {str(gene).upper() for gene in genes})
        graphs = {}
        for name in (UNDIRECTED, SORTED):
            if name in networks:
                directed = sorted_lookup and name == SORTED
                graphs[name] = network_graph(networks[name], names, sorted_lookup=directed)
        if SORTED in networks:
            regulators = {str(gene).upper() for gene in networks[SORTED].source}
            add(REGULATORS, "transcription_factors", regulators)
        member = sp.csr_matrix(
            (np.ones(len(rows)), (rows, columns)), shape=(len(names), len(terms))
        )
        return cls(
            np.array(collections, dtype=object),
            np.array(terms, dtype=object),
            np.array(sizes_of, np.int64),
            member,
            graphs,
        )

    def tests(self, lists: sp.csr_matrix) -> tuple[pd.DataFrame, int]:
        """Columns row, column, overlap, term_size, length, ln_p, q of the tests of ``lists``
        (F, G) that share `MIN_OVERLAP` genes: one-sided Fisher tests against all listed genes, with
        Benjamini-Hochberg over these tests alone; and the number of listed genes.

        A table of which one corner would be negative (the released code stops there) has p = 1.
        """
        seen = np.bincount(lists.indices, minlength=lists.shape[1]) > 0
        background = int(seen.sum())
        size = self.size.copy()
        cut = self.collection == REGULATORS
        size[cut] = np.asarray(self.member[seen].sum(0)).ravel()[cut]
        shared = sp.csr_matrix(lists @ self.member)
        shared.sort_indices()
        length = np.diff(lists.indptr)
        row = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        kept = (shared.data >= MIN_OVERLAP) & (length[row] >= MIN_LIST)
        row, column = row[kept], shared.indices[kept].astype(np.int64)
        overlap = np.rint(shared.data[kept]).astype(np.int64)
        ln_p = tabulated_hypergeometric_tail(overlap, background, size[column], length[row])
        table = {"row": row, "column": column, "overlap": overlap, "term_size": size[column]}
        table |= {"length": length[row], "ln_p": ln_p, "q": benjamini_hochberg(ln_p)}
        return pd.DataFrame(table), background

    def edges(self, lists: sp.csr_matrix) -> dict[str, np.ndarray]:
        """int64 (F,) edges of each network within lists of `MIN_LIST` genes."""
        long = np.diff(lists.indptr) >= MIN_LIST
        return {name: edges_within(lists, graph) * long for name, graph in self.networks.items()}

    def annotated(self, lists: sp.csr_matrix, alpha: float) -> np.ndarray:
        """bool (F,): lists with a significant term or any edge."""
        table, _ = self.tests(lists)
        hit = np.zeros(lists.shape[0], bool)
        hit[table.row[table.q <= alpha]] = True
        for edges in self.edges(lists).values():
            hit |= edges > 0
        return hit


class PublishedAnnotations(NamedTuple):
    """What feature_annotations.json of the released code says."""

    tests: pd.DataFrame
    """a row per retained test: feature (feature_idx), collection (ontology), term, overlap
    (n_overlap), term_size, p (p_value), odds_ratio (infinite where a corner is empty), q
    (p_adjusted), significant, genes (the overlap, joined by ;, of a significant one)"""
    edges: pd.DataFrame
    """a row per feature and network with an edge: feature, network, edges (n_edges_within),
    possible (n_possible), density"""
    annotated: np.ndarray
    """bool (F,)"""
    background: int
    """listed genes"""


def published_annotations(
    lists: sp.csr_matrix, rule: PublishedRule, names: Sequence[str], alpha: float
) -> PublishedAnnotations:
    """Annotate gene lists (F, G) as the released code does."""
    table, background = rule.tests(lists)
    a, b = table.overlap, table.length - table.overlap
    c = table.term_size - a
    d = background - a - b - c
    with np.errstate(divide="ignore"):
        odds = np.where(b * c > 0, a * d / np.maximum(b * c, 1), np.inf)
    sets = Members(rule.collection, rule.term, rule.member)
    tests = pd.DataFrame(
        {
            "feature": table.row,
            "collection": rule.collection[table.column],
            "term": rule.term[table.column],
            "overlap": a,
            "term_size": table.term_size,
            "p": np.exp(table.ln_p),
            "odds_ratio": odds,
            "q": table.q,
            "significant": table.q <= alpha,
        }
    )
    found = table[table.q <= alpha]
    tests["genes"] = ""
    tests.loc[found.index, "genes"] = _shared(
        found.row.to_numpy(), found.column.to_numpy(), lists, sets, names
    )
    length = np.diff(lists.indptr)
    possible = length * (length - 1) // 2
    parts = []
    for network, edges in rule.edges(lists).items():
        some = np.flatnonzero(edges)
        columns = {"feature": some, "network": network, "edges": edges[some]}
        columns |= {"possible": possible[some], "density": edges[some] / possible[some]}
        parts.append(pd.DataFrame(columns))
    empty = pd.DataFrame(columns=["feature", "network", "edges", "possible", "density"])
    edges = pd.concat(parts, ignore_index=True) if parts else empty
    return PublishedAnnotations(tests, edges, rule.annotated(lists, alpha), background)
