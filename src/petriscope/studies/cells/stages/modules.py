"""Stage modules: features that fire together, as published and beyond their genes; how stable their
modules are, and against graphs dealt out anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.graph.cofiring import cofiring
from petriscope.parallel import in_processes
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.sae.judge import stability
from petriscope.studies.cells.against_random import AgainstRandom, above_random
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.chosen import FIRST, codes_of, gene_rows
from petriscope.studies.cells.counts import TRAINED
from petriscope.studies.cells.modules import (
    GENE,
    GENE_TYPE,
    PMI,
    Asked,
    Communities,
    agreement_across,
    as_graph,
    excess_edges,
    excess_within,
    graph_row,
    judge,
    modules_of,
    published_coactivation,
    surviving,
)
from petriscope.studies.cells.params import Params

WEIGHT = {PMI: "pmi", GENE: "z", GENE_TYPE: "z"}


@dataclass(frozen=True)
class ModelModules:
    """Modules of one model, over the layers behind its blocks; graph beyond genes unless said
    otherwise."""

    published: int
    """modules of the PMI graph"""
    published_coverage: float
    """share of the alive features in them"""
    surviving: float | None
    """share of the PMI graph's edges that remain beyond genes"""
    surviving_types: float | None
    """... and beyond genes in each cell type"""
    modules: int
    """at resolution 1"""
    least_modules: int
    most_modules: int
    """over resolutions"""
    coverage: float
    modularity: float | None
    """mean over layers"""
    rewired: float | None
    """of graphs dealt out anew"""
    margin: float | None
    """modularity less the highest of these graphs, in the layer where that is least; None where a
    layer has no edge"""
    agreement: float | None
    """mean adjusted Rand index over seeds of Leiden"""
    agreement_saes: float | None
    """of the modules of dictionaries of other seeds"""
    random_edges: float | None
    """edges of the randomly initialized model for one of this model"""
    random_modularity: float | None


@dataclass(frozen=True)
class ModuleNumbers:
    """How real the modules are, by model."""

    untestable: str | None
    models: dict[str, ModelModules]
    random: AgainstRandom
    """cohesion beyond graphs dealt out anew, mean over the alive features"""
    least_margin: float | None
    """the least of the models' margins; None where one has none"""
    least_agreement: float | None


class _Found(NamedTuple):
    of: dict[str, object]
    rows: pd.DataFrame
    sweep: pd.DataFrame
    members: pd.DataFrame
    edges: pd.DataFrame
    features: pd.DataFrame
    """of the graph beyond genes: feature, alive, module, excess"""


def run(workspace: Workspace, params: Params) -> ModuleNumbers:
    """Write results/modules/: graphs.csv (a row per layer and graph), resolutions.csv,
    members.parquet (module of every feature in every graph, -1 for none), edges.parquet and
    features.parquet (cohesion of every feature beyond its genes and graphs dealt out anew)."""
    found = branches(workspace, params)
    axes = {b.name: (b.tokens(), b.places().gene.to_numpy()) for b in found}

    def one(item: tuple[Branch, int]) -> _Found:
        return _layer(*item, *axes[item[0].name], params)

    items = [(branch, layer) for branch in found for layer in branch.layers()]
    layers = list(in_processes(one, items, "modules", unit="layer"))
    graphs = _joined(layers, "rows")
    with atomic_folder(workspace.table("modules")) as folder:
        write_csv(folder / "graphs.csv", graphs)
        write_csv(folder / "resolutions.csv", _joined(layers, "sweep"))
        for name in ("members", "edges", "features"):
            write_parquet(folder / f"{name}.parquet", _joined(layers, name))
    trained = graphs[graphs.trained & (graphs.layer >= FIRST)]
    models = {
        str(family): _numbers(rows, graphs[(graphs.model == family) & ~graphs.trained])
        for family, rows in trained.groupby("model", sort=False)
    }
    return ModuleNumbers(
        None,
        models,
        _against_random(layers, params),
        _least([model.margin for model in models.values()]),
        _least([model.agreement for model in models.values()]),
    )


def _against_random(layers: list[_Found], params: Params) -> AgainstRandom:
    of: dict[tuple[str, bool], dict[int, pd.DataFrame]] = {}
    for part in layers:
        branch = str(part.of["model"]), bool(part.of["trained"])
        of.setdefault(branch, {})[int(str(part.of["layer"]))] = part.features
    families = [family for family, trained in of if trained]
    resamples, seed = params.cds.bootstrap, params.seed
    against = {
        family: above_random(
            of[family, True], of[family, False], "excess", resamples, seed, modules_of
        )
        for family in families
        if (family, False) in of
    }
    return AgainstRandom.of(against, len(families))


def _layer(branch: Branch, layer: int, tokens: Tokens, gene: np.ndarray, params: Params) -> _Found:
    given, seeds = params.modules, params.sae.seeds
    rows = gene_rows(tokens, gene, *TRAINED)
    strata = _strata(tokens, gene, rows)
    codes = codes_of(branch, layer, seeds, 0, rows)
    fires = np.bincount(codes.indices, minlength=codes.m)
    alive = int((fires >= params.cds.min_events).sum())
    asked = Asked(given.resolutions, given.leiden_seeds, given.rewirings, params.seed)
    edges = _edges(codes, strata, params)
    others = _others(branch, layer, rows, strata, params)
    table, sweeps, members, features = [], [], [], pd.DataFrame()
    for name, mine in edges.items():
        judged = judge(as_graph(mine, codes.m, WEIGHT[name]), asked)
        across = [
            agreement_across(judged.communities, graphs[name], match) for match, graphs in others
        ]
        row = {
            **graph_row(name, judged, mine, alive),
            "agreement_saes": float(np.mean(across)) if across else np.nan,
            "surviving": np.nan if name == PMI else surviving(edges[PMI], mine),
        }
        table.append(row)
        sweeps.append(judged.sweep.assign(graph=name))
        modules = judged.communities.modules
        of_graph = pd.DataFrame({"feature": np.arange(codes.m), "module": modules})
        members.append(of_graph.assign(graph=name))
        if name == GENE:
            enough = fires >= params.cds.min_events
            features = of_graph.assign(alive=enough, excess=judged.excess)
    listed = [
        mine.rename(columns={WEIGHT[name]: "weight"}).assign(graph=name)
        for name, mine in edges.items()
    ]
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    swept, modules, edges_of = (pd.concat(frames) for frames in (sweeps, members, listed))
    return _Found(of, pd.DataFrame(table), swept, modules, edges_of, features)


def _strata(tokens: Tokens, gene: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Strata of the rows by graph: their gene, and, where cell types are known, the gene in each
    type."""
    found = {GENE: gene[rows].astype(np.int64)}
    if "cell_type" in tokens.windows and tokens.windows.cell_type.notna().any():
        of_cell = pd.factorize(tokens.windows.cell_type, use_na_sentinel=False)[0]
        found[GENE_TYPE] = found[GENE] * (of_cell.max() + 1) + of_cell[tokens.window[rows]]
    return found


def _edges(codes: Codes, strata: dict[str, np.ndarray], params: Params) -> dict[str, pd.DataFrame]:
    """Edges by graph."""
    given, together = params.modules, cofiring(codes)
    least = given.min_count
    published = published_coactivation(codes, pmi=given.pmi, min_count=least, together=together)
    found = {PMI: published}
    for name, stratum in strata.items():
        excess = excess_within(codes, stratum, together)
        found[name] = excess_edges(excess, z=given.z, min_count=least)
    return found


def _others(
    branch: Branch, layer: int, rows: np.ndarray, strata: dict[str, np.ndarray], params: Params
) -> list[tuple[np.ndarray, dict[str, Communities]]]:
    """Of the dictionaries of other seeds: which of their features matches each, and communities by
    graph."""
    seeds, found = params.sae.seeds, []
    for place in range(1, len(seeds) if branch.trained else 1):
        sae, other = (branch.dictionary(layer, seeds[at]) for at in (0, place))
        codes = codes_of(branch, layer, seeds, place, rows)
        graphs = {
            name: Communities.of(as_graph(mine, codes.m, WEIGHT[name]), params.seed)
            for name, mine in _edges(codes, strata, params).items()
        }
        found.append((stability(sae, other).match, graphs))
    return found


def _joined(layers: list[_Found], name: str) -> pd.DataFrame:
    parts = [getattr(part, name).assign(**part.of) for part in layers]
    return pd.concat(parts, ignore_index=True)


def _numbers(graphs: pd.DataFrame, random: pd.DataFrame) -> ModelModules:
    """Of one model's layers."""
    by_graph = {str(name): rows for name, rows in graphs.groupby("graph")}
    published, mine = by_graph[PMI], by_graph[GENE]
    types, beside = (
        by_graph.get(GENE_TYPE),
        random[(random.graph == GENE) & (random.layer >= FIRST)],
    )
    margin = mine.modularity - mine.rewired_most
    alive = max(1, int(mine.alive.sum()))
    return ModelModules(
        published=int(published.modules.sum()),
        published_coverage=float(published.covered.sum() / alive),
        surviving=_mean(mine.surviving),
        surviving_types=None if types is None else _mean(types.surviving),
        modules=int(mine.modules.sum()),
        least_modules=int(mine.least_modules.sum()),
        most_modules=int(mine.most_modules.sum()),
        coverage=float(mine.covered.sum() / alive),
        modularity=_mean(mine.modularity),
        rewired=_mean(mine.rewired),
        margin=None if margin.isna().any() else float(margin.min()),
        agreement=_mean(mine.agreement),
        agreement_saes=_mean(mine.agreement_saes),
        random_edges=float(beside.edges.sum() / max(1, mine.edges.sum())) if len(beside) else None,
        random_modularity=_mean(beside.modularity),
    )


def _mean(values: pd.Series) -> float | None:
    """Over those that are known; None without any."""
    return float(values.mean()) if values.notna().any() else None


def _least(values: list[float | None]) -> float | None:
    """None where one is."""
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None
