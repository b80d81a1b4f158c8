"""Functional terms of the genes that features fire in, as published and as tested.

As published, the genes of sequences with parallel edges to one feature are compared with all
annotated genes, so that whatever is common to the input comes out enriched. Tested, the universe is
the genes of the input sequences, and a term must survive that long genes hold more sequences: the
sequences of each gene in which a feature fires are a binomial count whose rate may follow the
length of the gene, and the term is asked what it says beyond that.

Source: `enrich.R` of ek775/Hidden-State-Genomics at 05bb746, for the published form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy import stats

from petriscope.enrich.genesets import GeneSets, enrich_genes, incidence
from petriscope.enrich.tails import benjamini_hochberg, log_hypergeometric_tail
from petriscope.errors import UserError

PARALLEL = 2
"""Parallel edges from which on a sequence counts as published."""
STEPS, CONVERGED = 50, 1e-14
COLUMNS = (
    *("feature", "rank", "term", "ln_p", "q", "fold", "overlap", "set_size", "query"),
    *("z_length", "p_length", "q_length"),
)


class Genes(NamedTuple):
    """The genes of the input sequences."""

    names: tuple[str, ...]
    """upper case, sorted"""
    of_sequence: np.ndarray
    """int (sequences,) which of them; -1 for none"""
    length: np.ndarray
    """float (genes,) bp of the gene, or of its input sequences where the data set does not say"""

    @property
    def sequences(self) -> np.ndarray:
        """int (genes,) input sequences of each."""
        return np.bincount(self.of_sequence[self.of_sequence >= 0], minlength=len(self.names))

    def counts(self, fired: sp.csr_matrix) -> np.ndarray:
        """(genes, features) sequences of each gene in which each feature fires; ``fired``
        (sequences, features), nonzero where it does."""
        known = np.flatnonzero(self.of_sequence >= 0)
        member = sp.csr_matrix(
            (np.ones(len(known)), (self.of_sequence[known], known)),
            shape=(len(self.names), fired.shape[0]),
        )
        return np.asarray((member @ (fired != 0).astype(np.float64)).todense())


def genes_of(sequences: pd.DataFrame, table: pd.DataFrame) -> Genes:
    """The genes of the sequences.

    ``sequences``: a row per sequence with columns id, sequence and gene (or null); ``table``: id,
    gene and length (bp, or NaN), of the data set. A gene's length is the largest given.
    """
    symbol = sequences.gene.str.upper()
    names = sorted(set(symbol.dropna()))
    number = {name: i for i, name in enumerate(names)}
    own = symbol.map(number).fillna(-1).to_numpy(np.int64)
    read = np.bincount(
        own[own >= 0], sequences.sequence.str.len().to_numpy()[own >= 0], minlength=len(names)
    )
    given = table.assign(gene=table.gene.str.upper()).groupby("gene").length.max().reindex(names)
    length = given.to_numpy(np.float64)
    return Genes(tuple(names), own, np.where(np.isfinite(length), length, read))


def check_overlap(sets: GeneSets, names: Sequence[str], source: str) -> None:
    """Raise `UserError` where no gene of the sets is a gene of the input."""
    annotated = {gene for genes in sets.sets.values() for gene in genes}
    if annotated.isdisjoint(names):
        raise UserError(
            f"none of its {len(annotated):,} genes ({min(annotated)}, ...) is one of the "
            f"{len(names):,} genes of the input sequences ({names[0]}, ...)",
            file=source,
            remedy="Give gene sets and genes of one kind of symbol.",
        )


def published_terms(
    lists: Mapping[str, Sequence[str]], sets: GeneSets, sizes: tuple[int, int]
) -> pd.DataFrame:
    """Gene lists (name → genes) against the universe of all annotated genes, and against the genes
    of all lists together: columns list, universe, genes (of it), and those of `enrich_genes`."""
    annotated = {gene for genes in sets.sets.values() for gene in genes}
    drawn = {gene for genes in lists.values() for gene in genes}
    frames = [
        enrich_genes(genes, sets, universe, min_size=sizes[0], max_size=sizes[1])
        .assign(list=name, universe=words, universe_genes=len(universe))
        .drop(columns="genes")
        for words, universe in (("annotated", annotated), ("input", drawn & annotated))
        for name, genes in lists.items()
        if universe.intersection(genes)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["list"])


def parallel_sequences(weights: sp.csr_matrix, least: int = PARALLEL) -> np.ndarray:
    """bool (sequences,): those with at least ``least`` parallel edges to one feature; ``weights``
    (sequences, features) their numbers."""
    return np.asarray(weights.max(axis=1).todense()).ravel() >= least


def feature_terms(
    counts: np.ndarray,
    features: Sequence[int],
    genes: Genes,
    sets: GeneSets,
    sizes: tuple[int, int],
) -> pd.DataFrame:
    """Terms of the genes in which each feature fires.

    ``counts``: (genes, F) as `Genes.counts` gives. Universe: the genes of the input. A row per
    feature and term of admitted size: ln_p (hypergeometric: genes with a sequence in which it
    fires), fold, overlap, set_size, query; z_length and p_length of `length_scores`; q and q_length
    are Benjamini–Hochberg over all features and terms.
    """
    terms, member = incidence(sets, {name: i for i, name in enumerate(genes.names)}, *sizes)
    z = length_scores(counts, genes.sequences, genes.length, member)
    fires = counts > 0
    query = fires.sum(axis=0)
    tested = np.flatnonzero(query > 0)
    if not len(tested) or not terms:
        return pd.DataFrame(columns=COLUMNS)
    shape = (len(terms), len(tested))
    overlap = np.asarray(member.T @ fires[:, tested].astype(np.float64))
    size = np.broadcast_to(np.asarray(member.sum(axis=0)).reshape(-1, 1), shape)
    asked = np.broadcast_to(query[tested], shape)
    ln_p = log_hypergeometric_tail(
        *(overlap.ravel(), len(genes.names), size.ravel(), asked.ravel())
    )
    own = z[:, tested].ravel()
    found = pd.DataFrame(
        {
            "feature": np.broadcast_to(np.asarray(features)[tested], shape).ravel(),
            "term": np.repeat(np.asarray(terms, dtype=object), len(tested)),
            "ln_p": ln_p,
            "fold": (overlap * len(genes.names) / (size * asked)).ravel(),
            "overlap": overlap.ravel().astype(np.int64),
            "set_size": size.ravel().astype(np.int64),
            "query": asked.ravel(),
            "z_length": own,
            "p_length": stats.norm.sf(own),
        }
    )
    found["q"] = benjamini_hochberg(found.ln_p.to_numpy())
    found["q_length"] = benjamini_hochberg(stats.norm.logsf(found.z_length.to_numpy()))
    found = found.sort_values(["feature", "p_length", "ln_p", "term"], ignore_index=True)
    found["rank"] = found.groupby("feature").cumcount() + 1
    return found[list(COLUMNS)]


def length_scores(
    counts: np.ndarray, sequences: np.ndarray, length: np.ndarray, member: sp.csr_matrix
) -> np.ndarray:
    """(terms, F) z of each term in each feature, beyond the lengths of its genes.

    Model: the sequences of gene g in which the feature fires are binomial of its ``sequences``
    with logit rate a + b ln(``length``) + c ln(``sequences``); z is the score (Rao) test of adding
    membership to it, of the variance that genes show where that exceeds the binomial's. Positive:
    the feature fires more in the term. 0 where the feature fires in all sequences or in none.
    """
    n = sequences.astype(np.float64)
    raw = np.stack([np.ones_like(n), np.log(np.maximum(length, 1.0)), np.log(n)], axis=1)
    varies = raw.std(axis=0) > 1e-9
    varies[0] = True
    design = raw[:, varies]
    design[:, 1:] = (design[:, 1:] - design[:, 1:].mean(0)) / design[:, 1:].std(0)
    z = np.zeros((member.shape[1], counts.shape[1]))
    for f in range(counts.shape[1]):
        k = counts[:, f]
        if 0 < k.sum() < n.sum():
            z[:, f] = _score(k, n, design, member)
    return z


def _score(k: np.ndarray, n: np.ndarray, design: np.ndarray, member: sp.csr_matrix) -> np.ndarray:
    rate = _logistic(k, n, design)
    weight = n * rate * (1 - rate)
    score = np.asarray(member.T @ (k - n * rate)).ravel()
    cross = np.asarray(member.T @ (design * weight[:, None]))
    inner = np.linalg.pinv(design.T @ (design * weight[:, None]))
    own = np.asarray(member.multiply(member).T @ weight).ravel()
    variance = own - np.einsum("ti,ij,tj->t", cross, inner, cross)
    pearson = ((k - n * rate) ** 2 / np.maximum(weight, 1e-12)).sum()
    spread = max(1.0, pearson / max(len(n) - design.shape[1], 1))
    known = variance > 1e-9 * np.maximum(own, 1e-300)
    return np.where(known, score / np.sqrt(np.where(known, variance * spread, 1.0)), 0.0)


def _logistic(k: np.ndarray, n: np.ndarray, design: np.ndarray) -> np.ndarray:
    """(genes,) fitted rates of a binomial regression, by iterated least squares with a step that
    is halved until the likelihood grows."""
    beta = np.zeros(design.shape[1])
    beta[0] = np.log((k.sum() + 0.5) / (n.sum() - k.sum() + 0.5))

    def likelihood(b: np.ndarray) -> float:
        eta = design @ b
        return float((k * eta - n * np.logaddexp(0.0, eta)).sum())

    now = likelihood(beta)
    for _ in range(STEPS):
        rate = 1 / (1 + np.exp(-(design @ beta)))
        weight = n * rate * (1 - rate)
        step = np.linalg.pinv(design.T @ (design * weight[:, None])) @ (design.T @ (k - n * rate))
        scale, after = 1.0, likelihood(beta + step)
        while after < now and scale > 1e-6:
            scale /= 2
            after = likelihood(beta + scale * step)
        if after - now < CONVERGED * (1 + abs(now)):
            break
        beta, now = beta + scale * step, after
    return np.asarray(1 / (1 + np.exp(-np.clip(design @ beta, -30, 30))))
