"""EpiBERT's layers are two convolutional branches (sequence with softmax pooling, accessibility
with max pooling, 128 bp to a token) and transformer blocks: pre-LN, rotary FAVOR attention with a
ReLU kernel, ReLU feed-forward of twice the width.

Javed et al., Cell Genomics 2025; the generalized kernel of Choromanski et al., ICLR 2021, with
rotary positions (Su et al. 2021, interleaved pairs) on queries and keys. The random projections are
drawn by TensorFlow's ``stateless_normal`` (Philox 4x32-10, scrambled seeds, Box-Muller in single
precision) and stored in no checkpoint, so they are drawn again here (Salmon et al. 2011 for Philox;
the constants and the seed scrambling are TensorFlow's). Fresh weights come from the original's
initializers, but with independent draws for queries, keys and values: the original draws the three
attention kernels from one seed, so that q = k = v at the start.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petriscope.studies.chromatin.model.epibert_config import EpiBERTConfig

BN_EPSILON = 1e-5
STEM_WIDTH, ATAC_STEM_WIDTH, TOWER_WIDTH = 15, 50, 5

CHUNK = 4096
"""Positions computed at a time at inference on a CPU: a chunk stays in cache and no full-length
copies pile up."""


def same_padding(width: int) -> tuple[int, int]:
    """Zeros left and right of a SAME convolution: an even width has the odd one on the right."""
    return (width - 1) // 2, width // 2


def convolve(conv: nn.Conv1d, x: Tensor, zeros: tuple[int, int] | None = None) -> Tensor:
    """``conv`` over (B, C, L) with SAME padding, or with ``zeros`` left and right for a chunk that
    brings its halo."""
    if conv.kernel_size[0] == 1 and conv.bias is not None:
        # A product of matrices, without the copies a convolution makes.
        return torch.baddbmm(conv.bias[:, None], conv.weight[:, :, 0].expand(len(x), -1, -1), x)
    left, right = same_padding(conv.kernel_size[0]) if zeros is None else zeros
    return (
        F.conv1d(x, conv.weight, conv.bias, padding=left)
        if left == right
        else conv(F.pad(x, (left, right)))
    )


class ConvBlock(nn.Module):
    """Batch normalization, GELU (tanh form), convolution with SAME padding; (B, C, L) -> (B,
    filters, L)."""

    def __init__(self, channels: int, filters: int, width: int, bn_momentum: float) -> None:
        super().__init__()
        # torch weighs the new batch, Keras the running value.
        self.norm = nn.BatchNorm1d(channels, eps=BN_EPSILON, momentum=1 - bn_momentum)
        self.conv = nn.Conv1d(channels, filters, width)

    def forward(self, x: Tensor, zeros: tuple[int, int] | None = None) -> Tensor:
        return convolve(self.conv, F.gelu(self.norm(x), approximate="tanh"), zeros)


class SoftmaxPool(nn.Module):
    """Halve the length: one learned logit per position weighs the two positions of a pair, alike in
    all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logit = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, C, L/2)."""
        logits = torch.matmul(self.logit.weight[0], x)
        # A softmax over two is the sigmoid of their difference, a weighted mean of two an
        # interpolation.
        first = torch.sigmoid(logits[..., 0::2] - logits[..., 1::2])
        return torch.lerp(x[..., 1::2], x[..., 0::2], first[:, None])


class _Span(NamedTuple):
    """A chunk [start, stop), what it reads with its halo, and the zeros for the halo beyond the
    sequence's ends."""

    start: int
    stop: int
    read: slice
    zeros: tuple[int, int]


def _spans(length: int, width: int) -> list[_Span]:
    left, right = same_padding(width)
    spans = []
    for start in range(0, length, CHUNK):
        stop = min(start + CHUNK, length)
        low, high = start - left, stop + right
        read = slice(max(low, 0), min(high, length))
        spans.append(_Span(start, stop, read, (read.start - low, high - read.stop)))
    return spans


class SequenceBranch(nn.Module):
    """Stem and tower of the DNA branch: (B, L, 4) -> (B, T, C). Depends on the sequence alone."""

    def __init__(self, config: EpiBERTConfig) -> None:
        super().__init__()
        filters = self.filters = config.sequence_filters
        self.stem = nn.Conv1d(4, filters[0], STEM_WIDTH)
        self.stem_block = ConvBlock(filters[0], filters[0], 1, config.bn_momentum)
        self.stem_pool = SoftmaxPool(filters[0])
        widths = zip((filters[0], *filters[:-1]), filters)
        self.tower = nn.ModuleList(
            ConvBlock(a, b, TOWER_WIDTH, config.bn_momentum) for a, b in widths
        )
        self.pools = nn.ModuleList(SoftmaxPool(b) for b in filters)

    def forward(self, sequence: Tensor) -> Tensor:
        x = sequence.transpose(1, 2)
        inference = not self.training and not torch.is_grad_enabled()
        if inference and x.device.type == "cpu" and x.shape[-1] > CHUNK:
            return self._chunked(x).transpose(1, 2)
        x = convolve(self.stem, x)
        x = self.stem_pool(x + self.stem_block(x))
        for block, pool in zip(self.tower, self.pools):
            x = pool(block(x))
        return x.transpose(1, 2)

    def _chunked(self, x: Tensor) -> Tensor:
        """The same numbers a chunk at a time; only the pooled output of each stage exists at full
        length."""
        batch, _, length = x.shape
        out = x.new_empty(batch, self.filters[0], length // 2)
        for span in _spans(length, STEM_WIDTH):
            part = convolve(self.stem, x[..., span.read], span.zeros)
            part += self.stem_block(part)
            out[..., span.start // 2 : span.stop // 2] = self.stem_pool(part)
        for channels, block, pool in zip(self.filters, self.tower, self.pools):
            x, length = out, out.shape[-1]
            out = x.new_empty(batch, channels, length // 2)
            for span in _spans(length, TOWER_WIDTH):
                part = pool(block(x[..., span.read], span.zeros))
                out[..., span.start // 2 : span.stop // 2] = part
        return out


class AtacBranch(nn.Module):
    """Stem and tower of the accessibility branch: (B, L/4, 1) -> (B, T, C)."""

    def __init__(self, config: EpiBERTConfig) -> None:
        super().__init__()
        stem, filters = config.atac_stem_filters, config.atac_filters
        self.stem_size, self.tower_size = config.atac_stem_pool, config.atac_pool
        self.stem = nn.Conv1d(1, stem, ATAC_STEM_WIDTH)
        self.stem_block = ConvBlock(stem, stem, 1, config.bn_momentum)
        widths = zip((stem, *filters[:-1]), filters)
        self.tower = nn.ModuleList(
            ConvBlock(a, b, TOWER_WIDTH, config.bn_momentum) for a, b in widths
        )

    def forward(self, atac: Tensor) -> Tensor:
        x = convolve(self.stem, atac.transpose(1, 2))
        x = F.max_pool1d(x + self.stem_block(x), self.stem_size)
        for block in self.tower:
            x = F.max_pool1d(block(x), self.tower_size)
        return x.transpose(1, 2)


class MotifBranch(nn.Module):
    """Two dense layers on the motif activity, (B, 1, M) -> (B, 1, C); its GELU is the exact one."""

    def __init__(self, config: EpiBERTConfig) -> None:
        super().__init__()
        self.wide = nn.Linear(config.num_motifs, config.motif_units_fc)
        self.narrow = nn.Linear(config.motif_units_fc, config.motif_channels)
        self.wide_dropout, self.narrow_dropout = (
            nn.Dropout(config.motif_dropout),
            nn.Dropout(config.motif_dropout / 4),
        )

    def forward(self, motif: Tensor) -> Tensor:
        return self.narrow_dropout(self.narrow(self.wide_dropout(F.gelu(self.wide(motif)))))


class Head(nn.Module):
    """Pointwise convolution, GELU and softplus on the transformer's output: (B, T, d) -> (B, T, 1),
    uncropped."""

    def __init__(self, config: EpiBERTConfig) -> None:
        super().__init__()
        self.block = ConvBlock(config.d_model, config.head_channels, 1, config.bn_momentum)
        self.dropout = nn.Dropout(config.head_dropout)
        self.profile = nn.Linear(config.head_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.block(x.transpose(1, 2)).transpose(1, 2))
        return F.softplus(self.profile(F.gelu(x, approximate="tanh")))


_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten Philox rounds: ``counter`` (n, 4) uint32, ``key`` two 32-bit words; returns (n, 4)
    uint32."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def _words(value: int) -> tuple[int, int]:
    """Low and high 32 bits of a 64-bit seed word (negative seeds wrap as in two's complement)."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value & 0xFFFFFFFF, value >> 32


def stateless_normal(shape: tuple[int, ...], seed: tuple[int, int]) -> np.ndarray:
    """``tf.random.stateless_normal(shape, seed)`` as float32 on a CPU.

    The logarithm, sine and cosine are taken in double and rounded once, so values agree with
    TensorFlow's to the last bit of its single-precision library functions.
    """
    mixed = philox4x32(
        np.array([[*_words(seed[0]), *_words(seed[1])]], dtype=np.uint32), _SCRAMBLE_KEY
    )[0]
    size = math.prod(shape)
    groups = -(-size // 4)
    counter = np.empty((groups, 4), dtype=np.uint32)
    counter[:, 0] = np.arange(groups, dtype=np.uint64) & _LOW
    counter[:, 1] = np.arange(groups, dtype=np.uint64) >> _SHIFT
    counter[:, 2], counter[:, 3] = mixed[2], mixed[3]
    bits = philox4x32(counter, (int(mixed[0]), int(mixed[1])))
    # 23 random mantissa bits under the exponent of 1.0 give [1, 2).
    uniform = ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(
        1
    )
    first = np.maximum(uniform[:, 0::2], np.float32(1e-7))
    angle = (
        (2.0 * math.pi * uniform[:, 1::2].astype(np.float64)).astype(np.float32).astype(np.float64)
    )
    log = np.log(first.astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * log)
    normal = np.empty((groups, 4), dtype=np.float32)
    normal[:, 0::2] = np.sin(angle).astype(np.float32) * radius
    normal[:, 1::2] = np.cos(angle).astype(np.float32) * radius
    return normal.reshape(-1)[:size].reshape(shape)


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


_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut at two."""


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """LeCun-normal dense and convolution kernels, Glorot-uniform attention kernels, zero biases; in
    place."""
    for name, part in module.named_modules():
        if not isinstance(part, (nn.Linear, nn.Conv1d)):
            continue
        fan_in = part.weight[0].numel()
        if ".attention." in name:
            limit = math.sqrt(6 / (fan_in + part.weight.shape[0]))
            nn.init.uniform_(part.weight, -limit, limit, generator=generator)
        else:
            std = math.sqrt(1 / fan_in) / _TRUNCATED_STD
            nn.init.trunc_normal_(part.weight, 0.0, std, -2 * std, 2 * std, generator=generator)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
