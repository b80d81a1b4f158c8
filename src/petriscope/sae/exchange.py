"""Other libraries' autoencoders: SAELens, dictionary_learning, sparsify, overcomplete and the
Genomic-LM study. Our input scale is folded into their weights.

With s our scale, z = (s·W_enc)(h − b_dec/s) + b_enc and ĥ = zᵀ(W_dec/s) + b_dec/s, so codes are the
same numbers there. One exception: dictionary_learning's ReLU class insists on unit decoder rows, so
its codes are ours divided by s.

What is read gives the codes that the library's own loader gives, or is refused by the name of the
field or tensor that has no equal here. Weights in half precision are read exactly, and the
arithmetic is float32. No code in a file is run: pickled modules are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, read_json, write_json
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig

MARK = {"written_by": "petriscope"}
"""In the description of an exported folder: one without it is the user's and is never replaced."""
EXPORTED = {
    name: Output(f"a {name} folder exported before", (description, weights), json_with(**MARK))
    for name, description, weights in (
        ("saelens", "cfg.json", "sae_weights.safetensors"),
        ("dictionary_learning", "config.json", "ae.pt"),
        ("sparsify", "cfg.json", "sae.safetensors"),
    )
}
PREFIX = re.compile(r"(?:_orig_mod\.|module\.)+")
"""what torch.compile and DataParallel put before every name"""
UNIT = 0.05
"""so far may the rows of an overcomplete dictionary be from unit length (one optimizer step)"""


@dataclass(frozen=True)
class Given:
    """What the user says of an autoencoder whose file does not."""

    variant: str | None = None
    k: int | None = None
    threshold: float | None = None


NOTHING_GIVEN = Given()


class Format(NamedTuple):
    """How a library's autoencoder is read and, where we can, written."""

    load: Callable[[Path, Given], SAE]
    save: Callable[[SAE, Path], None] | None = None


def save_saelens(sae: SAE, folder: Path) -> None:
    """SAELens 6: TopK as `topk`, BatchTopK and Matryoshka as `jumprelu` with one threshold, ReLU as
    `standard`."""
    raw = _raw(sae)
    tensors = {"W_enc": raw.W_enc.T, "b_enc": raw.b_enc, "W_dec": raw.W_dec, "b_dec": raw.b_dec}
    described: dict[str, Any] = {
        **MARK,
        "architecture": {"topk": "topk", "relu_l1": "standard"}.get(sae.config.variant, "jumprelu"),
        "d_in": sae.d,
        "d_sae": sae.m,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {},
        "k": sae.config.k,
    }
    if described["architecture"] == "topk":
        described["rescale_acts_by_decoder_norm"] = False
    if described["architecture"] == "jumprelu":
        tensors["threshold"] = torch.full((sae.m,), sae.threshold)
    with atomic_folder(folder, EXPORTED["saelens"]) as temporary:
        write_json(temporary / "cfg.json", described)
        save_file(
            {name: t.contiguous() for name, t in tensors.items()},
            temporary / "sae_weights.safetensors",
        )


def load_saelens(folder: Path, given: Given = NOTHING_GIVEN) -> SAE:
    """A folder that SAELens 3 to 6 wrote; a BatchTopK or Matryoshka one still in training becomes
    what SAELens makes of it for inference.

    Not here: gated ones, transcoders, a threshold for each latent, normalized inputs.
    """
    box = _open(folder, "cfg.json", "sae_weights.safetensors")
    activation = box.get("activation_fn_str", box.get("activation_fn", "relu"))
    kind = box.get("architecture", "standard")
    if (kind, activation) == ("standard", "topk"):  # SAELens 3
        kind = "topk"
    known = ("standard", "topk", "jumprelu", "batchtopk", "matryoshka_batchtopk")
    box.require(kind in known, "architecture", kind)
    box.require(
        activation == "relu" or (kind, activation) == ("topk", "topk"),
        "activation_fn_str",
        activation,
    )
    box.require(
        box.get("normalize_activations", "none") in ("none", False, None),
        "normalize_activations",
        box.get("normalize_activations"),
        "Fold the norm into the weights first (fold_activation_norm_scaling_factor).",
    )
    W_enc = box.take("W_enc", "d_in", "d_sae")
    W_dec, b_enc, b_dec = (
        box.take("W_dec", "d_sae", "d_in"), box.take("b_enc", "d_sae"), box.take("b_dec", "d_in")
    )  # fmt: skip
    threshold, k = 0.0, 1
    if kind == "jumprelu":
        name = "threshold" if "threshold" in box.tensors else "log_threshold"
        theta = box.take(name if name in box.tensors else "threshold", "d_sae")
        threshold = box.common(name, theta.exp() if name == "log_threshold" else theta)
    elif kind == "topk":
        arguments = box.get("activation_fn_kwargs") or {}
        postact = arguments.get("postact_fn", "relu")
        box.require("relu" in str(postact).lower(), "activation_fn_kwargs.postact_fn", postact)
        k = box.count("k", box.get("k", arguments.get("k")))
    elif kind != "standard":
        threshold = max(float(box.take("topk_threshold")), 0.0)
    if kind != "topk" and box.get("k") is not None:  # of the training; a mean may be no whole one
        k = max(1, round(box.number("k", box.get("k"))))
    if kind not in ("standard", "jumprelu") and box.flag("rescale_acts_by_decoder_norm", False):
        norm = W_dec.norm(dim=1)  # codes in units of unit decoder rows
        W_enc, b_enc, W_dec = W_enc * norm, b_enc * norm, W_dec / norm[:, None]
    for name in ("finetuning_scaling_factor", "scaling_factor"):
        if name in box.tensors:  # scales the decoder alone
            factor = box.take(name, "d_sae")
            plain = bool(torch.allclose(factor, torch.ones_like(factor)))
            box.require(
                plain or box.flag("finetuning_scaling_factor", False),
                name,
                "given, but cfg.json does not use it",
            )
            W_dec = W_dec * factor[:, None]
    if not box.flag("apply_b_dec_to_input", True):
        b_enc = b_enc + b_dec @ W_enc
    variant = {"standard": "relu_l1", "topk": "topk"}.get(str(kind), "batchtopk")
    return box.sae(variant, k, threshold, W_enc.T, b_enc, W_dec, b_dec)


def save_dictionary_learning(sae: SAE, folder: Path) -> None:
    """dictionary_learning 0.1: `BatchTopKSAE`, `AutoEncoderTopK` or `AutoEncoder` (ae.pt +
    config.json)."""
    kind = {"topk": "AutoEncoderTopK", "relu_l1": "AutoEncoder"}.get(
        sae.config.variant, "BatchTopKSAE"
    )
    raw = _raw(sae)
    if kind == "AutoEncoder":
        raw = _Raw(sae.W_enc, sae.b_enc / sae.scale, sae.W_dec, raw.b_dec)
    state = {
        "encoder.weight": raw.W_enc,
        "encoder.bias": raw.b_enc,
        "decoder.weight": raw.W_dec.T.contiguous(),
    }
    if kind == "AutoEncoder":
        state["bias"] = raw.b_dec
    else:
        state |= {
            "b_dec": raw.b_dec,
            "k": torch.tensor(sae.config.k, dtype=torch.int),
            "threshold": torch.tensor(sae.threshold),
        }
    trainer = {"dict_class": kind, "activation_dim": sae.d, "dict_size": sae.m, "k": sae.config.k}
    with atomic_folder(folder, EXPORTED["dictionary_learning"]) as temporary:
        torch.save(state, temporary / "ae.pt")
        write_json(temporary / "config.json", {**MARK, "trainer": trainer})


def load_dictionary_learning(folder: Path, given: Given = NOTHING_GIVEN) -> SAE:
    """A dictionary_learning folder (ae.pt and config.json, or ae.pt alone where its tensors tell
    the class).

    `AutoEncoder` is brought to unit decoder rows, as the library's loader does. Not here:
    `GatedAutoEncoder`, a threshold for each latent, BatchTopK without a threshold.
    """
    folder = Path(folder)
    alone = (folder / "ae.pt").is_file() and not (folder / "config.json").is_file()
    box = _open(folder, None if alone else "config.json", "ae.pt")
    trainer = box.get("trainer")
    if alone:
        kind = _class_of(box)
    else:
        box.require(isinstance(trainer, dict), "trainer", trainer, "Save the trainer's config.")
        kind = trainer.get("dict_class")
        box.require(isinstance(kind, str), "trainer.dict_class", kind, "Name the class.")
    trainer = trainer if isinstance(trainer, dict) else {}
    box.described = {"d_in": trainer.get("activation_dim"), "d_sae": trainer.get("dict_size")}
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        W_enc = box.take("W_enc", "d_in", "d_sae").T
        W_dec, b_enc = box.take("W_dec", "d_sae", "d_in"), box.take("b_enc", "d_sae")
        b_dec = box.take("b_dec", "d_in")
    else:
        known = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE")
        box.require(kind in known, "trainer.dict_class", kind)
        W_enc, b_enc = (
            box.take("encoder.weight", "d_sae", "d_in"),
            box.take("encoder.bias", "d_sae"),
        )
        W_dec = box.take("decoder.weight", "d_in", "d_sae").T
        name = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
        b_dec = box.take(name, "d_in")
    threshold, k = 0.0, 1
    groups: tuple[int, ...] = ()
    if trainer.get("k") is not None:
        k = box.count("trainer.k", trainer["k"])
    if kind in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        told = [("trainer.k", trainer.get("k")), ("k", box.scalar("k")), ("--k", given.k)]
        counts = {box.count(name, value) for name, value in told if value is not None}
        box.require(len(counts) > 0, "k", "absent", "Give --k.")
        box.require(len(counts) == 1, "k", f"{' and '.join(map(str, sorted(counts)))} at once")
        k = counts.pop()
        found = box.scalar("threshold")
        if kind != "AutoEncoderTopK":
            box.present("threshold")
            threshold = max(box.number("threshold", found), 0.0)  # -1: never trained
    if kind == "JumpReluAutoEncoder":
        threshold = box.common("threshold", box.take("threshold", "d_sae"))
    if kind == "MatryoshkaBatchTopKSAE":
        groups = tuple(int(size) for size in box.take("group_sizes", None))
    if kind == "AutoEncoder":
        norm = W_dec.norm(dim=1)
        box.require(bool((norm > 0).all()), "decoder.weight", "zero for a latent")
        if not torch.allclose(norm, torch.ones_like(norm)):
            W_enc, b_enc, W_dec = W_enc * norm[:, None], b_enc * norm, W_dec / norm[:, None]
    if kind in ("AutoEncoderNew", "JumpReluAutoEncoder"):  # they leave the input as it is
        b_enc = b_enc + W_enc @ b_dec
    variant = {
        "AutoEncoder": "relu_l1", "AutoEncoderNew": "relu_l1", "AutoEncoderTopK": "topk",
        "MatryoshkaBatchTopKSAE": "matryoshka",
    }.get(kind, "batchtopk")  # fmt: skip
    return box.sae(variant, k, threshold, W_enc, b_enc, W_dec, b_dec, groups)


def _class_of(box: _Box) -> str:
    """The class whose tensors these are; two classes have the same ones."""
    names = set(box.tensors)
    if "r_mag" in names:
        return "GatedAutoEncoder"
    if "group_sizes" in names:
        return "MatryoshkaBatchTopKSAE"
    if "W_enc" in names:
        return "JumpReluAutoEncoder"
    if "bias" in names:
        return "AutoEncoder"
    if "decoder.bias" in names:
        return "AutoEncoderNew"
    what = "is absent: ae.pt may be AutoEncoderTopK or BatchTopKSAE"
    remedy = 'Write {"trainer": {"dict_class": "...", "k": ...}} into it.'
    raise UserError(what, file=box.folder / "config.json", remedy=remedy)


def save_sparsify(sae: SAE, folder: Path) -> None:
    """EleutherAI sparsify 1.3, which knows TopK alone. Raises `UserError` for other variants."""
    if sae.config.variant != "topk":
        what = f"is {sae.config.variant}, sparsify knows topk alone"
        raise UserError(
            what, field="sae.variant", remedy="Export to saelens or dictionary_learning."
        )
    raw = _raw(sae)
    tensors = {
        "encoder.weight": raw.W_enc,
        "encoder.bias": raw.b_enc,
        "W_dec": raw.W_dec,
        "b_dec": raw.b_dec,
    }
    described = {
        **MARK,
        "activation": "topk",
        "expansion_factor": max(1, sae.m // sae.d),
        "normalize_decoder": True,
        "num_latents": sae.m,
        "k": sae.config.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.d,
    }
    with atomic_folder(folder, EXPORTED["sparsify"]) as temporary:
        write_json(temporary / "cfg.json", described)
        save_file(
            {name: t.contiguous() for name, t in tensors.items()}, temporary / "sae.safetensors"
        )


def load_sparsify(folder: Path, given: Given = NOTHING_GIVEN) -> SAE:
    """A sparsify folder (TopK sparse autoencoder, no transcoder, no skip connection)."""
    box = _open(folder, "cfg.json", "sae.safetensors")
    box.require(box.get("activation", "topk") == "topk", "activation", box.get("activation"))
    for name in ("skip_connection", "transcode", "signed"):
        box.require(not box.get(name), name, box.get(name))
    box.described["d_sae"] = box.get("num_latents") or None
    k = box.count("k", box.get("k", given.k))
    W_enc, b_enc = box.take("encoder.weight", "d_sae", "d_in"), box.take("encoder.bias", "d_sae")
    W_dec, b_dec = box.take("W_dec", "d_sae", "d_in"), box.take("b_dec", "d_in")
    return box.sae("topk", k, 0.0, W_enc, b_enc, W_dec, b_dec)


def load_overcomplete(source: Path, given: Given = NOTHING_GIVEN) -> SAE:
    """The state dict (.pt) of one of overcomplete's classes with a linear encoder.

    It says neither class nor k nor BatchTopK's running threshold, so the user does. Batch
    normalization is folded in; layer normalization and deeper encoders have no equal here.
    """
    box = _open_alone(source)
    jumps = "thresholds" in box.tensors
    variant = "batchtopk" if jumps else given.variant
    box.require(
        variant in ("relu_l1", "topk", "batchtopk"),
        "variant",
        variant,
        "Give --variant relu_l1 (SAE), topk (TopKSAE, with --k) or batchtopk (BatchTopKSAE, with "
        "--threshold).",
    )
    dictionary = box.take("dictionary._weights", "d_sae", "d_in")
    norm = dictionary.norm(dim=1, keepdim=True)
    box.require(
        bool(((norm - 1).abs() <= UNIT).all()),
        "dictionary._weights",
        "of other than unit length, so normalized by a rule that the file does not tell",
        "Save it with the l2 dictionary.",
    )
    W_dec = dictionary / (norm + 1e-8)
    if "dictionary.multiplier" in box.tensors:
        W_dec = W_dec * box.take("dictionary.multiplier").exp()
    stem = "encoder.final_block.0." if "encoder.final_block.0.weight" in box.tensors else "encoder."
    deeper = [name for name in box.tensors if re.match(r"encoder\.(mlp|attention|resnet)_", name)]
    box.require(not deeper, deeper[0] if deeper else "", "part of a deeper encoder")
    tied = f"{stem}weight" not in box.tensors
    W_enc = W_dec if tied else box.take(f"{stem}weight", "d_sae", "d_in")
    b_enc = torch.zeros(len(W_enc))
    if f"{stem}bias" in box.tensors:
        b_enc = box.take(f"{stem}bias", "d_sae")
    if any(name.startswith("encoder.final_block.1.") for name in box.tensors):
        part = {
            name: box.take(f"encoder.final_block.1.{name}", "d_sae")
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        box.take("encoder.final_block.1.num_batches_tracked")
        gain = part["weight"] / torch.sqrt(part["running_var"] + 1e-5)
        W_enc, b_enc = W_enc * gain[:, None], (b_enc - part["running_mean"]) * gain + part["bias"]
    threshold, k = 0.0, 1
    if variant == "topk":
        k = box.count("--k", given.k)
    elif jumps:
        threshold = box.common("thresholds", box.take("thresholds", "d_sae").exp())
        if "bandwidth" in box.tensors:
            box.take("bandwidth")
    elif variant == "batchtopk":
        found = torch.tensor(box.number("--threshold", given.threshold))
        # its border fires, ours does not
        threshold = max(float(torch.nextafter(found, torch.tensor(-math.inf))), 0.0)
    zero = torch.zeros(W_enc.shape[1])  # the class has no bias of the output
    return box.sae(str(variant), k, threshold, W_enc, b_enc, W_dec, zero)


def load_genomic_lm(source: Path, given: Given = NOTHING_GIVEN) -> SAE:
    """The bare state dict (.pt) of the Genomic-LM study's ReLU autoencoder. Its decoder columns are
    of any length, and stay so."""
    box = _open_alone(source)
    W_enc, b_enc = box.take("encoder.weight", "d_sae", "d_in"), box.take("encoder.bias", "d_sae")
    W_dec, b_dec = box.take("decoder.weight", "d_in", "d_sae").T, box.take("bias", "d_in")
    return box.sae("relu_l1", 1, 0.0, W_enc, b_enc, W_dec, b_dec)


FORMATS = {
    "saelens": Format(load_saelens, save_saelens),
    "dictionary_learning": Format(load_dictionary_learning, save_dictionary_learning),
    "sparsify": Format(load_sparsify, save_sparsify),
    "overcomplete": Format(load_overcomplete),
    "genomic_lm": Format(load_genomic_lm),
}


class _Raw(NamedTuple):
    """Weights for raw hidden states."""

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor


def _raw(sae: SAE) -> _Raw:
    return _Raw(sae.W_enc * sae.scale, sae.b_enc, sae.W_dec / sae.scale, sae.b_dec / sae.scale)


@dataclass
class _Box:
    """A description and tensors as found, and the one way to take something out of them: checked,
    or refused by name."""

    folder: Path
    description: Path
    weights: Path
    described: dict[str, Any]
    tensors: dict[str, Any]
    taken: set[str] = field(default_factory=set)
    sizes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """A field of the description."""
        return self.described.get(name, default)

    def require(
        self, holds: bool, name: str, value: object, remedy: str = "Fold it in first."
    ) -> None:
        """Raise `UserError` unless ``holds``: field or tensor ``name`` is ``value``, which has no
        equal here."""
        if not holds:
            what = f"is {value}, which has no equal here"
            raise UserError(what, file=self._file(name), field=name, remedy=remedy)

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false."""
        value = self.get(name, default)
        self.require(isinstance(value, bool), name, repr(value), "Give true or false.")
        return bool(value)

    def number(self, name: str, value: object) -> float:
        """``value`` of field, tensor or option ``name`` as a finite number."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            what = "is missing" if value is None else f"is {value!r}, not a number"
            raise UserError(what, file=self._file(name), field=name, remedy="Give it.")
        if not math.isfinite(value):
            raise UserError(f"is {value}", file=self._file(name), field=name, remedy="Give it.")
        return float(value)

    def count(self, name: str, value: object) -> int:
        """``value`` of field, tensor or option ``name`` as a positive whole number."""
        found = self.number(name, value)
        if found < 1 or found != int(found):
            what = f"is {value}, not a positive whole number"
            raise UserError(what, file=self._file(name), field=name, remedy="Give it.")
        return int(found)

    def scalar(self, name: str) -> float | None:
        """A tensor of one number, or a bare number; None where there is none."""
        value = self.tensors.get(name)
        if isinstance(value, torch.Tensor):
            if value.numel() != 1:
                self._shape(name, tuple(value.shape), "one number")
            value = value.item()
        self.taken.add(name)
        return value

    def present(self, name: str) -> None:
        """Raise `UserError` where there is no tensor ``name``."""
        if name not in self.tensors:
            held = ", ".join(sorted(map(str, self.tensors))[:12])
            raise UserError(
                "is missing",
                file=self.weights,
                field=name,
                remedy=f"It holds {held or 'nothing'}. Check the format.",
            )

    def take(self, name: str, *sizes: str | None) -> torch.Tensor:
        """Tensor ``name`` as float32. ``sizes`` name its axes: a name stands for one number in all
        tensors and in the description; None for any."""
        self.present(name)
        self.taken.add(name)
        tensor = self.tensors[name]
        if not isinstance(tensor, torch.Tensor) or tensor.is_complex() or tensor.is_sparse:
            what = f"is {type(tensor).__name__}, not a tensor of numbers"
            raise UserError(what, file=self.weights, field=name, remedy="Export it again.")
        shape = tuple(tensor.shape)
        if len(shape) != len(sizes) and not (not sizes and tensor.numel() == 1):
            self._shape(name, shape, f"{len(sizes)} axes")
        for size, axis in zip(shape, sizes):
            if axis is None:
                continue
            if axis not in self.sizes:
                said = self.get(axis)
                self.sizes[axis] = (size, name) if said is None else (self.count(axis, said), axis)
            if size != self.sizes[axis][0]:
                self._shape(name, shape, f"{axis} = {self.sizes[axis][0]} as {self.sizes[axis][1]}")
        exact = tensor.detach().to(torch.float32)
        if not bool(torch.isfinite(exact).all()):
            raise UserError(
                "holds NaN or infinity", file=self.weights, field=name, remedy="Train it again."
            )
        return exact

    def common(self, name: str, theta: torch.Tensor) -> float:
        """The one threshold of all latents; one below zero is as good as zero after the ReLU."""
        theta = theta.clamp(min=0.0)
        same = bool((theta == theta[0]).all())
        self.require(same, name, "a number for each latent", "Threshold all latents alike.")
        return float(theta[0])

    def sae(
        self,
        variant: str,
        k: int,
        threshold: float,
        W_enc: torch.Tensor,
        b_enc: torch.Tensor,
        W_dec: torch.Tensor,
        b_dec: torch.Tensor,
        groups: tuple[int, ...] = (),
    ) -> SAE:
        """The autoencoder, once every tensor was used: one that was not would change the codes."""
        for name in self.tensors:
            self.require(name in self.taken, str(name), "a tensor of another architecture")
        m, d = W_enc.shape
        tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
        exact = {name: t.to(torch.float32).contiguous() for name, t in tensors.items()}
        length = W_dec.norm(dim=1)
        unit = variant != "relu_l1" or bool(torch.allclose(length, torch.ones_like(length)))
        try:
            config = SAEConfig(d=d, m=m, k=k, variant=variant, groups=groups, unit_decoder=unit)
        except UserError as error:
            raise UserError(str(error), file=self.folder) from None
        return SAE(config=config, **exact, scale=1.0, threshold=threshold)

    def _shape(self, name: str, shape: tuple[int, ...], wanted: str) -> None:
        what = f"has shape {shape}, needed: {wanted}"
        raise UserError(what, file=self.weights, field=name, remedy="Export it again.")

    def _file(self, name: str) -> Path | None:
        if name.startswith("--"):
            return None
        return self.weights if name in self.tensors else self.description


def _open(folder: Path, description: str | None, weights: str) -> _Box:
    """A library's folder; without ``description`` the weights are all there is."""
    folder = Path(folder)
    if folder.is_file():
        raise UserError("is a file", file=folder, remedy="Name the folder it lies in.")
    needed = [name for name in (description, weights) if name is not None]
    inner = sorted(path.parent.name for path in folder.glob(f"*/{weights}"))
    if inner and not any((folder / name).exists() for name in needed):
        more = ", ..." if len(inner) > 4 else ""
        what = f"holds several autoencoders: {', '.join(inner[:4])}{more}"
        raise UserError(what, file=folder, remedy=f"Name one: {folder / inner[0]}.")
    for name in needed:
        if not (folder / name).is_file():
            remedy = "Check the folder and format."
            raise UserError("does not exist", file=folder / name, remedy=remedy)
    described: Any = {}
    if description is not None:
        described = read_json(folder / description)
        if not isinstance(described, dict):
            what = f"is a JSON {type(described).__name__}, not an object"
            raise UserError(what, file=folder / description, remedy="Export it again.")
    path = folder / weights
    return _Box(folder, folder / (description or weights), path, dict(described), _tensors(path))


def _open_alone(source: Path) -> _Box:
    """One file of tensors, or the folder that holds it alone."""
    source = Path(source)
    path = source
    if source.is_dir():
        found = sorted(p for p in source.iterdir() if p.suffix in (".pt", ".pth", ".safetensors"))
        if len(found) != 1:
            listed = ", ".join(p.name for p in found[:4]) or "none"
            what = f"holds {len(found)} files of weights ({listed})"
            raise UserError(what, file=source, remedy="Name the file.")
        path = found[0]
    if not path.is_file():
        raise UserError("does not exist", file=path, remedy="Check the path.")
    return _Box(source, path, path, {}, _tensors(path))


def _tensors(path: Path) -> dict[str, Any]:
    """Tensors by name, without a compiler's prefix; no code is run (torch.load with
    weights_only)."""
    remedy = "Export it again."
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except UnpicklingError:
        what = "is a pickled module or damaged; only plain tensors are read, for no code is run"
        raise UserError(what, file=path, remedy="Save its state_dict().") from None
    except PermissionError:
        raise
    except Exception as error:  # damaged bytes make an unpickler stumble in any way
        raise UserError(f"cannot be read ({error})", file=path, remedy=remedy) from None
    if not isinstance(found, Mapping):
        what = f"holds one {type(found).__name__}, not tensors by name"
        raise UserError(what, file=path, remedy="Save the state_dict().")
    plain: dict[str, Any] = {}
    for name, tensor in found.items():
        bare = PREFIX.sub("", str(name), count=1) if PREFIX.match(str(name)) else str(name)
        if bare in plain:
            raise UserError("is there twice", file=path, field=bare, remedy=remedy)
        plain[bare] = tensor
    return plain
