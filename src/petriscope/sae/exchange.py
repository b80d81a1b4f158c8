"""Other libraries' folders: SAELens, dictionary_learning, sparsify. Our input scale is folded into
their weights.

With s our scale, z = (s·W_enc)(h − b_dec/s) + b_enc and ĥ = zᵀ(W_dec/s) + b_dec/s, so codes are the
same numbers there. One exception: dictionary_learning's ReLU class insists on unit decoder rows, so
its codes are ours divided by s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from petriscope.errors import UserError
from petriscope.files import atomic_folder, read_json, write_json
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig


class Format(NamedTuple):
    """How a library's folder is written and read."""

    save: Callable[[SAE, Path], None]
    load: Callable[[Path], SAE]


def save_saelens(sae: SAE, folder: Path) -> None:
    """SAELens 6: TopK as `topk`, BatchTopK and Matryoshka as `jumprelu` with one threshold, ReLU as
    `standard`."""
    raw = _raw(sae)
    tensors = {"W_enc": raw.W_enc.T, "b_enc": raw.b_enc, "W_dec": raw.W_dec, "b_dec": raw.b_dec}
    described: dict[str, Any] = {
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
    with atomic_folder(folder) as temporary:
        write_json(temporary / "cfg.json", described)
        save_file(
            {name: t.contiguous() for name, t in tensors.items()},
            temporary / "sae_weights.safetensors",
        )


def load_saelens(folder: Path) -> SAE:
    """An SAELens folder of architecture `standard`, `topk`, `jumprelu` or `batchtopk` with one
    common threshold."""
    described, tensors = _read(folder, "cfg.json", "sae_weights.safetensors")
    kind = described.get("architecture")
    _known(kind in ("standard", "topk", "jumprelu"), folder, "architecture", kind)
    for field, plain in (("normalize_activations", ("none",)), ("apply_b_dec_to_input", (True,))):
        _known(described.get(field, plain[0]) in plain, folder, field, described.get(field))
    _known(
        not described.get("rescale_acts_by_decoder_norm"),
        folder,
        "rescale_acts_by_decoder_norm",
        True,
    )
    threshold = 0.0
    if kind == "jumprelu":
        threshold = float(tensors["threshold"][0])
        same = bool((tensors["threshold"] == threshold).all())
        _known(same, folder, "threshold", "a number for each latent")
    variant = {"standard": "relu_l1", "topk": "topk"}.get(str(kind), "batchtopk")
    k = int(described.get("k", 1))
    return _sae(
        folder,
        variant,
        k,
        threshold,
        tensors["W_enc"].T,
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
    )


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
    with atomic_folder(folder) as temporary:
        torch.save(state, temporary / "ae.pt")
        write_json(temporary / "config.json", {"trainer": trainer})


def load_dictionary_learning(folder: Path) -> SAE:
    """A dictionary_learning folder with one of the classes that ``save_dictionary_learning``
    writes."""
    described, state = _read(folder, "config.json", "ae.pt")
    trainer = described.get("trainer", {})
    kind = trainer.get("dict_class")
    _known(kind in ("BatchTopKSAE", "AutoEncoderTopK", "AutoEncoder"), folder, "dict_class", kind)
    variant = {"AutoEncoderTopK": "topk", "AutoEncoder": "relu_l1"}.get(kind, "batchtopk")
    threshold = float(state["threshold"]) if variant == "batchtopk" else 0.0
    k = int(trainer.get("k", 1))
    b_dec = state["bias" if kind == "AutoEncoder" else "b_dec"]
    W_dec = state["decoder.weight"].T
    return _sae(
        folder,
        variant,
        k,
        max(threshold, 0.0),
        state["encoder.weight"],
        state["encoder.bias"],
        W_dec,
        b_dec,
    )


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
    with atomic_folder(folder) as temporary:
        write_json(temporary / "cfg.json", described)
        save_file(
            {name: t.contiguous() for name, t in tensors.items()}, temporary / "sae.safetensors"
        )


def load_sparsify(folder: Path) -> SAE:
    """A sparsify folder (TopK sparse autoencoder, no transcoder, no skip connection)."""
    described, tensors = _read(folder, "cfg.json", "sae.safetensors")
    _known(
        described.get("activation", "topk") == "topk",
        folder,
        "activation",
        described.get("activation"),
    )
    for field in ("skip_connection", "transcode"):
        _known(not described.get(field), folder, field, True)
    W_enc, b_enc, W_dec, b_dec = (
        tensors[name] for name in ("encoder.weight", "encoder.bias", "W_dec", "b_dec")
    )
    return _sae(folder, "topk", int(described["k"]), 0.0, W_enc, b_enc, W_dec, b_dec)


FORMATS = {
    "saelens": Format(save_saelens, load_saelens),
    "dictionary_learning": Format(save_dictionary_learning, load_dictionary_learning),
    "sparsify": Format(save_sparsify, load_sparsify),
}


class _Raw(NamedTuple):
    """Weights for raw hidden states."""

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor


def _raw(sae: SAE) -> _Raw:
    return _Raw(sae.W_enc * sae.scale, sae.b_enc, sae.W_dec / sae.scale, sae.b_dec / sae.scale)


def _sae(
    folder: Path,
    variant: str,
    k: int,
    threshold: float,
    W_enc: torch.Tensor,
    b_enc: torch.Tensor,
    W_dec: torch.Tensor,
    b_dec: torch.Tensor,
) -> SAE:
    m, d = W_enc.shape
    if W_dec.shape != (m, d) or b_enc.shape != (m,) or b_dec.shape != (d,):
        shapes = f"encoder {tuple(W_enc.shape)}, decoder {tuple(W_dec.shape)}"
        raise UserError(
            f"has tensors that do not fit ({shapes})", file=folder, remedy="Export it again."
        )
    tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    exact = {name: t.to(torch.float32).contiguous() for name, t in tensors.items()}
    return SAE(
        config=SAEConfig(d=d, m=m, k=k, variant=variant), **exact, scale=1.0, threshold=threshold
    )


def _read(
    folder: Path, config: str, weights: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Description and tensors; no code is run from either (torch.load with weights_only)."""
    folder = Path(folder)
    try:
        described = read_json(folder / config)
        path = folder / weights
        tensors = (
            torch.load(path, map_location="cpu", weights_only=True)
            if path.suffix == ".pt"
            else load_file(path)
        )
    except FileNotFoundError as error:
        raise UserError(
            "does not exist", file=error.filename or folder, remedy="Check the folder and format."
        ) from None
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"cannot be read ({error})", file=folder, remedy="Export it again."
        ) from None
    return described, tensors


def _known(holds: bool, folder: Path, field: str, value: object) -> None:
    if not holds:
        raise UserError(
            f"is {value}, which has no equal here",
            file=folder,
            field=field,
            remedy="Fold it in first.",
        )
