"""Matched background: bins weighted, or drawn, so that GC, accessibility and TSS distance follow
the foreground's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.normalize import GC_EDGES
from petriscope.errors import UserError

TSS_EDGES = (1_000.0, 5_000.0, 20_000.0, 100_000.0)
"""Upper edges (bp) of the distance classes; the last class is open."""
ACCESSIBILITY_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99)
"""Quantiles that separate the accessibility classes: fine at the top, where open chromatin is."""
_COLUMNS = 64  # columns of a value matrix made dense at a time


class Strata(NamedTuple):
    """A class per bin of the universe."""

    code: np.ndarray
    """(n,) int64 class, -1 = outside the universe (a covariate is missing)."""
    names: list[str]
    """One per class, e.g. 'GC<0.45 access 3/5 TSS<5000'."""


class Counts(NamedTuple):
    """Foreground and weighted background counts of F features over M columns."""

    target: np.ndarray
    """(F, M) foreground bins with the property."""
    background: np.ndarray
    """(F, M) weighted background bins with it."""
    targets: np.ndarray
    """(F,) foreground bins that found a background."""
    total: np.ndarray
    """(F,) sum of the background weights: Kish's effective number of background bins."""
    dropped: np.ndarray
    """(F,) foreground bins left out: outside the universe, or in a class without background."""


def strata(
    gc: np.ndarray,
    accessibility: np.ndarray | None = None,
    tss_distance: np.ndarray | None = None,
    accessibility_quantiles: Sequence[float] = ACCESSIBILITY_QUANTILES,
) -> Strata:
    """Cross HOMER's GC bins with quantile classes of accessibility and classes of distance to the
    nearest TSS.

    All (n,); any covariate may be None; NaN puts a bin outside. ``accessibility`` in any unit (its
    order alone counts).
    """
    parts: list[tuple[np.ndarray, list[str]]] = [_classes(gc, np.array(GC_EDGES), "GC")]
    outside = ~np.isfinite(gc)
    if accessibility is not None:
        outside |= ~np.isfinite(accessibility)
        finite = accessibility[np.isfinite(accessibility)]
        edges = (
            np.unique(np.quantile(finite, accessibility_quantiles)) if finite.size else np.zeros(0)
        )
        code = np.searchsorted(edges, accessibility, side="right")
        parts.append((code, [f"access {i + 1}/{len(edges) + 1}" for i in range(len(edges) + 1)]))
    if tss_distance is not None:
        outside |= ~np.isfinite(tss_distance)
        parts.append(_classes(np.abs(tss_distance), np.array(TSS_EDGES), "TSS"))
    code = np.zeros(len(gc), dtype=np.int64)
    for part, names in parts:
        code = code * len(names) + part
    present, compact = np.unique(np.where(outside, -1, code), return_inverse=True)
    labels = []
    for value in present[present >= 0]:
        words: list[str] = []
        for _, names in reversed(parts):
            value, which = divmod(int(value), len(names))
            words.insert(0, names[which])
        labels.append(" ".join(words))
    return Strata(compact - int(outside.any()), labels)


def _classes(values: np.ndarray, edges: np.ndarray, what: str) -> tuple[np.ndarray, list[str]]:
    names = [f"{what}<{edge:g}" for edge in edges] + [f"{what}>={edges[-1]:g}"]
    return np.searchsorted(edges, values, side="right"), names


class MatchedBackground:
    """Weights that give every feature's background the foreground's distribution over strata.

    ``membership`` (F, n) sparse bool: the bins each feature fires in. A feature's background is
    every other bin of the universe in the strata of its foreground, with weight proportional to
    (foreground share of the stratum) / (background bins in it), scaled so that the weights sum to
    Kish's effective number (Σw)²/Σw²: a stratum with few background bins then cannot pass for many.
    Foreground bins in a stratum without background are dropped and counted.
    """

    def __init__(self, membership: sparse.spmatrix | np.ndarray, strata: Strata) -> None:
        member = sparse.csr_matrix(membership, dtype=np.float64)
        if member.shape[1] != len(strata.code):
            raise UserError(
                f"membership has {member.shape[1]} bins but the strata have {len(strata.code)}",
                remedy="Give both over the same universe of bins",
            )
        member.data[:] = 1.0
        n, self.n_strata = member.shape[1], len(strata.names)
        self.code = strata.code
        inside = np.flatnonzero(strata.code >= 0)
        self._stratum = sparse.csr_matrix(
            (np.ones(len(inside)), (inside, strata.code[inside])), shape=(n, self.n_strata)
        )
        size = np.asarray(self._stratum.sum(axis=0)).ravel()
        fore = (member @ self._stratum).toarray()
        back = size - fore
        fore = np.where(back > 0, fore, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(fore > 0, fore / back, 0.0)
            effective = fore.sum(axis=1) ** 2 / np.sum(ratio**2 * back, axis=1)
            scale = np.where(fore.sum(axis=1) > 0, effective / fore.sum(axis=1), 0.0)
        self.targets = fore.sum(axis=1)
        self.total = np.where(self.targets > 0, effective, 0.0)
        self.dropped = np.asarray(member.sum(axis=1)).ravel() - self.targets
        self.ratio = ratio * scale[:, None]
        """(F, S) weight of a background bin of each stratum."""
        feature, place = (
            np.repeat(np.arange(member.shape[0]), np.diff(member.indptr)),
            member.indices,
        )
        stratum = strata.code[place]
        kept = (stratum >= 0) & (fore[feature, stratum] > 0)
        shape = member.shape
        self.foreground = sparse.csr_matrix(
            (np.ones(kept.sum()), (feature[kept], place[kept])), shape=shape
        )
        """(F, n) foreground bins that have a background."""
        own = self.ratio[feature[kept], stratum[kept]]
        self._own = sparse.csr_matrix((own, (feature[kept], place[kept])), shape=shape)

    def counts(self, values: Any) -> Counts:
        """Count the columns of ``values`` (n, M) bool, dense array or sparse matrix, in foreground
        and background."""
        n_columns = values.shape[1]
        shape = (self.foreground.shape[0], n_columns)
        target, background = np.zeros(shape), np.zeros(shape)
        for begin in range(0, n_columns, _COLUMNS):
            columns = slice(begin, begin + _COLUMNS)
            part = values[:, columns]
            dense = np.asarray(part.toarray() if sparse.issparse(part) else part)
            dense = dense.astype(np.float64)
            target[:, columns] = self.foreground @ dense
            background[:, columns] = self.ratio @ (self._stratum.T @ dense) - self._own @ dense
        background = np.maximum(np.round(background, 9), 0.0)
        return Counts(target, background, self.targets, np.round(self.total, 9), self.dropped)

    def weights(self, feature: int) -> np.ndarray:
        """(n,) background weight of every bin for one feature; 0 in the foreground and outside."""
        weights = np.where(self.code >= 0, self.ratio[feature][self.code], 0.0)
        weights[self.foreground[feature].indices] = 0.0
        return weights

    def imbalance(self, feature: int, covariates: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Standardized mean difference foreground − background of each covariate (n,), before and
        after matching.

        Before = against all other bins of the universe. Below 0.1 is the usual mark of balance.
        """
        fore = np.zeros(len(self.code), dtype=bool)
        fore[self.foreground[feature].indices] = True
        weights = self.weights(feature)
        plain = ((self.code >= 0) & ~fore).astype(np.float64)
        rows = []
        for name, values in covariates.items():
            known = np.isfinite(values)
            inside = values[fore & known]
            row: dict[str, object] = {
                "covariate": name,
                "foreground_mean": inside.mean() if inside.size else np.nan,
            }
            for when, w in (("before", plain), ("after", weights)):
                w = w * known
                mean = np.average(values[w > 0], weights=w[w > 0]) if (w > 0).any() else np.nan
                var = (
                    np.average((values[w > 0] - mean) ** 2, weights=w[w > 0])
                    if (w > 0).any()
                    else np.nan
                )
                pooled = np.sqrt((inside.var() + var) / 2) if inside.size else np.nan
                row[f"background_mean_{when}"] = mean
                apart = row["foreground_mean"] - mean  # type: ignore[operator]
                row[f"smd_{when}"] = apart / pooled if pooled > 0 else 0.0
            rows.append(row)
        return pd.DataFrame(rows)


class Sample(NamedTuple):
    """Bins drawn as a background."""

    bins: np.ndarray
    """(k,) int64 sorted bin indices."""
    short: int
    """How many draws a stratum could not supply."""


def sample_background(
    is_foreground: np.ndarray, strata: Strata, rng: np.random.Generator, per_foreground: float = 1.0
) -> Sample:
    """Draw ``per_foreground`` background bins per foreground bin from the same stratum, without
    replacement, seeded."""
    is_foreground = np.asarray(is_foreground, dtype=bool)
    if not is_foreground.any():
        raise UserError(
            "the foreground is empty",
            remedy="Lower the feature's threshold or choose another feature",
        )
    wanted = (
        np.bincount(strata.code[is_foreground & (strata.code >= 0)], minlength=len(strata.names))
        * per_foreground
    )
    chosen, short = [], 0
    pool = ~is_foreground & (strata.code >= 0)
    order = np.argsort(np.where(pool, strata.code, -1), kind="stable")
    edges = np.searchsorted(
        np.where(pool, strata.code, -1)[order], np.arange(len(strata.names) + 1)
    )
    for s, number in enumerate(np.rint(wanted).astype(int)):
        members = order[edges[s] : edges[s + 1]]
        chosen.append(rng.permutation(members)[:number])
        short += max(0, number - len(members))
    return Sample(np.sort(np.concatenate(chosen)), short)


def tss_distance(chrom: np.ndarray, position: np.ndarray, genes: pd.DataFrame) -> np.ndarray:
    """(n,) float64 distance in bp from each position to the nearest TSS of its chromosome; NaN
    where it has none.

    ``genes`` with columns chrom and tss.
    """
    distance = np.full(len(position), np.nan)
    for name in pd.unique(pd.Series(chrom)):
        here = np.flatnonzero(chrom == name)
        tss = np.sort(genes.loc[genes["chrom"] == name, "tss"].to_numpy(dtype=np.float64))
        if tss.size:
            right = np.searchsorted(tss, position[here]).clip(0, len(tss) - 1)
            left = (right - 1).clip(0)
            distance[here] = np.minimum(
                np.abs(tss[right] - position[here]), np.abs(tss[left] - position[here])
            )
    return distance
