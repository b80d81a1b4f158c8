"""Knock-downs in silico, which alone ask what the model itself knows: in control cells the
transcription factor's token is taken out, or moved to where genes of least expression stand, and
genes that are masked are read.

C: do the known targets' readings fall more than those of matched genes, once the mean over other
TFs is taken off each gene (some genes fall whichever TF does)? That cannot tell regulation from
co-expression: both are found. D: does the predicted change over genes agree with the change
that the real knock-down makes, better than with those of other TFs, once the mean over TFs is taken
off each gene (all genes rise when one falls)? Beside D stands what plain correlation in control
cells predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import stats as st

from petriscope.contrast.results import adjust
from petriscope.parallel import in_processes
from petriscope.studies.cells.matching import matched_genes, share_as_large
from petriscope.studies.cells.readings import (
    CellTokensOf,
    PaddedWith,
    Readable,
    TokenLists,
    masked_cell,
    read_cells,
)
from petriscope.studies.cells.regulons import LEAST_GENES, Regulon

HOW = ("lowest", "deleted")
"""The token is moved behind all genes (Geneformer), into bin 1 (scGPT); or it is taken out. The
first is judged: a knock-down lowers a gene, and what a model makes of a gene's absence is another
question (scGPT is never shown a gene without counts)."""
LOWEST_BIN = 1.0
LEAST_CELLS = 10
"""control cells that must hold the TF's token"""
LEAST_READS = 3
"""of a gene, below which its change is not known"""
LEAST_TFS = 4
"""below which no own change can be told from others'"""


class Predicted(NamedTuple):
    """Change of the readings by a knock-down in silico."""

    names: tuple[str, ...]
    tf: np.ndarray
    """(P,) gene of each"""
    change: np.ndarray
    """(P, G) knocked-down minus untouched, mean over cells; NaN where too few were read"""
    cells: np.ndarray
    """(P,) control cells knocked down"""


class Virtual(NamedTuple):
    """What is knocked down in silico, and how it is read."""

    tokens: TokenLists
    padding: PaddedWith
    control: np.ndarray
    """control cells"""
    most: int
    """of them, for each TF"""
    share: float
    """of a cell's genes that are masked and read"""
    genes: int
    """G"""
    bins: bool
    """whether the model reads bins (scGPT) or ranks"""
    seed: int


def in_silico(
    model: Readable, asked: Virtual, tfs: Sequence[tuple[str, int]], how: str
) -> Predicted:
    """Knock each TF (name, gene) down in control cells whose tokens hold it.

    The masked genes of a cell are the same in all its passes; a cell in which the TF itself is one
    of them is passed over. TFs found in fewer than ``LEAST_CELLS`` cells are left out.
    """
    cells = {int(c): masked_cell(asked.tokens, c, asked.share, asked.seed) for c in asked.control}
    holding = {}
    for name, gene in tfs:
        mine = [c for c, one in cells.items() if (one.gene[~one.read] == gene).any()]
        if len(mine) >= LEAST_CELLS:
            spread = np.linspace(0, len(mine) - 1, min(asked.most, len(mine))).round().astype(int)
            holding[name, gene] = [mine[i] for i in np.unique(spread)]
    used = sorted({c for mine in holding.values() for c in mine})
    before = dict(zip(used, read_cells(model, [cells[c] for c in used], asked.padding)))

    def one(item: tuple[tuple[str, int], list[int]]) -> np.ndarray:
        (_, gene), mine = item
        knocked = [knock_down(cells[c], gene, how, asked.bins) for c in mine]
        after = read_cells(model, knocked, asked.padding)
        total, count = np.zeros(asked.genes), np.zeros(asked.genes, np.int64)
        for c, values in zip(mine, after):
            read = cells[c].gene[cells[c].read]
            np.add.at(total, read, values - before[c])
            np.add.at(count, read, 1)
        return np.where(count >= LEAST_READS, total / np.maximum(count, 1), np.nan)

    found = in_processes(one, list(holding.items()), f"knock-downs, {how}", unit="TF")
    rows = list(found)
    return Predicted(
        tuple(name for name, _ in holding),
        np.array([gene for _, gene in holding], np.int64),
        np.stack(rows) if rows else np.zeros((0, asked.genes)),
        np.array([len(mine) for mine in holding.values()], np.int64),
    )


def knock_down(cell: CellTokensOf, gene: int, how: str, bins: bool) -> CellTokensOf:
    """A cell without one gene's visible token, or with it where genes of least expression are."""
    place = int(np.flatnonzero((cell.gene == gene) & ~cell.read)[0])
    if how == "deleted":
        return cell.without(place)
    return cell.with_value(place, LOWEST_BIN) if bins else cell.moved_to_end(place)


class Fall(NamedTuple):
    """C of one TF."""

    name: str
    cells: int
    genes: int
    """known targets that were read"""
    auroc: float
    """chance that a known target falls more (rises more, where it is repressed) than another
    gene"""
    p: float
    """against matched sets"""
    mean: float
    """change of the known targets' readings beyond that by other TFs, repressed ones with their
    sign turned"""


def falls(
    predicted: Predicted,
    regulons: Sequence[Regulon],
    axes: np.ndarray,
    usable: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> list[Fall]:
    """C for every regulon whose TF was knocked down. axes: (G, a) what sets are matched on."""
    beyond = beyond_others(predicted.change)
    row_of, found = {name: row for row, name in enumerate(predicted.names)}, []
    for number, mine in enumerate(regulons):
        if mine.name not in row_of:
            continue
        row = row_of[mine.name]
        change = beyond[row]
        read = usable & np.isfinite(change)
        read[mine.tf] = False
        kept = read[mine.genes]
        genes, down = mine.genes[kept], mine.sign[kept] >= 0
        pool = np.setdiff1d(np.flatnonzero(read), genes)
        if len(genes) < LEAST_GENES or len(pool) < len(genes):
            continue
        sets = matched_genes(genes, axes, pool, draws, seed + number)
        value = float(set_auroc(change, read, genes[None], down)[0])
        null = set_auroc(change, read, sets, down)
        mean = float(np.where(down, change[genes], -change[genes]).mean())
        found.append(
            Fall(
                mine.name,
                int(predicted.cells[row]),
                len(genes),
                value,
                share_as_large(null, value),
                mean,
            )
        )
    return found


def beyond_others(change: np.ndarray) -> np.ndarray:
    """(P, G) each change less the mean of those that the other TFs make of the gene; as it is where
    no other is known."""
    known = np.isfinite(change)
    others = known.sum(0) - known
    total = np.where(known, change, 0.0).sum(0) - np.where(known, change, 0.0)
    return np.asarray(change - total / np.maximum(others, 1))


def set_auroc(
    change: np.ndarray, read: np.ndarray, sets: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """AUROC of sets (S, k) of genes against all others of ``read``, by rank sums.

    Member j counts by how far it falls, or where not ``down[j]`` by how far it rises; exact where
    all members have one direction.
    """
    rank = np.full(len(change), np.nan)
    rank[read] = st.rankdata(-change[read])
    n, k = int(read.sum()), sets.shape[1]
    own = np.where(down, rank[sets], n + 1 - rank[sets])
    return np.asarray((own.mean(1) - (k + 1) / 2) / (n - k))


@dataclass(frozen=True)
class Agreement:
    """D over TFs: does the predicted change look like the observed change of the same TF?"""

    names: tuple[str, ...]
    matrix: np.ndarray
    """(P, P) correlation over genes of prediction i with observation j, means over TFs taken off"""
    own: np.ndarray
    """(P,) its diagonal"""
    rank: np.ndarray
    """(P,) of the own observation among all, 1 the best"""
    p: float
    """swap null: share of matchings of predictions with observations whose mean is as large"""
    genes: int

    @property
    def mean(self) -> float:
        """Mean own correlation."""
        return float(self.own.mean())

    @property
    def excess(self) -> float:
        """Mean own correlation, less that with other TFs' observations."""
        n = len(self.own)
        return self.mean - float((self.matrix.sum() - self.own.sum()) / (n * (n - 1)))


def agreement(
    names: Sequence[str],
    predicted: np.ndarray,
    observed: np.ndarray,
    tf: np.ndarray,
    usable: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Agreement | None:
    """Hold predictions (P, G) against observations (P, G) of the same TFs; None with fewer than
    ``LEAST_TFS`` TFs or three genes.

    The TFs' own genes (``tf``; -1 unmeasured) are left out for all, and genes without a prediction
    for each TF.
    """
    kept = usable & np.isfinite(predicted).all(0) & np.isfinite(observed).all(0)
    kept[tf[tf >= 0]] = False
    if len(names) < LEAST_TFS or kept.sum() < 3:
        return None
    sides = [side[:, kept] - side[:, kept].mean(0) for side in (predicted, observed)]
    unit = []
    for side in sides:
        centered = side - side.mean(1, keepdims=True)
        length = np.linalg.norm(centered, axis=1, keepdims=True)
        unit.append(np.divide(centered, length, out=np.zeros_like(side), where=length > 0))
    matrix = unit[0] @ unit[1].T
    own = np.diag(matrix).copy()
    rank = 1 + (matrix > own[:, None]).sum(1)
    rng, n = np.random.default_rng(seed), len(names)
    rows = np.arange(n)
    null = np.array([matrix[rows, rng.permutation(n)].mean() for _ in range(draws)])
    p = share_as_large(null, float(own.mean()))
    return Agreement(tuple(names), matrix, own, rank, p, int(kept.sum()))


def correlation_predictor(
    expression: sp.csr_matrix, control: np.ndarray, tf: np.ndarray
) -> np.ndarray:
    """(P, G) the change that correlation predicts: minus the correlation of each gene's log
    expression with the TF's over control cells; 0 for a TF or gene that does not vary."""
    y = np.asarray(expression[control].toarray(), np.float64)
    y -= y.mean(0)
    length = np.linalg.norm(y, axis=0)
    unit = np.divide(y, length, out=np.zeros_like(y), where=length > 0)
    return -(unit[:, tf].T @ unit)


@dataclass(frozen=True)
class FallCount:
    """C over TFs."""

    tfs: int
    found: int
    """q below alpha over TFs"""
    nominal: int
    median_auroc: float | None


def count_falls(found: Sequence[Fall], alpha: float) -> FallCount:
    """Count over TFs."""
    p = np.array([one.p for one in found])
    q = adjust(p, "bh") if len(p) else p
    middle = float(np.median([one.auroc for one in found])) if found else None
    return FallCount(len(found), int((q < alpha).sum()), int((p < alpha).sum()), middle)
