"""scGPT: a transformer that reads the genes of a cell in no order, each with the bin of its
expression, and predicts the bins that are masked.

Layer 0 is LN(gene embedding) + the value's own embedding (`ScGPTConfig.style`); then post-norm
blocks (`postnorm`), no last norm. Heads: a decoder of a bin for every token; the cell embedding;
from that and a gene's embedding its bin again (MVC); a classifier of cells. Source:
`TransformerModel` of bowang-lab/scGPT at cebd6fae (scgpt/model/model.py:21-152, 759-788); the names
of the weights are theirs (`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.bin_tokens import PAD_VALUE
from petriscope.studies.cells.model.postnorm import Block, PostNormModel, check_heads

Style = Literal["continuous", "category", "scaling"]
CellStyle = Literal["cls", "avg-pool"]
STYLES: tuple[str, ...] = get_args(Style)
CELL_STYLES: tuple[str, ...] = get_args(CellStyle)
MASK_VALUE = -1.0
"""The value of a hidden bin, in a batch for a model of any style; padding has `PAD_VALUE`."""
HIGHEST = 512.0
"""Values above it are read as it."""
NORM_EPS = 1e-5
"""Of the norms of embeddings and of the classifier: torch's own."""
EMBEDDING_RANGE = 0.1
"""Gene embeddings of a random start are uniform within it, as `init_weights` draws them."""


@dataclass(frozen=True)
class ScGPTConfig:
    """The size of a model, and what it does with a value."""

    vocabulary: int
    """tokens it knows, special ones included"""
    layers: int
    d_model: int
    heads: int
    ffn: int
    style: Style = "continuous"
    """continuous: a small network of the value, as released; category: an embedding of the bin;
    scaling: the gene's embedding times the value"""
    bins: int = 51
    cell_style: CellStyle = "cls"
    """the cell embedding: that of the first token, or the mean over all, padding included"""
    mvc: bool = False
    """whether it predicts bins from the cell embedding too"""
    classes: int | None = None
    """outputs of a classifier of cells"""
    class_layers: int = 3
    eps: float = 1e-5

    @property
    def tokens(self) -> None:
        """Tokens of a cell it reads at most: any number, for nothing depends on their order."""
        return None


class ContinuousValue(nn.Module):
    """LN(W₂ relu(W₁·value)), values above `HIGHEST` cut."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(1, d), nn.Linear(d, d), nn.LayerNorm(d, NORM_EPS)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T) to (B, T, d)."""
        return self.norm(self.down(F.relu(self.up(values.clamp(max=HIGHEST)[..., None]))))


class CategoryValue(nn.Module):
    """LN(embedding[bin]); padding and the mask have the two rows after the bins'."""

    def __init__(self, bins: int, d: int) -> None:
        super().__init__()
        self.bins = bins
        self.embedding, self.norm = nn.Embedding(bins + 2, d), nn.LayerNorm(d, NORM_EPS)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T) to (B, T, d)."""
        row = values.long()
        row = torch.where(values == PAD_VALUE, self.bins, row)
        return self.norm(self.embedding(torch.where(values == MASK_VALUE, self.bins + 1, row)))


class MVC(nn.Module):
    """Bins from the cell embedding: (W·sigmoid(query of the gene embedding))·cell."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.query, self.map = nn.Linear(d, d), nn.Linear(d, d, bias=False)

    def forward(self, cell: Tensor, genes: Tensor) -> Tensor:
        """cell (B, d) and gene embeddings (B, T, d) to (B, T)."""
        return (self.map(self.query(genes).sigmoid()) @ cell[..., None])[..., 0]


class Classifier(nn.Module):
    """Linear, relu and norm, ``layers`` − 1 times, then a score for every class."""

    def __init__(self, d: int, classes: int, layers: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(d, d) for _ in range(layers - 1))
        self.norm = nn.ModuleList(nn.LayerNorm(d, NORM_EPS) for _ in range(layers - 1))
        self.out = nn.Linear(d, classes)

    def forward(self, cell: Tensor) -> Tensor:
        """(B, d) to (B, classes)."""
        for linear, norm in zip(self.linear, self.norm, strict=True):
            cell = norm(F.relu(linear(cell)))
        return self.out(cell)


class ScGPT(PostNormModel):
    """scGPT. Its prediction is the bin (B, T) of every token.

    Parameters
    ----------
    config : ScGPTConfig
        Its size and style.
    init_seed : int or None
        Weights are drawn from it; None leaves them to be loaded.
    """

    family = "scgpt"

    def __init__(self, config: ScGPTConfig, init_seed: int | None = 0) -> None:
        super().__init__()
        check_heads(self.family, config)
        self.config, d = config, config.d_model
        self.embedding = nn.Embedding(config.vocabulary, d)
        self.embedding_norm = nn.LayerNorm(d, NORM_EPS)
        self.value: nn.Module | None = None
        if config.style == "continuous":
            self.value = ContinuousValue(d)
        elif config.style == "category":
            self.value = CategoryValue(config.bins, d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(nn.Linear(d, out) for out in (d, d, 1))
        self.mvc = MVC(d) if config.mvc else None
        self.classifier = (
            Classifier(d, config.classes, config.class_layers) if config.classes else None
        )
        if init_seed is not None:
            self._draw(init_seed)

    @property
    def size(self) -> ScGPTConfig:
        """Its configuration."""
        return self.config

    def genes(self, ids: Tensor) -> Tensor:
        """(B, T, d) embedding of the genes alone."""
        return self.embedding_norm(self.embedding(ids))

    def embed(self, batch: CellBatch) -> Tensor:
        """(B, T, d) layer 0."""
        if batch.values is None:
            remedy = "Give the bins of the cells."
            raise UserError("has no values, which scGPT reads", field="batch", remedy=remedy)
        genes, values = self.genes(batch.ids), batch.values.to(self.embedding.weight.dtype)
        return genes * values[..., None] if self.value is None else genes + self.value(values)

    def predict(self, stream: Tensor) -> Tensor:
        """(...) the bin of each token of the stream (..., d)."""
        first, second, last = self.decoder
        return last(F.leaky_relu(second(F.leaky_relu(first(stream)))))[..., 0]

    def read(self, stream: Tensor, true: Tensor) -> Tensor:
        """The predicted bin (n,) from the stream (n, d), whatever the gene ``true``."""
        return self.predict(stream)

    def hide(self, batch: CellBatch, at: Tensor) -> CellBatch:
        """``batch`` with `MASK_VALUE` at the places ``at``, bool (B, T)."""
        assert batch.values is not None
        return batch._replace(values=batch.values.masked_fill(at, MASK_VALUE))

    def cell_embedding(self, stream: Tensor) -> Tensor:
        """(B, d) from the stream (B, T, d) after the last block."""
        return stream[:, 0] if self.config.cell_style == "cls" else stream.mean(1)

    def bins_of_cell(self, batch: CellBatch, cell: Tensor) -> Tensor:
        """(B, T) bins predicted from the cell embedding (B, d): the MVC head."""
        assert self.mvc is not None, "the model has no MVC head"
        return self.mvc(cell, self.genes(batch.ids))

    def classify(self, cell: Tensor) -> Tensor:
        """(B, classes) from the cell embedding (B, d)."""
        assert self.classifier is not None, "the model has no classifier"
        return self.classifier(cell)

    def reinitialized(self, seed: int) -> ScGPT:
        """The same architecture with weights drawn from ``seed``, in eval mode."""
        return ScGPT(self.config, seed).eval()

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        """As torch and `init_weights` start it: linear maps uniform within 1 / √fan-in, biases too,
        so that a value of another size points another way; q, k and v by Xavier; no bias in
        attention."""
        generator = torch.Generator().manual_seed(seed)

        def uniform(of: Tensor, bound: float) -> None:
            of.uniform_(-bound, bound, generator=generator)

        for name, part in self.named_modules():
            if isinstance(part, nn.Linear):
                attention = name.startswith("blocks.") and name.endswith((".qkv", ".out"))
                bound = part.in_features**-0.5
                if name.endswith(".qkv"):
                    bound = (6 / (part.in_features + part.out_features)) ** 0.5
                uniform(part.weight, bound)
                if part.bias is not None:
                    uniform(part.bias, 0.0 if attention else bound)
            elif part is self.embedding:
                uniform(part.weight, EMBEDDING_RANGE)
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(generator=generator)
