"""Do the codes of knocked-down cells move? As published, and as a moderated t over cells of every
target and feature at once.

As published (`BS:src/09_perturbation_response.py:281-427`) an effect is the difference of mean
activation over positions in units of the control positions' standard deviation, whose variance is
floored at 1e-10: one firing of a feature that is silent in controls gives an effect of 80.

Corrected, the unit is the cell. y_cf is the mean activation of feature f over the positions of cell
c, and y = batch + covariates + b_p [c is a cell of target p] is fitted for each target on its own
cells and all controls. All these fits need only sums over groups of cells of x xᵀ, x y and y²,
which one pass over the cells collects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.contrast.inference import TTest, fit_priors, p_of_many, squeezed, t_test
from petriscope.contrast.results import adjust
from petriscope.errors import UserError
from petriscope.sae.codes import Codes

VARIANCE_FLOOR = 1e-10
"""of the published effect (`BS:src/09:425`)"""
TOP_CHANGED = 20
LEAST_LISTED = 0.1
"""|effect| below which the published list ends"""
LEAST_RESPONDING = 0.5
"""|effect| beyond which a feature is called responding, as published"""
_CELLS_AT_ONCE = 128
"""as many rows of a thousand features as the second cache holds"""
_ENTRIES_AT_ONCE = 1 << 17


class Baseline(NamedTuple):
    """Published statistics of the control positions; arrays (F,)."""

    mean: np.ndarray
    variance: np.ndarray
    frequency: np.ndarray

    @classmethod
    def of(cls, codes: Codes) -> Baseline:
        """Of all positions of ``codes``."""
        value, feature, n = np.asarray(codes.values, np.float64), codes.indices, max(1, codes.n)
        mean = np.bincount(feature, value, codes.m) / n
        square = np.bincount(feature, value**2, codes.m) / n
        fires = np.bincount(feature[value > 0], minlength=codes.m) / n
        return cls(mean, square - mean**2, fires)


class PublishedResponse(NamedTuple):
    """What was published of one target."""

    target: str
    positions: int
    effect: np.ndarray
    """(F,)"""
    changed: np.ndarray
    """at most 20 features of largest |effect|, those of .1 or more"""
    frequency: np.ndarray
    """(F,) share of the perturbed cells' positions on which each fires"""
    own: np.ndarray
    """bool, of ``changed``: the target is among the feature's top genes"""
    known: np.ndarray
    """int, of ``changed``: known targets among the feature's top genes"""

    @property
    def responding(self) -> np.ndarray:
        """Features of ``changed`` beyond .5."""
        return self.changed[np.abs(self.effect[self.changed]) > LEAST_RESPONDING]

    @property
    def specific(self) -> int:
        """Responding features whose top genes hold the target or a known target of it."""
        beyond = np.abs(self.effect[self.changed]) > LEAST_RESPONDING
        return int((beyond & (self.own | (self.known > 0))).sum())


def published_responses(
    baseline: Baseline,
    perturbed: Mapping[str, Codes],
    top_genes: Mapping[int, set[str]],
    known_targets: Mapping[str, set[str]],
) -> list[PublishedResponse]:
    """Each target's effects, its twenty most changed features, and which of them are specific.

    Parameters
    ----------
    baseline : Baseline
        Of control positions.
    perturbed : mapping of str to Codes
        Target to the codes of its cells' gene positions.
    top_genes : mapping of int to set of str
        Feature to its top genes, as the catalog lists them.
    known_targets : mapping of str to set of str
        Target to the genes a network names for it.

    Notes
    -----
    Source: `BS:src/09_perturbation_response.py:420-480`.
    """
    scale = np.sqrt(np.maximum(baseline.variance, VARIANCE_FLOOR))
    found = []
    for target, codes in perturbed.items():
        mine = Baseline.of(codes)
        effect = (mine.mean - baseline.mean) / scale
        first = np.argsort(-np.abs(effect), kind="stable")[:TOP_CHANGED]
        changed = first[np.abs(effect[first]) >= LEAST_LISTED]
        listed = [top_genes.get(int(feature), set()) for feature in changed]
        regulon = known_targets.get(target, set())
        own = np.array([target in genes for genes in listed], bool)
        known = np.array([len(genes & regulon) for genes in listed], np.int64)
        found.append(
            PublishedResponse(target, codes.n, effect, changed, mine.frequency, own, known)
        )
    return found


class Chance(NamedTuple):
    """TFs with a specific response by the published rule when features are drawn at random."""

    found: int
    tfs: int
    expected: float
    low: float
    """5 % of draws"""
    high: float
    """95 %"""
    p: float
    """share of draws with as many TFs or more, the data counted"""


def published_chance(
    responses: Sequence[PublishedResponse],
    top_genes: Mapping[int, set[str]],
    known_targets: Mapping[str, set[str]],
    alive: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Chance:
    """The published count of TFs with a specific response, beside that of as many features drawn
    from ``alive`` for each TF."""
    rng = np.random.default_rng(seed)
    tfs = [response for response in responses if response.target in known_targets]
    count = np.zeros(draws, np.int64)
    for response in tfs:
        wanted = known_targets[response.target] | {response.target}
        hit = np.array([bool(top_genes.get(int(f), set()) & wanted) for f in alive], bool)
        few = min(len(response.responding), len(alive))
        if few:
            # without replacement, so that the share of draws without a hit is hypergeometric
            hits = rng.hypergeometric(int(hit.sum()), int((~hit).sum()), few, draws)
            count += hits > 0
    found = sum(response.specific > 0 for response in tfs)
    low, high = np.quantile(count, [0.05, 0.95]) if draws else (np.nan, np.nan)
    p = (1 + int((count >= found).sum())) / (1 + draws)
    return Chance(found, len(tfs), float(count.mean()), float(low), float(high), p)


class CellMeans(NamedTuple):
    """Mean activation of each feature over the gene positions of each cell."""

    means: sp.csr_matrix
    """float64 (n, F) y_cf"""
    fires: sp.csr_matrix
    """int64 (n, F) positions of the cell on which the feature fires"""
    tokens: np.ndarray
    """int64 (n,) gene positions used of each cell"""

    def rows(self, rows: np.ndarray) -> CellMeans:
        """Some of the cells."""
        return CellMeans(self.means[rows], self.fires[rows], self.tokens[rows])


def cell_means(codes: Codes, cell: np.ndarray, cells: int, rows: np.ndarray) -> CellMeans:
    """Means over the ``rows`` (bool, n) of ``codes``, row i of which lies in cell ``cell[i]``; a
    cell without rows has means of 0."""
    tokens = np.bincount(cell[rows], minlength=cells)
    of_entry = np.repeat(np.where(rows, cell, -1), np.diff(codes.indptr))
    kept = of_entry >= 0
    place = (of_entry[kept], np.asarray(codes.indices)[kept])
    value = np.asarray(codes.values, np.float64)[kept] / np.maximum(tokens, 1)[place[0]]
    shape = (cells, codes.m)
    means = sp.coo_matrix((value, place), shape).tocsr()
    fires = sp.coo_matrix((np.ones(len(value), np.int64), place), shape).tocsr()
    return CellMeans(means, fires, tokens)


class Cohort(NamedTuple):
    """Whose cells they are; arrays over n cells."""

    group: np.ndarray
    """int: 0 control, 1…P a target, -1 neither"""
    targets: tuple[str, ...]
    """names of groups 1…P"""
    batch: np.ndarray
    """int, from 0"""
    covariates: np.ndarray
    """float (n, c): what the mean of a cell may depend on beside its target"""

    @property
    def control(self) -> np.ndarray:
        """Rows of control cells."""
        return np.flatnonzero(self.group == 0)

    def sizes(self) -> np.ndarray:
        """(P,) cells of each target."""
        return np.bincount(self.group[self.group > 0], minlength=len(self.targets) + 1)[1:]

    def nuisance(self) -> np.ndarray:
        """(n, q) an indicator for each batch, and the covariates in units of their spread."""
        batches = np.eye(int(self.batch.max(initial=0)) + 1)[self.batch]
        used = self.group >= 0
        centered = self.covariates - self.covariates[used].mean(0)
        spread = centered[used].std(0)
        varies = spread > 1e-9 * np.maximum(1.0, np.abs(self.covariates[used]).max(0, initial=0))
        return np.concatenate([batches, centered[:, varies] / spread[varies]], axis=1)


def cohort(
    obs: pd.DataFrame, control: str, *, min_cells: int, cells: np.ndarray | None = None
) -> Cohort | str:
    """Control cells and targets of at least ``min_cells`` cells, or why there are none.

    obs: a row per cell with ``target``, ``n_genes``, ``n_counts`` and, where known, ``batch``.
    cells: bool, those that may be used (None: all). Covariates are detected genes and the
    logarithm of the depth.
    """
    if "target" not in obs:
        return "the data set names no perturbation (no column target)"
    target = obs.target.astype("object").where(obs.target.notna(), "").astype(str).to_numpy()
    usable = np.ones(len(obs), bool) if cells is None else np.asarray(cells, bool)
    count = pd.Series(target[usable]).value_counts()
    if count.get(control, 0) < min_cells:
        return f"{count.get(control, 0)} control cells ({control}); {min_cells} are needed"
    names = sorted(n for n, found in count.items() if n not in ("", control) and found >= min_cells)
    if not names:
        return f"no target has {min_cells} cells"
    number = {control: 0} | {name: place for place, name in enumerate(names, start=1)}
    group = np.array([number.get(name, -1) for name in target])
    group[~usable] = -1
    batch = np.zeros(len(obs), np.int64)
    if "batch" in obs and obs.batch.notna().any():
        batch = pd.factorize(obs.batch.astype(str), sort=True)[0]
    depth = np.log(np.maximum(obs.n_counts.to_numpy(np.float64), 1))
    covariates = np.stack([obs.n_genes.to_numpy(np.float64), depth], axis=1)
    return Cohort(group, tuple(names), batch, covariates)


class GroupSums(NamedTuple):
    """Sums over the cells of each group, with q nuisance columns: all that the fits read."""

    cells: np.ndarray
    """(P + 1,)"""
    x: np.ndarray
    """(P + 1, q) Σ x"""
    xx: np.ndarray
    """(P + 1, q, q) Σ x xᵀ"""
    xy: np.ndarray
    """(P + 1, q, F) Σ x y"""
    y: np.ndarray
    """(P + 1, F) Σ y"""
    yy: np.ndarray
    """(P + 1, F) Σ y²"""


def group_sums(means: Any, group: np.ndarray, nuisance: np.ndarray) -> GroupSums:
    """One pass over the cells of y (n, F), dense or scipy CSR, group by group: at most
    ``_CELLS_AT_ONCE`` rows are held dense."""
    groups, (n, q) = int(group.max()) + 1, nuisance.shape
    width = means.shape[1]
    size = np.bincount(group[group >= 0], minlength=groups)
    x_sum, xx = np.zeros((groups, q)), np.zeros((groups, q, q))
    xy, yy = np.zeros((groups, q + 1, width)), np.zeros((groups, width))
    extended = np.column_stack([nuisance, np.ones(n)])
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(groups + 1))
    for number in range(groups):
        mine = order[first[number] : first[number + 1]]
        x_sum[number], xx[number] = nuisance[mine].sum(0), nuisance[mine].T @ nuisance[mine]
    held = np.empty((_CELLS_AT_ONCE, width))
    for start in range(first[0], n, _CELLS_AT_ONCE):
        rows = order[start : start + _CELLS_AT_ONCE]
        part = means[rows]
        dense = part.toarray(out=held[: len(rows)]) if sp.issparse(part) else np.asarray(part)
        for number in range(group[rows[0]], group[rows[-1]] + 1):
            low, high = np.clip(first[number : number + 2] - start, 0, len(rows))
            mine = dense[low:high]
            xy[number] += extended[rows[low:high]].T @ mine
            yy[number] += np.einsum("ij,ij->j", mine, mine)
    return GroupSums(size, x_sum, xx, xy[:, :q], xy[:, q], yy)


class Responses(NamedTuple):
    """The moderated t of every target (P) and feature (F); NaN where not tested."""

    estimate: np.ndarray
    """(P, F) mean over cells, target minus control, within batch and given the covariates"""
    t: np.ndarray
    p: np.ndarray
    q: np.ndarray
    """Benjamini-Hochberg over all tested pairs: one family"""
    tested: np.ndarray
    """(F,) bool: fires in enough control cells"""
    targets: tuple[str, ...]

    def responding(self, target: int, alpha: float) -> np.ndarray:
        """Features with q below ``alpha`` for a target (its place in ``targets``)."""
        return np.flatnonzero(np.nan_to_num(self.q[target], nan=1.0) < alpha)


def responses(cells: CellMeans, who: Cohort, *, min_control_firing: int) -> Responses:
    """Test every target against the controls.

    A feature is tested that fires in ``min_control_firing`` control cells or more: one that is
    silent in controls has no variance to be judged by, and gave the published result.
    """
    fires = np.asarray((cells.fires[who.control] > 0).sum(0)).ravel()
    tested = fires >= min_control_firing
    if not tested.any():
        raise UserError(
            f"no feature fires in {min_control_firing} control cells",
            field="perturbation.min_control_firing_cells",
            remedy="Use more control cells, or a smaller number.",
        )
    sums = group_sums(cells.means[:, np.flatnonzero(tested)], who.group, who.nuisance())
    shape = (len(who.targets), len(tested))
    estimate, t, p = (np.full(shape, np.nan) for _ in range(3))
    test = moderated_fits(sums)
    estimate[:, tested], t[:, tested], p[:, tested] = test.estimate, test.t, test.p
    return Responses(estimate, t, p, adjust(p, "bh"), tested, who.targets)


class Fits(NamedTuple):
    """Least squares of P targets, each against the controls; NaN for a target that shares no batch
    with the controls, or leaves too few cells to estimate a variance."""

    estimate: np.ndarray
    """(P, F) coefficient of the target"""
    variance: np.ndarray
    """(P, F) of the residuals"""
    scale: np.ndarray
    """(P,) the coefficient's variance in units of it"""
    df: np.ndarray
    """(P,) residual degrees of freedom"""


def moderated_fits(sums: GroupSums) -> TTest:
    """The moderated t of each target, arrays (P, F).

    A target's variances are shrunk toward that of all tested features (Smyth 2004; `fit_prior`).
    """
    targets, width = len(sums.cells) - 1, sums.y.shape[1]
    found = TTest(*(np.full((targets, width), np.nan) for _ in TTest._fields))
    step = max(1, _ENTRIES_AT_ONCE // max(width, 1))
    for start in range(0, targets, step):
        part = plain_fits(sums, slice(start, start + step))
        fitted = np.flatnonzero(np.isfinite(part.df))
        estimate, variance, scale, df = (values[fitted] for values in part)
        prior = fit_priors(variance, df)
        total = np.minimum(prior.df + df, df * float(width))
        error = np.sqrt(squeezed(variance, df, prior) * scale[:, None])
        test = t_test(estimate, error, np.broadcast_to(total[:, None], error.shape), p_of_many)
        for into, values in zip(found, test, strict=True):
            into[start + fitted] = values
    return found


def plain_fits(sums: GroupSums, targets: slice = slice(None)) -> Fits:
    """Least squares of some of the targets (all of them unless given), each against the
    controls."""
    mine = GroupSums(*(values[1:][targets] for values in sums))
    a, b = sums.xx[0] + mine.xx, sums.xy[0] + mine.xy
    known = np.isfinite(a).all((1, 2))
    a = np.where(known[:, None, None], a, 0.0)
    # the target's indicator, projected off the nuisance columns (Frisch, Waugh and Lovell)
    own = mine.x[:, None, :]
    inverse = np.linalg.pinv(a, hermitian=True)
    rank = np.linalg.matrix_rank(a, hermitian=True)
    left = mine.cells - (own @ inverse @ own.transpose(0, 2, 1))[:, 0, 0]
    df = sums.cells[0] + mine.cells - rank - 1.0
    known &= (mine.cells > 0) & (left > 1e-8 * mine.cells) & (df >= 1)
    left, df = np.where(known, left, np.nan), np.where(known, df, np.nan)
    explained = inverse @ b
    estimate = (mine.y - (own @ explained)[:, 0]) / left[:, None]
    total = sums.yy[0] + mine.yy
    residual = total - (b * explained).sum(1) - left[:, None] * estimate**2
    # what rounding leaves of a constant column is no variance
    residual = np.where(residual < 1e-12 * total, 0.0, residual)
    return Fits(estimate, residual / df[:, None], 1 / left, df)


def target_position_means(
    codes: Codes, cell: np.ndarray, gene: np.ndarray, cells: int, targets: np.ndarray
) -> CellMeans:
    """Means over the positions of some genes alone (rows of the data set's genes)."""
    return cell_means(codes, cell, cells, np.isin(gene, targets))


def own_feature(shares: sp.csc_matrix, gene: int, tested: np.ndarray) -> int | None:
    """The tested feature of which a gene has the largest share of the scores, ``shares`` (F, G);
    None where it has none of any."""
    part = slice(shares.indptr[gene], shares.indptr[gene + 1])
    feature, share = shares.indices[part], shares.data[part]
    usable = tested[feature] & (share > 0)
    if not usable.any():
        return None
    return int(feature[usable][np.argmax(share[usable])])


def responses_at_targets(
    codes: Codes,
    cell: np.ndarray,
    gene: np.ndarray,
    who: Cohort,
    genes_of: Mapping[str, np.ndarray],
    *,
    min_control_firing: int,
) -> Responses:
    """As `responses`, each target's means over the positions of its own known targets alone
    (``genes_of``); targets without an entry, and cells without such a position, are left out.

    A feature is tested for a target where it fires on these positions in enough control cells.
    """
    shape = (len(who.targets), codes.m)
    estimate, t, p = (np.full(shape, np.nan) for _ in range(3))
    for row, name in enumerate(who.targets):
        if name not in genes_of:
            continue
        cells = target_position_means(codes, cell, gene, len(who.group), genes_of[name])
        group = np.where(who.group == row + 1, 1, np.where(who.group == 0, 0, -1))
        group[cells.tokens == 0] = -1
        fires = np.asarray((cells.fires[group == 0] > 0).sum(0)).ravel()
        tested = np.flatnonzero(fires >= min_control_firing)
        if not len(tested) or not (group == 1).any():
            continue
        mine = who._replace(group=group, targets=(name,))
        test = moderated_fits(group_sums(cells.means[:, tested], group, mine.nuisance()))
        estimate[row, tested], t[row, tested], p[row, tested] = (
            test.estimate[0],
            test.t[0],
            test.p[0],
        )
    return Responses(estimate, t, p, adjust(p, "bh"), np.isfinite(p).any(0), who.targets)
