"""Matched backgrounds against direct weighting bin by bin, and a balance that a planted confounder
must reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from petriscope.enrich.background import (
    MatchedBackground,
    sample_background,
    strata,
    tss_distance,
)
from petriscope.enrich.features import enrich_features
from petriscope.errors import UserError


@pytest.fixture
def universe():
    rng = np.random.default_rng(0)
    n = 6000
    gc = rng.normal(0.45, 0.08, n).clip(0, 1)
    access = np.exp(rng.normal(0, 1, n) + 6 * (gc - 0.45))
    distance = rng.exponential(30_000, n)
    return rng, gc, access, distance


def confounded(rng, gc, access, n_features=4):
    """Features that fire by GC and accessibility alone."""
    p = 1 / (1 + np.exp(-(8 * (gc - 0.5) + 1.0 * np.log(access) - 2.5)))
    return sparse.csr_matrix(rng.uniform(size=(n_features, len(gc))) < p)


def test_counts_equal_weighting_bin_by_bin(universe):
    rng, gc, access, distance = universe
    classes = strata(gc, access, distance)
    member = confounded(rng, gc, access)
    matched = MatchedBackground(member, classes)
    hits = rng.uniform(size=(len(gc), 70)) < 0.2
    counts = matched.counts(hits)
    for f in range(member.shape[0]):
        fore = member[f].toarray().ravel() > 0
        w = np.zeros(len(gc))
        dropped = 0
        for s in range(len(classes.names)):
            a, b = fore & (classes.code == s), ~fore & (classes.code == s)
            if b.any():
                w[b] = a.sum() / b.sum()
            else:
                dropped += a.sum()
                fore = fore & ~a
        w *= w.sum() / np.sum(w**2)
        np.testing.assert_allclose(matched.weights(f), w, rtol=1e-9)
        np.testing.assert_allclose(counts.background[f], w @ hits, rtol=1e-6)
        np.testing.assert_array_equal(counts.target[f], fore @ hits.astype(int))
        assert counts.dropped[f] == dropped and counts.targets[f] == fore.sum()
        assert (
            counts.total[f] == pytest.approx(w.sum()) == pytest.approx(w.sum() ** 2 / (w**2).sum())
        )
    np.testing.assert_allclose(
        matched.counts(sparse.csr_matrix(hits)).background, counts.background
    )


def test_matching_removes_the_imbalance(universe):
    rng, gc, access, distance = universe
    matched = MatchedBackground(confounded(rng, gc, access, 1), strata(gc, access, distance))
    report = matched.imbalance(
        0, {"gc": gc, "log accessibility": np.log(access), "tss": distance}
    ).set_index("covariate")
    assert (
        report.loc["gc", "smd_before"] > 0.3 and report.loc["log accessibility", "smd_before"] > 0.3
    )
    assert report["smd_after"].abs().max() < 0.1


def test_matching_removes_the_false_enrichment(universe):
    """A motif that depends on accessibility alone is enriched against all bins, not against matched
    ones."""
    rng, gc, access, _ = universe
    hits = (rng.uniform(size=len(gc)) < 0.15 * (access > np.median(access)) + 0.05)[:, None]
    member = confounded(rng, gc, access, 1)
    plain = enrich_features(hits, MatchedBackground(member, strata(np.full(len(gc), 0.5))))
    matched = enrich_features(hits, MatchedBackground(member, strata(gc, access)))
    assert plain.ln_p[0, 0] < np.log(1e-3) and matched.ln_p[0, 0] > np.log(0.01)


def test_random_bins_find_nothing(universe):
    """200 draws of random bins, 50 motifs: a term below q .05 in at most 5 % of draws (each draw
    its own family)."""
    rng, gc, access, distance = universe
    hits = rng.uniform(size=(len(gc), 50)) < rng.uniform(0.01, 0.3, 50)
    draws = sparse.csr_matrix(rng.uniform(size=(200, len(gc))) < 0.05)
    result = enrich_features(hits, MatchedBackground(draws, strata(gc, access, distance)))
    from petriscope.enrich.tails import benjamini_hochberg

    found = sum(bool((benjamini_hochberg(row) < 0.05).any()) for row in result.ln_p)
    assert found <= 16  # upper 99 % binomial limit of 5 % of 200
    assert (result.q < 0.05).sum() == 0


def test_a_planted_motif_is_found_and_ranked(universe):
    rng, gc, access, distance = universe
    member = confounded(rng, gc, access, 3)
    hits = rng.uniform(size=(len(gc), 40)) < 0.1
    hits[:, 7] |= (member[1].toarray().ravel() > 0) & (rng.uniform(size=len(gc)) < 0.5)
    result = enrich_features(hits, MatchedBackground(member, strata(gc, access, distance)))
    table = result.table([f"m{i}" for i in range(40)], features=["a", "b", "c"], max_q=0.05)
    assert table[["feature", "rank", "name"]].values.tolist()[0] == ["b", 1, "m7"]
    assert result.family == 120 and result.fold[1, 7] > 3


def test_small_and_empty_features_are_not_tested(universe):
    rng, gc, _, _ = universe
    member = sparse.lil_matrix((3, len(gc)), dtype=bool)
    member[1, :19] = True
    member[2, :] = True  # fires everywhere: no background
    result = enrich_features(
        rng.uniform(size=(len(gc), 5)) < 0.5, MatchedBackground(member.tocsr(), strata(gc))
    )
    assert (
        not result.tested.any() and np.isnan(result.q).all() and result.table(list("abcde")).empty
    )
    assert result.counts.dropped[2] == len(gc)


def test_missing_covariates_leave_the_universe(universe):
    _, gc, access, _ = universe
    gc = gc.copy()
    gc[:100] = np.nan
    classes = strata(gc, access)
    assert (classes.code[:100] == -1).all() and classes.code[100:].min() == 0
    matched = MatchedBackground(sparse.csr_matrix(np.arange(len(gc)) < 200), classes)
    assert matched.targets[0] + matched.dropped[0] == 200 and matched.dropped[0] >= 100
    assert matched.weights(0)[:200].sum() == 0
    assert all("GC" in name and "access" in name for name in classes.names)


def test_sampling_is_seeded_matched_and_counts_shortage(universe):
    rng, gc, access, _ = universe
    classes = strata(gc, access)
    fore = confounded(rng, gc, access, 1).toarray().ravel()
    one = sample_background(fore, classes, np.random.default_rng(5))
    assert not fore[one.bins].any() and len(set(one.bins.tolist())) == len(one.bins)
    assert one.short == fore.sum() - len(one.bins)
    np.testing.assert_array_equal(
        one.bins, sample_background(fore, classes, np.random.default_rng(5)).bins
    )
    with pytest.raises(UserError, match="foreground is empty"):
        sample_background(np.zeros(len(gc), bool), classes, rng)


def test_shapes_must_agree(universe):
    _, gc, *_ = universe
    with pytest.raises(UserError, match="same universe"):
        MatchedBackground(sparse.csr_matrix((2, 10)), strata(gc))


def test_distance_to_the_nearest_tss():
    genes = pd.DataFrame({"chrom": ["chr1", "chr1", "chr2"], "tss": [100, 1000, 5]})
    got = tss_distance(
        np.array(["chr1", "chr1", "chr1", "chr2", "chr3"]), np.array([90, 600, 2000, 5, 5]), genes
    )
    np.testing.assert_array_equal(got, [10, 400, 1000, 0, np.nan])
