"""A post-norm transformer encoder, which Geneformer and scGPT both are: one block, and one loop
over blocks that captures, edits and resumes the stream.

h ← LN₁(h + W_o·attention(h)), then h ← LN₂(h + W₂ relu(W₁ h)). Layer 0 is the input of the first
block, layer k the stream after block k: its LN₂ output. Sources: `BertLayer` of transformers and
`nn.TransformerEncoderLayer` of torch, which differ in the epsilon and in names alone. The loop is
our own: torch's `TransformerEncoder` turns padded streams into nested tensors, which no edit can
read, and Hugging Face records streams before a hook has changed them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput
from petriscope.studies.cells.model.batch import CellBatch


class Size(Protocol):
    """What a configuration of either family says."""

    @property
    def vocabulary(self) -> int: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def ffn(self) -> int: ...
    @property
    def eps(self) -> float: ...


class Block(nn.Module):
    """One block; ``qkv`` holds the rows of W_q, W_k and W_v one after the other."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        d = size.d_model
        self.heads = size.heads
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.attention_norm = nn.LayerNorm(d, size.eps)
        self.up, self.down = nn.Linear(d, size.ffn), nn.Linear(size.ffn, d)
        self.ffn_norm = nn.LayerNorm(d, size.eps)

    def forward(self, x: Tensor, keep: Tensor | None, at: Tensor | None = None) -> Tensor:
        """x (B, T, d); ``keep`` (B, T) bool, or None where all are tokens; ``at`` (B, m) the only
        places whose output is wanted, or None: (B, m, d) then."""
        rows = x if at is None else x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
        x = self.attention_norm(rows + self.out(self.attend(rows, x, keep)))
        return self.ffn_norm(x + self.down(F.relu(self.up(x))))

    def attend(self, rows: Tensor, x: Tensor, keep: Tensor | None) -> Tensor:
        """softmax(q kᵀ / √(d / heads)) v with q of ``rows`` (B, m, d), k and v of ``x``; no token
        attends to padding."""
        d = x.shape[-1]
        if rows is x:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            q = F.linear(rows, self.qkv.weight[:d], self.qkv.bias[:d])
            k, v = F.linear(x, self.qkv.weight[d:], self.qkv.bias[d:]).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        seen = None if keep is None else keep[:, None, None, :]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return found.transpose(1, 2).flatten(2)


class PostNormModel(nn.Module, ABC):
    """What Geneformer and scGPT share: a `petriscope.probe.model.ProbedModel`.

    Subclasses say what a batch is embedded as, what is predicted from the last stream, and what of
    it is read at a masked gene.
    """

    resumes = True
    family: str
    """geneformer or scgpt"""
    left_out: tuple[str, ...] = ()
    """Weights of the checkpoint that the model has no place for, by name."""
    blocks: nn.ModuleList

    @property
    @abstractmethod
    def size(self) -> Size:
        """Its configuration."""

    @abstractmethod
    def embed(self, batch: CellBatch) -> Tensor:
        """(B, T, d) layer 0: what the first block reads."""

    @abstractmethod
    def predict(self, stream: Tensor) -> Tensor:
        """The prediction (..., V) or (...) from the stream (..., d) after the last block."""

    @abstractmethod
    def read(self, stream: Tensor, true: Tensor) -> Tensor:
        """(...) what is read of the stream (..., d) where the token ``true`` (...) was hidden."""

    @abstractmethod
    def hide(self, batch: CellBatch, at: Tensor) -> CellBatch:
        """``batch`` with what is predicted hidden at the places ``at``, bool (B, T)."""

    @abstractmethod
    def reinitialized(self, seed: int) -> PostNormModel:
        """The same architecture with weights drawn from ``seed``, in eval mode."""

    @property
    def n_layers(self) -> int:
        """Number of blocks; the stream has one layer more."""
        return self.size.layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.size.d_model

    def run(
        self,
        batch: CellBatch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        """`ProbedModel.run`. A resumed run needs the batch only where it is padded: its mask says
        which tokens nothing may attend to."""
        hidden: dict[int, Tensor] = {}
        stream = self._stream(batch, self.n_layers, capture, edits, resume, hidden)
        return ProbeOutput(self.predict(stream), hidden)

    def streams(self, batch: CellBatch, layers: Sequence[int]) -> dict[int, Tensor]:
        """Layer → residual stream (B, T, d); no block above the highest layer runs, and nothing is
        predicted."""
        hidden: dict[int, Tensor] = {}
        self._stream(batch, max(layers), layers, NO_EDITS, None, hidden)
        return hidden

    def at_places(
        self,
        batch: CellBatch | None,
        at: Tensor,
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """(n, d) stream after the last block at the places ``at``, bool (B, T), row by row: what is
        trained on and read. The last block does no more work than that, unless an edit behind it is
        to see the whole stream."""
        last, count = self.n_layers, at.sum(1)
        done = last in edits or (resume is not None and resume[0] == last)
        if done or not bool(count.any()):
            return self._stream(batch, last, (), edits, resume, {})[at]
        stream = self._stream(batch, last - 1, (), edits, resume, {})
        places = at.int().argsort(stable=True, dim=1, descending=True)[:, : int(count.max())]
        real = torch.arange(places.shape[1], device=at.device) < count[:, None]
        found: Tensor = self.blocks[-1](stream, _keep(batch), places)[real]
        return found

    def readout(
        self,
        batch: CellBatch | None,
        true: Tensor,
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """(B, T) what `read` reads where a token is named, NaN where ``true`` (B, T) is negative:
        log p of that gene (Geneformer), the predicted bin (scGPT)."""
        at = true >= 0
        stream = self.at_places(batch, at, edits, resume=resume)
        found = torch.full(true.shape, torch.nan, dtype=stream.dtype, device=stream.device)
        found[at] = self.read(stream, true[at])
        return found

    def _stream(
        self,
        batch: CellBatch | None,
        last: int,
        capture: Sequence[int],
        edits: Mapping[int, Edit],
        resume: tuple[int, Tensor] | None,
        hidden: dict[int, Tensor],
    ) -> Tensor:
        """The stream after layer ``last``; ``hidden`` takes what is captured on the way."""
        if resume is not None:
            first, stream = resume
            if batch is not None and batch.mask.shape != stream.shape[:2]:
                what = f"has shape {tuple(stream.shape)}, the batch {tuple(batch.mask.shape)}"
                raise UserError(what, field="resume", remedy="Give the batch of that stream.")
        else:
            assert batch is not None, "a run needs a batch, or a stream to resume from"
            first, stream = 0, self.embed(batch)
        keep = _keep(batch)
        for layer in range(first, last + 1):
            if layer > first:
                stream = self.blocks[layer - 1](stream, keep)
            if layer in edits:
                stream = _edited(edits[layer], layer, stream)
            if layer in capture:
                hidden[layer] = stream
        return stream


def _keep(batch: CellBatch | None) -> Tensor | None:
    """The mask of a batch; None where nothing is padding."""
    return None if batch is None or bool(batch.mask.all()) else batch.mask


def check_heads(family: str, size: Size) -> None:
    """Raise `UserError` where the heads cannot share the width."""
    if size.d_model % size.heads:
        what = f"is {size.d_model}, which {size.heads} heads cannot share evenly"
        remedy = f"Use a multiple of {family}.heads."
        raise UserError(what, field=f"{family}.d_model", remedy=remedy)


def _edited(edit: Edit, layer: int, hidden: Tensor) -> Tensor:
    edited = edit(hidden)
    if edited.shape != hidden.shape:
        what = f"turned shape {tuple(hidden.shape)} into {tuple(edited.shape)}"
        remedy = "An edit keeps the shape of the residual stream."
        raise UserError(what, field=f"edit at layer {layer}", remedy=remedy)
    return edited
