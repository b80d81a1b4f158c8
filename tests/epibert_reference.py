"""EpiBERT once more, in float64 numpy, channels last, one plain formula a line: the independent
reference of the tests.

It reads the original's variables by their checkpoint path and shares no arithmetic with the
package. Below it, a small configuration with random inputs and weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import erf
from typing import NamedTuple

import numpy as np
import torch

from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.epibert_original import original_places
from petriscope.studies.chromatin.parity import CONFIG

Array = np.ndarray

SMALL = CONFIG


class Reference(NamedTuple):
    """Residual stream after each layer and the cropped prediction."""

    hidden: list[Array]
    prediction: Array


def _convolve(x: Array, kernel: Array, bias: Array) -> Array:
    width = kernel.shape[0]
    left = (width - 1) // 2
    padded = np.pad(x, ((0, 0), (left, width - 1 - left), (0, 0)))
    return sum(padded[:, i : i + x.shape[1]] @ kernel[i] for i in range(width)) + bias


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _layer_norm(x: Array, gamma: Array, beta: Array) -> Array:
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta


class NumpyEpiBERT:
    """The original's arithmetic on ``weights`` (path below the model -> array)."""

    def __init__(
        self,
        weights: Mapping[str, Array],
        projection: Array,
        *,
        layers: int,
        crop: int,
        rotary: bool = True,
        stem_pool: int = 2,
    ) -> None:
        self.w = {path: np.asarray(array, dtype=np.float64) for path, array in weights.items()}
        self.projection, self.layers, self.crop = projection.astype(np.float64), layers, crop
        self.rotary, self.stem_pool = rotary, stem_pool

    def block(self, path: str, x: Array) -> Array:
        norm, conv = f"{path}/layer_with_weights-0", f"{path}/layer_with_weights-1"
        mean, variance = self.w[f"{norm}/moving_mean"], self.w[f"{norm}/moving_variance"]
        x = (x - mean) / np.sqrt(variance + 1e-5) * self.w[f"{norm}/gamma"] + self.w[f"{norm}/beta"]
        return _convolve(_gelu_tanh(x), self.w[f"{conv}/kernel"], self.w[f"{conv}/bias"])

    def pool(self, path: str, x: Array) -> Array:
        pairs = x.reshape(x.shape[0], -1, 2, x.shape[2])
        weight = np.exp(pairs @ self.w[f"{path}/dense/kernel"])
        return (pairs * weight / weight.sum(2, keepdims=True)).sum(2)

    def sequence(self, x: Array) -> Array:
        x = _convolve(x, self.w["stem_conv/kernel"], self.w["stem_conv/bias"])
        x = self.pool("stem_pool", x + self.block("stem_res_conv/_layer", x))
        i = 0
        while f"conv_tower/layer_with_weights-{i}/layer_with_weights-1/dense/kernel" in self.w:
            stage = f"conv_tower/layer_with_weights-{i}"
            x = self.pool(
                f"{stage}/layer_with_weights-1", self.block(f"{stage}/layer_with_weights-0", x)
            )
            i += 1
        return x

    def atac(self, x: Array) -> Array:
        x = _convolve(x, self.w["stem_conv_atac/kernel"], self.w["stem_conv_atac/bias"])
        x = x + self.block("stem_res_conv_atac/_layer", x)
        x = x.reshape(x.shape[0], -1, self.stem_pool, x.shape[2]).max(2)
        i = 0
        while (
            f"conv_tower_atac/layer_with_weights-{i}/layer_with_weights-0/layer_with_weights-1/kernel"
            in self.w
        ):
            x = self.block(f"conv_tower_atac/layer_with_weights-{i}/layer_with_weights-0", x)
            x = x.reshape(x.shape[0], -1, 4, x.shape[2]).max(2)
            i += 1
        return x

    def motif(self, x: Array) -> Array:
        x = x @ self.w["motif_activity_fc1/kernel"] + self.w["motif_activity_fc1/bias"]
        x = 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))
        return x @ self.w["motif_activity_fc2/kernel"] + self.w["motif_activity_fc2/bias"]

    def rotate(self, x: Array) -> Array:
        """Each pair (a, b) of token t turned by t / 10000^(2i/D); sine and cosine have 8 bits of
        mantissa."""
        tokens, dim = x.shape[1], x.shape[3]
        frequency = (
            1 / 10000 ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))
        ).astype(np.float32)
        angle = np.arange(tokens, dtype=np.float32)[:, None] * frequency
        sine, cosine = (_to_bfloat16(f(angle))[None, :, None] for f in (np.sin, np.cos))
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cosine - x[..., 1::2] * sine
        out[..., 1::2] = x[..., 1::2] * cosine + x[..., 0::2] * sine
        return out

    def attention(self, path: str, x: Array) -> Array:
        parts = [
            np.einsum("btd,dhk->bthk", x, self.w[f"{path}/{p}_dense_layer/kernel"])
            for p in ("query", "key", "value")
        ]
        query, key, value = parts
        if self.rotary:
            query, key = self.rotate(query), self.rotate(key)
        features = len(self.projection)
        query, key = (
            np.maximum(t @ self.projection.T / np.sqrt(features), 0) + 0.001 for t in (query, key)
        )
        scores = np.einsum("bthm,bshm->bhts", query, key)
        mixed = np.einsum("bhts,bshk->bthk", scores / scores.sum(-1, keepdims=True), value)
        return np.einsum("bthk,hkd->btd", mixed, self.w[f"{path}/output_dense_layer/kernel"])

    def layer(self, path: str, x: Array) -> Array:
        w = self.w
        normed = _layer_norm(x, w[f"{path}/layer_norm/gamma"], w[f"{path}/layer_norm/beta"])
        x = x + self.attention(f"{path}/self_attention", normed)
        ffn = f"{path}/FFN"
        y = _layer_norm(x, w[f"{ffn}/FFN_layer_norm/gamma"], w[f"{ffn}/FFN_layer_norm/beta"])
        y = np.maximum(y @ w[f"{ffn}/FFN_dense_wide/kernel"] + w[f"{ffn}/FFN_dense_wide/bias"], 0)
        return x + y @ w[f"{ffn}/FFN_dense_narrow/kernel"] + w[f"{ffn}/FFN_dense_narrow/bias"]

    def run(self, sequence: Array, atac: Array, motif: Array) -> Reference:
        """One-hot (B, L, 4), (B, L/4, 1), (B, 1, M)."""
        w, branch = self.w, self.sequence(sequence)
        motifs = np.repeat(self.motif(motif), branch.shape[1], axis=1)
        x = (
            np.concatenate([branch, self.atac(atac), motifs], 2)
            @ w["pre_transformer_projection/kernel"]
        )
        hidden = [x]
        for i in range(self.layers):
            hidden.append(self.layer(f"performer/layers/{i}", hidden[-1]))
        x = hidden[-1]
        if "performer/layer_norm/gamma" in w:
            x = _layer_norm(x, w["performer/layer_norm/gamma"], w["performer/layer_norm/beta"])
        x = _gelu_tanh(self.block("final_pointwise_conv", x))
        x = np.logaddexp(0, x @ w["final_dense_profile/kernel"] + w["final_dense_profile/bias"])
        return Reference(hidden, x[:, self.crop : x.shape[1] - self.crop])


def _to_bfloat16(x: Array) -> Array:
    """float32 rounded to nearest even bfloat16, as float64."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def random_batch(
    config: EpiBERTConfig, windows: int, biosamples: int, seed: int = 0, tokens: int | None = None
) -> Batch:
    rng = np.random.default_rng(seed)
    length = (tokens or config.output_length) * config.token_width
    rows = windows * biosamples
    sequence = one_hot(rng.integers(0, 5, (windows, length), dtype=np.uint8))
    atac = torch.from_numpy(rng.exponential(1, (rows, length // 4, 1)).astype(np.float32))
    return Batch(
        sequence, atac, torch.from_numpy(rng.random((rows, 1, config.num_motifs), dtype=np.float32))
    )


def random_weights(config: EpiBERTConfig, seed: int = 1) -> dict[str, np.ndarray]:
    """Original-layout weights of a size that keeps activations of order one."""
    rng = np.random.default_rng(seed)
    weights = {}
    for path, place in original_places(config).items():
        fan_in = {"heads_in": place.shape[0], "vector": 25}.get(
            place.layout, int(np.prod(place.shape[:-1]))
        )
        array = rng.normal(0, fan_in**-0.5, place.shape)
        if path.endswith(("gamma", "moving_variance")):
            array = 1 + np.abs(array)
        weights[path] = array.astype(np.float32)
    return weights
