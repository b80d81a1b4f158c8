"""Do other seeds find the same latents? One-to-one matching of dictionaries of one layer, per
feature and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment

from petriscope.errors import UserError
from petriscope.sae.coder import SAE


class Stability(NamedTuple):
    """Latents of one dictionary matched one to one with another's (Hungarian on decoder + encoder
    cosine)."""

    match: np.ndarray
    """int64 (m): index in the other dictionary; -1 where that has fewer latents"""
    decoder_cosine: np.ndarray
    """float64 (m); NaN where unmatched"""
    encoder_cosine: np.ndarray
    """float64 (m); NaN where unmatched"""


def stability(sae: SAE, other: SAE) -> Stability:
    """Match the latents of two dictionaries of one layer (arXiv 2501.16615: decoder and encoder
    must both agree)."""
    if sae.d != other.d:
        raise UserError(
            f"dictionaries are {sae.d} and {other.d} wide",
            field="sae",
            remedy="Compare SAEs of one layer.",
        )
    decoder, encoder = cosines(sae.W_dec, other.W_dec), cosines(sae.W_enc, other.W_enc)
    rows, columns = linear_sum_assignment(decoder + encoder, maximize=True)
    match = np.full(sae.m, -1, dtype=np.int64)
    match[rows] = columns
    decoder_cosine, encoder_cosine = np.full(sae.m, np.nan), np.full(sae.m, np.nan)
    decoder_cosine[rows], encoder_cosine[rows] = decoder[rows, columns], encoder[rows, columns]
    return Stability(match, decoder_cosine, encoder_cosine)


class StabilityTables(NamedTuple):
    """Stability of the probed dictionary of one layer, its first seed."""

    features: pd.DataFrame
    """columns feature, stability, encoder_stability: means over the other seeds; NaN where there is
    no other seed"""
    matches: pd.DataFrame
    """columns feature, seed, match, decoder_cosine, encoder_cosine: a row per feature and other
    seed"""


def stability_tables(saes: Mapping[int, SAE]) -> StabilityTables:
    """Match the first of ``saes`` (by seed) with each of the others."""
    first, *others = saes
    feature = np.arange(saes[first].m)
    found = [stability(saes[first], saes[seed]) for seed in others]
    matches = [
        pd.DataFrame({"feature": feature, "seed": seed, **matched._asdict()})
        for seed, matched in zip(others, found, strict=True)
    ]
    columns = ["feature", "seed", *Stability._fields]
    features = pd.DataFrame(
        {
            "feature": feature,
            "stability": _mean([matched.decoder_cosine for matched in found], len(feature)),
            "encoder_stability": _mean([matched.encoder_cosine for matched in found], len(feature)),
        }
    )
    return StabilityTables(
        features, pd.concat(matches) if matches else pd.DataFrame(columns=columns)
    )


def chance_stability(m: int, d: int, seed: int = 0) -> float:
    """Mean matched cosine of two dictionaries of ``m`` random directions in ``d`` dimensions: what
    no learning gives."""
    rng = torch.Generator().manual_seed(seed)
    similarity = cosines(torch.randn(m, d, generator=rng), torch.randn(m, d, generator=rng))
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return float(similarity[rows, columns].mean())


def cosines(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
    """Cosine of every row of left (a, d) with every row of right (b, d): float64 (a, b)."""
    unit = torch.nn.functional.normalize
    return (unit(left, dim=1) @ unit(right, dim=1).T).double().cpu().numpy()


def _mean(cosine: Sequence[np.ndarray], m: int) -> np.ndarray:
    return np.mean(cosine, axis=0) if cosine else np.full(m, np.nan)
