"""References: statsmodels for partial correlation and for shares of variance, loops for sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm

from petriscope.enrich.correlation import Lookup, pearson
from petriscope.studies.dna.entropy import Scan, codes_of
from petriscope.studies.dna.surprisal import (
    block_partial_r,
    element_share,
    local_gc,
    partition,
    scan_of,
    token_sums,
    token_surprisal,
)

SEQUENCES = ["ACGTTGCAACGT", "GGCCATTA", "TTGACNACGTTG"]
ROW = np.array([0, 0, 1, 2, 2])
START = np.array([0, 6, 1, 0, 6])
WIDTH = np.array([6, 6, 6, 5, 6])


def dummies(category: np.ndarray) -> np.ndarray:
    return pd.get_dummies(pd.Series(category)).to_numpy(float)


def test_sums_are_those_of_the_tokens_bases():
    codes = codes_of(SEQUENCES)
    values = np.arange(len(codes), dtype=float)
    values[3] = np.nan
    offset = [0, 13, 22]
    found = token_sums(values, SEQUENCES, ROW, START, WIDTH)
    for i, (row, start, width) in enumerate(zip(ROW, START, WIDTH, strict=True)):
        first = offset[row] + start
        assert found[i] == pytest.approx(values[first : first + width].sum(), nan_ok=True)
    assert np.isnan(found[0])


def test_surprisal_of_a_token_is_that_of_its_bases():
    scan, codes = Scan.of(codes_of(["ACGTTGCAACGTACC"]), 2), codes_of(SEQUENCES)
    bits = scan.dirichlet(codes, own=False).surprisal
    found = token_surprisal(scan, SEQUENCES, ROW, START, WIDTH)
    assert found[1] == pytest.approx(bits[6:12].sum())
    assert np.isnan(found[[0, 3, 4]]).all()  # the start of a sequence, and what follows an N


def test_gc_is_counted_about_a_token():
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 100))
    found = local_gc([text], np.zeros(2, int), np.array([0, 48]), np.array([6, 6]))
    for share, (low, high) in zip(found, ((0, 36), (18, 84)), strict=True):
        near = text[low:high]
        assert share == pytest.approx((near.count("G") + near.count("C")) / len(near))


def test_elements_cover_a_share_of_tokens():
    elements = pd.DataFrame(
        {"id": ["b", "a", "a", "elsewhere"], "start": [2, 3, 4, 0], "end": [8, 7, 9, 9]}
    )
    found = element_share(elements, ["a", "b", "c"], SEQUENCES, ROW, START, WIDTH)
    np.testing.assert_allclose(found, [3 / 6, 3 / 6, 5 / 6, 0, 0])


def test_scan_of_contiguous_dna():
    found = scan_of(codes_of(["ACACACAG"]), 2)
    # contexts AC (3 times, one before the end is not asked), CA
    assert found["bases"] == 6
    assert found["contexts"] == 2
    assert found["singletons"] == 0
    assert found["published_entropy"] == pytest.approx((3 * 0 + 3 * 0.9182958) / 6, abs=1e-6)
    once = scan_of(codes_of(["ACGTTTGA"]), 3)
    assert once["singletons"] == 1
    assert once["published_entropy"] == 0
    assert once["leave_one_out"] > 1


def simulated(n: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    category, gc = rng.integers(0, 7, n), rng.random(n)
    y = category * 0.3 + gc + rng.normal(size=n)
    x = np.stack([0.5 * y + category, gc * 2 + rng.normal(size=n), rng.random(n)], axis=1)
    x[rng.random(x.shape) < 0.4] = 0
    return category, gc, y, np.maximum(x, 0)


def test_partial_r_of_all_blocks_is_the_partial_correlation():
    category, gc, y, x = simulated()
    block = np.arange(len(y)) // 90
    lookup = Lookup(category, gc[:, None])
    weights = np.concatenate([np.ones((1, 10)), np.eye(10)[:2]])
    found = block_partial_r(sp.csr_matrix(x), y, lookup, block, weights)
    design = np.column_stack([dummies(category), gc])
    left = [sm.OLS(v, design).fit().resid for v in (y, *x.T)]
    for latent in range(3):
        assert found[0, latent] == pytest.approx(np.corrcoef(left[0], left[latent + 1])[0, 1])
        here = block == 1
        a, b = left[0][here], left[latent + 1][here]
        assert found[2, latent] == pytest.approx((a @ b) / np.sqrt((a @ a) * (b @ b)))
    np.testing.assert_allclose(found[0], pearson(sp.csr_matrix(x), y[:, None], lookup)[:, 0])


def test_shares_of_variance_are_those_of_held_out_least_squares():
    category, gc, y, x = simulated()
    block, fitted = np.arange(len(y)) // 90, np.arange(len(y)) < 450
    weights = np.zeros((2, 10))
    weights[:, 5:] = [[1] * 5, [2, 1, 1, 1, 0]]
    predictors = {"surprisal": y[:, None], "gc": gc[:, None]}
    found = partition(x, category, predictors, fitted, block, weights)

    def held(columns: list[np.ndarray]) -> float:
        design = np.column_stack([np.ones(len(y)), *columns])
        shares = []
        for values in x.T:
            fit = np.linalg.lstsq(design[fitted], values[fitted], rcond=None)[0]
            rest = ((values - design @ fit)[~fitted] ** 2).sum()
            shares.append(1 - rest / ((values - values[fitted].mean())[~fitted] ** 2).sum())
        return float(np.mean(shares))

    identity = dummies(category)
    whole = held([identity, y, gc])
    assert found.whole[0] == pytest.approx(whole)
    assert found.alone["identity"][0] == pytest.approx(held([identity]))
    assert found.alone["gc"][0] == pytest.approx(held([gc]))
    assert found.unique["surprisal"][0] == pytest.approx(whole - held([identity, gc]))
    assert found.unique["identity"][0] == pytest.approx(whole - held([y, gc]))
    assert found.whole[1] != found.whole[0]


def test_a_token_never_seen_has_the_mean():
    values = np.array([[1.0], [3.0], [5.0], [0.0]])
    found = partition(
        values, np.array([0, 0, 1, 2]), {}, np.array([True, True, False, False]),
        np.array([0, 0, 1, 1]), np.array([[0.0, 1.0]]),
    )  # fmt: skip
    assert found.alone["identity"][0] == pytest.approx(0)
