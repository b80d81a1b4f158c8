"""A described data set against the files it names: what it gives is what they hold, and each mistake
in the description or in a file is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cells_door_toy import toy_counts, write_dataset, write_h5ad

from petriscope.errors import UserError
from petriscope.run.studies import find_study
from petriscope.studies.cells.data.check import check_dataset
from petriscope.studies.cells.data.dataset import load_dataset, read_network


def test_what_it_gives_is_what_the_files_hold(tmp_path: Path) -> None:
    found = load_dataset(write_dataset(tmp_path))
    assert load_dataset(tmp_path / "dataset.yaml") == found
    cells = found.cells(1)
    assert cells.counts.sum() == toy_counts().sum() and cells.obs.donor.tolist() == list("ab") * 15
    assert found.genesets() == {"go": {"term": ["GENE1", "GENE2", "ELSE"]}}
    assert found.networks()["trrust"].values.tolist() == [["GENE1", "GENE2", 1]]
    assert found.control == "none" and found.truth == tmp_path / "truth.json"
    assert found.untestable() == [
        "no cell types: their features have no test",
        "no second tissue: tissues cannot be compared",
    ]
    bare = load_dataset(
        write_dataset(
            tmp_path, columns=None, control=None, genesets=None, networks=None, truth=None
        )
    )
    assert len(bare.untestable()) == 7 and bare.columns == {} and bare.cells(1).obs.shape == (30, 3)
    assert list(bare.vocabularies().known()) and not list(
        load_dataset(write_dataset(tmp_path, vocabularies=None)).vocabularies().known()
    )
    assert find_study("cells").dataset(tmp_path).name == "toy"


def test_a_folder_of_zarr_is_a_file_of_cells(tmp_path: Path) -> None:
    write_dataset(tmp_path, cells="cells.zarr", columns=None, control=None)
    write_h5ad(tmp_path / "cells.zarr", toy_counts())
    assert len(load_dataset(tmp_path).cells(1)) == 30


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "sequences"}, "kind: is 'sequences', not 'cells'. Give a data set of cells"),
        ({"cels": "x"}, "cels: is not a field of a data set. Did you mean cells"),
        ({"donor": "person"}, "donor belongs under columns"),
        ({"columns": {"doner": "x"}}, "columns.doner: is not a field .* Did you mean donor"),
        ({"columns": ["donor"]}, "columns: must be a mapping, not"),
        ({"columns": {"donor": 3, "target": None}, "control": "none"}, "control: is given without"),
        ({"control": None}, "control: is missing, but columns.target names perturbed cells"),
        (
            {"cells": "cell.h5ad"},
            "cells: names .*cell.h5ad, which does not exist. Did you mean cells",
        ),
        ({"cells": None}, "cells: is missing"),
        ({"name": None}, "name: is missing"),
        ({"format": 2}, "format: is 2. This version reads format 1"),
        ({"ids": "ensemble"}, "ids: is 'ensemble'. Did you mean ensembl"),
        ({"counts_are_fine": "maybe"}, "counts_are_fine: is 'maybe'"),
        ({"vocabularies": {"geneforner": "tokens.tsv"}}, "Did you mean geneformer"),
        (
            {"vocabularies": {"aliases": "aliases.tsv"}},
            "vocabularies.geneformer: is missing, but its",
        ),
        (
            {"vocabularies": {"scgpt": "no.tsv"}},
            "vocabularies.scgpt: names .*no.tsv, which does not",
        ),
        ({"networks": {"trrust": "trust.tsv"}}, "networks.trrust: .* Did you mean trrust.tsv"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    write_dataset(tmp_path, **changes)
    with pytest.raises(UserError, match=told) as refused:
        load_dataset(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'dataset.yaml'}: ")


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no dataset\.yaml"):
        load_dataset(tmp_path)
    with pytest.raises(UserError, match="no such data set"):
        load_dataset(tmp_path / "x")


def test_networks_of_every_kind(tmp_path: Path, shared: Path) -> None:
    path = tmp_path / "n.tsv"
    path.write_text("tf\ttarget\tmode\tpmid\nA\tB\tRepression\t1\nA\tC\tActivation\t2\n"
                    "A\tC\tRepression\t3\nA\tB\tUnknown\t4\nB\tA\tUnknown\t5\n")  # fmt: skip
    assert read_network(path).values.tolist() == [["A", "B", -1], ["A", "C", 0], ["B", "A", 0]]
    path.write_text("tf\tconfidence\ttarget\tmor\nA\tC\tB\t-1.0\n")
    assert read_network(path).values.tolist() == [["A", "B", -1]]
    path.write_text("gene_a\tgene_b\nA\tB\n")
    assert read_network(path).values.tolist() == [["A", "B", 0]]
    for text, told in (
        ("x\ty\nA\tB\n", "line 1: has no pair of columns, but x, y"),
        ("source\ttarget\nA\n", "line 2: has 1 columns where the first line has 2"),
        ("source\ttarget\tsign\nA\tB\tup\n", "line 2: 'up' is no sign"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            read_network(path)
    data = shared / "data" / "single_cell"
    trrust = read_network(data / "trrust_v2_human.tsv.gz")
    raw = pd.read_csv(data / "trrust_v2_human.tsv.gz", sep="\t", keep_default_na=False)
    assert len(trrust) == len(raw[["tf", "target"]].drop_duplicates()) == 8444
    ups = raw[raw["mode"] == "Activation"][["tf", "target"]].drop_duplicates()
    downs = raw[raw["mode"] == "Repression"][["tf", "target"]].drop_duplicates()
    both = ups.merge(downs)
    assert (trrust.sign == 1).sum() == len(ups) - len(both)
    assert (trrust.sign == -1).sum() == len(downs) - len(both)
    assert np.isin(read_network(data / "dorothea_abc_human.tsv.gz").sign, (-1, 1)).all()
    assert len(read_network(data / "string_top10pct_subset.tsv.gz")) == 140_849


def test_a_look_at_every_file_names_all_that_is_wrong(tmp_path: Path) -> None:
    report = check_dataset(load_dataset(write_dataset(tmp_path)))
    report.refuse()
    text = "\n".join(report.lines())
    for part in (
        *("30 cells", "84 ids", "160 aliases", "1 sets"),
        *("2 of 3 genes known", "1 pairs", "donor   2", "a 15, b 15", "none 20, GENE1 10"),
        *("nothing wrong", "no cell types"),
    ):
        assert part in text, part
    (tmp_path / "go.gmt").write_text("term\t\tX\tY\n")
    (tmp_path / "trrust.tsv").write_text("tf\ttarget\nGENE1\n")
    (tmp_path / "truth.json").write_text("[]")
    report = check_dataset(load_dataset(tmp_path))
    assert len(report.faults) == 3 and "3 wrong" in report.brief()[-1]
    with pytest.raises(
        UserError, match=r"go\.gmt: none of its genes .* it says X, Y, they are GENE0"
    ):
        report.refuse()
    (tmp_path / "cells.h5ad").write_text("x")
    assert "cannot be opened" in str(check_dataset(load_dataset(tmp_path)).faults[0])
    check = find_study("cells").check
    assert check is not None and check(tmp_path).brief()
