"""Geneformer: a BERT that reads the genes of a cell in the order of their expression and predicts
those that are masked.

Layer 0 is LN(word[id] + type[0] + position[p]), p = 0…T−1; then post-norm blocks (`postnorm`); the
head is LN(relu(W·h)) against the word embeddings, plus a bias. Source: `BertForMaskedLM` of
transformers as the released V1 and V2 configure it; the names of the weights are theirs
(`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.postnorm import Block, PostNormModel, check_heads

PAD, MASK = 0, 1
"""Ids of `<pad>` and `<mask>` in all released vocabularies."""
EMBEDDING_SD = 0.02
"""Of a random start: `initializer_range` of BertConfig."""
WORDS_AT_ONCE = 1 << 24
"""Logits that `Geneformer.read` holds at once: 64 MiB."""


@dataclass(frozen=True)
class GeneformerConfig:
    """The size of a model."""

    vocabulary: int
    """tokens it knows, special ones included"""
    layers: int
    d_model: int
    heads: int
    ffn: int
    tokens: int = 4096
    """tokens of a cell it reads at most"""
    types: int = 2
    """rows of the type embedding, of which the first alone is read"""
    eps: float = 1e-12


class Geneformer(PostNormModel):
    """Geneformer V1 or V2. Its prediction is the logits (B, T, V).

    Parameters
    ----------
    config : GeneformerConfig
        Its size.
    init_seed : int or None
        Weights are drawn from it; None leaves them to be loaded.
    """

    family = "geneformer"

    def __init__(self, config: GeneformerConfig, init_seed: int | None = 0) -> None:
        super().__init__()
        check_heads(self.family, config)
        self.config, d = config, config.d_model
        self.embedding = nn.Embedding(config.vocabulary, d)
        self.position = nn.Embedding(config.tokens, d)
        self.kind = nn.Embedding(config.types, d)
        self.embedding_norm = nn.LayerNorm(d, config.eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.dense, self.head_norm = nn.Linear(d, d), nn.LayerNorm(d, config.eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        if init_seed is not None:
            self._draw(init_seed)

    @property
    def size(self) -> GeneformerConfig:
        """Its configuration."""
        return self.config

    def embed(self, batch: CellBatch) -> Tensor:
        """(B, T, d) layer 0."""
        tokens, limit = batch.ids.shape[1], self.config.tokens
        if tokens > limit:
            what = f"has {tokens:,} tokens, Geneformer reads {limit:,}"
            raise UserError(what, field="tokens.size", remedy=f"Set it to {limit}.")
        place = torch.arange(tokens, device=batch.ids.device)
        found = self.embedding(batch.ids) + self.kind.weight[0] + self.position(place)
        return self.embedding_norm(found)

    def predict(self, stream: Tensor) -> Tensor:
        """(..., V) logits."""
        return F.linear(self._transformed(stream), self.embedding.weight, self.bias)

    def read(self, stream: Tensor, true: Tensor) -> Tensor:
        """log p of the token ``true`` (n,) from the stream (n, d)."""
        size = max(1, WORDS_AT_ONCE // self.config.vocabulary)
        parts = [
            -F.cross_entropy(self.predict(rows), ids, reduction="none")
            for rows, ids in zip(stream.split(size), true.split(size), strict=True)
        ]
        return torch.cat(parts)

    def hide(self, batch: CellBatch, at: Tensor) -> CellBatch:
        """``batch`` with `<mask>` at the places ``at``, bool (B, T)."""
        return batch._replace(ids=batch.ids.masked_fill(at, MASK))

    def reinitialized(self, seed: int) -> Geneformer:
        """The same architecture with weights drawn from ``seed``, in eval mode."""
        return Geneformer(self.config, seed).eval()

    def _transformed(self, stream: Tensor) -> Tensor:
        return self.head_norm(F.relu(self.dense(stream)))

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        """Linear maps normal with variance 1 / fan-in and no bias, which is BERT's .02 at the
        released width and as good at any other; embeddings normal."""
        generator = torch.Generator().manual_seed(seed)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0, part.in_features**-0.5, generator=generator)
                part.bias.zero_()
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(0, EMBEDDING_SD, generator=generator)
        self.embedding.weight[PAD] = 0
