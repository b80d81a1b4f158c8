"""A branch of the pipeline with the trained autoencoders: other inputs or another model in,
contrast statistics out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from petriscope.contrast.design import Design
from petriscope.contrast.effects import auroc
from petriscope.parallel import in_processes
from petriscope.sae.coder import SAE
from petriscope.sae.codes import StatisticsAccumulator
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.inputs import WindowInputs, harvest_window
from petriscope.studies.chromatin.model.base import ChromatinModel
from petriscope.studies.chromatin.model.masking import fold_masks


def branch_statistics(
    model: ChromatinModel,
    inputs: WindowInputs,
    windows: np.ndarray,
    autoencoders: Mapping[int, SAE],
    *,
    folds: int | None = None,
    what: str = "branch",
) -> dict[int, Moments]:
    """Sums per (window, biosample, latent) of each layer with an autoencoder, streamed: no store is
    written.

    ``windows`` (W,) rows of ``inputs``; ``folds`` as in `harvest`. On unchanged inputs the sums
    equal those of the stages activations and codes: the stream passes float16 on its way, as it
    does through the store.
    """
    masks = None if folds is None else fold_masks(inputs.bins, folds)
    samples = len(inputs.motif_activity)
    biosample = np.repeat(np.arange(samples), inputs.bins)

    def one(window: int) -> list[Moments]:
        with torch.inference_mode():
            hidden = harvest_window(model, inputs, int(window), list(autoencoders), masks)
            found = []
            for layer, sae in autoencoders.items():
                rows = hidden[layer].reshape(-1, sae.d).half().float().cpu().numpy()
                sums = StatisticsAccumulator(1, samples, sae.m)
                sums.add(sae.encode(rows), np.zeros(len(rows), int), biosample)
                found.append(sums.result())
        return found

    pieces = zip(*in_processes(one, windows, what, unit="window"))
    return {
        layer: Moments(*map(np.concatenate, zip(*of_layer)))
        for layer, of_layer in zip(autoencoders, pieces)
    }


class Followed(NamedTuple):
    """Features chosen on other windows, and the sign of their difference there."""

    features: np.ndarray
    """(k,)"""
    sign: np.ndarray
    """(k,) +1 where higher in vivo, -1 where higher in vitro."""


def followed(features: pd.DataFrame, most: int) -> dict[int, Followed]:
    """Per layer the strongest context features (columns layer, feature, alive, context, rank,
    direction), at most ``most``; the strongest alive ones where a layer has no context feature."""
    found = {}
    for layer, frame in features[features.alive].groupby("layer"):
        chosen = frame[frame.context] if frame.context.any() else frame
        chosen = chosen.sort_values("rank").head(most)
        sign = np.where(chosen.direction == "in_vivo", 1, -1)
        found[int(str(layer))] = Followed(chosen.feature.to_numpy(), sign)
    return found


def followed_auroc(statistics: Moments, chosen: Followed, design: Design) -> float:
    """Mean AUROC of mean activations per (window, biosample), in vivo against in vitro in the
    direction chosen, over lineages with both contexts and over features: .5 is chance. The features
    were chosen on other windows."""
    means = statistics.block_means()[:, :, chosen.features]
    found = []
    for lineage in design.strata:
        if design.why_untestable(lineage, "locus"):
            continue
        vitro, vivo = design.sides(lineage)
        area = auroc(
            means[:, vivo].reshape(-1, means.shape[2]), means[:, vitro].reshape(-1, means.shape[2])
        )
        found.append(np.where(chosen.sign > 0, area, 1 - area))
    return float(np.mean(found)) if found else float("nan")


def agreement(features: pd.DataFrame, reference: pd.DataFrame, column: str) -> pd.DataFrame:
    """How a branch's score follows the reference's, per layer: columns layer, z_correlation,
    same_sign.

    Both are feature tables with layer, feature, alive and ``column``; the correlation is over
    features alive in both, ``same_sign`` the share of the reference's hundred strongest ones whose
    score keeps its sign.
    """
    merged = reference.merge(features, on=["layer", "feature"], suffixes=("", "_branch"))
    rows = []
    for layer, frame in merged.groupby("layer"):
        both = frame[
            frame.alive
            & frame.alive_branch
            & frame[column].notna()
            & frame[f"{column}_branch"].notna()
        ]
        a, b = both[column].to_numpy(float), both[f"{column}_branch"].to_numpy(float)
        usable = len(both) > 2 and a.std() > 0 and b.std() > 0
        strongest = np.argsort(-np.abs(a), kind="stable")[:100]
        rows.append(
            {
                "layer": layer,
                "z_correlation": float(np.corrcoef(a, b)[0, 1]) if usable else np.nan,
                "same_sign": float((np.sign(a) == np.sign(b))[strongest].mean())
                if len(both)
                else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=["layer", "z_correlation", "same_sign"])
