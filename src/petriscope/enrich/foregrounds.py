"""Foregrounds: the bins where a feature fires, where a lineage's context features fire, and their
controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse


class Group(NamedTuple):
    """One foreground and whose it is."""

    group: str
    """Unique name, such as `L2/117`, `L2 liver`, `L2 liver in_vivo`, `L2 top liver`, `peaks HepG2`,
    `random 3`."""
    kind: str
    """feature, lineage, condition; or a control: top_activation, peaks, planted, random."""
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


def feature_scores(
    codes: sparse.csc_matrix, feature: int, shape: tuple[int, int, int]
) -> sparse.csr_matrix:
    """(S, W·T') activation of one feature by biosample and bin.

    Parameters: ``codes`` — (rows, m) in compressed *column* form, rows = (window, biosample, bin)
    of ``shape``.
    """
    start, end = codes.indptr[feature], codes.indptr[feature + 1]
    windows, biosamples, bins = shape
    row = codes.indices[start:end].astype(np.int64)
    place = row // (biosamples * bins) * bins + row % bins
    data = codes.data[start:end].astype(np.float32)
    return sparse.csr_matrix(
        (data, (row // bins % biosamples, place)), shape=(biosamples, windows * bins)
    )


def feature_bins(scores: sparse.csr_matrix, biosamples: np.ndarray, most: int) -> np.ndarray:
    """Bins where a feature fires most strongly in any of ``biosamples`` (S,) bool; ``scores`` of
    `feature_scores`."""
    chosen = np.flatnonzero(biosamples)
    return strongest(scores[chosen].max(axis=0).toarray().ravel(), most) if len(chosen) else chosen


def condition_scores(
    codes: sparse.csr_matrix,
    weight: np.ndarray,
    shape: tuple[int, int, int],
    conditions: Sequence[str],
) -> dict[str, np.ndarray]:
    """Weighted activity of a feature set per bin and condition: condition → (W·T',).

    Parameters: ``codes`` (rows, m) sparse; ``weight`` (m,), zero outside the set; ``conditions``
    (S,) names each biosample's condition, whose biosamples are averaged.
    """
    windows, biosamples, bins = shape
    activity = np.asarray(codes @ weight).reshape(windows, biosamples, bins)
    labels = np.asarray(conditions)
    return {
        name: activity[:, labels == name].mean(axis=1).ravel() for name in dict.fromkeys(conditions)
    }


def lineage_specific(scores: dict[str, np.ndarray], own: str) -> np.ndarray:
    """How far one lineage's activity exceeds that of every other lineage, per bin; zero or less
    elsewhere."""
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
        found.append(
            pd.DataFrame({"bin": rows[place[inside]], "score": group.score.to_numpy()[inside]})
        )
    if not found:
        return np.zeros(0, dtype=np.int64)
    table = (
        pd.concat(found).sort_values("score", ascending=False, kind="stable").drop_duplicates("bin")
    )
    return table.bin.to_numpy(np.int64)[:most]


def planted_bins(truth: pd.DataFrame, lineage: str, bins: pd.DataFrame, most: int) -> np.ndarray:
    """Bins of the planted elements that open in one lineage alone, most accessible first: a
    positive control.

    ``truth``: columns chrom, start, lineages, effect; ``bins``: chrom, start.
    """
    own = truth[truth.lineages == lineage].sort_values("effect", ascending=False, kind="stable")
    index = pd.Series(
        np.arange(len(bins)), index=pd.MultiIndex.from_arrays([bins.chrom, bins.start])
    )
    found = (
        index.reindex(pd.MultiIndex.from_arrays([own.chrom, own.start])).dropna().drop_duplicates()
    )
    return found.to_numpy(np.int64)[:most]


def membership(groups: Sequence[Group], bins: int) -> sparse.csr_matrix:
    """(F, n) sparse bool matrix of all groups."""
    indptr = np.concatenate([[0], np.cumsum([len(group.bins) for group in groups])])
    indices = (
        np.concatenate([np.sort(group.bins) for group in groups])
        if groups
        else np.zeros(0, np.int64)
    )
    return sparse.csr_matrix(
        (np.ones(len(indices), dtype=bool), indices, indptr), shape=(len(groups), bins)
    )
