"""The sequences of a run are a table that stage sequences writes; this module reads it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.workspace import Workspace

COLUMNS = (
    *("id", "sequence", "label", "split", "group", "block", "chrom", "start", "end", "strand"),
    *("n_tokens", "gene", "duplicate"),
)
"""id, sequence (upper case: A, C, G, T, N), label (class name or null), split (train, select or
test), group and block (int, equal: locus and homologues), chrom, start, end, strand (null where
unknown; the sequence is read on the strand), n_tokens (with `<cls>`), gene (or null), duplicate
(the id of the first with the same bases, or null)."""


class Sequences(NamedTuple):
    """What stage sequences wrote."""

    frame: pd.DataFrame
    """a row per sequence, `COLUMNS`; the row's number is its window on the token axis"""
    positive: str | None
    negative: str | None
    """names of the two classes; None where the data set has no labels"""

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
