"""The sequences of a run, as stage sequences wrote them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import read_json
from petriscope.run.workspace import Workspace

COLUMNS = (
    *("id", "sequence", "label", "split", "group", "block", "chrom", "start", "end", "strand"),
    *("n_tokens", "gene", "duplicate"),
)
"""Of sequences.parquet: a row per sequence, in the order of every array's first axis."""


class Sequences(NamedTuple):
    """The sequences of a run."""

    frame: pd.DataFrame
    """Columns `COLUMNS`: label is the class or null; block is the group; chrom, start, end and
    strand are null where unknown (the sequence is read on the strand); n_tokens counts `<cls>`;
    gene and duplicate (the id of the first with the same bases) are null or a text."""
    positive: str | None
    """The class called positive; None where no sequence has a class."""
    negative: str | None

    @property
    def labeled(self) -> np.ndarray:
        """(N,) bool: which have a class."""
        return self.frame.label.notna().to_numpy()

    @property
    def is_positive(self) -> np.ndarray:
        """(N,) bool: which are of the positive class."""
        return (self.frame.label == self.positive).fillna(False).to_numpy(bool)

    def rows(self, *splits: str) -> np.ndarray:
        """Rows of one or more splits, ascending."""
        return np.flatnonzero(self.frame.split.isin(splits))


def load_sequences(workspace: Workspace) -> Sequences:
    """What stage sequences wrote."""
    folder = workspace.table("sequences")
    classes = read_json(folder / "classes.json")
    frame = pd.read_parquet(folder / "sequences.parquet")
    return Sequences(frame, classes["positive"], classes["negative"])
