"""Foregrounds: the bins where a feature fires, where a lineage's context features fire, and their controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse


class Group(NamedTuple):
    """One foreground and whose it is."""

    group: str
    """Unique name, such as `L2/117`, `L2 liver`, `L2 liver in_vivo`, `peaks HepG2`, `random 3`."""
    kind: str
    """feature, lineage, condition, peaks or random."""
    layer: int
    """-1 where the group belongs to no layer."""
    feature: int
    """-1 where the group is not one feature."""
    lineage: str
    context: str
    bins: np.ndarray
    """Indices of bins (W·T' axis), strongest first."""


def strongest(score: np.ndarray, most: int) -> np.ndarray:
    """Indices of the ``most`` largest positive entries, largest first; ties by index."""
    chosen = np.flatnonzero(score > 0)
    order = np.argsort(-score[chosen], kind="stable")[:most]
    return chosen[order]


def feature_bins(codes: sparse.csr_matrix, feature: int, shape: tuple[int, int, int], most: int) -> np.ndarray:
    """Bins where one feature fires most strongly in any biosample.

    Parameters: ``codes`` — (rows, m) in compressed *column* form, rows = (window, biosample, bin) of ``shape``.
    """
    start, end = codes.indptr[feature], codes.indptr[feature + 1]
    windows, biosamples, bins = shape
    row = codes.indices[start:end].astype(np.int64)
    place = row // (biosamples * bins) * bins + row % bins
    score = np.zeros(windows * bins, dtype=np.float32)
    np.maximum.at(score, place, codes.data[start:end])
    return strongest(score, most)


def condition_scores(
    codes: sparse.csr_matrix, weight: np.ndarray, shape: tuple[int, int, int], conditions: Sequence[str]
) -> dict[str, np.ndarray]:
    """Weighted activity of a feature set per bin and condition: condition → (W·T',).

    Parameters: ``codes`` (rows, m) sparse; ``weight`` (m,), zero outside the set; ``conditions`` (S,) names
    each biosample's condition, whose biosamples are averaged.
    """
    windows, biosamples, bins = shape
    activity = np.asarray(codes @ weight).reshape(windows, biosamples, bins)
    labels = np.asarray(conditions)
    return {name: activity[:, labels == name].mean(axis=1).ravel() for name in dict.fromkeys(conditions)}


def lineage_specific(scores: dict[str, np.ndarray], own: str) -> np.ndarray:
    """How far one lineage's activity exceeds that of every other lineage, per bin; zero or less elsewhere."""
    others = [values for name, values in scores.items() if name != own]
    return scores[own] - np.max(others, axis=0) if others else scores[own]


def peak_bins(peaks: pd.DataFrame, bins: pd.DataFrame, most: int) -> np.ndarray:
    """Bins that hold the summits of the strongest peaks, strongest first, each once.

    ``peaks``: columns chrom, summit, score; ``bins``: chrom, start, end, sorted within chromosome.
    """
    found = []
    for chrom, group in peaks.groupby("chrom", sort=True):
        rows = np.flatnonzero(bins.chrom.to_numpy() == chrom)
        if not rows.size:
            continue
        starts, ends = bins.start.to_numpy()[rows], bins.end.to_numpy()[rows]
        place = np.searchsorted(starts, group.summit.to_numpy(), side="right") - 1
        inside = (place >= 0) & (group.summit.to_numpy() < ends[np.maximum(place, 0)])
        found.append(pd.DataFrame({"bin": rows[place[inside]], "score": group.score.to_numpy()[inside]}))
    if not found:
        return np.zeros(0, dtype=np.int64)
    table = pd.concat(found).sort_values("score", ascending=False, kind="stable").drop_duplicates("bin")
    return table.bin.to_numpy(np.int64)[:most]


def membership(groups: Sequence[Group], bins: int) -> sparse.csr_matrix:
    """(F, n) sparse bool matrix of all groups."""
    indptr = np.concatenate([[0], np.cumsum([len(group.bins) for group in groups])])
    indices = np.concatenate([np.sort(group.bins) for group in groups]) if groups else np.zeros(0, np.int64)
    return sparse.csr_matrix((np.ones(len(indices), dtype=bool), indices, indptr), shape=(len(groups), bins))
