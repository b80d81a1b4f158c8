"""A toy EpiBERT, a sparse autoencoder with random weights, and rows held at a layer, for the causal
tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from petriscope.contrast.design import Design
from petriscope.probe.states import RowLabels, States, gather
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.units import design_of

D, M, BINS, CROP = 16, 48, 28, 2
LINEAGES = ("blood", "liver", "lymph")


def model() -> EpiBERT:
    torch.manual_seed(0)
    config = EpiBERTConfig(
        input_length=4096, output_length=32, final_output_length=BINS, sequence_filters=(8, 8, 8, 8, 8, 16),
        atac_filters=(8, 8), atac_stem_filters=8, d_model=D, heads=2, layers=3, random_features=16, num_motifs=5,
        motif_units_fc=8,
    )  # fmt: skip
    return EpiBERT(config, init_seed=1).eval()


def autoencoder(states: States) -> SAE:
    """Unit decoder rows, encoder tied to them, a threshold that leaves about 15 % of codes."""
    generator = torch.Generator().manual_seed(2)
    decoder = torch.nn.functional.normalize(torch.randn(M, D, generator=generator), dim=1)
    rows = states.tokens()
    scale = float(np.sqrt(D) / rows.norm(dim=1).pow(2).mean().sqrt())
    center = rows.mean(0) * scale
    threshold = float(((rows * scale - center) @ decoder.T).quantile(0.85))
    config = SAEConfig(d=D, m=M, k=8)
    return SAE(config, decoder.clone(), torch.zeros(M), decoder, center, scale, threshold)


def biosamples() -> pd.DataFrame:
    rows = [
        (f"{lineage}_{context}_{i}", lineage, context)
        for lineage in LINEAGES
        for context in ("in_vitro", "in_vivo")
        for i in range(2)
    ]
    return pd.DataFrame(rows, columns=["biosample", "lineage", "context"])


def design() -> Design:
    return design_of(biosamples())


def held(probed: EpiBERT, layer: int, *, context: str, windows: int = 6, seed: int = 0) -> States:
    """Rows of one context, one per (window, lineage), two windows per block; contexts differ in
    their accessibility."""
    rng = np.random.default_rng(seed)
    sequence = one_hot(rng.integers(0, 4, (windows, 4096)).astype(np.uint8))
    atac = rng.gamma(0.3, 1.0, (windows, 1, 1024, 1)) + np.arange(3).reshape(1, 3, 1, 1) * 0.2
    if context == "in_vivo":
        atac = atac * rng.gamma(3, 0.6, (1, 1, 1024, 1)) + 0.5
    read = np.random.default_rng(seed + 1).uniform(size=(windows * 3, BINS)) < 0.4
    signal = torch.tensor(atac.reshape(windows * 3, 1024, 1)).float()
    batch = Batch(sequence, signal, torch.full((windows * 3, 1, 5), 0.5))
    window = np.repeat(np.arange(windows), 3)
    labels = RowLabels(
        window, window // 2, np.array(LINEAGES * windows), np.full(windows * 3, context)
    )
    return gather(probed, [batch], layer, read, labels, CROP)
