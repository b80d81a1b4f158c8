"""A world of codes whose knowledge is planted: features of both models, trained and randomly
initialized, as the stages before catalog leave them, without a model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.studies import find_study
from petriscope.run.workspace import Workspace, template
from petriscope.sae.codes import Codes
from petriscope.studies.cells.params import Params

GENES, SIZE, LATENTS = 240, 14, 40
TYPES, DONORS = ("B", "M", "T"), 5


@dataclass(frozen=True)
class PlantedSet:
    """What the stages ask of a data set."""

    sets: dict[str, dict[str, list[str]]]
    frames: dict[str, pd.DataFrame]

    def genesets(self) -> dict[str, dict[str, list[str]]]:
        return self.sets

    def networks(self) -> dict[str, pd.DataFrame]:
        return self.frames


def names() -> list[str]:
    return [f"G{i:03d}" for i in range(GENES)]


def planted(
    root: Path, seed: int, *, knows: bool = True, donors: int = DONORS, layers: int = 6
) -> tuple[Workspace, Params, PlantedSet]:
    """A workspace after stage codes, its parameters and its data set.

    Where it ``knows``, features of the trained models fire on the genes of a programme, more of
    them in the first and last layers than between, and some in cells of one type; all others, and
    all of the random models, fire on genes drawn at random. Twelve programmes are terms; of two
    more, which no term names, several features speak.
    """
    rng = np.random.default_rng(seed)
    programmes = rng.permutation(GENES)[: 14 * SIZE].reshape(14, SIZE)
    windows = pd.DataFrame(
        [
            {"cell": f"c{d}{t}{i}", "donor": f"d{d}", "cell_type": t, "split": "train", "block": d}
            for d in range(donors)
            for t in TYPES
            for i in range(12)
        ]
    )
    popular = rng.lognormal(0, 0.4, GENES)
    gene = [
        np.append(-1, rng.choice(GENES, 90, replace=False, p=popular / popular.sum()))
        for _ in range(len(windows))
    ]
    window = np.repeat(np.arange(len(windows)), 91)
    position = np.tile(np.arange(91), len(windows))
    axis = Tokens.ragged(windows, 1, window, np.zeros_like(window), position)
    places = pd.DataFrame({"gene": np.concatenate(gene), "value": position.astype(np.float32)})
    workspace = Workspace(root)
    for family in ("geneformer", "scgpt"):
        for trained in (True, False):
            parent = workspace.results if family == "geneformer" else workspace.table("second")
            parent = parent if trained else workspace.table("random_init") / family
            axis.save(parent / "activations" / "tokens")
            places.to_parquet(parent / "activations" / "places.parquet")
            for layer in range(layers + 1):
                own = _features(rng, programmes, layer, layers, knows and trained)
                codes = _codes(rng, own, places.gene.to_numpy(), windows, window)
                codes.save(parent / "codes" / f"layer_{layer}" / "codes")
    members = [
        {"model": family, "trained": trained, "layer": layer, "graph": graph, "feature": latent}
        for family in ("geneformer", "scgpt")
        for trained in (True, False)
        for layer in range(layers + 1)
        for graph in ("pmi", "gene")
        for latent in range(LATENTS)
    ]
    modules = pd.DataFrame(members)
    modules["module"] = modules.feature // 10 - (modules.feature >= 30) * 4  # a quarter in none
    workspace.table("modules").mkdir(parents=True)
    modules.to_parquet(workspace.table("modules") / "members.parquet")
    genes = pd.DataFrame({"name": names(), "ensembl": "", "symbol": names()})
    workspace.table("cells").mkdir(parents=True)
    genes.to_parquet(workspace.table("cells") / "genes.parquet")
    sets = {f"P{i}": [names()[g] for g in programmes[i]] for i in range(12)}
    sets |= {f"D{i}": rng.choice(names(), SIZE, replace=False).tolist() for i in range(12)}
    pairs = [(a, b) for i in range(12) for a, b in zip(programmes[i], programmes[i][1:])]
    pairs += [tuple(rng.choice(GENES, 2, replace=False)) for _ in range(100)]
    network = pd.DataFrame([(names()[a], names()[b]) for a, b in pairs])
    network.columns = ["source", "target"]
    return workspace, _params(seed), PlantedSet({"go": sets}, {"string": network})


def _params(seed: int) -> Params:
    given = load_params(template("params.yaml", find_study("cells")))
    assert isinstance(given, Params)
    return dataclasses.replace(
        given,
        seed=seed,
        annotate=dataclasses.replace(given.annotate, shuffles=12),
        celltypes=dataclasses.replace(given.celltypes, shuffles=15),
        novel=dataclasses.replace(given.novel, shuffles=6),
        cds=dataclasses.replace(given.cds, bootstrap=100),
    )


def _features(
    rng: np.random.Generator, programmes: np.ndarray, layer: int, layers: int, knows: bool
) -> list[tuple[np.ndarray, str | None]]:
    """Genes and cell type, or None, of each latent."""
    depth = 2 * (layer - 1) / max(layers - 1, 1) - 1
    known = int(6 + 16 * depth**2) if knows else 0
    found: list[tuple[np.ndarray, str | None]] = []
    for latent in range(LATENTS):
        kind = TYPES[latent % 3] if knows and latent < 6 else None
        if latent < known:
            found.append((programmes[latent % 12], kind))
        elif knows and latent >= LATENTS - 8:  # novel: two programmes without a term
            found.append((programmes[12 + latent % 2], kind))
        else:
            found.append((rng.choice(GENES, SIZE, replace=False), kind))
    return found


def _codes(
    rng: np.random.Generator,
    features: list[tuple[np.ndarray, str | None]],
    gene: np.ndarray,
    windows: pd.DataFrame,
    window: np.ndarray,
) -> Codes:
    fires = rng.random((len(gene), len(features))) < 0.004
    value = rng.lognormal(0, 0.3, fires.shape)
    for latent, (genes, kind) in enumerate(features):
        fires[:, latent] |= np.isin(gene, genes) & (rng.random(len(gene)) < 0.7)
        if kind is not None:
            value[:, latent] *= np.where((windows.cell_type == kind).to_numpy()[window], 3.0, 1.0)
    # cells of one donor and type deviate together
    group = windows.groupby(["donor", "cell_type"]).ngroup().to_numpy()
    value *= rng.lognormal(0, 0.15, (group.max() + 1, len(features)))[group[window]]
    codes = sp.csr_matrix((fires * value).astype(np.float32))
    return Codes(codes.indptr.astype(np.int64), codes.indices, codes.data, len(features))
