"""Are the features that respond to a knock-down those of the transcription factor's known targets?

A regulon is what a network names for a TF. Of the features that respond to the TF's knock-down, the
shares of gene score that lie on the regulon (the TF's own gene excluded) are averaged, and held
against 1,000 sets of genes matched on token count and in-degree, and against the other TFs'
regulons. How much could have been found at this number of cells is answered by planted regulons:
control cells in which 1, 2, 4 or 8 genes of a known regulon are made to vanish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy import stats as st

from petriscope.contrast.results import adjust
from petriscope.progress import progress
from petriscope.sae.codes import Codes
from petriscope.studies.cells.data.dataset import SIGNS
from petriscope.studies.cells.gene_table import GeneTable, gene_table
from petriscope.studies.cells.matching import matched_genes, share_as_large
from petriscope.studies.cells.perturbation import (
    CellMeans,
    Cohort,
    Responses,
    cell_means,
    responses,
)

LEAST_GENES = 3
"""known targets that must be measured"""
KNOCKED = 0.85
"""share of a planted gene's tokens that vanish: the knock-down of a TF leaves 15 %"""
POWER = 0.8
"""at which a difference is called detectable"""


class Regulon(NamedTuple):
    """The known targets of a TF; genes are rows of the data set's genes."""

    name: str
    tf: int
    """-1 where its own gene is not measured"""
    genes: np.ndarray
    """without the TF itself, ascending"""
    sign: np.ndarray
    """+1 activated, -1 repressed, 0 not known"""


def directed(networks: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The networks that say which gene regulates which (some edge has a sign), gene names in upper
    case; one of mere pairs, such as STRING, names no regulon."""
    return {
        name: frame.assign(
            source=frame.source.astype(str).str.upper(), target=frame.target.astype(str).str.upper()
        )
        for name, frame in networks.items()
        if "sign" in frame and (frame.sign.fillna(0) != 0).any()
    }


def why_no_regulons(networks: Mapping[str, pd.DataFrame]) -> str:
    """Why `regulons_of` found none in the networks of a data set, directed or not."""
    if not networks:
        return "the data set has no network"
    names = ", ".join(networks)
    known = directed(networks)
    if not known:
        which = f"the network {names} gives" if len(networks) == 1 else f"the networks {names} give"
        return (
            f"{which} no edge a sign (column {', '.join(SIGNS)}), so that nothing tells which "
            "gene regulates which"
        )
    return (
        f"no network with signs ({', '.join(known)}) names {LEAST_GENES} measured "
        "targets of a knocked-down gene"
    )


def regulons_of(
    networks: Mapping[str, pd.DataFrame], names: Sequence[str], tfs: Sequence[str]
) -> list[Regulon]:
    """The regulons of ``tfs`` in the union of directed networks (columns source, target, sign),
    among measured genes; those with fewer than ``LEAST_GENES`` are left out.

    A pair that networks sign differently has sign 0.
    """
    place = {name: row for row, name in enumerate(names)}
    wanted = {str(tf) for tf in tfs}
    found: dict[str, dict[int, set[int]]] = {}
    for frame in networks.values():
        sign = frame.sign if "sign" in frame else pd.Series(0, frame.index)
        for source, target, value in zip(frame.source, frame.target, sign):
            row = place.get(target)
            if source in wanted and row is not None and target != source:
                known = 0 if pd.isna(value) else int(np.sign(value))
                found.setdefault(source, {}).setdefault(row, set()).add(known)
    regulons = []
    for tf in sorted(found):
        genes = np.array(sorted(found[tf]))
        signs = [found[tf][gene] - {0} for gene in genes]
        sign = np.array([next(iter(s)) if len(s) == 1 else 0 for s in signs])
        if len(genes) >= LEAST_GENES:
            regulons.append(Regulon(tf, place.get(tf, -1), genes, sign))
    return regulons


def degrees(networks: Mapping[str, pd.DataFrame], names: Sequence[str]) -> np.ndarray:
    """(G,) in how many sources' targets each gene stands, over the union of the networks."""
    pairs = {
        (source, target)
        for frame in networks.values()
        for source, target in zip(frame.source, frame.target)
    }
    count = pd.Series([target for _, target in pairs], dtype=object).value_counts()
    return count.reindex(list(names)).fillna(0).to_numpy(np.float64)


def gene_scores(table: GeneTable, min_fires: int) -> sp.csr_matrix:
    """(F, G) Σ z over the tokens of a gene / (n_g + n₀), n₀ the median n_g; 0 where the feature
    fires on fewer than ``min_fires`` of them. A gene seen twice cannot lead a feature."""
    tokens = table.tokens.astype(np.float64)
    seen = tokens[tokens > 0]
    shrunk = tokens + (float(np.median(seen)) if len(seen) else 1.0)
    score = sp.csr_matrix(table.total, dtype=np.float64, copy=True)
    score.data = np.where(table.fires.data >= min_fires, score.data / shrunk[score.indices], 0.0)
    score.eliminate_zeros()
    return score


def score_shares(score: sp.csr_matrix) -> sp.csr_matrix:
    """Scores (F, G) as shares of each feature's total, so that every feature counts alike."""
    total = np.asarray(score.sum(1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.where(total > 0, total, 1.0)) @ score)


class Specific(NamedTuple):
    """One TF's responding features and its regulon."""

    name: str
    features: int
    """that respond"""
    genes: int
    """of the regulon"""
    share: float
    """mean share of score on a gene of the regulon; NaN without responding features"""
    null: float
    """mean of the matched sets"""
    p: float
    """against the matched sets; 1 without responding features, which cannot name a regulon"""
    swap_p: float
    """share of regulons, its own counted, on which these features score as high or higher"""


def regulon_specificity(
    shares: sp.csr_matrix,
    responding: Mapping[str, np.ndarray],
    regulons: Sequence[Regulon],
    axes: np.ndarray,
    usable: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> list[Specific]:
    """Test each regulon whose TF has an entry in ``responding`` (features, possibly none).

    shares: (F, G). axes: (G, a) what a random regulon is matched on. usable: bool (G,), genes that
    may stand in one.
    """
    found = []
    pool = np.flatnonzero(usable)
    for number, mine in enumerate(regulons):
        features = responding.get(mine.name)
        genes = mine.genes[usable[mine.genes]]
        own = np.array([mine.tf])
        rest = np.setdiff1d(pool, own)
        if features is None or len(genes) < LEAST_GENES or len(rest) < 2 * len(genes):
            continue
        if not len(features):
            found.append(Specific(mine.name, 0, len(genes), np.nan, np.nan, 1.0, 1.0))
            continue
        level = np.asarray(shares[features].mean(0)).ravel()
        sets = matched_genes(genes, axes, rest, draws, seed + number)
        value, null = float(level[genes].mean()), level[sets].mean(1)
        others = [
            float(level[np.setdiff1d(other.genes[usable[other.genes]], own)].mean())
            for other in regulons
            if other is not mine and len(np.setdiff1d(other.genes[usable[other.genes]], own))
        ]
        found.append(
            Specific(
                mine.name,
                len(features),
                len(genes),
                value,
                float(null.mean()),
                share_as_large(null, value),
                share_as_large(np.array(others), value),
            )
        )
    return found


class Share(NamedTuple):
    """k of n with its exact 95 % interval."""

    k: int
    n: int
    low: float
    high: float


def exact_share(k: int, n: int, level: float = 0.95) -> Share:
    """Clopper-Pearson limits of a share."""
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    found = st.binomtest(k, n).proportion_ci(level, method="exact")
    return Share(k, n, float(found.low), float(found.high))


@dataclass(frozen=True)
class SpecificCount:
    """How many TFs' responding features are those of their regulon."""

    specific: int
    """q below alpha over TFs (Benjamini-Hochberg)"""
    tfs: int
    low: float
    """exact 95 % limits of their share"""
    high: float
    nominal: int
    """p below alpha"""
    chance: float
    """TFs that chance gives a p below alpha, at most"""
    nominal_p: float
    """binomial: as many p below alpha by chance"""
    responding_tfs: int
    """TFs to whose knock-down any feature responds"""


def counted(found: Sequence[Specific], alpha: float) -> SpecificCount:
    """Count over TFs."""
    p = np.array([one.p for one in found])
    specific = int((adjust(p, "bh") < alpha).sum()) if len(p) else 0
    share = exact_share(specific, len(p))
    nominal = int((p < alpha).sum())
    by_chance = float(st.binom.sf(nominal - 1, len(p), alpha)) if len(p) else 1.0
    responding = sum(one.features > 0 for one in found)
    return SpecificCount(
        specific, len(p), share.low, share.high, nominal, alpha * len(p), by_chance, responding
    )


class Material(NamedTuple):
    """Cells whose codes are looked at: those of one layer of one model."""

    codes: Codes
    gene: np.ndarray
    """(N,) gene of each token, -1 special"""
    cell: np.ndarray
    """(N,) cell of each token"""


class Asked(NamedTuple):
    """How responding features are found and judged."""

    min_fires: int
    """firings on a gene that a score needs"""
    min_tokens: int
    """tokens of a gene that may stand in a regulon"""
    min_control_firing: int
    draws: int
    """matched sets"""
    alpha: float
    seed: int


@dataclass(frozen=True)
class Responded:
    """A and B of one dictionary."""

    cells: CellMeans
    responses: Responses
    table: GeneTable
    """of the cells that the gene scores are taken from"""
    shares: sp.csr_matrix
    """(F, G) gene scores as shares"""
    axes: np.ndarray
    """(G, 2) logarithm of token counts, and in-degree"""
    usable: np.ndarray
    """bool (G,)"""
    specific: list[Specific]
    count: SpecificCount

    def of(self, target: str, alpha: float) -> np.ndarray:
        """Features that respond to a target."""
        return self.responses.responding(self.responses.targets.index(target), alpha)


def respond(
    material: Material,
    who: Cohort,
    scored: np.ndarray,
    regulons: Sequence[Regulon],
    degree: np.ndarray,
    asked: Asked,
) -> Responded:
    """Responding features of every target, and which TFs' are specific.

    scored: bool (cells,), the unperturbed cells on which gene scores are taken. degree: (G,).
    """
    real = material.gene >= 0
    cells = cell_means(material.codes, material.cell, len(who.group), real)
    response = responses(cells, who, min_control_firing=asked.min_control_firing)
    table = gene_table(material.codes, material.gene, len(degree), scored[material.cell])
    shares = score_shares(gene_scores(table, asked.min_fires))
    axes = np.column_stack([np.log1p(table.tokens), degree])
    usable = table.tokens >= asked.min_tokens
    responding = {
        name: response.responding(row, asked.alpha) for row, name in enumerate(who.targets)
    }
    specific = regulon_specificity(
        shares, responding, regulons, axes, usable, draws=asked.draws, seed=asked.seed
    )
    count = counted(specific, asked.alpha)
    return Responded(cells, response, table, shares, axes, usable, specific, count)


def planted_power(
    material: Material,
    found_on: Responded,
    who: Cohort,
    regulons: Sequence[Regulon],
    asked: Asked,
    *,
    sizes: Sequence[int],
    tries: int,
) -> pd.DataFrame:
    """How often a planted regulon is found, by how many of its genes move.

    In each try a regulon is drawn; as many control cells as its TF has are set aside, and of the
    tokens of 1, 2, … of its genes 85 % are taken away. The other controls stay controls. Then
    everything is done that is done for a knock-down: responding features by q below alpha over
    features, and the regulon against matched ones. Found: p at alpha over the number of TFs
    (Bonferroni, as for one TF among many that do nothing).

    Columns: genes, tries, found, power, low, high (exact), responding (mean number of features).
    """
    cells, shares, axes, usable = (
        getattr(found_on, name) for name in ("cells", "shares", "axes", "usable")
    )
    draws, alpha = asked.draws, asked.alpha
    rng = np.random.default_rng(asked.seed)
    size_of = dict(zip(who.targets, who.sizes()))
    usual = int(np.median(who.sizes()))
    where = material.gene >= 0
    controls = who.control
    able = [one for one in regulons if usable[one.genes].sum() >= LEAST_GENES]
    rows = []
    for count in sizes:
        found, responding, made = 0, 0, 0
        for _ in progress(range(tries if able else 0), f"planted regulons of {count}", unit="try"):
            mine = able[int(rng.integers(len(able)))]
            many = min(size_of.get(mine.name, usual), len(controls) // 2)
            aside = rng.choice(controls, many, replace=False)
            genes = mine.genes[usable[mine.genes]]
            genes = rng.choice(genes, min(count, len(genes)), replace=False)
            lost = np.isin(material.cell, aside) & np.isin(material.gene, genes)
            lost &= rng.random(len(lost)) < KNOCKED
            moved, asided = _planted(material, cells, who, aside, where & ~lost, lost)
            response = responses(moved, asided, min_control_firing=asked.min_control_firing)
            features = response.responding(0, alpha)
            one = regulon_specificity(
                shares,
                {mine.name: features},
                [mine],
                axes,
                usable,
                draws=draws,
                seed=int(rng.integers(2**31)),
            )
            if not one:
                continue
            made += 1
            responding += len(features)
            limit = max(alpha / max(1, len(able)), 1.5 / (1 + draws))
            found += one[0].p <= limit
        share = exact_share(found, made)
        rows.append(
            {"genes": int(count), "tries": made, "found": found}
            | {"power": found / made if made else np.nan, "low": share.low, "high": share.high}
            | {"responding": responding / made if made else np.nan}
        )
    return pd.DataFrame(rows)


def _planted(
    material: Material,
    cells: CellMeans,
    who: Cohort,
    aside: np.ndarray,
    kept: np.ndarray,
    lost: np.ndarray,
) -> tuple[CellMeans, Cohort]:
    """Means with the planted cells' tokens gone, and the cohort in which these are the target."""
    place = np.full(len(who.group), -1)
    place[aside] = np.arange(len(aside))
    mine = kept & (place[material.cell] >= 0)
    some = cell_means(
        _rows(material.codes, mine),
        place[material.cell[mine]],
        len(aside),
        np.ones(mine.sum(), bool),
    )
    group = np.where(who.group == 0, 0, -1)
    group[aside] = 1
    rest = np.flatnonzero(group == 0)
    covariates = who.covariates.copy()
    covariates[:, :1] -= np.bincount(material.cell[lost], minlength=len(group))[:, None]
    means, fires = (
        sp.vstack([whole[rest], part]).tocsr()
        for whole, part in ((cells.means, some.means), (cells.fires, some.fires))
    )
    order = np.concatenate([rest, aside])
    cohort = Cohort(group[order], ("planted",), who.batch[order], covariates[order])
    return CellMeans(means, fires, np.concatenate([cells.tokens[rest], some.tokens])), cohort


def _rows(codes: Codes, rows: np.ndarray) -> Codes:
    """Some rows (bool) of codes."""
    picked = codes.scipy()[np.flatnonzero(rows)]
    return Codes(picked.indptr.astype(np.int64), picked.indices, picked.data, codes.m)


class McNemar(NamedTuple):
    """Two yes-or-no outcomes of the same TFs."""

    both: int
    gained: int
    lost: int
    neither: int
    p: float
    """exact, two-sided"""
    detectable: float | None
    """the smallest net share gained that would be found with 80 % power, if as many were lost;
    None where none would"""


def mcnemar(before: np.ndarray, after: np.ndarray, alpha: float) -> McNemar:
    """Exact test of paired outcomes, bool (n,)."""
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    both = int((before & after).sum())
    return McNemar(
        both,
        gained,
        lost,
        len(before) - both - gained - lost,
        exact_mcnemar(gained, lost),
        smallest_detectable(len(before), lost, alpha),
    )


def exact_mcnemar(gained: int, lost: int) -> float:
    """Two-sided binomial p of the discordant pairs (1 without any)."""
    return float(st.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def smallest_detectable(n: int, lost: int, alpha: float, power: float = POWER) -> float | None:
    """Smallest net gain, as a share of n pairs, that the exact test finds with ``power`` where a
    share ``lost`` / n is lost: on a grid of one pair in a hundred."""
    if not n:
        return None
    loss = lost / n
    for gain in np.arange(loss, 1 - loss + 1e-9, 0.01):
        if gain > loss and _power(n, float(gain), loss, alpha) >= power:
            return float(gain - loss)
    return None


def _power(n: int, gain: float, loss: float, alpha: float) -> float:
    """Chance that the exact test is below alpha in favor of the gain."""
    total = gain + loss
    found = 0.0
    for m in range(1, n + 1):
        gained = np.arange(m + 1)
        # two-sided exact p of g against m - g is twice the smaller tail of a fair coin
        p = np.minimum(1, 2 * st.binom.sf(gained - 1, m, 0.5))
        beyond = (gained > m - gained) & (p < alpha)
        inside = st.binom.pmf(gained[beyond], m, gain / total).sum()
        found += float(st.binom.pmf(m, n, total) * inside)
    return found
