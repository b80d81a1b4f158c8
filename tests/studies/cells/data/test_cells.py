"""The door against files that anndata, h5py and scipy wrote: what is read equals what was put in,
and one file per row of what must be refused."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_door_toy import ENSEMBL, SYMBOLS, G, toy_counts, vocabularies, write_h5ad
from scipy.io import mmwrite

from petriscope.errors import UserError
from petriscope.studies.cells.data import containers
from petriscope.studies.cells.data.cells import Cells, read_cells
from petriscope.studies.cells.data.vocabulary import (
    BinVocabulary,
    RankVocabulary,
    Vocabularies,
)


def same(cells: Cells, counts: Any, names: list[str] = SYMBOLS) -> None:
    dense = np.asarray(sp.csr_matrix(counts).todense())
    kept = dense.sum(0) > 0
    np.testing.assert_array_equal(cells.counts.toarray(), dense[:, kept])
    assert cells.counts.dtype == np.int32 and cells.counts.has_sorted_indices
    assert cells.genes.name.tolist() == [name for name, k in zip(names, kept) if k]
    np.testing.assert_array_equal(cells.obs.n_counts, dense.sum(1))
    np.testing.assert_array_equal(cells.obs.n_genes, (dense > 0).sum(1))


FORMS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "dense": lambda x: np.asarray(x.todense()),
    "int64": lambda x: x.astype(np.int64),
}


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_whole_and_in_small_blocks(
    tmp_path: Path, form: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = toy_counts()
    path = write_h5ad(tmp_path / f"a{suffix}", FORMS[form](counts))
    same(read_cells(path, min_genes=1), counts)
    monkeypatch.setattr(containers, "BLOCK", 150)
    same(read_cells(path, min_genes=1), counts)


def test_layers_and_raw(tmp_path: Path) -> None:
    counts = toy_counts()
    logged = np.log1p(counts)
    path = write_h5ad(tmp_path / "a.h5ad", logged, layers={"counts": counts})
    same(read_cells(path, layer="layers/counts", min_genes=1), counts)
    path = write_h5ad(tmp_path / "b.h5ad", logged[:, :20], raw=(counts, SYMBOLS))
    found = read_cells(path, layer="raw.X", min_genes=1)
    same(found, counts)
    assert any("raw has 80 genes and X 20" in note for note in found.notes)
    for layer, told in (("counts", "Did you mean layers/counts"), ("layer", "Layers of the file")):
        with pytest.raises(UserError, match=told):
            read_cells(tmp_path / "a.h5ad", layer=layer, min_genes=1)


def test_ten_x_files(tmp_path: Path) -> None:
    counts = toy_counts()
    both = sp.hstack([counts, sp.csr_matrix(np.full((30, 2), 7.0))]).tocsr()
    ids, names = [*ENSEMBL, "CD3", "CD4"], [*SYMBOLS, "CD3", "CD4"]
    kinds = ["Gene Expression"] * G + ["Antibody Capture"] * 2
    with h5py.File(tmp_path / "v3.h5", "w") as file:
        group = file.create_group("matrix")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(both, part).astype(np.int32)
        group["shape"], group["barcodes"] = both.shape[::-1], [f"c{i}-1" for i in range(30)]
        for name, values in (("id", ids), ("name", names), ("feature_type", kinds)):
            group[f"features/{name}"] = values
    found = read_cells(tmp_path / "v3.h5", min_genes=1)
    same(found, counts)
    assert found.genes.ensembl.isin(ENSEMBL).all() and found.obs.cell[3] == "c3-1"
    assert "2 features that are no genes" in found.notes[0]
    with h5py.File(tmp_path / "v2.h5", "w") as file:
        group = file.create_group("GRCh38")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(counts, part).astype(np.int32)
        group["shape"], group["barcodes"] = counts.shape[::-1], [f"c{i}" for i in range(30)]
        group["genes"], group["gene_names"] = ENSEMBL, SYMBOLS
    same(read_cells(tmp_path / "v2.h5", min_genes=1), counts)
    for packed in (False, True):
        folder = tmp_path / f"mtx{packed}"
        folder.mkdir()
        mmwrite(folder / "matrix.mtx", both.T.astype(np.int32))
        rows = ["\t".join(row) for row in zip(ids, names, kinds)]
        (folder / "features.tsv").write_text("\n".join(rows) + "\n")
        (folder / "barcodes.tsv").write_text("\n".join(f"c{i}" for i in range(30)) + "\n")
        if packed:
            for file in list(folder.iterdir()):
                with gzip.open(f"{file}.gz", "wb") as out:
                    out.write(file.read_bytes())
                file.unlink()
        same(read_cells(folder, min_genes=1), counts)
    (folder / "barcodes.tsv.gz").unlink()
    with pytest.raises(UserError, match=r"holds no barcodes\.tsv"):
        read_cells(folder)


def test_genes_by_symbol_by_ensembl_and_with_both(tmp_path: Path) -> None:
    known, counts = vocabularies(tmp_path), toy_counts()
    by_symbol = write_h5ad(tmp_path / "s.h5ad", counts)
    by_id = write_h5ad(tmp_path / "e.h5ad", counts, ENSEMBL)
    both = write_h5ad(tmp_path / "b.h5ad", counts, var={"gene_ids": ENSEMBL})
    other = write_h5ad(tmp_path / "o.h5ad", counts, ENSEMBL, var={"feature_name": SYMBOLS})
    found = [
        read_cells(p, min_genes=1, vocabularies=known) for p in (by_symbol, by_id, both, other)
    ]
    for cells in found:
        assert (cells.genes.ensembl == found[0].genes.ensembl).all()
        assert (cells.genes.symbol == found[0].genes.symbol).all()
        assert cells.genes.symbol.tolist() == [s for s in SYMBOLS if s in set(cells.genes.symbol)]
    rows = found[2].gene_rows()
    assert (
        rows["GENE3"] == rows[ENSEMBL[3]] == found[2].genes.index[found[2].genes.name == "GENE3"][0]
    )
    with pytest.raises(UserError, match="Set `ids: ensembl`"):
        read_cells(by_id, ids="symbol", min_genes=1)
    with pytest.raises(UserError, match=r"are no Ensembl ids \(GENE0, GENE1, GENE2\).*ids: symbol"):
        read_cells(by_symbol, ids="ensembl", min_genes=1)
    with pytest.raises(UserError, match=r"ids: is 'ensemble'\. Did you mean ensembl"):
        read_cells(by_id, ids="ensemble", min_genes=1)


def test_without_a_vocabulary_of_ranks_ensembl_ids_have_no_symbol(tmp_path: Path) -> None:
    known = vocabularies(tmp_path)
    path = write_h5ad(tmp_path / "e.h5ad", toy_counts(), ENSEMBL)
    with pytest.raises(UserError, match="scGPT reads symbols"):
        read_cells(path, min_genes=1, vocabularies=Vocabularies(None, known.scgpt))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([f"ENSMUSG{i:011d}" for i in range(G)], "They are mouse genes"),
        ([f"Abc{i}" for i in range(G)], "look like mouse symbols"),
        ([f"{name}.7" for name in ENSEMBL], r"Remove the version suffix \(ENSG00000000100.7 is EN"),
        ([f"ENSG{i:011d}" for i in range(900, 900 + G)], "of another species or release"),
        ([f"x{i}_y" for i in range(G)], "Give human gene symbols or Ensembl ids"),
    ],
)
def test_unknown_genes_are_refused_with_what_they_are(
    tmp_path: Path, names: list[str], told: str
) -> None:
    known = vocabularies(tmp_path)
    path = write_h5ad(tmp_path / "a.h5ad", toy_counts(), names)
    with pytest.raises(UserError, match=told) as refused:
        read_cells(path, min_genes=1, vocabularies=known)
    line = str(refused.value)
    assert line.startswith(f"{path}: var names: 100% of the counts") and "\n" not in line
    assert ", ".join(names[:5]) in line and "geneformer" in line


def test_a_part_that_no_vocabulary_has_is_a_note(tmp_path: Path) -> None:
    known, counts = vocabularies(tmp_path), toy_counts()
    names = [f"RP-{i}" if i % 9 == 0 else name for i, name in enumerate(SYMBOLS)]
    found = read_cells(
        write_h5ad(tmp_path / "a.h5ad", counts, names), vocabularies=known, min_genes=1
    )
    share = counts[:, ::9].sum() / counts.sum()
    assert f"{share:.1%} of the counts lie on 9 of 80 genes" in found.notes[0]


def changed(**at: Any) -> sp.csr_matrix:
    counts = toy_counts().tolil()
    for key, value in at.items():
        row, column = (int(part) for part in key[1:].split("_"))
        counts[row, column] = value
    return counts.tocsr()


def scaled(counts: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix(counts.multiply(1e4 / counts.sum(1)))


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (np.log1p(scaled(toy_counts())) / 9, "log-normalized values, not counts"),
        (scaled(toy_counts()), "values that are not whole numbers .* in cell cell0, gene GENE"),
        (sp.csr_matrix(toy_counts().todense() - 3.5), "negative values .*scaled or centered"),
        (-toy_counts(), r"negative values \(-\d+ in cell cell0"),
        (changed(a4_7=np.nan), "holds nan in cell cell4, gene GENE7"),
        (changed(a4_7=np.inf), "holds inf in cell cell4, gene GENE7"),
        (changed(a4_7=3e9), r"holds 3e\+09 in cell cell4, gene GENE7, more than 2,147,483,647"),
        (changed(a4_7=3.25), "not whole numbers \\(3.25 in cell cell4, gene GENE7\\)"),
        (np.round(scaled(toy_counts())), "sums to the same in each cell .*counts-are-fine"),
        (toy_counts().minimum(50), "holds nothing above 50: expression in bins"),
    ],
)
def test_what_is_no_counts_is_refused(tmp_path: Path, counts: Any, told: str) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", sp.csr_matrix(counts))
    with pytest.raises(UserError, match=told) as refused:
        read_cells(path, min_genes=1)
    assert str(refused.value).startswith(f"{path}: X: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_wrong_value_is_named_in_any_block(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = -5 if form == "int64" else 3.25
    path = write_h5ad(tmp_path / "a.h5ad", FORMS[form](changed(a24_67=wrong)))
    monkeypatch.setattr(containers, "BLOCK", 300)
    with pytest.raises(UserError, match=f"{wrong:g} in cell cell24, gene GENE67"):
        read_cells(path, min_genes=1)


def test_where_the_counts_are_is_said(tmp_path: Path) -> None:
    counts = toy_counts()
    logged = np.log1p(scaled(counts))
    path = write_h5ad(tmp_path / "a.h5ad", logged, layers={"umi": counts, "scaled": logged})
    with pytest.raises(UserError, match="layers/umi holds whole numbers: set `layer: layers/umi`"):
        read_cells(path, min_genes=1)
    path = write_h5ad(tmp_path / "b.h5ad", logged, raw=(counts, SYMBOLS))
    with pytest.raises(UserError, match=r"raw\.X holds whole numbers: set `layer: raw.X`"):
        read_cells(path, min_genes=1)
    path = write_h5ad(tmp_path / "c.h5ad", logged)
    with pytest.raises(UserError, match="No layer of the file holds whole numbers"):
        read_cells(path, min_genes=1)


def test_whole_numbers_that_look_wrong_are_taken_where_the_user_says_so(tmp_path: Path) -> None:
    shallow, equal = toy_counts().minimum(50), np.round(scaled(toy_counts()))
    for counts in (shallow, equal):
        path = write_h5ad(tmp_path / "a.h5ad", sp.csr_matrix(counts))
        same(read_cells(path, min_genes=1, counts_are_fine=True), counts)
    # a single cell sums to the same as itself
    deep = toy_counts()[toy_counts().max(1).toarray().ravel().argmax()]
    same(read_cells(write_h5ad(tmp_path / "b.h5ad", deep), min_genes=1), deep)


def test_genes_that_occur_twice_are_summed(tmp_path: Path) -> None:
    counts, known = toy_counts(), vocabularies(tmp_path)
    names = [*SYMBOLS[:-2], "GENE0", "GENE0"]
    path = tmp_path / "a.h5ad"
    with pytest.warns(UserWarning):
        write_h5ad(path, counts, names)
    found = read_cells(path, min_genes=1, vocabularies=known)
    dense = np.asarray(counts.todense())
    summed = dense[:, :-2].copy()
    summed[:, 0] += dense[:, -2] + dense[:, -1]
    same(found, summed, SYMBOLS[:-2])
    assert any("1 genes occur twice or more (GENE0)" in note for note in found.notes)
    # one name, two ids: two genes; one id, two names: one gene
    ids = [*ENSEMBL[:-2], ENSEMBL[5], ENSEMBL[-1]]
    with pytest.warns(UserWarning):
        write_h5ad(path, counts, [*SYMBOLS[:-1], "GENE1"], var={"gene_ids": ids})
    found = read_cells(path, min_genes=1, vocabularies=known)
    assert found.genes.name.is_unique and found.genes.ensembl.is_unique
    row = found.genes.index[found.genes.ensembl == ENSEMBL[5]][0]
    np.testing.assert_array_equal(
        found.counts[:, row].toarray().ravel(), dense[:, 5] + dense[:, -2]
    )
    assert (found.genes.ensembl == ENSEMBL[-1]).sum() == 1


def test_poor_cells_and_unseen_genes_are_dropped_with_a_count(tmp_path: Path) -> None:
    dense = np.asarray(toy_counts().todense())
    dense[:3], dense[3:7, 10:], dense[:, 40] = 0, 0, 0
    path = write_h5ad(tmp_path / "a.h5ad", sp.csr_matrix(dense))
    found = read_cells(path, min_genes=30)
    kept = (dense > 0).sum(1) >= 30
    same(found, dense[kept])
    assert found.obs.cell.tolist() == [f"cell{i}" for i in np.flatnonzero(kept)]
    few = int((~kept).sum()) - 3
    assert {"3 empty cells dropped", f"{few} cells with fewer than 30 genes dropped"} <= set(
        found.notes
    )
    assert any("genes dropped that no cell has" in note for note in found.notes)
    with pytest.raises(
        UserError, match=r"min_genes: is 200, and no cell has that many genes \(the r"
    ):
        read_cells(path)


def test_n_counts_are_over_all_genes_of_the_file(tmp_path: Path) -> None:
    known, counts = vocabularies(tmp_path), toy_counts()
    names = [f"RP-{i}" if i % 9 == 0 else name for i, name in enumerate(SYMBOLS)]
    found = read_cells(
        write_h5ad(tmp_path / "a.h5ad", counts, names), vocabularies=known, min_genes=1
    )
    np.testing.assert_array_equal(found.obs.n_counts, np.asarray(counts.sum(1)).ravel())


def test_columns_of_obs_are_text_or_refused_with_those_that_are_there(tmp_path: Path) -> None:
    obs = {
        "donor": pd.Categorical([101] * 15 + [107] * 15),
        "kind": ["T", ""] * 15,
        "lane": [1.0, np.nan] * 15,
        "none": [np.nan] * 30,
    }
    path = write_h5ad(tmp_path / "a.h5ad", toy_counts(), obs=obs)
    columns = {"donor": "donor", "cell_type": "kind", "batch": "lane"}
    found = read_cells(path, min_genes=1, columns=columns).obs
    assert found.donor.unique().tolist() == ["101", "107"]
    assert found.cell_type.tolist() == ["T", None] * 15 and found.batch.tolist() == ["1", None] * 15
    for wrong, told in (
        (
            {"donor": "donors"},
            "columns.donor: names 'donors', which obs does not have. Did you mean d",
        ),
        ({"tissue": "organ"}, "Columns of obs: donor, kind, lane, none"),
        ({"doner": "donor"}, "columns: is 'doner'. Did you mean donor"),
        ({"donor": "none"}, "empty in every cell"),
    ):
        with pytest.raises(UserError, match=told):
            read_cells(path, min_genes=1, columns=wrong)


def test_barcodes_that_occur_again_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    write_h5ad(path, toy_counts())
    found = anndata.read_h5ad(path)
    found.obs_names = ["a", "a", "a", *[f"c{i}" for i in range(27)]]
    found.write_h5ad(path)
    cells = read_cells(path, min_genes=1)
    assert cells.obs.cell[:3].tolist() == ["a", "a#2", "a#3"] and "2 barcodes" in cells.notes[0]


def test_perturbed_cells_need_controls_and_ten_of_a_target(tmp_path: Path) -> None:
    target = ["non-targeting"] * 8 + ["STAT1"] * 10 + ["IRF1"] * 9 + ["MYC"] * 3
    path = write_h5ad(tmp_path / "a.h5ad", toy_counts(), obs={"target": target})
    read = {"min_genes": 1, "columns": {"target": "target"}}
    found = read_cells(path, control="non-targeting", **read)
    assert found.obs.target.value_counts().to_dict() == {"STAT1": 10, "non-targeting": 8}
    assert "2 targets of fewer than 10 cells dropped with 12 cells: IRF1, MYC" in found.notes
    for control, told in (
        (
            None,
            "control: is missing. Name the target of .* Targets: STAT1, IRF1, non-targeting, MYC",
        ),
        ("nontargeting", "is 'nontargeting', the target of no cell. Did you mean non-targeting"),
    ):
        with pytest.raises(UserError, match=told):
            read_cells(path, control=control, **read)
    with pytest.raises(UserError, match="is given without a column of targets"):
        read_cells(path, control="non-targeting", min_genes=1)


def test_files_that_are_no_cells_are_refused(tmp_path: Path) -> None:
    whole = write_h5ad(tmp_path / "whole.h5ad", toy_counts()).read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5ad").write_text("gene,cell\n")
    (tmp_path / "a.csv").write_text("gene,cell\n")
    (tmp_path / "empty").mkdir()
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["x"] = [1, 2]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    shutil.copy(tmp_path / "whole.h5ad", tmp_path / "short.h5ad")
    with h5py.File(tmp_path / "short.h5ad", "r+") as file:
        kept = file["X/indptr"][:-3]
        del file["X/indptr"]
        file["X/indptr"] = kept
    for name, told in (
        ("cut.h5ad", "cannot be opened as HDF5"),
        ("text.h5ad", "cannot be opened as HDF5"),
        ("a.csv", "is of no known kind. Give .h5ad, .zarr"),
        ("empty", "holds no matrix.mtx"),
        ("other.h5ad", "has no obs: is no file of anndata"),
        ("other.h5", "is no HDF5 file of 10x"),
        ("short.h5ad", "X: is damaged"),
        ("nowhere.h5ad", "does not exist"),
    ):
        with pytest.raises(UserError, match=told) as refused:
            read_cells(tmp_path / name)
        assert str(tmp_path / name) in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def known(shared: Path) -> Vocabularies:
    data = shared / "data" / "single_cell"
    rank = RankVocabulary.load(
        data / "geneformer_gc104M_tokens.tsv.gz", data / "geneformer_gc104M_aliases.tsv.gz"
    )
    return Vocabularies(rank, BinVocabulary.load(data / "scgpt_census_vocab.tsv.gz"))


def test_the_real_sample_passes_in_every_form(
    shared: Path, tmp_path: Path, known: Vocabularies
) -> None:
    source = shared / "data" / "single_cell" / "immune_sample_raw.h5ad"
    whole = anndata.read_h5ad(source)
    some = whole[:40].copy()
    counts = sp.csr_matrix(some.X)
    names = some.var_names.tolist()
    first = read_cells(write_h5ad(tmp_path / "a.h5ad", counts, names), vocabularies=known)
    logged = np.log1p(counts)
    ids = known.geneformer.rows_of(pd.DataFrame({"name": names, "ensembl": ""}, dtype=object))
    ensembl = [known.geneformer.ensembl[i] if i >= 0 else f"NONE{n}" for n, i in enumerate(ids)]
    pairs = pd.Series(ensembl)
    kept = (~pairs.duplicated(keep=False)).to_numpy()  # two symbols of one gene
    forms = {
        "raw": ({"raw": (counts, names)}, logged, names, {"layer": "raw.X"}),
        "layer": ({"layers": {"counts": counts}}, logged, names, {"layer": "layers/counts"}),
        "csc": ({}, counts.tocsc(), names, {}),
        "dense": ({}, np.asarray(counts.todense()), names, {}),
    }
    for extra, matrix, genes, read in forms.values():
        path = write_h5ad(tmp_path / "b.h5ad", matrix, genes, **extra)
        found = read_cells(path, vocabularies=known, **read)
        assert (found.counts != first.counts).nnz == 0 and found.genes.equals(first.genes)
    path = write_h5ad(tmp_path / "c.h5ad", counts[:, kept], list(pairs[kept]))
    found = read_cells(path, vocabularies=known)
    mapped = found.genes.ensembl.str.startswith("ENSG")
    by_id = pd.Series(np.asarray(found.counts.sum(0)).ravel(), found.genes.ensembl)[
        mapped.to_numpy()
    ]
    theirs = pd.Series(np.asarray(first.counts.sum(0)).ravel(), first.genes.ensembl)
    assert (theirs.loc[by_id.index] == by_id).all()


def test_the_real_data_sets_pass_the_door(shared: Path, known: Vocabularies) -> None:
    data = shared / "data" / "single_cell"
    columns = {"donor": "donor", "cell_type": "cell_type", "condition": "condition"}
    kang = read_cells(data / "kang_donors.h5ad", columns=columns, min_genes=150, vocabularies=known)
    assert len(kang) == 1090 and set(kang.obs.donor) == {"101", "107"}
    with pytest.raises(UserError, match=r"layers/logcounts: holds log-norm.*X holds whole numbers"):
        read_cells(data / "kang_donors.h5ad", layer="layers/logcounts")
    papalexi = read_cells(
        data / "papalexi_lowmoi.h5ad",
        columns={"target": "target", "batch": "replicate"},
        control="non-targeting",
        min_genes=10,
        vocabularies=known,
    )
    assert len(papalexi) == 15429 and papalexi.obs.target.nunique() == 26
    immune = read_cells(data / "immune_sample_raw.h5ad", vocabularies=known)
    assert len(immune) == 391 and immune.counts.sum() == immune.obs.n_counts.sum()
    assert immune.notes[0].startswith("10.3% of the counts lie on")  # the design measured 10 %
