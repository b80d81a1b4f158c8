"""Rival dictionaries with an autoencoder's interface: principal components, raw neurons, a single
direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class BasisCodes(NamedTuple):
    """Dense codes written as CSR, so that every causal test takes them."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class SignedBasis:
    """Orthonormal directions (c, d) about a centre (d,); each gives two latents, its positive and
    its negative part.

    Latents 2i and 2i + 1 are max(0, (h - centre) . v_i) with direction v_i and max(0, -(h - centre)
    . v_i) with -v_i.
    """

    basis: Tensor
    centre: Tensor

    @property
    def directions(self) -> Tensor:
        """(2c, d)"""
        return torch.stack([self.basis, -self.basis], dim=1).reshape(-1, self.basis.shape[1])

    def encode(self, x: np.ndarray | Tensor) -> BasisCodes:
        """Codes of raw hidden states (n, d)."""
        rows = (torch.as_tensor(x).float() - self.centre) @ self.basis.T
        dense = torch.stack([rows, -rows], dim=2).reshape(len(rows), -1).clamp_min(0).numpy()
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
        return dense @ self.directions.numpy() + self.centre.numpy()


def principal_components(rows: np.ndarray, count: int | None = None) -> SignedBasis:
    """Principal components of hidden states (n, d), by the eigenvectors of their covariance,
    largest first.

    The sign of a component is fixed by its largest entry, so that the same rows give the same
    bytes.
    """
    values = np.asarray(rows, np.float64)
    centre = values.mean(0)
    _, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
    basis = vectors.T[::-1][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], axis=1)
    basis = basis * np.sign(largest)
    return SignedBasis(
        torch.from_numpy(basis.astype(np.float32)), torch.from_numpy(centre.astype(np.float32))
    )


def raw_neurons(rows: np.ndarray) -> SignedBasis:
    """The coordinates of the residual stream themselves, centred on hidden states (n, d)."""
    centre = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    return SignedBasis(torch.eye(len(centre)), torch.from_numpy(centre))


def single_direction(direction: np.ndarray, rows: np.ndarray) -> SignedBasis:
    """One direction (d,), of any norm, as a dictionary of two latents centred on hidden states (n,
    d)."""
    unit = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    centre = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    return SignedBasis(torch.from_numpy(unit.astype(np.float32))[None], torch.from_numpy(centre))


def context_order(
    basis: SignedBasis, means: np.ndarray, vivo: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """(c,) directions by the size of the context difference: |mean in vivo - mean in vitro| along
    each, per unit of its standard deviation ``spread`` (c,). ``means`` (S, d) per biosample,
    ``vivo`` (S,) bool."""
    difference = (means[vivo].mean(0) - means[~vivo].mean(0)) @ basis.basis.numpy().T
    size = np.divide(np.abs(difference), spread, out=np.zeros_like(difference), where=spread > 0)
    return np.argsort(-size, kind="stable")
