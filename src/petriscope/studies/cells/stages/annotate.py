"""Stage annotate: gene sets and networks against the gene lists of features, as published and
corrected, beside lists dealt out anew and randomly initialized models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.against_random import AgainstRandom, above_random
from petriscope.studies.cells.annotate import PublishedRule
from petriscope.studies.cells.annotated import (
    AnnotatedLayer,
    Asked,
    EdgeShare,
    ModelAnnotation,
    annotate_layer,
    joined,
    layer_rows,
    model_numbers,
)
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import load_table, read_genes, symbols, table_path
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.edges import edge_tests, network_graph
from petriscope.studies.cells.params import Params


@dataclass(frozen=True)
class CurveNumbers:
    """The share by depth."""

    untestable: str | None
    least_low: float | None = None
    """the lowest limit of the models' quadratic coefficients"""


@dataclass(frozen=True)
class AnnotateNumbers:
    """How many features gene sets speak of, by model."""

    untestable: str | None
    random: AgainstRandom
    ushape: CurveNumbers
    models: dict[str, ModelAnnotation]
    least_excess_low: float | None = None
    """the lowest limit of the models' shares beyond shuffled lists"""


@dataclass(frozen=True)
class _Layer:
    """A layer of a model, annotated."""

    branch: Branch
    layer: int
    found: AnnotatedLayer
    tokens: np.ndarray

    @property
    def of(self) -> dict[str, object]:
        return {"model": self.branch.family, "trained": self.branch.trained, "layer": self.layer}


def run(workspace: Workspace, params: Params) -> AnnotateNumbers:
    """Write results/annotate/: terms.parquet (a row per feature and term), published.parquet (the
    terms as published), features.parquet (a row per latent), edges.parquet (a row per alive feature
    and network) and layers.csv (shares and their nulls)."""
    dataset, out = load_dataset(workspace.dataset(params.dataset)), workspace.table("annotate")
    sets, networks = dataset.genesets(), dataset.networks()
    if not sets:
        why = "the data set has no gene sets"
        write_not_run(out, why)
        return AnnotateNumbers(why, AgainstRandom(why, {}), CurveNumbers(why), {})
    names, given = symbols(read_genes(workspace)), params.annotate
    asked = Asked(
        genes=params.catalog.genes,
        min_fires=params.catalog.min_fires,
        min_tokens=params.catalog.min_tokens,
        min_events=params.cds.min_events,
        sizes=(given.sizes[0], given.sizes[1]),
        shuffles=given.shuffles,
        alpha=params.cds.alpha,
        seed=params.seed,
    )
    rule = PublishedRule.of(sets, networks, names, asked.sizes)

    def one(item: tuple[Branch, int]) -> _Layer:
        table = load_table(table_path(workspace.table("catalog"), *item))
        return _Layer(*item, annotate_layer(table, sets, rule, names, asked), table.tokens)

    items = [(branch, k) for branch in branches(workspace, params) for k in branch.layers()]
    layers = list(in_processes(one, items, "annotate", unit="layer"))
    edges = _edges(layers, networks, names, asked)
    with atomic_folder(out) as folder:
        for name in ("terms", "published", "features"):
            parts = [getattr(part.found, name).assign(**part.of) for part in layers]
            write_parquet(folder / f"{name}.parquet", joined(parts))
        write_parquet(folder / "edges.parquet", edges)
        rows = [{**part.of, **row} for part in layers for row in layer_rows(part.found)]
        write_csv(folder / "layers.csv", pd.DataFrame(rows))
    return _numbers(layers, edges, params)


def _edges(
    layers: Sequence[_Layer],
    networks: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    asked: Asked,
) -> pd.DataFrame:
    """A row per alive feature and network: model, trained, layer, feature, network, edges,
    expected, p, q (over the alive features of a layer), rewired, p_rewired, any_rewired."""

    def one(item: tuple[str, str]) -> pd.DataFrame:
        family, network = item
        mine = [part for part in layers if part.branch.family == family]
        alive = [np.flatnonzero(part.found.features.alive) for part in mine]
        lists = sp.vstack([part.found.lists[rows] for part, rows in zip(mine, alive)]).tocsr()
        group = np.repeat(np.arange(len(mine)), [len(rows) for rows in alive])
        about = pd.concat(
            [pd.DataFrame({"feature": rows}).assign(**p.of) for p, rows in zip(mine, alive)]
        )
        graph = network_graph(networks[network], names, mine[0].tokens >= asked.min_tokens)
        what = f"{family}, {network} rewired"
        tests = edge_tests(lists, graph, group, asked.shuffles, asked.seed, what)
        return about.assign(network=network, **tests._asdict())

    families = dict.fromkeys(part.branch.family for part in layers)
    items = [(family, network) for family in families for network in networks]
    parts = list(in_processes(one, items, "edges of networks", unit="network"))
    columns = ["feature", "model", "trained", "layer", "network", "edges", "expected", "p", "q"]
    empty = pd.DataFrame(columns=[*columns, "rewired", "p_rewired", "any_rewired"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _numbers(layers: Sequence[_Layer], edges: pd.DataFrame, params: Params) -> AnnotateNumbers:
    resamples, seed = params.cds.bootstrap, params.seed
    by_branch: dict[tuple[str, bool], dict[int, AnnotatedLayer]] = {}
    for part in layers:
        key = (part.branch.family, part.branch.trained)
        by_branch.setdefault(key, {})[part.layer] = part.found
    models, against = {}, {}
    for (family, trained), mine in by_branch.items():
        if not trained:
            continue
        own = edges[(edges.model == family) & edges.trained.astype(bool)]
        shares = {
            str(name): EdgeShare(
                float((rows.q < params.cds.alpha).mean()),
                float((rows.edges > 0).mean()),
                float(rows.any_rewired.mean()),
            )
            for name, rows in own.groupby("network")
        }
        models[family] = model_numbers(mine, shares, resamples=resamples, seed=seed)
        if (family, False) in by_branch:
            mine_features, others = (
                {layer: one.features for layer, one in by_branch[family, kind].items()}
                for kind in (True, False)
            )
            against[family] = above_random(mine_features, others, "annotated", resamples, seed)
    lows = [model.curve.low for model in models.values() if model.curve.low is not None]
    why = "; ".join(f"{family}: {m.curve.untestable}" for family, m in models.items())
    return AnnotateNumbers(
        None,
        AgainstRandom.of(against, len(models)),
        CurveNumbers(None, min(lows)) if lows else CurveNumbers(why),
        models,
        min((model.corrected.low for model in models.values()), default=None),
    )
