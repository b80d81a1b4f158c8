"""``petriscope convert``: a released TensorFlow checkpoint of EpiBERT to one safetensors file."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from petriscope.errors import UserError
from petriscope.files import Output, claim
from petriscope.progress import progress
from petriscope.studies.chromatin.model.epibert import FILE_FORMAT, EpiBERT, EpiBERTConfig
from petriscope.studies.chromatin.model.epibert_infer import infer_config, read_config
from petriscope.studies.chromatin.model.epibert_original import original_places
from petriscope.studies.chromatin.model.tf_checkpoint import ObjectCheckpoint

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
