"""The sequences of a run are a table that stage sequences writes; this module reads it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.workspace import Workspace

COLUMNS = (
    *("id", "sequence", "label", "split", "group", "block"),
    *("chrom", "start", "end", "strand", "n_tokens", "gene"),
)
"""id, sequence (upper case: A, C, G, T, N), label (class name or null), split (train, select or
test), group and block (int, equal: locus and homologues), chrom, start, end, strand (null where
unknown), n_tokens (with `<cls>`), gene (or null)."""


class Sequences(NamedTuple):
    """What stage sequences wrote."""

    frame: pd.DataFrame
    """a row per sequence, `COLUMNS`; the row's number is its window on the token axis"""
    positive: str | None
    negative: str | None
    """names of the two classes; None where the data set has no labels"""

    @property
    def labeled(self) -> np.ndarray:
        """(N,) float: 1 positive, 0 negative, NaN without a label."""
        label = self.frame.label.to_numpy()
        found = np.full(len(label), np.nan)
        found[label == self.positive], found[label == self.negative] = 1.0, 0.0
        return found

    def rows(self, *splits: str) -> np.ndarray:
        """Rows of one or more splits, ascending."""
        return np.flatnonzero(self.frame.split.isin(splits))


def load_sequences(workspace: Workspace) -> Sequences:
    """The sequences of a run. Raises `UserError` where stage sequences has not run."""
    folder = workspace.table("sequences")
    path = folder / "sequences.parquet"
    if not path.is_file():
        remedy = "Run `petriscope stage sequences`."
        raise UserError("does not exist", file=path, remedy=remedy)
    classes = read_json(folder / "classes.json")
    frame = pd.read_parquet(path)
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        remedy = "Run `petriscope stage sequences` again."
        raise UserError("column is missing", file=path, field=missing[0], remedy=remedy)
    return Sequences(frame, classes["positive"], classes["negative"])
