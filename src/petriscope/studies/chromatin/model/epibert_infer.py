"""EpiBERT's configuration from the shapes of a checkpoint's variables, and from a file where shapes
cannot tell."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from petriscope.errors import UserError
from petriscope.studies.chromatin.model.epibert_config import EpiBERTConfig
from petriscope.studies.chromatin.model.tf_checkpoint import ObjectCheckpoint

RELEASED = EpiBERTConfig()
"""The configuration of the released checkpoints."""
_TOWER_KERNEL = "layer_with_weights-0/layer_with_weights-1/kernel"
_UNUSED = (
    "name kernel_transformation normalize numerical_stabilizer max_seq_length dim hidden_size mode "
    "tf upstream"
)


class Inferred(NamedTuple):
    """A configuration and what had to be assumed for it."""

    config: EpiBERTConfig
    notes: tuple[str, ...]


def _ours(mapping: Mapping[str, Any], file: str | Path | None) -> dict[str, Any]:
    """The fields of our configuration that ``mapping`` sets, by our names or by the original's."""
    names = {field.name for field in fields(EpiBERTConfig)}
    known = names | set(EpiBERTConfig.ORIGINAL_NAMES) | set(_UNUSED.split())
    for name in mapping:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            remedy = f"Did you mean {close[0]}?" if close else "See EpiBERTConfig for the names."
            raise UserError(
                "is no hyper-parameter of EpiBERT", file=file, field=name, remedy=remedy
            )
    if (
        mapping.get("kernel_transformation", "relu_kernel_transformation")
        != "relu_kernel_transformation"
    ):
        raise UserError(
            "only relu_kernel_transformation is supported", file=file, field="kernel_transformation"
        )
    values = {
        ours: mapping[theirs]
        for theirs, ours in EpiBERTConfig.ORIGINAL_NAMES.items()
        if theirs in mapping
    }
    return values | {name: mapping[name] for name in names if name in mapping}


def read_config(file: str | Path) -> dict[str, Any]:
    """Hyper-parameters in a YAML file, by our names or by the original's; an unknown name is
    refused."""
    try:
        mapping = yaml.safe_load(Path(file).read_text())
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", file=file, remedy="Give a YAML file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"is not YAML ({error})", file=file, remedy="Write name: value lines."
        ) from error
    if not isinstance(mapping, dict):
        raise UserError(
            "holds no name: value lines", file=file, remedy="Write one hyper-parameter a line."
        )
    return _ours(mapping, file)


def _shape(checkpoint: ObjectCheckpoint, path: str, rank: int) -> tuple[int, ...]:
    shape = checkpoint.shape(path)
    if shape is None:
        raise UserError(
            "is missing, so this is not an accessibility-pretrained EpiBERT",
            file=checkpoint.bundle.prefix,
            field=path,
            remedy="Convert a pretrained checkpoint, such as the released model1/ckpt-45.",
        )
    if len(shape) != rank:
        raise UserError(
            f"has shape {shape}, not {rank} axes", file=checkpoint.bundle.prefix, field=path
        )
    return shape


def _stages(checkpoint: ObjectCheckpoint, tower: str) -> Iterator[int]:
    index = 0
    while (path := f"{tower}/layer_with_weights-{index}/{_TOWER_KERNEL}") in checkpoint:
        yield _shape(checkpoint, path, 3)[2]
        index += 1


def _layers(checkpoint: ObjectCheckpoint) -> int:
    index = 0
    while f"performer/layers/{index}/self_attention/query_dense_layer/kernel" in checkpoint:
        index += 1
    return index


def _from_shapes(checkpoint: ObjectCheckpoint) -> dict[str, Any]:
    """Every field that shapes determine."""
    d_model = _shape(checkpoint, "pre_transformer_projection/kernel", 2)[1]
    _, heads, head_dim = _shape(
        checkpoint, "performer/layers/0/self_attention/query_dense_layer/kernel", 3
    )
    motifs, units = _shape(checkpoint, "motif_activity_fc1/kernel", 2)
    channels = _shape(checkpoint, "final_pointwise_conv/layer_with_weights-1/kernel", 3)[2]
    scales = [6, *range(1, d_model + 1)]
    return {
        "sequence_filters": tuple(_stages(checkpoint, "conv_tower")),
        "atac_stem_filters": _shape(checkpoint, "stem_conv_atac/kernel", 3)[2],
        "atac_filters": tuple(_stages(checkpoint, "conv_tower_atac")),
        "num_motifs": motifs,
        "motif_units_fc": units,
        "d_model": d_model,
        "heads": heads,
        "head_dim": head_dim,
        "layers": _layers(checkpoint),
        "final_norm": "performer/layer_norm/gamma" in checkpoint,
        # Any scale that leaves so many channels builds the same head.
        "final_point_scale": next((scale for scale in scales if d_model // scale == channels), 1),
    }


def infer_config(
    checkpoint: ObjectCheckpoint,
    given: Mapping[str, Any] | None = None,
    *,
    released: EpiBERTConfig = RELEASED,
) -> Inferred:
    """The configuration of ``checkpoint``: from shapes, from ``given`` where they are silent, else
    as released.

    A given value that shapes contradict is refused, and so is a released-size model with other than
    the released eight heads unless its seed is given: the projection is in no checkpoint, and such
    models were trained with another seed.
    """
    given = dict(given or {})
    values = _from_shapes(checkpoint)
    prefix = checkpoint.bundle.prefix
    theirs = {ours: name for name, ours in EpiBERTConfig.ORIGINAL_NAMES.items()}
    width = values["d_model"]
    scales = [n for n in range(1, width + 1) if width // n == width // values["final_point_scale"]]
    for name, found in values.items():
        wanted = tuple(given[name]) if isinstance(given.get(name), list) else given.get(name, found)
        if name == "final_point_scale" and wanted in scales:
            continue
        if wanted != found:
            raise UserError(
                f"the configuration says {wanted}, the shapes of the checkpoint {found}",
                file=prefix,
                field=theirs.get(name, name),
                remedy="Leave it out of the configuration, or convert the checkpoint that it "
                "describes.",
            )
    same_size = values["sequence_filters"] == released.sequence_filters
    if same_size and values["heads"] != released.heads and "seed" not in given:
        raise UserError(
            f"has {values['heads']} heads, the released models {released.heads}: seed "
            f"{released.seed} would be wrong",
            file=prefix,
            field="performer/layers/0/self_attention/query_dense_layer/kernel",
            remedy="Give the seed this model was trained with as seed: in --config.",
        )
    notes = []
    if "seed" not in given:
        notes.append(
            f"seed {released.seed} of the random projection is assumed (no checkpoint holds it)"
        )
    token = 2 ** (1 + len(values["sequence_filters"]))
    output = given.get(
        "output_length", given.get("input_length", released.output_length * token) // token
    )
    if not {"input_length", "output_length"} & set(given):
        notes.append(f"a window of {output} tokens is assumed (weights fit any)")
    if "final_output_length" not in given:
        notes.append("a crop of 2 tokens on either side is assumed")
    window = {
        "output_length": output,
        "input_length": output * token,
        "final_output_length": output - 4,
    }
    return Inferred(EpiBERTConfig(**(window | values | given)), tuple(notes))
