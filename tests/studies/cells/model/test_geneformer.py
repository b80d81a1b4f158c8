"""Geneformer against the parity fixture, against Hugging Face's own module at another size, and the
traps that make a wrong one look right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells_models_toy import RANK_WORDS, toy_geneformer, toy_inputs
from torch import nn

from petriscope.errors import UserError
from petriscope.probe.model import check_probe
from petriscope.run.fixtures import read_fixture
from petriscope.studies.cells.model import postnorm
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.geneformer import MASK, Geneformer
from petriscope.studies.cells.model.weights import their_weights
from petriscope.studies.cells.parity import models


def fixture(shared: Path) -> tuple[Path, dict[str, Any]]:
    path = shared / "golden" / "geneformer_small.npz"
    return path, read_fixture(path)


def off(path: Path, entries: dict[str, Any]) -> dict[str, float]:
    """Arrays of the fixture that are not met, and by how much."""
    rows = models.KINDS[0].compare(path, entries)
    return {row.array: row.error for row in rows if row.error > row.allowed}


def native_of(model: Geneformer) -> Any:
    """Hugging Face's module with the same weights."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    native = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.d_model,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.ffn,
            hidden_act="relu",
            max_position_embeddings=config.tokens,
            type_vocab_size=2,
            layer_norm_eps=1e-12,
            pad_token_id=0,
        )
    )
    found = native.load_state_dict(their_weights(model), strict=False)
    assert not found.unexpected_keys
    assert all("decoder" in name or "position_ids" in name for name in found.missing_keys)
    native.tie_weights()
    return native.eval()


def random_batch(seed: int, words: int = RANK_WORDS) -> CellBatch:
    """Five cells of 3 to 30 tokens."""
    rng = np.random.default_rng(seed)
    counts = np.array([30, 3, 17, 29, 8])
    mask = torch.from_numpy(np.arange(30) < counts[:, None])
    ids = torch.from_numpy(rng.integers(4, words, (5, 30)))
    ids[:, 0] = 2
    return CellBatch(ids.masked_fill(~mask, 0), None, mask)


def test_every_array_of_the_fixture(shared: Path) -> None:
    path, entries = fixture(shared)
    held = {name for name in entries if not name.startswith("w/")}
    given = {"input_ids", "attention_mask", "masked_ids", "config", "edit_layer", "edit_delta"}
    assert {row.array for row in models.KINDS[0].compare(path, entries)} == held - given
    assert off(path, entries) == {}


def test_a_damaged_fixture_fails(shared: Path) -> None:
    path, entries = fixture(shared)
    name = "w/cls.predictions.transform.dense.bias"
    entries[name] = entries[name] + 1e-2
    assert set(off(path, entries)) == {"logits", "masked_logits", "edit_logits", "edit0_logits"}


@pytest.mark.parametrize("layers", [1, 5])
def test_it_is_what_hugging_face_computes_at_another_size(layers: int) -> None:
    model = toy_geneformer(7, layers=layers, d_model=32, heads=2, ffn=72)
    for part in model.modules():  # norms and biases of a trained model are no ones and zeros
        if isinstance(part, nn.LayerNorm):
            nn.init.normal_(part.weight, 1, 0.3), nn.init.normal_(part.bias, 0, 0.3)
    nn.init.normal_(model.bias), nn.init.normal_(model.kind.weight)
    native, batch = native_of(model), random_batch(3)
    with torch.no_grad():
        theirs = native(batch.ids, attention_mask=batch.mask.long(), output_hidden_states=True)
        ours = model.run(batch, capture=range(layers + 1))
    for layer, hidden in enumerate(theirs.hidden_states):
        torch.testing.assert_close(
            ours.hidden[layer][batch.mask], hidden[batch.mask], atol=1e-5, rtol=0
        )
    found, wanted = ours.prediction[batch.mask], theirs.logits[batch.mask]
    torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)


def test_the_fixture_tells_the_usual_mistakes(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gelu for relu; √d for √(d / heads); the mask left out or upside down; the type embedding left
    out; an edit after the capture."""
    path, entries = fixture(shared)
    real = F.scaled_dot_product_attention

    def errors(**changed: Any) -> dict[str, float]:
        with monkeypatch.context() as patch:
            for place, made in changed.items():
                patch.setattr(*{"relu": (postnorm.F, "relu"), "attention": (postnorm.F, "scaled_dot_product_attention"), "edited": (postnorm, "_edited")}[place], made)  # fmt: skip
            return off(path, entries)

    assert {"hidden", "logits"} <= set(errors(relu=F.gelu))
    heads = models.fixture_geneformer(path, entries).config.heads
    wide = lambda q, k, v, attn_mask: real(q, k, v, attn_mask, scale=(heads * q.shape[-1]) ** -0.5)
    assert errors(attention=wide)["logits"] > 1e-2
    assert errors(attention=lambda q, k, v, attn_mask: real(q, k, v))["logits"] > 0.1
    upside = lambda q, k, v, attn_mask: real(q, k, v, None if attn_mask is None else ~attn_mask)
    assert errors(attention=upside)["hidden"] > 0.1
    late = errors(edited=lambda edit, layer, hidden: hidden)
    assert set(late) == {"edit_hidden", "edit_logits", "edit0_logits"}
    name = "w/bert.embeddings.token_type_embeddings.weight"
    without = {**entries, name: np.zeros_like(entries[name])}
    assert off(path, without)["hidden"] > 1e-3


def test_it_keeps_the_promises_of_a_probed_model() -> None:
    check_probe(toy_geneformer(), toy_inputs("geneformer"), window=3)


def test_the_order_of_the_genes_matters() -> None:
    model, batch = toy_geneformer(), random_batch(1)
    swapped = batch.ids.clone()
    swapped[:, 1], swapped[:, 2] = batch.ids[:, 2], batch.ids[:, 1]
    with torch.no_grad():
        a, b = (
            model.streams(batch._replace(ids=ids), [3])[3][0, 9] for ids in (batch.ids, swapped)
        )
    assert float((a - b).abs().max()) > 1e-4


def test_the_readout_is_log_p_of_the_hidden_gene() -> None:
    model, batch = toy_geneformer(), random_batch(2)
    at = torch.zeros_like(batch.mask)
    at[0, 4], at[2, 7] = True, True
    hidden = model.hide(batch, at)
    assert (hidden.ids[at] == MASK).all() and torch.equal(hidden.ids[~at], batch.ids[~at])
    true = torch.where(at, batch.ids, -1)
    with torch.no_grad():
        logits = model.run(hidden).prediction.double()
        found = model.readout(hidden, true)
        stream = model.streams(hidden, [1])[1]
        again = model.readout(hidden, true, resume=(1, stream))
    wanted = logits.log_softmax(-1).gather(2, batch.ids[..., None])[..., 0]
    torch.testing.assert_close(found[at].double(), wanted[at], atol=1e-5, rtol=0)
    assert found[~at].isnan().all()
    torch.testing.assert_close(again[at], found[at], atol=1e-5, rtol=0)


def test_the_readout_goes_through_the_vocabulary_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = toy_geneformer(), random_batch(2)
    true = torch.where(batch.mask, batch.ids, -1)
    with torch.no_grad():
        whole = model.readout(batch, true)
        monkeypatch.setattr("petriscope.studies.cells.model.geneformer.WORDS_AT_ONCE", 100)
        parts = model.readout(batch, true)
    torch.testing.assert_close(whole, parts, equal_nan=True)


def test_a_cell_longer_than_the_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"tokens.size: has 30 tokens, Geneformer reads 29\. Set"):
        toy_geneformer(tokens=29).run(random_batch(1))
    with pytest.raises(UserError, match=r"geneformer\.d_model: is 24, which 5 heads cannot share"):
        toy_geneformer(heads=5)


def test_a_random_start_is_its_seed_s() -> None:
    a, b, c = toy_geneformer(1), toy_geneformer(2).reinitialized(1), toy_geneformer(2)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert not torch.equal(a.embedding.weight, c.embedding.weight) and not b.training
