"""Annotation of a whole atlas: 82,525 gene lists x 7,438 terms against the released code's loop and
gseapy, list by list.

Rivals annotate a sample of the lists and their rate is taken to hold for the rest: what they do to
one list does not depend on the others. Lists and terms are simulated with the sizes of the atlas;
popular genes fill many of either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from rows import Against, cpu
from scipy.stats import fisher_exact

from petriscope.enrich.lists import any_set, overlap_tests

LAYERS, FEATURES, TERMS, GENES, LIST = 18, 82_525, 7_438, 17_000, 20
SAMPLE = {"the released loop": 12, "gseapy.enrich": 12}
GOAL = 500


class Case(NamedTuple):
    """Lists and terms of a layer, as arrays and as Python sets."""

    lists: sp.csr_matrix
    members: sp.csr_matrix
    queries: list[list[str]]
    terms: dict[str, list[str]]
    names: list[str]


def case(seed: int = 0) -> Case:
    """One layer: 4,585 lists of 20 genes, terms of 5 to 500 genes with a median of about 20."""
    rng = np.random.default_rng(seed)
    names = [f"GENE{i}" for i in range(GENES)]
    weight = rng.lognormal(0, 0.5, GENES)
    cumulative = np.cumsum(weight / weight.sum())

    def drawn(size: int) -> np.ndarray:
        found: np.ndarray = np.unique(np.searchsorted(cumulative, rng.random(3 * size)))
        return rng.permutation(found)[:size]

    rows = [drawn(LIST) for _ in range(FEATURES // LAYERS)]
    sizes = np.clip(np.rint(rng.lognormal(3.0, 1.0, TERMS)), 5, 500).astype(int)
    terms = [drawn(int(size)) for size in sizes]
    return Case(
        _matrix(rows),
        sp.csr_matrix(_matrix(terms).T),
        [[names[gene] for gene in row] for row in rows],
        {f"T{i}": [names[gene] for gene in term] for i, term in enumerate(terms)},
        names,
    )


def _matrix(rows: list[np.ndarray]) -> sp.csr_matrix:
    genes = np.minimum(np.concatenate(rows), GENES - 1)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    matrix = sp.csr_matrix((np.ones(len(genes)), genes, indptr), shape=(len(rows), GENES))
    matrix.sort_indices()
    return matrix


Rival = Callable[[list[str], Case], dict[str, float]]


def released(query: list[str], given: Case) -> dict[str, float]:
    """p of each term that shares two genes: the loop of 04_annotate_features.py:124-152,222-237 of
    Biodyn-AI/bio-sae, which makes every term's set anew for every list."""
    genes, found = {gene.upper() for gene in query}, {}
    for term, listed in given.terms.items():
        members = {gene.upper() for gene in listed}
        overlap = genes & members
        if len(overlap) < 2:
            continue
        a = len(overlap)
        b, c = len(genes) - a, len(members) - a
        table = [[a, b], [c, GENES - a - b - c]]
        found[term] = float(fisher_exact(table, alternative="greater")[1])
    return found


def by_gseapy(query: list[str], given: Case) -> dict[str, float]:
    """p of each term that shares a gene."""
    import gseapy

    made = gseapy.enrich(
        query, given.terms, background=given.names, outdir=None, no_plot=True
    ).results
    return dict(zip(made["Term"], made["P-value"].astype(float)))


def annotation() -> list[Against]:
    """Every layer of the atlas, corrected for all lists x terms, by us; a sample of lists by
    rivals. Their p-values are held against ours."""
    given = case()
    number = given.lists.shape[0]

    def whole() -> None:
        for _ in range(LAYERS):
            any_set(overlap_tests(given.lists, given.members), number, TERMS, 0.05)

    ours = cpu(whole)
    tests = overlap_tests(given.lists, given.members)
    places = {(int(f), int(t)): p for f, t, p in zip(tests.list, tests.set, tests.ln_p)}
    found = []
    for name, sample in SAMPLE.items():
        queries, made = given.queries[:sample], list[dict[str, float]]()
        annotate = released if name == "the released loop" else by_gseapy

        def rival(
            annotate: Rival = annotate,
            queries: list[list[str]] = queries,
            made: list[dict[str, float]] = made,
        ) -> None:
            made.extend(annotate(query, given) for query in queries)

        seconds = cpu(rival)
        for feature, terms in enumerate(made):
            mine = [np.exp(places[feature, int(term[1:])]) for term in terms]
            np.testing.assert_allclose(mine, list(terms.values()), rtol=1e-6)
        what = f"{FEATURES:,} lists x {TERMS:,} terms, {name} (rate of {sample} lists)"
        found.append(Against(what, ours, seconds / sample * number * LAYERS, GOAL))
    return found


ROWS = {"annotation": annotation}
