"""Does this machine compute EpiBERT as the machine did on which parity with the original was shown?

Weights and inputs are plain formulas (no random generator), the wanted values come from the
independent float64 numpy model of the test suite and are held in parity.json.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import NamedTuple

import numpy as np
import torch

from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.epibert_original import original_places

CONFIG = EpiBERTConfig(
    input_length=2048,
    output_length=16,
    final_output_length=12,
    sequence_filters=(8, 8, 10, 12, 12, 16),
    atac_stem_filters=6,
    atac_filters=(4, 8),
    num_motifs=9,
    motif_units_fc=8,
    heads=2,
    layers=2,
    random_features=32,
)
LIMIT = 2e-5
"""largest relative error; float32 gives about 1e-6"""


class Parity(NamedTuple):
    """Relative error (Frobenius norm) of the prediction and of the last hidden state."""

    prediction: float
    hidden: float


def weights() -> dict[str, np.ndarray]:
    """Original-layout weights by formula: sines of growing argument, scaled to keep activations of
    order one."""
    found = {}
    for i, (path, place) in enumerate(sorted(original_places(CONFIG).items())):
        fan_in = {"heads_in": place.shape[0], "vector": 25}.get(
            place.layout, int(np.prod(place.shape[:-1]))
        )
        wave = (
            np.sin(np.arange(int(np.prod(place.shape))) * 1.7 + i).reshape(place.shape)
            * (2 / fan_in) ** 0.5
        )
        positive = path.endswith(("gamma", "moving_variance"))
        found[path] = (1 + np.abs(wave) if positive else wave).astype(np.float32)
    return found


def batch() -> Batch:
    """One window, two biosamples."""
    place = np.arange(CONFIG.input_length)
    sequence = one_hot(((place * 7 + place // 5 * 3) % 5).astype(np.uint8)[None])
    atac = (
        (1 + np.sin(np.arange(2 * CONFIG.input_length // 4) * 0.37))
        .reshape(2, -1, 1)
        .astype(np.float32)
    )
    motif = (
        (0.5 + 0.5 * np.cos(np.arange(2 * CONFIG.num_motifs))).reshape(2, 1, -1).astype(np.float32)
    )
    return Batch(sequence, torch.from_numpy(atac), torch.from_numpy(motif))


@torch.no_grad()
def parity() -> Parity:
    """The package's model on those weights against the wanted values."""
    wanted = json.loads(
        (resources.files("petriscope.studies.chromatin") / "parity.json").read_text(
            encoding="utf-8"
        )
    )
    found = model().run(batch(), capture=[CONFIG.layers])
    return Parity(
        relative(found.prediction.numpy(), np.asarray(wanted["prediction"])),
        relative(found.hidden[CONFIG.layers].numpy()[:, ::5], np.asarray(wanted["hidden"])),
    )


def model() -> EpiBERT:
    """The package's model with the formula's weights."""
    return EpiBERT(CONFIG).load_original(weights())


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative Frobenius error, infinite where shapes differ or a value is not finite."""
    found = (
        found.reshape(wanted.shape) if found.size == wanted.size else np.full(wanted.shape, np.inf)
    )
    error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    return error if np.isfinite(error) else float("inf")
