"""Genes near the bins where features fire are tested for gene sets: GMT reader, hypergeometric test
of genes, GREAT's binomial test of regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import binom, norm

from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.genes import Links
from petriscope.enrich.tails import (
    benjamini_hochberg,
    log_binomial_tail,
    log_hypergeometric_tail,
    tabulated_hypergeometric_tail,
    with_q,
)
from petriscope.errors import UserError
from petriscope.textfile import open_text

COLUMNS = (
    *("rank", "term", "ln_p", "q", "fold", "overlap", "set_size", "query"),
    *("adjusted_ln_p", "adjusted_q", "region_ln_p", "region_q", "ranked_ln_p", "ranked_q"),
    "collection",
)
"""Of an empty table."""
_ROWS = 512  # features made dense over all terms at a time


class GeneSets(NamedTuple):
    """Named gene sets of one collection."""

    sets: dict[str, tuple[str, ...]]
    """Term → upper-case symbols, each once, in file order."""
    notes: tuple[str, ...]
    """What was mended, in words."""


@dataclass(frozen=True, eq=False)
class GeneSetEnrichment:
    """Over-representation of terms in the genes of F features."""

    table: pd.DataFrame
    """One row per feature and term with a shared gene, best (adjusted_ln_p) first.

    Columns: feature, rank, term; ln_p, q, fold, overlap, set_size, query (gene test, counts of
    background genes); adjusted_ln_p, adjusted_q, expected (gene test that allows for the bins each
    gene has); region_ln_p, region_q, region_hits, region_fraction; ranked_ln_p, ranked_q (genes
    ranked by their fired bins)."""
    family: int
    """Tests corrected together: features with a gene x terms of admitted size, sharing a gene or
    not."""
    terms: tuple[str, ...]
    """Terms tested."""
    background: int
    """Background genes."""


def read_gmt(path: str | Path) -> GeneSets:
    """Read a GMT file (term, description, symbols; plain or gzipped).

    Symbols become upper case and repeats are dropped (said in ``notes``); weights after a comma
    ('TP53,1.0') are dropped; of a term on two lines the genes are united; a term without gene is
    left out. Raises UserError naming file and line.
    """
    path = Path(path)
    sets: dict[str, dict[str, None]] = {}
    lower = repeated = united = 0
    for number, line in open_text(path):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0].strip():
            raise UserError(
                f"'{line[:40]}' is not term, description, genes",
                file=path,
                field=f"line {number}",
                remedy="Separate the fields with tabs",
            )
        term = fields[0].strip()
        united += term in sets
        genes = sets.setdefault(term, {})
        symbols = [field.split(",")[0].strip() for field in fields[2:] if field.strip()]
        lower += sum(symbol != symbol.upper() for symbol in symbols)
        repeated += len(symbols) - len({symbol.upper() for symbol in symbols})
        genes.update(dict.fromkeys(symbol.upper() for symbol in symbols))
    empty = [term for term, genes in sets.items() if not genes]
    kept = {term: tuple(genes) for term, genes in sets.items() if genes}
    if not kept:
        raise UserError(
            "holds no gene set",
            file=path,
            remedy="A GMT line is term, description, genes, separated by tabs",
        )
    said = (
        (lower, f"{lower:,} symbols were not in upper case: changed"),
        (repeated, f"{repeated:,} symbols occurred twice in their set: kept once"),
        (united, f"{united:,} lines repeat a term: their genes were united"),
        (
            len(empty),
            f"{len(empty):,} terms hold no gene (first '{empty[0] if empty else ''}'): left out",
        ),
    )
    return GeneSets(kept, tuple(text for count, text in said if count))


def enrich_genes(
    query: Iterable[str],
    sets: GeneSets,
    background: Iterable[str],
    *,
    engine: Literal["exact", "gseapy"] = "exact",
    min_size: int = 5,
    max_size: int = 2000,
) -> pd.DataFrame:
    """One gene list against one collection: term, ln_p, q, fold, overlap, set_size, genes; best
    first.

    Query and sets are cut to the background first. q is Benjamini–Hochberg over every term of
    admitted size, also those without a shared gene (gseapy's own corrects over the others alone).
    Engine ``gseapy`` takes p from gseapy.
    """
    pool = sorted({g.upper() for g in background})
    index = {gene: i for i, gene in enumerate(pool)}
    asked = sorted({g.upper() for g in query} & index.keys())
    if not asked:
        raise UserError(
            "no gene of the query is in the background",
            remedy="Use the same kind of symbol in both",
        )
    terms, matrix = incidence(sets, index, min_size, max_size)
    size = np.asarray(matrix.sum(axis=0)).ravel()
    flags = np.zeros(len(pool))
    flags[[index[g] for g in asked]] = 1.0
    overlap = flags @ matrix
    if engine == "gseapy":
        ln_p = _gseapy_ln_p(
            asked, {t: [g for g in sets.sets[t] if g in index] for t in terms}, pool, terms
        )
    else:
        ln_p = log_hypergeometric_tail(overlap, len(pool), size, len(asked))
    members = set(asked)
    frame = pd.DataFrame(
        {
            "term": terms,
            "ln_p": ln_p,
            "q": benjamini_hochberg(ln_p),
            "fold": overlap * len(pool) / (size * len(asked)),
            "overlap": overlap.astype(np.int64),
            "set_size": size.astype(np.int64),
            "genes": [";".join(g for g in sets.sets[t] if g in members) for t in terms],
        }
    )
    return frame.sort_values(
        ["ln_p", "fold"], ascending=[True, False], kind="stable", ignore_index=True
    )


def enrich_gene_sets(
    membership: sparse.spmatrix,
    links: Links,
    sets: GeneSets,
    *,
    features: Sequence[object] | None = None,
    universe: np.ndarray | None = None,
    min_size: int = 5,
    max_size: int = 2000,
) -> GeneSetEnrichment:
    """Test every term in every feature.

    ``membership`` (F, n) sparse bool; ``links`` of the same n bins; ``universe`` (n,) bool the bins
    a feature could fire in (default all). Four tests, each with its own BH over all features x
    terms of ``min_size`` to ``max_size`` background genes:

    1. Genes, as gseapy: hypergeometric, background = genes linked to a bin of the universe. It
       takes every gene for equally likely although one with many bins is reached more often: random
       bins too come out enriched, mostly for developmental terms. Never to be read without one of
       the others.

    2. Genes, adjusted: a gene with b bins is reached with chance 1 − (1 − λ)^b, λ such that the
       chances sum to the genes seen. The shared genes are a sum of unequal coins; the binomial of
       the same mean bounds its tail (Hoeffding 1956).

    3. Regions (GREAT): P(X ≥ k) of k fired bins linked to the term, rate = its share of the
       universe's bins, binomial. Blind to many bins round one gene, which the gene tests are not: a
       claim needs this one and a gene test.

    4. Genes, ranked: each gene by its mid-p u = P(X < o) + P(X = o) / 2, o the fired bins linked to
       it, X ~ Bin(its bins, share of all links that fired): its rank among genes with as many bins,
       1/2 on average where bins fire at random. z of the term's mean u against all genes; the
       variance is the larger of that between genes (bins cluster, so it exceeds chance) and that of
       X. Where a foreground reaches most genes, tests 1 and 2 cannot tell a gene with one stray bin
       from a gene with twenty; this one can, and its units are still genes.
    """
    n = membership.shape[1]
    inside = np.ones(n, dtype=bool) if universe is None else np.asarray(universe, dtype=bool)
    if links.matrix.shape[0] != n or len(inside) != n:
        raise UserError(
            f"membership has {n} bins, the links {links.matrix.shape[0]} and the universe "
            f"{len(inside)}",
            remedy="Give all over the same bins",
        )
    member = sparse.csr_matrix(membership, dtype=bool).astype(np.float64) @ sparse.diags(
        inside.astype(np.float64)
    )
    known = np.flatnonzero(np.asarray(links.matrix[inside].sum(axis=0)).ravel() > 0)
    if not known.size:
        raise UserError(
            "no gene is linked to any bin", remedy="Use a gene annotation of the same genome"
        )
    link = links.matrix[:, known].tocsr()
    terms, in_terms = incidence(
        sets, {links.genes[g]: i for i, g in enumerate(known)}, min_size, max_size
    )
    if not terms:
        raise UserError(
            f"no term has {min_size} to {max_size} of the {len(known)} background genes",
            remedy="Check that the gene sets and the annotation use the same symbols",
        )
    size = np.asarray(in_terms.sum(axis=0)).ravel()
    regional = (link @ in_terms).tocsr()
    regional.data[:] = 1.0
    bins_per_gene = np.asarray(link[inside].sum(axis=0)).ravel()
    fraction = np.asarray(regional[inside].sum(axis=0)).ravel() / inside.sum()
    fired = np.asarray(member.sum(axis=1)).ravel()
    parts = []
    n_tested = 0
    for begin in range(0, member.shape[0], _ROWS):
        rows = slice(begin, begin + _ROWS)
        genes = (member[rows] @ link).tocsr()
        genes.data[:] = 1.0
        # test 1: P(X >= overlap), X ~ Hypergeometric(genes known, genes of the term, genes reached)
        query = np.asarray(genes.sum(axis=1)).ravel()
        n_tested += int((query > 0).sum())
        overlap = (genes @ in_terms).toarray()
        # test 2: P(X >= overlap), X ~ Bin(genes of the term, mean chance that one is reached)
        expected = _reach(bins_per_gene, query) @ in_terms
        f, t = np.nonzero(overlap)
        # test 3, GREAT: P(X >= hits), X ~ Bin(bins fired, the term's share of the universe's bins)
        hits = (member[rows] @ regional).toarray()[f, t]
        ranked = _ranked((member[rows] @ link).tocsr(), bins_per_gene, in_terms)
        parts.append(
            pd.DataFrame(
                {
                    "feature": f + begin,
                    "which": t,
                    "ln_p": tabulated_hypergeometric_tail(
                        overlap[f, t], len(known), size[t], query[f]
                    ),
                    "fold": overlap[f, t] * len(known) / (size[t] * query[f]),
                    "overlap": overlap[f, t].astype(np.int64),
                    "set_size": size[t].astype(np.int64),
                    "query": query[f].astype(np.int64),
                    "adjusted_ln_p": log_binomial_tail(
                        overlap[f, t], size[t], expected[f, t] / size[t]
                    ),
                    "expected": expected[f, t],
                    "region_hits": hits.astype(np.int64),
                    "region_fraction": fraction[t],
                    "region_ln_p": log_binomial_tail(hits, fired[f + begin], fraction[t]),
                    "ranked_ln_p": ranked[f, t],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    family = n_tested * len(terms)
    for test in ("", "region_", "adjusted_", "ranked_"):
        table[f"{test}q"] = benjamini_hochberg(table[f"{test}ln_p"].to_numpy(), family)
    table = table.sort_values(
        ["feature", "adjusted_ln_p", "fold"],
        ascending=[True, True, False],
        kind="stable",
        ignore_index=True,
    )
    table["rank"] = table.groupby("feature").cumcount() + 1
    table["term"] = np.array(terms, dtype=object)[table["which"]]
    if features is not None:
        table["feature"] = np.asarray(features)[table["feature"]]
    order = ["feature", "rank", "term", "ln_p", "q", "fold", "overlap", "set_size", "query"]
    order += [
        "adjusted_ln_p",
        "adjusted_q",
        "expected",
        "region_ln_p",
        "region_q",
        "region_hits",
        "region_fraction",
    ]
    order += ["ranked_ln_p", "ranked_q"]
    return GeneSetEnrichment(table[order], family, tuple(terms), len(known))


class Collections(NamedTuple):
    """Several collections of gene sets tested in the same groups."""

    table: pd.DataFrame
    """As `GeneSetEnrichment.table`, with columns group and collection; no rows where none could be
    tested."""
    terms: dict[str, int]
    """Collection → terms tested."""
    notes: list[str]


def enrich_collections(
    fore: Foregrounds,
    links: Links,
    collections: Mapping[str, Path],
    min_size: int,
    max_size: int,
) -> Collections:
    """Test the GMT files of ``collections`` in every group; q over all terms of all of them,
    by family of groups (`with_q`)."""
    tables, terms, notes = [], {}, []
    for collection, path in collections.items():
        sets = read_gmt(path)
        notes += [f"{path.name}: {note}" for note in sets.notes]
        try:
            found = enrich_gene_sets(
                fore.matrix,
                links,
                sets,
                features=fore.groups.group.to_numpy(),
                universe=fore.strata.code >= 0,
                min_size=min_size,
                max_size=max_size,
            )
        except UserError as error:  # too few genes for one collection must not hide the others
            notes.append(f"{collection}: {error}")
            continue
        tables.append(found.table.assign(collection=collection))
        terms[collection] = len(found.terms)
    if not tables:
        empty = pd.DataFrame(columns=[*fore.about().columns, *COLUMNS])
        return Collections(empty, terms, notes)
    table = pd.concat(tables, ignore_index=True).rename(columns={"feature": "group"})
    table, family = fore.about().merge(table, on="group"), sum(terms.values())
    for test in ("", "adjusted_", "region_", "ranked_"):
        table = with_q(table, family, ln_p=f"{test}ln_p", q=f"{test}q")
    return Collections(table, terms, notes)


def _ranked(
    observed: sparse.csr_matrix, bins_per_gene: np.ndarray, incidence: sparse.csr_matrix
) -> np.ndarray:
    """(F, T) ln p of the ranked gene test; ``observed`` (F, G) fired bins by gene."""
    rate = np.asarray(observed.sum(axis=1)) / bins_per_gene.sum()
    silent = np.exp(bins_per_gene * np.log1p(-np.minimum(rate, 1 - 1e-12)))
    # mid-p u = P(X < o) + P(X = o)/2, X ~ Bin(bins of the gene, rate); o = 0 gives (1 - rate)^b / 2
    u = silent / 2
    f, g = observed.nonzero()
    count = np.asarray(observed[f, g]).ravel()
    law = binom(bins_per_gene[g], rate[f, 0])
    u[f, g] = law.cdf(count - 1) + law.pmf(count) / 2
    by_chance = (1 - silent**3) / 12  # var of a mid-p is (1 - sum of p^3) / 12 at most
    size = np.asarray(incidence.sum(axis=0)).ravel()
    n = observed.shape[1]
    # sampling without replacement: var of a sum of k among n is k (n - k)/(n - 1) var(u)
    between = u.var(axis=1, keepdims=True) * size * (n - size) / max(n - 1, 1)
    variance = np.maximum(between, by_chance @ incidence * (n - size) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (u @ incidence - u.mean(axis=1, keepdims=True) * size) / np.sqrt(variance)
    return np.asarray(norm.logsf(np.where(variance > 0, z, 0.0)))


def _reach(bins_per_gene: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(F, G) chance 1 − (1 − λ)^b that a gene with b bins is among a feature's genes, λ such that
    they sum to its genes."""
    sizes, which, number = np.unique(bins_per_gene, return_inverse=True, return_counts=True)
    low, high = np.full(len(query), -40.0), np.full(len(query), 5.0)  # ln of −ln(1 − λ)
    for _ in range(60):
        middle = (low + high) / 2
        total = -np.expm1(-np.exp(middle)[:, None] * sizes) @ number
        low, high = np.where(total < query, middle, low), np.where(total < query, high, middle)
    return -np.expm1(-np.exp(high)[:, None] * sizes)[:, which]


def incidence(
    sets: GeneSets,
    index: Mapping[str, int],
    min_size: int,
    max_size: int,
    n_genes: int | None = None,
) -> tuple[list[str], sparse.csr_matrix]:
    """Terms with ``min_size`` to ``max_size`` genes of ``index`` (gene → row), in file order, and
    the (G, T) 0/1 matrix of their genes; ``n_genes``: G, where ``index`` does not
    name all rows."""
    terms: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    for term, genes in sets.sets.items():
        here = [index[g] for g in genes if g in index]
        if min_size <= len(here) <= max_size:
            rows += here
            columns += [len(terms)] * len(here)
            terms.append(term)
    return terms, sparse.csr_matrix(
        (np.ones(len(rows)), (rows, columns)), shape=(n_genes or len(index), len(terms))
    )


def _gseapy_ln_p(
    query: list[str], sets: dict[str, list[str]], background: list[str], terms: list[str]
) -> np.ndarray:
    """ln p of each term by gseapy; terms it leaves out share no gene and have p = 1."""
    import gseapy

    result = gseapy.enrich(
        gene_list=query, gene_sets=sets, background=background, outdir=None, no_plot=True
    )
    p = dict(zip(result.results["Term"], result.results["P-value"]))
    return np.log(np.array([float(p.get(term, 1.0)) for term in terms]))
