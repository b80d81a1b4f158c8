"""Steering with one feature: its activation times a factor, the prediction read where it fires and
where it is silent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch

from petriscope.causal.feature_sets import as_matrix
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.parallel import in_processes
from petriscope.probe.states import Dictionary, Resumable, States, predict_edited

FACTORS = (0.0, 0.5, 2.0, 4.0)
COLUMNS = ("feature", "bins", "factor", "change", "low", "high", "blocks")


def scaled_feature_effects(
    model: Resumable,
    dictionary: Dictionary,
    states: States,
    features: np.ndarray,
    *,
    factors: Sequence[float] = FACTORS,
    rows: int = 6,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Multiply each feature by ``factors`` on the ``rows`` rows where it is most active (0 ablates,
    1 would do nothing).

    The edit is h + (factor - 1) z d at every token of those rows: error-preserving, all else as it
    was. Columns: feature, bins ('own': where it fires; 'silent': where it does not), factor, change
    (mean signed change of the prediction), low, high (95 %, block bootstrap; NaN under two blocks),
    blocks. Features silent on all rows are left out.
    """
    directions = dictionary.directions.numpy()
    codes = as_matrix(dictionary.encode(states.tokens()), len(directions)).tocsc()
    shape = states.prediction.shape

    def one(feature: int) -> list[tuple[int, str, float, float, float, float, int]]:
        found: list[tuple[int, str, float, float, float, float, int]] = []
        column = np.asarray(codes[:, [feature]].todense(), np.float32).reshape(shape)
        strength = column.sum(1)
        strongest = np.argsort(-strength, kind="stable")[:rows]
        strongest = np.sort(strongest[strength[strongest] > 0])
        if not len(strongest):
            return found
        part, active = states.subset(strongest), column[strongest]
        for factor in factors:
            delta = torch.from_numpy(
                (np.float32(factor) - 1) * active.reshape(-1, 1) * directions[feature][None]
            )
            change = predict_edited(model, part, delta) - part.prediction
            for bins, mask in (("own", active > 0), ("silent", active == 0)):
                if mask.any():
                    estimate = _block_mean(change, mask, part.labels.block, resamples, seed)
                    found.append((int(feature), bins, float(factor), *estimate))
        return found

    rows_of = in_processes(one, features, "scaling single features", unit="feature")
    return pd.DataFrame(list(chain.from_iterable(rows_of)), columns=list(COLUMNS))


def _block_mean(
    change: np.ndarray, mask: np.ndarray, block: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float, int]:
    """Mean of ``change`` (n, bins) over ``mask``, its limits over blocks of rows, and how many
    blocks."""
    names, index = np.unique(block, return_inverse=True)
    total = np.bincount(index, (change * mask).sum(1), minlength=len(names))
    count = np.bincount(index, mask.sum(1), minlength=len(names))
    mean = float(total.sum() / count.sum())
    if len(names) < 2:
        return mean, float("nan"), float("nan"), len(names)
    weights = bootstrap_counts(len(names), resamples, seed)
    bins = weights @ count
    low, high = expanded_percentiles((weights @ total)[bins > 0] / bins[bins > 0], len(names))
    return mean, float(low), float(high), len(names)
