"""Checkpoints in the true form of Hugging Face, whole and in shards, safetensors and pickles; what
does not fit is refused by name; what we write Hugging Face reads."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dna_toy import toy_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from petriscope.errors import UserError
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer, padded
from petriscope.studies.dna.model.tokens import Form, tokenize
from petriscope.studies.dna.model.weights import load_model, save_model, their_weights

FORMS: tuple[Form, ...] = ("v1", "v2")
PUBLISHED: dict[str, Any] = {
    "add_bias_fnn": False,
    "architectures": ["EsmForMaskedLM"],
    "attention_probs_dropout_prob": 0.0,
    "auto_map": {"AutoModelForMaskedLM": "modeling_esm.EsmForMaskedLM"},
    "emb_layer_norm_before": False,
    "esmfold_config": None,
    "hidden_dropout_prob": 0.0,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": 40,
    "is_folding_model": False,
    "layer_norm_eps": 1e-12,
    "mask_token_id": 2,
    "max_position_embeddings": 2050,
    "model_type": "esm",
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "pad_token_id": 1,
    "position_embedding_type": "rotary",
    "tie_word_embeddings": False,
    "token_dropout": False,
    "torch_dtype": "float32",
    "transformers_version": "4.32.0.dev0",
    "use_cache": False,
    "vocab_list": None,
    "vocab_size": 4107,
}
"""The entries of the published v2 checkpoints' config.json, with small numbers."""


def published_config(form: Form) -> dict[str, Any]:
    if form == "v2":
        return dict(PUBLISHED)
    changed = {
        "max_position_embeddings": 1002,
        "position_embedding_type": "absolute",
        "token_dropout": True,
        "vocab_size": 4105,
    }
    dropped = ("add_bias_fnn", "auto_map")
    return {k: v for k, v in (PUBLISHED | changed).items() if k not in dropped}


def published_weights(model: NucleotideTransformer) -> dict[str, Tensor]:
    """With what a published file also holds: a contact head, positions that v2 never reads."""
    extra = {
        "esm.contact_head.regression.weight": torch.zeros(1, 9),
        "esm.contact_head.regression.bias": torch.zeros(1),
        "esm.embeddings.position_ids": torch.arange(2050)[None],
    }
    if model.config.form == "v2":
        extra["esm.embeddings.position_embeddings.weight"] = torch.ones(2050, 24)
    return their_weights(model) | extra


def write(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], how: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_esm.py").write_text("raise SystemExit('remote code ran')")
    plain, names = how.removesuffix(" in shards"), sorted(weights)
    file = {"safetensors": "model.safetensors", "pickle": "pytorch_model.bin"}[plain]
    put: Callable[[dict[str, Tensor], Path], Any] = (
        save_file if plain == "safetensors" else torch.save
    )
    if how == plain:
        put(weights, folder / file)
        return folder
    stem, end = file.split(".")
    places = {}
    for number in range(3):
        part = f"{stem}-{number + 1:05d}-of-00003.{end}"
        put({name: weights[name] for name in names[number::3]}, folder / part)
        places |= dict.fromkeys(names[number::3], part)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{file}.index.json").write_text(json.dumps(index))
    return folder


def same(a: NucleotideTransformer, b: NucleotideTransformer) -> None:
    assert a.config == b.config or a.config.limit == b.config.limit
    batch = padded([tokenize("ACGTACGTNACCGTA", a.config.form)])
    with torch.no_grad():
        assert torch.equal(a.run(batch).prediction, b.run(batch).prediction)


HOW = ("safetensors", "pickle", "safetensors in shards", "pickle in shards")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", FORMS)
def test_a_published_folder_loads(form: Form, how: str, tmp_path: Path) -> None:
    model = toy_model(form)
    folder = write(tmp_path / "m", published_config(form), published_weights(model), how)
    found = load_model(folder, form=form)
    assert not found.training and found.config.drops_tokens == (form == "v1")
    assert found.config.limit == {"v1": 1000, "v2": 2048}[form]
    same(found, model)


@pytest.mark.parametrize("form", FORMS)
def test_ours_are_kept_and_read_again(form: Form, tmp_path: Path) -> None:
    model = toy_model(form)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_model(model, tmp_path / name)
    same(load_model(tmp_path / "a"), model)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (
        tmp_path / "b/model.safetensors"
    ).read_bytes()


def test_hugging_face_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, folder = toy_model("v1"), tmp_path / "ours"
    folder.mkdir()
    save_model(model, folder)
    native = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    batch = padded([tokenize("ACGTACGTNACCGTA", "v1")])
    with torch.no_grad():
        found = native(batch.ids, attention_mask=batch.keep.long()).logits
        torch.testing.assert_close(found, model.run(batch).prediction, atol=5e-5, rtol=0)
    native.save_pretrained(tmp_path / "theirs", max_shard_size="200KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    same(load_model(tmp_path / "theirs"), model)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in their_weights(toy_model("v2")).items()}
    found = load_model(write(tmp_path / "m", published_config("v2"), weights, "safetensors"))
    assert {value.dtype for value in found.state_dict().values()} == {torch.float32}


Damage = Callable[[dict[str, Any], dict[str, Tensor]], Any]
UP = "esm.encoder.layer.0.intermediate.dense."
INV = "esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq"
REFUSED: list[tuple[Form, Damage, str]] = [
    (
        "v2",
        lambda c, w: c.update(vocab_size=4105),
        "vocab_size: is 4105, the vocabulary of form v2",
    ),
    (
        "v1",
        lambda c, w: c.update(vocab_size=4107),
        "vocab_size: is 4107, the vocabulary of form v1",
    ),
    ("v1", lambda c, w: c.update(vocab_size=33), "vocab_size: is 33"),
    ("v1", lambda c, w: c.update(hidden_size=None), "hidden_size: is None"),
    ("v1", lambda c, w: c.update(num_attention_heads=5), "hidden_size: is 24, which 5 heads"),
    ("v1", lambda c, w: c.update(model_type="bert"), "model_type: is 'bert', not esm"),
    ("v1", lambda c, w: c.update(tie_word_embeddings=True), "tie_word_embeddings: is True"),
    ("v2", lambda c, w: c.update(add_bias_fnn=True), "add_bias_fnn: is true"),
    ("v2", lambda c, w: c.update(position_embedding_type="relative"), "position_embedding_type"),
    ("v2", lambda c, w: c.update(mask_token_id=32), "mask_token_id: is 32, not 2"),
    (
        "v2",
        lambda c, w: w.pop("lm_head.dense.weight"),
        "lm_head.dense.weight: is missing: the check",
    ),
    ("v2", lambda c, w: w.pop(f"{UP}weight"), f"{UP}weight: is missing"),
    ("v1", lambda c, w: c.update(num_hidden_layers=2), "is no weight of form v1 (16 such in all)"),
    ("v1", lambda c, w: c.update(num_hidden_layers=4), "esm.encoder.layer.3."),
    ("v1", lambda c, w: c.update(intermediate_size=41), "has shape (40, 24), the configuration"),
    ("v1", lambda c, w: w.update({f"{UP}bias": torch.full((40,), torch.nan)}), "is not finite"),
    ("v2", lambda c, w: w.update({INV: w[INV] * 2}), f"{INV}: differs from block to block"),
    (
        "v1",
        lambda c, w: (w.clear(), w.update(their_weights(toy_model("v2")))),
        "has 4107 tokens: weights of form v2 in form v1",
    ),
    (
        "v2",
        lambda c, w: (w.clear(), w.update(their_weights(toy_model("v1")))),
        "has 4105 tokens: weights of form v1 in form v2",
    ),
    ("v2", lambda c, w: w.update({f"{UP}bias": torch.ones(80)}), "weights of form v1 in form v2"),
]


@pytest.mark.parametrize(("form", "damage", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_what_does_not_fit_is_refused(
    form: Form, damage: Damage, message: str, tmp_path: Path
) -> None:
    config, weights = published_config(form), published_weights(toy_model(form))
    damage(config, weights)
    folder = write(tmp_path / "m", config, weights, "safetensors")
    with pytest.raises(UserError) as told:
        load_model(folder)
    assert message in str(told.value) and str(tmp_path / "m") in str(told.value)
    assert "\n" not in str(told.value)


def test_the_wanted_form_is_checked(tmp_path: Path) -> None:
    model = toy_model("v2")
    folder = write(tmp_path / "m", published_config("v2"), their_weights(model), "safetensors")
    with pytest.raises(
        UserError, match=r"is a checkpoint of form v2, not v1. Set model.form to v2"
    ):
        load_model(folder, form="v1")


class _Code:
    def __reduce__(self) -> Any:
        return print, ("ran",)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    config, weights = published_config("v2"), their_weights(toy_model("v2"))
    with pytest.raises(UserError, match="no such folder"):
        load_model(tmp_path / "absent")
    folder = write(tmp_path / "m", config, weights, "pickle")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": _Code()}, protocol=2))
    with pytest.raises(UserError, match=r"pytorch_model.bin: cannot be read as weights alone"):
        load_model(folder)
    torch.save({"model": weights}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="something else than named weights"):
        load_model(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"holds neither model.safetensors nor pytorch_model.bin"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json: no such file"):
        load_model(folder)


def test_a_missing_or_straying_shard(tmp_path: Path) -> None:
    config, weights = published_config("v2"), their_weights(toy_model("v2"))
    folder = write(tmp_path / "m", config, weights, "safetensors in shards")
    shard = folder / "model-00002-of-00003.safetensors"
    held = load_file(shard)
    shard.unlink()
    with pytest.raises(
        UserError, match=r"00002-of-00003.safetensors: is missing, though the index"
    ):
        load_model(folder)
    save_file(held, shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(UserError, match=r"weight_map: names '../a.safetensors', which lies else"):
        load_model(folder)
    index.write_text("{}")
    with pytest.raises(UserError, match="weight_map: names no shard"):
        load_model(folder)
