"""Reference: statsmodels' least squares and scipy's Welch test on unit means taken by a loop over
dense codes; and the table of stage cds on the same moments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from petriscope.contrast.design import Design
from petriscope.contrast.features import Scoring, layer_table
from petriscope.contrast.score import contrast, moments_of
from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes, sufficient_statistics

DOCUMENTS, FEATURES = 14, 12


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "document": [f"doc{i}" for i in range(DOCUMENTS)],
            "kind": ["question", "statement"] * (DOCUMENTS // 2),
            "length": rng.integers(20, 60, DOCUMENTS),
        }
    )


def text_like(seed: int = 0) -> Codes:
    """Sentences (windows) of documents (units): ragged, each sentence in one document; feature 0
    fires more in questions, feature 11 never."""
    rng = np.random.default_rng(seed)
    sentences = 6 * DOCUMENTS
    document = np.arange(sentences) % DOCUMENTS
    lengths = rng.integers(4, 9, sentences)
    window = np.repeat(np.arange(sentences), lengths)
    position = np.concatenate([np.arange(n) for n in lengths])
    windows = pd.DataFrame(
        {
            "block": document,
            "split": np.where(np.arange(sentences) < sentences // 2, "train", "test"),
        }
    )
    unit = document[window]
    values = rng.gamma(2, 1, (len(window), FEATURES)) * (rng.random((len(window), FEATURES)) < 0.4)
    values *= rng.lognormal(0, 0.3, (DOCUMENTS, FEATURES))[unit]
    values[unit % 2 == 0, 0] *= 4
    values[:, FEATURES - 1] = 0
    matrix = sp.csr_matrix(values.astype(np.float32))
    return Codes(
        matrix.indptr.astype(np.int64),
        matrix.indices,
        matrix.data,
        FEATURES,
        Tokens.ragged(windows, DOCUMENTS, window, unit, position),
    )


def unit_means(codes: Codes, split: str | None = None) -> np.ndarray:
    assert codes.tokens is not None
    dense, used = codes.dense().astype(np.float64), np.ones(codes.n, bool)
    if split is not None:
        used = codes.tokens.split == split
    return np.stack([dense[used & (codes.tokens.unit == u)].mean(0) for u in range(DOCUMENTS)])


def test_without_strata_it_is_welchs_test_where_variances_are_not_shared() -> None:
    codes = text_like()
    design = Design(frame(), condition="kind", target="question")
    score = contrast(codes, design, variance="welch", permutations=500)
    means = unit_means(codes)[:, :-1]
    theirs = stats.ttest_ind(means[::2], means[1::2], equal_var=False)
    table = score.table()
    assert table.alive.tolist() == [True] * (FEATURES - 1) + [False]
    assert table.iloc[-1][["estimate", "p", "q"]].isna().all()
    np.testing.assert_allclose(
        table.estimate[:-1], means[::2].mean(0) - means[1::2].mean(0), rtol=1e-6
    )
    low, high = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(table.low[:-1], low, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(table.high[:-1], high, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(score.combined.extra["p_stouffer"], theirs.pvalue, rtol=1e-5)
    np.testing.assert_allclose(table.q[:-1], multipletests(table.p[:-1], method="fdr_bh")[1])
    assert score.top(1).tolist() == [0] and len(score.top(100)) == FEATURES - 1


def test_the_adjusted_estimate_is_that_of_least_squares() -> None:
    codes, units = text_like(1), frame()
    design = Design(units, condition="kind", target="question", adjust=["length"])
    table = contrast(codes, design, split="test", permutations=200).table()
    means = unit_means(codes, "test")
    matrix = sm.add_constant(
        np.column_stack([(units.kind == "question").astype(float), units.length])
    )
    for feature in range(FEATURES - 1):
        fitted = sm.OLS(means[:, feature], matrix).fit()
        assert table.estimate[feature] == pytest.approx(fitted.params[1], rel=1e-5)


def test_it_is_the_score_of_stage_cds_on_the_same_tokens() -> None:
    codes, rng = text_like(2), np.random.default_rng(0)
    units = frame().assign(stratum=["x"] * 8 + ["y"] * 6)
    design = Design(units, condition="kind", target="question", strata="stratum", adjust=["length"])
    how = Scoring(min_events=1.0, permutations=300, seed=5)
    ours = contrast(codes, design, **how._asdict())
    means = rng.normal(size=(9, DOCUMENTS, FEATURES)).astype(np.float32)
    theirs = layer_table(0, moments_of(codes, design), means, design, how).table
    table = ours.table()
    assert (table.alive == theirs.alive).all()
    for a, b in (("estimate", "estimate"), ("low", "low"), ("high", "high"), ("statistic", "z")):
        np.testing.assert_allclose(table[a], theirs[f"{b}_document"], rtol=1e-9)
    np.testing.assert_array_equal(table.p, theirs.p_document)
    np.testing.assert_allclose(table.estimate_x, theirs.estimate_x_document, rtol=1e-9)


def test_moments_of_blocks_are_the_sums_by_block_and_unit() -> None:
    codes = text_like(4)
    assert codes.tokens is not None
    design = Design(frame(), condition="kind", target="question")
    whole = moments_of(codes, design, ["train", "test"])
    expected = sufficient_statistics(
        codes, codes.tokens.block, codes.tokens.unit, n_blocks=14, n_units=14, m=FEATURES
    )
    for ours, theirs in zip(whole, expected):
        np.testing.assert_array_equal(ours, theirs)


def test_without_replicates_blocks_are_what_is_independent() -> None:
    rng = np.random.default_rng(8)
    windows = pd.DataFrame({"block": np.arange(12), "split": "all"})
    tokens = Tokens.grid(windows, 2, 5)
    values = rng.gamma(2, 1, (len(tokens), 3))
    values[tokens.unit == 1, 0] += 3
    matrix = sp.csr_matrix(values.astype(np.float32))
    codes = Codes(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, 3, tokens)
    pair = pd.DataFrame({"unit": ["a", "b"], "kind": ["old", "new"]})
    score = contrast(codes, Design(pair, condition="kind", target="new"), alpha=0.05)
    dense = codes.dense().astype(np.float64).reshape(12, 2, 5, 3).mean(2)
    theirs = stats.ttest_rel(dense[:, 1], dense[:, 0])
    np.testing.assert_allclose(score.combined.extra["p_stouffer"], theirs.pvalue, rtol=1e-6)
    assert score.combined.level == "locus" and score.table().significant.tolist()[0] is True
    assert "units: 12 blocks" in str(score) and "q <= 0.05: " in str(score)


def test_it_prints_method_units_family_and_counts_and_draws() -> None:
    design = Design(frame(), condition="kind", target="question", adjust=["length"])
    score = contrast(text_like(), design, permutations=200)
    text = str(score)
    assert "14 documents: 7 question against 7 statement, adjusted for length" in text
    assert "moderated t adjusted for length" in text and "no alpha given, no verdict" in text
    assert "units: 7 statement, 7 question" in text and "family: 11 alive features" in text
    assert "significant" not in score.table() and repr(score) == text
    assert "<table" in score._repr_html_()
    assert len(score.plot().axes) == 1
    sided = frame().assign(side=[0, 1] * 7)
    alike = contrast(
        text_like(), Design(sided, condition="kind", target="question", adjust=["side"])
    )
    assert "not adjusted for side: cannot be told from the condition" in str(alike)


def test_nothing_that_fires_cannot_be_tested() -> None:
    design = Design(frame(), condition="kind", target="question")
    score = contrast(text_like(), design, min_events=1e6)
    assert score.untestable == "no feature fires on 1e+06 tokens of a document"
    assert "cannot be tested" in str(score) and score.table().p.isna().all()
    assert len(score.plot().axes) == 1
    with pytest.raises(UserError, match="cannot be tested: no feature fires"):
        score.top(3)


def test_bad_codes_are_refused_in_one_line() -> None:
    codes = text_like()
    assert codes.tokens is not None
    design = Design(frame(), condition="kind", target="question")
    with pytest.raises(UserError, match="codes: carry no token index"):
        contrast(dataclasses.replace(codes, tokens=None), design)
    with pytest.raises(
        UserError, match="documents: 13 documents are described but the codes hold 14"
    ):
        contrast(codes, Design(frame()[:13], condition="kind", target="question"))
    with pytest.raises(UserError, match=r"split: no window is in 'tset'.*train, test"):
        contrast(codes, design, split="tset")
    broken = codes.tokens.index.copy()  # type: ignore[union-attr]
    broken[7, 1] = 14
    wrong = dataclasses.replace(codes, tokens=dataclasses.replace(codes.tokens, index=broken))
    with pytest.raises(UserError, match="token index: row 7 names unit 14, of 14"):
        contrast(wrong, design)
    short = dataclasses.replace(codes.tokens, index=broken[:-1])
    with pytest.raises(UserError, match=r"codes: has \d+ rows, the token axis \d+ tokens"):
        contrast(dataclasses.replace(codes, tokens=short), design)
    broken[broken[:, 1] >= 13, 1] = 0
    gone = dataclasses.replace(codes, tokens=dataclasses.replace(codes.tokens, index=broken))
    with pytest.raises(UserError, match="documents: document: 'doc13' has no token"):
        contrast(gone, design)
    moments = moments_of(codes, design)
    with pytest.raises(UserError, match="split: is given, but moments know no splits"):
        contrast(moments, design, split="test")
    with pytest.raises(UserError, match=r"alpha: is 5\. Give a share between 0 and 1"):
        contrast(codes, design, alpha=5)
    with pytest.raises(UserError, match="permutations: is 0"):
        contrast(codes, design, permutations=0)
    with pytest.raises(UserError, match="k: is 0"):
        contrast(codes, design, permutations=50).top(0)
