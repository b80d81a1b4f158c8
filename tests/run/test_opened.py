"""A finished run, opened: what it offers equals the files its stages wrote."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import petriscope as ps
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.workspace import create_workspace
from petriscope.sae.coder import SAE


@pytest.fixture(scope="module")
def run(tiny_run):
    return ps.open(tiny_run.root)


def test_what_every_study_offers(run, tiny_run):
    assert run.study.name == "chromatin" and run.params.cds.permutations == 200
    ledger = read_json(tiny_run.figures / "claims.json")["claims"]
    assert run.claims.verdict.to_dict() == {claim["id"]: claim["verdict"] for claim in ledger}
    assert run.metrics("cds") == read_json(tiny_run.metrics("cds"))
    table = run.table("cds", "layers.csv")
    pd.testing.assert_frame_equal(table, pd.read_csv(tiny_run.table("cds") / "layers.csv"))
    probed = SAE.load(tiny_run.sae / "layer_1" / f"seed_{run.params.sae.seeds[0]}")
    assert np.array_equal(run.sae(1).W_dec, probed.W_dec)
    assert not np.array_equal(run.sae(1, run.params.sae.seeds[1]).W_dec, probed.W_dec)
    codes = run.codes(1)
    assert codes.m == 32 and codes.layer == 1 and codes.n == len(run.tokens)


def test_what_this_study_adds_is_loaded_once(run):
    assert len(run.units) == 12 and set(run.units.frame.context) == {"in_vitro", "in_vivo"}
    assert run.model is run.model and run.model.n_layers == 2
    assert len(run.tokens) == len(run.inputs) * 12 * (4096 // 128 - 2)
    assert {"layer", "feature", "context"} <= set(run.features) and len(run.windows) == len(
        run.inputs
    )
    assert len(run.motifs.names) > 5 and run.strata.code.max() < len(run.strata.names)
    assert len(run.motifs) == len(run.strata.code)
    assert {"units", "motifs", "claims", "sae"} <= set(dir(run))


def test_it_prints_as_text_and_as_a_table(run, tiny_run):
    text, page = repr(run), run._repr_html_()
    for word in ("chromatin", str(tiny_run.root), run.params.digest(), "tokens"):
        assert word in text and word in page
    assert page.startswith("<table>") and page.count("<tr>") == text.count("\n") + 1


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: is no folder"):
        ps.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no params.yaml and dvc.yaml here or above"):
        ps.open(tmp_path)
    with pytest.raises(UserError, match=r"holds no finished run. Run `petriscope reproduce`"):
        ps.open(create_workspace(tmp_path / "w").root)
    with pytest.raises(UserError, match=r"no stage 'cdss' has run. Did you mean cds\?"):
        run.metrics("cdss")
    with pytest.raises(UserError, match=r"sae: has no layer 9. Layers: 0, 1, 2."):
        run.sae(9)
    with pytest.raises(UserError, match=r"layer.csv: does not exist. There are: .*layers.csv"):
        run.table("cds", "layer.csv")
    with pytest.raises(
        AttributeError, match=r"study chromatin has no 'unit'; did you mean units\?"
    ):
        _ = run.unit


def test_another_study_is_opened_and_edited_with_the_same_lines(tiny_dna_run):
    """The spine's verbs on Nucleotide Transformer: its inputs differ in length, its edits are read
    on logits."""
    run = ps.open(tiny_dna_run.root)
    assert run.study.name == "dna" and len(run.sequences) == len(run.inputs)
    assert len(run.tokens) == int(run.sequences.n_tokens.sum()) == run.codes(1).n
    hidden = ps.harvest(run.model, run.inputs, layer=1, windows=16)
    often = np.argsort(-np.bincount(run.codes(1).indices, minlength=64))[:4]
    cut = ps.ablate(run.model, run.inputs, run.sae(1), often, layer=1, windows=2)
    assert hidden.d == run.model.d_model and cut.effect().value > 0
