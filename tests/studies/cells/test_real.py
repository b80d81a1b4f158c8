"""Data sets of real cells, made by `petriscope data cells` from files at hand.

References: the files themselves, read by anndata and pandas; what is known of them: the immune
sample has no labels, Kang's cells come from two donors, and Papalexi's knock-outs of the interferon
pathway move its genes (t values of section 4(i) of the design).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from petriscope.cli import main
from petriscope.run.params_edit import override
from petriscope.run.stage import run_all
from petriscope.run.studies import find_study
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.studies.cells.data.dataset import load_dataset

KNOWN = {
    "--geneformer": "geneformer_gc104M_tokens.tsv.gz",
    "--aliases": "geneformer_gc104M_aliases.tsv.gz",
    "--scgpt": "scgpt_census_vocab.tsv.gz",
}
NAMED = (
    *("--genesets", "reactome=reactome_pathways.gmt.gz"),
    *("--networks", "trrust=trrust_v2_human.tsv.gz"),
    *("--networks", "string=string_top10pct_subset.tsv.gz"),
)
KANG = ("--donor", "donor", "--cell-type", "cell_type", "--condition", "condition")
PAPALEXI = ("--target", "target", "--control", "non-targeting", "--batch", "replicate")
SMALL: dict[str, Any] = {
    # both models keep their random weights: what is tested is the way through the program
    "geneformer.steps": 0,
    "scgpt.steps": 0,
    "geneformer.layers": 2,
    "scgpt.layers": 2,
    "tokens.size": 512,
    "tokens.max_length": 512,
    "sae.latents": 64,
    "sae.k": 4,
    "sae.tokens": 15_000,
    "sae.seeds": [0, 1],
    **{f"sae.gate.{name}": value for name, value in (("fvu", 1), ("dead", 1), ("l0_low", 0))},
    "annotate.shuffles": 20,
    "modules.leiden_seeds": 3,
    "modules.rewirings": 3,
    "highways.permutations": 20,
    "causal.features": 10,
    "causal.cells": 40,
    "causal.matched_sets": 200,
    "causal.random_directions": 20,
    "perturbation.random_regulons": 200,
    "perturbation.cells": 60,
    "celltypes.shuffles": 50,
    "celltypes.min_cells": 5,
    "novel.features": 200,
    "novel.shuffles": 10,
    "cds.permutations": 1000,
    "cds.bootstrap": 200,
    "figures.dpi": 60,
}


def prepared(shared: Path, out: Path, file: str, *options: str) -> int:
    """The status of `petriscope data cells` with the official vocabularies."""
    data = shared / "data/single_cell"
    given = [str(part) for option, name in KNOWN.items() for part in (option, data / name)]
    for text in NAMED:
        name, _, path = text.partition("=")
        given.append(f"{name}={data / path}" if path else text)
    return main(["data", "cells", "--from", str(data / file), *given, *options, str(out)])


@pytest.fixture(scope="module")
def folders(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("real ü")
    assert not prepared(shared, root / "immune", "immune_sample_raw.h5ad")
    assert not prepared(shared, root / "kang", "kang_donors.h5ad", *KANG)
    assert not prepared(shared, root / "papalexi", "papalexi_lowmoi.h5ad", *PAPALEXI)
    return {path.name: path for path in root.iterdir()}


def test_the_folders_hold_what_the_files_do(folders: dict[str, Path], shared: Path) -> None:
    anndata = pytest.importorskip("anndata")
    immune, kang, papalexi = (load_dataset(folders[n]) for n in ("immune", "kang", "papalexi"))
    source = anndata.read_h5ad(shared / "data/single_cell/immune_sample_raw.h5ad")
    cells = immune.cells(200)
    enough = np.asarray((source.X > 0).sum(1)).ravel() >= 200
    assert cells.obs.cell.tolist() == source.obs_names[enough].tolist()
    assert cells.counts.sum() == source.X[enough].sum()
    assert any(note.startswith("10.3% of the counts lie on 13,827") for note in cells.notes)
    assert "no donors: cells are replicated by nobody" in immune.untestable()
    assert kang.columns == {"donor": "donor", "cell_type": "cell_type", "condition": "condition"}
    assert kang.cells(1).obs.donor.value_counts().to_dict() == {"101": 668, "107": 422}
    assert papalexi.control == "non-targeting" and papalexi.columns["batch"] == "replicate"
    targets = papalexi.cells(1).obs.target.value_counts()
    assert len(targets) == 26 and targets["non-targeting"] == 1720
    raw = pd.read_csv(shared / "data/single_cell/trrust_v2_human.tsv.gz", sep="\t")
    pairs = immune.networks()["trrust"]
    assert set(zip(pairs.source, pairs.target)) == set(zip(raw.tf, raw.target))
    for folder in folders.values():
        assert all(path.is_file() for path in folder.rglob("*.gz"))
        assert str(shared) not in (folder / "dataset.yaml").read_text()  # complete in itself


MISTAKES = {
    "column": (["--donor", "person"], "columns.donor: names 'person', .* Columns of obs: cell_typ"),
    "layer": (["--layer", "logcounts"], "layer: has no 'logcounts'. Did you mean layers/logcounts"),
    "logarithms": (
        ["--layer", "layers/logcounts"],
        r"layers/logcounts: holds log-normalized values.* X holds whole numbers: set `layer: X`",
    ),
    "ids": (["--ids", "ensembl"], "var names: are no Ensembl ids .* Set `ids: symbol`"),
    "no control": (["--target", "condition"], "--target: is given without --control"),
    "control": (
        ["--target", "condition", "--control", "control"],
        "control: is 'control', the target of no cell. Did you mean",
    ),
    "control alone": (["--control", "ctrl"], "--control: is given without --target"),
    "vocabulary": (["--scgpt", "no.tsv"], "no.tsv: no such file"),
    "swapped": (["--scgpt", "go.gmt"], "go.gmt: line 1: has no column 'symbol', but X"),
    "sets": (["--genesets", "mine=go.gmt"], "go.gmt: none of its genes .* says MM1, MM2, they are"),
    "no name": (["--genesets", "go.gmt"], "--genesets: 'go.gmt' is not NAME=FILE"),
    "twice": (["--networks", "string=n.tsv"], "--networks: names string twice"),
    "empty": (["--networks", "mine=empty.tsv"], "empty.tsv: line 1: is empty"),
    "no file": (["--from", "no.h5ad"], "no.h5ad: does not exist"),
    "nothing": (["--from", "empty.h5ad"], "empty.h5ad: cannot be opened as HDF5"),
    "cut": (["--from", "cut.h5ad"], "cut.h5ad: cannot be opened as HDF5 .*truncated"),
    "packed": (["--from", "cells.h5ad.gz"], "cells.h5ad.gz: .* Unpack it first"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_and_nothing_is_written(
    name: str,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options, told = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    Path("go.gmt").write_text("X\t\tMm1\tMm2\n")
    for empty in ("empty.tsv", "empty.h5ad", "cells.h5ad.gz"):
        Path(empty).touch()
    source = shared / "data/single_cell/kang_donors.h5ad"
    Path("cut.h5ad").write_bytes(source.read_bytes()[:400_000])
    assert prepared(shared, tmp_path / "out", "kang_donors.h5ad", *options) == 2
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith("petriscope: ") and not Path("out").exists()
    assert re.search(told, last), last


def ran(root: Path, folder: Path, **changes: Any) -> tuple[Workspace, dict[str, dict[str, Any]]]:
    """A run of all stages, and its claims by id."""
    workspace = create_workspace(root, folder, find_study("cells"))
    override(workspace.params, {**SMALL, **changes})
    run_all(workspace)
    ledger = json.loads((workspace.figures / "claims.json").read_text())
    return workspace, {claim["id"]: claim for claim in ledger["claims"]}


def untestable(claims: dict[str, dict[str, Any]], *names: str) -> str:
    """Why, of claims that cannot be tested."""
    assert {claims[name]["verdict"] for name in names} == {"cannot be tested"}
    return " / ".join(claims[name]["why"] for name in names)


@pytest.mark.slow
def test_the_immune_sample_through_both_models(folders: dict[str, Path], tmp_path: Path) -> None:
    workspace, claims = ran(tmp_path / "run", folders["immune"], **{"cells.cells": 100})
    assert "RANDOM weights" in untestable(claims, "sc-annotation", "sc-novel", "sc-causal")
    assert untestable(claims, "sc-celltypes") == "the data set names no cell type"
    why = untestable(claims, "sc-regulation", "sc-tissue")
    assert why.count("the data set names no perturbation") == why.count("RANDOM weights") == 2
    numbers = json.loads(workspace.metrics("cells").read_text())
    assert numbers["tokens_per_cell"]["geneformer"] > 500 < numbers["tokens_per_cell"]["scgpt"]


@pytest.mark.slow
def test_two_donors_of_kang_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    changes = {"cells.cells": 300, "controls.random_init": False}
    _, claims = ran(tmp_path / "run", folders["kang"], **changes)
    assert untestable(claims, "sc-celltypes") == (
        "2 donors have cell types (101, 107); 3 are needed"
    )
    assert "%" in claims["sc-celltypes"]["as_published"]
    assert "no randomly initialized model ran" in untestable(claims, "sc-annotation")


@pytest.mark.slow
def test_the_knock_outs_of_papalexi(folders: dict[str, Path], tmp_path: Path) -> None:
    changes = {"cells.cells": 2500, "cells.min_genes": 20, "controls.random_init": False}
    workspace, claims = ran(tmp_path / "run", folders["papalexi"], **changes)
    assert "RANDOM weights" in untestable(claims, "sc-regulation")
    found = workspace.table("perturbation")
    shown = pd.read_csv(found / "ceiling.csv").set_index("target")
    assert shown.own_t["STAT1"] < -8 and shown.q["STAT1"] < 0.05 and shown.moved["STAT1"] >= 2
    own = pd.read_csv(found / "own.csv").set_index(["model", "target"])
    # what a cell no longer expresses is no longer in the input: no model need know anything
    assert own.t["scgpt", "STAT1"] < -5 and own.q["scgpt", "STAT1"] < 1e-4
    moved = pd.read_parquet(found / "responses.parquet").query("model == 'scgpt' and q < 0.05")
    assert {"STAT1", "JAK2"} <= set(moved.target)
