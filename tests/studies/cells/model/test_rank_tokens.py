"""Rank-value encoding against a loop over cells and genes, Geneformer's own tokenizer (fixtures) and
what the design measured on real cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_door_toy import ENSEMBL, SYMBOLS, cells_of, toy_counts, vocabularies

from petriscope.run.fixtures import read_fixture
from petriscope.studies.cells.data.cells import Cells, read_cells
from petriscope.studies.cells.data.vocabulary import RankVocabulary
from petriscope.studies.cells.model.rank_tokens import rank_tokens
from petriscope.studies.cells.model.tokens import CellTokens, row_chunks
from petriscope.studies.cells.parity import tokenizers


def naive(cells: Cells, vocabulary: RankVocabulary, size: int) -> list[list[tuple[int, float]]]:
    """Token and value of the genes of each cell, one gene at a time."""
    median = dict(zip(vocabulary.token.tolist(), vocabulary.median.tolist()))
    found = []
    for row, total in zip(cells.counts.toarray(), cells.obs.n_counts):
        summed: dict[int, int] = {}
        for name, count in zip(cells.genes.name, row):
            place = vocabulary.mapping.get(name.upper())
            if place is not None and count:
                token = int(vocabulary.token[place])
                summed[token] = summed.get(token, 0) + int(count)
        value = {token: n / total * 10_000 / median[token] for token, n in summed.items()}
        ranked = sorted(value.items(), key=lambda pair: (-pair[1], pair[0]))
        found.append(ranked[: size - 2])
    return found


def cell_lists(tokens: CellTokens) -> list[list[int]]:
    return [tokens.ids[tokens.of(i)].tolist() for i in range(len(tokens))]


@pytest.mark.parametrize("size", [4096, 20])
def test_many_cells_are_ranked_as_one_by_one(tmp_path: Path, size: int) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    names = [*SYMBOLS[:60], *[f"old{i}" for i in range(0, 10)], *["X"] * 4, *ENSEMBL[70:76]]
    cells = cells_of(toy_counts(), names)
    found, wanted = rank_tokens(cells, vocabulary, size), naive(cells, vocabulary, size)
    assert cell_lists(found) == [[2, *(t for t, _ in cell), 3] for cell in wanted]
    values = [v for cell in wanted for v in (0, *(value for _, value in cell), 0)]
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    assert (found.gene >= 0).sum() == len(found.ids) - 2 * len(cells)
    # the gene of a token is the first that has it
    first = {}
    for i, name in enumerate(names):
        row = vocabulary.mapping.get(name.upper())
        if row is not None:
            first.setdefault(int(vocabulary.token[row]), i)
    genes = found.gene >= 0
    assert found.gene[genes].tolist() == [first[t] for t in found.ids[genes].tolist()]
    assert found.ids.dtype == np.int32 and found.offsets[-1] == len(found.ids)


def test_the_order_of_columns_does_not_matter_even_where_values_tie(tmp_path: Path) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    flat = dataclasses.replace(vocabulary, median=np.ones(len(vocabulary.token)))
    counts = toy_counts().minimum(3).tocsc()
    order = np.random.default_rng(3).permutation(counts.shape[1])
    one = rank_tokens(cells_of(counts), flat, 30)
    two = rank_tokens(cells_of(counts[:, order], [SYMBOLS[i] for i in order]), flat, 30)
    np.testing.assert_array_equal(one.ids, two.ids)


def test_n_counts_scale_values_and_leave_ranks(tmp_path: Path) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    cells = cells_of(toy_counts())
    more = dataclasses.replace(cells, obs=cells.obs.assign(n_counts=cells.obs.n_counts * 3))
    one, three = (rank_tokens(c, vocabulary, 50) for c in (cells, more))
    np.testing.assert_array_equal(one.ids, three.ids)
    np.testing.assert_allclose(one.values, three.values * 3, rtol=1e-6)


def test_the_first_series_of_models_has_no_special_tokens(tmp_path: Path) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    bare = dataclasses.replace(vocabulary, cls=None, eos=None)
    cells = cells_of(toy_counts())
    with_, without = rank_tokens(cells, vocabulary, 32), rank_tokens(cells, bare, 30)
    assert [cell[1:-1] for cell in cell_lists(with_)] == cell_lists(without)
    assert with_.lengths.max() == 32 and without.lengths.max() == 30


def test_published_input_is_log1p_over_the_median_by_symbol_alone(tmp_path: Path) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    names = [*SYMBOLS[:40], *[f"OLD{i}" for i in range(40, 60)], *ENSEMBL[60:]]
    cells = cells_of(toy_counts(), names)
    found = rank_tokens(cells, vocabulary, 4096, published=True)
    for i in range(len(cells)):
        row = cells.counts[i].toarray().ravel()[:40]
        token = [int(vocabulary.token[vocabulary.mapping[name]]) for name in names[:40]]
        median = np.array([vocabulary.median[vocabulary.mapping[name]] for name in names[:40]])
        value = np.log1p(row.astype(np.float32) / np.float32(cells.obs.n_counts[i]) * 1e4) / median
        wanted = [token[j] for j in np.argsort(-value, kind="stable") if row[j]]
        assert found.ids[found.of(i)].tolist() == [2, *wanted, 3]
    right = rank_tokens(cells_of(toy_counts()), vocabulary, 4096)
    wrong = rank_tokens(cells_of(toy_counts()), vocabulary, 4096, published=True)
    assert cell_lists(right) != cell_lists(wrong)


def test_published_input_is_cut_at_2048(tmp_path: Path) -> None:
    lines = ["token\tensembl_id\tmedian\tsymbols", "0\t<pad>\t\t", "1\t<mask>\t\t", "2\t<cls>\t\t"]
    lines += ["3\t<eos>\t\t", *(f"{i + 4}\tENSG{i:011d}\t1.5\tG{i}" for i in range(3000))]
    (tmp_path / "t.tsv").write_text("\n".join(lines) + "\n")
    vocabulary = RankVocabulary.load(tmp_path / "t.tsv")
    counts = sp.csr_matrix(np.random.default_rng(0).integers(1, 90, (2, 3000)))
    cells = cells_of(counts, [f"G{i}" for i in range(3000)])
    assert rank_tokens(cells, vocabulary, 4096).lengths.tolist() == [3002, 3002]
    assert rank_tokens(cells, vocabulary, 4096, published=True).lengths.tolist() == [2048, 2048]


def test_empty_cells_have_special_tokens_alone(tmp_path: Path) -> None:
    vocabulary = vocabularies(tmp_path).geneformer
    assert vocabulary is not None
    counts = toy_counts().tolil()
    counts[3], counts[29] = 0, 0
    found = rank_tokens(cells_of(counts), vocabulary, 4096)
    assert found.lengths[[3, 29]].tolist() == [2, 2] and found.ids[found.of(3)].tolist() == [2, 3]


def test_chunks_cover_all_rows() -> None:
    indptr = np.cumsum([0, 5, 0, 0, 30, 2, 2, 2, 0])
    assert row_chunks(indptr, 6) == [(0, 3), (3, 4), (4, 8)]
    assert row_chunks(np.zeros(1, int)) == [] and row_chunks(np.zeros(4, int)) == [(0, 3)]


def test_the_fixtures_agree_and_damaged_ones_do_not(shared: Path) -> None:
    folder = shared / "golden" / "single_cell"
    path = folder / "geneformer_tokenizer_cases.json"
    entries = read_fixture(path)
    assert all(row.error == 0 for row in tokenizers.compare_cases(path, entries))
    tokens = entries["collapse"]["tokens"][0]
    tokens[5], tokens[6] = tokens[6], tokens[5]
    wrong = {row.array for row in tokenizers.compare_cases(path, entries) if row.error}
    assert wrong == {"collapse"}
    path = folder / "tokenizers_real.npz"
    entries = read_fixture(path)
    entries["n_counts"] = entries["n_counts"] * 2  # ranks do not move
    entries["geneformer_ids_512"][40] += 1
    wrong = {r.array for r in tokenizers.compare_ranks(path, entries) if r.error > r.allowed}
    assert wrong == {"geneformer_ids_512"}


def test_the_fixture_by_the_function_that_runs(shared: Path) -> None:
    """`rank_tokens` itself, on the fixture's cells: the same tokens but for the order of ties."""
    path = shared / "golden" / "single_cell" / "tokenizers_real.npz"
    entries = read_fixture(path)
    vocabulary = tokenizers.rank_vocabulary(path)
    counts = sp.csr_matrix(
        tuple(entries[f"counts_{part}"] for part in ("data", "indices", "indptr")),
        shape=(len(entries["cells"]), len(entries["genes"])),
    )
    cells = cells_of(counts, [str(name) for name in entries["genes"]])
    for size in (4096, 512):
        found = rank_tokens(cells, vocabulary, size)
        np.testing.assert_array_equal(found.ids, entries[f"geneformer_ids_{size}"])
        np.testing.assert_array_equal(found.lengths, entries[f"geneformer_len_{size}"])


def test_the_real_sample_is_as_long_as_the_design_says(shared: Path) -> None:
    """Of 559 cells, of which these are 391: 1,776 genes on average, 35 % more than 2,046, 8 % more
    than 4,094; the published dictionary knows 17,723 of 32,786 symbols, the aliases 18,959."""
    data = shared / "data" / "single_cell"
    vocabulary = tokenizers.rank_vocabulary(data / "immune_sample_raw.h5ad")
    cells = read_cells(data / "immune_sample_raw.h5ad")
    found = rank_tokens(cells, vocabulary, 65_536)
    genes = found.lengths - 2
    assert abs(genes.mean() - 1776) < 60
    assert abs((genes > 2046).mean() - 0.35) < 0.03 and abs((genes > 4094).mean() - 0.08) < 0.02
    whole = pd.DataFrame({"name": _names(data), "ensembl": "", "symbol": ""}, dtype=object)
    assert (vocabulary.published_rows_of(whole) >= 0).sum() == 17_723
    assert (vocabulary.rows_of(whole) >= 0).sum() == 18_959
    tied = vocabulary.median[np.isclose(vocabulary.median, 1.10597, atol=1e-5)]
    assert len(vocabulary.median) == 20_271 and abs(np.median(vocabulary.median) - 1.40) < 0.005
    assert len(tied) == 72 and (vocabulary.median < 7.2e-7).sum() == 10


def _names(data: Path) -> list[str]:
    import h5py

    with h5py.File(data / "immune_sample_raw.h5ad") as file:
        var = file["var"]
        return [name.decode() for name in var[var.attrs["_index"]][:]]
