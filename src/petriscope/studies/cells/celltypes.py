"""Features that tell cell types apart: as published over cells, and over donors, whose types are
compared within each donor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from statsmodels.stats.multitest import multipletests

from petriscope.contrast.inference import TTest, log_mean, moderated_one_sample
from petriscope.enrich.tails import tabulated_hypergeometric_tail
from petriscope.sae.codes import Codes

COLUMNS = ("feature", "type", "donors", "estimate", "low", "high", "t", "df", "p", "q")
"""of `type_table`"""
TOP, ACTIVE_CELLS, TYPE_CELLS, KEPT = 0.1, 10, 3, 10
"""as published: share of cells called the top, cells in which a feature fires, cells of a type, at
least; types of a feature that are kept, at most"""


class PublishedCellTypes(NamedTuple):
    """What celltype_enrichment_layerXX.json of the released code says."""

    features: pd.DataFrame
    """a row per tested feature: feature, active (n_active_cells), top (cells called the top)"""
    found: pd.DataFrame
    """a row per feature and significant type, best first: feature, type (ct), p (p_raw), odds_ratio
    (or), n_top, n_total, frac_top, q (p_adj)"""


def cell_sums(codes: Codes, cell: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(cells, m) summed activation and number of firing tokens of each cell; ``cell``: int (n,), -1
    for a token that does not count."""
    of_entry = np.repeat(cell, np.diff(codes.indptr))
    kept = of_entry >= 0
    key = of_entry[kept].astype(np.int64) * codes.m + np.asarray(codes.indices)[kept]
    values = np.asarray(codes.values, np.float64)[kept]
    size = cells * codes.m
    total = np.bincount(key, values, minlength=size).reshape(cells, codes.m)
    return total, np.bincount(key, minlength=size).reshape(cells, codes.m)


def mean_when_active(total: np.ndarray, fires: np.ndarray) -> np.ndarray:
    """Mean activation over the tokens on which a feature fires; 0 where it does not."""
    return np.divide(total, fires, out=np.zeros(total.shape), where=fires > 0)


def published_celltypes(
    means: np.ndarray,
    types: np.ndarray,
    *,
    least: int = TYPE_CELLS,
    all_types: bool = False,
    alpha: float,
) -> PublishedCellTypes:
    """Fisher's test of every type among the tenth of the cells in which a feature is strongest.

    ``means`` (cells, m): mean activation where it fires; ``types`` (cells,): object labels;
    ``least``: cells of a type (of tissues, 1); ``all_types``: keep all significant ones, as for
    tissues. Benjamini-Hochberg over the types of one feature. Source:
    atlas/scripts/compute_celltype_enrichments.py:160-300 of Biodyn-AI/bio-sae.
    """
    cells = len(types)
    names, label = np.unique(np.asarray(types, dtype=str), return_inverse=True)
    size = np.bincount(label)
    tested = np.flatnonzero(size >= least)
    active = (means > 0).sum(0)
    features = np.flatnonzero(active >= ACTIVE_CELLS)
    most = max(1, int(cells * TOP))
    threshold = np.partition(means[:, features], -most, axis=0)[-most]
    # a feature that fires in fewer cells than the top holds: all of them
    top = np.where(
        active[features] <= most, means[:, features] > 0, means[:, features] >= threshold
    )
    member = (label[:, None] == tested).astype(np.float64)  # (cells, T)
    n_top = top.sum(0)
    a = np.rint(top.T.astype(np.float64) @ member).astype(np.int64)  # (features, T)
    b = n_top[:, None] - a
    c = size[tested] - a
    d = cells - n_top[:, None] - c
    shape = a.shape
    ln_p = tabulated_hypergeometric_tail(
        a.ravel(),
        cells,
        np.broadcast_to(size[tested], shape).ravel(),
        np.broadcast_to(n_top[:, None], shape).ravel(),
    ).reshape(shape)
    p = np.where(a > 0, np.exp(ln_p), 1.0)
    odds = np.round(a * d / np.maximum(b * c, 1e-10), 2)
    rows = []
    for place, feature in enumerate(features):
        q = multipletests(p[place], method="fdr_bh")[1] if shape[1] else np.zeros(0)
        hit = np.flatnonzero((q <= alpha) & (a[place] > 0))
        hit = hit[np.argsort(q[hit], kind="stable")][: None if all_types else KEPT]
        for t in hit:
            row = {"feature": feature, "type": names[tested[t]], "p": p[place, t]}
            row |= {"odds_ratio": odds[place, t], "n_top": a[place, t], "n_total": size[tested[t]]}
            rows.append(row | {"frac_top": round(a[place, t] / n_top[place], 4), "q": q[t]})
    columns = ["feature", "type", "p", "odds_ratio", "n_top", "n_total", "frac_top", "q"]
    return PublishedCellTypes(
        pd.DataFrame({"feature": features, "active": active[features], "top": n_top}),
        pd.DataFrame(rows, columns=columns),
    )


class Groups(NamedTuple):
    """Cells of one type of one donor, D donors and T types; only donors with two types are kept."""

    means: np.ndarray
    """float64 (D, T, m) mean activation over all tokens of the group's cells, NaN without one"""
    cells: np.ndarray
    """int64 (D, T)"""
    donors: tuple[str, ...]
    types: tuple[str, ...]


def groups(
    total: np.ndarray,
    tokens: np.ndarray,
    donor: np.ndarray,
    types: np.ndarray,
    min_cells: int,
) -> Groups:
    """Group cells. ``total`` (cells, m): summed activation; ``tokens`` (cells,): tokens of each;
    ``donor``, ``types`` (cells,): object labels, missing where unknown. Groups of fewer than
    ``min_cells`` cells are left out, then donors with one type."""
    known = ~(pd.isna(donor) | pd.isna(types))
    donors, of = np.unique(np.asarray(donor, dtype=str)[known], return_inverse=True)
    names, label = np.unique(np.asarray(types, dtype=str)[known], return_inverse=True)
    shape = (len(donors), len(names))
    place = of * len(names) + label
    rows = int(known.sum())
    member = sp.csr_matrix(
        (np.ones(rows), (place, np.arange(rows))), shape=(shape[0] * shape[1], rows)
    )
    cells = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    weight = np.asarray(member @ tokens[known].astype(np.float64)).reshape(shape)
    sums = np.asarray(member @ total[known]).reshape(*shape, total.shape[1])
    kept = cells >= min_cells
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(kept[..., None], sums / weight[..., None], np.nan)
    rows_kept = kept.sum(1) >= 2
    columns_kept = kept[rows_kept].any(0)
    return Groups(
        means[rows_kept][:, columns_kept],
        np.where(kept, cells, 0)[rows_kept][:, columns_kept],
        tuple(donors[rows_kept]),
        tuple(names[columns_kept]),
    )


def why_not(donor: np.ndarray | None, types: np.ndarray | None, least: int) -> str | None:
    """Why donors cannot be compared, or None; ``donor``, ``types`` (cells,): labels or None."""
    if types is None or pd.isna(types).all():
        return "the data set names no cell type"
    if donor is None or pd.isna(donor).all():
        return "the data set names no donor, so cells are not independent"
    labels = pd.Series(donor)[~pd.isna(types)].dropna()
    donors = sorted(map(str, labels.unique()))
    if len(donors) < least:
        named = "1 donor has" if len(donors) == 1 else f"{len(donors)} donors have"
        return f"{named} cell types ({', '.join(donors[:5])}); {least} are needed"
    return None


def type_tests(means: np.ndarray, least: int) -> tuple[np.ndarray, list[TTest]]:
    """One test per type with ``least`` donors: its mean less the mean of the donor's other types,
    moderated t of the donors' differences. ``means`` (D, T, m); returns the types tested and their
    tests over the m features.

    Each donor gives one difference, so that what varies between donors, and with it between cells
    of one donor, is in the error. Variances are shrunk along mean activation (limma-trend). p is
    one-sided, as published: a feature marks the types in which it is strong. (What marks one type
    is weak in all others, of permuted labels too.)
    """
    known = np.isfinite(means[..., :1]).all(2)
    filled = np.where(known[..., None], means, 0.0)
    whole, number = filled.sum(1), known.sum(1)
    tested, found = [], []
    for t in range(means.shape[1]):
        rows = np.flatnonzero(known[:, t] & (number > 1))
        if len(rows) < least:
            continue
        others = (whole[rows] - filled[rows, t]) / (number[rows, None] - 1)
        level = log_mean((whole[rows] / number[rows, None]).mean(0))
        test = moderated_one_sample(filled[rows, t] - others, level)
        found.append(test._replace(p=np.where(test.t > 0, test.p / 2, 1 - test.p / 2)))
        tested.append(t)
    return np.array(tested, np.int64), found


def type_table(groups: Groups, features: np.ndarray, least: int) -> pd.DataFrame:
    """Types of ``features`` (m,): columns feature, type, donors, estimate (mean of the type less
    that of the donor's others, in units of activation), low, high (95 %), t, df, p (one-sided), q
    (Benjamini-Hochberg over features x types)."""
    tested, tests = type_tests(groups.means, least)
    parts = []
    for t, test in zip(tested, tests):
        low, high = test.interval()
        columns = {"feature": features, "type": groups.types[t]}
        columns |= {"donors": int(np.isfinite(groups.means[:, t, 0]).sum())}
        columns |= {"estimate": test.estimate, "low": low, "high": high}
        parts.append(pd.DataFrame({**columns, "t": test.t, "df": test.df, "p": test.p}))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    return table.assign(q=_bh(table.p.to_numpy()))


def share_found(means: np.ndarray, least: int, alpha: float) -> float:
    """Share of the m features with a type at q < alpha over features x types."""
    _, tests = type_tests(means, least)
    if not tests or not means.shape[2]:
        return 0.0
    p = np.stack([test.p for test in tests])
    return float((_bh(p.ravel()).reshape(p.shape) < alpha).any(0).mean())


def permuted_shares(
    means: np.ndarray, least: int, alpha: float, draws: int, seed: int
) -> np.ndarray:
    """(draws,) `share_found` where, within every donor, the labels of its types are dealt out anew
    to its groups of cells: cells of one type stay together. ``means`` (D, T, m)."""
    rng = np.random.default_rng(seed)
    shares = np.empty(draws)
    known = np.isfinite(means[..., :1]).all(2)
    for draw in range(draws):
        moved = means.copy()
        for donor, present in enumerate(known):
            own = np.flatnonzero(present)
            moved[donor, own] = means[donor, rng.permutation(own)]
        shares[draw] = share_found(moved, least, alpha)
    return shares


def _bh(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg; a test that could not be made (NaN) counts with p = 1."""
    return np.asarray(multipletests(np.where(np.isfinite(p), p, 1.0), method="fdr_bh")[1])
