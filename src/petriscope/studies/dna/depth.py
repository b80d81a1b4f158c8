"""How well features carry tracks, layer by layer: the best latent of each layer against its null,
and read on blocks that did not choose it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.concepts import score, weighted_f1
from petriscope.enrich.correlation import (
    BlockSums,
    HeldOut,
    Lookup,
    block_weights,
    circular_shifts,
    correlate,
    held_out_best,
    rings,
)

SHOWN = 5
"""latents of a layer and track in the table"""
NEAR = 16
"""tokens on either side whose GC content is held constant in partial correlations"""


class TokenAxis(NamedTuple):
    """What is asked of n tokens in order, contig by contig."""

    contig: np.ndarray
    block: np.ndarray
    lookup: Lookup
    shifts: np.ndarray
    """(S, rings) turns of the null"""
    ring: np.ndarray
    weights: np.ndarray
    """(1 + R, B) bootstrap samples of the held-out blocks"""

    @property
    def train(self) -> np.ndarray:
        """Blocks that choose: every other one."""
        return np.arange(0, self.weights.shape[1], 2)


def token_axis_of(
    frame: pd.DataFrame,
    gc: np.ndarray,
    *,
    shifts: int,
    min_shift: int,
    bootstrap: int,
    seed: int,
) -> TokenAxis:
    """The axis of tokens (contig, block, id in ``frame``) with share of G and C ``gc`` (n,)."""
    contig = pd.factorize(frame.contig)[0]
    ring = rings(contig, min_shift)
    block = frame.block.to_numpy()
    held_out = np.arange(1, block.max() + 1, 2)
    lookup = Lookup(frame.id.to_numpy(), _surrounding(gc, contig)[:, None])
    return TokenAxis(
        contig,
        block,
        lookup,
        circular_shifts(ring, shifts, min_shift, seed),
        ring,
        block_weights(held_out, int(block.max()) + 1, bootstrap, seed),
    )


def _surrounding(values: np.ndarray, contig: np.ndarray) -> np.ndarray:
    """Mean of the tokens within `NEAR` on either side, in the same contig."""
    total = np.append(0, np.cumsum(values))
    first = np.searchsorted(contig, contig)
    last = np.searchsorted(contig, contig, side="right")
    at = np.arange(len(values))
    low, high = np.maximum(at - NEAR, first), np.minimum(at + NEAR + 1, last)
    return np.asarray((total[high] - total[low]) / (high - low))


class ModelScores(NamedTuple):
    """All of one model."""

    correlations: pd.DataFrame
    """a row per layer, track and one of its strongest latents"""
    by_layer: pd.DataFrame
    """a row per layer and track"""
    held_out: dict[int, np.ndarray]
    """layer → (1 + R, T) held-out r of the best latent"""


def score_model(
    codes: Mapping[int, sp.csr_matrix],
    tracks: Mapping[str, np.ndarray],
    axis: TokenAxis,
    min_events: float,
) -> ModelScores:
    """Score all layers of one model as one family of latents × layers × tracks."""
    names, y = list(tracks), np.stack(list(tracks.values()), axis=1)
    alive = {k: np.flatnonzero(np.diff(x.tocsc().indptr) >= min_events) for k, x in codes.items()}
    layers = [layer for layer in codes if len(alive[layer])]
    values = sp.hstack([codes[k].tocsc()[:, alive[k]] for k in layers], format="csr")
    part = np.repeat(np.arange(len(layers)), [len(alive[k]) for k in layers])
    plain = correlate(values, y, axis.ring, axis.shifts, part=part)
    partial = correlate(values, y, axis.ring, axis.shifts, axis.lookup, part=part)
    shape = plain.r.shape
    table = {
        "r": plain.r,
        "p": plain.test.p.reshape(shape),
        "max_t": plain.test.max_t.reshape(shape),
        "partial_r": partial.r,
        "partial_max_t": partial.test.max_t.reshape(shape),
    }
    rows, per_layer, held = [], [], {}
    for number, layer in enumerate(layers):
        mine = np.flatnonzero(part == number)
        found = held_out(codes[layer], y, axis, alive[layer])
        held[layer] = found.r
        strongest = np.argsort(-np.abs(np.nan_to_num(plain.r[mine])), axis=0, kind="stable")[:SHOWN]
        for t, name in enumerate(names):
            chosen = mine[strongest[:, t]]
            latents = alive[layer][strongest[:, t]]
            told = _as_classifier(codes[layer][:, latents], y[:, t], axis)
            row = {"layer": layer, "track": name, "latent": latents}
            row |= {key: value[chosen, t] for key, value in table.items()}
            rows.append(pd.DataFrame({**row, **told}))
            per_layer.append(
                {
                    "layer": layer,
                    "track": name,
                    "alive": len(mine),
                    "latent": int(latents[0]),
                    "best_r": float(np.abs(plain.r[chosen[0], t])),
                    "null_median": float(np.median(plain.null_max[:, number, t])),
                    "null_95": float(np.quantile(plain.null_max[:, number, t], 0.95)),
                    "max_t": _least(table["max_t"][mine, t]),
                    "partial_best": float(np.nanmax(np.abs(np.append(partial.r[mine, t], 0)))),
                    "partial_95": float(np.quantile(partial.null_max[:, number, t], 0.95)),
                    "partial_max_t": _least(table["partial_max_t"][mine, t]),
                    "held_out_latent": int(found.latent[t]),
                    "held_out_r": float(found.r[0, t]),
                    "low": float(np.quantile(found.r[1:, t], 0.025)),
                    "high": float(np.quantile(found.r[1:, t], 0.975)),
                }
            )
    return ModelScores(pd.concat(rows, ignore_index=True), pd.DataFrame(per_layer), held)


def _least(p: np.ndarray) -> float:
    """The smallest p; 1 where none is tested."""
    return float(np.nanmin(np.append(p, 1.0)))


def held_out(
    codes: sp.csr_matrix, y: np.ndarray, axis: TokenAxis, alive: np.ndarray | None = None
) -> HeldOut:
    """The best latent of each track chosen on every other block, read on the others."""
    usable = np.ones(codes.shape[1], bool) if alive is None else np.zeros(codes.shape[1], bool)
    if alive is not None:
        usable[alive] = True
    return held_out_best(BlockSums.of(codes, y, axis.block), axis.train, axis.weights, usable)


def _as_classifier(codes: sp.csr_matrix, y: np.ndarray, axis: TokenAxis) -> dict[str, np.ndarray]:
    """AUROC and F1 of latents for the track as a yes or no (half of a token, or the top tenth): the
    threshold is chosen on train blocks, both are read on the others."""
    yes = y >= (0.5 if y.max() <= 1 and (y >= 0.5).mean() < 0.5 else np.quantile(y, 0.9))
    train = np.isin(axis.block, axis.train)
    threshold = score(codes[train], yes[train, None]).threshold[:, 0]
    test = score(codes[~train], yes[~train, None])
    dense = codes[~train].toarray()
    once = axis.weights[:1]
    f1 = [
        weighted_f1(dense[:, f] >= threshold[f], yes[~train], axis.block[~train], once)[0]
        for f in range(dense.shape[1])
    ]
    return {"auroc": test.auroc[:, 0], "f1": np.array(f1)}


class Interval(NamedTuple):
    """An estimate with its 95 % interval over blocks."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: np.ndarray) -> Interval:
        """Of the estimate and the bootstrap samples after it (1 + R,)."""
        low, high = np.quantile(samples[1:], [0.025, 0.975])
        return cls(float(samples[0]), float(low), float(high))


def drop_with_depth(held: Mapping[int, np.ndarray], tracks: np.ndarray) -> Interval | None:
    """Mean held-out r of the later half of the layers less that of the earlier half, over some
    ``tracks`` (numbers). Layer 0, which has seen no context, is in neither; None with fewer than
    two other layers or without tracks."""
    layers = sorted(layer for layer in held if layer > 0)
    if len(layers) < 2 or not len(tracks):
        return None
    half = len(layers) // 2  # of an odd number the middle one is in neither
    early, late = layers[:half], layers[-half:]
    mean = [
        np.mean([held[layer][:, tracks].mean(1) for layer in half], axis=0)
        for half in (early, late)
    ]
    return Interval.of(mean[1] - mean[0])


def equivalence(best: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """Pairs of expansions: mean held-out r of one less the other, with its interval over blocks.
    ``best``: factor → (1 + R,) mean over layers and tracks."""
    factors = sorted(best)
    rows = []
    for i, one in enumerate(factors):
        for other in factors[i + 1 :]:
            found = Interval.of(best[other] - best[one])
            rows.append({"factor": other, "than": one, **found._asdict()})
    return pd.DataFrame(rows, columns=["factor", "than", "value", "low", "high"])
