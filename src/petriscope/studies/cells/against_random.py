"""A share, or mean, of the features of trained models less that of randomly initialized ones, with
an interval over groups of features that depend on one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.contrast.effects import bootstrap_counts

NOT_RUN = "no randomly initialized model ran (controls.random_init is false)"
Layers = Mapping[int, pd.DataFrame]
"""A table of features by layer of one model: alive, what groups are made of, and a number."""


@dataclass(frozen=True)
class Difference:
    """A share (or mean) of features of the trained model less that of the randomly initialized one,
    with a 95 % interval over groups of features."""

    random: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class AgainstRandom:
    """Trained models against randomly initialized ones."""

    untestable: str | None
    models: dict[str, Difference]
    least_low: float | None = None
    """the lowest limit of the models' differences"""

    @classmethod
    def of(cls, models: dict[str, Difference], trained: int) -> AgainstRandom:
        """Of the models that have a randomly initialized one beside them, of ``trained``."""
        if len(models) < trained:
            return cls(NOT_RUN, models)
        return cls(None, models, min((one.low for one in models.values()), default=None))


def after_a_block(layers: Sequence[int]) -> list[int]:
    """The layers that the paper numbers: the input of the first block is none of them, where there
    are others."""
    return [layer for layer in layers if layer > 0] or list(layers)


def blocks_of(features: pd.DataFrame) -> np.ndarray:
    """int (F,) block of each feature: features of all layers that list one gene first depend on one
    another; one without a list stands alone."""
    top = features.top_gene.to_numpy(np.int64)
    return np.where(top >= 0, top, -1 - np.arange(len(top)))


def above_random(
    trained: Layers,
    random: Layers,
    column: str,
    resamples: int,
    seed: int,
    blocks: Callable[[pd.DataFrame], np.ndarray] = blocks_of,
) -> Difference:
    """Mean over layers of the mean of ``column`` over alive features, trained less random.

    ``trained``, ``random``: tables with columns alive, ``column`` and those that ``blocks`` reads,
    which gives the block (F,) of each feature of a table of all layers (with a column layer).
    """
    mine = _resampled(trained, column, resamples, seed, blocks)
    other = _resampled(random, column, resamples, seed + 1, blocks)
    low, high = np.quantile(mine[1:] - other[1:], [0.025, 0.975])
    return Difference(float(other[0]), float(mine[0] - other[0]), float(low), float(high))


def _resampled(
    layers: Layers,
    column: str,
    resamples: int,
    seed: int,
    blocks: Callable[[pd.DataFrame], np.ndarray],
) -> np.ndarray:
    """(1 + R,) mean over layers of the mean: as it is, then with blocks resampled."""
    used = after_a_block(list(layers))
    table = pd.concat([layers[layer].assign(layer=layer) for layer in used])
    table = table[table.alive]
    if not len(table):
        return np.zeros(resamples + 1)
    block = np.unique(blocks(table), return_inverse=True)[1]
    place = np.unique(table.layer, return_inverse=True)[1]
    total, number = np.zeros((2, int(block.max()) + 1, int(place.max()) + 1))
    np.add.at(total, (block, place), table[column].to_numpy(float))
    np.add.at(number, (block, place), 1.0)
    weights = np.concatenate(
        [np.ones((1, len(total))), bootstrap_counts(len(total), resamples, seed)]
    )
    with np.errstate(invalid="ignore"):
        mean = np.nan_to_num((weights @ total) / (weights @ number))
    return np.asarray(mean.mean(1))
