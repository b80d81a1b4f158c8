"""A checkpoint of Nucleotide Transformer is a folder of Hugging Face's: config.json beside
model.safetensors or pytorch_model.bin, whole or in shards; ours are written in the same form.

Nothing in the folder is executed: InstaDeep's own `modeling_*.py` is never read, and a pickle only
through `weights_only`. Names and shapes are those of `EsmForMaskedLM`; whatever does not fit the
form, or is missing, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from petriscope.errors import UserError
from petriscope.files import Output, json_with, read_json, write_json
from petriscope.probe.weights import SAFETENSORS, read_weights
from petriscope.studies.dna.model.nucleotide import (
    FIRST_POSITION,
    NucleotideConfig,
    NucleotideTransformer,
    rotary_frequencies,
)
from petriscope.studies.dna.model.tokens import MASK, PAD, Form, vocabulary

CONFIG = "config.json"
PICKLE = "pytorch_model.bin"
CHECKPOINT = Output("a model", (CONFIG, SAFETENSORS), json_with(model_type="esm"))
IGNORED = (
    "esm.contact_head.",
    "esm.embeddings.position_ids",
    "esm.pooler.",
)
"""Weights that no forward pass of the language model reads."""
POSITIONS = "esm.embeddings.position_embeddings.weight"
INV_FREQ = "attention.self.rotary_embeddings.inv_freq"


def load_model(folder: str | Path, *, form: str | None = None) -> NucleotideTransformer:
    """The model in a checkpoint folder, in eval mode.

    Parameters
    ----------
    folder : path
        config.json and the weights.
    form : {"v1", "v2"}, optional
        What it must be; None: what its configuration says.

    Raises
    ------
    UserError
        For a missing or damaged file, another architecture, the vocabulary or the weights of the
        other form, a missing head, and shapes that differ from the configuration's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        remedy = "Name a folder with config.json and the weights."
        raise UserError("no such folder", file=folder, remedy=remedy)
    config = read_config(folder / CONFIG)
    if form is not None and config.form != form:
        what = f"is a checkpoint of form {config.form}, not {form}"
        remedy = f"Set model.form to {config.form}."
        raise UserError(what, file=folder / CONFIG, field="position_embedding_type", remedy=remedy)
    return from_weights(config, read_weights(folder, PICKLE), file=folder)


def from_weights(
    config: NucleotideConfig, weights: Mapping[str, Tensor], *, file: str | Path
) -> NucleotideTransformer:
    """A model of weights named as in `EsmForMaskedLM.state_dict()`; ``file`` is named in errors."""
    with torch.device("meta"):
        model = NucleotideTransformer(config, init_seed=None)
    state = _our_weights(config, weights, Path(file))
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_model(model: NucleotideTransformer, folder: Path) -> None:
    """Write ``model`` as a checkpoint of Hugging Face's: config.json and model.safetensors."""
    write_json(folder / CONFIG, _their_config(model.config))
    state = {name: value.contiguous() for name, value in their_weights(model).items()}
    (folder / SAFETENSORS).write_bytes(save(state, {"format": "pt"}))


def read_config(path: Path) -> NucleotideConfig:
    """The size of the model that a config.json describes. Raises `UserError` for what is no
    Nucleotide Transformer."""
    if not path.is_file():
        raise UserError("no such file", file=path, remedy="Download the whole checkpoint.")
    return parse_config(read_json(path), path)


def parse_config(found: Any, path: Path) -> NucleotideConfig:
    """The same of its entries; ``path`` is named in errors."""

    def refuse(field: str, what: str, remedy: str) -> UserError:
        return UserError(what, file=path, field=field, remedy=remedy)

    def number(field: str) -> int:
        value = found.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refuse(field, f"is {value!r}", "Restore the checkpoint's own config.json.")
        return value

    if not isinstance(found, dict) or found.get("model_type", "esm") != "esm":
        kind = found.get("model_type") if isinstance(found, dict) else type(found).__name__
        raise refuse("model_type", f"is {kind!r}, not esm", "Give a Nucleotide Transformer.")
    positions = found.get("position_embedding_type", "absolute")
    if positions not in ("absolute", "rotary"):
        raise refuse("position_embedding_type", f"is {positions!r}", "Give absolute or rotary.")
    form: Form = "v1" if positions == "absolute" else "v2"
    for field, wanted in (("emb_layer_norm_before", False), ("tie_word_embeddings", False)):
        if (found.get(field) or False) != wanted:
            what = f"is {found[field]!r}; no Nucleotide Transformer has that"
            raise refuse(field, what, "Give a Nucleotide Transformer.")
    if form == "v2" and found.get("add_bias_fnn", False):
        raise refuse("add_bias_fnn", "is true; form v2 has no biases there", "Give v2 weights.")
    for field, value in (("mask_token_id", MASK), ("pad_token_id", PAD)):
        if found.get(field, value) != value:
            raise refuse(field, f"is {found[field]!r}, not {value}", "Give its own vocabulary.")
    words = number("vocab_size")
    if words != len(vocabulary(form)):
        raise refuse(
            "vocab_size",
            f"is {words}, the vocabulary of form {form} has {len(vocabulary(form))}",
            "Give the checkpoint's own config.json; v1 has 4105 tokens, v2 4107.",
        )
    config = NucleotideConfig(
        form=form,
        layers=number("num_hidden_layers"),
        d_model=number("hidden_size"),
        heads=number("num_attention_heads"),
        ffn=number("intermediate_size"),
        tokens=number("max_position_embeddings") - FIRST_POSITION,
        eps=float(found.get("layer_norm_eps", 1e-12)),
        token_dropout=bool(found.get("token_dropout", form == "v1")),
    )
    if config.d_model % (2 * config.heads):
        what = f"is {config.d_model}, which {config.heads} heads cannot share evenly"
        raise refuse("hidden_size", what, "Restore the checkpoint's own config.json.")
    return config


def _their_names(config: NucleotideConfig) -> dict[str, tuple[str, ...]]:
    """Our name → theirs; where there are several, theirs lie one after the other in ours."""
    names: dict[str, tuple[str, ...]] = {
        "embedding.weight": ("esm.embeddings.word_embeddings.weight",)
    }
    if config.form == "v1":
        names["position.weight"] = (POSITIONS,)
    biased = ("weight", "bias")
    fed = biased if config.form == "v1" else ("weight",)
    for block in range(config.layers):
        ours, theirs = f"blocks.{block}.", f"esm.encoder.layer.{block}."
        for kind in biased:
            for name, place in (
                ("attention_norm", "attention.LayerNorm"),
                ("out", "attention.output.dense"),
                ("ffn_norm", "LayerNorm"),
            ):
                names[f"{ours}{name}.{kind}"] = (f"{theirs}{place}.{kind}",)
            parts = ("query", "key", "value")
            names[f"{ours}qkv.{kind}"] = tuple(
                f"{theirs}attention.self.{part}.{kind}" for part in parts
            )
        for kind in fed:
            names[f"{ours}up.{kind}"] = (f"{theirs}intermediate.dense.{kind}",)
            names[f"{ours}down.{kind}"] = (f"{theirs}output.dense.{kind}",)
    for kind in biased:
        names[f"last_norm.{kind}"] = (f"esm.encoder.emb_layer_norm_after.{kind}",)
        names[f"head.dense.{kind}"] = (f"lm_head.dense.{kind}",)
        names[f"head.norm.{kind}"] = (f"lm_head.layer_norm.{kind}",)
    names["head.decoder.weight"] = ("lm_head.decoder.weight",)
    names["head.decoder.bias"] = ("lm_head.bias",)
    return names


def _our_weights(
    config: NucleotideConfig, weights: Mapping[str, Tensor], file: Path
) -> dict[str, Tensor]:
    """Their weights under our names, each of the shape that the configuration asks for."""
    left = {name: value for name, value in weights.items() if not name.startswith(IGNORED)}
    left.pop("lm_head.decoder.bias", None)  # some versions save the bias twice
    if config.form == "v2":
        left.pop(POSITIONS, None)  # held, never read

    def refuse(name: str, what: str, remedy: str) -> UserError:
        return UserError(what, file=file, field=name, remedy=remedy)

    with torch.device("meta"):
        wanted = NucleotideTransformer(config, init_seed=None).state_dict()
    _check_form(config, left, refuse)
    state: dict[str, Tensor] = {}
    for ours, theirs in _their_names(config).items():
        shape = (wanted[ours].shape[0] // len(theirs), *wanted[ours].shape[1:])
        parts = []
        for name in theirs:
            if name not in left:
                if name.startswith("lm_head"):
                    remedy = "Give a checkpoint of EsmForMaskedLM, not of the encoder alone."
                    raise refuse(name, "is missing: the checkpoint lacks lm_head", remedy)
                raise refuse(name, "is missing", "Download the whole checkpoint.")
            value = left.pop(name)
            if tuple(value.shape) != shape:
                what = f"has shape {tuple(value.shape)}, the configuration asks for {shape}"
                raise refuse(name, what, "Give the config.json that belongs to the weights.")
            if not value.is_floating_point() or not bool(value.isfinite().all()):
                raise refuse(name, "is not finite numbers", "Download the checkpoint again.")
            parts.append(value.float())
        state[ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
    if config.form == "v2":
        state["inv_freq"] = _frequencies(config, left, refuse)
    if left:
        name = min(left)
        what = f"is no weight of form {config.form} ({len(left)} such in all)"
        raise refuse(name, what, "Give the config.json that belongs to the weights.")
    return state


def _check_form(config: NucleotideConfig, left: Mapping[str, Tensor], refuse: Any) -> None:
    """Say it in one sentence where the weights are those of the other form."""
    other: Form = "v2" if config.form == "v1" else "v1"
    remedy = "Give the config.json that belongs to the weights."
    words, up = "esm.embeddings.word_embeddings.weight", "esm.encoder.layer.0.intermediate.dense."
    if words in left and left[words].shape[0] == len(vocabulary(other)):
        what = f"has {len(left[words])} tokens: weights of form {other} in form {config.form}"
        raise refuse(words, what, remedy)
    if f"{up}weight" in left and (f"{up}bias" in left) != (config.form == "v1"):
        what = "is missing" if config.form == "v1" else "is there"
        what = f"{what}: weights of form {other} in form {config.form}"
        raise refuse(f"{up}bias", what, remedy)


def _frequencies(config: NucleotideConfig, left: dict[str, Tensor], refuse: Any) -> Tensor:
    """The one set of rotary frequencies: an equal copy a block where the checkpoint holds any."""
    found = rotary_frequencies(config.d_model // config.heads)
    held = {name: left.pop(name) for name in sorted(left) if name.endswith(INV_FREQ)}
    for number, (name, value) in enumerate(held.items()):
        if number == 0 and value.shape == found.shape:
            found = value.float()
        if value.shape != found.shape or not torch.equal(value.float(), found):
            raise refuse(name, "differs from block to block", "Download the checkpoint again.")
    return found


def their_weights(model: NucleotideTransformer) -> dict[str, Tensor]:
    """The model's weights under the names of `EsmForMaskedLM`, on the host."""
    ours, found = model.state_dict(), dict[str, Tensor]()
    for name, theirs in _their_names(model.config).items():
        parts = ours[name].detach().cpu().chunk(len(theirs))
        found |= dict(zip(theirs, (part.clone() for part in parts), strict=True))
    if model.config.form == "v2":
        for block in range(model.n_layers):
            name = f"esm.encoder.layer.{block}.{INV_FREQ}"
            found[name] = ours["inv_freq"].detach().cpu().clone()
    return dict(sorted(found.items()))


def _their_config(config: NucleotideConfig) -> dict[str, Any]:
    return {
        "architectures": ["EsmForMaskedLM"],
        "model_type": "esm",
        "vocab_size": len(vocabulary(config.form)),
        "hidden_size": config.d_model,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.ffn,
        "max_position_embeddings": config.limit + FIRST_POSITION,
        "position_embedding_type": "absolute" if config.form == "v1" else "rotary",
        "token_dropout": config.drops_tokens,
        "layer_norm_eps": config.eps,
        "emb_layer_norm_before": False,
        "tie_word_embeddings": False,
        "add_bias_fnn": config.form == "v1",
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
