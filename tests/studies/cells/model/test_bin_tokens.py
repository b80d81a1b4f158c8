"""Binned encoding against numpy's quantile and digitize cell by cell, scGPT's own programs (fixture)
and what the design measured on real cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from cells_door_toy import SYMBOLS, cells_of, toy_counts, vocabularies
from scipy.stats import chisquare, kstest

from petriscope.run.fixtures import read_fixture
from petriscope.studies.cells.data.cells import read_cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary
from petriscope.studies.cells.model import bin_tokens as module
from petriscope.studies.cells.model.bin_tokens import (
    PAD_VALUE,
    bin_tokens,
    cell_edges,
    cell_keys,
    edges_between,
    uniform,
)
from petriscope.studies.cells.model.tokens import CellTokens
from petriscope.studies.cells.parity import tokenizers


def vocabulary_in(folder: Path) -> BinVocabulary:
    found = vocabularies(folder).scgpt
    assert found is not None
    return found


def authors_digits(x: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges, and both digitizations (`preprocess.py:_digitize`)."""
    edges = np.quantile(x, np.linspace(0, 1, bins - 1))
    return edges, np.digitize(x, edges), np.digitize(x, edges, right=True)


@pytest.mark.parametrize("bins", [51, 5, 3])
def test_edges_and_places_are_numpys_to_the_last_bit(
    bins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    # cells of every size from none to 130, so that edges fall on counts by rounding and between
    rows = [np.pad(rng.geometric(0.2, n), (0, 130 - n)) for n in range(131)]
    counts = sp.csr_matrix(np.stack(rows))
    monkeypatch.setattr(module, "row_chunks", lambda indptr: [(0, 40), (40, 41), (41, 131)])
    edges, places = cell_edges(counts, bins), edges_between(counts, bins)
    at = 0
    for cell, row in enumerate(rows):
        x = row[row > 0]
        if not len(x):
            assert np.isnan(edges[cell]).all()
            continue
        wanted, left, right = authors_digits(x, bins)
        own = slice(at, at + len(x))
        np.testing.assert_array_equal(edges[cell], wanted)
        np.testing.assert_array_equal(places.left[own], left)
        np.testing.assert_array_equal(places.right[own], right)
        at += len(x)
    assert at == counts.nnz and places.low.min() == 1 and places.left.max() == bins - 1


def test_drawn_bins_are_spread_evenly_over_those_allowed() -> None:
    counts = sp.csr_matrix(np.r_[np.ones(400), np.arange(2, 102)][None])
    places = edges_between(counts, 51)
    ones = counts.data == 1
    assert places.low[ones].tolist() == [1] * 400
    drawn = places.draw(np.random.default_rng(0).random((300, counts.nnz)))
    assert (drawn >= places.low).all() and (drawn <= places.left).all()
    sizes = np.bincount(drawn[:, ones].ravel())[1:]
    assert len(sizes) == places.width[0] and chisquare(sizes).pvalue > 1e-3
    alone = places.width == 1
    assert alone.any() and (drawn[:, alone] == places.left[alone]).all()


def test_numbers_are_uniform_and_different_between_cells_genes_and_streams() -> None:
    keys = cell_keys([f"c{i}" for i in range(300)], "demo", 0)
    cell, token = np.repeat(keys, 200), np.tile(np.arange(200), 300)
    one, two = uniform(cell, token, 0), uniform(cell, token, 1)
    assert kstest(one, "uniform").pvalue > 1e-3 and kstest(two, "uniform").pvalue > 1e-3
    table = one.reshape(300, 200)
    for a, b in ((one, two), (table[:-1], table[1:]), (table[:, :-1], table[:, 1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02
    assert len(np.unique(one)) == len(one)
    assert len({*cell_keys("ab", 1, 0), *cell_keys("ab", 1, 1), *cell_keys("ab", 2, 0)}) == 6


def lists(tokens: CellTokens) -> list[dict[int, float]]:
    spans = [tokens.of(i) for i in range(len(tokens))]
    return [dict(zip(tokens.ids[s].tolist(), tokens.values[s].tolist())) for s in spans]


def test_tokens_of_whole_cells(tmp_path: Path) -> None:
    vocabulary = vocabulary_in(tmp_path)
    names = [*SYMBOLS[:-8], *[name.lower() for name in SYMBOLS[-8:]]]  # letter by letter
    counts = toy_counts()
    found = bin_tokens(cells_of(counts, names), vocabulary, 51, 1200, "demo", 0)
    dense = np.asarray(counts.todense()).astype(int)[:, :-8]
    for cell, tokens in enumerate(lists(found)):
        ids = [vocabulary.ids[name] for name, n in zip(names, dense[cell]) if n]
        assert list(tokens) == [vocabulary.cls, *ids]  # in the order of the file
        x = dense[cell][dense[cell] > 0]
        _, left, right = authors_digits(x, 51)
        values = np.array(list(tokens.values()))
        assert values[0] == PAD_VALUE
        assert (values[1:] <= left).all() and (values[1:] >= np.minimum(right + 1, left)).all()
    genes = found.gene[found.gene >= 0]
    assert [vocabulary.ids[names[g]] for g in genes] == found.ids[found.gene >= 0].tolist()
    assert (found.gene < 0).sum() == len(found) and found.values.dtype == np.float32


def test_a_cell_has_the_same_tokens_in_any_company(tmp_path: Path) -> None:
    vocabulary, cells = vocabulary_in(tmp_path), cells_of(toy_counts())
    whole = lists(bin_tokens(cells, vocabulary, 51, 30, "demo", 0))
    rows = np.array([7, 3, 20])
    order = np.random.default_rng(2).permutation(80)
    some = cells_of(cells.counts[rows][:, order], [SYMBOLS[i] for i in order])
    some = dataclasses.replace(some, obs=some.obs.assign(cell=[f"cell{i}" for i in rows]))
    assert lists(bin_tokens(some, vocabulary, 51, 30, "demo", 0)) == [whole[i] for i in rows]
    assert lists(bin_tokens(cells, vocabulary, 51, 30, "demo", 0)) == whole
    for other in (("demo", 1), ("other", 0)):
        assert lists(bin_tokens(cells, vocabulary, 51, 30, *other)) != whole


def test_long_cells_are_cut_to_a_random_subset(tmp_path: Path) -> None:
    vocabulary = vocabulary_in(tmp_path)
    cells = cells_of(np.full((4000, 80), 1) + np.arange(80))
    whole = bin_tokens(cells, vocabulary, 51, 1200, 3, 0)
    cut = bin_tokens(cells, vocabulary, 51, 21, 3, 0)
    assert set(cut.lengths) == {21} and (cut.ids[cut.offsets[:-1]] == vocabulary.cls).all()
    sizes = np.bincount(cut.gene[cut.gene >= 0], minlength=80)
    assert chisquare(sizes).statistic < 80 * 1.6  # less spread than independent draws
    for few, all_ in zip(lists(cut)[:50], lists(whole)[:50]):
        assert len(few) == 21 and few.items() <= all_.items()  # bins are of the whole cell
    both = np.zeros((4000, 80), bool)
    both[cut.cell[cut.gene >= 0], cut.gene[cut.gene >= 0]] = True
    assert len(np.unique(both, axis=0)) > 3990


def test_published_input_is_unbinned_sorted_and_without_cls(tmp_path: Path) -> None:
    vocabulary, cells = vocabulary_in(tmp_path), cells_of(toy_counts())
    found = bin_tokens(cells, vocabulary, 51, 30, "demo", 0, published=True)
    assert not (found.ids == vocabulary.cls).any() and found.lengths.max() == 30
    for i in range(len(cells)):
        row = cells.counts[i].toarray().ravel()
        values = np.log1p(row / row.sum() * 1e4)
        wanted = np.sort(values[row > 0])[::-1][:30]
        np.testing.assert_allclose(found.values[found.of(i)], wanted, rtol=1e-6)
        np.testing.assert_allclose(values[found.gene[found.of(i)]], wanted, rtol=1e-6)


def test_empty_cells_have_cls_alone(tmp_path: Path) -> None:
    counts = toy_counts().tolil()
    counts[3] = 0
    found = bin_tokens(cells_of(counts), vocabulary_in(tmp_path), 51, 30, "demo", 0)
    assert found.lengths[3] == 1
    none = bin_tokens(cells_of(sp.csr_matrix((2, 80))), vocabulary_in(tmp_path), 51, 30, 1, 0)
    assert none.lengths.tolist() == [1, 1]


def test_the_fixture_agrees_and_a_damaged_one_does_not(shared: Path) -> None:
    path = shared / "golden" / "single_cell" / "tokenizers_real.npz"
    entries = read_fixture(path)
    rows = list(tokenizers.compare_bins(path, entries))
    assert all(row.error <= row.allowed for row in rows)
    assert not any("no seed known" in row.array for row in rows)
    entries["scgpt_bins"][100] += 1  # one bin, of which the others are copies
    entries["scgpt_trunc_values"][0, 5] = 99
    entries["scgpt_embed_genes"][0, 5] = 3
    wrong = {r.array for r in tokenizers.compare_bins(path, entries) if r.error > r.allowed}
    assert {"scgpt_bins", "scgpt_trunc_values, within bounds (no seed known)"} <= wrong
    assert "scgpt_embed_genes, as subsets (no seed known)" in wrong


def test_a_fixture_whose_seeds_nobody_knows_is_held_against_the_bounds(shared: Path) -> None:
    path = shared / "golden" / "single_cell" / "tokenizers_real.npz"
    entries = read_fixture(path)
    for name in ("scgpt_embed_genes", "scgpt_embed_values"):
        entries[name][4:, 1:] = np.roll(entries[name][4:, 1:], 3, axis=1)
    rows = {row.array: row for row in tokenizers.compare_bins(path, entries)}
    assert rows["scgpt_embed_genes, as subsets (no seed known)"].error == 0
    assert rows["scgpt_embed_values, within bounds (no seed known)"].error == 0


def test_bins_of_real_cells_are_as_random_as_the_design_says(shared: Path) -> None:
    """Of 559 cells: 86 % of the non-zero genes have a random bin, mean width 15.6, and a count of 1
    is anything from 1 to 17-34. Of these 391: 88 %, 17.2, and 19-35 (5th to 95th percentile)."""
    data = shared / "data" / "single_cell"
    cells = read_cells(data / "immune_sample_raw.h5ad")
    vocabulary = BinVocabulary.load(data / "scgpt_census_vocab.tsv.gz")
    known = vocabulary.tokens_of(cells.genes) >= 0
    counts = sp.csr_matrix(cells.counts[:, known])
    counts.sort_indices()
    places = edges_between(counts, 51)
    random = places.width > 1
    assert abs(random.mean() - 0.86) < 0.03 and abs(places.width.mean() - 15.6) < 2
    ones = places.left[counts.data == 1]
    assert np.quantile(ones, 0.05) > 12 and np.quantile(ones, 0.95) < 40
