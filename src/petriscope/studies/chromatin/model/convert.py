"""``petriscope convert`` turns a released TensorFlow checkpoint of EpiBERT into one safetensors
file; the configuration comes from the shapes of its variables, and from a file where shapes cannot
tell."""

from __future__ import annotations

import argparse
import difflib
import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from safetensors import SafetensorError, safe_open

from petriscope.errors import UserError
from petriscope.files import Output, claim
from petriscope.progress import progress
from petriscope.studies.chromatin.model.epibert import FILE_FORMAT, EpiBERT
from petriscope.studies.chromatin.model.epibert_config import EpiBERTConfig
from petriscope.studies.chromatin.model.epibert_original import original_places
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
        mapping = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
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


_FINE_TUNED = ("final_pointwise_conv_rna", "final_dense_profile_rna")


def _is_model(path: Path) -> bool:
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("format") == FILE_FORMAT
    except (SafetensorError, OSError):
        return False


CONVERTED = Output("a converted model", known=_is_model)


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion read, assumed and wrote."""

    checkpoint: Path
    out: Path
    config: EpiBERTConfig
    variables: int
    parameters: int
    """Numbers in those variables, running statistics included."""
    ignored: int
    """Other tensors of the checkpoint (optimizer state, counters): verified, not converted."""
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text, one fact a line."""
        config = self.config
        return [
            f"{self.checkpoint} -> {self.out}",
            f"{self.variables} variables, {self.parameters:,} numbers; {self.ignored} other "
            f"tensors verified, left out",
            f"{config.layers} layers, width {config.d_model}, {config.heads} heads of "
            f"{config.head_dim}, "
            f"{config.num_motifs} motifs, {config.input_length:,} bp, seed {config.seed}",
            *self.notes,
        ]


def checkpoint_prefix(path: str | Path) -> Path:
    """The bundle prefix meant by ``path``: the prefix itself, its .index file, or a folder with one
    checkpoint."""
    path = Path(path)
    if path.suffix == ".index":
        return path.with_suffix("")
    if not path.is_dir():
        return path
    folder = path / "variables" if (path / "variables" / "variables.index").is_file() else path
    found = sorted(folder.glob("*.index"))
    if len(found) != 1:
        names = ", ".join(file.stem for file in found) or "none"
        raise UserError(
            f"holds {len(found)} checkpoints ({names})", file=path, remedy="Give the prefix of one."
        )
    return found[0].with_suffix("")


def _refuse_fine_tuned(paths: Mapping[str, str], prefix: Path) -> None:
    extra = sorted({path.split("/")[0] for path in paths} & set(_FINE_TUNED))
    if extra:
        raise UserError(
            f"is the fine-tuned (RAMPAGE) model: it has {' and '.join(extra)}",
            file=prefix,
            remedy="Convert an accessibility-pretrained checkpoint, such as the released "
            "model1/ckpt-45.",
        )


def _refuse_strangers(
    checkpoint: ObjectCheckpoint, paths: Mapping[str, str], config: EpiBERTConfig
) -> None:
    """Every variable of the model must be there, and no other."""
    prefix, wanted = checkpoint.bundle.prefix, original_places(config)
    missing = [path for path in wanted if path not in checkpoint]
    if missing:
        raise UserError(
            f"lacks {len(missing)} of the model's {len(wanted)} variables: "
            f"{', '.join(missing[:5])}",
            file=prefix,
            remedy="Convert a complete accessibility-pretrained checkpoint.",
        )
    known = {checkpoint.entry_key(path) for path in wanted}
    extra = sorted(path for path, key in paths.items() if key not in known)
    if extra:
        raise UserError(
            f"has {len(extra)} variables that EpiBERT has not: {', '.join(extra[:5])}",
            file=prefix,
            remedy="Convert an accessibility-pretrained checkpoint.",
        )


def convert_checkpoint(
    prefix: str | Path, out: str | Path, config: Mapping[str, Any] | None = None
) -> ConversionReport:
    """Convert the TensorFlow object checkpoint at ``prefix`` to ``out`` (safetensors, configuration
    inside).

    ``config`` holds hyper-parameters that shapes cannot tell (see ``read_config``). Every checksum
    of the checkpoint is verified. Raises UserError, naming the variable, for a damaged, incomplete,
    fine-tuned or misfitting checkpoint.
    """
    prefix = checkpoint_prefix(prefix)
    checkpoint = ObjectCheckpoint(prefix)
    paths = checkpoint.variables()
    _refuse_fine_tuned(paths, prefix)
    inferred = infer_config(checkpoint, config)
    places = original_places(inferred.config)
    _refuse_strangers(checkpoint, paths, inferred.config)
    weights: dict[str, np.ndarray] = {}
    notes = list(inferred.notes)
    for path in progress(places, "reading weights", unit="variable"):
        weights[path] = checkpoint.array(path)
    kinds = {checkpoint.bundle.entries[checkpoint.entry_key(path) or ""].dtype for path in places}
    if kinds != {1}:
        notes.append("weights stored in other than float32 were cast to it")
    used = {checkpoint.entry_key(path) for path in places}
    rest = [key for key in checkpoint.bundle.entries if key not in used]
    for key in progress(rest, "verifying the rest", unit="tensor"):
        checkpoint.bundle.verify(key)
    model = EpiBERT(inferred.config, init_seed=None).load_original(weights)
    model.save_safetensors(out)
    numbers = sum(array.size for array in weights.values())
    return ConversionReport(
        prefix, Path(out), inferred.config, len(places), numbers, len(rest), tuple(notes)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``petriscope convert``."""
    parser.add_argument(
        "checkpoint",
        help="prefix of the TensorFlow checkpoint (.index and .data-* beside each other)",
    )
    parser.add_argument("out", help="safetensors file to write")
    parser.add_argument(
        "--config",
        help="YAML with hyper-parameters that shapes cannot tell (seed, output_length, ...)",
    )


def run(args: argparse.Namespace) -> int:
    """``petriscope convert``; returns the exit status."""
    prefix = checkpoint_prefix(args.checkpoint)
    parts = sorted(prefix.parent.glob(f"{glob.escape(prefix.name)}.*"))
    claim(args.out, CONVERTED, inputs=[*parts, *([args.config] if args.config else [])])
    given = read_config(args.config) if args.config else None
    report = convert_checkpoint(prefix, args.out, given)
    print("\n".join(report.lines()))
    return 0
