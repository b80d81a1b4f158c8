"""Stage causal: features of both models are switched off one at a time, and masked genes are
read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.studies.cells.annotate import PublishedRule, published_annotations
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import published_catalog, symbols
from petriscope.studies.cells.causal import (
    Bench,
    Design,
    DictionaryCoder,
    Specificity,
    Summary,
    VisibleCell,
    annotation_targets,
    chosen_at_random,
    judge_all,
    published_causal,
    published_choice,
    summarize,
    weigh,
)
from petriscope.studies.cells.counts import load_cells
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.gene_table import GeneTable, gene_table
from petriscope.studies.cells.inputs import CellInputs, load_inputs
from petriscope.studies.cells.model.weights import load_checkpoint
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.readings import Held, Readable, hold, masked_cell
from petriscope.studies.cells.regulons import gene_scores

LEARNED_ON = ("train", "select")
"""splits on which features and their targets are chosen; effects are read on test cells"""
PUBLISHED_CELLS = 20
"""cells on which the published form is repeated"""


@dataclass(frozen=True)
class ModelCausal:
    """One model."""

    layer: int
    features: int
    """judged, of those drawn at random"""
    median: float
    low: float
    high: float
    matched_high: float
    """97.5 % of the medians of matched gene sets"""
    median_again: float
    """on the cells on which random directions were tried"""
    directions_high: float
    significant: int
    published_median: float | None
    published_features: int
    arms: dict[str, float]
    """median ratio of other choices: most active features, a second seed, the reconstruction in
    place of the stream"""


@dataclass(frozen=True)
class CausalNumbers:
    """How specific the effect of a feature is to its annotation."""

    untestable: str | None
    models: dict[str, ModelCausal]
    beyond_matched: float | None = None
    """lowest over trained models of the median less 97.5 % of matched sets"""
    beyond_directions: float | None = None
    untested: dict[str, str] | None = None
    cells: int | None = None


class Ground(NamedTuple):
    """What all models share."""

    names: list[str]
    sets: dict[str, np.ndarray]
    """term to its genes"""
    genesets: Mapping[str, Mapping[str, list[str]]]
    networks: Mapping[str, pd.DataFrame]
    block: np.ndarray
    test: np.ndarray
    """cells in which features are switched off"""


class Prepared(NamedTuple):
    """One branch at its layer."""

    bench: Bench
    held: list[Held]
    design: Design
    table: GeneTable
    score: sp.csr_matrix
    usable: np.ndarray
    sae: SAE


def run(workspace: Workspace, params: Params) -> CausalNumbers:
    """Write results/causal/: features.csv (a row per model, arm and feature judged), nulls.csv (the
    ratios of matched sets, by quantile), published.csv."""
    out, ground = workspace.table("causal"), prepare(workspace, params)
    if isinstance(ground, str):
        write_not_run(out, ground)
        return CausalNumbers(untestable=ground, models={})
    models: dict[str, ModelCausal] = {}
    untested: dict[str, str] = {}
    trained: list[str] = []
    tables: dict[str, list[pd.DataFrame]] = {"features": [], "nulls": [], "published": []}
    probed = branches(workspace, params)

    def one(branch: Branch) -> tuple[ModelCausal, dict[str, pd.DataFrame]] | str:
        return one_model(workspace, params, branch, ground)

    for branch, found in zip(probed, in_processes(one, probed, "models judged", unit="model")):
        if isinstance(found, str):
            untested[branch.name] = found
            continue
        models[branch.name], frames = found
        trained += [branch.name] if branch.trained else []
        for name, frame in frames.items():
            tables[name].append(frame)
    with atomic_folder(out) as folder:
        for name, parts in tables.items():
            kept = [frame for frame in parts if len(frame)]
            whole = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
            write_csv(folder / f"{name}.csv", whole)
    if not trained:
        why = "; ".join(f"{name}: {reason}" for name, reason in untested.items())
        return CausalNumbers(untestable=why or "no model was probed", models=models)

    def least(name: str, limit: str) -> float:
        return min(getattr(models[m], name) - getattr(models[m], limit) for m in trained)

    return CausalNumbers(
        untestable=None,
        models=models,
        beyond_matched=least("median", "matched_high"),
        beyond_directions=least("median_again", "directions_high"),
        untested=untested,
        cells=len(ground.test),
    )


def prepare(workspace: Workspace, params: Params) -> Ground | str:
    """Gene sets and cells, or why nothing can be tested."""
    cells, data = load_cells(workspace), load_dataset(workspace.dataset(params.dataset))
    genesets = data.genesets()
    names = symbols(cells.genes)
    place = {name: row for row, name in enumerate(names)}
    least, most = params.annotate.sizes
    sets = {}
    for collection, terms in genesets.items():
        for term, genes in terms.items():
            rows = {place[g.upper()] for g in genes if g.upper() in place}
            if least <= len(rows) <= most:
                sets[f"{collection}: {term}"] = np.array(sorted(rows))
    if not sets:
        return f"no gene set of the data set has {least} to {most} measured genes"
    test = np.flatnonzero(cells.obs.split.astype(str) == "test")
    block = cells.obs.block.to_numpy(np.int64)
    return Ground(names, sets, genesets, data.networks(), block, spread(test, params.causal.cells))


def one_model(
    workspace: Workspace,
    params: Params,
    branch: Branch,
    ground: Ground,
) -> tuple[ModelCausal, dict[str, pd.DataFrame]] | str:
    """Judge one branch: its numbers, and its rows of each table. Why not, where nothing can be
    judged."""
    model = load_checkpoint(branch.model).to(choose_device(params.device)).eval()
    layer = chosen_layer(params.layer, model.n_layers, "layer")
    inputs = load_inputs(workspace, params, branch.family)
    made = prepared(params, branch, ground, model, inputs, layer)
    frequency = made.table.counts / max(1, made.table.n)
    given, seed = params.causal, params.seed
    drawn = chosen_at_random(frequency, given.features, seed)
    targets = annotation_targets(made.score, ground.sets, drawn, made.usable)
    of = {"model": branch.family, "trained": branch.trained}
    found = judge_all(made.bench, targets, made.design, branch.name)
    blocks = len(np.unique(ground.block[ground.test]))
    summary = summarize(found, params.cds.alpha, blocks)
    if summary is None:
        return "no feature has three targets left that were read"
    arms, rows = _arms(params, branch, ground, made, model, layer)
    arms_of = {"random": found, **rows}
    kept = [
        pd.DataFrame([one.row() for one in judged]).assign(arm=arm, **of)
        for arm, judged in arms_of.items()
        if judged
    ]
    published = _published(params, ground, made, model, inputs, layer)
    tables = {
        "features": pd.concat(kept, ignore_index=True),
        "nulls": _nulls(found).assign(**of),
        "published": published.assign(**of),
    }
    ratios = published.ratio.to_numpy(np.float64)
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    numbers = ModelCausal(
        layer=layer,
        features=summary.features,
        **_of(summary),
        published_median=float(np.median(ratios)) if len(ratios) else None,
        published_features=len(published),
        arms=arms,
    )
    return numbers, tables


def _of(summary: Summary) -> dict[str, Any]:
    return {name: value for name, value in summary._asdict().items() if name != "features"}


def prepared(
    params: Params,
    branch: Branch,
    ground: Ground,
    model: Readable,
    inputs: CellInputs,
    layer: int,
) -> Prepared:
    """Test cells masked and held at a layer, and the gene scores of the other cells."""
    given, places, axis = params.causal, branch.places(), branch.tokens()
    rows = np.isin(axis.split.astype(str), LEARNED_ON)
    gene, genes = places.gene.to_numpy(np.int64), len(ground.names)
    table = gene_table(branch.encoded(layer).codes(), gene, genes, rows)
    score = gene_scores(table, params.catalog.min_fires)
    usable = table.tokens >= params.catalog.min_tokens
    mine = rows & (gene >= 0)
    place = np.bincount(gene[mine], places.value.to_numpy(np.float64)[mine], genes)
    seen = np.maximum(table.tokens, 1)
    design = Design(
        ground.block,
        np.column_stack([np.log1p(table.tokens), place / seen]),
        activation_of(table),
        given.matched_sets,
        given.random_directions,
        params.cds.bootstrap,
        params.seed,
    )
    cells = [
        masked_cell(inputs.encoded, int(cell), given.mask_fold, params.seed) for cell in ground.test
    ]
    held = hold(model, cells, inputs.padding, layer)
    sae = branch.dictionary(layer, params.sae.seeds[0])
    return Prepared(Bench(model, held, sae), held, design, table, score, usable, sae)


def activation_of(table: GeneTable) -> sp.csr_matrix:
    """(F, G) mean activation of each feature on the tokens of each gene."""
    return sp.csr_matrix(table.total @ sp.diags(1 / np.maximum(table.tokens, 1)))


def _arms(
    params: Params,
    branch: Branch,
    ground: Ground,
    made: Prepared,
    model: Readable,
    layer: int,
) -> tuple[dict[str, float], dict[str, list[Specificity]]]:
    """Other choices of features, and the reconstruction in place of the stream: medians, and the
    rows of the first two."""
    count, plain = params.causal.features, made.design._replace(directions=0)
    total = np.asarray(made.table.total.sum(1)).ravel()
    frequency = made.table.counts / max(1, made.table.n)
    strongest = np.argsort(-np.where(frequency >= 0.001, total, -1.0), kind="stable")[:count]
    rows: dict[str, list[Specificity]] = {}
    chosen = annotation_targets(made.score, ground.sets, np.sort(strongest), made.usable)
    rows["most active"] = judge_all(made.bench, chosen, plain, f"{branch.name}, most active")
    arms = {}
    if branch.trained and len(params.sae.seeds) > 1:
        sae = branch.dictionary(layer, params.sae.seeds[1])
        rows["second seed"] = _second_seed(params, branch, ground, made, model, sae, plain)
    for name, judged in rows.items():
        arms[name] = float(np.median([one.ratio for one in judged])) if judged else float("nan")
    reads = made.bench.reconstructed(made.sae)
    ratios = []
    for target in chosen:
        weighed = weigh(reads, target, plain)
        if weighed is not None:
            ratios.append(weighed.ratio_of(reads))
    arms["reconstruction alone"] = float(np.median(ratios)) if ratios else float("nan")
    return {name: value for name, value in arms.items() if np.isfinite(value)}, rows


def _second_seed(
    params: Params,
    branch: Branch,
    ground: Ground,
    made: Prepared,
    model: Readable,
    sae: SAE,
    design: Design,
) -> list[Specificity]:
    """As the first seed's dictionary; its codes are made here, on the cells that teach scores."""
    axis, gene = branch.tokens(), branch.places().gene.to_numpy(np.int64)
    rows = np.flatnonzero(np.isin(axis.split.astype(str), LEARNED_ON))
    codes = sae.encode(np.asarray(branch.streams(made.held[0].layer)[rows], np.float32))
    table = gene_table(codes, gene[rows], len(ground.names))
    score = gene_scores(table, params.catalog.min_fires)
    drawn = chosen_at_random(table.counts / max(1, table.n), params.causal.features, params.seed)
    targets = annotation_targets(score, ground.sets, drawn, made.usable)
    bench = Bench(model, made.held, sae)
    return judge_all(
        bench,
        targets,
        design._replace(activation=activation_of(table)),
        f"{branch.name}, second seed",
    )


def _nulls(found: list[Specificity]) -> pd.DataFrame:
    """Ratios of matched sets of all features at 99 quantiles: columns quantile, ratio."""
    at = np.arange(1, 100) / 100
    ratios = np.concatenate([one.null for one in found])
    return pd.DataFrame({"quantile": at, "ratio": np.quantile(ratios, at)})


def _published(
    params: Params,
    ground: Ground,
    made: Prepared,
    model: Readable,
    inputs: CellInputs,
    layer: int,
) -> pd.DataFrame:
    """The published form on a few cells, of the features with most annotations by the published
    rule: columns feature, active, targets, others, target_mean, other_mean, ratio."""
    lists = published_catalog(made.table, params.catalog.genes).lists
    least, most = params.annotate.sizes
    rule = PublishedRule.of(ground.genesets, ground.networks, ground.names, (least, most))
    tests = published_annotations(lists.incidence(), rule, ground.names, params.cds.alpha).tests
    frequency = made.table.counts / max(1, made.table.n)
    chosen = published_choice(tests[tests.significant], frequency, params.causal.features)
    token = np.full(len(ground.names), -1, np.int64)
    encoded = inputs.encoded
    real = encoded.gene >= 0
    token[encoded.gene[real]] = encoded.ids[real]
    targets = {
        int(f): {int(token[g]) for g in lists.gene[lists.feature == f]} - {-1} for f in chosen
    }
    cells = []
    for cell in ground.test[:PUBLISHED_CELLS]:
        part = slice(int(encoded.offsets[cell]), int(encoded.offsets[cell + 1]))
        place = np.flatnonzero(encoded.gene[part] >= 0)
        ids = np.asarray(encoded.ids[part], np.int64)[place]
        cells.append(VisibleCell(inputs.batch(int(cell)), place, ids))
    coder = DictionaryCoder(made.sae)
    found = published_causal(model, cells, layer, coder, torch.as_tensor(coder.directions), targets)
    names = ["feature", "active", "targets", "others", "target_mean", "other_mean", "ratio"]
    rows = [
        (
            one.feature,
            one.active,
            len(one.targets),
            len(one.others),
            _mean(one.targets),
            _mean(one.others),
            one.ratio,
        )
        for one in found
    ]
    return pd.DataFrame(rows, columns=names)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
