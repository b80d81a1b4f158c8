"""Checkpoints of both families in the forms in which they are released, made here: safetensors and
pickles, whole and in shards, plain and flash names. What does not fit is refused by name; what we
write Hugging Face reads."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cells_models_toy import BIN_WORDS, RANK_WORDS, toy_geneformer, toy_inputs, toy_model, toy_scgpt
from safetensors.torch import save_file
from torch import Tensor

from petriscope.errors import UserError
from petriscope.studies.cells.model.geneformer import Geneformer
from petriscope.studies.cells.model.scgpt import STYLES, ScGPT
from petriscope.studies.cells.model.weights import load_checkpoint, save_model, their_weights
from petriscope.studies.cells.params import FAMILIES

CONFIG: dict[str, Any] = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
    "transformers_version": "4.44.2",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": RANK_WORDS,
}
"""The entries of Geneformer's config.json, with small numbers."""
ARGS: dict[str, Any] = {
    "embsize": 24,
    "nheads": 3,
    "d_hid": 40,
    "nlayers": 3,
    "n_layers_cls": 3,
    "dropout": 0.2,
    "pad_token": "<pad>",
    "input_style": "binned",
    "input_emb_style": "continuous",
    "n_bins": 51,
    "max_seq_len": 1200,
    "fast_transformer": True,
    "no_cls": False,
    "MVC": True,
    "fp16": True,
}
"""Entries of scGPT's args.json, with small numbers."""
FLAG, POOLER = "flag_encoder.weight", "bert.pooler.dense.weight"


def geneformer_weights(model: Geneformer) -> dict[str, Tensor]:
    """With what a released pickle also holds: a pooler, and both tied tensors twice."""
    found = their_weights(model)
    return found | {
        POOLER: torch.zeros(24, 24),
        "bert.pooler.dense.bias": torch.zeros(24),
        "cls.predictions.decoder.weight": found["bert.embeddings.word_embeddings.weight"].clone(),
        "cls.predictions.decoder.bias": found["cls.predictions.bias"].clone(),
    }


def scgpt_weights(model: ScGPT) -> dict[str, Tensor]:
    """With the names of flash attention and what the released file also holds."""
    found = {
        name.replace("in_proj_", "Wqkv."): value for name, value in their_weights(model).items()
    }
    return found | {FLAG: torch.zeros(2, 24)}


def write(folder: Path, about: dict[str, Any], weights: dict[str, Tensor], how: str) -> Path:
    family = "geneformer" if "vocab_size" in about else "scgpt"
    folder.mkdir(parents=True, exist_ok=True)
    name = {"geneformer": "config.json", "scgpt": "args.json"}[family]
    (folder / name).write_text(json.dumps(about))
    plain = how.removesuffix(" in shards")
    pickled = {"geneformer": "pytorch_model.bin", "scgpt": "best_model.pt"}[family]
    file = {"safetensors": "model.safetensors", "pickle": pickled}[plain]
    put: Callable[[dict[str, Tensor], Path], Any] = (
        save_file if plain == "safetensors" else torch.save
    )
    if how == plain:
        put(weights, folder / file)
        return folder
    stem, end = file.split(".")
    places, names = {}, sorted(weights)
    for number in range(3):
        part = f"{stem}-{number + 1:05d}-of-00003.{end}"
        put({key: weights[key] for key in names[number::3]}, folder / part)
        places |= dict.fromkeys(names[number::3], part)
    (folder / f"{file}.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def released(family: str) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """A model, and its checkpoint as its authors would have written it."""
    if family == "geneformer":
        first = toy_geneformer()
        return first, dict(CONFIG), geneformer_weights(first)
    second = toy_scgpt(mvc=True, classes=5)
    return second, dict(ARGS), scgpt_weights(second)


def same(a: Any, b: Any) -> None:
    assert a.config == b.config
    batch = toy_inputs(a.family).batch(3)
    with torch.no_grad():
        assert torch.equal(a.run(batch).prediction, b.run(batch).prediction)


@pytest.mark.parametrize(
    "how", ["safetensors", "pickle", "safetensors in shards", "pickle in shards"]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_released_folder_loads(family: str, how: str, tmp_path: Path) -> None:
    model, about, weights = released(family)
    found = load_checkpoint(write(tmp_path / "m", about, weights, how))
    assert not found.training and found.family == family
    same(found, model)


def test_what_is_not_read_is_listed(tmp_path: Path) -> None:
    first = load_checkpoint(write(tmp_path / "a", *released("geneformer")[1:], "safetensors"))
    assert first.left_out == ("bert.pooler.dense.bias", POOLER)
    _, about, weights = released("scgpt")
    extra = {
        "mvc_decoder.fc1.weight": torch.zeros(64, 88),
        "grad_reverse_discriminator.out_layer.bias": torch.zeros(4),
        "decoder.zero_logit.0.weight": torch.zeros(24, 24),
    }
    second = load_checkpoint(write(tmp_path / "b", about, weights | extra, "pickle"))
    assert second.left_out == tuple(sorted([FLAG, *extra]))
    assert isinstance(second, ScGPT)
    assert second.mvc is not None and second.config.classes == 5


def test_heads_that_a_checkpoint_lacks_are_not_made(tmp_path: Path) -> None:
    found = load_checkpoint(write(tmp_path / "m", ARGS, scgpt_weights(toy_scgpt()), "pickle"))
    assert isinstance(found, ScGPT) and found.mvc is None and found.classifier is None


def test_wqkv_is_query_key_and_value_in_this_order(tmp_path: Path) -> None:
    """torch's own attention, whose in_proj_weight the flash checkpoint calls Wqkv."""
    model = toy_scgpt()
    weights = scgpt_weights(model)
    native = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    place = "transformer_encoder.layers.0.self_attn."
    state = {"in_proj_weight": weights[f"{place}Wqkv.weight"], "in_proj_bias": weights[f"{place}Wqkv.bias"]}  # fmt: skip
    native.load_state_dict(state | {f"out_proj.{k}": weights[f"{place}out_proj.{k}"] for k in ("weight", "bias")})  # fmt: skip
    block = load_checkpoint(write(tmp_path / "m", ARGS, weights, "pickle")).blocks[0]
    x = torch.randn(2, 7, 24)
    with torch.no_grad():
        wanted = native(x, x, x, need_weights=False)[0]
        torch.testing.assert_close(
            block.out(block.attend(x, x, None)), wanted, atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("model", [*map(toy_model, FAMILIES), *(toy_scgpt(style=s) for s in STYLES), toy_scgpt(mvc=True, classes=2, cell_style="avg-pool")], ids=str)  # fmt: skip
def test_ours_are_kept_and_read_again(model: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_model(model, tmp_path / name)
    same(load_checkpoint(tmp_path / "a"), model)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (
        tmp_path / "b/model.safetensors"
    ).read_bytes()


def test_hugging_face_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, folder = toy_geneformer(), tmp_path / "ours"
    folder.mkdir()
    save_model(model, folder)
    native = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    batch = toy_inputs("geneformer").batch_of([1, 2, 3])
    with torch.no_grad():
        found = native(batch.ids, attention_mask=batch.mask.long()).logits[batch.mask]
        wanted = model.run(batch).prediction[batch.mask]
    torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)
    native.save_pretrained(tmp_path / "theirs")
    same(load_checkpoint(tmp_path / "theirs"), model)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    _, about, weights = released("scgpt")
    half = {name: value.half() for name, value in weights.items()}
    found = load_checkpoint(write(tmp_path / "m", about, half, "pickle"))
    assert {value.dtype for value in found.state_dict().values()} == {torch.float32}


Damage = Callable[[dict[str, Any], dict[str, Tensor]], Any]
QUERY = "bert.encoder.layer.1.attention.self.query.weight"
WQKV = "transformer_encoder.layers.1.self_attn.Wqkv.weight"
REFUSED: list[tuple[str, Damage, str]] = [
    ("geneformer", lambda c, w: c.update(hidden_act="gelu"), "hidden_act: is 'gelu'; Geneformer has 'relu'"),
    ("geneformer", lambda c, w: c.update(model_type="esm"), "model_type: is 'esm'"),
    ("geneformer", lambda c, w: c.update(tie_word_embeddings=False), "tie_word_embeddings: is False"),
    ("geneformer", lambda c, w: c.update(hidden_size=None), "hidden_size: is None"),
    ("geneformer", lambda c, w: c.update(num_attention_heads=5), "hidden_size: is 24, which 5 heads"),
    ("geneformer", lambda c, w: c.update(vocab_size=31), "word_embeddings.weight: has shape"),
    ("geneformer", lambda c, w: c.update(num_hidden_layers=4), "weights are missing: bert.encoder.layer.3.+ more"),
    ("geneformer", lambda c, w: c.update(num_hidden_layers=2), "geneformer has no place for 16 weights: bert.encoder.layer.2"),
    ("geneformer", lambda c, w: w.pop(QUERY), f"weights are missing: {QUERY}"),
    ("geneformer", lambda c, w: [w.pop(k) for k in list(w) if k.startswith("cls.")], "language-model head is missing"),
    ("geneformer", lambda c, w: w.update({"classifier.bias": torch.zeros(2)}), "has no place for 1 weights: classifier.bias"),
    ("geneformer", lambda c, w: w[QUERY].fill_(float("nan")), f"{QUERY}: is not finite"),
    ("geneformer", lambda c, w: w["cls.predictions.decoder.weight"].add_(1), "decoder.weight: differs from bert.embeddings.word"),
    ("geneformer", lambda c, w: w["cls.predictions.decoder.bias"].add_(1), "decoder.bias: differs from cls.predictions.bias"),
    ("scgpt", lambda c, w: c.update(input_emb_style="bins"), "input_emb_style: is 'bins', none of continuous"),
    ("scgpt", lambda c, w: c.update(cell_emb_style="w-pool"), "cell_emb_style: is 'w-pool'"),
    ("scgpt", lambda c, w: c.update(pre_norm=True), "pre_norm: is True"),
    ("scgpt", lambda c, w: c.update(use_batch_labels=True), "use_batch_labels: is True"),
    ("scgpt", lambda c, w: c.update(domain_spec_batchnorm="do_affine"), "domain_spec_batchnorm: is 'do_affine'"),
    ("scgpt", lambda c, w: c.update(pad_value=0), "pad_value: is 0; the probed scGPT has -2.0"),
    ("scgpt", lambda c, w: c.update(mask_value=52), "mask_value: is 52"),
    ("scgpt", lambda c, w: c.update(nheads=7), "embsize: is 24, which 7 heads"),
    ("scgpt", lambda c, w: c.update(d_hid=48), r"linear1.weight: has shape \(40, 24\), .* asks for \(48, 24\)"),
    ("scgpt", lambda c, w: w.pop(WQKV), "weights are missing: transformer_encoder.layers.1.self_attn.in_proj_weight"),
    ("scgpt", lambda c, w: w.pop("encoder.embedding.weight"), "encoder.embedding.weight: is missing"),
    ("scgpt", lambda c, w: w.update({"bn.weight": torch.ones(24)}), "has no place for 1 weights: bn.weight"),
    ("scgpt", lambda c, w: w.update({"dsbn.bns.0.weight": torch.ones(24)}), "dsbn.bns.0.weight"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "damage", "message"), REFUSED, ids=[row[2][:40] for row in REFUSED]
)
def test_what_does_not_fit_is_refused_by_name(
    family: str, damage: Damage, message: str, tmp_path: Path
) -> None:
    _, about, weights = released(family)
    damage(about, weights)
    with pytest.raises(UserError, match=message):
        load_checkpoint(write(tmp_path / "m", about, weights, "pickle"))


class Attack:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('code in a pickle ran')",))


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_and_hostile_files(family: str, tmp_path: Path) -> None:
    _, about, weights = released(family)
    folder = write(tmp_path / "m", about, weights, "pickle")
    file = next(path for path in folder.iterdir() if path.suffix in (".bin", ".pt"))
    file.write_bytes(pickle.dumps({"a": Attack()}, protocol=2))
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        load_checkpoint(folder)
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        load_checkpoint(folder)
    torch.save({"epoch": 3, "model": weights}, file)
    with pytest.raises(UserError, match="holds something else than named weights"):
        load_checkpoint(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"holds neither model\.safetensors nor"):
        load_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"not safe")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_checkpoint(folder)
    with pytest.raises(UserError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds neither config.json \(Geneformer\) nor args.json"):
        load_checkpoint(tmp_path)


def test_sizes_are_those_of_the_weights(tmp_path: Path) -> None:
    found = load_checkpoint(write(tmp_path / "m", ARGS, scgpt_weights(toy_scgpt()), "pickle"))
    assert found.size.vocabulary == BIN_WORDS
    category = toy_scgpt(style="category", bins=30)
    about = ARGS | {"input_emb_style": "category", "pad_value": 30, "mask_value": 31}
    again = load_checkpoint(write(tmp_path / "c", about, scgpt_weights(category), "pickle"))
    assert isinstance(again, ScGPT) and again.config.bins == 30
