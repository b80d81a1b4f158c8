"""The methods fixture of study cells: what the authors' scripts made of a small model, with
their inputs."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petriscope.sae.codes import Codes

K = 4
LAYERS = (0, 1, 2)


class Golden:
    """``arrays``: bio_sae_methods.npz; ``made``: what the scripts wrote, bio_sae_methods.json.gz."""

    def __init__(self, shared: Path) -> None:
        folder = shared / "golden/single_cell"
        with np.load(folder / "bio_sae_methods.npz") as found:
            self.arrays = {name: found[name] for name in found.files}
        with gzip.open(folder / "bio_sae_methods.json.gz", "rt") as file:
            self.made: dict[str, Any] = json.load(file)

    def decoder(self, layer: int) -> np.ndarray:
        """(features, d)"""
        return self.arrays[f"sae_{layer}/W_dec.weight"].T

    def alive(self, layer: int) -> np.ndarray:
        return np.array([not row["is_dead"] for row in self.made[f"catalog_{layer}"]["features"]])

    @functools.cache  # noqa: B019
    def indices(self, layer: int) -> np.ndarray:
        """(n, k) ascending: the k largest latents of each position, as the authors count them."""
        centered = self.arrays[f"acts_{layer}"].astype(np.float32) - self.arrays[f"mean_{layer}"]
        weight, bias = (self.arrays[f"sae_{layer}/W_enc.{name}"] for name in ("weight", "bias"))
        latents = torch.from_numpy(centered) @ torch.from_numpy(weight).T + torch.from_numpy(bias)
        return np.sort(torch.topk(latents, K, dim=-1).indices.numpy(), axis=1)

    def codes(self, layer: int) -> Codes:
        """All k of each position, at activation 1."""
        indices = self.indices(layer)
        n, k = indices.shape
        ones = np.ones(n * k, np.float32)
        return Codes(np.arange(n + 1) * k, indices.ravel().astype(np.int32), ones, 96)

    @property
    def gene(self) -> np.ndarray:
        return self.arrays["gene_ids"]
