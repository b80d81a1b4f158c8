"""The labeled sequences of a run, as the head and its edits read them: class, group, split, and the
hidden states of their tokens without `<cls>`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.head import Ragged
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.sequences import load_sequences


class Labeled(NamedTuple):
    """S labeled sequences, in the order of sequences.parquet."""

    frame: pd.DataFrame
    label: np.ndarray
    """(S,) bool: of the positive class"""
    group: np.ndarray
    """(S,) int"""
    row: np.ndarray
    """(S,) row of sequences.parquet"""

    def of_split(self, split: str) -> np.ndarray:
        """Numbers (below S) of the sequences of a split. Raises `UserError` where there is none."""
        found = np.flatnonzero(self.frame.split.to_numpy() == split)
        if not len(found):
            raise UserError(
                f"no labeled sequence is in split {split}",
                field="sequences.split",
                remedy="Give it a larger share, or more groups.",
            )
        return found


def load_labeled(workspace: Workspace) -> Labeled | str:
    """The labeled sequences of a run, or why there is nothing to classify."""
    sequences = load_sequences(workspace)
    frame = sequences.frame
    positive = (frame.label == sequences.positive).fillna(False).to_numpy(bool)
    negative = (frame.label == sequences.negative).fillna(False).to_numpy(bool)
    if not positive.any() or not negative.any():
        return "the data set has no sequences of two classes"
    row = np.flatnonzero(positive | negative)
    for split in ("train", "select", "test"):
        here = row[(frame.split.to_numpy() == split)[row]]
        if not positive[here].any() or positive[here].all():
            return f"the sequences of split {split} are not of two classes"
    part = frame.iloc[row].reset_index(drop=True)
    return Labeled(part, positive[row], part.group.to_numpy(np.int64), row)


def open_streams(workspace: Workspace, layer: int, labeled: Labeled) -> Ragged:
    """The hidden states of one layer, sequence by sequence, without special tokens."""
    stores = open_layers(workspace.activations)
    if layer not in stores:
        raise UserError(
            f"layer {layer} was not harvested",
            file=workspace.activations,
            remedy="Run `petriscope stage activations`.",
        )
    tokens = Tokens.load(workspace.tokens)
    kept = load_places(workspace).width.to_numpy() > 0
    every = Ragged.of(stores[layer], tokens.window, kept, len(tokens.windows))
    return every.subset(labeled.row)
