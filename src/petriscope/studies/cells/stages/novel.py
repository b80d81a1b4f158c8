"""Stage novel: features without annotation, grouped by shared genes, against lists dealt out anew;
what modules say of them against chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.graph.leiden import leiden
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.against_random import AgainstRandom, above_random, after_a_block
from petriscope.studies.cells.annotated import Excess, joined, null_entries
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import (
    corrected_lists,
    load_table,
    published_catalog,
    read_genes,
    symbols,
    table_path,
)
from petriscope.studies.cells.novel import (
    NovelNull,
    association,
    novel_clusters,
    novel_null,
    published_novel,
)
from petriscope.studies.cells.params import Params

RULES = {"published": "pmi", "corrected": "gene"}
"""rule of annotation → the graph whose modules speak of features (stage modules)"""


@dataclass(frozen=True)
class Associated:
    """Features without annotation whose module holds an annotated one, over layers."""

    share: float
    expected: float
    """of as many features drawn at random"""
    p: float
    """smallest of a layer: share of random draws with as many"""


@dataclass(frozen=True)
class ModelNovel:
    """Numbers of one trained model, over its layers."""

    unannotated: int
    published_clusters: int
    published_features: int
    """in clusters"""
    clusters: int
    features: int
    largest: int
    null_clusters: float
    null_features: float
    grouped: Excess
    """share of the unannotated features in a cluster, beyond shuffled lists. (Clusters themselves
    say little: the more lists have in common, the fewer and the larger they are)"""
    association: Associated | None
    """as published; None where stage modules did not run"""


@dataclass(frozen=True)
class NovelNumbers:
    """Groups of features without annotation, by model."""

    untestable: str | None
    random: AgainstRandom
    """the share of the unannotated features in a cluster"""
    models: dict[str, ModelNovel]
    least_low: float | None = None
    """the lowest limit of the models' shares beyond shuffled lists"""


class _Found(NamedTuple):
    """A layer of a model."""

    of: dict[str, object]
    clusters: pd.DataFrame
    associated: pd.DataFrame
    rows: list[dict[str, object]]
    grouped: pd.DataFrame
    """columns alive (without annotation, and grouped or not), top_gene, grouped"""
    null: NovelNull


def run(workspace: Workspace, params: Params) -> NovelNumbers:
    """Write results/novel/: clusters.parquet (a row per cluster), associated.parquet (a row per
    feature whose module holds an annotated one) and layers.csv, by rule."""
    out, path = workspace.table("novel"), workspace.table("annotate") / "features.parquet"
    if not path.is_file():
        why = "the data set has no gene sets, so that no feature is without annotation"
        write_not_run(out, why)
        return NovelNumbers(why, AgainstRandom(why, {}), {})
    table, names = pd.read_parquet(path), symbols(read_genes(workspace))
    modules = _modules(workspace)

    def one(item: tuple[Branch, int]) -> _Found:
        return _layer(workspace, params, *item, table, modules, names)

    items = [(branch, k) for branch in branches(workspace, params) for k in branch.layers()]
    found = list(in_processes(one, items, "novel", unit="layer"))
    with atomic_folder(out) as folder:
        for name in ("clusters", "associated"):
            parts = [getattr(part, name).assign(**part.of) for part in found]
            write_parquet(folder / f"{name}.parquet", joined(parts))
        rows = pd.DataFrame([{**part.of, **row} for part in found for row in part.rows])
        write_csv(folder / "layers.csv", rows)
    models = {
        str(family): _numbers([part for part in found if _is(part, str(family))])
        for family in rows[rows.trained].model.unique()
    }
    return NovelNumbers(
        None,
        _against_random(found, params),
        models,
        min((one.grouped.low for one in models.values()), default=None),
    )


def _against_random(found: list[_Found], params: Params) -> AgainstRandom:
    of = {
        (str(part.of["model"]), bool(part.of["trained"])): {
            int(str(one.of["layer"])): one.grouped
            for one in found
            if (one.of["model"], one.of["trained"]) == (part.of["model"], part.of["trained"])
        }
        for part in found
    }
    against = {
        family: above_random(
            of[family, True], of[family, False], "grouped", params.cds.bootstrap, params.seed
        )
        for family, trained in of
        if trained and (family, False) in of
    }
    return AgainstRandom.of(against, sum(trained for _, trained in of))


def _is(part: _Found, family: str) -> bool:
    return bool(part.of["model"] == family and part.of["trained"])


def _modules(workspace: Workspace) -> pd.DataFrame | None:
    """Columns model, trained, layer, graph, feature, module; None where stage modules did not
    run."""
    path = workspace.table("modules") / "members.parquet"
    return pd.read_parquet(path) if path.is_file() else None


def _layer(
    workspace: Workspace,
    params: Params,
    branch: Branch,
    layer: int,
    features: pd.DataFrame,
    modules: pd.DataFrame | None,
    names: list[str],
) -> _Found:
    given, catalog = params.novel, params.catalog
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    table = load_table(table_path(workspace.table("catalog"), branch, layer))
    mine = _of(features, of).sort_values("feature")
    frequency, alive = mine.frequency.to_numpy(float), mine.alive.to_numpy(bool)
    module = _module(modules, of, RULES["published"], len(mine))
    theirs = published_novel(
        published_catalog(table, catalog.genes).lists.incidence(),
        mine.published.to_numpy(bool),
        frequency,
        module,
        names,
        leiden,
        jaccard=given.jaccard,
        most=given.features,
    )
    lists = corrected_lists(table, catalog.genes, catalog.min_fires, catalog.min_tokens).incidence()
    free = np.flatnonzero(alive & ~mine.annotated.to_numpy(bool))
    ours = novel_clusters(lists, free, names, leiden, jaccard=given.jaccard, most=given.features)
    rows = np.flatnonzero(alive)
    grouped = pd.DataFrame(
        {
            "alive": np.isin(mine.feature, ours.sampled),
            "top_gene": mine.top_gene.to_numpy(),
            "grouped": np.isin(mine.feature, ours.members),
        }
    )
    null = novel_null(
        lists[rows],
        np.searchsorted(rows, ours.sampled),
        leiden,
        given.shuffles,
        params.seed,
        jaccard=given.jaccard,
    )
    linked = {
        "published": association(module, mine.published.to_numpy(bool), frequency > 0),
        "corrected": association(
            _module(modules, of, RULES["corrected"], len(mine)),
            mine.annotated.to_numpy(bool),
            alive,
        ),
    }
    made = {"published": (theirs.clusters, theirs.summary["n_unannotated"])}
    made["corrected"] = (ours, len(free))
    entries = []
    for name, (clusters, number) in made.items():
        sizes = clusters.table.n_features
        row = {"rule": name, "unannotated": int(number), "sampled": len(clusters.sampled)}
        row |= {"clusters": len(sizes), "features": int(sizes.sum())}
        row |= {"largest": int(sizes.max()) if len(sizes) else 0}
        if name == "corrected":
            row |= null_entries(null.clusters) | {"null_features": float(null.features.mean())}
        if modules is not None:
            one = linked[name]
            row |= {"associated": one.share, "expected": one.expected, "p": one.p}
        entries.append(row)
    return _Found(
        of,
        joined([one.table.assign(rule=name) for name, (one, _) in made.items()]),
        joined([one.table.assign(rule=name) for name, one in linked.items()]),
        entries,
        grouped,
        null,
    )


def _module(
    modules: pd.DataFrame | None, of: dict[str, object], graph: str, latents: int
) -> np.ndarray:
    """int (m,) module of each feature, -1 for none."""
    found = np.full(latents, -1)
    if modules is not None:
        mine = _of(modules[modules.graph == graph], of)
        found[mine.feature.to_numpy(np.int64)] = mine.module.to_numpy(np.int64)
    return found


def _of(table: pd.DataFrame, of: dict[str, object]) -> pd.DataFrame:
    """The rows of one model and layer."""
    hit = np.ones(len(table), bool)
    for name, value in of.items():
        hit &= (table[name] == value).to_numpy(bool)
    return table[hit]


def _numbers(parts: list[_Found]) -> ModelNovel:
    kept = after_a_block([int(str(part.of["layer"])) for part in parts])
    used = [part for part in parts if part.of["layer"] in kept]
    rows = pd.DataFrame([row for part in used for row in part.rows])
    theirs, ours = rows[rows.rule == "published"], rows[rows.rule == "corrected"]
    number = [max(1, int(part.grouped.alive.sum())) for part in used]
    shares = [int(part.grouped.grouped.sum()) / n for part, n in zip(used, number)]
    draws = [part.null.features / n for part, n in zip(used, number)]
    linked = None
    if "associated" in rows:
        weights = theirs.unannotated.clip(lower=1)
        linked = Associated(
            float(np.average(theirs.associated, weights=weights)),
            float(np.average(theirs.expected, weights=weights)),
            float(theirs.p.min()),
        )
    return ModelNovel(
        int(ours.unannotated.sum()),
        int(theirs.clusters.sum()),
        int(theirs.features.sum()),
        int(ours.clusters.sum()),
        int(ours.features.sum()),
        int(ours.largest.max()),
        float(np.mean(np.sum([part.null.clusters for part in used], axis=0))),
        float(ours.null_features.sum()),
        Excess.of(shares, draws),
        linked,
    )
