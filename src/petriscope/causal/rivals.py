"""Rival dictionaries with an autoencoder's interface: principal components, raw neurons, a single
direction; and who competes on the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.causal.directions import linear_probe, mean_difference, unit_means
from petriscope.contrast.design import Design
from petriscope.probe.states import Dictionary, to_host


class BasisCodes(NamedTuple):
    """Dense codes written as CSR, so that every causal test takes them."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class SignedBasis:
    """Orthonormal directions (c, d) about a center (d,); each gives two latents, its positive and
    its negative part.

    Latents 2i and 2i + 1 are max(0, (h - center) . v_i) with direction v_i and max(0, -(h - center)
    . v_i) with -v_i.
    """

    basis: Tensor
    center: Tensor

    def to(self, device: str | torch.device) -> SignedBasis:
        """The same basis on another device, where it then encodes."""
        return SignedBasis(self.basis.to(device), self.center.to(device))

    @property
    def directions(self) -> Tensor:
        """(2c, d)"""
        return torch.stack([self.basis, -self.basis], dim=1).reshape(-1, self.basis.shape[1])

    def encode(self, x: np.ndarray | Tensor) -> BasisCodes:
        """Codes of raw hidden states (n, d)."""
        given = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        rows = (given.to(self.center.device).float() - self.center) @ self.basis.T
        dense = to_host(torch.stack([rows, -rows], dim=2).reshape(len(rows), -1).clamp_min(0))
        row, latent = np.nonzero(dense)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))]).astype(
            np.int64
        )
        return BasisCodes(indptr, latent.astype(np.int32), dense[row, latent])

    def decode(self, codes: BasisCodes) -> np.ndarray:
        """Reconstruction (n, d)."""
        n = len(codes.indptr) - 1
        dense = np.zeros((n, 2 * len(self.basis)), np.float32)
        dense[np.repeat(np.arange(n), np.diff(codes.indptr)), codes.indices] = codes.values
        return dense @ to_host(self.directions) + to_host(self.center)


def principal_components(rows: np.ndarray, count: int | None = None) -> SignedBasis:
    """Principal components of hidden states (n, d), by the eigenvectors of their covariance,
    largest first.

    The sign of a component is fixed by its largest entry, so that the same rows give the same
    bytes.
    """
    values = np.asarray(rows, np.float64)
    center = values.mean(0)
    _, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
    basis = vectors.T[::-1][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], axis=1)
    basis = basis * np.sign(largest)
    return SignedBasis(
        torch.from_numpy(basis.astype(np.float32)), torch.from_numpy(center.astype(np.float32))
    )


def raw_neurons(rows: np.ndarray) -> SignedBasis:
    """The coordinates of the residual stream themselves, centered on hidden states (n, d)."""
    center = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    identity = np.eye(len(center), dtype=np.float32)
    return SignedBasis(torch.from_numpy(identity), torch.from_numpy(center))


def single_direction(direction: np.ndarray, rows: np.ndarray) -> SignedBasis:
    """One direction (d,), of any norm, as a dictionary of two latents centered on hidden states (n,
    d)."""
    unit = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    center = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    return SignedBasis(torch.from_numpy(unit.astype(np.float32))[None], torch.from_numpy(center))


def condition_order(
    basis: SignedBasis, means: np.ndarray, target: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """(c,) directions by the size of the difference between conditions: |mean of the target units -
    mean of the others| along each, per unit of its standard deviation ``spread`` (c,). ``means``
    (S, d) per unit, ``target`` (S,) bool."""
    difference = (means[target].mean(0) - means[~target].mean(0)) @ to_host(basis.basis).T
    size = np.divide(np.abs(difference), spread, out=np.zeros_like(difference), where=spread > 0)
    return np.argsort(-size, kind="stable")


def divergent_components(rows: np.ndarray, unit: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(d, d) principal directions of hidden states (n, d), in `condition_order`; ``unit`` (n,),
    ``target`` (S,) bool."""
    basis = principal_components(rows)
    means = np.stack([rows[unit == s].mean(0) for s in range(len(target))])
    scale = ((rows - rows.mean(0)) @ to_host(basis.basis).T).std(0)
    return to_host(basis.basis)[condition_order(basis, means, target, scale)]


class Learning(NamedTuple):
    """Tokens that every entrant learns from; no read-out sees them."""

    hidden: np.ndarray
    """(n, d)"""
    unit: np.ndarray
    """(n,) row of the design"""
    design: Design

    def only(self, stratum: str) -> Learning:
        """The tokens and units of one stratum."""
        member = self.design.stratum_of == self.design.strata.index(stratum)
        rows = member[self.unit]
        return Learning(
            self.hidden[rows], (np.cumsum(member) - 1)[self.unit[rows]], self.design.only(stratum)
        )


def entrants(learning: Learning, autoencoders: Mapping[str, Dictionary]) -> dict[str, Dictionary]:
    """The autoencoders given (trained, frozen-decoder, ...) and the simple bases: principal
    components, raw neurons, the difference of means and the linear probe."""
    design, hidden = learning.design, learning.hidden
    means = unit_means(hidden, np.zeros((len(design.units), 1)), learning.unit, design)
    simple: dict[str, Dictionary] = {
        "pca": principal_components(hidden),
        "raw_neurons": raw_neurons(hidden),
        "difference_of_means": single_direction(mean_difference(means, design.strata), hidden),
        "linear_probe": single_direction(linear_probe(means, design.strata), hidden),
    }
    return dict(autoencoders) | simple
