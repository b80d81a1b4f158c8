"""Stages model, activations and random_init on a few sequences: what they write is what the readers
and the later stages read, and a second run writes the same bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dna_toy import sequence_frame, toy_model

from petriscope.errors import UserError
from petriscope.files import sha256, write_json, write_parquet
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace, template
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.inputs import (
    load_inputs,
    load_model,
    load_places,
    load_random_model,
)
from petriscope.studies.dna.model.weights import save_model
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences
from petriscope.studies.dna.stages import activations, model, random_init
from petriscope.studies.dna.study import STUDY


def small(params: Params, **changed: object) -> Params:
    sizes = {"layers": 2, "d_model": 16, "heads": 2, "ffn": 24, "tokens": 3000, "batch": 8}
    sae = dataclasses.replace(
        params.sae, latents=24, k=3, batch=128, tokens=4000, seeds=[0, 1], learning_rate=0.003
    )
    return dataclasses.replace(
        params,
        model=dataclasses.replace(params.model, **(sizes | changed)),
        sae=sae,
        codes=dataclasses.replace(params.codes, top_bins=3),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rng = np.random.default_rng(2)
    sequences = ["".join(rng.choice(list("ACGT"), n)) for n in rng.integers(40, 70, 60)]
    folder = tmp_path / "results" / "sequences"
    folder.mkdir(parents=True)
    write_parquet(folder / "sequences.parquet", sequence_frame(sequences))
    write_json(folder / "classes.json", {"positive": "bound", "negative": "unbound"})
    return Workspace(tmp_path)


@pytest.fixture
def params() -> Params:
    return small(load_params(template("params.yaml", STUDY)))


def test_the_three_stages_feed_each_other(workspace: Workspace, params: Params) -> None:
    found = model.run(workspace, params)
    assert found.untestable is None and not found.given and found.tokens_trained >= 3000
    assert found.layers == 2 and 0 <= found.accuracy <= 1 and found.nats > 0
    held = pd.read_parquet(workspace.model / "held_out.parquet")
    rows = load_sequences(workspace).rows("test")
    assert set(held.row) == set(rows) and len(held) == found.held_out_tokens
    assert not (workspace.results / "cache" / "pretrain.safetensors").exists()

    harvested = activations.run(workspace, params)
    stores, tokens = open_layers(workspace.activations), Tokens.load(workspace.tokens)
    places, sequences = load_places(workspace), load_sequences(workspace).frame
    assert list(stores) == [0, 1, 2] and harvested.layers == 3
    assert len(places) == len(tokens) == harvested.tokens_per_layer == sequences.n_tokens.sum()
    assert {store.shape for store in stores.values()} == {(len(tokens), 16)}
    assert (
        places.groupby(tokens.window).width.sum().tolist() == sequences.sequence.str.len().tolist()
    )
    assert tokens.windows.split.tolist() == sequences.split.tolist()

    random = random_init.run(workspace, params)
    out = workspace.table("random_init")
    assert random.untestable is None and random.layers == [0, 1, 2]
    axis = Tokens.load(out / "activations" / "tokens")
    np.testing.assert_array_equal(axis.index, tokens.index)
    assert not np.array_equal(open_layers(out / "activations")[2], stores[2])
    for layer, encoded in encoded_layers(out / "codes").items():
        codes = encoded.codes()
        assert codes.n == len(tokens) and codes.m == 24
        assert saved_sae(out / "sae", layer, 0).m == 24
    kept, drawn = load_model(workspace), load_random_model(workspace)
    assert kept.config == drawn.config
    assert not np.allclose(kept.embedding.weight.detach(), drawn.embedding.weight.detach())
    assert len(load_inputs(workspace, kept)) == 60
    assert not (workspace.results / "cache" / "random_init").exists()

    first = {name: sha256(workspace.results / name) for name in ("model", "activations")}
    first["random codes"] = sha256(out / "codes")
    model.run(workspace, params), activations.run(workspace, params)
    random_init.run(workspace, params)
    again = {name: sha256(workspace.results / name) for name in ("model", "activations")}
    assert {**again, "random codes": sha256(out / "codes")} == first


def test_given_weights_are_taken_as_they_are(workspace: Workspace, params: Params) -> None:
    given = workspace.root / "weights"
    given.mkdir()
    save_model(toy_model("v1"), given)
    found = model.run(workspace, small(params, weights="weights", form="v1"))
    assert found.learned and found.untestable is None
    assert found.given and found.tokens_trained == 0 and found.form == "v1" and found.d_model == 24
    with pytest.raises(UserError, match=r"is a checkpoint of form v1, not v2"):
        model.run(workspace, small(params, weights="weights", form="v2"))
    with pytest.raises(UserError, match="no such folder"):
        model.run(workspace, small(params, weights="elsewhere"))


def test_no_tokens_leave_random_weights(workspace: Workspace, params: Params) -> None:
    found = model.run(workspace, small(params, tokens=0))
    assert found.tokens_trained == 0 and not found.given and not found.learned
    assert found.untestable is not None and "RANDOM weights" in found.untestable
    assert (workspace.model / "history.csv").read_text() == "step,tokens,loss,rate\n"


def test_the_control_may_be_left_out(workspace: Workspace, params: Params) -> None:
    off = dataclasses.replace(
        params, controls=dataclasses.replace(params.controls, random_init=False)
    )
    found = random_init.run(workspace, off)
    assert found.untestable == "controls.random_init is false in params.yaml"
    assert [p.name for p in workspace.table("random_init").iterdir()] == ["not_run.txt"]
    with pytest.raises(UserError, match=r"Set controls\.random_init to true"):
        load_random_model(workspace)
