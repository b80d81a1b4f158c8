"""Encoding and decoding against the dense definition in float64; the folder format round trip;
unusable input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from petriscope.errors import UserError
from petriscope.files import read_json, write_json
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig

N, D, M, K = 300, 20, 64, 5


def make_sae(variant: str = "batchtopk", seed: int = 0) -> SAE:
    rng = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(M, D, generator=rng), dim=1)
    W_enc = W_dec + 0.05 * torch.randn(M, D, generator=rng)
    b_enc, b_dec = 0.1 * torch.randn(M, generator=rng), torch.randn(D, generator=rng)
    return SAE(
        SAEConfig(d=D, m=M, k=K, variant=variant),
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        scale=0.37,
        threshold=0.8,
    )


def hidden(dtype: type = np.float32) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=(N, D)) * 4).astype(dtype)


def definition(sae: SAE, x: np.ndarray) -> np.ndarray:
    W_enc, b_enc, b_dec = (t.double().numpy() for t in (sae.W_enc, sae.b_enc, sae.b_dec))
    pre = (x.astype(np.float64) * sae.scale - b_dec) @ W_enc.T + b_enc
    if sae.config.variant == "topk":
        border = np.sort(pre, axis=1)[:, -K][:, None]
        return np.where((pre >= border) & (pre > 0), pre, 0.0)
    return np.where(pre > sae.threshold, pre, 0.0)


@pytest.mark.parametrize("variant", ["batchtopk", "topk"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_encode_decode_equal_the_definition(variant: str, dtype: type) -> None:
    sae, x = make_sae(variant), hidden(dtype)
    codes = sae.encode(x)
    expected = definition(sae, x)
    np.testing.assert_allclose(codes.dense(), expected, rtol=1e-5, atol=1e-5)
    assert codes.values.min() > 0
    assert codes.indptr.dtype == np.int64
    decoded = (expected @ sae.W_dec.double().numpy() + sae.b_dec.double().numpy()) / sae.scale
    np.testing.assert_allclose(sae.decode(codes), decoded, rtol=1e-5, atol=1e-5)
    dense = sae.encode_dense(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_allclose(dense.numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sae.decode_dense(dense).numpy(), decoded, rtol=1e-5, atol=1e-5)


def test_encode_in_pieces_and_any_leading_shape() -> None:
    sae = make_sae()
    x = np.random.default_rng(2).normal(size=(3, 5, 1000, D)).astype(np.float32)
    whole = sae.encode(x)
    assert whole.n == 15_000
    part = sae.encode(x.reshape(-1, D)[8000:8100])
    cut = whole.rows(8000, 8100)
    for name in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(part, name), getattr(cut, name))
    assert sae.encode(np.zeros((0, D), np.float32)).n == 0


def test_directions_are_what_a_unit_of_a_latent_adds() -> None:
    sae = make_sae()
    z = torch.zeros(1, M)
    base = sae.decode_dense(z)
    z[0, 7] = 1.0
    torch.testing.assert_close(sae.decode_dense(z) - base, sae.directions[7:8])


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    sae = make_sae()
    sae.save(tmp_path / "sae")
    back = SAE.load(tmp_path / "sae")
    assert back.config == sae.config
    assert (back.scale, back.threshold) == (sae.scale, sae.threshold)
    assert all(
        torch.equal(getattr(back, n), getattr(sae, n)) for n in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    sae.save(tmp_path / "again")
    names = ("cfg.json", "sae.safetensors")
    assert all(
        (tmp_path / "sae" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in names
    )


def test_unusable_vectors() -> None:
    sae, x = make_sae(), hidden()
    with pytest.raises(UserError, match=r"vectors are 19 wide, the SAE expects 20"):
        sae.encode(x[:, 1:])
    x[17, 3] = np.nan
    with pytest.raises(UserError, match=r"row 17 holds NaN or infinity"):
        sae.encode(x)


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cfg.json: does not exist"):
        SAE.load(tmp_path / "none")
    make_sae().save(tmp_path / "sae")
    described = read_json(tmp_path / "sae/cfg.json")
    write_json(tmp_path / "sae/cfg.json", {**described, "m": 99, "k": 3})
    with pytest.raises(
        UserError, match=r"sae.safetensors: W_enc: is \(64, 20\), cfg.json says \(99, 20\)"
    ):
        SAE.load(tmp_path / "sae")
    write_json(tmp_path / "sae/cfg.json", {**described, "format": 7})
    with pytest.raises(UserError, match=r"cfg.json: format: is not an SAE folder of this program"):
        SAE.load(tmp_path / "sae")
    write_json(tmp_path / "sae/cfg.json", {**described, "colour": "red"})
    with pytest.raises(UserError, match=r"colour: is no entry of an SAE configuration"):
        SAE.load(tmp_path / "sae")
    write_json(tmp_path / "sae/cfg.json", described)
    tensors = tmp_path / "sae/sae.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    with pytest.raises(
        UserError, match=r"sae: cannot be read .* Train it again, or restore the file"
    ):
        SAE.load(tmp_path / "sae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 64}, r"sae.k: is 64, but must be below m = 64"),
        ({"d": 0}, r"sae.d: is 0, but must be a positive integer"),
        ({"variant": "gated"}, r"sae.variant: is 'gated', but must be one of batchtopk"),
        ({"lr": 2.0}, r"sae.lr: is 2.0"),
        ({"warmup": 9999}, r"sae.warmup: is 9999, but must be between 0 and steps"),
        (
            {"groups": (3, 4)},
            r"sae.groups: is \(3, 4\), but must be positive sizes that sum to m = 64",
        ),
        ({"filter": "fp8"}, r"sae.filter"),
        ({"betas": (0.9, 1.0)}, r"sae.betas"),
    ],
)
def test_configurations_are_checked(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SAEConfig(**{"d": D, "m": M, "k": K, **change})


def test_resolved_configuration_has_no_blanks_and_travels() -> None:
    config = SAEConfig(d=D, m=M, k=K, variant="matryoshka", steps=100).resolved()
    assert None not in config.as_dict().values()
    assert sum(config.groups) == M
    assert config.groups == tuple(sorted(config.groups))
    assert SAEConfig.from_dict(config.as_dict()) == config == config.resolved()
    rates = [config.learning_rate(step) for step in range(100)]
    assert rates[0] == 0.0
    assert max(rates) == config.lr
    assert rates[-1] == pytest.approx(config.lr / 20)


def test_encoding_may_begin_in_inference_mode_and_go_on_outside() -> None:
    sae = make_sae()
    rows = np.random.default_rng(0).normal(size=(50, D)).astype(np.float32)
    with torch.inference_mode():
        inside = sae.encode(rows).dense()
    np.testing.assert_array_equal(sae.encode(rows).dense(), inside)
