"""EpiBERT's convolutional branches: sequence (softmax pooling) and accessibility (max pooling), 128
bp to a token."""

from __future__ import annotations

from typing import NamedTuple

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
