"""Model rows for the causal tests: chosen windows and biosamples, some bins masked, held at one
layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from petriscope.probe.harvest import spread  # noqa: F401 (stages still import it from here)
from petriscope.probe.model import device_of, to_device
from petriscope.probe.states import RowLabels, States, gather
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.masking import BLOCK


def read_masks(rows: int, bins: int, share: float, seed: int) -> np.ndarray:
    """(rows, T') bool: 12-bin blocks masked with probability ``share``, at least one per row, as in
    pre-training."""
    rng = np.random.default_rng(seed)
    blocks = -(-bins // BLOCK)
    chosen = rng.random((rows, blocks)) < share
    chosen[np.arange(rows), rng.integers(0, blocks, rows)] = True
    return np.repeat(chosen, BLOCK, axis=1)[:, :bins]


def condition_rows(biosamples: pd.DataFrame, lineages: Sequence[str]) -> pd.DataFrame:
    """The first in vitro and in vivo biosample per lineage that has both: columns lineage, vitro,
    vivo (rows)."""
    found = []
    for lineage in lineages:
        sides = [
            np.flatnonzero((biosamples.lineage == lineage) & (biosamples.context == context))
            for context in ("in_vitro", "in_vivo")
        ]
        if all(len(side) for side in sides):
            found.append({"lineage": lineage, "vitro": int(sides[0][0]), "vivo": int(sides[1][0])})
    return pd.DataFrame(found, columns=["lineage", "vitro", "vivo"])


def hold(
    model: ChromatinModel,
    inputs: WindowInputs,
    windows: pd.DataFrame,
    chosen: np.ndarray,
    biosamples: pd.DataFrame,
    columns: Sequence[int],
    layer: int,
    share: float,
    seed: int,
) -> States:
    """`States` of windows ``chosen`` x biosamples ``columns``, window-major. A window masks the
    same bins in all."""
    masks = read_masks(len(chosen), inputs.bins, share, seed)
    batches = [
        to_device(inputs.batch(w, mask, list(columns)), device_of(model))
        for w, mask in zip(chosen, masks)
    ]
    repeated = np.repeat(chosen, len(columns))
    of_row = np.tile(np.asarray(columns), len(chosen))
    labels = RowLabels(
        repeated,
        windows.block.to_numpy()[repeated],
        biosamples.lineage.to_numpy(str)[of_row],
        biosamples.context.to_numpy(str)[of_row],
    )
    return gather(
        model, batches, layer, np.repeat(masks, len(columns), axis=0), labels, inputs.crop
    )
