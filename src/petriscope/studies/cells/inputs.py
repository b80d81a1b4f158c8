"""The model inputs of study cells: a window is a cell, a token is one of its genes or a special
token; cells of one length, or nearly, run together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from petriscope.errors import UserError
from petriscope.files import write_parquet
from petriscope.probe.model import Inputs, ProbedModel, device_of, to_device
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import PLACES
from petriscope.studies.cells.counts import load_cells
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.data.vocabulary import RankVocabulary
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.bin_tokens import PAD_VALUE, bin_tokens
from petriscope.studies.cells.model.buckets import Padding, buckets, padded
from petriscope.studies.cells.model.geneformer import MASK, PAD
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.rank_tokens import rank_tokens
from petriscope.studies.cells.model.tokens import CellTokens
from petriscope.studies.cells.model.weights import load_checkpoint
from petriscope.studies.cells.params import ModelParams, Params

TOKENS_AT_ONCE = 2048
"""Tokens of the cells that run together: more does not run faster on a core."""


class CellInputs(Inputs):
    """Model inputs of each cell.

    Parameters: ``obs`` — a row per cell with columns split and block (and what else the token axis
    should say of it); ``encoded`` — their tokens; ``family`` — of the model that reads them;
    ``pad`` — id of the padding token; ``words`` — tokens of the vocabulary, special ones included.
    """

    def __init__(
        self, obs: pd.DataFrame, encoded: CellTokens, family: str, pad: int, words: int
    ) -> None:
        self.encoded, self.family, self.words = encoded, family, words
        self.padding = Padding(pad, None if family == "geneformer" else PAD_VALUE)
        self.counts = np.diff(encoded.offsets)
        window = np.repeat(np.arange(len(obs)), self.counts)
        position = np.arange(len(window)) - encoded.offsets[window]
        self.tokens = Tokens.ragged(obs, 1, window, np.zeros_like(window), position)

    def batch(self, number: int) -> CellBatch:
        """One cell."""
        return self.batch_of([number])

    def batch_of(self, cells: Sequence[int] | np.ndarray) -> CellBatch:
        """Some cells, padded to the longest of them."""
        return padded(self.encoded, np.asarray(cells, np.int64), self.padding)

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        """All its tokens."""
        return hidden[0, : int(self.counts[number])]

    def together(self, windows: Sequence[int]) -> list[list[int]]:
        """Cells of one length or nearly, about `TOKENS_AT_ONCE` tokens in all."""
        counts = self.counts[np.asarray(windows, np.int64)]
        return [group.tolist() for group in buckets(counts, TOKENS_AT_ONCE)]

    def streams(self, model: ProbedModel, number: int, layers: Sequence[int]) -> dict[int, Tensor]:
        """As `streams_of` for one cell."""
        return self.streams_of(model, [number], layers)

    def streams_of(
        self, model: ProbedModel, windows: Sequence[int], layers: Sequence[int]
    ) -> dict[int, Tensor]:
        """Layer → hidden states (n, d) of some cells, one after the other; no block above the
        highest layer runs."""
        batch = to_device(self.batch_of(windows), device_of(model))
        if isinstance(model, PostNormModel):
            found = model.streams(batch, layers)
        else:
            found = model.run(batch, capture=tuple(layers)).hidden
        return {layer: found[layer][batch.mask] for layer in layers}

    def padding_share(self) -> float:
        """Share of the tokens computed that are padding where all cells run (`together`)."""
        groups = self.together(range(len(self)))
        made = sum(len(group) * int(self.counts[group].max()) for group in groups)
        return 1 - int(self.counts.sum()) / made

    def places(self) -> pd.DataFrame:
        """Columns gene (row of the data set's genes, -1 at special tokens) and value of every
        token, in the order of the axis: its rank in the cell from 0, -1 at special tokens
        (Geneformer), or its bin (scGPT)."""
        gene, value = self.encoded.gene, self.encoded.values
        if self.family == "geneformer":
            before = np.concatenate([[0], np.cumsum(gene >= 0)])
            rank = before[:-1] - before[self.encoded.offsets[self.tokens.window]]
            value = np.where(gene >= 0, rank, -1)
        columns = {"gene": gene.astype(np.int32), "value": value.astype(np.float32)}
        return pd.DataFrame(columns)

    def check(self, model: PostNormModel) -> None:
        """Raise `UserError` where ``model`` cannot read these cells."""
        if model.family != self.family:
            what = f"is {model.family}, the cells are encoded for {self.family}"
            raise UserError(what, field="model", remedy=f"Give a checkpoint of {self.family}.")
        known = model.size.vocabulary
        if self.words != known:
            what = f"knows {known:,} tokens, the vocabulary of the data set has {self.words:,}"
            remedy = "Name the vocabulary that belongs to the weights in dataset.yaml."
            raise UserError(what, field=f"{self.family}.weights", remedy=remedy)
        limit, longest = model.size.tokens, int(self.counts.max(initial=0))
        if limit is not None and longest > limit:
            what = f"lets a cell have {longest:,} tokens, the model reads {limit:,}"
            raise UserError(what, field="tokens.size", remedy=f"Set it to {limit}.")


def model_params(params: Params, family: str) -> ModelParams:
    """The section of params.yaml about the models of ``family``."""
    return params.geneformer if family == "geneformer" else params.scgpt


def load_inputs(workspace: Workspace, params: Params, family: str, draw: int = 0) -> CellInputs:
    """The model inputs of a run's cells for a model of ``family``; ``draw``: which random draw of
    tied bins and of the genes of long cells (scGPT)."""
    cells, given = load_cells(workspace), params.tokens
    dataset = load_dataset(workspace.dataset(params.dataset))
    vocabulary = dict(dataset.vocabularies().known()).get(family)
    if vocabulary is None:
        file, field = dataset.root / "dataset.yaml", f"vocabularies.{family}"
        raise UserError("is missing", file=file, field=field, remedy="Name the file of its tokens.")
    if isinstance(vocabulary, RankVocabulary):
        if (vocabulary.pad, vocabulary.mask) != (PAD, MASK):
            what = f"has <pad> {vocabulary.pad} and <mask> {vocabulary.mask}"
            remedy = f"Geneformer has {PAD} and {MASK}: give its own table of tokens."
            raise UserError(what, file=vocabulary.file, remedy=remedy)
        tokens = rank_tokens(cells, vocabulary, given.size, published=given.published)
    else:
        tokens = bin_tokens(
            cells,
            vocabulary,
            given.bins,
            given.max_length,
            params.seed,
            draw,
            published=given.published,
        )
    return CellInputs(cells.obs, tokens, family, vocabulary.pad, len(vocabulary))


def load_model(workspace: Workspace, family: str, device: str = "cpu") -> PostNormModel:
    """The model of ``family`` of a run, in eval mode. Raises `UserError` where stage model has not
    run."""
    folder = workspace.model / family
    if not folder.is_dir():
        remedy = "Run `petriscope stage model`."
        raise UserError("does not exist", file=folder, remedy=remedy)
    return load_checkpoint(folder).to(device).eval()


def load_random_model(workspace: Workspace, family: str, device: str = "cpu") -> PostNormModel:
    """The randomly initialized model of ``family`` that stage random_init probed."""
    folder = workspace.table("random_init") / family / "model"
    if not folder.is_dir():
        remedy = "Set controls.random_init to true and run `petriscope stage random_init`."
        raise UserError("does not exist", file=folder, remedy=remedy)
    return load_checkpoint(folder).to(device).eval()


def save_axis(inputs: CellInputs, folder: Path) -> None:
    """Write the token axis (tokens/) and places.parquet into ``folder``."""
    inputs.tokens.save(folder / "tokens")
    write_parquet(folder / PLACES, inputs.places())
