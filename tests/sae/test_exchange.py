"""Exported folders against the real libraries: same codes and reconstructions there, and the same
back here.

Install them to run all of this: pip install sae-lens==6.54.12 dictionary-learning==0.1.0
eai-sparsify==1.3.3 (sae-lens does not import where torchvision is installed beside a CPU torch.)
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sae.test_coder import D, M, hidden, make_sae

from petriscope.errors import UserError
from petriscope.files import read_json, write_json
from petriscope.sae.coder import SAE
from petriscope.sae.exchange import FORMATS

PAIRS = [
    ("saelens", "batchtopk"),
    ("saelens", "topk"),
    ("saelens", "relu_l1"),
    ("dictionary_learning", "batchtopk"),
    ("dictionary_learning", "topk"),
    ("dictionary_learning", "relu_l1"),
    ("sparsify", "topk"),
]


def library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(
            f"{name} does not import ({type(error).__name__}); the module's docstring says how to "
            f"install it"
        )


def ours(variant: str) -> SAE:
    sae = make_sae(variant)
    return (
        SAE(sae.config, sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.scale, 0.0)
        if variant == "relu_l1"
        else sae
    )


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "variant"), PAIRS)
def test_round_trip_without_the_library(tmp_path: Path, name: str, variant: str) -> None:
    sae, x = ours(variant), hidden()
    FORMATS[name].save(sae, tmp_path / "there")
    back = FORMATS[name].load(tmp_path / "there")
    assert (back.config.variant, back.config.k) == (variant, 5)
    unit = sae.scale if (name, variant) == ("dictionary_learning", "relu_l1") else 1.0
    close(back.encode(x).dense() * unit, sae.encode(x).dense())
    close(back.decode(back.encode(x)), sae.decode(sae.encode(x)))


@pytest.mark.parametrize("variant", ["batchtopk", "topk", "relu_l1"])
def test_saelens(tmp_path: Path, variant: str) -> None:
    theirs = library("sae_lens").SAE
    sae, x = ours(variant), hidden()
    FORMATS["saelens"].save(sae, tmp_path / "a")
    loaded = theirs.load_from_disk(tmp_path / "a")
    with torch.no_grad():
        codes = loaded.encode(torch.from_numpy(x))
        codes = codes.to_dense() if codes.is_sparse else codes
        close(codes.numpy(), sae.encode(x).dense())
        close(loaded.decode(codes).numpy(), sae.decode(sae.encode(x)))
    loaded.save_model(tmp_path / "b")
    close(FORMATS["saelens"].load(tmp_path / "b").encode(x).dense(), sae.encode(x).dense())


@pytest.mark.parametrize("variant", ["batchtopk", "topk", "relu_l1"])
def test_dictionary_learning(tmp_path: Path, variant: str) -> None:
    library("dictionary_learning")
    load_dictionary = library("dictionary_learning.utils").load_dictionary
    sae, x = ours(variant), hidden()
    FORMATS["dictionary_learning"].save(sae, tmp_path / "a")
    loaded, described = load_dictionary(str(tmp_path / "a"), device="cpu")
    with torch.no_grad():
        codes = loaded.encode(torch.from_numpy(x))
        unit = (
            sae.scale if variant == "relu_l1" else 1.0
        )  # their ReLU class needs unit decoder rows
        close(codes.numpy() * unit, sae.encode(x).dense())
        close(loaded.decode(codes).numpy(), sae.decode(sae.encode(x)))
    (tmp_path / "b").mkdir()
    torch.save(loaded.state_dict(), tmp_path / "b/ae.pt")
    write_json(tmp_path / "b/config.json", described)
    close(
        FORMATS["dictionary_learning"].load(tmp_path / "b").encode(x).dense() * unit,
        sae.encode(x).dense(),
    )


def test_sparsify(tmp_path: Path) -> None:
    theirs = library("sparsify").SparseCoder
    sae, x = ours("topk"), hidden()
    FORMATS["sparsify"].save(sae, tmp_path / "a")
    loaded = theirs.load_from_disk(tmp_path / "a")
    with torch.no_grad():
        found = loaded.encode(torch.from_numpy(x))
        dense = torch.zeros(len(x), M).scatter(1, found.top_indices, found.top_acts)
        close(dense.numpy(), sae.encode(x).dense())
        close(loaded.decode(found.top_acts, found.top_indices).numpy(), sae.decode(sae.encode(x)))
    loaded.save_to_disk(tmp_path / "b")
    close(FORMATS["sparsify"].load(tmp_path / "b").encode(x).dense(), sae.encode(x).dense())


def test_what_has_no_equal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sae.variant: is batchtopk, sparsify knows topk alone"):
        FORMATS["sparsify"].save(make_sae(), tmp_path / "no")
    with pytest.raises(UserError, match=r"cfg.json: does not exist"):
        FORMATS["saelens"].load(tmp_path / "none")
    FORMATS["saelens"].save(make_sae(), tmp_path / "s")
    described = read_json(tmp_path / "s/cfg.json")
    for field, value in (("architecture", "gated"), ("normalize_activations", "layer_norm")):
        write_json(tmp_path / "s/cfg.json", {**described, field: value})
        with pytest.raises(
            UserError, match=rf"s.cfg.json: {field}: is {value}, which has no equal here"
        ):
            FORMATS["saelens"].load(tmp_path / "s")
    write_json(tmp_path / "s/cfg.json", described)
    (tmp_path / "s/sae_weights.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(
        UserError, match=r"sae_weights.safetensors: cannot be read .* Export it again"
    ):
        FORMATS["saelens"].load(tmp_path / "s")
    assert described["d_in"] == D
