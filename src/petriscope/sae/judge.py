"""How good a dictionary is: held-out reconstruction, sparsity, dead latents, planted factors found
again, and whether other seeds find the same latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment

from petriscope.errors import UserError
from petriscope.sae.coder import SAE, as_rows
from petriscope.sae.loader import TokenSource

DENSITY_EDGES = tuple(10.0 ** np.arange(-6, 0.25, 0.5))
_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Quality:
    """Held-out quality at the inference threshold."""

    n_tokens: int
    fvu: float
    """Σ‖h − ĥ‖² / Σ‖h − h̄‖²: share of variance not explained"""
    cosine: float
    """mean cosine of h and ĥ"""
    l0: float
    """mean active latents per token"""
    l0_p05: float
    l0_p95: float
    dead_fraction: float
    """latents that fire on none of these tokens"""
    density_histogram: tuple[int, ...]
    """latents by firing rate; edges `DENSITY_EDGES` (10^-6 … 1, half decades); the dead are in
    none"""
    max_coherence: float
    """largest |cosine| between two decoder rows, mean over rows"""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for metrics.json."""
        return {**dataclasses.asdict(self), "density_histogram": list(self.density_histogram)}


def quality(sae: SAE, rows: np.ndarray | TokenSource) -> Quality:
    """Quality of ``sae`` on held-out raw hidden states rows (…, d), or all of a source's;
    streamed."""
    return quality_and_rates(sae, rows)[0]


def quality_and_rates(sae: SAE, rows: np.ndarray | TokenSource) -> tuple[Quality, np.ndarray]:
    """`quality`, and the share of these tokens on which each latent fires, float64 (m,)."""
    judge = Judge(sae)
    for piece in _pieces(rows):
        judge.add(piece)
    return judge.quality(), judge.rates()


class Judge:
    """Quality of a dictionary on hidden states that come piece by piece."""

    def __init__(self, sae: SAE) -> None:
        self.sae = sae
        self._fired = np.zeros(sae.m, dtype=np.int64)
        self._lengths: list[np.ndarray] = []
        self._error, self._cosine = 0.0, 0.0
        self._total, self._squares = np.zeros(sae.d), 0.0

    def add(self, piece: np.ndarray) -> None:
        """Take raw hidden states (…, d) in."""
        x = as_rows(piece, self.sae.d)
        codes = self.sae.encode(x)
        decoded = torch.from_numpy(self.sae.decode(codes))
        self._fired += np.bincount(codes.indices, minlength=self.sae.m)
        self._lengths.append(np.diff(codes.indptr))
        self._error += float((x - decoded).double().square().sum())
        cosine = torch.nn.functional.cosine_similarity(x, decoded, dim=1)
        self._cosine += float(cosine.double().sum())
        self._total += x.double().sum(0).numpy()
        self._squares += float(x.double().square().sum())

    def rates(self) -> np.ndarray:
        """Share of the tokens on which each latent fires, float64 (m,)."""
        return np.asarray(self._fired / sum(map(len, self._lengths)))

    def quality(self) -> Quality:
        """Of all that was taken in."""
        counts = np.concatenate(self._lengths)
        n, density = len(counts), self.rates()
        spread = self._squares - float((self._total**2).sum()) / n
        low, high = np.quantile(counts, [0.05, 0.95])
        fires = density[self._fired > 0]
        return Quality(
            n_tokens=n,
            fvu=self._error / spread if spread > 0 else float("nan"),
            cosine=self._cosine / n,
            l0=float(counts.mean()),
            l0_p05=float(low),
            l0_p95=float(high),
            dead_fraction=float((self._fired == 0).mean()),
            density_histogram=tuple(int(c) for c in np.histogram(fires, DENSITY_EDGES)[0]),
            max_coherence=_coherence(self.sae.unit_rows),
        )


def _pieces(rows: np.ndarray | TokenSource) -> Iterator[np.ndarray]:
    if isinstance(rows, TokenSource):
        yield from rows.in_order(_ROWS_AT_ONCE)
    else:
        flat = rows.reshape(-1, rows.shape[-1])
        yield from (
            flat[start : start + _ROWS_AT_ONCE] for start in range(0, len(flat), _ROWS_AT_ONCE)
        )


class Recovery(NamedTuple):
    """Planted directions found again."""

    matched_cosine: np.ndarray
    """float64 (factors): |cosine| with the decoder row assigned to it (one to one); 0 where none is
    left"""
    best_cosine: np.ndarray
    """float64 (factors): largest cosine with any decoder row (MMCS is its mean)"""

    def recovered(self, least: float = 0.9) -> float:
        """Share of factors whose assigned row has cosine ≥ ``least``."""
        return float((self.matched_cosine >= least).mean())


def recovery(sae: SAE, factors: np.ndarray) -> Recovery:
    """How well the decoder rows recover known directions (factors, d), any scale."""
    similarity = cosines(torch.from_numpy(np.asarray(factors, dtype=np.float32)), sae.W_dec)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    matched = np.zeros(len(similarity))
    matched[rows] = similarity[rows, columns]
    return Recovery(matched, similarity.max(axis=1))


def _coherence(rows: torch.Tensor) -> float:
    total = 0.0
    for start in range(0, len(rows), 1024):
        cosines = (rows[start : start + 1024] @ rows.T).abs()
        cosines[torch.arange(len(cosines)), torch.arange(start, start + len(cosines))] = 0.0
        total += float(cosines.amax(1).sum())
    return total / len(rows)


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
