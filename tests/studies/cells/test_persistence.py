"""Reference: the authors' own output (bio_sae_methods), scipy's assignment by brute force,
numpy.linalg.lstsq, numpy.corrcoef."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from bio_sae import LAYERS, Golden
from codes_toy import of_dense, random_codes

from petriscope.studies.cells.persistence import (
    Alive,
    below_ceiling,
    carried,
    code_matches,
    cosines,
    matched,
    published_tracking,
)


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return Golden(shared)


def test_published_tracking_is_the_authors(golden: Golden) -> None:
    made = golden.made["cross_layer"]
    found = published_tracking(
        [golden.decoder(layer) for layer in LAYERS], [golden.alive(layer) for layer in LAYERS]
    )
    for row, theirs in zip(found.adjacent.itertuples(), made["adjacent_persistence"], strict=True):
        assert row.matches == theirs["n_matches"] and row.alive == theirs["n_alive_from"]
        assert row.high_matches == theirs["n_high_matches"]
        assert row.share == pytest.approx(theirs["persistence_rate"])
        assert row.mean_cosine == pytest.approx(theirs["mean_match_cosine"], abs=1e-6)
    for row, theirs in zip(found.reference.itertuples(), made["long_range_persistence"]):
        assert row.to_layer == theirs["target_layer"] and row.matches == theirs["n_matches"]
        assert row.mean_cosine == pytest.approx(theirs["mean_cosine"], abs=1e-6)
    spans = made["lifecycle_summary"]["span_histogram"]
    counted = np.bincount(found.layers)
    assert {str(k): int(n) for k, n in enumerate(counted) if k and n} == spans


def test_matches_are_one_to_one_and_the_best() -> None:
    rng = np.random.default_rng(0)
    likeness = rng.random((6, 5))
    first, second = np.arange(6) != 2, np.arange(5) != 0
    found = matched(likeness, first, second)
    used = found.partner >= 0
    assert used.sum() == 4 and not used[2] and np.isnan(found.value[~used]).all()
    assert len(set(found.partner[used])) == 4 and 0 not in found.partner[used]
    rows, columns = [0, 1, 3, 4, 5], [1, 2, 3, 4]
    best = max(
        sum(likeness[r, c] for r, c in zip(order, columns)) for order in permutations(rows, 4)
    )
    assert likeness[np.flatnonzero(used), found.partner[used]].sum() == pytest.approx(best)
    np.testing.assert_array_equal(found.value[used], likeness[used, found.partner[used]])


def test_a_linear_map_carries_directions() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(size=(200, 6)) + 3
    target = source @ rng.normal(size=(6, 4)) + rng.normal(size=(200, 4)) - 7
    x, y = source - source.mean(0), target - target.mean(0)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    directions = rng.normal(size=(3, 6))
    np.testing.assert_allclose(carried(directions, source, target), directions @ best, rtol=1e-4)
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    found = cosines(carried(directions, source, source @ turned), directions @ turned)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)


def test_features_are_followed_by_what_they_do() -> None:
    """The next layer has them in another order and a bit noisy; one is new, one rare."""
    rng = np.random.default_rng(2)
    first = random_codes(3000, 8, 3, 0.2).dense()
    order = rng.permutation(8)
    second = first[:, order] * rng.uniform(0.8, 1.2, first.shape)
    second[:, 0] = random_codes(3000, 1, 4, 0.2).dense()[:, 0]
    one, other = (Alive.of(of_dense(rows), 30) for rows in (first, second))
    found = code_matches(one, other)
    expected = np.argsort(order)
    lost = order[0]
    kept = np.arange(8) != lost
    np.testing.assert_array_equal(found.partner[kept], expected[kept])
    r = np.corrcoef(first.T, second.T)[:8, 8:]
    np.testing.assert_allclose(found.value, r[np.arange(8), found.partner], atol=1e-9)
    assert (found.value[kept] > 0.9).all() and found.value[lost] < 0.1
    rare = code_matches(Alive.of(one.codes, 10**5), other)
    assert (rare.partner == -1).all()


def test_within_genes_only_what_differs_between_cells_is_followed() -> None:
    """Both layers know the gene; what they add to it is not the same."""
    rng = np.random.default_rng(5)
    gene = np.tile(np.arange(30), 100)
    level = rng.uniform(0.1, 2, 30)[gene]
    one, other = (Alive.of(of_dense((level + rng.normal(0, 0.1, 3000))[:, None]), 1) for _ in "ab")
    assert code_matches(one, other).value[0] > 0.9
    assert abs(code_matches(one, other, gene).value[0]) < 0.08


def test_below_the_ceiling() -> None:
    persists = np.arange(200) % 4 == 0
    again = np.arange(200) % 4 != 3
    found = below_ceiling(persists, again, resamples=20_000, seed=0)
    assert (found.share, found.ceiling, found.difference) == (0.25, 0.75, -0.5)
    # a difference of -1 in half of 200 features and 0 in the others: standard error .5 / √200
    half = 1.96 * 0.5 / np.sqrt(200)
    assert found.low == pytest.approx(-0.5 - half, abs=0.005)
    assert found.high == pytest.approx(-0.5 + half, abs=0.005)
    same = below_ceiling(again, again, resamples=200, seed=0)
    assert same.low == same.high == 0
