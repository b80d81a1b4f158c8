"""Stage catalog: the gene list of every feature of both models, as published and corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import (
    SPLITS,
    corrected_lists,
    published_catalog,
    read_genes,
    save_table,
    symbols,
    table_path,
)
from petriscope.studies.cells.gene_table import GeneTable, gene_table
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class ModelCatalog:
    """Numbers of one trained model, over its layers."""

    layers: int
    latents: int
    alive: int
    """fire on `cds.min_events` tokens at least"""
    once: float
    """share of the entries of published lists that rest on one firing, mean over layers"""
    once_most: float
    """the largest of a layer"""
    listed: float
    """genes of a corrected list of an alive feature, mean"""


@dataclass(frozen=True)
class CatalogNumbers:
    """What the lists rest on."""

    models: dict[str, ModelCatalog]
    untestable: str | None = None


class Listed(NamedTuple):
    """One layer of one model."""

    table: GeneTable
    features: pd.DataFrame
    lists: pd.DataFrame
    row: dict[str, object]


def run(workspace: Workspace, params: Params) -> CatalogNumbers:
    """Write results/catalog/: features.parquet (a row per latent), lists.parquet (a row per list
    entry, rule published or corrected), layers.csv, and gene_tables/ (fires and sums of every
    feature and gene, a file per model and layer)."""
    genes = read_genes(workspace)
    names, found = symbols(genes), branches(workspace, params)
    items = [(branch, layer) for branch in found for layer in branch.layers()]

    def one(item: tuple[Branch, int]) -> Listed:
        branch, layer = item
        return listed(branch, layer, len(genes), params)

    frames: list[Listed] = []
    with atomic_folder(workspace.table("catalog")) as folder:
        for (branch, layer), made in zip(items, in_processes(one, items, "catalog", unit="layer")):
            path = table_path(folder, branch, layer)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_table(made.table, path)
            frames.append(made)
        lists = pd.concat([made.lists for made in frames], ignore_index=True)
        lists["name"] = np.asarray(names, dtype=object)[lists.gene.to_numpy(np.int64)]
        write_parquet(
            folder / "features.parquet",
            pd.concat([made.features for made in frames], ignore_index=True),
        )
        write_parquet(folder / "lists.parquet", lists)
        rows = pd.DataFrame([made.row for made in frames])
        write_csv(folder / "layers.csv", rows)
    trained = rows[rows.trained]
    return CatalogNumbers({str(name): _numbers(part) for name, part in trained.groupby("model")})


def listed(branch: Branch, layer: int, genes: int, params: Params) -> Listed:
    """Both lists of every feature of one layer, over the tokens of unperturbed cells of the first
    tissue."""
    given, of = params.catalog, {"model": branch.family, "trained": branch.trained, "layer": layer}
    rows = np.isin(branch.tokens().split.astype(str), SPLITS)
    table = gene_table(
        branch.encoded(layer).codes(), branch.places().gene.to_numpy(np.int64), genes, rows
    )
    published = published_catalog(table, given.genes)
    corrected = corrected_lists(table, given.genes, given.min_fires, given.min_tokens)
    alive = table.counts >= params.cds.min_events
    features = published.features.assign(
        alive=alive, listed=np.bincount(corrected.feature, minlength=len(alive)), **of
    )
    lists = [
        rule.frame().assign(rule=name, tokens=table.tokens[rule.gene], **of)
        for name, rule in (("published", published.lists), ("corrected", corrected))
    ]
    row = {
        **of,
        "latents": len(alive),
        "fired": int((table.counts > 0).sum()),
        "alive": int(alive.sum()),
        "once": published.lists.once,
        "listed": float(features.listed[alive].mean()) if alive.any() else None,
    }
    return Listed(table, features, pd.concat(lists, ignore_index=True), row)


def _numbers(rows: pd.DataFrame) -> ModelCatalog:
    once = rows.once.astype(float)
    return ModelCatalog(
        len(rows),
        int(rows.latents.sum()),
        int(rows.alive.sum()),
        float(once.mean()),
        float(once.max()),
        float(np.average(rows.listed.astype(float).fillna(0), weights=rows.alive.clip(lower=1))),
    )
