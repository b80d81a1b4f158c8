"""A small world for heads and edits: hidden states made of a known dictionary, in which one latent
tells the classes apart, or none does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.studies.dna.head import Ragged
from petriscope.studies.dna.interventions import Edited

MOTIF = 3
"""the latent that fires in positives only"""


class World(NamedTuple):
    hidden: np.ndarray
    codes: sp.csr_matrix
    sequence: np.ndarray
    label: np.ndarray
    group: np.ndarray
    directions: np.ndarray
    split: np.ndarray

    def streams(self) -> Ragged:
        return Ragged.of(
            self.hidden, self.sequence, np.ones(len(self.hidden), bool), len(self.label)
        )

    def edited(self, rows: np.ndarray) -> Edited:
        streams = self.streams().subset(rows)
        return Edited(streams, self.codes[streams.rows], self.directions, np.zeros(32))


def world(*, planted: bool, seed: int = 0, sequences: int = 360, latents: int = 40) -> World:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(14, 19, sequences)
    sequence = np.repeat(np.arange(sequences), lengths)
    group = np.arange(sequences) // 2
    label = rng.random(sequences) < 0.5
    directions = rng.normal(size=(latents, 32))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    fires = rng.random((len(sequence), latents)) < np.linspace(0.05, 0.3, latents)
    strength = rng.gamma(4, 0.5, fires.shape)
    motif = rng.random(len(sequence)) < 0.22
    fires[:, MOTIF] = motif & label[sequence] if planted else motif
    codes = np.where(fires, strength, 0).astype(np.float32)
    codes[:, MOTIF] *= 1.5
    hidden = codes @ directions + 0.1 * rng.normal(size=(len(sequence), 32))
    third = rng.permutation(group.max() + 1) % 3
    split = np.array(["train", "select", "test"])[third[group]]
    return World(
        hidden.astype(np.float32), sp.csr_matrix(codes), sequence, label, group,
        directions.astype(np.float32), split,
    )  # fmt: skip
