"""What is known about the genes of the planted world: gene sets, networks and vocabularies.

Of the true terms each has three decoys: as many genes, each about as often detected as the one in
its place, and no two of one programme or regulon. The novel programmes are in no set and no
network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.studies.cells.data.world import (
    TARGETS,
    DemoConfig,
    World,
    stream,
)

DECOYS = 3
"""Decoys of each true term."""
NEAREST = 8
"""A gene of a decoy is one of so many that are detected about as often as the gene it replaces."""
KEPT = 0.8
"""Share of a programme's genes in its Reactome term; other genes make up the rest."""
UNFOUNDED = 6
"""TFs of TRRUST that regulate nothing here."""
ACTIVATION = 0.5
"""Share of the pairs of TRRUST whose mode is known."""
EDGES = 0.5
"""Share of the pairs of genes of a programme that STRING has."""
SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")
ALIASED = 10
"""Every tenth gene has an old name."""


class Collection(NamedTuple):
    """A collection of gene sets."""

    terms: dict[str, list[str]]
    """term → symbols"""
    true: dict[str, int]
    """true term → its programme"""
    decoys: dict[str, str]
    """decoy → the true term that it stands beside; "" where there is none"""


class Known(NamedTuple):
    """All that the literature of the planted world says."""

    collections: dict[str, Collection]
    """go_bp and reactome"""
    trrust: pd.DataFrame
    """tf, target, mode, pmid"""
    string: pd.DataFrame
    """gene_a, gene_b"""


def draw_known(config: DemoConfig, world: World, detected: np.ndarray) -> Known:
    """Gene sets and networks.

    Parameters: ``detected`` — int (G,), cells of the atlas in which each gene is detected.
    """
    collections = {
        "go_bp": _collection(config, world, detected, "go_bp", 1.0),
        "reactome": _collection(config, world, detected, "reactome", KEPT),
    }
    return Known(collections, _trrust(config, world), _string(config, world))


def annotated(config: DemoConfig) -> range:
    """The programmes that gene sets know."""
    return range(config.n_programmes - config.novel)


def _groups(world: World) -> np.ndarray:
    """int (G,) number of the programme or regulon of each gene, −1 where it has none."""
    genes = world.genes
    offset = int(genes.programme.max()) + 1
    found = genes.programme.to_numpy().copy()
    for number, row in enumerate(world.tfs.gene):
        if genes.programme[row] < 0:
            found[row] = offset + number
            found[genes.regulator == row] = offset + number
    return found


def _decoy(
    rng: np.random.Generator,
    rows: np.ndarray,
    detected: np.ndarray,
    group: np.ndarray,
    usable: np.ndarray,
) -> np.ndarray:
    """A gene for each of ``rows``, about as often detected, no two of one group while there are
    other groups left."""
    free = usable.copy()
    taken: list[int] = []
    for row in rng.permutation(rows):
        apart = free & ((group < 0) | ~np.isin(group, group[taken]))
        pool = np.flatnonzero(apart if apart.any() else free)
        far = np.abs(detected[pool] - detected[row])
        chosen = int(rng.choice(pool[np.argsort(far, kind="stable")[:NEAREST]]))
        free[chosen] = False
        taken.append(chosen)
    return np.sort(taken)


def _collection(
    config: DemoConfig, world: World, detected: np.ndarray, name: str, kept: float
) -> Collection:
    rng = stream(config, {"go_bp": 10, "reactome": 11}[name])
    usable, group = world.mapped(), _groups(world)
    novel = np.isin(group, range(len(annotated(config)), config.n_programmes))
    found: list[tuple[np.ndarray, int, int]] = []
    for programme in annotated(config):
        rows = world.members(programme)
        own = np.sort(rng.permutation(rows)[: round(kept * len(rows))])
        rest = len(rows) - len(own)
        others = rng.permutation(np.flatnonzero(usable & ~novel & (group != programme)))[:rest]
        known = np.sort(np.concatenate([own, others]))
        if not config.annotation:
            known = _decoy(rng, known, detected, group, usable)
        found.append((known, programme, -1))
        place = len(found) - 1
        found += [(_decoy(rng, rows, detected, group, usable), -1, place) for _ in range(DECOYS)]
    number = rng.permutation(len(found)) + 1
    titles = [_title(name, i) for i in number]
    symbol = world.genes.symbol.to_numpy()
    rows_of = {titles[i]: sorted(symbol[rows]) for i, (rows, *_) in enumerate(found)}
    terms = {title: rows_of[title] for title in sorted(rows_of)}
    true = {titles[i]: programme for i, (_, programme, _) in enumerate(found) if programme >= 0}
    decoys = {titles[i]: titles[beside] for i, (*_, beside) in enumerate(found) if beside >= 0}
    if not config.annotation:
        decoys, true = {title: "" for title in terms}, {}
    return Collection(terms, dict(sorted(true.items())), dict(sorted(decoys.items())))


def _title(collection: str, number: int) -> str:
    """As Enrichr and Reactome name a term."""
    if collection == "go_bp":
        return f"simulated process {number:02d} (GO:{9_000_000 + number})"
    return f"Simulated pathway {number:02d} R-HSA-{9_000_000 + number}"


def _trrust(config: DemoConfig, world: World) -> pd.DataFrame:
    """The known targets of each TF, and TFs whose targets mean nothing."""
    rng = stream(config, 12)
    symbol, usable = world.genes.symbol.to_numpy(), np.flatnonzero(world.mapped())
    pairs = []
    for number, row in enumerate(world.tfs.gene):
        others = rng.permutation(usable[usable != row])[:TARGETS]
        targets = world.targets[number] if config.annotation else others
        pairs += [(symbol[row], symbol[target]) for target in targets]
    background = world.rows("background")
    for row in background[rng.permutation(len(background))[:UNFOUNDED]]:
        targets = rng.permutation(usable[usable != row])[:TARGETS]
        pairs += [(symbol[row], symbol[target]) for target in targets]
    frame = pd.DataFrame(sorted(pairs), columns=["tf", "target"])
    frame["mode"] = np.where(rng.random(len(frame)) < ACTIVATION, "Activation", "Unknown")
    frame["pmid"] = 90_000_000 + np.arange(len(frame))
    return frame


def _string(config: DemoConfig, world: World) -> pd.DataFrame:
    """Half of the pairs of genes of a known programme, encoded TFs with their targets, and as many
    pairs at random."""
    rng = stream(config, 13)
    symbol, usable = world.genes.symbol.to_numpy(), np.flatnonzero(world.mapped())
    true: set[tuple[int, int]] = set()
    for programme in annotated(config):
        one, two = np.triu_indices(len(world.members(programme)), 1)
        kept = rng.random(len(one)) < EDGES
        rows = world.members(programme)
        true.update(zip(rows[one[kept]].tolist(), rows[two[kept]].tolist()))
    for number in np.flatnonzero(world.tfs.kind == "encoded"):
        row = int(world.tfs.gene[number])
        true.update((min(row, t), max(row, t)) for t in world.targets[number].tolist())
    pairs = true if config.annotation else set()
    wanted = 2 * len(true)
    novel = np.isin(world.genes.programme, range(len(annotated(config)), config.n_programmes))
    usable = usable[~novel[usable]]
    possible = len(usable) * (len(usable) - 1) // 2
    while len(pairs) < min(wanted, possible):
        one, two = sorted(rng.choice(usable, 2, replace=False).tolist())
        pairs.add((one, two))
    ends = sorted(tuple(sorted((symbol[one], symbol[two]))) for one, two in pairs)
    return pd.DataFrame(ends, columns=["gene_a", "gene_b"])


def token_table(world: World, counts: np.ndarray) -> pd.DataFrame:
    """Geneformer's vocabulary: token, ensembl_id, median, symbols.

    The median is over the cells in which a gene is detected, of its counts per ten thousand of all
    the cell's; 1 of a gene that is never detected.

    Parameters: ``counts`` — int (n, G).
    """
    per_cell = counts / counts.sum(axis=1, keepdims=True) * 10_000
    medians = [
        float(np.median(per_cell[counts[:, gene] > 0, gene])) if counts[:, gene].any() else 1.0
        for gene in range(counts.shape[1])
    ]
    genes = world.genes.assign(median=[f"{value:.9g}" for value in medians])
    genes = genes[world.mapped()].sort_values("ensembl")
    special = pd.DataFrame({"ensembl_id": SPECIAL, "median": "", "symbols": ""})
    known = pd.DataFrame(
        {"ensembl_id": genes.ensembl, "median": genes["median"], "symbols": genes.symbol}
    )
    frame = pd.concat([special, known], ignore_index=True)
    frame.insert(0, "token", np.arange(len(frame)))
    return frame


def alias_table(world: World) -> pd.DataFrame:
    """Other names of the genes of Geneformer's vocabulary: their symbols, and some old names."""
    genes = world.genes[world.mapped()]
    own = pd.DataFrame({"alias": genes.symbol, "ensembl_id": genes.ensembl})
    old = own[::ALIASED].assign(alias=[f"OLD-{name}" for name in own.alias[::ALIASED]])
    return pd.concat([own, old]).sort_values("alias", ignore_index=True)


def symbol_table(world: World) -> pd.DataFrame:
    """scGPT's vocabulary: symbol, id."""
    symbols = sorted(world.genes.symbol[world.mapped()])
    return pd.DataFrame({"symbol": symbols, "id": np.arange(len(symbols))})
