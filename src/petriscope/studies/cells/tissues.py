"""One tissue or two: which tokens a dictionary of both learns from, and whether the same
transcription factors are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from petriscope.studies.cells.regulation import specific_names
from petriscope.studies.cells.regulons import McNemar, Specific, mcnemar

MOST_DETECTABLE = 0.34
"""share of TFs: a gain that would be missed must not be larger, or "no difference" says nothing"""


def mixed(split: np.ndarray, cell: np.ndarray, seed: int) -> np.ndarray:
    """bool (n,): tokens of train cells and of the second tissue's, half and half by whole cells, as
    many as train cells have; fewer of the second where it has no more."""
    train, second = split == "train", split == "second"
    wanted = int(train.sum())
    rng = np.random.default_rng(seed)
    other = _cells_up_to(cell, second, wanted // 2, rng)
    own = _cells_up_to(cell, train, wanted - int(other.sum()), rng)
    return own | other


def _cells_up_to(
    cell: np.ndarray, rows: np.ndarray, tokens: int, rng: np.random.Generator
) -> np.ndarray:
    """The tokens of cells drawn from ``rows`` until there are about so many."""
    size = np.bincount(cell[rows], minlength=int(cell.max(initial=0)) + 1)
    order = rng.permutation(np.flatnonzero(size))
    chosen = order[np.cumsum(size[order]) <= tokens]
    return np.asarray(rows & np.isin(cell, chosen))


def paired(
    single: Sequence[Specific], double: Sequence[Specific], alpha: float
) -> tuple[McNemar, pd.DataFrame]:
    """The same TFs by both dictionaries: the exact test, and columns target, one, two."""
    mine, other = (specific_names(found, alpha) for found in (single, double))
    names = sorted({s.name for s in single} & {s.name for s in double})
    table = pd.DataFrame(
        {
            "target": names,
            "one": [name in mine for name in names],
            "two": [name in other for name in names],
        }
    )
    return mcnemar(table.one.to_numpy(bool), table.two.to_numpy(bool), alpha), table


def too_few(p: float, detectable: float | None, alpha: float) -> str | None:
    """Why no difference would mean nothing; None where there is one, or it would have been
    found."""
    if p < alpha or (detectable is not None and detectable <= MOST_DETECTABLE):
        return None
    least = "no gain" if detectable is None else f"a gain of {detectable:.0%} of the TFs at least"
    return f"too few TFs: {least} would be found with power .8"
