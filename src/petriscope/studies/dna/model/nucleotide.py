"""Nucleotide Transformer in both forms, read from top to bottom.

An encoder of DNA in tokens of six bases (`tokens`): embedding, n blocks that each add attention
and a feed-forward network to the residual stream, a last layer norm and a head that predicts the
token at every place.

- v1 (`500m-human-ref`, `500m-1000g`, `2.5b-*`): learned absolute positions; feed-forward with GELU
  and biases; *token dropout*: the embedding of `<mask>` is zero and all others are scaled as if
  12 % were masked, so by .88 where nothing is.
- v2 (`v2-50m` to `v2-500m-multi-species`): rotary positions in every block; gated feed-forward
  without biases; embeddings as they are.

Layer k is the stream after block k; layer n the stream *before* the last layer norm, which Hugging
Face's `hidden_states[n]` is not. Sources: `EsmForMaskedLM` of transformers (v1) and InstaDeep's
`modeling_esm.py` (v2), neither of which runs here; the names of the weights are theirs (`weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput
from petriscope.studies.dna.model.tokens import (
    LIMITS,
    MASK,
    PAD,
    Form,
    TokenTable,
    longest,
    vocabulary,
)

TRAINED_MASK = 0.15 * 0.8
"""Share of `<mask>` that token dropout assumes in training: 80 % of the 15 % predicted."""
ROTARY_BASE = 10_000.0
FIRST_POSITION = PAD + 1
"""Row of the position table that the first token reads; rows below are the padding's."""


@dataclass(frozen=True)
class NucleotideConfig:
    """The size of a model."""

    form: Form
    layers: int
    d_model: int
    heads: int
    ffn: int
    tokens: int | None = None
    """tokens it reads at most, `<cls>` included; None: as the published ones (1000 or 2048)"""
    eps: float = 1e-12
    """of the layer norms: 1e-12 in the published Hugging Face checkpoints, 1e-5 in JAX"""
    token_dropout: bool | None = None
    """None: as the form has it"""

    @property
    def limit(self) -> int:
        """Tokens it reads at most, `<cls>` included."""
        return LIMITS[self.form] if self.tokens is None else self.tokens

    @property
    def drops_tokens(self) -> bool:
        """Whether `<mask>` is embedded as zero and the rest rescaled."""
        return self.form == "v1" if self.token_dropout is None else self.token_dropout

    def check(self) -> None:
        """Raise `UserError` where the heads cannot share the width."""
        if self.d_model % (2 * self.heads):
            raise UserError(
                f"is {self.d_model}, which {self.heads} heads cannot share evenly",
                field="model.d_model",
                remedy="Use a multiple of twice model.heads.",
            )


class SequenceBatch(NamedTuple):
    """Sequences as the model reads them."""

    ids: Tensor
    """(B, T) int64, `<cls>` first, padded on the right"""
    keep: Tensor
    """(B, T) bool, False at padding"""


def padded(tables: Sequence[TokenTable]) -> SequenceBatch:
    """Sequences of any length side by side, as short as the longest allows."""
    ids = torch.full((len(tables), max(len(table.ids) for table in tables)), PAD)
    for row, table in enumerate(tables):
        ids[row, : len(table.ids)] = torch.from_numpy(table.ids)
    return SequenceBatch(ids, ids != PAD)


class NucleotideTransformer(nn.Module):
    """Nucleotide Transformer v1 or v2: a `petriscope.probe.model.ProbedModel`.

    Parameters
    ----------
    config : NucleotideConfig
        Its size.
    init_seed : int or None
        Weights are drawn from it; None leaves them to be loaded.
    """

    resumes = True
    inv_freq: Tensor
    """(d_h / 2,) of form v2"""

    def __init__(self, config: NucleotideConfig, init_seed: int | None = 0) -> None:
        super().__init__()
        config.check()
        self.config, d = config, config.d_model
        self.embedding = nn.Embedding(len(vocabulary(config.form)), d)
        self.position = (
            nn.Embedding(config.limit + FIRST_POSITION, d) if config.form == "v1" else None
        )
        if config.form == "v2":
            self.register_buffer("inv_freq", rotary_frequencies(d // config.heads))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(d, config.eps)
        self.head = Head(d, len(vocabulary(config.form)), config.eps)
        if init_seed is not None:
            self._draw(init_seed)

    @property
    def n_layers(self) -> int:
        """Number of blocks; the stream has one layer more."""
        return self.config.layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.config.d_model

    def run(
        self,
        batch: SequenceBatch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        """`ProbedModel.run`; the prediction is the logits (B, T, V).

        A resumed run needs the batch only where it is padded: its ``keep`` says which keys no
        token may attend to.
        """
        hidden: dict[int, Tensor] = {}
        stream = self._stream(batch, self.n_layers, capture, edits, resume, hidden)
        return ProbeOutput(self.logits(stream), hidden)

    def streams(self, batch: SequenceBatch, layers: Sequence[int]) -> dict[int, Tensor]:
        """Layer → residual stream (B, T, d); no block above the highest layer runs."""
        hidden: dict[int, Tensor] = {}
        self._stream(batch, max(layers), layers, NO_EDITS, None, hidden)
        return hidden

    def at_places(self, batch: SequenceBatch, at: Tensor) -> Tensor:
        """(B, m, d) stream after the last block at the places ``at`` (B, m) alone: what masked
        language modeling reads. The last block does no more work than that."""
        stream = self._stream(batch, self.n_layers - 1, (), NO_EDITS, None, {})
        keep = None if bool(batch.keep.all()) else batch.keep
        found: Tensor = self.blocks[-1](stream, self._turn(stream), keep, at)
        return found

    def logits(self, stream: Tensor) -> Tensor:
        """(..., V) prediction from the stream (..., d) after the last block."""
        return self.head(self.last_norm(stream))

    def embed(self, ids: Tensor, keep: Tensor) -> Tensor:
        """(B, T, d) layer 0: what the first block reads."""
        found = self.embedding(ids)
        if self.config.drops_tokens:
            masked = ids == MASK
            share = masked.sum(1) / keep.sum(1)
            found = found.masked_fill(masked[..., None], 0.0)
            found = found * ((1 - TRAINED_MASK) / (1 - share))[:, None, None]
        if self.position is not None:
            place = keep.cumsum(1) * keep + PAD  # padding reads row PAD
            found = found + self.position(place)
        return found * keep[..., None]

    def reinitialized(self, seed: int) -> NucleotideTransformer:
        """The same architecture with weights drawn from ``seed``, in eval mode."""
        return NucleotideTransformer(self.config, seed).eval()

    def _stream(
        self,
        batch: SequenceBatch | None,
        last: int,
        capture: Sequence[int],
        edits: Mapping[int, Edit],
        resume: tuple[int, Tensor] | None,
        hidden: dict[int, Tensor],
    ) -> Tensor:
        """The stream after layer ``last``; ``hidden`` takes what is captured on the way."""
        if batch is not None:
            self._check_length(batch.ids.shape[1])
        if resume is not None:
            first, stream = resume
        else:
            assert batch is not None, "a run needs a batch, or a stream to resume from"
            first, stream = 0, self.embed(*batch)
        keep = None if batch is None or bool(batch.keep.all()) else batch.keep
        turn = self._turn(stream)
        for layer in range(first, last + 1):
            if layer > first:
                stream = self.blocks[layer - 1](stream, turn, keep)
            if layer in edits:
                stream = _edited(edits[layer], layer, stream)
            if layer in capture:
                hidden[layer] = stream
        return stream

    def _turn(self, stream: Tensor) -> tuple[Tensor, Tensor] | None:
        """What `rotate` takes at each place; none in form v1."""
        if self.config.form == "v1":
            return None
        place = torch.arange(stream.shape[1], device=stream.device, dtype=self.inv_freq.dtype)
        angle = place[:, None] * self.inv_freq
        cos, sin = angle.cos().to(stream.dtype), angle.sin().to(stream.dtype)
        twice, heads = (2, self.config.heads), (1, 2 * self.config.heads, 1)
        return (  # laid out in full, once for all blocks: broadcasting a short last axis is slow
            torch.cat([cos, cos], 1)[:, None].repeat(heads).unflatten(1, twice),
            torch.cat([-sin, sin], 1)[:, None].repeat(heads).unflatten(1, twice),
        )

    def _check_length(self, tokens: int) -> None:
        limit = self.config.limit
        if tokens > limit:
            raise UserError(
                f"has {tokens:,} tokens, the model reads {limit:,}: {longest(limit):,} bp without "
                f"N, fewer with",
                field="sequence",
                remedy="Shorten it, or cut it into pieces.",
            )

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        """Linear maps normal with variance 1 / fan-in and no bias, which is scaled for a model of
        any width; embeddings normal."""
        generator = torch.Generator().manual_seed(seed)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0, part.in_features**-0.5, generator=generator)
                if part.bias is not None:
                    part.bias.zero_()
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(0, EMBEDDING_SD, generator=generator)
                part.weight[PAD] = 0


EMBEDDING_SD = 0.02
"""Of a random start, as `initializer_range` of EsmConfig. From a larger one the embeddings of
tokens that training tells nothing about stay as they were drawn: at layer 0, noise of full rank."""


class Block(nn.Module):
    """x ← x + W_o·attention(LN x), then x ← x + feed-forward(LN x)."""

    def __init__(self, config: NucleotideConfig) -> None:
        super().__init__()
        d = config.d_model
        self.heads, self.gated = config.heads, config.form == "v2"
        self.attention_norm = nn.LayerNorm(d, config.eps)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.ffn_norm = nn.LayerNorm(d, config.eps)
        self.up = nn.Linear(d, (1 + self.gated) * config.ffn, bias=not self.gated)
        self.down = nn.Linear(config.ffn, d, bias=not self.gated)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        keep: Tensor | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, d); ``turn`` as in `_turn`; ``keep`` (B, T) or None where all are tokens; ``at``
        (B, m) the only places whose output is wanted, or None: (B, m, d) then."""
        attended = self.attend(self.attention_norm(x), turn, keep, at)
        x = (x if at is None else x.gather(1, _along(at, x))) + self.out(attended)
        return x + self.feed_forward(self.ffn_norm(x))

    def attend(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        keep: Tensor | None,
        at: Tensor | None,
    ) -> Tensor:
        """softmax(q kᵀ / √d_h) v over all tokens, padding masked as keys; q and k turned by their
        place."""
        b, t, d = x.shape
        qk, v = self.qkv(x).split([2 * d, d], dim=-1)
        qk = qk.view(b, t, 2, self.heads, d // self.heads)
        v = v.view(b, t, self.heads, d // self.heads)
        q, k = (qk if turn is None else rotate(qk, *turn)).unbind(2)
        q = q if at is None else q.gather(1, _along(at, q))
        seen = None if keep is None else keep[:, None, None, :]
        found = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=seen
        )
        return found.transpose(1, 2).reshape(b, -1, d)

    def feed_forward(self, x: Tensor) -> Tensor:
        """v1: W₂ GELU(W₁ x + b₁) + b₂. v2: W₂ (SiLU(g) · u) with (g, u) = W₁ x."""
        up = self.up(x)
        if self.gated:
            gate, value = up.chunk(2, dim=-1)
            return self.down(F.silu(gate) * value)
        return self.down(F.gelu(up))


def _along(at: Tensor, x: Tensor) -> Tensor:
    """Places (B, m) as an index of ``gather`` into x (B, T, ...)."""
    return at.view(*at.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])


class Head(nn.Module):
    """Dense, GELU, layer norm, and a score for every token of the vocabulary."""

    def __init__(self, d: int, words: int, eps: float) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(d, d), nn.LayerNorm(d, eps)
        self.decoder = nn.Linear(d, words)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) to (..., V)."""
        return self.decoder(self.norm(F.gelu(self.dense(x))))


def rotary_frequencies(width: int) -> Tensor:
    """(width / 2,) angle per place of each pair: base^(−2i / width)."""
    return ROTARY_BASE ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Turn the halves (x₁, x₂) of the last axis by their angle: (x₁ cos − x₂ sin, x₂ cos + x₁ sin).

    x (B, T, 2, heads, d_h), the 2 being queries and keys; cos holds (cos, cos) and ``signed_sin``
    (−sin, sin), each (T, 2, heads, d_h).
    """
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return x * cos + swapped * signed_sin


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the places with a label; the others are −100."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def _edited(edit: Edit, layer: int, hidden: Tensor) -> Tensor:
    edited = edit(hidden)
    if edited.shape != hidden.shape:
        raise UserError(
            f"turned shape {tuple(hidden.shape)} into {tuple(edited.shape)}",
            field=f"edit at layer {layer}",
            remedy="An edit keeps the shape of the residual stream.",
        )
    return edited
