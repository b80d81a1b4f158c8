"""Stages model, activations, second and random_init on a few cells: what they write is what the
readers and the later stages read, and a second run writes the same bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_models_toy import RANK_WORDS, toy_cells, toy_model, toy_vocabularies

from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace, template
from petriscope.sae.encode import EncodedLayer
from petriscope.studies.cells import inputs as inputs_module
from petriscope.studies.cells.branches import branches, probed
from petriscope.studies.cells.gene_table import gene_table
from petriscope.studies.cells.inputs import load_inputs, load_model, load_random_model
from petriscope.studies.cells.model.weights import save_model
from petriscope.studies.cells.params import FAMILIES, Params
from petriscope.studies.cells.stages import activations, model, random_init, second
from petriscope.studies.cells.study import STUDY

CELLS = 60


def small(params: Params, family: str = "geneformer", **changed: object) -> Params:
    sizes = {"layers": 2, "d_model": 16, "heads": 2, "ffn": 24, "steps": 30, "batch": 8}
    sae = dataclasses.replace(
        params.sae, latents=24, k=3, batch=128, tokens=1280, seeds=[0, 1], learning_rate=0.003
    )
    return dataclasses.replace(
        params,
        family=family,
        geneformer=dataclasses.replace(params.geneformer, **(sizes | changed)),
        scgpt=dataclasses.replace(params.scgpt, **(sizes | changed)),
        sae=sae,
        codes=dataclasses.replace(params.codes, top_bins=3),
    )


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    counts, genes, obs = toy_cells(2, CELLS)
    folder = tmp_path / "results" / "cells"
    folder.mkdir(parents=True)
    sp.save_npz(folder / "counts.npz", counts)
    genes.to_parquet(folder / "genes.parquet")
    obs.to_parquet(folder / "obs.parquet")
    known = toy_vocabularies(tmp_path)
    dataset = SimpleNamespace(root=tmp_path, vocabularies=lambda: known)
    monkeypatch.setattr(inputs_module, "load_dataset", lambda path: dataset)
    return Workspace(tmp_path)


@pytest.fixture
def params() -> Params:
    return small(load_params(template("params.yaml", STUDY)))


def test_the_stages_feed_each_other(workspace: Workspace, params: Params) -> None:
    found = model.run(workspace, params)
    assert found.untestable is None and found.all_learned
    assert found.given == {"geneformer": False, "scgpt": False}
    assert found.steps == {"geneformer": 30, "scgpt": 30} and found.left_out["scgpt"] == []
    assert found.layers == {"geneformer": 2, "scgpt": 2} and found.nats > 0 and found.mse > 0
    assert found.random_part is not None and found.random_part < found.variance
    assert found.position_nats > 0 and found.held_out_cells == CELLS // 4 - 1
    for family in FAMILIES:
        held = pd.read_parquet(workspace.model / family / "held_out.parquet")
        windows = load_inputs(workspace, params, family).tokens.windows
        assert set(held.cell) == set(np.flatnonzero(windows.split == "test"))
        assert len(held) == found.held_out_genes[family]
        assert load_model(workspace, family).family == family
    assert not list((workspace.results / "cache").glob("pretrain*"))

    harvested = activations.run(workspace, params)
    branch = probed(workspace, params)
    stores, tokens, places = open_layers(workspace.activations), branch.tokens(), branch.places()
    assert list(stores) == [0, 1, 2] and harvested.layers == 3 and harvested.family == "geneformer"
    assert len(places) == len(tokens) == harvested.tokens_per_layer
    assert {store.shape for store in stores.values()} == {(len(tokens), 16)}
    assert harvested.cells == CELLS and set(tokens.windows.split) == {"train", "select", "test", "perturbed"}  # fmt: skip
    counts = load_inputs(workspace, params, "geneformer").counts
    assert tokens.per_window().tolist() == counts.tolist()

    other = second.run(workspace, params)
    random = random_init.run(workspace, params)
    assert other.family == "scgpt" and other.layers == [0, 1, 2] and len(other.fvu) == 3
    assert random.layers == {"geneformer": [0, 1, 2], "scgpt": [0, 1, 2]}
    made = {branch.name: branch for branch in branches(workspace, params)}
    assert list(made) == [
        "scgpt",
        "geneformer random",
        "scgpt random",
    ]  # the stage codes has not run
    for name, branch in made.items():
        assert branch.layers() == [0, 1, 2]
        codes = EncodedLayer(branch.codes / "layer_2").codes()
        genes = branch.places().gene.to_numpy()
        assert codes.n == len(branch.tokens()) == len(genes) and codes.m == 24
        table = gene_table(codes, genes, 24)
        assert table.n == (genes >= 0).sum() and table.counts.sum() > 0
        assert branch.dictionary(1, 0).m == 24 and branch.streams(1).shape[1] == 16
        assert (branch.sae / "layer_1" / "seed_1").is_dir() == (name == "scgpt")
        quality = pd.read_csv(branch.sae / "quality.csv")
        assert len(quality) == 3 * (1 + (name == "scgpt"))
    np.testing.assert_array_equal(made["geneformer random"].tokens().index, tokens.index)
    axis = made["scgpt"].tokens()
    assert axis.windows.cell.tolist() == tokens.windows.cell.tolist()  # the same cells
    for family in FAMILIES:
        kept, drawn = load_model(workspace, family), load_random_model(workspace, family)
        assert kept.size == drawn.size
        words = (m.state_dict()["embedding.weight"] for m in (kept, drawn))
        assert not np.allclose(*(value.numpy() for value in words))
    assert not list((workspace.results / "cache").iterdir())

    names = ("model", "activations", "second")
    first = {name: sha256(workspace.results / name) for name in names}
    for stage in (model, activations, second):
        stage.run(workspace, params)
    assert {name: sha256(workspace.results / name) for name in names} == first


def test_the_other_family_is_probed(workspace: Workspace, params: Params) -> None:
    changed = dataclasses.replace(params, family="scgpt")
    model.run(workspace, changed)
    found = activations.run(workspace, changed)
    assert found.family == "scgpt"
    places = probed(workspace, changed).places()
    assert places.value.max() == 50 and (places.gene[places.value < 0] == -1).all()
    assert Tokens.load(workspace.tokens).windows.cell.nunique() == CELLS


def test_given_weights_are_taken_as_they_are(workspace: Workspace, params: Params) -> None:
    for family in FAMILIES:
        (workspace.root / family).mkdir()
        save_model(toy_model(family), workspace.root / family)
    given = dataclasses.replace(
        params,
        geneformer=dataclasses.replace(params.geneformer, weights="geneformer"),
        scgpt=dataclasses.replace(params.scgpt, weights="scgpt"),
    )
    found = model.run(workspace, given)
    assert found.all_learned and all(found.given.values()) and found.d_model == {"geneformer": 24, "scgpt": 24}  # fmt: skip
    assert found.steps == {"geneformer": 0, "scgpt": 0}
    swapped = dataclasses.replace(
        given, geneformer=dataclasses.replace(given.geneformer, weights="scgpt")
    )
    with pytest.raises(UserError, match="is scgpt, the cells are encoded for geneformer"):
        model.run(workspace, swapped)
    save_model(toy_model("geneformer", tokens=12), workspace.root / "geneformer")
    with pytest.raises(
        UserError, match=r"tokens.size: lets a cell have \d+ tokens, the model reads 12"
    ):
        model.run(workspace, given)
    nowhere = dataclasses.replace(given.geneformer, weights="elsewhere")
    with pytest.raises(UserError, match="no such folder"):
        model.run(workspace, dataclasses.replace(given, geneformer=nowhere))


def test_no_steps_leave_random_weights(workspace: Workspace, params: Params) -> None:
    found = model.run(workspace, small(params, steps=0))
    assert not found.all_learned and not any(found.learned.values())
    assert found.untestable is not None and "RANDOM weights" in found.untestable
    assert (workspace.model / "scgpt/history.csv").read_text() == "step,loss,rate\n"
    one = dataclasses.replace(params, scgpt=dataclasses.replace(params.scgpt, steps=0))
    found = model.run(workspace, one)
    assert found.learned == {"geneformer": True, "scgpt": False} and not found.all_learned
    assert found.untestable is None
    start = load_model(workspace, "geneformer")
    assert start.size.vocabulary == RANK_WORDS


def test_the_control_may_be_left_out(workspace: Workspace, params: Params) -> None:
    off = dataclasses.replace(
        params, controls=dataclasses.replace(params.controls, random_init=False)
    )
    found = random_init.run(workspace, off)
    assert found.untestable == "controls.random_init is false in params.yaml"
    assert [p.name for p in workspace.table("random_init").iterdir()] == ["not_run.txt"]
