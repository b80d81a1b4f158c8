"""Both forms against the originals (parity fixtures), v1 against Hugging Face's own module at
another size, and the traps that the fixtures make visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dna_toy import random_sequences, sequence_frame, toy_model

from petriscope.errors import UserError
from petriscope.probe.model import check_probe
from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna.inputs import SequenceInputs
from petriscope.studies.dna.model.nucleotide import (
    NucleotideConfig,
    NucleotideTransformer,
    SequenceBatch,
    padded,
)
from petriscope.studies.dna.model.tokens import PAD, Form, tokenize
from petriscope.studies.dna.model.weights import their_weights
from petriscope.studies.dna.parity import models

FORMS: tuple[Form, ...] = ("v1", "v2")


def fixture(shared: Path, form: Form) -> tuple[Path, dict[str, Any]]:
    path = shared / "golden" / f"nt_{form}_small.npz"
    return path, read_fixture(path)


def batch_of(entries: dict[str, Any]) -> SequenceBatch:
    keep = torch.from_numpy(entries["attention_mask"] == 1)
    return SequenceBatch(torch.from_numpy(entries["input_ids"]), keep)


@pytest.mark.parametrize("form", FORMS)
def test_every_array_of_the_fixture(shared: Path, form: Form) -> None:
    path, entries = fixture(shared, form)
    found = {row.array: row for row in models.compare(path, entries)}
    held = {name for name in entries if name.startswith("hidden_")}
    assert held | {"residual_last", "logits", "logsumexp", "mlm_loss", "edit_logits"} <= set(found)
    for row in found.values():
        assert row.error <= row.allowed, row


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_fixture_fails(shared: Path, form: Form) -> None:
    path, entries = fixture(shared, form)
    entries["w.lm_head.dense.bias"] = entries["w.lm_head.dense.bias"] + 1e-2
    wrong = {row.array for row in models.compare(path, entries) if row.error > row.allowed}
    assert {"logits", "logsumexp", "edit_logits"} <= wrong and "residual_last" not in wrong


@pytest.mark.parametrize("form", FORMS)
def test_the_mask_matters_on_a_padded_row(shared: Path, form: Form) -> None:
    path, entries = fixture(shared, form)
    model, batch = models.fixture_model(path, entries), batch_of(entries)
    short = ~batch.keep.all(1)
    assert short.any()
    last = model.n_layers
    with torch.no_grad():
        found = model.streams(batch._replace(keep=torch.ones_like(batch.keep)), [last])[last]
    wrong = np.abs(found.numpy() - entries["residual_last"])[short][batch.keep[short]]
    assert wrong.max() > 1  # against 1e-5 with the mask


def test_embeddings_given_in_place_of_ids_skip_token_dropout(shared: Path) -> None:
    path, entries = fixture(shared, "v1")
    model, batch = models.fixture_model(path, entries), batch_of(entries)
    plain = NucleotideTransformer(
        NucleotideConfig(
            "v1",
            4,
            model.d_model,
            model.config.heads,
            model.config.ffn,
            model.config.limit,
            token_dropout=False,
        ),
        None,
    )
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        found = plain.eval().streams(batch, [0])[0]
    wrong = np.abs(found.numpy() - entries["hidden_0"])[batch.keep]
    assert wrong.max() > 1  # the embedding of <mask> itself, which token dropout sets to zero


def test_the_other_epsilon_shows_in_the_logits(shared: Path) -> None:
    path, entries = fixture(shared, "v1")
    model, batch = models.fixture_model(path, entries), batch_of(entries)
    model.head.norm.eps = 1e-5  # as in JAX
    row, place = entries["logits_at"].T
    with torch.no_grad():
        found = model.run(batch).prediction[row, place].numpy()
    assert models.LOGITS < np.abs(found - entries["logits"]).max() < 1e-2


def test_nothing_masked_scales_the_embedding_by_88_percent() -> None:
    model = toy_model("v1")
    assert model.position is not None
    batch = padded([tokenize("ACGTACGT", "v1")])
    with torch.no_grad():
        found = model.streams(batch, [0])[0][0]
        wanted = 0.88 * model.embedding.weight[batch.ids[0]] + model.position.weight[2:6]
    torch.testing.assert_close(found, wanted)


def test_the_native_module_cannot_hold_weights_of_v2() -> None:
    transformers = pytest.importorskip("transformers")
    model = toy_model("v2")
    native = transformers.EsmForMaskedLM(
        transformers.EsmConfig(
            vocab_size=4107,
            mask_token_id=2,
            pad_token_id=1,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=3,
            intermediate_size=40,
            position_embedding_type="rotary",
        )
    )
    with pytest.raises(RuntimeError, match=r"size mismatch for .*intermediate\.dense\.weight"):
        native.load_state_dict(their_weights(model), strict=False)


def test_v1_is_what_hugging_face_computes_at_another_size() -> None:
    transformers = pytest.importorskip("transformers")
    model = toy_model("v1", layers=5, d_model=32, heads=2, ffn=72)
    native = transformers.EsmForMaskedLM(
        transformers.EsmConfig(
            vocab_size=4105,
            mask_token_id=2,
            pad_token_id=1,
            hidden_size=32,
            num_hidden_layers=5,
            num_attention_heads=2,
            intermediate_size=72,
            position_embedding_type="absolute",
            max_position_embeddings=1002,
            token_dropout=True,
            emb_layer_norm_before=False,
            tie_word_embeddings=False,
            layer_norm_eps=1e-12,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).eval()
    held = native.load_state_dict(their_weights(model), strict=False)
    assert not held.unexpected_keys and all("contact_head" in n for n in held.missing_keys)
    batch = padded([tokenize(s, "v1") for s in random_sequences(4)])
    ids = batch.ids.clone()
    ids[2, 1], ids[5, 1] = 2, 2  # <mask>
    batch = batch._replace(ids=ids)
    with torch.no_grad():
        wanted = native(ids, attention_mask=batch.keep.long(), output_hidden_states=True)
        found = model.run(batch, capture=range(6))
    for layer in range(5):
        difference = (found.hidden[layer] - wanted.hidden_states[layer])[batch.keep]
        assert difference.abs().max() < 2e-5
    assert (found.prediction - wanted.logits)[batch.keep].abs().max() < 5e-5


@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_nothing(form: Form) -> None:
    model = toy_model(form)
    tables = [tokenize(s, form) for s in random_sequences(6)]
    batch = padded(tables)
    assert (batch.ids[~batch.keep] == PAD).all()
    with torch.no_grad():
        together = model.run(batch, capture=[1, 3])
        for row, table in enumerate(tables):
            alone = model.run(padded([table]), capture=[1, 3])
            n = len(table.ids)
            for layer in (1, 3):
                torch.testing.assert_close(
                    together.hidden[layer][row, :n], alone.hidden[layer][0], atol=2e-5, rtol=0
                )
            torch.testing.assert_close(
                together.prediction[row, :n], alone.prediction[0], atol=2e-5, rtol=0
            )


@pytest.mark.parametrize("form", FORMS)
def test_the_probe_keeps_its_promises(form: Form) -> None:
    inputs = SequenceInputs(sequence_frame(random_sequences(7), form), form, 1000)
    check_probe(toy_model(form), inputs, window=3)


@pytest.mark.parametrize("form", FORMS)
def test_streams_stop_at_the_highest_layer(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = toy_model(form), padded([tokenize("ACGTACGTACGTN", form)])
    wanted = model.run(batch, capture=[0, 2]).hidden

    def never(*_: object) -> None:
        raise AssertionError("a block above the highest layer ran")

    monkeypatch.setattr(model.blocks[2], "forward", never)
    found = model.streams(batch, [2, 0])
    assert set(found) == {0, 2}
    for layer, values in found.items():
        torch.testing.assert_close(values, wanted[layer], atol=0, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_padded_run_resumes_with_its_batch_and_edits(form: Form) -> None:
    model = toy_model(form)
    batch = padded([tokenize(s, form) for s in random_sequences(9)])
    with torch.no_grad():
        plain = model.run(batch, capture=[1])
        again = model.run(batch, resume=(1, plain.hidden[1]))
        torch.testing.assert_close(again.prediction, plain.prediction, atol=1e-6, rtol=0)
        edit = {1: lambda stream: 2 * stream}
        whole = model.run(batch, edits=edit).prediction
        resumed = model.run(batch, edits=edit, resume=(1, plain.hidden[1])).prediction
        torch.testing.assert_close(resumed, whole, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match=r"edit at layer 2: turned shape .* keeps the shape"):
        model.run(batch, edits={2: lambda stream: stream[:, :1]})


@pytest.mark.parametrize("form", FORMS)
def test_only_the_wanted_places_of_the_last_block(form: Form) -> None:
    model = toy_model(form)
    batch = padded([tokenize(s, form) for s in random_sequences(2, 5, 60)])
    at = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0], [1, 0]])
    with torch.no_grad():
        wanted = model.streams(batch, [3])[3][torch.arange(5)[:, None], at]
        torch.testing.assert_close(model.at_places(batch, at), wanted, atol=1e-5, rtol=0)


def test_longer_input_is_refused() -> None:
    model = NucleotideTransformer(NucleotideConfig("v1", 1, 8, 1, 8, tokens=10))
    with pytest.raises(UserError, match=r"sequence: has 12 tokens, the model reads 10: 54 bp"):
        model.run(padded([tokenize("ACGTAC" * 11, "v1")]))
    with pytest.raises(UserError, match=r"model.d_model: is 12, which 4 heads cannot share"):
        NucleotideTransformer(NucleotideConfig("v1", 1, 12, 4, 8))


def test_another_seed_is_another_model() -> None:
    model = toy_model("v2")
    again, other = model.reinitialized(1), model.reinitialized(2)
    assert torch.equal(model.embedding.weight, again.embedding.weight)
    assert not torch.equal(model.blocks[0].up.weight, other.blocks[0].up.weight)
