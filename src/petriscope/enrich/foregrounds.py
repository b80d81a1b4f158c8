"""Foregrounds are the places where features fire, by group, over one universe and beside a matched
background."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.files import (
    atomic_folder,
    read_json,
    write_csv,
    write_json,
    write_npy,
    write_parquet,
)


@dataclass(frozen=True, eq=False)
class Foregrounds:
    """Groups of places (bins) of a universe, the strata that match them, and how well they do."""

    matrix: sparse.csr_matrix
    """(F, n) bool."""
    groups: pd.DataFrame
    """A row per group: group (unique name), kind, whatever says whose it is; size, dropped."""
    bins: pd.DataFrame
    """(n,) rows: where each place lies, with its covariates."""
    strata: Strata
    firing: Mapping[str, sparse.csr_matrix]
    """Stratum of the units → (features, n) bool, where each group of kind `feature` fires in the
    units of that stratum."""
    top: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["group", "bin"]))
    """group, bin: where each feature fires most strongly, strongest first."""
    imbalance: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["covariate"]))
    """Covariates of groups before and after matching (`MatchedBackground.imbalance`)."""

    def background(self, rows: np.ndarray | slice = slice(None)) -> MatchedBackground:
        """The matched background of the groups, or of some of them."""
        return MatchedBackground(self.matrix[rows], self.strata)

    def about(self) -> pd.DataFrame:
        """Whose each group is, without its counts: what tables of results begin with."""
        return self.groups.drop(columns=["size", "dropped"])

    def of_features(self) -> pd.DataFrame:
        """The rows of ``groups`` that are one feature each, numbered as ``firing`` is."""
        return self.groups[self.groups.kind == "feature"].reset_index(drop=True)

    def save(self, folder: str | Path) -> None:
        """Write membership.npz, groups.parquet, bins.parquet, top.parquet, strata.npy and .json,
        imbalance.csv and firing_STRATUM.npz."""
        with atomic_folder(Path(folder)) as out:
            sparse.save_npz(out / "membership.npz", self.matrix, compressed=False)
            for stratum, fires in self.firing.items():
                sparse.save_npz(out / f"firing_{stratum}.npz", fires, compressed=False)
            write_parquet(out / "groups.parquet", self.groups)
            write_parquet(out / "bins.parquet", self.bins)
            write_parquet(out / "top.parquet", self.top)
            write_npy(out / "strata.npy", self.strata.code)
            write_json(out / "strata.json", self.strata.names)
            write_csv(out / "imbalance.csv", self.imbalance)

    @classmethod
    def load(cls, folder: str | Path) -> Foregrounds:
        """Read what `save` wrote."""
        folder = Path(folder)
        return cls(
            sparse.load_npz(folder / "membership.npz").tocsr(),
            pd.read_parquet(folder / "groups.parquet"),
            pd.read_parquet(folder / "bins.parquet"),
            Strata(np.load(folder / "strata.npy"), read_json(folder / "strata.json")),
            {
                path.stem.removeprefix("firing_"): sparse.load_npz(path).tocsr()
                for path in sorted(folder.glob("firing_*.npz"))
            },
            pd.read_parquet(folder / "top.parquet"),
            pd.read_csv(folder / "imbalance.csv"),
        )


def measured_imbalance(
    background: MatchedBackground, covariates: pd.DataFrame, groups: Mapping[int, str]
) -> pd.DataFrame:
    """`MatchedBackground.imbalance` of some rows, with column group: row → name."""
    values = {name: covariates[name].to_numpy() for name in covariates}
    frames = [background.imbalance(i, values).assign(group=name) for i, name in groups.items()]
    return pd.concat(frames, ignore_index=True)


def strongest(score: np.ndarray, most: int) -> np.ndarray:
    """Indices of the ``most`` largest positive entries, largest first; ties by index."""
    chosen = np.flatnonzero(score > 0)
    order = np.argsort(-score[chosen], kind="stable")[:most]
    return chosen[order]


def feature_scores(
    codes: sparse.csc_matrix, feature: int, shape: tuple[int, int, int]
) -> sparse.csr_matrix:
    """(S, W·T') activation of one feature by unit and bin.

    Parameters: ``codes`` — (rows, m) in compressed *column* form, rows = (window, unit, bin)
    of ``shape``.
    """
    start, end = codes.indptr[feature], codes.indptr[feature + 1]
    windows, units, bins = shape
    row = codes.indices[start:end].astype(np.int64)
    place = row // (units * bins) * bins + row % bins
    data = codes.data[start:end].astype(np.float32)
    return sparse.csr_matrix((data, (row // bins % units, place)), shape=(units, windows * bins))


def feature_bins(scores: sparse.csr_matrix, units: np.ndarray, most: int) -> np.ndarray:
    """Bins where a feature fires most strongly in any of ``units`` (S,) bool; ``scores`` of
    `feature_scores`."""
    chosen = np.flatnonzero(units)
    return strongest(scores[chosen].max(axis=0).toarray().ravel(), most) if len(chosen) else chosen


def condition_scores(
    codes: sparse.csr_matrix,
    weight: np.ndarray,
    shape: tuple[int, int, int],
    conditions: Sequence[str],
) -> dict[str, np.ndarray]:
    """Weighted activity of a feature set per bin and condition: condition → (W·T',).

    Parameters: ``codes`` (rows, m) sparse; ``weight`` (m,), zero outside the set; ``conditions``
    (S,) names each unit's condition, whose units are averaged.
    """
    windows, units, bins = shape
    activity = np.asarray(codes @ weight).reshape(windows, units, bins)
    labels = np.asarray(conditions)
    return {
        name: activity[:, labels == name].mean(axis=1).ravel() for name in dict.fromkeys(conditions)
    }


def beyond_others(scores: Mapping[str, np.ndarray], own: str) -> np.ndarray:
    """How far one stratum's activity exceeds that of every other, per bin; zero or less
    elsewhere."""
    others = [values for name, values in scores.items() if name != own]
    return scores[own] - np.max(others, axis=0) if others else scores[own]


def membership(rows: Iterable[np.ndarray], n: int) -> sparse.csr_matrix:
    """(F, n) sparse bool matrix of groups of places."""
    places = [np.sort(row) for row in rows]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in places])])
    indices = np.concatenate(places) if places else np.zeros(0, np.int64)
    return sparse.csr_matrix(
        (np.ones(len(indices), dtype=bool), indices, indptr), shape=(len(places), n)
    )
