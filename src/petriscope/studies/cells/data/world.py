"""The planted world of study cells is drawn here: its genes with what drives them, and its cells.

A gene's share of a cell's counts is its weight over the sum of all weights; counts are Poisson.
Genes of a programme rise and fall together, and a cell type is a mixture of programmes: that is
what a model of co-expression can learn. Transcription factors (TFs) are of three kinds, which only
a knock-down tells apart:

- encoded: the TF varies between cells and drives its targets. A model can learn it from cells that
  nobody perturbed, and a knock-down moves the targets.
- coexpressed: its known targets share its programme, and a knock-down moves none of them. A model
  of co-expression takes it for a regulator: the trap.
- silent: the TF is constant between cells, so that no model can learn its targets from them; a
  knock-down moves them. It is what the data show and a model cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.names import exactly

KINDS = ("encoded", "coexpressed", "silent")
"""Kinds of TF."""
DIFFICULTIES = ("easy", "hard")
TARGETS = 6
"""Known targets of a TF."""
KNOCK_DOWN = 0.15
"""What a knock-down leaves of the TF's mRNA."""
SPREAD, FARTHEST = 1.2, 2.0
"""Standard deviation of the log mRNA of an encoded TF between cells, and how many of them a cell
may be off."""
SLOPE = {"easy": 1.4, "hard": 1.1}
"""Log change of a target per log change of its TF."""
DEPTH = {"easy": 600.0, "hard": 200.0}
"""Median counts of a cell."""
DEPTH_SPREAD = 0.3
DONOR_SPREAD, BATCH_SPREAD = 0.15, 0.08
"""Standard deviations of the log offsets of each gene between donors and between batches."""
MAIN, OTHER = 3.0, 0.15
"""Dirichlet concentrations of a type's one or two main programmes, and of the others."""
TYPES_OF_DONOR = 4.0
"""Dirichlet concentration of the types in a donor."""
CARRIERS, CARRIED = 3, 0.4
"""Every third donor carries the donor gene, and has so many more cells of the first type: counted
by cell, the gene marks that type."""
WEIGHTS = {
    **{"encoded": 5.0, "encoded target": 0.7, "silent": 5.0, "silent target": 0.5},
    **{"programme": 14.0, "coexpressed": 40.0, "background": 0.4, "housekeeping": 10.0},
    **{"donor": 12.0, "unmapped": 6.0},
}
"""Median weights of genes; of a programme's gene, in a cell that is nothing but that programme."""
WEIGHT_SPREAD, BACKGROUND_SPREAD = 0.25, 0.5
"""Standard deviations of log weights between genes of a kind."""
FLOOR = 0.001
"""Share of a cell below which no programme falls."""
ABSENT = 0.001
"""Weight of the donor gene in a donor who does not carry it, relative to one who does."""
UNMAPPED = 2
"""Genes that no vocabulary knows."""
BATCHES = 2
TISSUES = ("marrow", "gut")
ATLAS, CONTROLS, SCREEN, SECOND = range(4)
"""Parts of the data: cells nobody touched, cells with a non-targeting guide, knock-downs, and cells
of the second tissue."""


@dataclass(frozen=True)
class DemoConfig:
    """What to simulate. The defaults are the demo that ships; tests use a smaller one."""

    seed: int = 20262
    cells: int = 4800
    """Cells of the first tissue that nobody touched."""
    controls: int = 400
    """Cells of the screen with a non-targeting guide."""
    per_target: int = 80
    """Cells with each TF knocked down; with 0 there is no screen."""
    second: int = 600
    """Cells of the second tissue, where the same genes form other programmes."""
    genes: int = 250
    """Those that no other number asks for are background, each by itself."""
    donors: int = 12
    n_types: int = 6
    """Cell types of a tissue."""
    n_programmes: int = 10
    programme_genes: int = 10
    novel: int = 2
    """Programmes left out of every gene set and network: the last ones."""
    encoded: int = 8
    coexpressed: int = 8
    silent: int = 8
    """TFs of each kind."""
    regulation: bool = True
    """Whether TFs drive their targets; else these vary as much, each by itself, and a knock-down
    moves the TF alone."""
    programmes: bool = True
    """Whether genes of a programme vary together; else as much, each by itself, and a cell type
    means nothing either."""
    types: bool = True
    """Whether labels of cell types are right; else they are shuffled within donors."""
    annotation: bool = True
    """Whether gene sets and networks know the programmes and the regulons; else they are drawn at
    random, as many and as large."""
    difficulty: str = "easy"
    """easy, or hard: fewer counts in a cell and weaker regulation."""

    def check(self) -> None:
        """Raise `UserError` naming the field that cannot be simulated."""
        lowest = {"cells": 20, "donors": 1, "n_types": 1, "n_programmes": 1}
        for field in ("seed", "controls", "per_target", "second", "novel", *KINDS):
            lowest[field] = 0
        lowest["n_programmes"] = max(1, self.coexpressed + self.novel)
        lowest["programme_genes"] = TARGETS + 1
        lowest["genes"] = self.planted_genes()
        for field, low in lowest.items():
            if getattr(self, field) < low:
                remedy = f"Give a number of at least {low}."
                raise UserError(f"is {getattr(self, field)}", field=field, remedy=remedy)
        exactly(self.difficulty, DIFFICULTIES, field="difficulty", kind="Difficulties")

    def planted_genes(self) -> int:
        """Genes that are not background."""
        regulons = (self.encoded + self.silent) * (TARGETS + 1)
        return regulons + self.n_programmes * self.programme_genes + UNMAPPED + 2


class World(NamedTuple):
    """Genes (G) and what drives them, in the order of the file."""

    genes: pd.DataFrame
    """symbol; ensembl; kind (a key of `WEIGHTS`); programme, in the first and `second` in the
    second tissue, −1 where it has none; regulator, the row of the TF that drives it, −1 where none
    does; weight"""
    tfs: pd.DataFrame
    """gene (row), kind; a TF's number is its row here"""
    targets: np.ndarray
    """int64 (TFs, 6) rows of the known targets"""

    def rows(self, kind: str) -> np.ndarray:
        """Rows of the genes of a kind."""
        return np.flatnonzero(self.genes.kind == kind)

    def members(self, programme: int) -> np.ndarray:
        """Rows of the genes of a programme of the first tissue."""
        return np.flatnonzero(self.genes.programme == programme)

    def mapped(self) -> np.ndarray:
        """bool (G,): the genes that the vocabularies know."""
        return (self.genes.kind != "unmapped").to_numpy()


class DrawnCells(NamedTuple):
    """The cells (n)."""

    obs: pd.DataFrame
    """part (`ATLAS`, `CONTROLS`, `SCREEN` or `SECOND`), tissue, donor, batch, type (the label),
    target (number of the TF, −1 where none was knocked down)"""
    counts: sp.csr_matrix
    """int32 (n, G)"""


def stream(config: DemoConfig, part: int) -> np.random.Generator:
    """An independent random stream per part, so that a change in one leaves the others' draws
    alone."""
    return np.random.default_rng([config.seed, part])


def draw_world(config: DemoConfig) -> World:
    """The genes in random order, so that neither their names nor their places tell what they
    are."""
    rng = stream(config, 0)
    planned = _planned(config)
    order = rng.permutation(len(planned))
    genes = planned.iloc[order].reset_index(drop=True)
    place = np.append(np.argsort(order), -1)
    genes["regulator"] = place[genes.regulator]
    is_tf = genes.kind.isin(KINDS).to_numpy()
    number = np.where(is_tf, is_tf.cumsum(), (~is_tf).cumsum())
    named = [f"TF{i:02d}" if tf else f"GENE{i:03d}" for i, tf in zip(number, is_tf)]
    genes.insert(0, "symbol", np.array(named, object))
    genes.insert(1, "ensembl", [f"ENSG9{i:010d}" for i in rng.permutation(len(genes)) + 1])
    spread = np.where(genes.kind == "background", BACKGROUND_SPREAD, WEIGHT_SPREAD)
    offset = spread * rng.standard_normal(len(genes))
    genes["weight"] = genes.kind.map(WEIGHTS).to_numpy(float) * np.exp(offset)
    genes["second"] = genes.programme
    for programme in range(config.n_programmes):
        members = np.flatnonzero(genes.programme == programme)
        others = (programme + 1 + np.arange(len(members))) % config.n_programmes
        genes.loc[members, "second"] = others
    tfs = np.flatnonzero(is_tf)
    targets = [_targets(rng, genes, row) for row in tfs.tolist()]
    frame = pd.DataFrame({"gene": tfs, "kind": genes.kind.to_numpy()[tfs]})
    return World(genes, frame, np.array(targets, np.int64).reshape(len(tfs), TARGETS))


def _planned(config: DemoConfig) -> pd.DataFrame:
    """kind, programme and regulator of each gene, in the order of the plan."""
    rows: list[tuple[str, int, int]] = []
    for kind in ("encoded", "silent"):
        for _ in range(getattr(config, kind)):
            tf = len(rows)
            rows += [(kind, -1, -1)] + [(f"{kind} target", -1, tf)] * TARGETS
    for programme in range(config.n_programmes):
        first = "coexpressed" if programme < config.coexpressed else "programme"
        rows += [(first, programme, -1)]
        rows += [("programme", programme, -1)] * (config.programme_genes - 1)
    rows += [("housekeeping", -1, -1), ("donor", -1, -1)] + [("unmapped", -1, -1)] * UNMAPPED
    rows += [("background", -1, -1)] * (config.genes - len(rows))
    return pd.DataFrame(rows, columns=["kind", "programme", "regulator"])


def _targets(rng: np.random.Generator, genes: pd.DataFrame, tf: int) -> np.ndarray:
    """The known targets of the TF in row ``tf``: what it drives, or genes of its programme."""
    if genes.kind[tf] != "coexpressed":
        return np.flatnonzero(genes.regulator == tf)
    same = np.flatnonzero((genes.programme == genes.programme[tf]) & (genes.index != tf))
    return np.sort(rng.permutation(same)[:TARGETS])


def carriers(config: DemoConfig) -> np.ndarray:
    """bool (donors,): who carries the donor gene."""
    return np.arange(config.donors) % CARRIERS == 0


def concentrations(config: DemoConfig) -> np.ndarray:
    """Dirichlet concentrations of the programmes in each type, (2 tissues, types, programmes).

    A type has a main programme of its own, as far as they go, and one that it may share.
    """
    found = np.full((2, config.n_types, config.n_programmes), OTHER)
    rest = max(1, config.n_programmes - config.n_types)
    for tissue in range(2):
        for number in range(config.n_types):
            shifted = number + tissue
            own = shifted % config.n_programmes
            shared = (config.n_types + shifted % rest) % config.n_programmes
            found[tissue, number, [own, shared]] = MAIN
    return found


def draw_cells(config: DemoConfig, world: World) -> DrawnCells:
    """All cells: those of the atlas, the screen's controls and knock-downs, the second tissue."""
    obs = _drawn_obs(config, len(world.tfs))
    rng = stream(config, 2)
    log_weight = _log_weights(rng, config, world, obs)
    weight = np.exp(log_weight)
    depth = DEPTH[config.difficulty] * np.exp(DEPTH_SPREAD * rng.standard_normal(len(obs)))
    expected = depth[:, None] * weight / weight.sum(axis=1, keepdims=True)
    # rounded, because the last bits of an exponential and of a sum depend on the processor, and
    # the data are to be the same wherever they are made
    counts = rng.poisson(np.round(expected, 6)).astype(np.int32)
    if not config.types:
        obs["type"] = _shuffled_within(stream(config, 3), obs)
    return DrawnCells(obs, sp.csr_matrix(counts))


def _drawn_obs(config: DemoConfig, tfs: int) -> pd.DataFrame:
    rng = stream(config, 1)
    screened = config.per_target > 0 and tfs > 0
    sizes = [config.cells, config.controls * screened, config.per_target * tfs, config.second]
    part = np.repeat(np.arange(4), sizes)
    n = len(part)
    donor, batch = rng.integers(0, config.donors, n), rng.integers(0, BATCHES, n)
    tissue = (part == SECOND).astype(int)
    shares = rng.dirichlet(np.full(config.n_types, TYPES_OF_DONOR), (2, config.donors))
    shares[0, carriers(config)] *= 1 - CARRIED
    shares[0, carriers(config), 0] += CARRIED
    below = shares.cumsum(axis=-1)[tissue, donor, :-1]
    kind = (rng.random(n)[:, None] > below).sum(axis=1)
    target = np.full(n, -1)
    target[part == SCREEN] = np.repeat(np.arange(tfs), config.per_target)
    columns = {"part": part, "tissue": tissue, "donor": donor, "batch": batch}
    return pd.DataFrame({**columns, "type": kind, "target": target})


def _log_weights(
    rng: np.random.Generator, config: DemoConfig, world: World, obs: pd.DataFrame
) -> np.ndarray:
    """(n, G) log weight of each gene in each cell."""
    genes, n = world.genes, len(obs)
    donor = DONOR_SPREAD * rng.standard_normal((config.donors, len(genes)))
    batch = BATCH_SPREAD * rng.standard_normal((BATCHES, len(genes)))
    found = np.log(genes.weight.to_numpy()) + donor[obs.donor] + batch[obs.batch]
    share = rng.standard_gamma(concentrations(config)[obs.tissue, obs.type])
    share = np.log(np.maximum(share / share.sum(axis=1, keepdims=True), FLOOR))
    for tissue, column in enumerate(("programme", "second")):
        cells = np.flatnonzero(obs.tissue == tissue)
        for gene in np.flatnonzero(genes[column] >= 0):
            own = share[cells, genes[column][gene]]
            found[cells, gene] += own if config.programmes else rng.permutation(own)
    for number, (tf, kind) in enumerate(zip(world.tfs.gene, world.tfs.kind)):
        own = np.where(obs.target == number, np.log(KNOCK_DOWN), 0.0)
        if kind == "encoded":
            own += _varying(rng, n)
        found[:, tf] += own
        for gene in np.flatnonzero(genes.regulator == tf):
            if config.regulation:
                found[:, gene] += SLOPE[config.difficulty] * own
            elif kind == "encoded":
                found[:, gene] += SLOPE[config.difficulty] * _varying(rng, n)
    lacking = ~carriers(config)[obs.donor]
    found[np.ix_(lacking, world.rows("donor"))] += np.log(ABSENT)
    return found


def _varying(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) log mRNA of a TF that varies between cells, around its median."""
    return SPREAD * np.clip(rng.standard_normal(n), -FARTHEST, FARTHEST)


def _shuffled_within(rng: np.random.Generator, obs: pd.DataFrame) -> np.ndarray:
    """(n,) the types of the cells, shuffled within each donor and tissue."""
    found = obs.type.to_numpy().copy()
    for rows in obs.groupby(["tissue", "donor"]).indices.values():
        found[rows] = found[rng.permutation(rows)]
    return found
