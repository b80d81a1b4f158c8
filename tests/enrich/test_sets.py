"""The verb `enrich` against scipy's hypergeometric and Fisher tests, a matched background counted by
hand, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, hypergeom

import petriscope.enrich
from petriscope.enrich.background import Strata
from petriscope.enrich.genes import Links
from petriscope.enrich.genesets import GeneSets, enrich_gene_sets
from petriscope.enrich.sets import NearGenes, Sets, States, enrich
from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens

WINDOWS, UNITS, POSITIONS = 6, 3, 50
N = WINDOWS * POSITIONS


def grid(windows=range(WINDOWS)) -> Tokens:
    start = 10_000 * np.array(windows)
    frame = pd.DataFrame({"chrom": "c", "start": start, "split": "train", "block": windows})
    return Tokens.grid(frame, UNITS, POSITIONS, width=128, offset=128)


def coded(dense: np.ndarray, tokens: Tokens) -> SimpleNamespace:
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    return SimpleNamespace(tokens=tokens, scipy=lambda: matrix)


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    """(n, 4): feature 0 fires often, in several units at a place; feature 1 in unit 2 alone."""
    rng = np.random.default_rng(0)
    values = rng.random((WINDOWS * UNITS * POSITIONS, 4))
    values *= rng.random(values.shape) < [0.4, 0.1, 0.1, 0.1]
    values[grid().unit != 2, 1] = 0
    return values


@pytest.fixture(scope="module")
def hits() -> np.ndarray:
    return np.random.default_rng(1).random((N, 5)) < 0.3


def fired(dense: np.ndarray, feature: int, units=(0, 1, 2)) -> np.ndarray:
    """(N,) highest activation of each place over some units."""
    cube = dense[:, feature].reshape(WINDOWS, UNITS, POSITIONS)
    return cube[:, list(units)].max(axis=1).ravel()


def test_every_other_place_is_the_background(dense, hits):
    found = petriscope.enrich(coded(dense, grid()), [2, 0], Sets([*"abcde"], hits))
    rows = found.rows.set_index(["feature", "name"])
    for feature in (2, 0):
        here = fired(dense, feature) > 0
        for m, name in enumerate("abcde"):
            overlap = int((here & hits[:, m]).sum())
            p = hypergeom.sf(overlap - 1, N, hits[:, m].sum(), here.sum())
            assert np.exp(rows.ln_p[feature, name]) == pytest.approx(p, rel=1e-9)
            share = (~here & hits[:, m]).sum() / (~here).sum()
            assert rows.fold[feature, name] == pytest.approx(overlap / here.sum() / share)
    table = found.table(2)
    assert table.feature.tolist() == [2, 2, 0, 0] and found.places == N
    assert found.foreground.tolist() == [(fired(dense, f) > 0).sum() for f in (2, 0)]


def test_units_and_the_strongest_places(dense, hits):
    codes, sets = coded(dense, grid()), Sets([*"abcde"], hits)
    both = enrich(codes, [0], sets, units=[0, 2], most=30)
    score = fired(dense, 0, (0, 2))
    top = np.argsort(-score, kind="stable")[:30]
    counts = both.rows.set_index("name").target_hits
    assert counts.to_dict() == dict(zip("abcde", hits[top].sum(axis=0)))
    flags = enrich(codes, [0], sets, units=np.array([True, False, True]), most=30)
    pd.testing.assert_frame_equal(flags.rows, both.rows)
    assert enrich(codes, [1], sets, units=[0, 1]).foreground.tolist() == [0]


def test_a_background_is_matched_within_strata_and_leaves_out_places(dense, hits):
    code = np.where(np.arange(N) < 20, -1, np.arange(N) % 2)
    found = enrich(
        coded(dense, grid()), [0], Sets([*"abcde"], hits), background=Strata(code, ["even", "odd"])
    )
    here = (fired(dense, 0) > 0) & (code >= 0)
    weight = np.zeros(N)
    for stratum in (0, 1):
        others = (code == stratum) & ~here
        weight[others] = (here & (code == stratum)).sum() / here.sum() / others.sum()
    share = found.rows.set_index("name").background_percent / 100
    for m, name in enumerate("abcde"):
        assert share[name] == pytest.approx(weight @ hits[:, m], rel=1e-6)
    assert found.places == N - 20 and found.strata == 2


def test_states_are_odds_and_fishers_test(dense):
    states = np.random.default_rng(2).integers(0, 3, N)
    codes = coded(dense, grid())
    rows = enrich(codes, [3], States(["x", "y", "z"], states)).rows.set_index("state")
    here = fired(dense, 3) > 0
    for s, name in enumerate("xyz"):
        cells = [[(here & (states == s)).sum(), (here & (states != s)).sum()],
                 [(~here & (states == s)).sum(), (~here & (states != s)).sum()]]  # fmt: skip
        assert np.exp(rows.ln_p[name]) == pytest.approx(fisher_exact(cells).pvalue, rel=1e-6)
        (a, b), (c, d) = np.array(cells) + 0.5
        assert rows.odds_ratio[name] == pytest.approx(a * d / (b * c))


def test_gene_sets_are_reached_through_the_genes_near_places(dense):
    genes = [f"G{i}" for i in range(30)]
    matrix = sparse.csr_matrix((np.ones(N), (np.arange(N), np.arange(N) // 10)), shape=(N, 30))
    sets = GeneSets({"first": tuple(genes[:10]), "last": tuple(genes[20:])}, ())
    found = enrich(coded(dense, grid()), [0], NearGenes(sets, Links(matrix, genes)))
    member = sparse.csr_matrix(fired(dense, 0)[None, :] > 0)
    expected = enrich_gene_sets(member, Links(matrix, genes), sets).table
    pd.testing.assert_frame_equal(found.rows, expected)


def test_codes_of_some_windows_find_their_places_in_a_larger_universe(dense, hits):
    whole, some = grid(), [4, 1]
    places = pd.DataFrame({"chrom": "c", "start": whole.starts().ravel()})
    part = dense.reshape(WINDOWS, -1, 4)[some].reshape(-1, 4)
    kept = np.concatenate([np.arange(w * POSITIONS, (w + 1) * POSITIONS) for w in some])
    strata = Strata(np.random.default_rng(3).integers(0, 2, N), ["one", "other"])
    found = enrich(
        coded(part, grid(some)), [0], Sets([*"abcde"], hits, places),
        background=strata, min_targets=5,
    )  # fmt: skip
    direct = enrich(
        coded(part, grid(some)), [0], Sets([*"abcde"], hits[kept]),
        background=Strata(strata.code[kept], strata.names), min_targets=5,
    )  # fmt: skip
    pd.testing.assert_frame_equal(found.rows, direct.rows)
    assert found.places == 100


def test_ragged_tokens_have_the_places_they_name(hits):
    windows = pd.DataFrame({"split": ["train"] * 2, "block": [0, 1]})
    window, unit = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 1])
    tokens = Tokens.ragged(windows, 2, window, unit, np.array([0, 0, 3, 1, 1]))
    codes = coded(np.array([[1.0], [2], [0], [0], [3]]), tokens)
    found = enrich(codes, [0], Sets(["a"], np.array([[True], [False], [True]])), min_targets=1)
    assert found.rows.target_hits.item() == 2 and found.foreground.tolist() == [2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": [4]}, "features: has no feature 4"),
        ({"features": []}, "features: names none"),
        ({"units": [3]}, "units: are not units of the codes. Name units 0 to 2"),
        ({"units": np.array([True, False])}, "units: are not units"),
        ({"sets": Sets(["a"], np.zeros((7, 1), bool))}, "sets: are over 7 places, the codes over"),
        ({"background": Strata(np.zeros(7), ["all"])}, "background: has 7 places, the sets"),
        ({"codes": SimpleNamespace(tokens=None)}, "codes: do not know their tokens"),
        (
            {"sets": Sets(["a"], np.zeros((1, 1), bool), pd.DataFrame({"chrom": ["c"], "start": [1]}))},
            "sets: lack the place c:128",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(dense, hits, changes, message):
    given = {"codes": coded(dense, grid()), "features": [0], "sets": Sets([*"abcde"], hits)}
    with pytest.raises(UserError, match=message):
        enrich(**{**given, **changes})


def test_it_prints_and_draws(dense, hits):
    found = enrich(coded(dense, grid()), [2, 0, 1], Sets([*"abcde"], hits), units=[0, 1])
    assert str(found).startswith("2 of 3 features tested; 300 places in 1 strata")
    assert "<table" in found._repr_html_() and "300 places" in found._repr_html_()
    panel = found.plot().axes[0]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["2", "0", "1"]
