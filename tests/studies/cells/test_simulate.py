"""The planted world of cells is what its truth says: held against the written files alone, read by
AnnData and pandas, with scipy's tests; formats against the real files where they are there."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from petriscope.enrich.genesets import read_gmt
from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.studies import find_study
from petriscope.run.workspace import template
from petriscope.studies.cells.data import demo
from petriscope.studies.cells.data.simulate import simulate_demo
from petriscope.studies.cells.tiny import TINY_DATA, TINY_PARAMS

SMALL = {"cells": 1500, "controls": 300, "per_target": 80, "second": 500}


class Read(NamedTuple):
    """A world, read from its files."""

    folder: Path
    obs: pd.DataFrame
    counts: pd.DataFrame
    logged: pd.DataFrame
    """log of one and the counts per ten thousand"""
    truth: dict[str, Any]

    def atlas(self) -> pd.Series:
        return self.obs.target.isna() & (self.obs.tissue == "marrow")

    def tfs(self, kind: str) -> dict[str, list[str]]:
        found = {tf: one["targets"] for tf, one in self.truth["tfs"].items() if one["kind"] == kind}
        assert found
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Read]:
    """A world, made once for each set of arguments."""

    @cache
    def make(**more: Any) -> Read:
        folder = tmp_path_factory.mktemp("world") / "w"
        simulate_demo(folder, **{**SMALL, **more})
        found = anndata.read_h5ad(folder / "cells.h5ad")
        counts = found.to_df()
        logged = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        return Read(folder, found.obs, counts, logged, truth)

    return make


def moved(read: Read, tf: str, genes: list[str]) -> np.ndarray:
    """Welch's t of each gene, cells with ``tf`` knocked down against the screen's controls."""
    down, up = (read.logged[read.obs.target == name] for name in (tf, "non-targeting"))
    return stats.ttest_ind(down[genes], up[genes], equal_var=False).statistic


def related(read: Read, tf: str, genes: list[str]) -> np.ndarray:
    """Spearman correlation of a TF with each gene over the cells that nobody touched."""
    cells = read.logged[read.atlas()]
    return np.array([stats.spearmanr(cells[tf], cells[gene]).statistic for gene in genes])


def within(cells: pd.DataFrame, genes: list[str]) -> float:
    """Mean correlation of the pairs of some genes."""
    return np.corrcoef(cells[genes].to_numpy().T)[np.triu_indices(len(genes), 1)].mean()


def test_the_same_arguments_give_the_same_bytes_on_another_processor(tmp_path: Path) -> None:
    small = {"cells": 300, "per_target": 5, "controls": 20, "second": 50}
    for name, seed in (("a", 1), ("c", 2)):
        simulate_demo(tmp_path / name, seed=seed, **small)
    code = f"""
from petriscope.studies.cells.data.simulate import simulate_demo
simulate_demo({str(tmp_path / "b")!r}, seed=1, **{small!r})
"""
    features = np._core._multiarray_umath.__cpu_dispatch__
    older = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(features),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-FMA",
        "PYTHONWARNINGS": "ignore",
    }
    for more in (older, {}):
        if (tmp_path / "b").exists():
            assert sha256(tmp_path / "b") == sha256(tmp_path / "a")
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **more}, check=True)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_anndata_reads_counts_and_names(world: Callable[..., Read]) -> None:
    folder = world().folder
    found = anndata.read_h5ad(folder / "cells.h5ad")
    assert found.X.format == "csr" and found.X.dtype == np.int32 and found.X.has_sorted_indices
    assert found.shape == (1500 + 300 + 24 * 80 + 500, 250)
    assert list(found.obs) == ["donor", "cell_type", "target", "batch", "tissue"]
    assert all(isinstance(kind, pd.CategoricalDtype) for kind in found.obs.dtypes)
    assert found.obs.target.isna().sum() == 1500 + 500
    assert found.obs_names.is_unique and found.var_names.is_unique
    assert found.var.ensembl_id.str.fullmatch(r"ENSG\d{11}").all()
    assert found.obs.nunique().to_dict() == {
        **{"donor": 12, "cell_type": 12, "target": 25, "batch": 2, "tissue": 2}
    }
    backed = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    assert (backed.X[:5].toarray() == found.X[:5].toarray()).all()
    backed.file.close()


def test_a_small_model_can_read_a_cell(world: Callable[..., Read]) -> None:
    read = world()
    detected = (read.counts > 0).sum(axis=1)
    assert 90 < detected.median() < 130
    assert (detected >= 50).all()  # as params.yaml asks
    assert abs(read.counts.sum(axis=1).median() / 600 - 1) < 0.05
    hard = world(difficulty="hard")
    assert abs(hard.counts.sum(axis=1).median() / 200 - 1) < 0.05
    encoded = [
        np.mean([moved(one, tf, genes).mean() for tf, genes in one.tfs("encoded").items()])
        for one in (read, hard)
    ]
    assert encoded[0] < encoded[1] < -3  # weaker, and still to be seen in the data


@pytest.mark.parametrize(
    ("mine", "real"),
    [
        ("tokens.tsv", "geneformer_gc104M_tokens.tsv.gz"),
        ("aliases.tsv", "geneformer_gc104M_aliases.tsv.gz"),
        ("vocabulary.tsv", "scgpt_census_vocab.tsv.gz"),
        ("trrust.tsv", "trrust_v2_human.tsv.gz"),
        ("string.tsv", "string_top10pct_subset.tsv.gz"),
    ],
)
def test_tables_have_the_columns_of_the_real_ones(
    world: Callable[..., Read], shared: Path, mine: str, real: str
) -> None:
    given = {"sep": "\t", "keep_default_na": False}
    found = pd.read_csv(world().folder / mine, **given)
    there = pd.read_csv(shared / "data/single_cell" / real, **given)
    assert list(found) == list(there)
    if "token" in found:  # the special tokens are the first rows
        assert found.iloc[:4].astype(str).equals(there.iloc[:4].astype(str))
    if "mode" in found:
        assert set(found["mode"]) <= set(there["mode"])


def test_vocabularies_know_the_mapped_genes_alone(world: Callable[..., Read]) -> None:
    read = world()
    var = anndata.read_h5ad(read.folder / "cells.h5ad").var
    unmapped = read.truth["genes"]["unmapped"]
    known = var.drop(index=unmapped)
    assert len(unmapped) == 2 and (read.counts[unmapped] > 0).mean().min() > 0.9
    tokens = pd.read_csv(read.folder / "tokens.tsv", sep="\t").iloc[4:].set_index("symbols")
    assert known.ensembl_id.equals(tokens.ensembl_id.reindex(known.index).rename("ensembl_id"))
    assert (tokens.token == np.arange(4, len(tokens) + 4)).all()
    per_cell = read.counts.div(read.counts.sum(axis=1), axis=0) * 1e4
    median = per_cell.where(read.counts > 0).median()
    assert np.allclose(tokens["median"], median[tokens.index], rtol=1e-8)
    symbols = pd.read_csv(read.folder / "vocabulary.tsv", sep="\t")
    assert set(symbols.symbol) == set(known.index) and (symbols.id == symbols.index).all()
    alias = pd.read_csv(read.folder / "aliases.tsv", sep="\t").set_index("alias").ensembl_id
    assert alias[known.index].equals(known.ensembl_id.rename_axis("alias"))
    assert set(alias) == set(known.ensembl_id)


def test_a_knock_down_moves_what_the_truth_says(world: Callable[..., Read]) -> None:
    read = world()
    for kind in ("encoded", "coexpressed", "silent"):
        for tf, targets in read.tfs(kind).items():
            assert len(targets) == 6
            assert moved(read, tf, [tf])[0] < -2.5, (kind, tf)
            t = moved(read, tf, targets)
            others = moved(read, tf, list(read.counts.columns.drop([tf, *targets])))
            assert abs(np.nanmedian(others)) < 1.5
            if kind == "coexpressed":
                assert np.abs(t).max() < 4.5, tf
            else:
                assert t.max() < -5, (kind, tf)
    t = np.concatenate([moved(read, tf, genes) for tf, genes in read.tfs("coexpressed").items()])
    # the targets of a TF share a programme, so that eight means count
    assert stats.ttest_1samp(t.reshape(-1, 6).mean(axis=1), 0).pvalue > 0.01


def test_without_a_knock_down_only_encoded_and_coexpressed_tfs_go_with_their_targets(
    world: Callable[..., Read],
) -> None:
    read = world()
    for kind, low, high in (("encoded", 0.4, 1), ("coexpressed", 0.25, 1), ("silent", -0.2, 0.2)):
        for tf, targets in read.tfs(kind).items():
            rho = related(read, tf, targets)
            assert low < rho.min() and rho.max() < high, (kind, tf, rho)


def test_without_regulation_a_tf_moves_alone(world: Callable[..., Read]) -> None:
    read, true = world(regulation=False), world()
    for kind in ("encoded", "silent"):
        for tf, targets in read.tfs(kind).items():
            assert moved(read, tf, [tf])[0] < -5
            assert np.abs(moved(read, tf, targets)).max() < 4.5
            assert np.abs(related(read, tf, targets)).max() < 0.15
    targets = [gene for one in read.tfs("encoded").values() for gene in one]
    variance = [one.logged[one.atlas()][targets].var().mean() for one in (read, true)]
    assert 0.8 < variance[0] / variance[1] < 1.25  # targets vary as much
    assert not any(one["knock_down_moves_targets"] for one in read.truth["tfs"].values())


def test_programmes_go_together_and_others_do_in_the_second_tissue(
    world: Callable[..., Read],
) -> None:
    read = world()
    marrow, gut = read.logged[read.atlas()], read.logged[read.obs.tissue == "gut"]
    for name, one in read.truth["programmes"].items():
        second = read.truth["second_programmes"][name]
        assert within(marrow, one["genes"]) > 0.3 and within(gut, second) > 0.3, name
        assert within(gut, one["genes"]) < 0.15 and within(marrow, second) < 0.15, name
    alone = world(programmes=False)
    marrow = alone.logged[alone.atlas()]
    for one in alone.truth["programmes"].values():
        assert abs(within(marrow, one["genes"])) < 0.05
    genes = [gene for one in read.truth["programmes"].values() for gene in one["genes"]]
    detected = [(one.counts[one.atlas()][genes] > 0).mean() for one in (read, alone)]
    assert abs(detected[0] - detected[1]).max() < 0.06  # but each as often as before


def test_cell_types_are_their_programmes(world: Callable[..., Read]) -> None:
    read = world()
    truth = read.truth["types"]
    for mine, right in ((read, True), (world(types=False), False)):
        cells = mine.obs[mine.atlas()]
        share = pd.DataFrame(
            {
                name: mine.counts[one["genes"]].sum(axis=1)
                for name, one in mine.truth["programmes"].items()
            }
        ).loc[cells.index]
        share = share.div(share.sum(axis=1), axis=0)
        means = share.groupby(cells.cell_type, observed=True).mean()
        planted = pd.DataFrame({name: truth[name]["programmes"] for name in means.index}).T
        rho = stats.pearsonr(means.to_numpy().ravel(), planted.to_numpy().ravel()).statistic
        # within a donor, whose share of each type is its own
        own = cells.donor == "donor_02"
        parts = [share[own & (cells.cell_type == name)].iloc[:, 0] for name in means.index]
        p = stats.kruskal(*parts).pvalue
        assert (rho > 0.95 and p < 1e-6) if right else (rho < 0.7 and p > 1e-3)
        assert all(one["real"] is right for one in mine.truth["types"].values())


def test_the_donor_gene_marks_a_type_by_cells_and_none_within_donors(
    world: Callable[..., Read],
) -> None:
    read = world()
    (gene,) = read.truth["genes"]["donor"]
    cells = read.obs[read.atlas()]
    on = read.counts.loc[cells.index, gene] > 0
    carrier = cells.donor.isin(read.truth["carriers"])
    assert on[carrier].mean() > 0.95 and on[~carrier].mean() < 0.1 and carrier.any()
    first = cells.cell_type == "marrow type 1"
    assert stats.fisher_exact(pd.crosstab(on, first)).pvalue < 1e-6
    level = read.logged.loc[cells.index, gene][carrier]
    for donor, rows in level.groupby(cells.donor[carrier].astype(str)):
        one, two = rows[first[rows.index]], rows[~first[rows.index]]
        assert stats.mannwhitneyu(one, two).pvalue > 1e-3, donor
    (gene,) = read.truth["genes"]["housekeeping"]
    assert (read.counts[gene] > 0).mean() > 0.99


def test_decoys_are_as_large_as_often_detected_and_know_nothing(
    world: Callable[..., Read],
) -> None:
    read = world()
    detected = (read.counts[read.atlas()] > 0).mean()
    group = {gene: name for name, one in read.truth["programmes"].items() for gene in one["genes"]}
    for kind in ("encoded", "silent"):
        group |= {gene: tf for tf, targets in read.tfs(kind).items() for gene in [tf, *targets]}
    unknown = [one["genes"] for one in read.truth["programmes"].values() if not one["annotated"]]
    novel = {gene for genes in unknown for gene in genes}
    for name, overlap in (("go_bp", 10), ("reactome", 8)):
        terms, sets = read_gmt(read.folder / f"{name}.gmt").sets, read.truth["genesets"][name]
        assert set(terms) == set(sets["true"]) | set(sets["decoys"]) and len(sets["true"]) == 8
        for term, programme in sets["true"].items():
            own = set(read.truth["programmes"][programme]["genes"])
            assert len(own & set(terms[term])) == overlap and len(terms[term]) == 10
            assert not novel & set(terms[term])
        gaps = []
        for decoy, beside in sets["decoys"].items():
            assert len(terms[decoy]) == len(terms[beside])
            groups = [group[gene] for gene in terms[decoy] if gene in group]
            assert len(set(groups)) == len(groups)
            own = read.truth["programmes"][sets["true"][beside]]["genes"]
            gaps.append(detected[list(terms[decoy])].mean() - detected[own].mean())
        assert len(gaps) == 24 and abs(np.mean(gaps)) < 0.03 and np.abs(gaps).max() < 0.12


def test_novel_programmes_are_in_no_term_and_no_network(world: Callable[..., Read]) -> None:
    read = world()
    novel = {n: one["genes"] for n, one in read.truth["programmes"].items() if not one["annotated"]}
    assert len(novel) == 2
    string = pd.read_csv(read.folder / "string.tsv", sep="\t")
    assert (string.gene_a < string.gene_b).all() and not string.duplicated().any()
    for genes in novel.values():
        assert not string.gene_a.isin(genes).any() and not string.gene_b.isin(genes).any()
        for name in ("go_bp", "reactome"):
            for term in read_gmt(read.folder / f"{name}.gmt").sets.values():
                assert len(set(term) & set(genes)) <= 1
    trrust = pd.read_csv(read.folder / "trrust.tsv", sep="\t")
    known = trrust.groupby("tf").target.agg(set).to_dict()
    assert all(known.pop(tf) == set(one["targets"]) for tf, one in read.truth["tfs"].items())
    assert len(known) == 6 and set(known) <= set(read.truth["genes"]["background"])


def test_without_annotation_no_set_knows_a_programme(world: Callable[..., Read]) -> None:
    read, true = world(annotation=False), world()
    for name in ("go_bp", "reactome"):
        terms = read_gmt(read.folder / f"{name}.gmt").sets
        assert not read.truth["genesets"][name]["true"] and len(terms) == 32
        for one in read.truth["programmes"].values():
            assert all(len(set(term) & set(one["genes"])) <= 1 for term in terms.values())
    for name in ("string.tsv", "trrust.tsv"):
        one, two = (pd.read_csv(each.folder / name, sep="\t") for each in (read, true))
        assert len(one) == len(two)
    # the cells themselves are the same
    assert sha256(read.folder / "cells.h5ad") == sha256(true.folder / "cells.h5ad")
    trrust = pd.read_csv(read.folder / "trrust.tsv", sep="\t").groupby("tf").target.agg(set)
    shared = [len(trrust[tf] & set(one["targets"])) for tf, one in read.truth["tfs"].items()]
    assert np.mean(shared) < 1


def test_kinds_and_parts_can_be_left_out(world: Callable[..., Read]) -> None:
    read = world(per_target=0, second=0, encoded=0, silent=3, novel=0)
    assert read.obs.target.isna().all() and list(read.obs.tissue.unique()) == ["marrow"]
    kinds = pd.Series({tf: one["kind"] for tf, one in read.truth["tfs"].items()})
    assert kinds.value_counts().to_dict() == {"coexpressed": 8, "silent": 3}
    assert all(one["annotated"] for one in read.truth["programmes"].values())
    assert {name.split(" type")[0] for name in read.truth["types"]} == {"marrow"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"difficulty": "hrad"}, "difficulty: is 'hrad'. Did you mean hard?"),
        ({"genes": 60}, "genes: is 60. Give a number of at least 216."),
        ({"n_programmes": 9}, "n_programmes: is 9. Give a number of at least 10."),
        ({"programme_genes": 6}, "programme_genes: is 6. Give a number of at least 7."),
        ({"seed": -1}, "seed: is -1. Give a number of at least 0."),
    ],
)
def test_a_world_that_cannot_be(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        simulate_demo(tmp_path / "w", **more)
    assert words in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_the_verb_writes_once_and_overwrites_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    out = tmp_path / "demo"
    small = [str(out), "--cells", "60", "--per-target", "2", "--second", "9", "--types", "off"]
    demo.run(parser.parse_args(small))
    demo.run(parser.parse_args(small))
    assert "already, byte for byte" in capsys.readouterr().out
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))
    assert truth["world"]["types"] is False and truth["world"]["regulation"] is True
    with pytest.raises(UserError, match="holds something other than this demo"):
        demo.run(parser.parse_args([*small, "--seed", "5"]))
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.txt"):
        demo.run(parser.parse_args(small))


def test_the_tiny_data_fit_the_tiny_parameters(tmp_path: Path) -> None:
    simulate_demo(tmp_path / "tiny", **TINY_DATA)
    params = tmp_path / "params.yaml"
    shutil.copy(template("params.yaml", find_study("cells")), params)
    override(params, TINY_PARAMS)
    given = load_params(params)
    found = anndata.read_h5ad(tmp_path / "tiny/cells.h5ad")
    assert found.shape == (240, 60)
    assert ((found.X > 0).sum(axis=1) >= given.cells.min_genes).all()
    screened = found.obs.target.value_counts().drop("non-targeting")
    assert len(screened) == 6 and screened.min() >= given.perturbation.min_cells
    assert found.obs.donor.nunique() >= given.celltypes.min_donors
