"""The dna study's atlas brings the tables that stages wrote into the schema that terminal UI and
queries read: features of all layers, and the graph of sequences and features of the probed one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from petriscope.atlas.build import AtlasTables
from petriscope.atlas.ledger import claim_rows
from petriscope.atlas.schema import Column, Declared, Thresholds
from petriscope.files import read_csv, read_json
from petriscope.graph.between import correlated, module_tables
from petriscope.graph.coactivation import firing_correlation
from petriscope.graph.similar import match_rows, similar_rows
from petriscope.probe.tokens import Tokens
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.codes import Codes
from petriscope.sae.encode import HISTOGRAM_BINS, EncodedLayer, encoded_layers
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import Sequences, load_sequences

NEIGHBORS = 8
FLANK = 18
"""bases shown on either side of a token"""
EDGES, OF_FEATURE = 32, 20
"""features kept of a sequence, and sequences of a feature"""
CONCEPTS = 12
"""concepts and tracks kept of a feature"""
NAMED = 0.3
"""F1 on held-out DNA from which on a concept names a feature"""
UNLABELED = "no class"
FEATURE_COLUMNS = (
    Column("log_ratio", "real", "ln ratio", "signed", "ln of its rates per token", indexed=True),
    Column("ratio_low", "real", "ratio lo", "signed", "95 % interval of that, lower end"),
    Column("ratio_high", "real", "ratio hi", "signed", "95 % interval of that, upper end"),
    Column("p_maxt", "real", "p maxT", "p", "p over all features of the layer", indexed=True),
    Column(
        "fold_change", "real", "PR log10", "signed", "published fold change of PageRank",
        indexed=True,
    ),
    Column("degree", "integer", "degree", "count", "sequences in which it fires", indexed=True),
    Column("special", "real", "special", "share", "share of its tokens that are <cls>"),
)  # fmt: skip


class Fired(NamedTuple):
    """Where the features of one layer fire: entry by entry."""

    token: np.ndarray
    """(k,) row of the token axis"""
    feature: np.ndarray
    value: np.ndarray
    m: int

    @classmethod
    def of(cls, codes: Codes) -> Fired:
        """The entries of a layer's codes."""
        row = np.repeat(np.arange(codes.n), np.diff(np.asarray(codes.indptr)))
        return cls(row, np.asarray(codes.indices), np.asarray(codes.values, np.float64), codes.m)


def declared(sequences: Sequences) -> Declared:
    """What this study's atlas has beyond that of every study."""
    return Declared(
        unit="class",
        condition="label",
        document="sequence",
        reference=sequences.negative or UNLABELED,
        target=sequences.positive or UNLABELED,
        units=(
            Column("label", "text", "class", "text", "class of the sequences"),
            Column("sequences", "integer", "sequences", "count", "how many"),
        ),
        contexts=(
            Column("sequence", "text", "sequence", "text", "bases of the token between its flanks"),
            Column("of", "text", "of", "text", "the sequence it lies in"),
            Column("at", "integer", "at", "count", "its first base in the sequence"),
        ),
        features=FEATURE_COLUMNS,
    )


def collect(workspace: Workspace, params: Params) -> AtlasTables:
    """Everything known about every feature of a finished run."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    sequences, places = load_sequences(workspace), load_places(workspace)
    tokens, layers = Tokens.load(workspace.tokens), encoded_layers(workspace.codes)
    probed = chosen_layer(params.layer, max(layers), "layer")
    side = sides(sequences)
    fired = {layer: Fired.of(encoded.codes()) for layer, encoded in layers.items()}
    features = feature_rows(workspace, params, fired, places.width.to_numpy(), probed)
    alive = {
        layer: features.feature[(features.layer == layer) & (features.alive == 1)].to_numpy()
        for layer in layers
    }
    together = {layer: correlation(encoded, len(tokens)) for layer, encoded in layers.items()}
    communities = correlated(together, params.seed)
    members = communities.members
    features = features.merge(
        members[["layer", "feature", "module"]], on=["layer", "feature"], how="left"
    )
    modules, module_edges = module_tables(
        communities.links, members, features[["layer", "feature", "label"]]
    )
    decoders = {
        layer: saved_sae(workspace.sae, layer, params.sae.seeds[0])
        .W_dec[torch.tensor(alive[layer])]
        .numpy()
        for layer in layers
    }
    counts = side.value_counts()
    known = (sequences.positive, sequences.negative, UNLABELED)
    units = [name for name in known if name is not None and name in counts]
    names = sequences.frame["id"].to_numpy()
    graph = graph_of(fired[probed], tokens.window, places, names, probed)
    return AtlasTables(
        features=features,
        thresholds=Thresholds(params.cds.alpha, params.cds.stable),
        units=pd.DataFrame({"unit": units, "label": units, "sequences": counts[units].to_numpy()}),
        activation=pd.concat(
            [
                activation_rows(layer, of, side.to_numpy()[tokens.window], units)
                for layer, of in fired.items()
            ],
            ignore_index=True,
        ),
        contexts=pd.concat(
            [
                context_rows(layer, of.top(), tokens, places, sequences, side)
                for layer, of in layers.items()
            ],
            ignore_index=True,
        ),
        annotations=annotation_rows(workspace, params, probed),
        similar=similar_rows(decoders, alive, together, NEIGHBORS),
        numbers=match_rows(decoders, params.cds.stable),
        documents=document_rows(sequences, side).assign(degree=graph.degree),
        edges=graph.edges,
        maps=map_rows(workspace, probed),
        modules=modules,
        module_members=members,
        module_edges=module_edges,
        layers=layer_rows(workspace, features, params.cds.alpha, probed),
        curves=curve_rows(workspace, probed),
        claims=claim_rows(workspace.figures / "claims.json"),
        run=run_rows(workspace, params, dataset.name, dataset.description, probed),
        declared=declared(sequences),
    )


def sides(sequences: Sequences) -> pd.Series:
    """The class of each sequence in words."""
    return sequences.frame.label.fillna(UNLABELED)


def feature_rows(
    workspace: Workspace,
    params: Params,
    fired: Mapping[int, Fired],
    width: np.ndarray,
    probed: int,
) -> pd.DataFrame:
    """The features table: how often each fires on tokens that hold bases, and in the probed layer
    the comparison of the classes and what edits do."""
    covers = width > 0
    frames = []
    for layer, of in fired.items():
        inside = covers[of.token]
        count = np.bincount(of.feature[inside], minlength=of.m)
        total = np.bincount(of.feature[inside], of.value[inside], minlength=of.m)
        every = np.bincount(of.feature, minlength=of.m)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, special = total / count, (every - count) / every
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "feature": np.arange(of.m),
                    "alive": (count >= params.cds.min_events).astype(int),
                    "density": count / covers.sum(),
                    "mean_activation": np.where(count > 0, mean, np.nan),
                    "special": np.where(every > 0, special, np.nan),
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    for more in (
        _stability(workspace),
        _compared(workspace, probed),
        _caused(workspace, probed),
        label_rows(workspace),
    ):
        table = table.merge(more, on=["layer", "feature"], how="left")
    table["direction"] = table.direction.where(table.alive == 1)
    return table


def _stability(workspace: Workspace) -> pd.DataFrame:
    table = pd.read_parquet(workspace.sae / "stability.parquet")
    return table[["layer", "feature", "stability"]]


def _compared(workspace: Workspace, probed: int) -> pd.DataFrame:
    """The rate test of the probed layer; no row where there were no classes."""
    names = ["cds", "p", "q", "p_maxt", "n_units", "level", "direction"]
    names += ["log_ratio", "ratio_low", "ratio_high", "fold_change", "degree"]
    path = workspace.table("graph") / "features.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["layer", "feature", *names])
    table, metrics = read_csv(path), read_json(workspace.metrics("graph"))
    classes = metrics["classes"]
    table = table.rename(
        columns={
            "t": "cds",
            "low": "ratio_low",
            "high": "ratio_high",
            "fold_change_published": "fold_change",
        }
    )
    side = np.where(table.cds > 0, classes["positive"], classes["negative"])
    return table.assign(
        layer=probed,
        n_units=metrics["units"],
        level="group",
        direction=np.where(table.cds.notna(), side, None),
        degree=table.in_degree_positive + table.in_degree_negative,
    )[["layer", "feature", *names]]


def _caused(workspace: Workspace, probed: int) -> pd.DataFrame:
    """What suppressing a feature alone does to the head; no row where nothing was edited."""
    columns = ["layer", "feature", "causal_effect", "causal_percentile"]
    folder = workspace.table("interventions")
    if not (folder / "effects.csv").is_file():
        return pd.DataFrame(columns=columns)
    effects, controls = read_csv(folder / "effects.csv"), read_csv(folder / "controls.csv")
    effects = effects[(effects.arm == "suppress") & (effects.feature >= 0)]
    table = effects.drop_duplicates("feature").merge(controls, on="feature", how="left")
    return pd.DataFrame(
        {
            "layer": probed,
            "feature": table.feature,
            "causal_effect": table["shift"].abs(),
            "causal_percentile": 1 - table.p,
        },
        columns=columns,
    )


def label_rows(workspace: Workspace) -> pd.DataFrame:
    """The concept that each feature tells best on held-out DNA, where it does so well enough;
    confidence is the F1."""
    best = concept_rows(workspace)
    best = best[best.estimate >= NAMED].drop_duplicates(["layer", "feature"])
    return pd.DataFrame(
        {
            "layer": best.layer,
            "feature": best.feature,
            "label": best.term,
            "confidence": best.estimate,
        }
    )


def concept_rows(workspace: Workspace) -> pd.DataFrame:
    """Features that are the best of their layer for a concept, by falling F1."""
    columns = ["layer", "feature", "kind", "term", "estimate", "lo", "hi"]
    path = workspace.table("concepts") / "best.csv"
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    table = read_csv(path)
    table = table[(table.source == "dictionary") & (table.unit >= 0)]
    found = pd.DataFrame(
        {
            "layer": table.layer,
            "feature": table.unit,
            "kind": "concept",
            "term": table.concept,
            "estimate": table.f1,
            "lo": table.f1_low,
            "hi": table.f1_high,
        }
    )
    order = ["layer", "feature", "estimate", "term"]
    return found.sort_values(order, ascending=[True, True, False, True], kind="stable")


def annotation_rows(workspace: Workspace, params: Params, probed: int) -> pd.DataFrame:
    """Concepts that a feature tells best, tracks it follows (maxT), functional terms of its genes
    with gene length held fixed."""
    frames = [concept_rows(workspace)]
    path = workspace.table("tracks") / "correlations.csv"
    if path.is_file():
        table = read_csv(path)
        table = table[table.model == "trained"]
        frames.append(
            pd.DataFrame(
                {
                    "layer": table.layer,
                    "feature": table.latent,
                    "kind": "track",
                    "term": table.track,
                    "estimate": table.r,
                    "p": table.p,
                    "q": table.max_t,
                }
            ).sort_values("estimate", key=abs, ascending=False, kind="stable")
        )
    path = workspace.table("go") / "terms.csv"
    if path.is_file():
        table = read_csv(path)
        frames.append(
            pd.DataFrame(
                {
                    "layer": probed,
                    "feature": table.feature,
                    "kind": "geneset",
                    "term": table.term,
                    "estimate": table.fold,
                    "p": table.p_length,
                    "q": table.q_length,
                }
            )
        )
    found = pd.concat(frames, ignore_index=True)
    found["rank"] = found.groupby(["layer", "feature", "kind"]).cumcount() + 1
    return found[found["rank"] <= CONCEPTS].drop_duplicates(["layer", "feature", "kind", "term"])


def activation_rows(layer: int, fired: Fired, side: np.ndarray, units: list[str]) -> pd.DataFrame:
    """Mean, density and histogram per feature and class, of features that ever fire; ``side`` (n,)
    the class of each token."""
    number = {name: i for i, name in enumerate(units)}
    names, which = np.unique(side.astype(str), return_inverse=True)
    of_token = np.array([number[str(name)] for name in names])[which]
    group = of_token[fired.token]
    shape = (len(units), fired.m)
    cell = group * fired.m + fired.feature
    count = np.bincount(cell, minlength=len(units) * fired.m).reshape(shape)
    total = np.bincount(cell, fired.value, minlength=len(units) * fired.m).reshape(shape)
    maximum = np.zeros(fired.m)
    np.maximum.at(maximum, fired.feature, fired.value)
    level = np.ceil(fired.value / np.maximum(maximum[fired.feature], 1e-30) * HISTOGRAM_BINS)
    level = level.astype(np.int64).clip(1, HISTOGRAM_BINS) - 1
    bins = np.bincount(
        cell * HISTOGRAM_BINS + level, minlength=len(units) * fired.m * HISTOGRAM_BINS
    ).reshape(*shape, HISTOGRAM_BINS)
    tokens = np.bincount(of_token, minlength=len(units))[:, None]
    unit, feature = np.nonzero(np.broadcast_to(count.sum(0) > 0, shape))
    return pd.DataFrame(
        {
            "layer": layer,
            "feature": feature,
            "unit": np.array(units, dtype=object)[unit],
            "mean": (total / np.maximum(tokens, 1))[unit, feature],
            "density": (count / np.maximum(tokens, 1))[unit, feature],
            "maximum": maximum[feature],
            "histogram": list(bins[unit, feature]),
        }
    )


def context_rows(
    layer: int,
    top: pd.DataFrame,
    tokens: Tokens,
    places: pd.DataFrame,
    sequences: Sequences,
    side: pd.Series,
) -> pd.DataFrame:
    """Strongest tokens of each feature with the bases around them; ``top`` as `EncodedLayer.top`
    gives."""
    frame = sequences.frame
    first = np.concatenate([[0], np.cumsum(tokens.per_window())[:-1]])
    row = first[top.window.to_numpy()] + top.position.to_numpy()
    start, width = places.start.to_numpy()[row], places.width.to_numpy()[row]
    of = frame.iloc[top.window.to_numpy()]
    back = (of.strand == "-").to_numpy()
    low = np.where(back, of.end.to_numpy() - start - width, of.start.to_numpy() + start)
    lies = of.chrom.notna().to_numpy() & (width > 0)
    return pd.DataFrame(
        {
            "layer": layer,
            "feature": top.feature.to_numpy(),
            "unit": side.to_numpy()[top.window.to_numpy()],
            "activation": top.activation.to_numpy(),
            "name": [
                f"{name}:{at + 1}-{at + w}" if w else f"{name}:<cls>"
                for name, at, w in zip(of["id"], start, width)
            ],
            "chrom": np.where(lies, of.chrom.to_numpy(), None),
            "start": np.where(lies, low, None),
            "end": np.where(lies, low + width, None),
            "sequence": [
                shown(text, at, w) if w else "<cls>"
                for text, at, w in zip(of.sequence, start, width)
            ],
            "of": of["id"].to_numpy(),
            "at": start,
        }
    )


def shown(text: str, start: int, width: int) -> str:
    """A token in upper case between its flanks in lower case."""
    front = text[max(start - FLANK, 0) : start].lower()
    end = start + width
    return f"{front}{text[start:end]}{text[end : end + FLANK].lower()}"


def document_rows(sequences: Sequences, side: pd.Series) -> pd.DataFrame:
    """The sequences as the graph's other nodes."""
    frame = sequences.frame
    details = [
        f"{len(text):,} bp, {n - 1:,} tokens, split {split}, group {group}"
        + (f", gene {gene}" if isinstance(gene, str) else "")
        for text, n, split, group, gene in zip(
            frame.sequence, frame.n_tokens, frame.split, frame.group, frame.gene
        )
    ]
    return pd.DataFrame(
        {
            "name": frame["id"],
            "side": side,
            "detail": details,
            "content": frame.sequence,
            "chrom": frame.chrom,
            "start": frame.start,
            "end": frame.end,
        }
    )


class Graph(NamedTuple):
    """The graph of sequences and features of one layer, tokens without a base left out."""

    edges: pd.DataFrame
    """the `EDGES` strongest of each sequence and the `OF_FEATURE` strongest of each feature"""
    degree: np.ndarray
    """(sequences,) features that fire in each, all of them"""


def graph_of(
    fired: Fired, window: np.ndarray, places: pd.DataFrame, names: np.ndarray, layer: int
) -> Graph:
    """Which features fire in which sequences (``names``), and where."""
    inside = places.width.to_numpy()[fired.token] > 0
    token = fired.token[inside]
    entries = pd.DataFrame(
        {"window": window[token], "feature": fired.feature[inside], "token": token}
    ).assign(activation=fired.value[inside])
    cells = entries.groupby(["window", "feature"], sort=True)
    table = cells.activation.agg(["size", "sum"]).reset_index()
    table = table.rename(columns={"size": "tokens", "sum": "activation"})
    degree = np.bincount(table.window, minlength=len(names))
    table = table.sort_values(["tokens", "activation"], ascending=False, kind="stable")
    kept = (table.groupby("window").cumcount() < EDGES) | (
        table.groupby("feature").cumcount() < OF_FEATURE
    )
    table = table[kept]
    entries = entries.merge(table[["window", "feature"]], on=["window", "feature"])
    start = places.start.to_numpy()[entries.token]
    end = start + places.width.to_numpy()[entries.token]
    text = pd.Series([f"{a}-{b}" for a, b in zip(start, end)])
    spans = text.groupby([entries.window, entries.feature]).agg(",".join).rename("spans")
    table = table.merge(spans.reset_index(), on=["window", "feature"])
    document = names[table.window.to_numpy()]
    edges = table.assign(layer=layer, document=document).drop(columns="window")
    return Graph(edges, degree)


def map_rows(workspace: Workspace, probed: int) -> pd.DataFrame:
    """Dependency maps of the strongest features, token by token: each in the sequence in which it
    depends most on other tokens."""
    columns = ["layer", "feature", "document", "pieces", "cells"]
    path = workspace.table("dependency") / "maps.npz"
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    with np.load(path) as stored:
        maps, own, ids = stored["maps"], stored["own_block"], stored["ids"]
        features, texts = stored["features"], stored["sequences"]
    away = np.where(own[:, None], 0.0, maps)
    best = away.sum((2, 3)).argmax(0)
    rows = []
    for i, feature in enumerate(features):
        text, block = str(texts[best[i]]), own[best[i]]
        first = np.flatnonzero(np.r_[True, (block[1:] != block[:-1]).any(1)])
        bounds = [*first.tolist(), len(block)]
        size = np.diff(bounds)
        sums = np.add.reduceat(np.add.reduceat(away[best[i], i], first, 0), first, 1)
        cells = sums / size[:, None] / size
        pieces = " ".join(text[a:b] for a, b in pairwise(bounds))
        shown = [
            [None if a == b else round(float(cells[a, b]), 5) for b in range(len(first))]
            for a in range(len(first))
        ]
        rows.append((probed, int(feature), str(ids[best[i]]), pieces, json.dumps(shown)))
    return pd.DataFrame(rows, columns=columns)


def correlation(encoded: EncodedLayer, tokens: int) -> sparse.csr_matrix:
    """Firing correlation of the features of one layer over all tokens."""
    return firing_correlation(encoded.coactivation(), tokens)


def layer_rows(
    workspace: Workspace, features: pd.DataFrame, alpha: float, probed: int
) -> pd.DataFrame:
    """Quality of each layer's first dictionary, and in the probed one how many features differ."""
    quality = read_csv(workspace.sae / "quality.csv").drop_duplicates("layer").set_index("layer")
    alive = features[features.alive == 1].groupby("layer").size().reindex(quality.index)
    differ = features[features.q < alpha].groupby("layer").size()
    counted = differ.reindex(quality.index).where(quality.index != probed, differ.get(probed, 0))
    return pd.DataFrame(
        {
            "layer": quality.index,
            "fvu": quality.fvu,
            "l0": quality.l0,
            "dead": quality.dead_fraction,
            "loss_recovered": quality.get("loss_recovered"),
            "alive": alive,
            "n_context": counted,
            "fraction": counted / alive,
        }
    ).reset_index(drop=True)


def curve_rows(workspace: Workspace, probed: int) -> pd.DataFrame:
    """What scaling a feature does to the head's log odds, by dose."""
    columns = ["analysis", "layer", "feature", "arm", "x", "estimate", "lo", "hi"]
    path = workspace.table("interventions") / "effects.csv"
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    table = read_csv(path)
    table = table[table.arm.isin(["suppress", "scale"]) & (table.feature >= 0)]
    return pd.DataFrame(
        {
            "analysis": "steering",
            "layer": probed,
            "feature": table.feature,
            "arm": "log odds of the head",
            "x": table.dose,
            "estimate": table["shift"],
            "lo": table.shift_low,
            "hi": table.shift_high,
        },
        columns=columns,
    )


def run_rows(
    workspace: Workspace, params: Params, name: str, description: str, probed: int
) -> pd.DataFrame:
    """The run card."""
    model = read_json(workspace.metrics("model"))
    card = {
        "dataset": name,
        "description": description,
        "seed": params.seed,
        "params": params.digest(),
        "model": f"Nucleotide Transformer {model['form']}, {model['parameters']:,} parameters",
        "model_r": f"{model['accuracy']:.3f} of masked tokens right, "
        f"{model['unigram_accuracy']:.3f} by frequency",
        "sae": f"{params.sae.variant}, {params.sae.latents} latents, k {params.sae.k}",
        "probed": f"layer {probed}",
    }
    return pd.DataFrame({"key": list(card), "value": [str(value) for value in card.values()]})
