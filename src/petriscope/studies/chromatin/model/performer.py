"""EpiBERT's transformer block: pre-LN, rotary FAVOR attention with a ReLU kernel, ReLU feed-forward
of twice the width.

Javed et al., Cell Genomics 2025; the generalized kernel of Choromanski et al., ICLR 2021, with
rotary positions (Su et al. 2021, interleaved pairs) on queries and keys.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petriscope.studies.chromatin.model.tf_random import stateless_normal

LN_EPSILON = 1e-5


def projection_matrix(features: int, dim: int, seed: int) -> np.ndarray:
    """The orthogonal random projection (features, dim) float32 of every attention layer, rebuilt
    from ``seed``.

    Blocks of ``dim`` orthonormal rows, a last block cut to the rows that remain, each row scaled by
    the norm of an independent Gaussian vector. The factorization runs in double: it is the
    single-precision one without its rounding.
    """
    blocks = features // dim
    draws = [(dim, (seed + i, 2)) for i in range(blocks)]
    if features % dim:
        draws.append((features % dim, (seed + blocks, 5)))
    rows = []
    for count, block_seed in draws:
        orthogonal, _ = np.linalg.qr(stateless_normal((dim, dim), block_seed).astype(np.float64))
        rows.append(orthogonal.T[:count])
    lengths = np.linalg.norm(
        stateless_normal((features, dim), (seed + blocks + 1 + 3, 6)).astype(np.float64), axis=1
    )
    return (lengths[:, None] * np.concatenate(rows)).astype(np.float32)


def rotary_table(tokens: int, dim: int) -> np.ndarray:
    """Sines and cosines (2, tokens, dim) float32 of the rotary positions, one pair of channels per
    frequency.

    Frequencies, their reciprocals and the angles are rounded to single precision as in the
    original, and the table itself to bfloat16, which it is in every precision the original runs in.
    """
    exponent = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    inverse = np.float32(1) / np.power(10000.0, exponent.astype(np.float64)).astype(np.float32)
    angle = (np.arange(tokens, dtype=np.float32)[:, None] * inverse).astype(np.float64)
    table = torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)]).astype(np.float32))
    return table.bfloat16().float().repeat_interleave(2, dim=-1).numpy()


def rotate(x: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Rotate each pair of neighboring channels of ``x`` (B, T, H, D) by the angles of its
    token."""
    pairs = x.unflatten(-1, (-1, 2))
    turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return x * cosine[:, None] + turned * sine[:, None]


class RotaryFavorAttention(nn.Module):
    """Bidirectional linear attention: phi(q) (phi(k)^T v) / (phi(q) sum phi(k)).

    phi(t) = relu(P t / sqrt(M)) + stabiliser; no other scaling and no constant in the division.
    """

    def __init__(self, d_model: int, heads: int, head_dim: int, stabilizer: float) -> None:
        super().__init__()
        self.heads, self.stabilizer = heads, stabilizer
        self.query, self.key, self.value = (
            nn.Linear(d_model, heads * head_dim, bias=False) for _ in range(3)
        )
        self.output = nn.Linear(heads * head_dim, d_model, bias=False)

    def features(self, x: Tensor, projection: Tensor) -> Tensor:
        """Kernel features (B, H, T, M) of ``x`` (B, T, H, D); ``projection`` (M, D) carries the
        1/sqrt(M)."""
        return F.relu(x.transpose(1, 2) @ projection.T, inplace=True) + self.stabilizer

    def forward(self, x: Tensor, projection: Tensor, rotary: Tensor | None) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, -1))
            for linear in (self.query, self.key, self.value)
        )
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        query, key = self.features(query, projection), self.features(key, projection)
        numerator = query @ (key.transpose(-2, -1) @ value.transpose(1, 2))
        denominator = query @ key.sum(dim=-2)[..., None]
        return self.output((numerator / denominator).transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """One transformer block: x + attention(LN x), then + feed-forward(LN)."""

    def __init__(
        self, d_model: int, heads: int, head_dim: int, stabilizer: float, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=LN_EPSILON)
        self.attention = RotaryFavorAttention(d_model, heads, head_dim, stabilizer)
        self.feed_norm = nn.LayerNorm(d_model, eps=LN_EPSILON)
        self.wide = nn.Linear(d_model, 2 * d_model)
        self.narrow = nn.Linear(2 * d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        return self.dropout(
            self.narrow(F.relu(self.dropout(self.wide(self.feed_norm(x))), inplace=True))
        )

    def forward(self, x: Tensor, projection: Tensor, rotary: Tensor | None) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        middle = x + self.dropout(self.attention(self.norm(x), projection, rotary))
        return middle + self.feed_forward(middle)
