"""The model inputs of study dna: a window is a sequence, a token is one of its tokens, `<cls>`
included; sequences of one length run together, so that nothing is padded."""

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
from petriscope.studies.dna.model.nucleotide import (
    NucleotideTransformer,
    SequenceBatch,
    padded,
)
from petriscope.studies.dna.model.tokens import (
    Form,
    TokenTables,
    by_length,
    check_lengths,
    tokenize_all,
)
from petriscope.studies.dna.model.weights import load_model as load_checkpoint
from petriscope.studies.dna.sequences import load_sequences

TOKENS_AT_ONCE = 2048
"""Tokens of the sequences that run together: more does not run faster on a core."""
PLACES = "places.parquet"


class SequenceInputs(Inputs):
    """Model inputs of each sequence.

    Parameters: ``sequences`` — a row per sequence with columns sequence, split and block (and what
    else the token axis should say of it); ``form`` — which vocabulary; ``limit`` — tokens that the
    model reads at most. Raises `UserError` for a longer one.
    """

    def __init__(self, sequences: pd.DataFrame, form: Form, limit: int) -> None:
        self.tables: TokenTables = tokenize_all(sequences["sequence"].tolist(), form)
        self.counts = np.diff(self.tables.offsets)
        names = sequences["id"] if "id" in sequences else np.arange(len(sequences)) + 1
        check_lengths(self.counts, [str(name) for name in names], limit)
        window = np.repeat(np.arange(len(sequences)), self.counts)
        position = np.arange(len(window)) - self.tables.offsets[window]
        about = sequences.drop(columns="sequence")
        self.tokens = Tokens.ragged(about, 1, window, np.zeros_like(window), position)

    def batch(self, number: int) -> SequenceBatch:
        """One sequence."""
        return padded([self.tables.of(number)])

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        """All its tokens."""
        return hidden.reshape(-1, hidden.shape[-1])

    def streams(self, model: ProbedModel, number: int, layers: Sequence[int]) -> dict[int, Tensor]:
        """As `streams_of` for one sequence."""
        return self.streams_of(model, [number], layers)

    def together(self, windows: Sequence[int]) -> list[list[int]]:
        """Sequences of one length, about `TOKENS_AT_ONCE` tokens in all."""
        counts = self.counts[np.asarray(windows, np.int64)]
        return [
            part.tolist()
            for group in by_length(counts, len(counts))
            for part in np.split(group, _cuts(len(group), int(counts[group[0]])))
        ]

    def streams_of(
        self, model: ProbedModel, windows: Sequence[int], layers: Sequence[int]
    ) -> dict[int, Tensor]:
        """Layer → hidden states (n, d) of sequences of one length; no block above the highest
        layer runs."""
        batch = to_device(padded([self.tables.of(w) for w in windows]), device_of(model))
        if isinstance(model, NucleotideTransformer):
            found = model.streams(batch, layers)
        else:
            found = model.run(batch, capture=tuple(layers)).hidden
        return {layer: found[layer].reshape(-1, model.d_model) for layer in layers}

    def places(self) -> pd.DataFrame:
        """Columns id, start, width (bp) of every token, in the order of the axis."""
        ids, start, width, _ = self.tables
        columns = {"id": ids, "start": start, "width": width}
        return pd.DataFrame({name: part.astype(np.int32) for name, part in columns.items()})


def _cuts(sequences: int, tokens: int) -> np.ndarray:
    size = max(1, TOKENS_AT_ONCE // tokens)
    return np.arange(size, sequences, size)


def load_inputs(workspace: Workspace, model: NucleotideTransformer) -> SequenceInputs:
    """The model inputs of a run's sequences, a window each."""
    config = model.config
    return SequenceInputs(load_sequences(workspace).frame, config.form, config.limit)


def load_model(workspace: Workspace, device: str = "cpu") -> NucleotideTransformer:
    """The probed model of a run, in eval mode. Raises `UserError` where stage model has not run."""
    if not workspace.model.is_dir():
        remedy = "Run `petriscope stage model`."
        raise UserError("does not exist", file=workspace.model, remedy=remedy)
    return load_checkpoint(workspace.model).to(device).eval()


def load_random_model(workspace: Workspace, device: str = "cpu") -> NucleotideTransformer:
    """The randomly initialized model that stage random_init probed."""
    folder = workspace.table("random_init") / "model"
    if not folder.is_dir():
        remedy = "Set controls.random_init to true and run `petriscope stage random_init`."
        raise UserError("does not exist", file=folder, remedy=remedy)
    return load_checkpoint(folder).to(device).eval()


def load_places(workspace: Workspace) -> pd.DataFrame:
    """Columns id, start, width of every token, in the order of the token axis: `<cls>` has width
    0. Raises `UserError` where stage activations has not run."""
    path = workspace.activations / PLACES
    if not path.is_file():
        remedy = "Run `petriscope stage activations`."
        raise UserError("does not exist", file=path, remedy=remedy)
    return pd.read_parquet(path)


def save_axis(inputs: SequenceInputs, folder: Path) -> None:
    """Write the token axis (tokens/) and places.parquet into ``folder``."""
    inputs.tokens.save(folder / "tokens")
    write_parquet(folder / PLACES, inputs.places())
