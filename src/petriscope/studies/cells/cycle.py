"""How far a cell is in the cell cycle, as covariates: knock-downs that slow the cycle move whatever
follows it, and a feature that follows the cycle names no regulon.

A cell's score of a phase is the mean log expression of the phase's genes, each less the mean of the
genes that are as strongly expressed on average: what a cell has more of than its depth gives.
Sources: Tirosh et al. 2016 (genes of S and of G2/M, as Seurat's `cc.genes` lists them; newer
symbols stand first); the score is Seurat's `AddModuleScore` with all genes of a bin as controls in
the place of a random hundred, so that nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

S = """
MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 CENPU/MLF1IP HELLS RFC2 RPA2
NASP RAD51AP1 GMNN WDR76 SLBP CCNE2 UBR7 POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN DSCC1 BLM
CASP8AP2 USP1 CLSPN POLA1 CHAF1B BRIP1 E2F8
"""
G2M = """
HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 PIMREG/FAM64A
SMC4 CCNB2 CKAP2L CKAP2 AURKB BUB1 KIF11 ANP32E TUBB4B GTSE1 KIF20B HJURP CDCA3 JPT1/HN1 CDC20 TTK
CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5 CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN LBR CKAP5 CENPE CTCF
NEK2 G2E3 GAS2L3 CBX5 CENPA
"""
PHASES = tuple(tuple(genes.split()) for genes in (S, G2M))
LEAST = 10
"""Genes of a phase that must be measured for a score: one or two tell detection, not the cycle."""
BINS = 24
"""of mean expression, equally filled, as in `AddModuleScore`"""


@dataclass(frozen=True)
class CycleNumbers:
    """Whether knock-downs are adjusted for the cell cycle, and by how many genes."""

    adjusted: bool
    s: int
    """genes of S that are measured and no target, of ``s_of``"""
    s_of: int
    g2m: int
    g2m_of: int
    least: int
    """of either that are needed"""


class Cycle(NamedTuple):
    """Scores of the two phases."""

    scores: np.ndarray
    """(n, 2) of S and G2/M; (n, 0) where too few of their genes are measured"""
    numbers: CycleNumbers


def cell_cycle(expression: sp.csr_matrix, names: Sequence[str], without: Collection[str]) -> Cycle:
    """Scores of n cells.

    ``expression`` (n, G): log of normalized counts; ``names``: symbols of the G genes, upper case;
    ``without``: targets, which a knock-down lowers itself.
    """
    place = {name: row for row, name in reversed(list(enumerate(names)))}
    spared = {name.upper() for name in without}
    phases = [_rows(phase, place, spared) for phase in PHASES]
    found = [len(rows) for rows in phases]
    adjusted = min(found) >= LEAST
    numbers = CycleNumbers(adjusted, found[0], len(PHASES[0]), found[1], len(PHASES[1]), LEAST)
    if not adjusted:
        return Cycle(np.zeros((expression.shape[0], 0)), numbers)
    # a gene that no cell has would fill bins and tell nothing
    mean = np.asarray(expression.mean(0)).ravel()
    usable = np.flatnonzero(mean > 0)
    rank = np.argsort(np.argsort(mean[usable], kind="stable"), kind="stable")
    own = np.full(len(mean), -1)
    own[usable] = rank * BINS // len(usable)
    rest = own.copy()
    rest[np.concatenate(phases)] = -1
    rest[[place[name] for name in spared if name in place]] = -1
    scores = [_score(expression, rows[mean[rows] > 0], own, rest) for rows in phases]
    return Cycle(np.stack(scores, axis=1), numbers)


def _rows(phase: Sequence[str], place: dict[str, int], spared: set[str]) -> np.ndarray:
    """Rows of the phase's genes, each by the first of its symbols that is there."""
    rows = []
    for gene in phase:
        symbols = gene.split("/")
        known = next((place[name] for name in symbols if name in place), None)
        if known is not None and not spared & set(symbols):
            rows.append(known)
    return np.array(rows, np.int64)


def _score(
    expression: sp.csr_matrix, rows: np.ndarray, own: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """(n,) mean over ``rows`` of the expression less that of the genes of the same bin; a bin
    without other genes takes nothing away."""
    weight = np.zeros(expression.shape[1])
    for row in rows:
        weight[row] += 1 / len(rows)
        controls = np.flatnonzero(rest == own[row])
        if len(controls):
            weight[controls] -= 1 / len(rows) / len(controls)
    return np.asarray(expression @ weight)
