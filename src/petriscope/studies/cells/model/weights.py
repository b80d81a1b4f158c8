"""A checkpoint is a folder: of Geneformer config.json beside model.safetensors or
pytorch_model.bin, as Hugging Face writes it; of scGPT args.json beside best_model.pt, as its
authors do. Ours are written in the same forms, scGPT's weights as model.safetensors.

Nothing in the folder is executed: a pickle is read through `weights_only` alone. Names and shapes
are those of `BertForMaskedLM` and `TransformerModel`. Weights of parts that are not probed are
listed (`PostNormModel.left_out`); whatever else does not fit, or is missing, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from petriscope.errors import UserError
from petriscope.files import read_json, write_json
from petriscope.probe.weights import SAFETENSORS, read_weights
from petriscope.studies.cells.model.bin_tokens import PAD_VALUE
from petriscope.studies.cells.model.geneformer import MASK, PAD, Geneformer, GeneformerConfig
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.scgpt import (
    CELL_STYLES,
    MASK_VALUE,
    STYLES,
    ScGPT,
    ScGPTConfig,
)

CONFIG, ARGS = "config.json", "args.json"
PICKLES = {"geneformer": "pytorch_model.bin", "scgpt": "best_model.pt"}
NAMED = 5
"""Weights that an error names, at most."""

WORDS = "bert.embeddings.word_embeddings.weight"
BIAS = "cls.predictions.bias"
COPIES = {WORDS: "cls.predictions.decoder.weight", BIAS: "cls.predictions.decoder.bias"}
"""One tensor under two names, either of which may be missing."""
GENES = "encoder.embedding.weight"
UNREAD: Mapping[str, tuple[str, ...]] = {
    "geneformer": ("bert.pooler.", "bert.embeddings.position_ids", "cls.seq_relationship."),
    "scgpt": (
        "flag_encoder.",
        "mvc_decoder.",
        "cls_decoder.",
        "grad_reverse_discriminator.",
        "decoder.zero_logit.",
    ),
}
"""Beginnings of the names of weights that no pass to the probed prediction reads."""

Names = dict[str, tuple[str, ...]]
"""Our name → theirs; where there are several, theirs lie one after the other in ours."""


def load_checkpoint(folder: str | Path) -> PostNormModel:
    """The model in a checkpoint folder, in eval mode, of whichever family it is.

    Raises
    ------
    UserError
        For a missing or damaged file, another architecture, weights that are missing, have no
        place or another shape than the configuration's, and values that are not finite.
    """
    folder = Path(folder)
    require_checkpoint(folder)
    if (folder / ARGS).is_file():
        weights = read_weights(folder, PICKLES["scgpt"])
        return scgpt_of(read_json(folder / ARGS), weights, file=folder, released=True)
    weights = read_weights(folder, PICKLES["geneformer"])
    return geneformer_of(read_json(folder / CONFIG), weights, file=folder)


def require_checkpoint(folder: Path) -> None:
    """Raise `UserError` for a folder that is not there or has no description of a model."""
    if not folder.is_dir():
        remedy = f"Name a folder with {CONFIG} or {ARGS} and the weights."
        raise UserError("no such folder", file=folder, remedy=remedy)
    if not any((folder / name).is_file() for name in (ARGS, CONFIG)):
        what = f"holds neither {CONFIG} (Geneformer) nor {ARGS} (scGPT)"
        raise UserError(what, file=folder, remedy="Download the whole checkpoint.")


def save_model(model: PostNormModel, folder: Path) -> None:
    """Write ``model`` as a checkpoint: config.json or args.json, and model.safetensors."""
    if isinstance(model, Geneformer):
        write_json(folder / CONFIG, _bert_config(model.config))
    else:
        assert isinstance(model, ScGPT)
        write_json(folder / ARGS, _scgpt_args(model.config))
    (folder / SAFETENSORS).write_bytes(save(their_weights(model), {"format": "pt"}))


def geneformer_of(config: Any, weights: Mapping[str, Tensor], *, file: str | Path) -> Geneformer:
    """Geneformer of the entries of a config.json and weights named as in `BertForMaskedLM`;
    ``file`` is named in errors."""
    size, left = _bert_size(config, Path(file)), dict(weights)
    for name, copy in COPIES.items():
        if copy not in left:
            continue
        second = left.pop(copy)
        if not torch.equal(left.setdefault(name, second), second):
            what, remedy = f"differs from {name}, to which it is tied", "Give its own weights."
            raise UserError(what, file=file, field=copy, remedy=remedy)
    with torch.device("meta"):
        model = Geneformer(size, None)
    return _filled(model, left, Path(file))


def scgpt_of(
    args: Any, weights: Mapping[str, Tensor], *, file: str | Path, released: bool = False
) -> ScGPT:
    """scGPT of the entries of an args.json and weights named as in `TransformerModel`, with plain
    or with flash attention; ``file`` is named in errors. ``released``: refuse values of padding and
    mask other than the ones that its cells are given."""
    left = {
        name.replace("self_attn.Wqkv.", "self_attn.in_proj_"): value
        for name, value in weights.items()
    }
    config = _scgpt_size(args, left, Path(file), released)
    with torch.device("meta"):
        model = ScGPT(config, None)
    return _filled(model, left, Path(file))


def their_weights(model: PostNormModel) -> dict[str, Tensor]:
    """The model's weights under the names of their authors' module, on the host."""
    ours, found = model.state_dict(), dict[str, Tensor]()
    for name, theirs in _names(model).items():
        parts = ours[name].detach().cpu().chunk(len(theirs))
        found |= dict(zip(theirs, (part.contiguous().clone() for part in parts), strict=True))
    return dict(sorted(found.items()))


def _filled(model: Any, left: dict[str, Tensor], file: Path) -> Any:
    """``model`` with its weights taken out of ``left`` in which unread ones alone may stay."""

    def refuse(names: list[str], what: str, remedy: str) -> UserError:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        listed = ", ".join(names[:NAMED]) + more
        return UserError(f"{what}: {listed}", file=file, field="weights", remedy=remedy)

    wanted, state, names = model.state_dict(), dict[str, Tensor](), _names(model)
    missing = [name for theirs in names.values() for name in theirs if name not in left]
    if missing:
        head = all(name.startswith("cls.") for name in missing)
        what = "the language-model head is missing" if head else "weights are missing"
        remedy = "Give a checkpoint of BertForMaskedLM." if head else "Download it all again."
        raise refuse(missing, what, remedy)
    for ours, theirs in names.items():
        shape = (wanted[ours].shape[0] // len(theirs), *wanted[ours].shape[1:])
        parts = [left.pop(name) for name in theirs]
        for name, value in zip(theirs, parts, strict=True):
            if tuple(value.shape) != shape:
                what = f"has shape {tuple(value.shape)}, the configuration asks for {shape}"
                remedy = "Give the configuration that belongs to the weights."
                raise UserError(what, file=file, field=name, remedy=remedy)
            if not value.is_floating_point() or not bool(value.isfinite().all()):
                remedy = "Download the checkpoint again."
                raise UserError("is not finite numbers", file=file, field=name, remedy=remedy)
        state[ours] = torch.cat([value.float() for value in parts])
    unknown = sorted(name for name in left if not name.startswith(UNREAD[model.family]))
    if unknown:
        remedy = "Give the configuration that belongs to the weights."
        raise refuse(unknown, f"{model.family} has no place for {len(unknown)} weights", remedy)
    model.load_state_dict(state, assign=True)
    model.left_out = tuple(sorted(left))
    return model.eval()


def _names(model: PostNormModel) -> Names:
    """Our name → theirs."""
    if isinstance(model, Geneformer):
        return _bert_names(model)
    assert isinstance(model, ScGPT)
    return _scgpt_names(model)


def _bert_names(model: Geneformer) -> Names:
    places = {
        "embedding_norm": "bert.embeddings.LayerNorm",
        "dense": "cls.predictions.transform.dense",
        "head_norm": "cls.predictions.transform.LayerNorm",
    }
    names: Names = {
        "embedding.weight": (WORDS,),
        "position.weight": ("bert.embeddings.position_embeddings.weight",),
        "kind.weight": ("bert.embeddings.token_type_embeddings.weight",),
        "bias": (BIAS,),
    }
    for block in range(model.n_layers):
        ours, theirs = f"blocks.{block}.", f"bert.encoder.layer.{block}."
        places |= {
            f"{ours}out": f"{theirs}attention.output.dense",
            f"{ours}attention_norm": f"{theirs}attention.output.LayerNorm",
            f"{ours}up": f"{theirs}intermediate.dense",
            f"{ours}down": f"{theirs}output.dense",
            f"{ours}ffn_norm": f"{theirs}output.LayerNorm",
        }
        for kind in ("weight", "bias"):
            names[f"{ours}qkv.{kind}"] = tuple(
                f"{theirs}attention.self.{part}.{kind}" for part in ("query", "key", "value")
            )
    return names | _both_kinds(places)


def _scgpt_names(model: ScGPT) -> Names:
    places = {"embedding_norm": "encoder.enc_norm"}
    names: Names = {"embedding.weight": (GENES,)}
    if model.config.style == "continuous":
        parts = {"up": "linear1", "down": "linear2", "norm": "norm"}
        places |= {f"value.{ours}": f"value_encoder.{theirs}" for ours, theirs in parts.items()}
    elif model.config.style == "category":
        names["value.embedding.weight"] = ("value_encoder.embedding.weight",)
        places["value.norm"] = "value_encoder.enc_norm"
    for block in range(model.n_layers):
        ours, theirs = f"blocks.{block}.", f"transformer_encoder.layers.{block}."
        places |= {
            f"{ours}out": f"{theirs}self_attn.out_proj",
            f"{ours}attention_norm": f"{theirs}norm1",
            f"{ours}up": f"{theirs}linear1",
            f"{ours}down": f"{theirs}linear2",
            f"{ours}ffn_norm": f"{theirs}norm2",
        }
        for kind in ("weight", "bias"):
            names[f"{ours}qkv.{kind}"] = (f"{theirs}self_attn.in_proj_{kind}",)
    for number in range(3):
        places[f"decoder.{number}"] = f"decoder.fc.{2 * number}"
    if model.mvc is not None:
        places["mvc.query"] = "mvc_decoder.gene2query"
        names["mvc.map.weight"] = ("mvc_decoder.W.weight",)
    if model.classifier is not None:
        places["classifier.out"] = "cls_decoder.out_layer"
        for number in range(model.config.class_layers - 1):
            places[f"classifier.linear.{number}"] = f"cls_decoder._decoder.{3 * number}"
            places[f"classifier.norm.{number}"] = f"cls_decoder._decoder.{3 * number + 2}"
    return names | _both_kinds(places)


def _both_kinds(places: Mapping[str, str]) -> Names:
    return {
        f"{ours}.{kind}": (f"{theirs}.{kind}",)
        for ours, theirs in places.items()
        for kind in ("weight", "bias")
    }


class _Entries:
    """The entries of a configuration file, each checked when it is asked for."""

    def __init__(self, found: Any, path: Path) -> None:
        self.path = path
        if not isinstance(found, dict):
            raise self.refuse(None, f"is {type(found).__name__}, no mapping")
        self.found = found

    def refuse(self, field: str | None, what: str, remedy: str | None = None) -> UserError:
        remedy = remedy or "Restore the checkpoint's own configuration."
        return UserError(what, file=self.path, field=field, remedy=remedy)

    def number(self, field: str, default: int | None = None) -> int:
        value = self.found.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(field, f"is {value!r}")
        return value

    def only(self, field: str, wanted: Any, family: str) -> None:
        """Raise `UserError` where the entry is there and says something else."""
        value = self.found.get(field, wanted)
        if value != wanted:
            what = f"is {value!r}; {family} has {wanted!r}"
            raise self.refuse(field, what, f"Give a checkpoint of {family}.")

    def choice(self, field: str, allowed: tuple[str, ...]) -> Any:
        value = self.found.get(field, allowed[0])
        if value not in allowed:
            raise self.refuse(field, f"is {value!r}, none of {', '.join(allowed)}")
        return value


def _bert_size(found: Any, file: Path) -> GeneformerConfig:
    entries = _Entries(found, file)
    for field, wanted in (
        ("model_type", "bert"),
        ("hidden_act", "relu"),
        ("position_embedding_type", "absolute"),
        ("tie_word_embeddings", True),
        ("is_decoder", False),
        ("pad_token_id", PAD),
    ):
        entries.only(field, wanted, "Geneformer")
    config = GeneformerConfig(
        vocabulary=entries.number("vocab_size"),
        layers=entries.number("num_hidden_layers"),
        d_model=entries.number("hidden_size"),
        heads=entries.number("num_attention_heads"),
        ffn=entries.number("intermediate_size"),
        tokens=entries.number("max_position_embeddings"),
        types=entries.number("type_vocab_size", 2),
        eps=float(entries.found.get("layer_norm_eps", 1e-12)),
    )
    if config.d_model % config.heads:
        what = f"is {config.d_model}, which {config.heads} heads cannot share evenly"
        raise entries.refuse("hidden_size", what)
    if config.vocabulary <= MASK:
        raise entries.refuse("vocab_size", f"is {config.vocabulary}")
    return config


def _scgpt_size(
    found: Any, weights: Mapping[str, Tensor], file: Path, released: bool
) -> ScGPTConfig:
    entries = _Entries(found, file)
    for field, only in (
        ("use_batch_labels", False),
        ("domain_spec_batchnorm", False),
        ("pre_norm", False),
        ("norm", "post"),
        ("activation", "relu"),
    ):
        entries.only(field, only, "the probed scGPT")
    style = entries.choice("input_emb_style", STYLES)
    if released and style != "category":
        for field, value in (("pad_value", PAD_VALUE), ("mask_value", MASK_VALUE)):
            entries.only(field, value, "the probed scGPT")
    if GENES not in weights:
        remedy = "Give a checkpoint of scGPT's TransformerModel."
        raise UserError("is missing", file=file, field=GENES, remedy=remedy)
    bins, scores = (
        weights.get("value_encoder.embedding.weight"),
        weights.get("cls_decoder.out_layer.weight"),
    )
    config = ScGPTConfig(
        vocabulary=len(weights[GENES]),
        layers=entries.number("nlayers"),
        d_model=entries.number("embsize"),
        heads=entries.number("nheads"),
        ffn=entries.number("d_hid"),
        style=style,
        bins=entries.number("n_bins", 51) if bins is None else len(bins) - 2,
        cell_style=entries.choice("cell_emb_style", CELL_STYLES),
        mvc="mvc_decoder.W.weight" in weights,
        classes=None if scores is None else len(scores),
        class_layers=entries.number("n_layers_cls", 3),
        eps=float(entries.found.get("layer_norm_eps", 1e-5)),
    )
    if config.d_model % config.heads:
        what = f"is {config.d_model}, which {config.heads} heads cannot share evenly"
        raise entries.refuse("embsize", what)
    return config


def _bert_config(config: GeneformerConfig) -> dict[str, Any]:
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": config.vocabulary,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.ffn,
        "hidden_act": "relu",
        "max_position_embeddings": config.tokens,
        "type_vocab_size": config.types,
        "layer_norm_eps": config.eps,
        "pad_token_id": PAD,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _scgpt_args(config: ScGPTConfig) -> dict[str, Any]:
    return {
        "embsize": config.d_model,
        "nheads": config.heads,
        "d_hid": config.ffn,
        "nlayers": config.layers,
        "n_layers_cls": config.class_layers,
        "dropout": 0.0,
        "n_bins": config.bins,
        "input_emb_style": config.style,
        "cell_emb_style": config.cell_style,
        "layer_norm_eps": config.eps,
    }
