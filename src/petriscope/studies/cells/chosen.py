"""The tokens on which features are compared: those of genes, in cells of some splits."""

from __future__ import annotations

import numpy as np

from petriscope.graph.cofiring import rows_of
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes
from petriscope.studies.cells.branches import Branch

FIRST = 1
"""The stream behind the first block: what the paper calls layer 0. Ours is its input."""


def gene_rows(
    tokens: Tokens, gene: np.ndarray, *splits: str, most: int | None = None, seed: int = 0
) -> np.ndarray:
    """Rows of the axis that are tokens of genes (``gene``, int (n,), is not -1) of the cells of
    some splits, ascending; ``most`` of them drawn at random, where there are more."""
    rows = np.flatnonzero((gene >= 0) & np.isin(tokens.split, splits))
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def codes_of(branch: Branch, layer: int, seeds: list[int], place: int, rows: np.ndarray) -> Codes:
    """Codes of some rows of a layer by the dictionary of the seed at ``place`` in ``seeds``: of the
    first as they are stored, of another made now."""
    if place == 0:
        return rows_of(branch.encoded(layer).codes(), rows)
    return branch.dictionary(layer, seeds[place]).encode(np.asarray(branch.streams(layer)[rows]))
