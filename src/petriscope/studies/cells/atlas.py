"""The atlas of a run brings the tables that stages wrote into the schema that terminal UI and
queries read: features of all layers of both models, their genes, terms, modules, links, responses
and cell types. A table that no stage wrote is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from petriscope.atlas.build import AtlasTables
from petriscope.atlas.ledger import claim_rows
from petriscope.atlas.schema import Column, Declared, Thresholds
from petriscope.errors import UserError
from petriscope.files import read_csv, read_json
from petriscope.graph.between import module_tables
from petriscope.graph.coactivation import firing_correlation
from petriscope.graph.similar import match_rows, similar_rows
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.measured import measured
from petriscope.studies.cells.numbering import FIRST_LAYER, NAMES
from petriscope.studies.cells.params import Params

NEIGHBORS = 8
TERMS, TYPES, RESPONSES, LINKS = 12, 8, 30, 8
"""kept of a feature: terms and cell types; of a perturbation: responses; of a feature and another
layer: links. Significant ones stay, all of them."""
EVERY = "all cells"
"""Unit of the tokens of cells whose type is not known."""
KEY = ["layer", "feature"]
FEATURE_COLUMNS = (
    Column("model", "text", "model", "text", "Geneformer or scGPT", indexed=True),
    Column("fires", "integer", "fires", "count", "tokens on which it fires", indexed=True),
    Column(
        "terms", "integer", "terms", "count", "enriched gene sets (q < alpha)", indexed=True,
    ),
    Column(
        "null", "real", "null", "share", "share of shuffled lists as long that are annotated",
        indexed=True,
    ),
    Column("published", "integer", "pub", "flag", "1: annotated by the published rule"),
    Column(
        "specificity", "real", "spec", "number", "effect of switching it off on genes of its term, "
        "over matched genes, on masked tokens", indexed=True,
    ),
    Column("specificity_low", "real", "spec lo", "number", "95 % interval of that, lower end"),
    Column("specificity_high", "real", "spec hi", "number", "95 % interval of that, upper end"),
)  # fmt: skip


def collect(workspace: Workspace, params: Params) -> AtlasTables:
    """Everything known about every feature of a finished run."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    found = [branch for branch in branches(workspace, params) if branch.trained]
    members = module_members(workspace)
    features = feature_rows(workspace, params, found, members)
    contexts, units = context_rows(workspace, found)
    perturbed, moved = perturbation_rows(workspace, params)
    modules, module_edges = module_rows(workspace, members, features)
    similar, matched = neighbor_rows(found, features, params.sae.seeds[0], params.cds.stable)
    numbers = [one for one in (number_rows(workspace), matched) if one is not None]
    ledger = workspace.figures / "claims.json"
    return AtlasTables(
        features=features,
        thresholds=Thresholds(params.cds.alpha, params.cds.stable),
        units=units,
        contexts=contexts,
        annotations=annotation_rows(workspace, params.cds.alpha),
        similar=similar,
        layers=layer_rows(found, features),
        claims=claim_rows(ledger) if ledger.is_file() else None,
        run=run_rows(params, dataset.name, dataset.description, found),
        feature_genes=gene_rows(workspace),
        modules=modules,
        module_members=members,
        module_edges=module_edges,
        links=link_rows(workspace, params.cds.alpha),
        numbers=pd.concat(numbers, ignore_index=True) if numbers else None,
        perturbations=perturbed,
        responses=moved,
        celltypes=type_rows(workspace, params.cds.alpha),
        declared=Declared(
            unit="cell type",
            stratum="type",
            units=(Column("cells", "integer", "cells", "count", "how many"),),
            contexts=(
                Column("gene", "text", "gene", "text", "the token"),
                Column("cell", "text", "cell", "text", "the cell it lies in"),
            ),
            features=FEATURE_COLUMNS,
        ),
    )


def trained_table(path: Path) -> pd.DataFrame | None:
    """The rows of trained models in a stage's table, with layers as the atlas numbers them; None
    where the stage wrote none."""
    if not path.is_file():
        return None
    table = pd.read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    if "model" not in table or not len(table):
        return None
    table = table[table.trained.astype(bool)].reset_index(drop=True)
    first = table.model.map(FIRST_LAYER)
    moved = {name: table[name] + first for name in ("layer", "other_layer") if name in table}
    return table.assign(**moved)


def feature_rows(
    workspace: Workspace,
    params: Params,
    found: Sequence[Branch],
    members: pd.DataFrame | None,
) -> pd.DataFrame:
    """The features table. Raises `UserError` where stage catalog did not run."""
    path = workspace.table("catalog") / "features.parquet"
    table = trained_table(path)
    if table is None:
        raise UserError("does not exist", file=path, remedy="Run `petriscope stage catalog`.")
    frequency = table.frequency.where(table.frequency > 0)
    features = pd.DataFrame(
        {
            "layer": table.layer,
            "feature": table.feature,
            "alive": table.alive.astype(int),
            "density": table.frequency,
            "mean_activation": table.mean_activation / frequency,
            "model": table.model.map(NAMES),
            "fires": table.fires,
        }
    )
    for more in (
        _stability(found),
        _annotated(workspace, params.cds.alpha),
        _caused(workspace),
        _module(members),
    ):
        if more is not None:
            features = features.merge(more, on=KEY, how="left")
    return features


def _stability(found: Sequence[Branch]) -> pd.DataFrame | None:
    """How well other seeds find a feature again, of the models that have several."""
    frames = []
    for branch in found:
        path = branch.sae / "stability.parquet"
        if path.is_file():
            table = pd.read_parquet(path)[[*KEY, "stability"]]
            frames.append(table.assign(layer=table.layer + FIRST_LAYER[branch.family]))
    return pd.concat(frames, ignore_index=True) if frames else None


def _annotated(workspace: Workspace, alpha: float) -> pd.DataFrame | None:
    """Label, number of terms, and what shuffled lists give. Confidence is the share of shuffled
    lists that are not annotated."""
    folder = workspace.table("annotate")
    table = trained_table(folder / "features.parquet")
    if table is None:
        return None
    columns = {"null": table.null, "published": table.published.astype(int)}
    more = pd.DataFrame({name: table[name] for name in KEY} | columns)
    terms = trained_table(folder / "terms.parquet")
    if terms is None:
        return more
    terms = terms[terms.q < alpha].sort_values([*KEY, "ln_p"], kind="stable")
    count = terms.groupby(KEY).size().rename("terms").reset_index()
    best = terms.drop_duplicates(KEY).rename(columns={"term": "label"})[[*KEY, "label"]]
    more = more.merge(count, on=KEY, how="left").merge(best, on=KEY, how="left")
    return more.assign(confidence=(1 - more.null).where(more.label.notna()))


def _caused(workspace: Workspace) -> pd.DataFrame | None:
    """What switching a feature off does; of features drawn at random and those most active, the
    first where both were tried."""
    table = _causal_table(workspace)
    if table is None:
        return None
    names = {"ratio": "specificity", "low": "specificity_low", "high": "specificity_high"}
    table = table[table.arm.isin(["random", "most active"])]
    table = table.sort_values("arm", ascending=False, kind="stable").drop_duplicates(KEY)
    table = table.rename(columns=names).assign(causal_percentile=1 - table.p)
    return table[[*KEY, *names.values(), "causal_percentile"]]


def _causal_table(workspace: Workspace) -> pd.DataFrame | None:
    """Features judged, with their model's layer."""
    return _with_layers(workspace, "causal", "features.csv")


def _with_layers(workspace: Workspace, stage: str, name: str) -> pd.DataFrame | None:
    """A table of a stage that looks at one layer of each model, which its numbers name."""
    path, metrics = workspace.table(stage) / name, workspace.metrics(stage)
    if not path.is_file() or not metrics.is_file():
        return None
    table = pd.read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    layers = {
        family: one["layer"]
        for family, one in (read_json(metrics).get("models") or {}).items()
        if family in FIRST_LAYER
    }
    if "model" not in table or not layers:
        return None
    table = table[table.trained.astype(bool) & table.model.isin(layers)]
    layer = table.model.map(layers) + table.model.map(FIRST_LAYER)
    return table.assign(layer=layer.astype(int)).reset_index(drop=True)


def _module(members: pd.DataFrame | None) -> pd.DataFrame | None:
    """Each feature's module in the graph beyond gene identity, or the only one there is."""
    if members is None:
        return None
    graphs = list(dict.fromkeys(members.graph))
    graph = "gene" if "gene" in graphs else graphs[0]
    return members[members.graph == graph][[*KEY, "module"]].drop_duplicates(KEY)


def module_members(workspace: Workspace) -> pd.DataFrame | None:
    """Features of the modules of every graph; -1 is none."""
    table = trained_table(workspace.table("modules") / "members.parquet")
    if table is None:
        return None
    return table[table.module >= 0][["graph", *KEY, "module"]].reset_index(drop=True)


def module_rows(
    workspace: Workspace, members: pd.DataFrame | None, features: pd.DataFrame
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Modules with their sizes and the labels that most of their features have, and the links
    between them in the graphs that stage modules wrote."""
    if members is None:
        return None, None
    edges = trained_table(workspace.table("modules") / "edges.parquet")
    links = {
        (str(graph), int(layer)): (part.feature.to_numpy(), part.other.to_numpy())
        for (graph, layer), part in (() if edges is None else edges.groupby(["graph", "layer"]))
    }
    labels = features[[*KEY, "label"]] if "label" in features else None
    return module_tables(links, members, labels)


def gene_rows(workspace: Workspace) -> pd.DataFrame | None:
    """Corrected gene lists: score, and on how many tokens of the gene the feature fires."""
    table = trained_table(workspace.table("catalog") / "lists.parquet")
    if table is None:
        return None
    table = table[table.rule == "corrected"]
    names = {"name": "gene", "score": "value"}
    table = table.drop(columns="gene").rename(columns=names)
    return table[[*KEY, "rank", "gene", "value", "fires", "tokens"]].reset_index(drop=True)


def annotation_rows(workspace: Workspace, alpha: float) -> pd.DataFrame | None:
    """Gene sets of the lists (all significant ones, and the first of each feature), and networks
    with more edges among the list than its degrees lead to expect."""
    folder, frames = workspace.table("annotate"), []
    table = trained_table(folder / "terms.parquet")
    if table is not None:
        place = table.groupby(KEY).cumcount()
        table = table[(place < TERMS) | (table.q < alpha)]
        frames.append(
            pd.DataFrame(
                {
                    "layer": table.layer,
                    "feature": table.feature,
                    "kind": "geneset",
                    "term": table.term,
                    "scope": table.collection,
                    "estimate": table.fold,
                    "p": np.exp(table.ln_p),
                    "q": table.q,
                    "genes": table.genes,
                }
            )
        )
    table = trained_table(folder / "edges.parquet")
    if table is not None:
        table = table[table.edges > 0]
        frames.append(
            pd.DataFrame(
                {
                    "layer": table.layer,
                    "feature": table.feature,
                    "kind": "network",
                    "term": table.network,
                    "estimate": table.edges / table.expected.where(table.expected > 0),
                    "p": table.p,
                    "q": table.q,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else None


def link_rows(workspace: Workspace, alpha: float) -> pd.DataFrame | None:
    """Links of each feature with another layer's beyond gene identity: all that pass maxT, and the
    strongest; and with its match in the other model."""
    frames = [
        one for one in (_layer_links(workspace, alpha), _matches(workspace)) if one is not None
    ]
    return pd.concat(frames, ignore_index=True) if frames else None


def _matches(workspace: Workspace) -> pd.DataFrame | None:
    """Pairs of features of the two models, Geneformer's first; p is over all pairs of shuffled
    cells."""
    table = _matched_models(workspace)
    if table is None:
        return None
    columns = [*KEY, "other_layer", "other_feature", "kind", "value", "tokens", "p"]
    return table.assign(kind="r", value=table.r)[columns]


def _matched_models(workspace: Workspace) -> pd.DataFrame | None:
    path = workspace.table("crossmodel") / "matches.parquet"
    if not path.is_file():
        return None
    table = pd.read_parquet(path)
    table = table[table.trained.astype(bool)].reset_index(drop=True)
    moved = {
        "layer": table.layer + FIRST_LAYER["geneformer"],
        "other_layer": table.other_layer + FIRST_LAYER["scgpt"],
    }
    return table.assign(**moved) if len(table) else None


def _layer_links(workspace: Workspace, alpha: float) -> pd.DataFrame | None:
    table = trained_table(workspace.table("highways") / "links.parquet")
    if table is None:
        return None
    between = [*KEY, "other_layer"]
    table = table.sort_values([*between, "z"], ascending=[True] * 3 + [False], kind="stable")
    table = table[(table.groupby(between).cumcount() < LINKS) | (table.p < alpha)]
    table = table.assign(kind="z", value=table.z)
    columns = [*between, "other_feature", "kind", "value", "tokens", "p"]
    return table[[name for name in columns if name in table]].reset_index(drop=True)


def number_rows(workspace: Workspace) -> pd.DataFrame | None:
    """What was measured of each layer beside what chance gives."""
    frames = []
    for stage, value, name, note in (
        ("annotate", "share", "annotated", "corrected"),
        ("celltypes", "share", "with a cell type", "over donors"),
        ("novel", "clusters", "clusters of novel features", "corrected"),
    ):
        table = trained_table(workspace.table(stage) / "layers.csv")
        if table is None or value not in table:
            continue
        if "rule" in table:
            table = table[table.rule == "corrected"]
        table = table[table[value].notna()]
        n = table.get("unannotated", table.get("features"))
        frames.append(
            pd.DataFrame(
                {
                    "name": name,
                    "layer": table.layer,
                    "value": table[value].astype(float),
                    "null": table.get("null"),
                    "n": n,
                    "unit": "features",
                    "note": note,
                }
            )
        )
    path = workspace.table("crossmodel") / "matched.csv"
    if path.is_file():
        shares = read_csv(path).set_index("trained")
        own, random = shares.loc[True], shares.loc[False]
        if own.pairs > 0:
            beside = "" if pd.isna(random.above) else f"; randomly initialized: {random.above:.3g}"
            row = {
                "name": "matched in the other model",
                "layer": int(own.layer) + FIRST_LAYER["geneformer"],
                "other_layer": int(own.other_layer) + FIRST_LAYER["scgpt"],
                "value": own.above,
                "lo": own.low,
                "hi": own.high,
                "null": own.null_share,
                "n": int(own.pairs),
                "unit": "pairs of features",
                "note": f"one to one, r beyond genes above {own.limit:.3g}: "
                f"{1 - own.null_share:.0%} of pairs of shuffled cells{beside}",
            }
            frames.append(pd.DataFrame([row]))
    frames += measured(workspace)
    return pd.concat(frames, ignore_index=True) if frames else None


def type_rows(workspace: Workspace, alpha: float) -> pd.DataFrame | None:
    """Cell types of features, over donors: all significant ones, and the first of each."""
    table = trained_table(workspace.table("celltypes") / "types.parquet")
    if table is None:
        return None
    table = table.sort_values([*KEY, "p"], kind="stable")
    table = table[(table.groupby(KEY).cumcount() < TYPES) | (table.q < alpha)]
    table = table.rename(columns={"type": "cell_type", "estimate": "effect"})
    return table[[*KEY, "cell_type", "effect", "p", "q", "donors"]].reset_index(drop=True)


def perturbation_rows(
    workspace: Workspace, params: Params
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Perturbed genes of the probed layers, with the score of their responding features on the
    known targets and that of matched sets, and the responses: all significant ones, and the
    strongest."""
    moved = _with_layers(workspace, "perturbation", "responses.parquet")
    if moved is None:
        return None, None
    alpha, at = params.cds.alpha, ["target", "layer"]
    size = moved.assign(size=moved.t.abs())
    size = size.sort_values([*at, "size"], ascending=[True, True, False], kind="stable")
    kept = size[(size.groupby(at).cumcount() < RESPONSES) | (size.q < alpha)]
    responding = (moved.q < alpha).groupby([moved[name] for name in at], sort=False).sum()
    perturbed = responding.astype(int).rename("responding").reset_index()
    regulons = _with_layers(workspace, "perturbation", "regulons.csv")
    perturbed["kind"] = "other"
    if regulons is not None and len(regulons):
        names = {"name": "target", "genes": "known", "share": "estimate"}
        regulons = regulons.rename(columns=names)
        columns = [*at, "known", "estimate", "null", "p", "q"]
        perturbed = perturbed.merge(regulons[columns], on=at, how="left")
        perturbed["kind"] = np.where(perturbed.known.notna(), "transcription factor", "other")
    responses = kept.rename(columns={"t": "effect"})[[*at, "feature", "effect", "p", "q"]]
    return perturbed, responses.reset_index(drop=True)


def context_rows(
    workspace: Workspace, found: Sequence[Branch]
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Strongest tokens of every feature: a gene in a cell, by the type of the cell. None where the
    cells or codes are not there."""
    folder = workspace.table("cells")
    if not (folder / "obs.parquet").is_file() or not (folder / "genes.parquet").is_file():
        return None, None
    obs = pd.read_parquet(folder / "obs.parquet")
    genes = pd.read_parquet(folder / "genes.parquet").name.to_numpy(object)
    kind = obs["cell_type"] if "cell_type" in obs else pd.Series(None, obs.index, dtype=object)
    kind = kind.astype(object).where(kind.notna(), EVERY).to_numpy(object)
    frames = []
    for branch in found:
        tokens, gene = branch.tokens(), branch.places().gene.to_numpy(np.int64)
        first = np.concatenate([[0], np.cumsum(tokens.per_window())[:-1]])
        for layer in branch.layers():
            top = branch.encoded(layer).top()
            cell = top.window.to_numpy()
            of = gene[first[cell] + top.position.to_numpy()]
            symbol = np.where(of >= 0, genes[np.maximum(of, 0)], "special token")
            barcode = obs.cell.astype(str).to_numpy(object)[cell]
            frames.append(
                pd.DataFrame(
                    {
                        "layer": layer + FIRST_LAYER[branch.family],
                        "feature": top.feature.to_numpy(),
                        "unit": kind[cell],
                        "activation": top.activation.to_numpy(),
                        "name": [f"{g} in {c}" for g, c in zip(symbol, barcode)],
                        "gene": symbol,
                        "cell": barcode,
                    }
                )
            )
    if not frames:
        return None, None
    names, cells = np.unique(kind.astype(str), return_counts=True)
    units = pd.DataFrame({"unit": names.astype(object), "cells": cells})
    contexts = pd.concat(frames, ignore_index=True)
    return contexts.drop_duplicates([*KEY, "unit", "name"]), units


def neighbor_rows(
    found: Sequence[Branch], features: pd.DataFrame, seed: int, stable: float
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Features of one model that are alike, by decoder and by firing together; and how many of each
    layer have a match of cosine ``stable`` in the next."""
    frames, matches = [], []
    for branch in found:
        layers = [k for k in branch.layers() if (branch.sae / f"layer_{k}").is_dir()]
        first, n = FIRST_LAYER[branch.family], len(branch.tokens())
        alive, decoders, together = {}, {}, {}
        for layer in layers:
            at = (features.layer == layer + first) & (features.alive == 1)
            rows = features.feature[at].to_numpy(np.int64)
            alive[layer + first] = rows
            decoder = branch.dictionary(layer, seed).W_dec
            decoders[layer + first] = decoder[torch.from_numpy(rows)].numpy()
            together[layer + first] = firing_correlation(branch.encoded(layer).coactivation(), n)
        if layers:
            frames.append(similar_rows(decoders, alive, together, NEIGHBORS))
            matches.append(match_rows(decoders, stable))
    counted = [one for one in matches if one is not None]
    return (
        pd.concat(frames, ignore_index=True) if frames else None,
        pd.concat(counted, ignore_index=True) if counted else None,
    )


def layer_rows(found: Sequence[Branch], features: pd.DataFrame) -> pd.DataFrame | None:
    """Quality of each layer's first dictionary, and whose layer it is."""
    alive, frames = features[features.alive == 1].groupby("layer").size(), []
    for branch in found:
        path = branch.sae / "quality.csv"
        if not path.is_file():
            continue
        quality = read_csv(path).drop_duplicates("layer")
        layer = quality.layer + FIRST_LAYER[branch.family]
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "model": NAMES[branch.family],
                    "depth": quality.layer,
                    "fvu": quality.fvu,
                    "l0": quality.l0,
                    "dead": quality.dead_fraction,
                    "loss_recovered": quality.get("loss_recovered"),
                    "alive": layer.map(alive).fillna(0).astype(int),
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else None


def run_rows(params: Params, name: str, description: str, found: Sequence[Branch]) -> pd.DataFrame:
    """The run card."""
    card = {
        "dataset": name,
        "description": description,
        "seed": params.seed,
        "params": params.digest(),
        "models": ", ".join(NAMES[branch.family] for branch in found),
        "layers": "0 is the input of the first block, k the stream after block k; scGPT's are "
        f"{FIRST_LAYER['scgpt']} + k",
        "sae": f"{params.sae.variant}, {params.sae.latents} latents, k {params.sae.k}",
    }
    return pd.DataFrame({"key": list(card), "value": [str(value) for value in card.values()]})
