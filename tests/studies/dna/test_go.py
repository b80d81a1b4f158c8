"""Terms of features: the length covariate against the score test of statsmodels, the universes
against scipy's hypergeometric, and a world in which long genes alone make a term."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
from scipy import stats

from petriscope.enrich.genesets import GeneSets
from petriscope.errors import UserError
from petriscope.studies.dna.data.dataset import SequenceSet
from petriscope.studies.dna.go import (
    Genes,
    check_overlap,
    feature_terms,
    genes_of,
    length_scores,
    parallel_sequences,
    published_terms,
)
from petriscope.studies.dna.sequences import Sequences
from petriscope.studies.dna.stages.go import why_not


@pytest.mark.parametrize("overdispersed", [False, True])
def test_scores_are_those_of_statsmodels(overdispersed: bool) -> None:
    rng = np.random.default_rng(3)
    n = rng.integers(2, 9, 120)
    length = rng.lognormal(8, 1, 120)
    rate = 1 / (1 + np.exp(1 - 0.4 * (np.log(length) - 8)))
    rate = rng.beta(rate, 1 - rate) if overdispersed else rate
    k = rng.binomial(n, rate)
    member = sp.csr_matrix(rng.random((120, 7)) < 0.15, dtype=float)
    mine = length_scores(k[:, None].astype(float), n, length, member)[:, 0]
    design = sm.add_constant(np.stack([np.log(length), np.log(n)], axis=1))
    fit = sm.GLM(np.stack([k, n - k], axis=1), design, family=sm.families.Binomial())
    fit = fit.fit(tol=1e-14)
    spread = max(1.0, fit.pearson_chi2 / fit.df_resid)
    assert overdispersed == (spread > 1.5)
    for i in range(7):
        column = member[:, [i]].toarray()
        theirs = fit.model.score_test(fit.params, exog_extra=column)[0]
        assert mine[i] ** 2 * spread == pytest.approx(float(np.squeeze(theirs)), rel=1e-6)


def world(rng: np.random.Generator, genes: int = 400) -> tuple[Genes, GeneSets, sp.csr_matrix]:
    """Term `true`: its genes hold the motif more often per sequence. Term `long`: its genes hold
    more sequences, no more. Feature 0 fires where the motif is, feature 1 at random."""
    n = rng.integers(2, 5, genes)
    n[40:80] = 8
    of = np.repeat(np.arange(genes), n)
    motif = rng.random(len(of)) < np.where(of < 40, 0.9, 0.3)
    fired = sp.csr_matrix(np.stack([motif, rng.random(len(of)) < 0.3], axis=1), dtype=float)
    names = tuple(f"G{i:04d}" for i in range(genes))
    sets = {"true": names[:40], "long": names[40:80]}
    sets |= {f"t{i}": tuple(rng.permutation(names)[:30]) for i in range(20)}
    length = n * 1000.0
    return Genes(names, of, length), GeneSets(sets, ()), fired


def test_a_term_of_long_genes_does_not_survive_and_a_true_one_does() -> None:
    genes, sets, fired = world(np.random.default_rng(1))
    table = feature_terms(genes.counts(fired), [0, 1], genes, sets, (5, 100))
    q = table.set_index(["feature", "term"])
    assert q.q[0, "true"] < 0.01 and q.q_length[0, "true"] < 1e-6
    assert q.q[0, "long"] < 0.01 and q.q_length[0, "long"] > 0.05
    assert (q.q_length.drop([(0, "true")]) > 0.05).all()
    assert table.groupby("feature")["rank"].min().eq(1).all()
    first = table[table.term == "true"].iloc[0]
    assert first["rank"] == 1 and first.overlap <= first.set_size == 40


def test_random_terms_have_uniform_p() -> None:
    rng = np.random.default_rng(8)
    genes, _, fired = world(rng, 800)
    names = np.array(genes.names)
    sets = GeneSets({f"t{i}": tuple(rng.permutation(names)[:25]) for i in range(400)}, ())
    table = feature_terms(genes.counts(fired), [0, 1], genes, sets, (5, 100))
    assert stats.kstest(table.p_length, "uniform").pvalue > 0.01
    assert 0.02 < (table.p_length < 0.05).mean() < 0.08


def test_universes() -> None:
    sets = GeneSets({"a": tuple("ABCDE"), "b": tuple("FGHIJKLMNO")}, ())
    table = published_terms({"one": list("ABCDX"), "two": list("EFG")}, sets, (1, 100))
    row = table.set_index(["universe", "list", "term"]).ln_p
    assert np.exp(row["annotated", "one", "a"]) == pytest.approx(stats.hypergeom.sf(3, 15, 5, 4))
    assert np.exp(row["input", "one", "a"]) == pytest.approx(stats.hypergeom.sf(3, 7, 5, 4))
    assert np.exp(row["input", "two", "b"]) == pytest.approx(stats.hypergeom.sf(1, 7, 2, 3))


def test_genes_of_sequences_and_parallel_edges() -> None:
    frame = pd.DataFrame(
        {"id": list("wxyz"), "sequence": ["AC", "ACGT", "A", "AAA"], "gene": ["b", "a", None, "B"]}
    )
    table = pd.DataFrame({"id": list("xw"), "gene": ["a", "b"], "length": [np.nan, 70.0]})
    found = genes_of(frame, table)
    assert found.names == ("A", "B") and found.of_sequence.tolist() == [1, 0, -1, 1]
    assert found.length.tolist() == [4.0, 70.0] and found.sequences.tolist() == [1, 2]
    fired = sp.csr_matrix([[2.0, 0], [0, 1], [1, 1], [0.5, 0]])
    assert found.counts(fired).tolist() == [[0, 1], [2, 0]]
    assert parallel_sequences(fired).tolist() == [True, False, False, False]
    with pytest.raises(UserError, match=r"terms\.gmt: none of its 1 genes"):
        check_overlap(GeneSets({"t": ("YAL001C",)}, ()), found.names, "terms.gmt")


@pytest.mark.parametrize("shared", [False, True])
def test_features_that_length_alone_may_tell_are_not_tested(shared: bool) -> None:
    lengths = [30, 36, 90, 96] if not shared else [30, 60, 36, 90]
    frame = pd.DataFrame(
        {
            "sequence": ["A" * n for n in lengths] + ["A" * 60],
            "label": ["bound", "bound", "unbound", "unbound", None],
            "gene": ["a", "b", "c", "d", None],
        }
    )
    dataset = cast(SequenceSet, SimpleNamespace(genesets=Path("terms.gmt")))
    why = why_not(dataset, Sequences(frame, "bound", "unbound"))
    if shared:
        assert why is None
    else:
        assert why is not None and "length alone tells the classes" in why
